//! Models that break the format's rules of names, types and operators.

use crate::build::*;
use fornax_onnx::proto::{FunctionProto, NodeProto, OperatorSetIdProto, TypeProto, type_proto};
use fornax_onnx::{ErrorKind, MAX_OPSET};

fn relu(i: &str, o: &str) -> NodeProto {
    node("Relu", &[i], &[o], vec![])
}
fn model(nodes: Vec<NodeProto>) -> Model {
    Model::new(13, nodes).input("x", 1, &["N"])
}
#[track_caller]
fn says(m: &Model, words: &[&str]) {
    let text = m.error();
    for w in words {
        assert!(text.contains(w), "'{w}' is not in: {text}");
    }
}

#[test]
fn unsupported_operators_are_listed_all_at_once() {
    let mut other = node("Fancy", &["x"], &["b"], vec![]);
    other.domain = "com.example".into();
    let mut late = node("Gelu", &["x"], &["c"], vec![]);
    late.name = "late".into();
    let nodes = vec![
        node("Frobnicate", &["x"], &["a"], vec![]),
        node("Frobnicate", &["a"], &["a2"], vec![]),
        other,
        late,
        node("NotNeeded", &["x"], &["d"], vec![]),
        node("Sum", &["a2", "b", "c"], &["y"], vec![]),
    ];
    let m = model(nodes).output("y");
    let Err(e) = m.import() else { panic!("it must not import") };
    let ErrorKind::Unsupported(list) = &e.kind else { panic!("{e}") };
    let names: Vec<_> = list.iter().map(|u| (u.operator.as_str(), u.opset, u.nodes.len())).collect();
    assert_eq!(names, [("Frobnicate", Some(13), 2), ("Gelu", Some(13), 1), ("com.example::Fancy", None, 1)]);
    says(&m, &["3 operators", "(4 nodes)", "'a', 'a2'", "'late'", "since opset 20", "com.example"]);
    assert!(!m.error().contains("NotNeeded"));
}

#[test]
fn names_and_order() {
    says(&model(vec![relu("b", "a"), relu("a", "b")]).output("a"), &["cycle", "Relu 'a'", "Relu 'b'"]);
    says(&model(vec![relu("a", "a")]).output("a"), &["cycle"]);
    says(&model(vec![relu("nothing", "y")]).output("y"), &["Relu 'y' uses 'nothing'"]);
    says(&model(vec![relu("x", "y"), relu("x", "y")]).output("y"), &["'y' is defined twice"]);
    says(&model(vec![relu("x", "x")]).output("x"), &["'x' is defined twice", "input"]);
    says(&model(vec![relu("x", "y")]).output("z"), &["output 'z' is computed by no node"]);
    says(&model(vec![relu("x", "y")]), &["no outputs"]);
    says(&model(vec![relu("x", "y")]).output("y").output("y"), &["two outputs have the name 'y'"]);
    says(&model(vec![relu("x", "y")]).input("x", 1, &[]).output("y"), &["two inputs have the name 'x'"]);
    let twice = model(vec![relu("x", "y")]).stored(f32s("w", &[], &[1.0])).stored(f32s("w", &[], &[1.0]));
    says(&twice.output("y"), &["two initializers have the name 'w'"]);
    // Nodes may come in any order.
    let shuffled = model(vec![relu("a", "y"), relu("x", "a")]).output("y");
    assert_eq!(shuffled.run(&[lit(&[2], &[-1.0, 2.0])])[0].get_f64(1), 2.0);
}

#[test]
fn inputs_that_are_no_tensors() {
    let mut m = model(vec![relu("x", "y")]).output("y");
    m.graph().input[0].r#type =
        Some(TypeProto { value: Some(type_proto::Value::SequenceType(Default::default())) });
    says(&m, &["input 'x'", "sequence"]);
    says(&Model::new(13, vec![relu("x", "y")]).input("x", 8, &[]).output("y"), &["input 'x'", "string"]);
    m.graph().input[0].r#type = None;
    says(&m, &["input 'x' has no type"]);
    let tensor = type_proto::Tensor { elem_type: 1, shape: None };
    m.graph().input[0].r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)) });
    says(&m, &["input 'x'", "no declared shape"]);
}

#[test]
fn opsets_out_of_range() {
    let mut m = model(vec![relu("x", "y")]).output("y");
    m.0.opset_import[0].version = 6;
    says(&m, &["opset 6", "7 to"]);
    m.0.opset_import[0].version = MAX_OPSET + 1;
    let import = m.import().unwrap();
    assert!(import.warnings[0].contains(&format!("opset {}", MAX_OPSET + 1)), "{:?}", import.warnings);
    m.0.opset_import.clear();
    says(&m, &["Relu", "no opset imported"]);
    let gone =
        Model::new(10, vec![node("Upsample", &["x"], &["y"], vec![])]).input("x", 1, &["N"]).output("y");
    says(&gone, &["removed with opset 10"]);
}

#[test]
fn attributes_and_shapes_that_do_not_fit() {
    let one = |n: NodeProto| model(vec![n]).output("y");
    says(
        &one(node("Concat", &["x"], &["y"], vec![int("axis", 4)])),
        &["Concat 'y'", "axis 4 is out of range"],
    );
    says(&one(node("Concat", &["x"], &["y"], vec![text("axis", "1")])), &["'axis' must be of type int"]);
    says(&one(node("Add", &["x", ""], &["y"], vec![])), &["Add 'y'", "operand 1 is missing"]);
    let add = Model::new(13, vec![node("Add", &["x", "z"], &["y"], vec![])]);
    let add = add.input("x", 1, &["2"]).input("z", 1, &["3"]).output("y");
    says(&add, &["Add 'y'", "3"]);
    let mixed = Model::new(13, vec![node("Add", &["x", "z"], &["y"], vec![])]);
    says(&mixed.input("x", 1, &["2"]).input("z", 7, &["2"]).output("y"), &["Add 'y'", "i64"]);
    let data = Model::new(13, vec![node("Reshape", &["x", "s"], &["y"], vec![])]);
    says(&data.input("x", 1, &["4"]).input("s", 7, &["1"]).output("y"), &["Reshape 'y'", "depend on data"]);
    let pool = node("MaxPool", &["x"], &["y", "i"], vec![ints("kernel_shape", &[2])]);
    let pool = Model::new(13, vec![pool, node("Relu", &["i"], &["z"], vec![])]);
    says(&pool.input("x", 1, &["1", "1", "4"]).output("z"), &["output 1 of MaxPool 'y' is not supported"]);
}

fn function(name: &str, body: Vec<NodeProto>) -> FunctionProto {
    FunctionProto {
        name: name.into(),
        domain: "f".into(),
        input: vec!["x".into()],
        output: vec!["y".into()],
        node: body,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 13 }],
        ..Default::default()
    }
}
fn call(name: &str, i: &str, o: &str) -> NodeProto {
    NodeProto { domain: "f".into(), ..node(name, &[i], &[o], vec![]) }
}

#[test]
fn functions_that_never_end_or_grow_without_bound() {
    let mut m = model(vec![call("A", "x", "y")]).output("y");
    m.0.functions = vec![function("A", vec![call("B", "x", "y")]), function("B", vec![call("A", "x", "y")])];
    says(&m, &["function 'A' calls itself"]);
    let mut m = model(vec![call("F0", "x", "y")]).output("y");
    let twice = |k: usize| {
        function(
            &format!("F{k}"),
            vec![call(&format!("F{}", k + 1), "x", "a"), call(&format!("F{}", k + 1), "a", "y")],
        )
    };
    m.0.functions = (0..40).map(twice).collect();
    m.0.functions.push(function("F40", vec![relu("x", "y")]));
    says(&m, &["expand to more than"]);
    let mut m = model(vec![call("A", "x", "y")]).output("y");
    m.0.functions = vec![function("A", vec![node("Strange", &["x"], &["y"], vec![])])];
    says(&m, &["Strange", "'A/y'"]);
}
