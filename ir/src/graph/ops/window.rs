//! Reductions over sliding windows.

use super::super::{OpError, SymValue, TensorType};
use super::check::{WindowAxis, bad_dtype, bad_shape, entries, windowed};
use super::ring::{Ring, by_ring, combine, identity, narrowed, widened};
use super::strided::{bad_eval, count, filled, words};
use super::{EvalCx, InferCx, Meaning, Vjp};
use crate::dim::Dim;
use crate::literal::Literal;
use crate::scalar::ReduceOp;
use crate::scalar::eval::reduce_accepts;

/// Combines the elements of a window sliding over the last `window.len()` axes; the leading axes stay.
///
/// Positions outside the operand take no part. Output extent as for [`super::Conv`].
/// Elements combine with the operator's identity one after the other in row-major order of the window;
/// f16 and bf16 combine in f32 and round once.
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
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "reduce_window";
        let x = inputs[0];
        if !reduce_accepts(self.op, x.dtype) {
            return bad_dtype(OP, format!("{} is not defined for {x}; cast it first", self.op));
        }
        let n = self.window.len();
        if n > x.rank() {
            return bad_shape(OP, format!("a window of {n} axes cannot slide over {x}"));
        }
        entries(OP, "strides", self.strides.len(), n)?;
        entries(OP, "pads", self.pads.len(), n)?;
        entries(OP, "dilations", self.dilations.len(), n)?;
        let lead = x.rank() - n;
        let mut shape = x.shape[..lead].to_vec();
        for k in 0..n {
            let axis = WindowAxis {
                number: lead + k,
                stride: self.strides[k],
                dilation: self.dilations[k],
                pads: &self.pads[k],
            };
            let taps = Dim::constant(self.window[k]);
            shape.push(windowed(cx, OP, &x.shape[lead + k], &taps, &axis)?);
        }
        cx.result(OP, x.dtype, shape)
    }
    fn symbolic(&self, _: &[Option<&SymValue>], _: &[&TensorType], _: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        by_ring!(inputs[0].dtype(), T => self.eval_in::<T>(cx, inputs[0]))
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}

/// A windowed axis in numbers.
struct Axis {
    extent: usize,
    out: usize,
    stride: i64,
    dilation: i64,
    lo: i64,
}

impl Axis {
    /// The place that tap `t` of window `p` reads, unless it lies outside.
    fn place(&self, p: usize, t: usize) -> Option<usize> {
        let at = p as i64 * self.stride + t as i64 * self.dilation - self.lo;
        usize::try_from(at).ok().filter(|&at| at < self.extent)
    }
}

impl ReduceWindow {
    fn eval_in<T: Ring>(&self, cx: &EvalCx<'_>, x: &Literal) -> Result<Literal, OpError> {
        const OP: &str = "reduce_window";
        let n = count(OP, cx.dtype, cx.shape)?;
        let lead = x.shape().len() - self.window.len();
        if self.window.iter().try_fold(1i64, |n, &w| n.checked_mul(w)).is_none() {
            return bad_eval(OP, format!("a window of {:?} has too many elements", self.window));
        }
        let mut axes = vec![];
        for k in 0..self.window.len() {
            let lo = cx.dim(&self.pads[k].0)?;
            if !(0..=i64::MAX / 4).contains(&lo) {
                return bad_eval(OP, format!("padding of {lo} elements before axis {}", lead + k));
            }
            axes.push(Axis {
                extent: x.shape()[lead + k],
                out: cx.shape[lead + k],
                stride: self.strides[k],
                dilation: self.dilations[k],
                lo,
            });
        }
        let mut out = filled(OP, n, identity::<T>(self.op, cx.dtype))?;
        let wide = widened(OP, x)?;
        let x = words::<T>(&wide);
        let per_in: usize = axes.iter().map(|a| a.extent).product();
        let per_out: usize = axes.iter().map(|a| a.out).product();
        if per_in > 0 && per_out > 0 {
            for (x, y) in x.chunks_exact(per_in).zip(out.chunks_exact_mut(per_out)) {
                match self.op {
                    ReduceOp::Sum => self.slide(&axes, x, y, T::plus),
                    _ => self.slide(&axes, x, y, combine(self.op)),
                }
            }
        }
        narrowed(OP, cx.dtype, cx.shape, out)
    }

    /// Adds all taps, in row-major order, to all outputs of one leading index.
    fn slide<T: Ring>(&self, axes: &[Axis], x: &[T], y: &mut [T], join: impl Fn(T, T) -> T) {
        let Some((last, outer)) = axes.split_last() else {
            y[0] = join(y[0], x[0]);
            return;
        };
        let taps: usize = self.window.iter().map(|&w| w as usize).product();
        let mut tap = vec![0; axes.len()];
        for t in 0..taps {
            let mut rest = t;
            for (k, &w) in self.window.iter().enumerate().rev() {
                tap[k] = rest % w as usize;
                rest /= w as usize;
            }
            'rows: for (r, row) in y.chunks_exact_mut(last.out).enumerate() {
                let (mut rest, mut base, mut step) = (r, 0, last.extent);
                for (k, a) in outer.iter().enumerate().rev() {
                    let Some(at) = a.place(rest % a.out, tap[k]) else { continue 'rows };
                    base += at * step;
                    step *= a.extent;
                    rest /= a.out;
                }
                for (p, y) in row.iter_mut().enumerate() {
                    if let Some(at) = last.place(p, tap[axes.len() - 1]) {
                        *y = join(*y, x[base + at]);
                    }
                }
            }
        }
    }
}
