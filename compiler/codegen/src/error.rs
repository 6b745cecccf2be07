//! The errors of code generation.

use cranelift_codegen::CodegenError;
use cranelift_module::ModuleError;

use crate::program::ProgramError;
use crate::target::{Cpu, Leaf};

/// Why no code could be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No CPU level has this name.
    #[error("unknown CPU `{name}`; known are {known}", known = Cpu::known_names())]
    UnknownCpu {
        /// The name as it was given.
        name: String,
    },
    /// No leaf emitter has this name.
    #[error("unknown leaf emitter `{name}`; known are {known}", known = Leaf::known_names())]
    UnknownLeaf {
        /// The name as it was given.
        name: String,
    },
    /// The leaf emitter needs more of the CPU than was asked for.
    #[error(
        "the leaf emitter `{leaf}` needs AVX2 and FMA, which `{cpu}` does not have here; `auto` picks one that fits"
    )]
    LeafLacking {
        /// The emitter.
        leaf: Leaf,
        /// The CPU level asked for.
        cpu: Cpu,
    },
    /// The code would not run on this machine.
    #[error("this machine cannot run code for `{cpu}`: {missing}; `native` picks what the machine has")]
    CpuLacking {
        /// The CPU level asked for.
        cpu: Cpu,
        /// What is missing.
        missing: String,
    },
    /// Cranelift has no backend for the target, or refuses its settings.
    #[error("cannot generate code for the target `{triple}`: {what}")]
    Target {
        /// The target triple.
        triple: String,
        /// Cranelift's reason.
        what: String,
    },
    /// The program breaks an invariant: a fault of whoever scheduled it.
    #[error("the program `{program}` is malformed (a fault of the compiler): {source}")]
    Program {
        /// The program's name.
        program: String,
        /// What is wrong, and where.
        source: ProgramError,
    },
    /// A kernel uses something that code generation does not cover.
    #[error("kernel `{kernel}`: {what}")]
    Kernel {
        /// The kernel's name.
        kernel: String,
        /// What it is, and what is covered.
        what: String,
    },
    /// Cranelift refused a function: a fault of this crate.
    #[error("Cranelift refused the function `{function}` (a fault of the compiler): {what}")]
    Cranelift {
        /// The function's name.
        function: String,
        /// Cranelift's reason, with the offending instructions when its verifier objects.
        what: String,
    },
    /// The functions could not be put together.
    #[error("linking the program `{program}`: {source}")]
    Link {
        /// The program's name.
        program: String,
        /// Why not.
        source: LinkError,
    },
    /// The weights are fewer bytes than the program reads.
    #[error("the program reads {expected} bytes of weights, {found} were given")]
    Weights {
        /// Bytes it reads.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// The code could not be joined with weights and threads.
    #[error(transparent)]
    Instance(fornax_runtime::program::InstanceError),
    /// A compilation thread panicked: a fault of the compiler.
    #[error("compiling panicked (a fault of the compiler): {what}")]
    Panicked {
        /// The panic's message.
        what: String,
    },
}

impl Error {
    /// Cranelift's refusal of `function`, with the details that its own text leaves out.
    pub(crate) fn cranelift(function: &str, error: &CodegenError) -> Self {
        let what = match error {
            CodegenError::Verifier(errors) => format!("verifier: {errors}"),
            other => other.to_string(),
        };
        Error::Cranelift { function: function.to_owned(), what }
    }
}

impl From<ModuleError> for LinkError {
    fn from(error: ModuleError) -> Self {
        LinkError::Module(Box::new(error))
    }
}

/// Why an image could not be linked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A declaration or definition was refused.
    #[error(transparent)]
    Module(Box<ModuleError>),
    /// Code refers to something that is neither defined nor among the known imports.
    #[error("unknown import `{name}`; known are {known}")]
    UnknownImport {
        /// The symbol.
        name: String,
        /// The imports that were offered.
        known: String,
    },
    /// A function or data object was declared, referred to, and never defined.
    #[error("`{name}` is used but never defined")]
    Undefined {
        /// The symbol.
        name: String,
    },
    /// A kind of relocation that the image does not apply.
    #[error("relocation {kind} in `{symbol}` is not supported in an image")]
    Relocation {
        /// The relocation.
        kind: String,
        /// Where.
        symbol: String,
    },
    /// A relocation's distance does not fit its field.
    #[error("relocation {kind} in `{symbol}` does not reach its target")]
    OutOfReach {
        /// The relocation.
        kind: String,
        /// Where.
        symbol: String,
    },
    /// The system refused memory, or to make it executable.
    #[error("cannot map {bytes} bytes of executable memory: {source}")]
    Map {
        /// Size of the mapping.
        bytes: usize,
        /// The system's reason.
        source: std::io::Error,
    },
}
