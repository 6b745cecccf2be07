//! Operators that move elements and compute nothing.

use crate::dim::Dim;
use crate::literal::Literal;
use super::super::{OpError, SymValue, TensorType};
use super::{EvalCx, InferCx, Meaning, Vjp};

/// The same elements in row-major order under other extents; the element count must not change.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reshape {
    /// The new extents.
    pub shape: Vec<Dim>,
}

/// Axis `k` of the result is axis `perm[k]` of the operand.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Permute {
    /// A permutation of the axes.
    pub perm: Vec<u32>,
}

/// Repeats the operand along new axes and along axes of extent 1.
///
/// Axis `i` of the operand becomes axis `axes[i]` (ascending) of the result; its extent is that axis'
/// extent, or 1, which repeats.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Broadcast {
    /// The result's extents.
    pub shape: Vec<Dim>,
    /// Where each operand axis goes.
    pub axes: Vec<u32>,
}

/// Element `i` along axis `k` is the operand's element `start[k] + i * step[k]`; all must exist.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Slice {
    /// First element, an axis each.
    pub start: Vec<Dim>,
    /// The result's extents.
    pub size: Vec<Dim>,
    /// Distance of elements; may be negative, never 0.
    pub step: Vec<i64>,
}

/// The first operand, surrounded by the second (rank 0, same dtype).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Pad {
    /// Elements before, an axis each; not negative.
    pub lo: Vec<Dim>,
    /// Elements after, an axis each; not negative.
    pub hi: Vec<Dim>,
}

/// The operands one after the other along `axis`; other extents are equal.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Concat {
    /// The axis.
    pub axis: u32,
}

impl Meaning for Reshape {
    fn infer(&self, _cx: &mut InferCx<'_>, _inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        todo!()
    }
    fn symbolic(&self, _inputs: &[Option<&SymValue>], _types: &[&TensorType], _out: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, _cx: &EvalCx<'_>, _inputs: &[&Literal]) -> Result<Literal, OpError> {
        todo!()
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}

impl Meaning for Permute {
    fn infer(&self, _cx: &mut InferCx<'_>, _inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        todo!()
    }
    fn symbolic(&self, _inputs: &[Option<&SymValue>], _types: &[&TensorType], _out: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, _cx: &EvalCx<'_>, _inputs: &[&Literal]) -> Result<Literal, OpError> {
        todo!()
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}

impl Meaning for Broadcast {
    fn infer(&self, _cx: &mut InferCx<'_>, _inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        todo!()
    }
    fn symbolic(&self, _inputs: &[Option<&SymValue>], _types: &[&TensorType], _out: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, _cx: &EvalCx<'_>, _inputs: &[&Literal]) -> Result<Literal, OpError> {
        todo!()
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}

impl Meaning for Slice {
    fn infer(&self, _cx: &mut InferCx<'_>, _inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        todo!()
    }
    fn symbolic(&self, _inputs: &[Option<&SymValue>], _types: &[&TensorType], _out: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, _cx: &EvalCx<'_>, _inputs: &[&Literal]) -> Result<Literal, OpError> {
        todo!()
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}

impl Meaning for Pad {
    fn infer(&self, _cx: &mut InferCx<'_>, _inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        todo!()
    }
    fn symbolic(&self, _inputs: &[Option<&SymValue>], _types: &[&TensorType], _out: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, _cx: &EvalCx<'_>, _inputs: &[&Literal]) -> Result<Literal, OpError> {
        todo!()
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}

impl Meaning for Concat {
    fn infer(&self, _cx: &mut InferCx<'_>, _inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        todo!()
    }
    fn symbolic(&self, _inputs: &[Option<&SymValue>], _types: &[&TensorType], _out: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, _cx: &EvalCx<'_>, _inputs: &[&Literal]) -> Result<Literal, OpError> {
        todo!()
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}
