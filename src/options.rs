//! How a model is compiled and run.

use std::fmt;
use std::str::FromStr;

use fornax_compiler::Optimizer;
use fornax_compiler::codegen::{Cpu, Leaf};

/// What executes a model.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Backend {
    /// Native code, compiled in this process.
    #[default]
    Jit,
    /// The interpreter of the graph: slow, and the definition of what a program computes.
    Interp,
}

impl Backend {
    /// All backends.
    pub const ALL: [Backend; 2] = [Backend::Jit, Backend::Interp];

    /// The name in options and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Backend::Jit => "jit",
            Backend::Interp => "interp",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Backend {
    type Err = String;
    /// The backend of that name; the error lists the known ones.
    fn from_str(s: &str) -> Result<Self, String> {
        Backend::ALL.into_iter().find(|b| b.name() == s).ok_or_else(|| {
            format!("unknown backend `{s}`; known are {}", Backend::ALL.map(Backend::name).join(", "))
        })
    }
}

/// How a model is compiled and run.
///
/// ```
/// let options = fornax::Options::default().threads(2).dim("batch", 4);
/// # let _ = options;
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    pub(crate) backend: Backend,
    pub(crate) cpu: Cpu,
    pub(crate) leaf: Leaf,
    pub(crate) optimizer: Optimizer,
    pub(crate) threads: usize,
    pub(crate) memory_limit: Option<usize>,
    pub(crate) dims: Vec<(String, i64)>,
}

impl Default for Options {
    /// Native code for this machine, on all its cores.
    fn default() -> Self {
        Options {
            backend: Backend::default(),
            cpu: Cpu::Native,
            leaf: Leaf::default(),
            optimizer: Optimizer::default(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            memory_limit: None,
            dims: Vec::new(),
        }
    }
}

impl Options {
    /// What executes the model.
    #[must_use]
    pub fn backend(self, backend: Backend) -> Self {
        Options { backend, ..self }
    }

    /// How much of the CPU the code may use.
    #[must_use]
    pub fn cpu(self, cpu: Cpu) -> Self {
        Options { cpu, ..self }
    }

    /// Who encodes innermost loops.
    #[must_use]
    pub fn leaf(self, leaf: Leaf) -> Self {
        Options { leaf, ..self }
    }

    /// Who plans the kernels.
    #[must_use]
    pub fn optimizer(self, optimizer: Optimizer) -> Self {
        Options { optimizer, ..self }
    }

    /// Threads of parallel loops, the caller's included. Results don't depend on it.
    #[must_use]
    pub fn threads(self, threads: usize) -> Self {
        Options { threads, ..self }
    }

    /// Most bytes of weights and working memory together, over all concurrent runs. What would exceed it is an error,
    /// before memory is taken.
    #[must_use]
    pub fn memory_limit(self, bytes: Option<usize>) -> Self {
        Options { memory_limit: bytes, ..self }
    }

    /// Fixes a symbolic dim of the inputs: the program is compiled for this value alone.
    #[must_use]
    pub fn dim(mut self, name: &str, value: i64) -> Self {
        self.dims.retain(|(known, _)| known != name);
        self.dims.push((name.to_string(), value));
        self
    }
}
