//! Conversion between floats and small integers with a scale and a zero point.

use crate::error::Result;
use crate::import::NodeCx;
use fornax_ir::graph::ValueId;
use fornax_ir::graph::ops::Broadcast;
use fornax_ir::scalar::{CompareOp, ReduceOp, Scalar, UnaryOp};
use fornax_ir::{DType, Dim};

type Out = Result<Vec<ValueId>>;

/// A scale or zero point made ready to combine with `x`: one number, one per place of an axis, or one
/// per block of `block_size` places.
fn parameter(cx: &mut NodeCx<'_, '_>, p: ValueId, x: ValueId) -> Result<ValueId> {
    let (own, shape) = (cx.shape(p), cx.shape(x));
    match own.len() {
        0 => return Ok(p),
        1 if own[0].is_const(1) => return Ok(cx.b.reshape(p, vec![])?),
        _ => {}
    }
    let axis = cx.axis(cx.int_or("axis", 1)?, shape.len())?;
    let block = cx.int_or("block_size", 0)?;
    if block == 0 {
        return cx.along(p, axis, shape.len());
    }
    if own.len() != shape.len() || block < 0 {
        return Err(cx.bad(format!(
            "blocks of {block} need a scale with {} axes, not {}",
            shape.len(),
            own.len()
        )));
    }
    let mut wide = own.clone();
    wide.insert(axis + 1, Dim::constant(block));
    let axes = (0..own.len()).map(|k| if k > axis { k as u32 + 1 } else { k as u32 }).collect();
    let y = cx.b.add(Broadcast { shape: wide, axes }, &[p])?;
    let mut long = own;
    long[axis] = &long[axis] * block;
    let y = cx.b.reshape(y, long)?;
    cx.slice(y, axis, Dim::ZERO, shape[axis].clone(), 1)
}

/// DequantizeLinear: (x - zero) * scale, in the scale's dtype.
pub(super) fn dequantize(cx: &mut NodeCx<'_, '_>) -> Out {
    let (x, scale) = (cx.input(0)?, cx.input(1)?);
    let dtype = cx.dtype(scale);
    let mut v = cx.b.cast(x, DType::I32)?;
    if let Some(zero) = cx.opt(2) {
        let zero = cx.b.cast(zero, DType::I32)?;
        let zero = parameter(cx, zero, x)?;
        v = cx.sub(v, zero)?;
    }
    let v = cx.b.cast(v, dtype)?;
    let scale = parameter(cx, scale, x)?;
    Ok(vec![cx.mul(v, scale)?])
}

/// The least and greatest value of an integer dtype of at most 32 bits.
fn range(dtype: DType) -> (f64, f64) {
    let end = |op| Scalar::identity(op, dtype).as_f64();
    (end(ReduceOp::Max), end(ReduceOp::Min))
}

/// round(x / scale) + zero, ties to even, saturated to `to`.
fn quantized(
    cx: &mut NodeCx<'_, '_>,
    x: ValueId,
    scale: ValueId,
    zero: Option<ValueId>,
    to: DType,
) -> Result<ValueId> {
    let v = cx.div(x, scale)?;
    let mut v = cx.un(UnaryOp::Round, v)?;
    if let Some(zero) = zero {
        let zero = cx.b.cast(zero, cx.dtype(v))?;
        v = cx.add(v, zero)?;
    }
    let (lo, hi) = range(to);
    let (lo, hi) = (cx.c(v, lo), cx.c(v, hi));
    let v = cx.max(v, lo)?;
    let v = cx.min(v, hi)?;
    Ok(cx.b.cast(v, to)?)
}

/// QuantizeLinear: the result has the zero point's dtype, or `output_dtype`, or u8.
pub(super) fn quantize(cx: &mut NodeCx<'_, '_>) -> Out {
    let (x, scale) = (cx.input(0)?, cx.input(1)?);
    let to = match (cx.opt(2), cx.int_or("output_dtype", 0)?) {
        (Some(zero), _) => cx.dtype(zero),
        (None, 0) => DType::U8,
        (None, code) => {
            crate::tensor::dtype(i32::try_from(code).unwrap_or(-1)).map_err(|what| cx.bad(what))?
        }
    };
    if !to.is_int() || to.bytes() > 2 {
        return Err(cx.bad(format!("cannot quantize to {to}, only to integers of 8 and 16 bits")));
    }
    let zero = match cx.opt(2) {
        Some(z) => Some(parameter(cx, z, x)?),
        None => None,
    };
    let scale = parameter(cx, scale, x)?;
    let scale = cx.b.cast(scale, cx.dtype(x))?;
    Ok(vec![quantized(cx, x, scale, zero, to)?])
}

/// DynamicQuantizeLinear: scale and zero point from the range of x, which is made to contain 0.
pub(super) fn dynamic_quantize(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let all: Vec<u32> = (0..cx.rank(x) as u32).collect();
    let zero = cx.c(x, 0.0);
    let (lo, hi) = (cx.b.reduce(ReduceOp::Min, x, &all)?, cx.b.reduce(ReduceOp::Max, x, &all)?);
    let (lo, hi) = (cx.min(lo, zero)?, cx.max(hi, zero)?);
    let span = cx.sub(hi, lo)?;
    let steps = cx.c(x, 255.0);
    let scale = cx.div(span, steps)?;
    let flat = cx.cmp(CompareOp::Eq, span, zero)?;
    let one = cx.c(x, 1.0);
    let scale = cx.select(flat, one, scale)?;
    let at = cx.div(lo, scale)?;
    let at = cx.sub(zero, at)?;
    let at = cx.max(at, zero)?;
    let at = cx.min(at, steps)?;
    let at = cx.un(UnaryOp::Round, at)?;
    let point = cx.b.cast(at, DType::U8)?;
    let y = quantized(cx, x, scale, Some(point), DType::U8)?;
    Ok(vec![y, scale, point])
}
