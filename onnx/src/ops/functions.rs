//! Functions of one number that GIR has no operator for, in terms of those it has.

use crate::error::Result;
use crate::import::NodeCx;
use fornax_ir::graph::ValueId;
use fornax_ir::scalar::{CompareOp, UnaryOp};

type Out = Result<Vec<ValueId>>;

/// ln(1 + z) without losing small z: `ln(u) * z / (u - 1)` with `u = 1 + z` (Kahan's form).
pub(super) fn log1p(cx: &mut NodeCx<'_, '_>, z: ValueId) -> Result<ValueId> {
    let u = cx.shift(z, 1.0)?;
    let d = cx.shift(u, -1.0)?;
    let log = cx.un(UnaryOp::Log, u)?;
    let ratio = cx.div(z, d)?;
    let exact = cx.mul(log, ratio)?;
    let (zero, inf) = (cx.c(z, 0.0), cx.c(z, f64::INFINITY));
    let tiny = cx.cmp(CompareOp::Eq, d, zero)?;
    let infinite = cx.cmp(CompareOp::Eq, z, inf)?;
    let y = cx.select(tiny, z, exact)?;
    cx.select(infinite, z, y)
}

/// tan = sin / cos.
pub(super) fn tan(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let (s, c) = (cx.un(UnaryOp::Sin, x)?, cx.un(UnaryOp::Cos, x)?);
    Ok(vec![cx.div(s, c)?])
}

/// `sqrt((1 - x) * (1 + x))`.
fn cofunction(cx: &mut NodeCx<'_, '_>, x: ValueId) -> Result<ValueId> {
    let one = cx.c(x, 1.0);
    let (a, b) = (cx.sub(one, x)?, cx.add(one, x)?);
    let p = cx.mul(a, b)?;
    cx.un(UnaryOp::Sqrt, p)
}

/// asin x = atan(x / sqrt(1 - x^2)).
pub(super) fn asin(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let c = cofunction(cx, x)?;
    let t = cx.div(x, c)?;
    Ok(vec![cx.un(UnaryOp::Atan, t)?])
}

/// acos x = 2 atan(sqrt((1 - x) / (1 + x))).
pub(super) fn acos(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let one = cx.c(x, 1.0);
    let (a, b) = (cx.sub(one, x)?, cx.add(one, x)?);
    let q = cx.div(a, b)?;
    let root = cx.un(UnaryOp::Sqrt, q)?;
    let half = cx.un(UnaryOp::Atan, root)?;
    Ok(vec![cx.scale(half, 2.0)?])
}

/// sinh x = (e^x - e^-x) / 2; below 1, where that cancels, t / sqrt(1 - t^2) with t = tanh x.
pub(super) fn sinh(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let minus = cx.un(UnaryOp::Neg, x)?;
    let (up, down) = (cx.un(UnaryOp::Exp, x)?, cx.un(UnaryOp::Exp, minus)?);
    let wide = cx.sub(up, down)?;
    let wide = cx.scale(wide, 0.5)?;
    let t = cx.un(UnaryOp::Tanh, x)?;
    let c = cofunction(cx, t)?;
    let narrow = cx.div(t, c)?;
    let size = cx.un(UnaryOp::Abs, x)?;
    let one = cx.c(x, 1.0);
    let small = cx.cmp(CompareOp::Lt, size, one)?;
    Ok(vec![cx.select(small, narrow, wide)?])
}

/// cosh x = (e^x + e^-x) / 2.
pub(super) fn cosh(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let minus = cx.un(UnaryOp::Neg, x)?;
    let (up, down) = (cx.un(UnaryOp::Exp, x)?, cx.un(UnaryOp::Exp, minus)?);
    let sum = cx.add(up, down)?;
    Ok(vec![cx.scale(sum, 0.5)?])
}

/// asinh x = sign(x) log1p(|x| + x^2 / (1 + sqrt(x^2 + 1))).
pub(super) fn asinh(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let size = cx.un(UnaryOp::Abs, x)?;
    let square = cx.mul(x, x)?;
    let root = cx.shift(square, 1.0)?;
    let root = cx.un(UnaryOp::Sqrt, root)?;
    let below = cx.shift(root, 1.0)?;
    let part = cx.div(square, below)?;
    let z = cx.add(size, part)?;
    let log = log1p(cx, z)?;
    let sign = cx.un(UnaryOp::Sign, x)?;
    Ok(vec![cx.mul(sign, log)?])
}

/// acosh x = ln(x + sqrt((x - 1)(x + 1))).
pub(super) fn acosh(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let (a, b) = (cx.shift(x, -1.0)?, cx.shift(x, 1.0)?);
    let p = cx.mul(a, b)?;
    let root = cx.un(UnaryOp::Sqrt, p)?;
    let sum = cx.add(x, root)?;
    Ok(vec![cx.un(UnaryOp::Log, sum)?])
}

/// atanh x = log1p(2x / (1 - x)) / 2.
pub(super) fn atanh(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let one = cx.c(x, 1.0);
    let below = cx.sub(one, x)?;
    let twice = cx.scale(x, 2.0)?;
    let z = cx.div(twice, below)?;
    let log = log1p(cx, z)?;
    Ok(vec![cx.scale(log, 0.5)?])
}
