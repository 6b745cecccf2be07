//! Operators that compute each element from the operands' elements at the same index.
//!
//! Operands have equal shapes (broadcasting is explicit) and equal dtypes unless said otherwise.
//! What each scalar operator computes is said in [`crate::scalar`].

use crate::dtype::DType;
use crate::literal::Literal;
use crate::scalar::{BinaryOp, CompareOp, UnaryOp};
use super::super::{OpError, SymValue, TensorType};
use super::{EvalCx, InferCx, Meaning, Vjp};

/// An operator of one operand; the result has its dtype (`IsNan`: bool).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Unary(
    /// Which.
    pub UnaryOp,
);

/// An operator of two operands of one dtype.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Binary(
    /// Which.
    pub BinaryOp,
);

/// A comparison of two operands of one dtype; the result is bool.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Compare(
    /// Which.
    pub CompareOp,
);

/// The second operand where the first (bool) is true, else the third.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Select;

/// Conversion: floats to integers truncate and saturate (NaN is 0), integers wrap, to bool is `!= 0`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Cast(
    /// The result's dtype.
    pub DType,
);

/// The same bits as another dtype of equal width.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Bitcast(
    /// The result's dtype.
    pub DType,
);

impl Meaning for Unary {
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

impl Meaning for Binary {
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

impl Meaning for Compare {
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

impl Meaning for Select {
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

impl Meaning for Cast {
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

impl Meaning for Bitcast {
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
