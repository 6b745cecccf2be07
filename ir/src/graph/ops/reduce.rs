//! Reductions over whole axes.

use super::super::{OpError, SymValue, TensorType};
use super::check::{ascending_axes, bad_dtype};
use super::ring::{Ring, by_ring, combine, identity, narrowed, widened};
use super::strided::{bad_eval, count, filled, permuted, words};
use super::{EvalCx, InferCx, Meaning, Vjp};
use crate::dim::Dim;
use crate::literal::Literal;
use crate::scalar::eval::{self, reduce_accepts};
use crate::scalar::{ReduceOp, Scalar};
use std::borrow::Cow;

/// Combines all elements along some axes, which vanish from the shape.
///
/// A sum or product combines 32 interleaved partials (`docs/numerics.md`): element `i` of the reduced
/// elements in row-major order joins partial `i mod 32`, which starts as the identity; then partial
/// `p` joins `p + 16`, `p + 8`, `p + 4`, `p + 2`, `p + 1`. f16 and bf16 combine in f32 and round once.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reduce {
    /// How two elements combine.
    pub op: ReduceOp,
    /// The axes, ascending, without repetition.
    pub axes: Vec<u32>,
}

/// Number of interleaved partials.
const PARTIALS: usize = 32;

impl Meaning for Reduce {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "reduce";
        let x = inputs[0];
        if !reduce_accepts(self.op, x.dtype) {
            return bad_dtype(OP, format!("{} is not defined for {x}; cast it first", self.op));
        }
        ascending_axes(OP, &self.axes, x.rank(), x)?;
        let kept = (0..x.rank()).filter(|&k| !self.axes.contains(&(k as u32)));
        cx.result(OP, x.dtype, kept.map(|k| x.shape[k].clone()).collect())
    }
    fn symbolic(
        &self,
        inputs: &[Option<&SymValue>],
        types: &[&TensorType],
        out: &TensorType,
    ) -> Option<SymValue> {
        let x = inputs[0]?;
        let shape = out.const_shape()?;
        let dtype = types[0].dtype;
        let follows = matches!(dtype, crate::DType::I32 | crate::DType::I64);
        let first = Dim::constant(Scalar::identity(self.op, dtype).as_i64());
        let n: usize = shape.iter().product();
        // The identity of a minimum or maximum would stay in an expression.
        let mut elems: Vec<Option<Dim>> = vec![None; n];
        for (i, d) in x.elems.iter().enumerate() {
            let at = self.kept_place(i, &x.shape);
            let joined = match elems[at].take() {
                None => d.clone(),
                Some(acc) => self.join(&acc, d, dtype),
            };
            elems[at] = Some(joined).filter(|d| follows || d.as_const().is_some());
            elems[at].as_ref()?;
        }
        let elems = elems.into_iter().map(|d| d.unwrap_or_else(|| first.clone())).collect();
        Some(SymValue { shape, elems })
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        by_ring!(inputs[0].dtype(), T => self.eval_in::<T>(cx, inputs[0]))
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}

impl Reduce {
    /// The row-major place in the result that the element at place `i` of `shape` contributes to.
    fn kept_place(&self, i: usize, shape: &[usize]) -> usize {
        let (mut rest, mut place, mut step) = (i, 0, 1);
        for (k, &n) in shape.iter().enumerate().rev() {
            if !self.axes.contains(&(k as u32)) {
                place += rest % n * step;
                step *= n;
            }
            rest /= n;
        }
        place
    }

    fn join(&self, a: &Dim, b: &Dim, dtype: crate::DType) -> Dim {
        if let (Some(x), Some(y)) = (a.as_const(), b.as_const()) {
            let (x, y) = (Scalar::from_i64(dtype, x), Scalar::from_i64(dtype, y));
            return Dim::constant(eval::reduce_step(self.op, x, y).as_i64());
        }
        match self.op {
            ReduceOp::Sum => a + b,
            ReduceOp::Prod => a * b,
            ReduceOp::Max => a.at_least(b),
            ReduceOp::Min => a.at_most(b),
        }
    }

    fn eval_in<T: Ring>(&self, cx: &EvalCx<'_>, x: &Literal) -> Result<Literal, OpError> {
        const OP: &str = "reduce";
        let n = count(OP, cx.dtype, cx.shape)?;
        let wide = widened(OP, x)?;
        let is_kept = |k: &usize| !self.axes.contains(&(*k as u32));
        let rank = x.shape().len();
        let (mut perm, reduced): (Vec<usize>, Vec<usize>) = (0..rank).partition(is_kept);
        let width: usize = reduced.iter().map(|&k| x.shape()[k]).product();
        perm.extend(reduced);
        let sorted = perm.is_sorted();
        let rows = if sorted { words::<T>(&wide) } else { Cow::Owned(permuted::<T>(OP, &wide, &perm)?) };
        if n.checked_mul(width) != Some(rows.len()) {
            return bad_eval(OP, format!("{:?} does not reduce to {:?}", x.shape(), cx.shape));
        }
        let first = identity::<T>(self.op, cx.dtype);
        let mut out = filled(OP, n, first)?;
        if width > 0 {
            for (y, row) in out.iter_mut().zip(rows.chunks_exact(width)) {
                *y = match self.op {
                    ReduceOp::Sum => fold(row, first, T::plus),
                    ReduceOp::Prod => fold(row, first, T::times),
                    ReduceOp::Max | ReduceOp::Min => {
                        let join = combine(self.op);
                        row.iter().fold(first, |a, &b| join(a, b))
                    }
                };
            }
        }
        narrowed(OP, cx.dtype, cx.shape, out)
    }
}

/// Combines a row by [`PARTIALS`] interleaved partials.
fn fold<T: Ring>(row: &[T], first: T, join: impl Fn(T, T) -> T) -> T {
    let mut partial = [first; PARTIALS];
    let mut blocks = row.chunks_exact(PARTIALS);
    for block in &mut blocks {
        for (p, &x) in partial.iter_mut().zip(block) {
            *p = join(*p, x);
        }
    }
    for (p, &x) in partial.iter_mut().zip(blocks.remainder()) {
        *p = join(*p, x);
    }
    let mut half = PARTIALS / 2;
    while half > 0 {
        for p in 0..half {
            partial[p] = join(partial[p], partial[p + half]);
        }
        half /= 2;
    }
    partial[0]
}
