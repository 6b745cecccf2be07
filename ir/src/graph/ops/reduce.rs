//! Reductions over whole axes.

use crate::literal::Literal;
use crate::scalar::ReduceOp;
use super::super::{OpError, SymValue, TensorType};
use super::{EvalCx, InferCx, Meaning, Vjp};

/// Combines all elements along some axes, which vanish from the shape.
///
/// A sum or product combines 32 interleaved partials (`docs/numerics.md`).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reduce {
    /// How two elements combine.
    pub op: ReduceOp,
    /// The axes, ascending, without repetition.
    pub axes: Vec<u32>,
}

impl Meaning for Reduce {
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
