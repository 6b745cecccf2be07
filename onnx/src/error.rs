//! What can be wrong with a model, in typed form.

use fornax_ir::graph::GraphError;
use std::fmt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a file could not be imported.
#[derive(Debug)]
pub struct Error {
    /// The file, if the model came from one.
    pub path: Option<PathBuf>,
    /// What was wrong.
    pub kind: ErrorKind,
}

/// An operator that import does not know, with all its uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedOp {
    /// `Name`, or `domain::Name` outside the standard domain.
    pub operator: String,
    /// The version of its domain that the model asks for; `None` if the model imports no such domain.
    pub opset: Option<i64>,
    /// Why, where it is not simply unknown.
    pub why: String,
    /// The nodes that use it, by name (or by first output where a node has no name).
    pub nodes: Vec<String>,
}

/// What was wrong.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(String),
    /// The bytes are no ONNX model or tensor.
    #[error("{0}")]
    Format(String),
    /// A tensor of the file is not acceptable.
    #[error("tensor '{name}': {what}")]
    Tensor {
        /// Its name.
        name: String,
        /// What was wrong and what would work.
        what: String,
    },
    /// The model as a whole breaks a rule of the format: names, cycles, inputs, outputs.
    #[error("{0}")]
    Model(String),
    /// A node's attributes or operands are not acceptable.
    #[error("{node}: {what}")]
    Node {
        /// The node: `Conv 'layer1/conv'`.
        node: String,
        /// What was wrong and what would work.
        what: String,
    },
    /// Operators that import does not know: all of them.
    #[error("{}", list(.0))]
    Unsupported(Vec<UnsupportedOp>),
    /// Graph building refused a node.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// Most node names that a message lists for one operator.
const MAX_NAMES: usize = 8;

fn list(ops: &[UnsupportedOp]) -> String {
    let nodes: usize = ops.iter().map(|o| o.nodes.len()).sum();
    let mut text = format!(
        "{} operator{} of this model {} not supported ({nodes} node{}):",
        ops.len(),
        if ops.len() == 1 { "" } else { "s" },
        if ops.len() == 1 { "is" } else { "are" },
        if nodes == 1 { "" } else { "s" },
    );
    for o in ops {
        let names: Vec<String> = o.nodes.iter().take(MAX_NAMES).map(|n| format!("'{n}'")).collect();
        let more = o.nodes.len().saturating_sub(MAX_NAMES);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let opset = o.opset.map_or("no opset imported".to_string(), |v| format!("opset {v}"));
        let why = if o.why.is_empty() { String::new() } else { format!("; {}", o.why) };
        text += &format!(
            "\n  {} ({opset}), {} time{}: {}{more}{why}",
            o.operator,
            o.nodes.len(),
            if o.nodes.len() == 1 { "" } else { "s" },
            names.join(", "),
        );
    }
    text
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(p) => write!(f, "{}: {}", p.display(), self.kind),
            None => self.kind.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.kind)
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Error { path: None, kind }
    }
}

impl ErrorKind {
    /// This error, of that file.
    pub(crate) fn at(self, path: &Path) -> Error {
        Error { path: Some(path.to_path_buf()), kind: self }
    }
}

/// What the parts of import give.
pub(crate) type Result<T, E = ErrorKind> = std::result::Result<T, E>;
