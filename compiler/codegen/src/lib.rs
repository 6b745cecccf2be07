//! Kernels to native code: Cranelift drives, leaves compute.
//!
//! [`compile`] takes a [`Program`] (kernel calls on named places, with sizes in symbolic dims) to a
//! [`Compiled`] one, code in this process. On the way
//!
//! - [`driver`] makes the Cranelift function of each distinct kernel, with leaves by an emitter of
//!   [`leaf`], planned by [`tile`]; [`block`] is the interface between a kernel and its caller;
//! - [`entry`] makes `m_run` and the other entry points around them;
//! - [`image`] holds the code.
#![allow(unsafe_code, reason = "this crate makes executable memory and function pointers into it")]

pub mod block;
mod compile;
mod compiled;
pub mod driver;
pub mod entry;
pub mod error;
pub mod image;
pub mod leaf;
pub mod program;
pub mod target;
pub mod tile;
mod traps;

pub use compile::{Dumps, Options, compilations, compile};
pub use compiled::{Compiled, Stats};
pub use error::{Error, LinkError};
pub use image::{Image, ImageModule};
pub use program::{
    Call, Carried, Guard, GuardKind, Place, Program, ProgramError, Slice, Step, SymbolRange, TensorSpec,
    WeightsLayout,
};
pub use target::{Cpu, Leaf, Target};
pub use traps::trapping_instruction;
