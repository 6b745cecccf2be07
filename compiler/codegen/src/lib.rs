//! Kernels to native code: Cranelift drives, leaves compute.
#![allow(
    unsafe_code,
    reason = "this crate makes executable memory and function pointers into it"
)]

pub mod error;
pub mod image;
pub mod program;
pub mod target;

pub use error::{Error, LinkError};
pub use image::{Image, ImageModule};
pub use target::{Cpu, Leaf, Target};
