//! Inputs and their dims, shape arithmetic, branches, functions, long chains, and the count of operators.

use crate::build::*;
use fornax_ir::Dim;
use fornax_onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, NodeProto, OperatorSetIdProto, ValueInfoProto,
};

#[test]
fn inputs_and_their_dims() {
    let nodes = vec![node("Add", &["x", "w"], &["a"], vec![]), node("Add", &["a", "s"], &["y"], vec![])];
    let m = Model::new(13, nodes)
        .input("x", 1, &["batch", "-1", "?", "", "0", "3"])
        .input("w", 1, &["3"])
        .input("s", 1, &[])
        .stored(f32s("w", &[3], &[1.0, 2.0, 3.0]))
        .output("y");
    let import = m.import().unwrap();
    let names: Vec<&str> = import.inputs.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["x", "s"], "an initializer is no input");
    let dims: Vec<String> =
        import.inputs[0].dims.iter().map(|d| d.as_symbol().unwrap_or("-").into()).collect();
    assert_eq!(dims, ["batch", "x.1", "x.2", "x.3", "x.4", "-"]);
    assert_eq!(import.inputs[0].dims[5], Dim::constant(3));
    assert!(import.inputs[1].rank0 && !import.inputs[0].rank0);
    assert_eq!(import.outputs[0].dims, import.inputs[0].dims);
    assert_eq!(import.graph.loc(import.graph.outputs[0].value), "Add 'y'");
}

#[test]
fn a_dim_named_twice_must_agree() {
    let m = Model::new(13, vec![node("Concat", &["x", "z"], &["y"], vec![int("axis", 0)])]);
    let m = m.input("x", 1, &["N"]).input("z", 1, &["N"]).output("y");
    let g = m.import().unwrap().graph;
    assert_eq!(g.symbols, ["N"]);
    let run = |n: usize| fornax_ir::graph::interp::run(&g, &[lit(&[2], &[1.0; 2]), lit(&[n], &vec![1.0; n])]);
    assert!(run(2).is_ok());
    assert!(run(3).is_err());
}

/// Shape -> Gather -> Concat -> Reshape folds to expressions over the dims.
#[test]
fn shape_arithmetic_folds() {
    let nodes = vec![
        node("Shape", &["x"], &["s"], vec![]),
        node("Gather", &["s", "zero"], &["n"], vec![int("axis", 0)]),
        node("Unsqueeze", &["n", "axes"], &["n1"], vec![]),
        node("Concat", &["n1", "rest"], &["t"], vec![int("axis", 0)]),
        node("Reshape", &["x", "t"], &["r"], vec![]),
        node("Relu", &["r"], &["y"], vec![]),
    ];
    let m = Model::new(13, nodes)
        .input("x", 1, &["N", "4", "T"])
        .stored(i64s("zero", &[], &[0]))
        .stored(i64s("axes", &[1], &[0]))
        .stored(i64s("rest", &[2], &[2, -1]))
        .output("y");
    let import = m.import().unwrap();
    let (n, t) = (Dim::symbol("N"), Dim::symbol("T"));
    assert_eq!(import.outputs[0].dims, [n, Dim::constant(2), t * 2]);
    assert!(import.graph.guards.is_empty(), "{:?}", import.graph.guards);
    assert_eq!(import.operators, 1, "only Relu is left");
    assert_eq!(m.run(&[lit(&[1, 4, 3], &[1.0; 12])])[0].shape(), [1, 2, 6]);
}

#[test]
fn operators_are_what_folding_leaves() {
    let nodes = vec![
        node("Sqrt", &["w"], &["root"], vec![]),
        node("Mul", &["x", "root"], &["a"], vec![]),
        node("Transpose", &["a"], &["b"], vec![]),
        node("Identity", &["b"], &["c"], vec![]),
        node("Softmax", &["c"], &["d"], vec![]),
        node("Exp", &["x"], &["unused"], vec![]),
        node("Relu", &["d"], &["y"], vec![]),
    ];
    let m = Model::new(13, nodes).input("x", 1, &["2", "N"]).stored(f32s("w", &[1], &[4.0])).output("y");
    assert_eq!(m.import().unwrap().operators, 3, "Mul, Softmax, Relu");
}

#[test]
fn constants_of_every_kind_and_of_a_shape() {
    let constant = |a, o: &str| node("Constant", &[], &[o], vec![a]);
    let nodes = vec![
        constant(tensor_attr("value", f32s("", &[2], &[1.0, 2.0])), "a"),
        constant(floats("value_floats", &[10.0, 20.0]), "b"),
        constant(float("value_float", 100.0), "c"),
        node("Shape", &["x"], &["s"], vec![]),
        node("ConstantOfShape", &["s"], &["d"], vec![tensor_attr("value", f32s("", &[1], &[1000.0]))]),
        node("Sum", &["a", "b", "c", "d"], &["y"], vec![]),
    ];
    let m = Model::new(13, nodes).input("x", 1, &["N", "2"]).output("y");
    close(&m.run(&[lit(&[1, 2], &[0.0; 2])])[0], &lit(&[1, 2], &[1111.0, 1122.0]));
    assert_eq!(m.import().unwrap().operators, 0);
}

fn branch(nodes: Vec<NodeProto>, output: &str) -> GraphProto {
    let output = vec![ValueInfoProto { name: output.into(), ..Default::default() }];
    GraphProto { node: nodes, output, ..Default::default() }
}

#[test]
fn a_known_condition_takes_its_branch() {
    // The untaken branch may hold operators that nothing knows; names of the outside are visible inside.
    let taken = branch(vec![node("Add", &["x", "bias"], &["p"], vec![])], "p");
    let other = branch(vec![node("Unheard", &["x"], &["q"], vec![])], "q");
    let nodes = vec![
        node(
            "If",
            &["cond"],
            &["y"],
            vec![graph_attr("then_branch", taken), graph_attr("else_branch", other)],
        ),
        node("Size", &["x"], &["n"], vec![]),
        node("Equal", &["n", "two"], &["cond"], vec![]),
        node("Sqrt", &["nine"], &["bias"], vec![]),
    ];
    let m = Model::new(13, nodes)
        .input("x", 1, &["2"])
        .stored(i64s("two", &[], &[2]))
        .stored(f32s("nine", &[], &[9.0]))
        .output("y");
    close(&m.run(&[lit(&[2], &[1.0, 2.0])])[0], &lit(&[2], &[4.0, 5.0]));
    let mut open = m;
    open.graph().input[0] = value("x", 1, &["N"]);
    assert!(open.error().contains("depends on data"));
}

#[test]
fn functions_are_inlined_with_their_attributes() {
    let mut scale = float("alpha", 0.0);
    scale.ref_attr_name = "slope".into();
    scale.f = 0.0;
    let body = vec![
        node("LeakyRelu", &["x"], &["t"], vec![scale]),
        node("Add", &["t", "x"], &["y"], vec![]),
        node("Neg", &["x"], &["unused"], vec![]),
    ];
    let f = FunctionProto {
        name: "Act".into(),
        domain: "f".into(),
        input: vec!["x".into()],
        output: vec!["y".into()],
        attribute_proto: vec![AttributeProto { name: "slope".into(), ..float("slope", 0.5) }],
        node: body,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 16 }],
        ..Default::default()
    };
    let call = |i: &str, o: &str, a| NodeProto { domain: "f".into(), ..node("Act", &[i], &[o], a) };
    let mut m = Model::new(13, vec![call("x", "a", vec![]), call("a", "y", vec![float("slope", 2.0)])]);
    m = m.input("x", 1, &["2"]).output("y");
    m.0.functions = vec![f];
    // x = -2: -1 - 2 = -3, then -6 - 3 = -9. x = 1: 2, then 4.
    close(&m.run(&[lit(&[2], &[-2.0, 1.0])])[0], &lit(&[2], &[-9.0, 4.0]));
    let import = m.import().unwrap();
    assert_eq!(import.operators, 4);
    assert_eq!(import.graph.loc(import.graph.outputs[0].value), "Add 'y/y'");
}

#[test]
fn a_chain_of_100_000_nodes_needs_no_stack() {
    let n = 100_000;
    let name = |k: usize| if k == n { "y".to_string() } else { format!("v{k}") };
    let mut nodes: Vec<NodeProto> = (0..n)
        .map(|k| {
            let op = if k % 2 == 0 { "Neg" } else { "Sin" };
            let from = if k == 0 { "x".to_string() } else { name(k) };
            node(op, &[&from], &[&name(k + 1)], vec![])
        })
        .collect();
    nodes.reverse();
    let work = move || {
        let m = Model::new(13, nodes).input("x", 1, &["N"]).output("y");
        m.import().unwrap().operators
    };
    let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(work).unwrap();
    assert_eq!(thread.join().unwrap(), n);
}

#[test]
fn inspection_counts_without_converting() {
    let nodes = vec![
        node("Relu", &["x"], &["a"], vec![]),
        node("Relu", &["a"], &["b"], vec![]),
        node("Unheard", &["b"], &["y"], vec![]),
    ];
    let m = Model::new(13, nodes).input("x", 1, &["N"]).stored(f32s("w", &[2], &[1.0, 2.0])).output("y");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    std::fs::write(&path, m.bytes()).unwrap();
    let i = fornax_onnx::inspect(&path).unwrap();
    let uses: Vec<_> = i.operators.iter().map(|o| (o.operator.as_str(), o.count, o.supported)).collect();
    assert_eq!(uses, [("Relu", 2, true), ("Unheard", 1, false)]);
    assert_eq!((i.nodes, i.initializers, i.initializer_bytes), (3, 1, 8));
    assert_eq!(i.metadata.opsets, [("ai.onnx".to_string(), 13)]);
    assert_eq!(i.outputs, ["y"]);
}
