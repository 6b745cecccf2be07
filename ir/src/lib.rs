//! The languages of Fornax, each with its text form, verifier and interpreter:
//!
//! - [`graph`] (GIR): tensors; what a front produces and the rewriter changes.
//! - [`kernel`] (KIR): loop nests over memory; what the scheduler produces.
//! - [`leaf`] (LIR): lane-typed innermost programs; what a leaf emitter encodes.
//!
//! They share element types ([`dtype`]), symbolic dimensions ([`dim`]), concrete arrays
//! ([`literal`]) and the scalar operators with their meaning ([`scalar`]); [`file`](mod@file) opens and writes files.

pub mod dim;
pub mod dtype;
mod ffi;
pub mod file;
pub mod graph;
pub mod kernel;
pub mod leaf;
pub mod literal;
mod reference;
pub mod scalar;

pub use dim::{Dim, Ranges};
pub use dtype::{DType, DTypeClass};
pub use literal::Literal;
