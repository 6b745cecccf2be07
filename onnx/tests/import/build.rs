//! Small models in the format's own messages, and what they compute.

use bytes::Bytes;
use fornax_ir::graph::interp;
use fornax_ir::{DType, Literal};
use fornax_onnx::proto::attribute_proto::AttributeType;
use fornax_onnx::proto::tensor_shape_proto::{Dimension, dimension};
use fornax_onnx::proto::*;
use fornax_onnx::{Error, Import, from_bytes};
use prost::Message;

/// A node; its name is its first output's.
pub fn node(op: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
    let all = |l: &[&str]| l.iter().map(|s| s.to_string()).collect();
    NodeProto {
        op_type: op.into(),
        input: all(inputs),
        output: all(outputs),
        attribute,
        ..Default::default()
    }
}

pub fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i, r#type: AttributeType::Int as i32, ..Default::default() }
}
pub fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.into(), f, r#type: AttributeType::Float as i32, ..Default::default() }
}
pub fn ints(name: &str, list: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        ints: list.to_vec(),
        r#type: AttributeType::Ints as i32,
        ..Default::default()
    }
}
pub fn floats(name: &str, list: &[f32]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        floats: list.to_vec(),
        r#type: AttributeType::Floats as i32,
        ..Default::default()
    }
}
pub fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        s: Bytes::copy_from_slice(s.as_bytes()),
        r#type: AttributeType::String as i32,
        ..Default::default()
    }
}
pub fn texts(name: &str, list: &[&str]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        strings: list.iter().map(|s| Bytes::copy_from_slice(s.as_bytes())).collect(),
        r#type: AttributeType::Strings as i32,
        ..Default::default()
    }
}
pub fn graph_attr(name: &str, g: GraphProto) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        g: Some(g),
        r#type: AttributeType::Graph as i32,
        ..Default::default()
    }
}
pub fn tensor_attr(name: &str, t: TensorProto) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        t: Some(t),
        r#type: AttributeType::Tensor as i32,
        ..Default::default()
    }
}

/// A stored f32 tensor.
pub fn f32s(name: &str, dims: &[i64], data: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: 1,
        float_data: data.to_vec(),
        ..Default::default()
    }
}
/// A stored i64 tensor.
pub fn i64s(name: &str, dims: &[i64], data: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: 7,
        int64_data: data.to_vec(),
        ..Default::default()
    }
}

/// A declared tensor: each extent a number or a name.
pub fn value(name: &str, elem_type: i32, dims: &[&str]) -> ValueInfoProto {
    let dim = |d: &&str| Dimension {
        value: Some(match d.parse() {
            Ok(n) => dimension::Value::DimValue(n),
            Err(_) => dimension::Value::DimParam(d.to_string()),
        }),
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type, shape: Some(shape) };
    let value = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { value }) }
}

/// A model of one opset whose outputs are named alone.
pub struct Model(pub ModelProto);

impl Model {
    pub fn new(opset: i64, nodes: Vec<NodeProto>) -> Self {
        let graph = GraphProto { node: nodes, name: "g".into(), ..Default::default() };
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: opset }];
        Model(ModelProto { ir_version: 8, graph: Some(graph), opset_import, ..Default::default() })
    }
    pub fn graph(&mut self) -> &mut GraphProto {
        self.0.graph.as_mut().unwrap()
    }
    pub fn input(mut self, name: &str, elem_type: i32, dims: &[&str]) -> Self {
        self.graph().input.push(value(name, elem_type, dims));
        self
    }
    pub fn stored(mut self, t: TensorProto) -> Self {
        self.graph().initializer.push(t);
        self
    }
    pub fn output(mut self, name: &str) -> Self {
        self.graph().output.push(ValueInfoProto { name: name.into(), ..Default::default() });
        self
    }
    pub fn bytes(&self) -> Bytes {
        self.0.encode_to_vec().into()
    }
    pub fn import(&self) -> Result<Import, Error> {
        from_bytes(self.bytes(), None)
    }
    /// The message of the error that importing gives.
    pub fn error(&self) -> String {
        self.import().expect_err("this model is wrong").to_string()
    }
    /// Imports and evaluates, after verifying the graph.
    pub fn run(&self, args: &[Literal]) -> Vec<Literal> {
        let import = self.import().unwrap_or_else(|e| panic!("{e}"));
        fornax_ir::graph::verify::verify(&import.graph).unwrap_or_else(|e| panic!("{e}"));
        interp::run(&import.graph, args).unwrap_or_else(|e| panic!("{e}")).outputs
    }
}

pub fn lit(shape: &[usize], data: &[f32]) -> Literal {
    Literal::from_vec(shape, data.to_vec()).unwrap()
}
pub fn lit64(shape: &[usize], data: &[i64]) -> Literal {
    Literal::from_vec(shape, data.to_vec()).unwrap()
}

/// Runs one node on f32 inputs `a`, `b`, .. (and stored tensors) and compares its first output.
#[track_caller]
pub fn check(opset: i64, mut n: NodeProto, inputs: &[Literal], stored: Vec<TensorProto>, want: &Literal) {
    n.output = vec!["y".into()];
    let mut model = Model::new(opset, vec![n]).output("y");
    for (k, l) in inputs.iter().enumerate() {
        let dims: Vec<String> = l.shape().iter().map(usize::to_string).collect();
        let dims: Vec<&str> = dims.iter().map(String::as_str).collect();
        let code = match l.dtype() {
            DType::F32 => 1,
            DType::I32 => 6,
            DType::I64 => 7,
            DType::Bool => 9,
            other => panic!("no code for {other}"),
        };
        model = model.input(["a", "b", "c"][k], code, &dims);
    }
    model.graph().initializer = stored;
    let got = model.run(inputs).remove(0);
    close(&got, want);
}

#[track_caller]
pub fn close(got: &Literal, want: &Literal) {
    assert_eq!((got.dtype(), got.shape()), (want.dtype(), want.shape()));
    for i in 0..want.len() {
        let (g, w) = (got.get_f64(i), want.get_f64(i));
        assert!((g - w).abs() <= 1e-5 * w.abs().max(1.0), "element {i}: {got:?} is not {want:?}");
    }
}
