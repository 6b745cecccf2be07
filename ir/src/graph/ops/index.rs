//! Operators whose element places depend on data.

use crate::literal::Literal;
use super::super::{OpError, SymValue, TensorType};
use super::{EvalCx, InferCx, Meaning, Vjp};

/// Elements of the first operand at places given by the others, one integer index tensor for each of `axes`.
///
/// All index tensors have one shape I and one integer dtype. The result's shape is the data's with the
/// indexed axes removed and I inserted where the first of them stood. Negative indices count from the end;
/// an index still outside gives 0 and sets the index error flag.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Gather {
    /// The indexed axes of the data, ascending.
    pub axes: Vec<u32>,
}

impl Meaning for Gather {
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
