//! Activation functions, by the formulas of the ONNX operator reference.

use super::functions::log1p;
use crate::error::Result;
use crate::import::NodeCx;
use fornax_ir::graph::ValueId;
use fornax_ir::scalar::{CompareOp, UnaryOp};
use std::f64::consts;

type Out = Result<Vec<ValueId>>;

pub(super) fn relu(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let zero = cx.c(x, 0.0);
    Ok(vec![cx.max(x, zero)?])
}

/// 1 / (1 + e^-x).
pub(super) fn logistic(cx: &mut NodeCx<'_, '_>, x: ValueId) -> Result<ValueId> {
    let minus = cx.un(UnaryOp::Neg, x)?;
    let e = cx.un(UnaryOp::Exp, minus)?;
    let below = cx.shift(e, 1.0)?;
    let one = cx.c(x, 1.0);
    cx.div(one, below)
}

pub(super) fn sigmoid(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    Ok(vec![logistic(cx, x)?])
}

/// max(0, min(1, alpha x + beta)).
fn ramp(cx: &mut NodeCx<'_, '_>, x: ValueId, alpha: f64, beta: f64) -> Result<ValueId> {
    let y = cx.scale(x, alpha)?;
    let y = cx.shift(y, beta)?;
    let (zero, one) = (cx.c(x, 0.0), cx.c(x, 1.0));
    let y = cx.max(y, zero)?;
    cx.min(y, one)
}

pub(super) fn hard_sigmoid(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let (alpha, beta) = (cx.float_or("alpha", 0.2)?, cx.float_or("beta", 0.5)?);
    Ok(vec![ramp(cx, x, alpha.into(), beta.into())?])
}

/// x max(0, min(1, x / 6 + 1/2)).
pub(super) fn hard_swish(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let gate = ramp(cx, x, 1.0 / 6.0, 0.5)?;
    Ok(vec![cx.mul(x, gate)?])
}

/// x sigmoid(alpha x).
pub(super) fn swish(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let alpha = cx.float_or("alpha", 1.0)?;
    let gate = cx.scale(x, alpha.into())?;
    let gate = logistic(cx, gate)?;
    Ok(vec![cx.mul(x, gate)?])
}

/// x where x > threshold, else `otherwise`.
fn above(cx: &mut NodeCx<'_, '_>, x: ValueId, threshold: f64, otherwise: ValueId) -> Result<ValueId> {
    let limit = cx.c(x, threshold);
    let c = cx.cmp(CompareOp::Gt, x, limit)?;
    cx.select(c, x, otherwise)
}

pub(super) fn leaky_relu(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let alpha = cx.float_or("alpha", 0.01)?;
    let zero = cx.c(x, 0.0);
    let minus = cx.cmp(CompareOp::Lt, x, zero)?;
    let scaled = cx.scale(x, alpha.into())?;
    Ok(vec![cx.select(minus, scaled, x)?])
}

/// x where x >= 0, else slope * x; the slope repeats to x's shape.
pub(super) fn prelu(cx: &mut NodeCx<'_, '_>) -> Out {
    let (x, slope) = (cx.input(0)?, cx.input(1)?);
    let shape = cx.shape(x);
    let slope = cx.fill(slope, &shape)?;
    let zero = cx.c(x, 0.0);
    let minus = cx.cmp(CompareOp::Lt, x, zero)?;
    let scaled = cx.mul(x, slope)?;
    Ok(vec![cx.select(minus, scaled, x)?])
}

/// alpha (e^x - 1), on the negative side alone so that it never overflows.
fn exponential_part(cx: &mut NodeCx<'_, '_>, x: ValueId, alpha: f64) -> Result<ValueId> {
    let zero = cx.c(x, 0.0);
    let x = cx.min(x, zero)?;
    let e = cx.un(UnaryOp::Exp, x)?;
    let e = cx.shift(e, -1.0)?;
    cx.scale(e, alpha)
}

pub(super) fn elu(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let alpha = cx.float_or("alpha", 1.0)?;
    let low = exponential_part(cx, x, alpha.into())?;
    Ok(vec![above(cx, x, 0.0, low)?])
}

pub(super) fn selu(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let (alpha, gamma) = (cx.float_or("alpha", 1.673_263_2)?, cx.float_or("gamma", 1.050_701)?);
    let low = exponential_part(cx, x, alpha.into())?;
    let y = above(cx, x, 0.0, low)?;
    Ok(vec![cx.scale(y, gamma.into())?])
}

/// max(0, x) + min(0, alpha (e^(x / alpha) - 1)).
pub(super) fn celu(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let alpha = f64::from(cx.float_or("alpha", 1.0)?);
    let a = cx.c(x, alpha);
    let scaled = cx.div(x, a)?;
    let e = cx.un(UnaryOp::Exp, scaled)?;
    let e = cx.shift(e, -1.0)?;
    let e = cx.scale(e, alpha)?;
    let zero = cx.c(x, 0.0);
    let (high, low) = (cx.max(x, zero)?, cx.min(e, zero)?);
    Ok(vec![cx.add(high, low)?])
}

pub(super) fn thresholded_relu(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let alpha = cx.float_or("alpha", 1.0)?;
    let zero = cx.c(x, 0.0);
    Ok(vec![above(cx, x, alpha.into(), zero)?])
}

/// ln(1 + e^x) as max(x, 0) + log1p(e^-|x|).
fn soft_plus(cx: &mut NodeCx<'_, '_>, x: ValueId) -> Result<ValueId> {
    let size = cx.un(UnaryOp::Abs, x)?;
    let minus = cx.un(UnaryOp::Neg, size)?;
    let e = cx.un(UnaryOp::Exp, minus)?;
    let log = log1p(cx, e)?;
    let zero = cx.c(x, 0.0);
    let high = cx.max(x, zero)?;
    cx.add(high, log)
}

pub(super) fn softplus(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    Ok(vec![soft_plus(cx, x)?])
}

/// x tanh(softplus(x)).
pub(super) fn mish(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let s = soft_plus(cx, x)?;
    let t = cx.un(UnaryOp::Tanh, s)?;
    Ok(vec![cx.mul(x, t)?])
}

/// x / (1 + |x|).
pub(super) fn softsign(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let size = cx.un(UnaryOp::Abs, x)?;
    let below = cx.shift(size, 1.0)?;
    Ok(vec![cx.div(x, below)?])
}

/// x + bias where x < -lambd, x - bias where x > lambd, else 0.
pub(super) fn shrink(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let (bias, lambd) = (f64::from(cx.float_or("bias", 0.0)?), f64::from(cx.float_or("lambd", 0.5)?));
    let (up, down) = (cx.shift(x, bias)?, cx.shift(x, -bias)?);
    let (zero, lo, hi) = (cx.c(x, 0.0), cx.c(x, -lambd), cx.c(x, lambd));
    let low = cx.cmp(CompareOp::Lt, x, lo)?;
    let high = cx.cmp(CompareOp::Gt, x, hi)?;
    let rest = cx.select(high, down, zero)?;
    Ok(vec![cx.select(low, up, rest)?])
}

/// x/2 (1 + erf(x / sqrt 2)), or the tanh approximation.
pub(super) fn gelu(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let inner = match cx.text_or("approximate", "none")? {
        "none" => {
            let scaled = cx.scale(x, consts::FRAC_1_SQRT_2)?;
            cx.un(UnaryOp::Erf, scaled)?
        }
        "tanh" => {
            let square = cx.mul(x, x)?;
            let cube = cx.mul(square, x)?;
            let cube = cx.scale(cube, 0.044715)?;
            let sum = cx.add(x, cube)?;
            let scaled = cx.scale(sum, (2.0 / consts::PI).sqrt())?;
            cx.un(UnaryOp::Tanh, scaled)?
        }
        other => {
            return Err(cx.bad(format!("attribute 'approximate' must be none or tanh, not '{other}'")));
        }
    };
    let gate = cx.shift(inner, 1.0)?;
    let half = cx.scale(x, 0.5)?;
    Ok(vec![cx.mul(half, gate)?])
}
