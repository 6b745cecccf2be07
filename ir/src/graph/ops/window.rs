//! Reductions over sliding windows.

use crate::dim::Dim;
use crate::literal::Literal;
use crate::scalar::ReduceOp;
use super::super::{OpError, SymValue, TensorType};
use super::{EvalCx, InferCx, Meaning, Vjp};

/// Combines the elements of a window sliding over the last `window.len()` axes; the leading axes stay.
///
/// Positions outside the operand take no part. Output extent as for [`super::Conv`].
/// Elements combine one after the other in row-major order of the window.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ReduceWindow {
    /// How two elements combine.
    pub op: ReduceOp,
    /// Window extents, positive.
    pub window: Vec<i64>,
    /// Stride of each windowed axis, positive.
    pub strides: Vec<i64>,
    /// Padding before and after each windowed axis; not negative.
    pub pads: Vec<(Dim, Dim)>,
    /// Distance of taps, positive.
    pub dilations: Vec<i64>,
}

impl Meaning for ReduceWindow {
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
