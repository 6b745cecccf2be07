//! The program: what the compiler hands to code generation.
//!
//! A program is a table of kernel calls on named places, with sizes in symbolic dims, and the steps
//! that make them: in order, in branches, in loops. It knows no graph: which operator a kernel came
//! from is a label.

mod step;
mod text;
mod verify;

pub use step::{Carried, Slice, Step};

pub use verify::ProgramError;

use fornax_ir::kernel::Kernel;
use fornax_ir::{DType, Dim};

/// A symbol with its declared range.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SymbolRange {
    /// Its name.
    pub name: String,
    /// Smallest value allowed, 0 or more.
    pub lo: i64,
    /// Largest value allowed; `None`: unbounded.
    pub hi: Option<i64>,
}

/// An input or output: contiguous elements in row-major order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents, outermost first; those of inputs are constants or symbols.
    pub shape: Vec<Dim>,
}

impl TensorSpec {
    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> Dim {
        self.shape.iter().fold(Dim::from(self.dtype.bytes()), |n, extent| n * extent)
    }
}

/// What a guard demands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum GuardKind {
    /// `lhs == rhs`.
    Eq,
    /// `lhs <= rhs`.
    Le,
    /// `lhs` is positive and divides `rhs` without remainder.
    Divides,
}

/// A condition on the dims that is checked when the program runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guard {
    /// What is demanded.
    pub kind: GuardKind,
    /// Left side.
    pub lhs: Dim,
    /// Right side.
    pub rhs: Dim,
    /// Index into [`Program::messages`]: what the error says.
    pub message: u32,
}

/// Where a buffer is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Place {
    /// An input of the program.
    Input(u32),
    /// An output of the program.
    Output(u32),
    /// That many bytes behind the start of the weights.
    Weights(u64),
    /// A slot of the arena.
    Slot(u32),
    /// Where a variable points to: what a loop carries, see [`Carried`].
    Variable(u32),
    /// A part of another place, see [`Slice`]: an index into [`Program::slices`].
    Slice(u32),
}

/// One call of a kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// Index into [`Program::kernels`].
    pub kernel: usize,
    /// One place a buffer of the kernel.
    pub buffers: Vec<Place>,
    /// One value a scalar argument of the kernel.
    pub scalars: Vec<Dim>,
    /// Estimated time on one thread, nanoseconds; decides how many threads the call is worth.
    pub work: Dim,
    /// For people: which operators it computes.
    pub label: String,
    /// Bytes it reads and writes, for reports.
    pub bytes: Dim,
}

/// The weights a program expects.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WeightsLayout {
    /// Size of all weights together, bytes.
    pub bytes: u64,
}

/// Kernel calls, the steps that make them, and the memory they work on.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// For people.
    pub name: String,
    /// Symbols, in the order of the dims that a run is given.
    pub symbols: Vec<SymbolRange>,
    /// Inputs, in order.
    pub inputs: Vec<TensorSpec>,
    /// Outputs, in order.
    pub outputs: Vec<TensorSpec>,
    /// Pairs (input, output) that may be given one buffer.
    pub aliases: Vec<(u32, u32)>,
    /// Conditions checked before the first kernel runs.
    pub guards: Vec<Guard>,
    /// What error details index.
    pub messages: Vec<String>,
    /// The kernels, each once.
    pub kernels: Vec<Kernel>,
    /// The calls, in the order in which the steps name them.
    pub calls: Vec<Call>,
    /// What runs, in order. Every call is made by exactly one step.
    pub steps: Vec<Step>,
    /// Parts of other places that move with the iterations of a scan.
    pub slices: Vec<Slice>,
    /// How many variables there are: see [`Place::Variable`].
    pub variables: u32,
    /// How many scans there are: each has a counter.
    pub counters: u32,
    /// Arena slots: bytes of each. They lie one after the other, aligned to 64 bytes.
    pub slots: Vec<Dim>,
    /// The weights.
    pub weights: WeightsLayout,
}

impl Program {
    /// The extents of outputs that are neither constants nor symbols, in order: what a run writes to
    /// its `out_dims`.
    pub fn computed_dims(&self) -> impl Iterator<Item = &Dim> {
        self.outputs.iter().flat_map(|tensor| &tensor.shape).filter(|dim| is_computed(dim))
    }
}

pub(crate) fn is_computed(dim: &Dim) -> bool {
    dim.as_const().is_none() && dim.as_symbol().is_none()
}

#[cfg(test)]
mod tests;
