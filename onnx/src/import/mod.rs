//! From a decoded model to a graph: opsets, inputs and outputs, and the walk over the nodes.

mod attrs;
pub mod inspect;
pub(crate) mod node;
mod order;
mod scope;
mod walk;

pub(crate) use node::NodeCx;

use crate::error::{Error, ErrorKind, Result};
use crate::ops::{MAX_OPSET, MIN_OPSET};
use crate::proto::type_proto::Value as TypeValue;
use crate::proto::{GraphProto, ModelProto, OperatorSetIdProto, ValueInfoProto, tensor_shape_proto};
use crate::read;
use crate::tensor::{self, MAX_RANK, TensorSource};
use bytes::Bytes;
use fornax_ir::graph::{Graph, TensorType, ValueId};
use fornax_ir::{DType, Dim};
use rustc_hash::{FxHashMap, FxHashSet};
use std::path::Path;

/// An imported model.
#[derive(Debug)]
pub struct Import {
    /// The computation, in GIR primitives. Each node's location is the ONNX node it comes from.
    pub graph: Graph,
    /// The inputs a caller must give, in the model's order; initializers are none of them.
    pub inputs: Vec<InputInfo>,
    /// The outputs, in the model's order.
    pub outputs: Vec<OutputInfo>,
    /// What the file says of itself.
    pub metadata: Metadata,
    /// What is unusual about the model, but no error.
    pub warnings: Vec<String>,
    /// ONNX nodes left after constant folding (a node whose outputs are constants or symbolic integers
    /// is folded) that the outputs depend on, less Identity and the pure views Reshape, Transpose,
    /// Slice, Squeeze, Unsqueeze, Expand and Flatten. A composite such as LayerNormalization counts 1; a
    /// function counts as the nodes of its body.
    pub operators: usize,
    /// The values of the main graph by their names in the file, intermediate ones included, in no
    /// particular order.
    pub values: Vec<(String, ValueId)>,
}

/// An input of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputInfo {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its extents: constants, the model's named symbols, or `NAME.K` for an anonymous axis K.
    pub dims: Vec<Dim>,
    /// It is declared with rank 0; a value of shape `[1]` may be taken for it, with a warning.
    pub rank0: bool,
}

/// An output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputInfo {
    /// Its name.
    pub name: String,
    /// Its element type, as inferred.
    pub dtype: DType,
    /// Its extents, as inferred.
    pub dims: Vec<Dim>,
}

/// What a model file says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Name of the graph.
    pub name: String,
    /// The program that wrote the file.
    pub producer: String,
    /// That program's version.
    pub producer_version: String,
    /// Version of the file format.
    pub ir_version: i64,
    /// Imported operator sets: domain (`ai.onnx` for the standard one) and version.
    pub opsets: Vec<(String, i64)>,
    /// Free key-value pairs.
    pub properties: Vec<(String, String)>,
}

/// Imports a model file. The file is mapped into memory and its weights are shared with the graph: it
/// must not change while the graph lives.
///
/// # Errors
/// One [`Error`] that names the file: it cannot be read, is no model, breaks a rule of the format, or
/// uses operators that are not supported (all of them are listed).
pub fn load(path: impl AsRef<Path>) -> Result<Import, Error> {
    let path = path.as_ref();
    let inner = || from_model(&read::model(read::open(path)?)?, path.parent());
    inner().map_err(|e: ErrorKind| e.at(path))
}

/// Imports a model from memory. Data in other files is looked for beneath `folder`.
///
/// # Errors
/// As [`load`], without a file name.
pub fn from_bytes(bytes: Bytes, folder: Option<&Path>) -> Result<Import, Error> {
    Ok(from_model(&read::model(bytes)?, folder)?)
}

fn from_model(model: &ModelProto, folder: Option<&Path>) -> Result<Import> {
    let graph = model.graph.as_ref().expect("`read::model` checks it");
    let mut warnings = vec![];
    let opsets = opsets(&model.opset_import, "the model", &mut warnings)?;
    let mut walk = walk::Walk::new(model, opsets, TensorSource::new(folder))?;
    walk.warnings = warnings;
    check_initializers(graph)?;
    let inputs = walk.declare_inputs(graph)?;
    if graph.output.is_empty() {
        return Err(ErrorKind::Model("the graph has no outputs".into()));
    }
    let outputs = walk.run(graph)?;
    let values = walk.values();
    let (graph, operators, warnings) = walk.finish();
    tracing::debug!(values = graph.nodes.len(), guards = graph.guards.len(), operators, "imported");
    let outputs = outputs.into_iter().map(|(name, v)| {
        let ty = graph.ty(v);
        OutputInfo { name, dtype: ty.dtype, dims: ty.shape.clone() }
    });
    let outputs = outputs.collect();
    Ok(Import { inputs, outputs, metadata: metadata(model), warnings, operators, values, graph })
}

pub(crate) fn metadata(model: &ModelProto) -> Metadata {
    let named = |d: &str| if d.is_empty() { "ai.onnx".to_string() } else { d.to_string() };
    Metadata {
        name: model.graph.as_ref().map(|g| g.name.clone()).unwrap_or_default(),
        producer: model.producer_name.clone(),
        producer_version: model.producer_version.clone(),
        ir_version: model.ir_version,
        opsets: model.opset_import.iter().map(|o| (named(&o.domain), o.version)).collect(),
        properties: model.metadata_props.iter().map(|p| (p.key.clone(), p.value.clone())).collect(),
    }
}

/// The standard domain has two names.
pub(crate) fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

/// Versions of the imported operator sets by domain.
pub(crate) type Opsets<'m> = FxHashMap<&'m str, i64>;

fn opsets<'m>(list: &'m [OperatorSetIdProto], whose: &str, warnings: &mut Vec<String>) -> Result<Opsets<'m>> {
    let mut map = Opsets::default();
    for o in list {
        let known = map.insert(domain(&o.domain), o.version);
        if known.is_some_and(|v| v != o.version) {
            let what = format!("{whose} imports operator set '{}' in two versions", domain(&o.domain));
            return Err(ErrorKind::Model(what));
        }
    }
    match map.get("").copied() {
        Some(v) if v < MIN_OPSET => Err(ErrorKind::Model(format!(
            "{whose} uses opset {v}; opsets {MIN_OPSET} to {MAX_OPSET} are supported (ONNX's version converter upgrades a model)"
        ))),
        Some(v) if v > MAX_OPSET => {
            warnings.push(format!("{whose} uses opset {v}; it is read by the rules of opset {MAX_OPSET}"));
            Ok(map)
        }
        _ => Ok(map),
    }
}

fn check_initializers(graph: &GraphProto) -> Result<()> {
    let mut names = FxHashSet::default();
    for t in &graph.initializer {
        tensor::check(t)?;
        if t.name.is_empty() {
            return Err(ErrorKind::Model("an initializer has no name".into()));
        }
        if !names.insert(t.name.as_str()) {
            return Err(ErrorKind::Model(format!("two initializers have the name '{}'", t.name)));
        }
    }
    match graph.sparse_initializer.first() {
        None => Ok(()),
        Some(s) => {
            let name = s.values.as_ref().map(|v| v.name.clone()).unwrap_or_default();
            let what = "it is stored sparsely, which is not supported; store it as a dense tensor".into();
            Err(ErrorKind::Tensor { name, what })
        }
    }
}

/// The type of an input, with a symbol for every axis that is not fixed.
pub(crate) fn input_type(input: &ValueInfoProto) -> Result<TensorType> {
    let name = &input.name;
    let bad = |what: String| Err(ErrorKind::Model(format!("input '{name}' {what}")));
    let tensor = match input.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(TypeValue::TensorType(t)) => t,
        Some(TypeValue::SequenceType(_)) => return bad("is a sequence; only tensors are supported".into()),
        Some(TypeValue::MapType(_)) => return bad("is a map; only tensors are supported".into()),
        Some(TypeValue::OptionalType(_)) => return bad("is optional; only tensors are supported".into()),
        Some(TypeValue::SparseTensorType(_)) => {
            return bad("is a sparse tensor; only dense ones are supported".into());
        }
        None => return bad("has no type".into()),
    };
    let dtype = match tensor::dtype(tensor.elem_type) {
        Ok(d) => d,
        Err(what) => return bad(format!("is a tensor, but {what}")),
    };
    let Some(shape) = &tensor.shape else {
        return bad("has no declared shape: its number of axes must be known".into());
    };
    if shape.dim.len() > MAX_RANK {
        return bad(format!("has {} axes; at most {MAX_RANK} are supported", shape.dim.len()));
    }
    use tensor_shape_proto::dimension::Value;
    let dims = shape.dim.iter().enumerate().map(|(k, d)| match &d.value {
        Some(Value::DimValue(v)) if *v > 0 => Dim::constant(*v),
        Some(Value::DimParam(p)) if named_dim(p) => Dim::symbol(p),
        _ => Dim::symbol(&format!("{name}.{k}")),
    });
    Ok(TensorType::new(dtype, dims.collect::<Vec<_>>()))
}

/// Whether a declared dim's text is a name; numbers up to 0 and `?` say no more than nothing.
fn named_dim(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text != "?" && text.parse::<i64>().is_err()
}
