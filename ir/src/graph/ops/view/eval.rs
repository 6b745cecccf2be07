//! Reference semantics of views: strided copies.

use super::super::EvalCx;
use super::super::strided::{
    Layout, bad_eval, by_width, copy, count, filled, literal, permuted, row_major, words, zeros,
};
use super::{Broadcast, Concat, OpError, Pad, Permute, Slice};
use crate::literal::Literal;

pub(super) fn reshape(cx: &EvalCx<'_>, x: &Literal) -> Result<Literal, OpError> {
    let n = count("reshape", cx.dtype, cx.shape)?;
    if n != x.len() {
        let what = format!("{:?} has {n} elements, but the operand {}", cx.shape, x.len());
        return bad_eval("reshape", what);
    }
    x.reshaped(cx.shape).map_err(|e| OpError::Eval { op: "reshape", what: e.to_string() })
}

pub(super) fn permute(op: &Permute, cx: &EvalCx<'_>, x: &Literal) -> Result<Literal, OpError> {
    let perm: Vec<usize> = op.perm.iter().map(|&p| p as usize).collect();
    by_width!(x.dtype(), T => {
        literal("permute", x.dtype(), cx.shape, permuted::<T>("permute", x, &perm)?)
    })
}

pub(super) fn broadcast(op: &Broadcast, cx: &EvalCx<'_>, x: &Literal) -> Result<Literal, OpError> {
    const OP: &str = "broadcast";
    let n = count(OP, x.dtype(), cx.shape)?;
    let own = row_major(x.shape());
    let mut strides = vec![0; cx.shape.len()];
    for (k, &a) in op.axes.iter().enumerate() {
        let (have, want) = (x.shape()[k], cx.shape[a as usize]);
        if have == want {
            strides[a as usize] = own[k];
        } else if have != 1 {
            return bad_eval(OP, format!("axis {k} of extent {have} cannot repeat to {want}"));
        }
    }
    by_width!(x.dtype(), T => {
        let mut out = zeros::<T>(OP, n)?;
        let from = Layout { at: 0, strides };
        copy(cx.shape, &words::<T>(x), &from, &mut out, &Layout::row_major(cx.shape));
        literal(OP, x.dtype(), cx.shape, out)
    })
}

pub(super) fn slice(op: &Slice, cx: &EvalCx<'_>, x: &Literal) -> Result<Literal, OpError> {
    const OP: &str = "slice";
    let n = count(OP, x.dtype(), cx.shape)?;
    let own = row_major(x.shape());
    let mut from = Layout { at: 0, strides: vec![0; own.len()] };
    if n > 0 {
        for (k, stride) in own.iter().enumerate() {
            let (start, step, size) = (cx.dim(&op.start[k])?, op.step[k], cx.shape[k] as i64);
            let last = step.checked_mul(size - 1).and_then(|d| d.checked_add(start));
            let inside = 0..x.shape()[k] as i64;
            if !inside.contains(&start) || !last.is_some_and(|l| inside.contains(&l)) {
                let what = format!(
                    "{size} elements from {start} by {step} are not all on axis {k} of extent {}",
                    inside.end
                );
                return bad_eval(OP, what);
            }
            from.at += start as isize * stride;
            // A single element needs no step; a step that cannot be multiplied occurs only there.
            from.strides[k] = if size == 1 { 0 } else { step as isize * stride };
        }
    }
    by_width!(x.dtype(), T => {
        let mut out = zeros::<T>(OP, n)?;
        copy(cx.shape, &words::<T>(x), &from, &mut out, &Layout::row_major(cx.shape));
        literal(OP, x.dtype(), cx.shape, out)
    })
}

pub(super) fn pad(op: &Pad, cx: &EvalCx<'_>, x: &Literal, value: &Literal) -> Result<Literal, OpError> {
    const OP: &str = "pad";
    let n = count(OP, x.dtype(), cx.shape)?;
    let mut to = Layout::row_major(cx.shape);
    for k in 0..x.shape().len() {
        let (lo, hi, d) = (cx.dim(&op.lo[k])?, cx.dim(&op.hi[k])?, x.shape()[k] as i64);
        let total = lo.checked_add(d).and_then(|s| s.checked_add(hi));
        if lo < 0 || hi < 0 || total != Some(cx.shape[k] as i64) {
            let what = format!("padding ({lo}, {hi}) of extent {d} does not give {}", cx.shape[k]);
            return bad_eval(OP, format!("{what} on axis {k}"));
        }
        to.at += lo as isize * to.strides[k];
    }
    by_width!(x.dtype(), T => {
        let mut out = filled(OP, n, words::<T>(value)[0])?;
        copy(x.shape(), &words::<T>(x), &Layout::row_major(x.shape()), &mut out, &to);
        literal(OP, x.dtype(), cx.shape, out)
    })
}

pub(super) fn concat(op: &Concat, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
    const OP: &str = "concat";
    let axis = op.axis as usize;
    let n = count(OP, inputs[0].dtype(), cx.shape)?;
    let total: usize = inputs.iter().map(|x| x.shape()[axis]).sum();
    let fits = |x: &&Literal| {
        let pairs = x.shape().iter().zip(cx.shape).enumerate();
        pairs.into_iter().all(|(k, (a, b))| k == axis || a == b)
    };
    if total != cx.shape[axis] || !inputs.iter().all(fits) {
        let shapes: Vec<_> = inputs.iter().map(|x| x.shape()).collect();
        let what = format!("{shapes:?} along axis {axis} do not give {:?}", cx.shape);
        return bad_eval(OP, what);
    }
    by_width!(inputs[0].dtype(), T => {
        let mut out = zeros::<T>(OP, n)?;
        let mut to = Layout::row_major(cx.shape);
        for x in inputs {
            copy(x.shape(), &words::<T>(x), &Layout::row_major(x.shape()), &mut out, &to);
            to.at += x.shape()[axis] as isize * to.strides[axis];
        }
        literal(OP, inputs[0].dtype(), cx.shape, out)
    })
}
