//! Operators without operands.

use crate::dim::Dim;
use crate::dtype::DType;
use crate::literal::Literal;
use super::super::ConstId;
use super::super::{OpError, SymValue, TensorType};
use super::{EvalCx, InferCx, Meaning, Vjp};

/// The graph's input of that number.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct InputRef(
    /// Index into the graph's inputs.
    pub u32,
);

/// Element `i` along `axis` is `i`, at every place of the other axes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Iota {
    /// Element type: an integer or float.
    pub dtype: DType,
    /// Extents.
    pub shape: Vec<Dim>,
    /// The axis that counts.
    pub axis: u32,
}

/// Extents as data: an i64 tensor of rank 0 or 1 whose elements are expressions over the symbols.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Dims {
    /// The elements; exactly one for rank 0.
    pub dims: Vec<Dim>,
    /// Rank 0 instead of rank 1.
    pub scalar: bool,
}

/// The graph's constant of that number.
pub type Constant = ConstId;

impl Meaning for InputRef {
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

impl Meaning for Iota {
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

impl Meaning for Dims {
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

impl Meaning for Constant {
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
