//! The invariants of a [`Program`]. What code generation relies on is exactly this list:
//!
//! - Symbols have different names and ranges that are not empty and not negative.
//! - Every dim has a value: it names declared symbols only, no axis, and did not overflow.
//! - Extents of inputs are symbols or constants from 0 on. Aliases name inputs and outputs.
//! - Guards name existing messages.
//! - Kernels fulfil the invariants of [`fornax_ir::kernel::verify`].
//! - A call names an existing kernel and gives it as many buffers and scalars as it takes.
//! - Places exist; offsets into the weights are multiples of the buffer's element size.
//! - Only outputs and slots are stored to, and slices of them, and where `next` of a loop points to in it.
//! - Every call is made by exactly one step.
//! - Every loop has variables and a counter of its own; a value is carried in two different slots.
//! - A variable is used in its loop and behind it (`next` only in it), a counter only in its scan.
//! - A slice is a part of no later slice.

mod steps;

use super::{Call, Place, Program};
use fornax_ir::Dim;
use fornax_ir::kernel::verify::VerifyError;
use fornax_ir::kernel::{Access, verify};
use rustc_hash::FxHashSet;

/// A violated invariant of a [`Program`], and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProgramError {
    /// Two symbols of one name.
    #[error("symbol `{0}` is declared twice")]
    DuplicateSymbol(String),
    /// A range without values, or with negative ones.
    #[error("symbol `{0}` has an empty or negative range")]
    Range(String),
    /// A dim that has no value at run time.
    #[error("{place}: the dim `{dim}` {what}")]
    Dim {
        /// Where it stands.
        place: String,
        /// The dim.
        dim: String,
        /// Why it has no value.
        what: String,
    },
    /// An input's extent is an expression or negative.
    #[error("input `{input}`: the extent `{dim}` is neither a symbol nor a constant from 0 on")]
    InputExtent {
        /// The input.
        input: String,
        /// The extent.
        dim: String,
    },
    /// An index leads nowhere.
    #[error("{place}: {what} {index} does not exist; there are {count}")]
    Index {
        /// Where it stands.
        place: String,
        /// What it should name.
        what: &'static str,
        /// The index.
        index: u64,
        /// How many there are.
        count: u64,
    },
    /// A kernel is malformed.
    #[error(transparent)]
    Kernel(#[from] VerifyError),
    /// The wrong number of arguments.
    #[error("{place}: kernel `{kernel}` takes {expected} {what}, {found} are given")]
    Count {
        /// Where it stands.
        place: String,
        /// The kernel.
        kernel: String,
        /// "buffers" or "scalars".
        what: &'static str,
        /// How many it takes.
        expected: usize,
        /// How many it is given.
        found: usize,
    },
    /// A constant is written to, or a weight is not aligned.
    #[error("{place}: buffer {buffer} of kernel `{kernel}` {what}")]
    Buffer {
        /// Where it stands.
        place: String,
        /// The kernel.
        kernel: String,
        /// Which of its buffers.
        buffer: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The steps and the calls, variables and counters do not match.
    #[error("{0}")]
    Steps(String),
    /// A guard or size that is known when the program is compiled, and fails.
    #[error("{0}")]
    NeverRuns(String),
}

impl Program {
    /// Checks every invariant of the list above.
    ///
    /// # Errors
    /// The first violation found. A program that fails was made wrongly: it is no user's error.
    pub fn verify(&self) -> Result<(), ProgramError> {
        let mut names = FxHashSet::default();
        for symbol in &self.symbols {
            if !names.insert(symbol.name.as_str()) {
                return Err(ProgramError::DuplicateSymbol(symbol.name.clone()));
            }
            if symbol.lo < 0 || symbol.hi.is_some_and(|hi| hi < symbol.lo) {
                return Err(ProgramError::Range(symbol.name.clone()));
            }
        }
        let dims = Dims { names };
        for input in &self.inputs {
            for extent in &input.shape {
                dims.check(extent, || format!("input `{}`", input.name))?;
                if extent.as_symbol().is_none() && extent.as_const().is_none_or(|c| c < 0) {
                    let (input, dim) = (input.name.clone(), extent.to_string());
                    return Err(ProgramError::InputExtent { input, dim });
                }
            }
        }
        for output in &self.outputs {
            for extent in &output.shape {
                dims.check(extent, || format!("output `{}`", output.name))?;
            }
        }
        for &(input, output) in &self.aliases {
            let place = || "alias table".to_owned();
            index(place, "input", input.into(), self.inputs.len())?;
            index(place, "output", output.into(), self.outputs.len())?;
        }
        for (i, guard) in self.guards.iter().enumerate() {
            let place = || format!("guard {i}");
            dims.check(&guard.lhs, place)?;
            dims.check(&guard.rhs, place)?;
            index(place, "message", guard.message.into(), self.messages.len())?;
        }
        for (i, bytes) in self.slots.iter().enumerate() {
            dims.check(bytes, || format!("slot {i}"))?;
        }
        self.kernels.iter().try_for_each(verify::verify)?;
        self.calls.iter().enumerate().try_for_each(|(i, call)| self.verify_call(&dims, i, call))?;
        self.verify_steps(&dims)
    }

    fn verify_call(&self, dims: &Dims<'_>, i: usize, call: &Call) -> Result<(), ProgramError> {
        let place = || format!("call {i} ({})", call.label);
        index(place, "kernel", call.kernel as u64, self.kernels.len())?;
        let kernel = &self.kernels[call.kernel];
        let count = |what, expected, found| {
            let (place, kernel) = (place(), kernel.name.clone());
            let error = ProgramError::Count { place, kernel, what, expected, found };
            if expected == found { Ok(()) } else { Err(error) }
        };
        count("buffers", kernel.buffers.len(), call.buffers.len())?;
        count("scalars", kernel.scalars as usize, call.scalars.len())?;
        for dim in call.scalars.iter().chain([&call.work, &call.bytes]) {
            dims.check(dim, place)?;
        }
        for (b, (decl, buffer)) in kernel.buffers.iter().zip(&call.buffers).enumerate() {
            let fault = |what| {
                let (place, kernel) = (place(), kernel.name.clone());
                Err(ProgramError::Buffer { place, kernel, buffer: b, what })
            };
            match *buffer {
                Place::Input(n) => index(place, "input", n.into(), self.inputs.len())?,
                Place::Output(n) => index(place, "output", n.into(), self.outputs.len())?,
                Place::Slot(n) => index(place, "slot", n.into(), self.slots.len())?,
                Place::Weights(offset) if offset > self.weights.bytes => {
                    let (place, count) = (place(), self.weights.bytes);
                    return Err(ProgramError::Index { place, what: "weights byte", index: offset, count });
                }
                Place::Weights(offset) if offset % decl.dtype.bytes() as u64 != 0 => {
                    return fault("is not aligned to its element's size");
                }
                Place::Weights(_) => {}
                Place::Variable(n) => index(place, "variable", n.into(), self.variables as usize)?,
                Place::Slice(n) => index(place, "slice", n.into(), self.slices.len())?,
            }
            if decl.access != Access::Read
                && matches!(self.base(*buffer), Place::Input(_) | Place::Weights(_))
            {
                return fault("is stored to, and is an input or a weight");
            }
        }
        Ok(())
    }
}

/// The declared symbols.
struct Dims<'a> {
    names: FxHashSet<&'a str>,
}

impl Dims<'_> {
    fn check(&self, dim: &Dim, place: impl Fn() -> String) -> Result<(), ProgramError> {
        let fault = |what: String| Err(ProgramError::Dim { place: place(), dim: dim.to_string(), what });
        if dim.as_const().is_some() {
            return Ok(());
        }
        if dim.is_poisoned() {
            return fault("overflowed while it was built".into());
        }
        if dim.has_axes() {
            return fault("names a loop axis".into());
        }
        match dim.symbols().iter().find(|name| !self.names.contains(&***name)) {
            Some(name) => fault(format!("names `{name}`, which is not declared")),
            None => Ok(()),
        }
    }
}

fn index(
    place: impl Fn() -> String,
    what: &'static str,
    index: u64,
    count: usize,
) -> Result<(), ProgramError> {
    let count = count as u64;
    if index < count { Ok(()) } else { Err(ProgramError::Index { place: place(), what, index, count }) }
}
