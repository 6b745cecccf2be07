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

/// What the compiler may do with floating-point arithmetic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Float {
    /// Only rewrites that keep every bit of the program as it is before any.
    Strict,
    /// Sums and products may be regrouped where that saves work, by rules of shape and target.
    #[default]
    Reassoc,
    /// At least what `Reassoc` may; at present no more.
    Fast,
}

impl Float {
    /// All of them, from the one that allows least.
    pub const ALL: [Float; 3] = [Float::Strict, Float::Reassoc, Float::Fast];

    /// The name in options.
    pub const fn name(self) -> &'static str {
        match self {
            Float::Strict => "strict",
            Float::Reassoc => "reassoc",
            Float::Fast => "fast",
        }
    }
}

impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Float {
    type Err = String;
    /// The mode of that name; the error lists the known ones.
    fn from_str(s: &str) -> Result<Self, String> {
        Float::ALL.into_iter().find(|m| m.name() == s).ok_or_else(|| {
            format!("unknown float mode `{s}`; known are {}", Float::ALL.map(Float::name).join(", "))
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
    pub(crate) float: Float,
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
            float: Float::default(),
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

    /// What the compiler may do with floating-point arithmetic.
    #[must_use]
    pub fn float(self, float: Float) -> Self {
        Options { float, ..self }
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
