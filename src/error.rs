//! What can go wrong, and whose fault it is.

use fornax_compiler::codegen;
use fornax_ir::graph::interp::InterpError;
use fornax_ir::literal::LiteralError;
use fornax_runtime::{InstanceError, PoolError, RunError};

use crate::graph_file::GraphFileError;
use crate::trace::TraceError;

/// Why a model could not be loaded or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read, is no model, or holds what is not supported.
    #[error(transparent)]
    Import(#[from] fornax_onnx::Error),
    /// A graph's own file cannot be read or written, or holds none.
    #[error(transparent)]
    GraphFile(#[from] GraphFileError),
    /// An option makes no sense for this model or machine.
    #[error("{0}")]
    Option(String),
    /// The model cannot be compiled.
    #[error(transparent)]
    Compile(#[from] fornax_compiler::Error),
    /// The inputs given don't fit the model's.
    #[error(transparent)]
    Input(#[from] InputError),
    /// No such output or intermediate value.
    #[error("the model has no value named '{name}'{near}")]
    UnknownValue {
        /// The name asked for.
        name: String,
        /// Names like it, as an ending of the message; may be empty.
        near: String,
    },
    /// A function cannot be traced, or not be called with these arguments.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// A tensor could not be made.
    #[error(transparent)]
    Tensor(#[from] LiteralError),
    /// The model read or wrote outside an axis; see `docs/numerics.md`.
    #[error("an index is out of range: {0}")]
    Index(String),
    /// A condition on shapes that only the run could check does not hold.
    #[error("the inputs' shapes don't fit the model: {0}")]
    Shape(String),
    /// The run was cancelled.
    #[error("the run was cancelled")]
    Cancelled,
    /// The run failed.
    #[error(transparent)]
    Run(RunError),
    /// The compiled program cannot be used.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The threads could not be started.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// More memory is needed than the limit allows.
    #[error("{what} needs {needed} bytes; the memory limit is {limit}")]
    MemoryLimit {
        /// What needs the memory.
        what: &'static str,
        /// How much.
        needed: u64,
        /// The limit.
        limit: usize,
    },
    /// A fault of this library.
    #[error("{0}")]
    Internal(String),
}

/// Why inputs don't fit a model's.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InputError {
    /// A name that the model does not know.
    #[error("the model has no input '{name}'; its inputs are {known}")]
    Unknown {
        /// The name given.
        name: String,
        /// The names of the inputs.
        known: String,
    },
    /// A name given twice.
    #[error("input '{name}' is given twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// An input without a value.
    #[error("input '{name}' is missing; it is {ty}")]
    Missing {
        /// The name.
        name: String,
        /// Its dtype and shape.
        ty: String,
    },
    /// A dtype, rank or extent that does not fit.
    #[error(transparent)]
    Type(#[from] InterpError),
}

impl Error {
    /// Whether the fault lies in what was given (a file, an option, an input, too little memory) and not in this
    /// library.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Error::Compile(error) => compile_error_is_bad_input(error),
            Error::Run(error) => error.is_bad_input() || matches!(error, RunError::Memory(_)),
            Error::Instance(error) => matches!(error, InstanceError::Weights(_)),
            Error::Pool(error) => !matches!(error, PoolError::BodyPanicked { .. }),
            Error::Internal(_) => false,
            _ => true,
        }
    }
}

fn compile_error_is_bad_input(error: &fornax_compiler::Error) -> bool {
    use codegen::Error as E;
    use codegen::program::ProgramError;
    match error {
        fornax_compiler::Error::Internal { .. } | fornax_compiler::Error::Canonicalize(_) => false,
        fornax_compiler::Error::Codegen(error) => match error {
            E::UnknownCpu { .. } | E::UnknownLeaf { .. } | E::CpuLacking { .. } => true,
            E::LeafLacking { .. } | E::Target { .. } => true,
            // A condition on the model's own shapes that fails whatever it is given.
            E::Program { source, .. } => matches!(source, ProgramError::NeverRuns(_)),
            _ => false,
        },
        _ => true,
    }
}
