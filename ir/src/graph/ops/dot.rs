//! Contractions.

use crate::literal::Literal;
use super::super::{OpError, SymValue, TensorType};
use super::{EvalCx, InferCx, Meaning, Vjp};

/// Sum of products over the contracted axes, for every index of the batch axes and of both free axes.
///
/// The result's axes: batch axes in the order listed, free axes of the left operand, free axes of the
/// right one. Products are summed in ascending order of the contracted index (the first listed pair outermost).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DotGeneral {
    /// Pairs of (left, right) axes that run together.
    pub batch: Vec<(u32, u32)>,
    /// Pairs of (left, right) axes that are summed over.
    pub contract: Vec<(u32, u32)>,
}

impl Meaning for DotGeneral {
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
