//! Arithmetic, comparison, logic, and conversion, element by element.

use crate::error::Result;
use crate::import::NodeCx;
use crate::tensor;
use fornax_ir::DType;
use fornax_ir::graph::ValueId;
use fornax_ir::scalar::{BinaryOp, CompareOp, UnaryOp};

type Out = Result<Vec<ValueId>>;

/// An operator that is a GIR unary operator.
pub(super) fn unary(cx: &mut NodeCx<'_, '_>, op: UnaryOp) -> Out {
    let x = cx.input(0)?;
    Ok(vec![cx.un(op, x)?])
}

/// An operator that is a GIR binary operator.
pub(super) fn binary(cx: &mut NodeCx<'_, '_>, op: BinaryOp) -> Out {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    Ok(vec![cx.bin(op, a, b)?])
}

/// An operator that is a GIR comparison.
pub(super) fn compare(cx: &mut NodeCx<'_, '_>, op: CompareOp) -> Out {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    Ok(vec![cx.cmp(op, a, b)?])
}

/// Max, Min, Sum: any number of operands, left to right.
pub(super) fn variadic(cx: &mut NodeCx<'_, '_>, op: BinaryOp) -> Out {
    let all = cx.all_inputs()?;
    let mut acc = all[0];
    for &v in &all[1..] {
        acc = cx.bin(op, acc, v)?;
    }
    Ok(vec![acc])
}

/// Mean of any number of operands.
pub(super) fn mean(cx: &mut NodeCx<'_, '_>) -> Out {
    let sum = variadic(cx, BinaryOp::Add)?[0];
    let n = cx.c(sum, cx.inputs.len() as f64);
    Ok(vec![cx.div(sum, n)?])
}

pub(super) fn reciprocal(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let one = cx.c(x, 1.0);
    Ok(vec![cx.div(one, x)?])
}

/// Pow: the result has the base's dtype, the exponent any. A square or cube of floats is a product.
pub(super) fn pow(cx: &mut NodeCx<'_, '_>) -> Out {
    let (x, y) = (cx.input(0)?, cx.input(1)?);
    let (dx, dy) = (cx.dtype(x), cx.dtype(y));
    let exponent = if cx.b.ty(y).elements().is_const(1) { cx.literal(y).map(|l| l.get_f64(0)) } else { None };
    let narrower = cx.rank(y) <= cx.rank(x);
    if let (true, true, Some(e)) = (dx.is_float(), narrower, exponent) {
        if e == 1.0 {
            return Ok(vec![x]);
        }
        if e == 2.0 || e == 3.0 {
            let square = cx.mul(x, x)?;
            return Ok(vec![if e == 2.0 { square } else { cx.mul(square, x)? }]);
        }
    }
    let through = if dx.is_int() && dy.is_float() { dy } else { dx };
    let base = cx.b.cast(x, through)?;
    let exponent = cx.b.cast(y, through)?;
    let power = cx.bin(BinaryOp::Pow, base, exponent)?;
    Ok(vec![cx.b.cast(power, dx)?])
}

/// Mod: with fmod the sign of the dividend, else (integers) that of the divisor.
pub(super) fn modulo(cx: &mut NodeCx<'_, '_>) -> Out {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let fmod = cx.flag("fmod", false)?;
    let dtype = cx.dtype(a);
    if dtype.is_float() && !fmod {
        return Err(cx.bad("floats need attribute fmod = 1"));
    }
    let rem = cx.bin(BinaryOp::Rem, a, b)?;
    if fmod || !dtype.is_signed_int() {
        return Ok(vec![rem]);
    }
    let zero = cx.c(rem, 0.0);
    let inexact = cx.cmp(CompareOp::Ne, rem, zero)?;
    let minus = cx.cmp(CompareOp::Lt, rem, zero)?;
    let divisor_minus = cx.cmp(CompareOp::Lt, b, zero)?;
    let differ = cx.bin(BinaryOp::Xor, minus, divisor_minus)?;
    let fix = cx.bin(BinaryOp::And, inexact, differ)?;
    let moved = cx.add(rem, b)?;
    Ok(vec![cx.select(fix, moved, rem)?])
}

pub(super) fn bit_shift(cx: &mut NodeCx<'_, '_>) -> Out {
    match cx.text_or("direction", "")? {
        "LEFT" => binary(cx, BinaryOp::Shl),
        "RIGHT" => binary(cx, BinaryOp::Shr),
        other => Err(cx.bad(format!("attribute 'direction' must be LEFT or RIGHT, not '{other}'"))),
    }
}

pub(super) fn where_(cx: &mut NodeCx<'_, '_>) -> Out {
    let (c, a, b) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    Ok(vec![cx.select(c, a, b)?])
}

pub(super) fn is_inf(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let (minus, plus) = (cx.flag("detect_negative", true)?, cx.flag("detect_positive", true)?);
    let inf = cx.c(x, f64::INFINITY);
    let found = match (minus, plus) {
        (true, true) => {
            let size = cx.un(UnaryOp::Abs, x)?;
            cx.cmp(CompareOp::Eq, size, inf)?
        }
        (false, true) => cx.cmp(CompareOp::Eq, x, inf)?,
        (true, false) => {
            let inf = cx.c(x, f64::NEG_INFINITY);
            cx.cmp(CompareOp::Eq, x, inf)?
        }
        (false, false) => {
            let no = cx.b.scalar(fornax_ir::scalar::Scalar::bool(false));
            let shape = cx.shape(x);
            cx.fill(no, &shape)?
        }
    };
    Ok(vec![found])
}

/// Clip: bounds are attributes before opset 11, optional operands since.
pub(super) fn clip(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let (lo, hi) = if cx.opset < 11 {
        let (lo, hi) = (cx.float("min")?, cx.float("max")?);
        (lo.map(|v| cx.c(x, v.into())), hi.map(|v| cx.c(x, v.into())))
    } else {
        (cx.opt(1), cx.opt(2))
    };
    // A bound has rank 0; exporters also write shape [1].
    let bound = |cx: &mut NodeCx<'_, '_>, v: ValueId| -> Result<ValueId> { Ok(cx.b.reshape(v, vec![])?) };
    let mut y = x;
    if let Some(lo) = lo {
        let lo = bound(cx, lo)?;
        y = cx.max(y, lo)?;
    }
    if let Some(hi) = hi {
        let hi = bound(cx, hi)?;
        y = cx.min(y, hi)?;
    }
    Ok(vec![y])
}

/// Cast: floats to integers truncate and, where ONNX leaves it open, saturate.
pub(super) fn cast(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let code = cx.int("to")?.ok_or_else(|| cx.bad("attribute 'to' is missing"))?;
    let to = i32::try_from(code).map_err(|_| "the element type code is unknown".to_string());
    let to = to.and_then(tensor::dtype).map_err(|what| cx.bad(format!("cannot cast: {what}")))?;
    Ok(vec![cx.b.cast(x, to)?])
}

pub(super) fn cast_like(cx: &mut NodeCx<'_, '_>) -> Out {
    let (x, like) = (cx.input(0)?, cx.input(1)?);
    let to = cx.dtype(like);
    Ok(vec![cx.b.cast(x, to)?])
}

pub(super) fn identity(cx: &mut NodeCx<'_, '_>) -> Out {
    Ok(vec![cx.input(0)?])
}

/// Dropout outside training: nothing is dropped, and the mask is all true (ones before opset 10).
pub(super) fn dropout(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    if let Some(training) = cx.opt(2) {
        let known = cx.b.sym(training).and_then(|s| s.elems.first()?.as_const());
        if known != Some(0) {
            return Err(cx.bad("is supported for inference only: training_mode must be false"));
        }
    }
    let mut out = vec![x];
    if cx.wants(1) {
        let dtype = if cx.opset < 10 { cx.dtype(x) } else { DType::Bool };
        let one = cx.b.scalar_f64(dtype, 1.0);
        let shape = cx.shape(x);
        out.push(cx.fill(one, &shape)?);
    }
    Ok(out)
}
