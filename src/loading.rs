//! Reading models of every kind: one path from a file to a graph and what is known beside it.

use std::collections::HashMap;
use std::path::Path;

use fornax_ir::graph::{Graph, ValueId};
use fornax_onnx::ErrorKind;

use crate::error::Error;
use crate::graph_file::{Format, load_own};
use crate::inspect::operator_count;

/// A model's graph and what is known beside it.
pub(crate) struct Loaded {
    /// The computation.
    pub(crate) graph: Graph,
    /// Inputs declared with rank 0.
    pub(crate) rank0: Vec<bool>,
    /// What is unusual about the file, but no error.
    pub(crate) warnings: Vec<String>,
    /// Operators of the model that compute.
    pub(crate) operators: usize,
    /// Values by their names in the file; `None` for a graph of ours, where they are `%0`, `%1` and so on.
    names: Option<Vec<(String, ValueId)>>,
}

/// Reads a model.
pub(crate) fn load(path: &Path) -> Result<Loaded, Error> {
    let format = Format::of_file(path);
    if format != Format::Onnx {
        return Ok(Loaded::of(load_own(path, format)?));
    }
    let import = fornax_onnx::load(path).map_err(|e| import_error(e, path))?;
    Ok(Loaded {
        rank0: import.inputs.iter().map(|i| i.rank0).collect(),
        warnings: import.warnings,
        operators: import.operators,
        names: Some(import.values),
        graph: import.graph,
    })
}

impl Loaded {
    /// Of a graph alone.
    pub(crate) fn of(graph: Graph) -> Loaded {
        Loaded {
            rank0: vec![false; graph.inputs.len()],
            warnings: vec![],
            operators: operator_count(&graph),
            names: None,
            graph,
        }
    }

    /// The values by name.
    pub(crate) fn values(&self) -> HashMap<String, ValueId> {
        match &self.names {
            Some(names) => names.iter().cloned().collect(),
            None => self.graph.values().map(|v| (v.to_string(), v)).collect(),
        }
    }
}

/// An error of the import; a file of unknown format is told which formats there are.
pub(crate) fn import_error(mut error: fornax_onnx::Error, path: &Path) -> Error {
    if let ErrorKind::Format(what) = &mut error.kind
        && Format::of_name(path).is_none()
    {
        what.push_str("; a model is an .onnx, .fnxb or .fnx file");
    }
    error.into()
}
