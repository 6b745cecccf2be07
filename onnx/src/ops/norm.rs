//! Softmax and normalizations.

use crate::error::Result;
use crate::import::NodeCx;
use fornax_ir::graph::ValueId;
use fornax_ir::scalar::{BinaryOp, ReduceOp, UnaryOp};
use fornax_ir::{DType, Dim};

type Out = Result<Vec<ValueId>>;

/// Softmax and LogSoftmax. Before opset 13 all axes from `axis` on are one.
pub(super) fn softmax(cx: &mut NodeCx<'_, '_>, log: bool) -> Out {
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    if shape.is_empty() {
        let y = over_axes(cx, x, &[], log)?;
        return Ok(vec![y]);
    }
    let old = cx.opset < 13;
    let listed = cx.int_or("axis", if old { 1 } else { -1 })?;
    // Flattening at axis = rank leaves a second axis of extent 1.
    let axis = if old && listed == shape.len() as i64 { shape.len() } else { cx.axis(listed, shape.len())? };
    let over: Vec<usize> = if old { (axis..shape.len()).collect() } else { vec![axis] };
    Ok(vec![over_axes(cx, x, &over, log)?])
}

fn over_axes(cx: &mut NodeCx<'_, '_>, x: ValueId, over: &[usize], log: bool) -> Result<ValueId> {
    let m = cx.reduce_keep(ReduceOp::Max, x, over)?;
    let d = cx.sub(x, m)?;
    let e = cx.un(UnaryOp::Exp, d)?;
    let sum = cx.reduce_keep(ReduceOp::Sum, e, over)?;
    if log {
        let sum = cx.un(UnaryOp::Log, sum)?;
        return cx.sub(d, sum);
    }
    cx.div(e, sum)
}

/// 1 where the element is the first largest along the axis, else 0.
pub(super) fn hardmax(cx: &mut NodeCx<'_, '_>) -> Out {
    use fornax_ir::graph::ops::Iota;
    use fornax_ir::scalar::CompareOp;
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    let old = cx.opset < 13;
    let axis = cx.axis(cx.int_or("axis", if old { 1 } else { -1 })?, shape.len())?;
    let wide = if old {
        let rows: Dim = shape[..axis].iter().product();
        let columns: Dim = shape[axis..].iter().product();
        vec![rows, columns]
    } else {
        shape.clone()
    };
    let axis = if old { 1 } else { axis };
    let flat = cx.b.reshape(x, wide.clone())?;
    let m = cx.reduce_keep(ReduceOp::Max, flat, &[axis])?;
    let found = cx.cmp(CompareOp::Eq, flat, m)?;
    let places = Iota { dtype: DType::I64, shape: wide.clone(), axis: axis as u32 };
    let places = cx.b.add(places, &[])?;
    let none = cx.extent(&wide[axis], DType::I64)?;
    let candidates = cx.select(found, places, none)?;
    let first = cx.reduce_keep(ReduceOp::Min, candidates, &[axis])?;
    let hit = cx.cmp(CompareOp::Eq, places, first)?;
    let dtype = cx.dtype(x);
    let y = cx.b.cast(hit, dtype)?;
    Ok(vec![cx.b.reshape(y, shape)?])
}

/// x - mean, and 1 / sqrt(variance + epsilon), over axes that stay with extent 1; also the mean.
fn standardize(cx: &mut NodeCx<'_, '_>, x: ValueId, over: &[usize], epsilon: f64) -> Result<[ValueId; 3]> {
    let mean = cx.mean_keep(x, over)?;
    let d = cx.sub(x, mean)?;
    let square = cx.mul(d, d)?;
    let variance = cx.mean_keep(square, over)?;
    let inverse = inverse_root(cx, variance, epsilon)?;
    Ok([d, inverse, mean])
}

/// 1 / sqrt(x + epsilon).
fn inverse_root(cx: &mut NodeCx<'_, '_>, x: ValueId, epsilon: f64) -> Result<ValueId> {
    let x = cx.shift(x, epsilon)?;
    let root = cx.un(UnaryOp::Sqrt, x)?;
    let one = cx.c(root, 1.0);
    cx.div(one, root)
}

/// The dtype in which `stash_type` asks to compute, if it is wider than the operand's.
fn stash(cx: &NodeCx<'_, '_>, x: ValueId) -> Result<DType> {
    let own = cx.dtype(x);
    let code = i32::try_from(cx.int_or("stash_type", 1)?).unwrap_or(0);
    let asked = crate::tensor::dtype(code).map_err(|what| cx.bad(format!("stash_type: {what}")))?;
    Ok(if asked.is_float() && asked.bytes() > own.bytes() { asked } else { own })
}

/// LayerNormalization: over all axes from `axis` on; outputs the result, the mean and 1 / deviation.
pub(super) fn layer_norm(cx: &mut NodeCx<'_, '_>) -> Out {
    let (x, scale) = (cx.input(0)?, cx.input(1)?);
    let (own, rank) = (cx.dtype(x), cx.rank(x));
    let axis = cx.axis(cx.int_or("axis", -1)?, rank)?;
    let epsilon = cx.float_or("epsilon", 1e-5)?;
    let wide = cx.b.cast(x, stash(cx, x)?)?;
    let over: Vec<usize> = (axis..rank).collect();
    let [d, inverse, mean] = standardize(cx, wide, &over, epsilon.into())?;
    let y = cx.mul(d, inverse)?;
    let y = cx.b.cast(y, own)?;
    let mut y = cx.mul(y, scale)?;
    if let Some(bias) = cx.opt(2) {
        y = cx.add(y, bias)?;
    }
    Ok(vec![y, mean, inverse])
}

/// RMSNormalization: x / sqrt(mean of squares + epsilon) * scale.
pub(super) fn rms_norm(cx: &mut NodeCx<'_, '_>) -> Out {
    let (x, scale) = (cx.input(0)?, cx.input(1)?);
    let (own, rank) = (cx.dtype(x), cx.rank(x));
    let axis = cx.axis(cx.int_or("axis", -1)?, rank)?;
    let epsilon = cx.float_or("epsilon", 1e-5)?;
    let wide = cx.b.cast(x, stash(cx, x)?)?;
    let over: Vec<usize> = (axis..rank).collect();
    let square = cx.mul(wide, wide)?;
    let mean = cx.mean_keep(square, &over)?;
    let inverse = inverse_root(cx, mean, epsilon.into())?;
    let y = cx.mul(wide, inverse)?;
    let y = cx.b.cast(y, own)?;
    Ok(vec![cx.mul(y, scale)?])
}

/// BatchNormalization for inference: `(x - mean) * (scale / sqrt(variance + epsilon)) + bias`, all
/// statistics per channel (axis 1).
pub(super) fn batch_norm(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    if cx.flag("training_mode", false)? {
        return Err(cx.bad("is supported for inference only: training_mode must be 0"));
    }
    if !cx.flag("spatial", true)? {
        return Err(cx.bad("statistics per element (spatial = 0) are not supported, only per channel"));
    }
    let rank = cx.rank(x);
    if rank < 2 {
        return Err(cx.bad(format!("needs an operand with a channel axis, not {}", cx.b.ty(x))));
    }
    let (scale, bias, mean, variance) = (cx.input(1)?, cx.input(2)?, cx.input(3)?, cx.input(4)?);
    let epsilon = cx.float_or("epsilon", 1e-5)?;
    let dtype = cx.dtype(x);
    // The statistics may have a wider dtype than the operand.
    let inverse = inverse_root(cx, variance, epsilon.into())?;
    let scale = cx.b.cast(scale, cx.dtype(inverse))?;
    let factor = cx.mul(scale, inverse)?;
    let mut parts = [mean, factor, bias];
    for p in &mut parts {
        let v = cx.b.cast(*p, dtype)?;
        *p = cx.along(v, 1, rank)?;
    }
    let d = cx.sub(x, parts[0])?;
    let y = cx.mul(d, parts[1])?;
    Ok(vec![cx.add(y, parts[2])?])
}

/// InstanceNormalization: per sample and channel, over all further axes.
pub(super) fn instance_norm(cx: &mut NodeCx<'_, '_>) -> Out {
    let (x, scale, bias) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let rank = cx.rank(x);
    let epsilon = cx.float_or("epsilon", 1e-5)?;
    let over: Vec<usize> = (2..rank).collect();
    let [d, inverse, _] = standardize(cx, x, &over, epsilon.into())?;
    let y = cx.mul(d, inverse)?;
    let (scale, bias) = (cx.along(scale, 1, rank)?, cx.along(bias, 1, rank)?);
    let y = cx.mul(y, scale)?;
    Ok(vec![cx.add(y, bias)?])
}

/// GroupNormalization: per sample and group of channels. Scale and bias are per group before opset 21,
/// per channel since.
pub(super) fn group_norm(cx: &mut NodeCx<'_, '_>) -> Out {
    let (x, scale, bias) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let shape = cx.shape(x);
    let rank = shape.len();
    let groups = cx.int_or("num_groups", 0)?;
    if rank < 2 || groups < 1 {
        return Err(
            cx.bad(format!("needs a channel axis and num_groups >= 1; has {} and {groups}", cx.b.ty(x)))
        );
    }
    let Some(per_group) = shape[1].div_exact(&Dim::constant(groups)) else {
        return Err(cx.bad(format!("{} channels do not divide into {groups} groups", shape[1])));
    };
    let epsilon = cx.float_or("epsilon", 1e-5)?;
    let wide = cx.b.cast(x, stash(cx, x)?)?;
    let mut split = vec![shape[0].clone(), Dim::constant(groups), per_group];
    split.extend_from_slice(&shape[2..]);
    let over: Vec<usize> = (2..split.len()).collect();
    let grouped = cx.b.reshape(wide, split.clone())?;
    let [d, inverse, _] = standardize(cx, grouped, &over, epsilon.into())?;
    let y = cx.mul(d, inverse)?;
    let y = cx.b.cast(y, cx.dtype(x))?;
    if cx.opset < 21 {
        let (scale, bias) = (cx.along(scale, 1, split.len())?, cx.along(bias, 1, split.len())?);
        let y = cx.mul(y, scale)?;
        let y = cx.add(y, bias)?;
        return Ok(vec![cx.b.reshape(y, shape)?]);
    }
    let y = cx.b.reshape(y, shape)?;
    let (scale, bias) = (cx.along(scale, 1, rank)?, cx.along(bias, 1, rank)?);
    let y = cx.mul(y, scale)?;
    Ok(vec![cx.add(y, bias)?])
}

/// LpNormalization: x divided by its 1- or 2-norm along an axis.
pub(super) fn lp_norm(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let axis = cx.axis(cx.int_or("axis", -1)?, cx.rank(x))?;
    let norm = match cx.int_or("p", 2)? {
        1 => {
            let size = cx.un(UnaryOp::Abs, x)?;
            cx.reduce_keep(ReduceOp::Sum, size, &[axis])?
        }
        2 => {
            let square = cx.mul(x, x)?;
            let sum = cx.reduce_keep(ReduceOp::Sum, square, &[axis])?;
            cx.un(UnaryOp::Sqrt, sum)?
        }
        p => return Err(cx.bad(format!("attribute 'p' must be 1 or 2, not {p}"))),
    };
    Ok(vec![cx.div(x, norm)?])
}

/// MeanVarianceNormalization: (x - mean) / (sqrt(E[x^2] - mean^2) + 1e-9) over axes.
pub(super) fn mean_variance(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let axes = cx.ints("axes")?.unwrap_or(&[0, 2, 3]);
    let over = cx.axes(axes, cx.rank(x))?;
    let mean = cx.mean_keep(x, &over)?;
    let square = cx.mul(x, x)?;
    let power = cx.mean_keep(square, &over)?;
    let mean_square = cx.mul(mean, mean)?;
    let variance = cx.sub(power, mean_square)?;
    let deviation = cx.un(UnaryOp::Sqrt, variance)?;
    let deviation = cx.shift(deviation, 1e-9)?;
    let d = cx.sub(x, mean)?;
    Ok(vec![cx.div(d, deviation)?])
}

/// LRN: x / (bias + alpha / size * sum of squares over `size` neighbouring channels)^beta.
pub(super) fn lrn(cx: &mut NodeCx<'_, '_>) -> Out {
    use fornax_ir::graph::ops::ReduceWindow;
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    let size = cx.int_or("size", 0)?;
    if rank < 2 || size < 1 {
        return Err(cx.bad(format!("needs a channel axis and size >= 1; has {} and {size}", cx.b.ty(x))));
    }
    let (alpha, beta) = (cx.float_or("alpha", 1e-4)?, cx.float_or("beta", 0.75)?);
    let bias = cx.float_or("bias", 1.0)?;
    let square = cx.mul(x, x)?;
    let n = rank - 1;
    let mut window = vec![1; n];
    window[0] = size;
    let mut pads = vec![(Dim::ZERO, Dim::ZERO); n];
    pads[0] = (Dim::constant((size - 1) / 2), Dim::constant(size / 2));
    let op = ReduceWindow { op: ReduceOp::Sum, window, strides: vec![1; n], pads, dilations: vec![1; n] };
    let sum = cx.b.add(op, &[square])?;
    let sum = cx.scale(sum, f64::from(alpha) / size as f64)?;
    let base = cx.shift(sum, bias.into())?;
    let exponent = cx.c(x, beta.into());
    let below = cx.bin(BinaryOp::Pow, base, exponent)?;
    Ok(vec![cx.div(x, below)?])
}
