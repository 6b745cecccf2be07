//! Operators that compute each element from the operands' elements at the same index.
//!
//! Operands have equal shapes (broadcasting is explicit) and equal dtypes unless said otherwise.
//! What each scalar operator computes is said in [`crate::scalar`].

mod eval;
mod symbolic;

use super::super::{OpError, SymValue, TensorType};
use super::check::{bad_dtype, same_dtype};
use super::{EvalCx, InferCx, Meaning, Vjp};
use crate::dtype::{DTYPES, DType};
use crate::literal::Literal;
use crate::scalar::eval::{binary_accepts, bitcast_accepts, unary_accepts, unary_result};
use crate::scalar::{BinaryOp, CompareOp, UnaryOp};

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

/// The same bits as another dtype of equal width (not from or to bool, whose bits are restricted).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Bitcast(
    /// The result's dtype.
    pub DType,
);

/// The names of the dtypes that `accepts` accepts, for messages.
fn accepted(accepts: impl Fn(DType) -> bool) -> String {
    let names: Vec<_> = DTYPES.iter().filter(|i| accepts(i.dtype)).map(|i| i.name).collect();
    names.join(", ")
}

impl Meaning for Unary {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        let (op, x) = (self.0, inputs[0]);
        if !unary_accepts(op, x.dtype) {
            let takes = accepted(|d| unary_accepts(op, d));
            return bad_dtype(op.name(), format!("cannot take {x}; it takes {takes}"));
        }
        cx.result(op.name(), unary_result(op, x.dtype), x.shape.clone())
    }
    fn symbolic(
        &self,
        inputs: &[Option<&SymValue>],
        types: &[&TensorType],
        out: &TensorType,
    ) -> Option<SymValue> {
        symbolic::unary(self.0, inputs[0]?, types[0].dtype, out)
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        eval::unary(self.0, cx, inputs[0])
    }
    fn vjp(&self) -> Vjp {
        use UnaryOp::*;
        match self.0 {
            Sign | Not | Floor | Ceil | Round | Trunc | IsNan => Vjp::Zero,
            Neg | Abs | Exp | Log | Sqrt | Sin | Cos | Tanh | Erf | Atan => Vjp::NotYet,
        }
    }
}

impl Meaning for Binary {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        let (op, name) = (self.0, self.0.name());
        let dtype = same_dtype(name, inputs[0], inputs[1])?;
        if !binary_accepts(op, dtype) {
            let takes = accepted(|d| binary_accepts(op, d));
            return bad_dtype(name, format!("cannot take {}; it takes {takes}", inputs[0]));
        }
        let shape = cx.same_shape(name, inputs[0], inputs[1])?;
        cx.result(name, dtype, shape)
    }
    fn symbolic(
        &self,
        inputs: &[Option<&SymValue>],
        types: &[&TensorType],
        out: &TensorType,
    ) -> Option<SymValue> {
        symbolic::binary(self.0, inputs[0]?, inputs[1]?, types[0].dtype, out)
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        eval::binary(self.0, cx, inputs[0], inputs[1])
    }
    fn vjp(&self) -> Vjp {
        use BinaryOp::*;
        match self.0 {
            And | Or | Xor | Shl | Shr => Vjp::Zero,
            Add | Sub | Mul | Div | Rem | Pow | Min | Max => Vjp::NotYet,
        }
    }
}

impl Meaning for Compare {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        let name = self.0.name();
        same_dtype(name, inputs[0], inputs[1])?;
        let shape = cx.same_shape(name, inputs[0], inputs[1])?;
        cx.result(name, DType::Bool, shape)
    }
    fn symbolic(
        &self,
        inputs: &[Option<&SymValue>],
        types: &[&TensorType],
        out: &TensorType,
    ) -> Option<SymValue> {
        symbolic::compare(self.0, inputs[0]?, inputs[1]?, types[0].dtype, out)
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        eval::compare(self.0, cx, inputs[0], inputs[1])
    }
    fn vjp(&self) -> Vjp {
        Vjp::Zero
    }
}

impl Meaning for Select {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "select";
        let (c, a, b) = (inputs[0], inputs[1], inputs[2]);
        if c.dtype != DType::Bool {
            return bad_dtype(OP, format!("the condition must be bool, but is {c}; compare it first"));
        }
        let dtype = same_dtype(OP, a, b)?;
        let shape = cx.same_shape(OP, a, b)?;
        let branches = TensorType::new(dtype, shape);
        let shape = cx.same_shape(OP, &branches, c)?;
        cx.result(OP, dtype, shape)
    }
    fn symbolic(
        &self,
        inputs: &[Option<&SymValue>],
        _: &[&TensorType],
        out: &TensorType,
    ) -> Option<SymValue> {
        symbolic::select(inputs, out)
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        eval::select(cx, inputs[0], inputs[1], inputs[2])
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}

impl Meaning for Cast {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        cx.result("cast", self.0, inputs[0].shape.clone())
    }
    fn symbolic(
        &self,
        inputs: &[Option<&SymValue>],
        types: &[&TensorType],
        out: &TensorType,
    ) -> Option<SymValue> {
        symbolic::cast(inputs[0]?, types[0].dtype, out)
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        eval::cast(self.0, cx, inputs[0])
    }
    fn vjp(&self) -> Vjp {
        if self.0.is_float() { Vjp::NotYet } else { Vjp::Zero }
    }
}

impl Meaning for Bitcast {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        let x = inputs[0];
        if !bitcast_accepts(x.dtype, self.0) {
            let takes = accepted(|d| bitcast_accepts(x.dtype, d));
            let what = format!("the bits of {x} cannot be taken as {}, only as {takes}", self.0);
            return bad_dtype("bitcast", what);
        }
        cx.result("bitcast", self.0, x.shape.clone())
    }
    fn symbolic(&self, _: &[Option<&SymValue>], _: &[&TensorType], _: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        Literal::from_bytes(self.0, cx.shape, inputs[0].bytes().clone())
            .map_err(|e| OpError::Eval { op: "bitcast", what: e.to_string() })
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotDifferentiable("it takes the bits of a value as another number")
    }
}
