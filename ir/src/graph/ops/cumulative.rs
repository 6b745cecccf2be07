//! Running combinations along an axis.

use super::super::{OpError, SymValue, TensorType};
use super::check::{bad_dtype, bad_shape};
use super::strided::{bad_eval, count, literal, zeros};
use super::{EvalCx, InferCx, Meaning, Vjp};
use crate::dim::Dim;
use crate::dtype::DType;
use crate::literal::Literal;
use crate::reference;
use crate::scalar::ReduceOp;
use crate::scalar::eval::reduce_accepts;

/// Element `i` along the axis combines the elements up to `i`: `y[i] = x[0] op x[1] op .. op x[i]`.
///
/// f16 and bf16 combine in f32, and each element is rounded. In which order floats are added is a matter of the
/// schedule (`docs/numerics.md`).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Cumulative {
    /// How two elements combine.
    pub op: ReduceOp,
    /// The axis.
    pub axis: u32,
    /// Element `i` itself is left out, so that the first one is what changes nothing.
    pub exclusive: bool,
    /// From the end: the elements from `i` on.
    pub reverse: bool,
}

impl Meaning for Cumulative {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "cumulative";
        let x = inputs[0];
        if x.dtype == DType::Bool || !reduce_accepts(self.op, x.dtype) {
            return bad_dtype(OP, format!("{} is not defined for {x}; cast it first", self.op));
        }
        if self.axis as usize >= x.rank() {
            let what = format!("axis {} is out of range: {x} has {} axes", self.axis, x.rank());
            return bad_shape(OP, what);
        }
        cx.result(OP, x.dtype, x.shape.clone())
    }
    fn symbolic(
        &self,
        inputs: &[Option<&SymValue>],
        types: &[&TensorType],
        _: &TensorType,
    ) -> Option<SymValue> {
        let (x, [n]) = (inputs[0]?, inputs[0]?.shape[..].try_into().ok()?);
        if self.op != ReduceOp::Sum || types[0].dtype != DType::I64 {
            return None;
        }
        let mut elems = vec![Dim::ZERO; n];
        let mut running = Dim::ZERO;
        for j in 0..n {
            let j = if self.reverse { n - 1 - j } else { j };
            let next = running.clone() + &x.elems[j];
            elems[j] = if self.exclusive { running } else { next.clone() };
            running = next;
        }
        Some(SymValue { shape: vec![n], elems })
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        const OP: &str = "cumulative";
        let bytes = count(OP, cx.dtype, cx.shape)? * cx.dtype.bytes();
        let mut out = zeros::<u8>(OP, bytes)?;
        let (before, rest) = cx.shape.split_at(self.axis as usize);
        let shape = [before.iter().product(), rest[0], rest[1..].iter().product()];
        let (op, exclusive, reverse) = (self.op, self.exclusive, self.reverse);
        let of = reference::Cumulative { dtype: cx.dtype, shape, op, exclusive, reverse };
        match of.run(inputs[0].bytes(), &mut out) {
            Ok(()) => literal(OP, cx.dtype, cx.shape, out),
            Err(what) => bad_eval(OP, what),
        }
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}
