//! Pooling.

use super::window::{Window, window};
use crate::error::Result;
use crate::import::NodeCx;
use fornax_ir::Dim;
use fornax_ir::graph::ValueId;
use fornax_ir::graph::ops::{Pad, ReduceWindow};
use fornax_ir::scalar::{BinaryOp, ReduceOp, UnaryOp};

type Out = Result<Vec<ValueId>>;

/// A pooling node's window, and its padding with what `ceil_mode` needs after each axis.
struct Pooling {
    window: Window,
    reach: Vec<(Dim, Dim)>,
}

fn pooling(cx: &NodeCx<'_, '_>, x: ValueId) -> Result<Pooling> {
    let shape = cx.shape(x);
    if shape.len() < 3 {
        return Err(cx.bad(format!("needs a batch, a channel and spatial axes, not {}", cx.b.ty(x))));
    }
    let kernel = cx.ints("kernel_shape")?.ok_or_else(|| cx.bad("attribute 'kernel_shape' is missing"))?;
    let window = window(cx, &shape[2..], kernel.to_vec())?;
    let mut reach = window.pads.clone();
    if cx.flag("ceil_mode", false)? {
        for (k, (lo, hi)) in reach.iter_mut().enumerate() {
            *hi = ceiling(cx, &shape[2 + k], lo, hi, &window, k);
        }
    }
    Ok(Pooling { window, reach })
}

/// Padding after an axis such that a last, partial window is counted if it begins inside the operand or
/// the padding before it.
fn ceiling(cx: &NodeCx<'_, '_>, n: &Dim, lo: &Dim, hi: &Dim, w: &Window, k: usize) -> Dim {
    let stride = Dim::constant(w.strides[k]);
    let span = (w.kernel[k] - 1) * w.dilations[k] + 1;
    let windows = (n + lo + hi - span).ceil_div(&stride) + 1;
    let begun = (n + lo).ceil_div(&stride);
    let windows = if cx.le(&windows, &begun) { windows } else { windows.at_most(&begun) };
    let needed = (windows - 1) * &stride + span - n - lo;
    if cx.le(&Dim::ZERO, &needed) { needed } else { needed.at_least(&Dim::ZERO) }
}

fn reduce(
    cx: &mut NodeCx<'_, '_>,
    op: ReduceOp,
    x: ValueId,
    w: &Window,
    pads: &[(Dim, Dim)],
) -> Result<ValueId> {
    let op = ReduceWindow {
        op,
        window: w.kernel.clone(),
        strides: w.strides.clone(),
        pads: pads.to_vec(),
        dilations: w.dilations.clone(),
    };
    Ok(cx.b.add(op, &[x])?)
}

pub(super) fn max_pool(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let p = pooling(cx, x)?;
    Ok(vec![reduce(cx, ReduceOp::Max, x, &p.window, &p.reach)?])
}

/// AveragePool: the sum divided by the number of elements that take part, padding among them if
/// `count_include_pad` (but never what `ceil_mode` adds).
pub(super) fn average_pool(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let p = pooling(cx, x)?;
    let sum = reduce(cx, ReduceOp::Sum, x, &p.window, &p.reach)?;
    let count_pad = cx.flag("count_include_pad", false)?;
    let none = |pads: &[(Dim, Dim)]| pads.iter().all(|(lo, hi)| lo.is_const(0) && hi.is_const(0));
    let whole: i64 = p.window.kernel.iter().product();
    if none(&p.reach) || (count_pad && p.reach == p.window.pads) {
        let n = cx.c(sum, whole as f64);
        return Ok(vec![cx.div(sum, n)?]);
    }
    let mut shape = cx.shape(x);
    (shape[0], shape[1]) = (Dim::ONE, Dim::ONE);
    let one = cx.c(x, 1.0);
    let mut ones = cx.fill(one, &shape)?;
    let mut reach = p.reach.clone();
    if count_pad {
        let side = |f: fn(&(Dim, Dim)) -> Dim| {
            [Dim::ZERO, Dim::ZERO].into_iter().chain(p.window.pads.iter().map(f)).collect::<Vec<_>>()
        };
        let (lo, hi) = (side(|p| p.0.clone()), side(|p| p.1.clone()));
        ones = cx.b.add(Pad { lo, hi }, &[ones, one])?;
        for (r, own) in reach.iter_mut().zip(&p.window.pads) {
            let rest = &r.1 - &own.1;
            *r = (Dim::ZERO, if cx.le(&Dim::ZERO, &rest) { rest } else { rest.at_least(&Dim::ZERO) });
        }
    }
    let n = reduce(cx, ReduceOp::Sum, ones, &p.window, &reach)?;
    Ok(vec![cx.div(sum, n)?])
}

/// LpPool: the p-norm of each window.
pub(super) fn lp_pool(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let pool = pooling(cx, x)?;
    let p = cx.int_or("p", 2)?;
    if p < 1 {
        return Err(cx.bad(format!("attribute 'p' must be at least 1, not {p}")));
    }
    let size = cx.un(UnaryOp::Abs, x)?;
    let power = |cx: &mut NodeCx<'_, '_>, v: ValueId, e: f64| {
        let e = cx.c(v, e);
        cx.bin(BinaryOp::Pow, v, e)
    };
    let terms = match p {
        1 => size,
        2 => cx.mul(x, x)?,
        _ => power(cx, size, p as f64)?,
    };
    let sum = reduce(cx, ReduceOp::Sum, terms, &pool.window, &pool.reach)?;
    Ok(vec![match p {
        1 => sum,
        2 => cx.un(UnaryOp::Sqrt, sum)?,
        _ => power(cx, sum, 1.0 / p as f64)?,
    }])
}

fn spatial_axes(cx: &NodeCx<'_, '_>, x: ValueId) -> Result<Vec<usize>> {
    let rank = cx.rank(x);
    if rank < 2 {
        return Err(cx.bad(format!("needs a batch and a channel axis, not {}", cx.b.ty(x))));
    }
    Ok((2..rank).collect())
}

pub(super) fn global_max(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let over = spatial_axes(cx, x)?;
    Ok(vec![cx.reduce_keep(ReduceOp::Max, x, &over)?])
}

pub(super) fn global_average(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let over = spatial_axes(cx, x)?;
    Ok(vec![cx.mean_keep(x, &over)?])
}
