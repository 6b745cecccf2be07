//! Fornax: a deep-learning compiler.
//!
//! A trained model is read from an ONNX file (or a graph saved before, see [`graph_file`]), compiled to native code in
//! this process, and run:
//!
//! ```no_run
//! use fornax::{Model, Tensor};
//!
//! let model = Model::load("model.onnx")?;
//! let x = Tensor::zeros(&[1, 3, 224, 224], fornax::DType::F32)?;
//! let outputs = model.run(&[("x", &x)])?;
//! println!("{:?}", outputs[0].as_slice::<f32>()?);
//! # Ok::<(), fornax::Error>(())
//! ```
//!
//! Models are also written as ordinary code. Operations on a [`Tensor`] run at once, each as native code that is compiled
//! at its first use and serves every size after that:
//!
//! ```
//! use fornax::{DType, Tensor};
//!
//! let x = Tensor::from([[1.0f32, -2.0, 3.0], [0.5, 0.0, -1.0]]);
//! let weight = Tensor::eye(3, DType::F32) * 2;
//! let y = (x.linear(&weight, None).relu() + 1).softmax(-1);
//! assert!(y.sum(-1, false).allclose(&Tensor::ones([2], DType::F32), 1e-6, 0.0));
//! ```
//!
//! One compilation serves every size of the model's symbolic dims. A [`Model`] is `Send + Sync`: it may be run from many
//! threads at once. What programs compute, down to the corner cases, is stated in `docs/numerics.md`.

/// Derived code names this crate by its name, here too.
#[allow(unused_extern_crates)]
extern crate self as fornax;

mod compare;
mod dim;
pub mod eager;
mod error;
mod executable;
pub mod graph_file;
mod inspect;
pub mod io;
pub mod jit;
mod loading;
mod model;
mod options;
mod tensor;
pub mod testing;
pub mod trace;
pub mod tree;

pub use compare::{Comparison, Tolerance, compare};
pub use dim::Dim;
pub use error::{Error, InputError};
pub use executable::KernelTime;
pub use fornax_compiler::Optimizer;
pub use fornax_compiler::codegen::{Cpu, Leaf};
pub use fornax_compiler::rewrite::fusion::Moves as FusionMoves;
pub use fornax_compiler::rewrite::{Decision as RewriteDecision, Report as RewriteReport};
pub use fornax_derive::TensorTree;
pub use fornax_ir::DType;
pub use fornax_ir::literal::{Element, LiteralError as TensorError};
pub use fornax_runtime::CancelToken;
pub use inspect::{ModelInfo, Stage, Verified, dump, graph_of, inspect, verify};
pub use jit::{Jit, jit};
pub use model::{Bindings, Extent, Model, Outputs, Stats, TensorInfo};
pub use options::{Backend, Float, Options};
#[cfg(feature = "ndarray")]
pub use tensor::ArrayElement;
pub use tensor::{
    Axes, Ellipsis, Index, Indices, IntoShape, NewAxis, Number, RangeElement, RightOperand, Rows, Size,
    Tensor, Value, Window, cat, einsum, stack, step,
};
pub use trace::{Compiled, Lowered, TraceError, Traced, cond, scan, scan_reverse, trace, while_loop};
pub use tree::TensorTree;

/// The graphs that [`Model::from_graph`] takes.
pub use fornax_ir as ir;

/// The code in the README runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
