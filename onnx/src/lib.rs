//! ONNX import: a model file becomes a graph of GIR primitives; no ONNX operator survives.
//!
//! [`load`] reads and converts a file, [`inspect`] lists its operators without converting, and
//! [`read_tensor`] reads a single tensor file (`input_0.pb`).
//!
//! The parts, in the order a file passes them: [`read`] opens and decodes it, [`tensor`] turns
//! tensors into literals, `import` orders the nodes and keeps names and scopes, and `ops` holds one
//! function for each operator, found through its table.

mod error;
mod import;
mod ops;
pub mod read;
pub mod tensor;

/// The messages of the ONNX format, generated from `proto/onnx.proto`.
#[allow(missing_docs, clippy::all, rust_2018_idioms)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/onnx.rs"));
}

pub use error::{Error, ErrorKind, UnsupportedOp};
pub use import::inspect::{Inspection, OpUse, inspect};
pub use import::{Import, InputInfo, Metadata, OutputInfo, from_bytes, load};
pub use ops::{MAX_OPSET, MIN_OPSET};
pub use tensor::read_tensor;
