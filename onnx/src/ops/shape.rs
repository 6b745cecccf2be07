//! Operators that change or read shapes, and values that follow from shapes.

use crate::error::Result;
use crate::import::NodeCx;
use crate::tensor::TensorSource;
use fornax_ir::graph::ValueId;
use fornax_ir::graph::ops::Broadcast;
use fornax_ir::scalar::Scalar;
use fornax_ir::{DType, Dim, Literal};

type Out = Result<Vec<ValueId>>;

/// Constant: one of several attributes holds the value.
pub(super) fn constant(cx: &mut NodeCx<'_, '_>) -> Out {
    let literal = if let Some(t) = cx.tensor("value")? {
        TensorSource::literal(cx.tensors, t)?
    } else if let Some(v) = cx.float("value_float")? {
        Literal::scalar(v)
    } else if let Some(v) = cx.int("value_int")? {
        Literal::scalar(v)
    } else if let Some(v) = cx.floats("value_floats")? {
        Literal::from_vec(&[v.len()], v.to_vec()).map_err(|e| cx.bad(e.to_string()))?
    } else if let Some(v) = cx.ints("value_ints")? {
        Literal::from_vec(&[v.len()], v.to_vec()).map_err(|e| cx.bad(e.to_string()))?
    } else {
        let given: Vec<_> = cx.node.attribute.iter().map(|a| a.name.as_str()).collect();
        return Err(cx.bad(format!("has no value that is supported; its attributes are {given:?}")));
    };
    let name = cx.node.output.first().cloned().unwrap_or_default();
    // Unnamed scalars are shared.
    let name = if literal.shape().is_empty() { String::new() } else { name };
    Ok(vec![cx.b.constant(&name, literal)])
}

/// Shape: from opset 15 with a range of axes.
pub(super) fn shape(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let dims = cx.shape(x);
    let rank = dims.len() as i64;
    let clamp = |v: i64| if v < 0 { v + rank } else { v }.clamp(0, rank) as usize;
    let (start, end) = (clamp(cx.int_or("start", 0)?), clamp(cx.int_or("end", rank)?));
    let part = dims.get(start..end).unwrap_or(&[]).to_vec();
    Ok(vec![cx.b.dims(part, false)?])
}

pub(super) fn size(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let n = cx.b.ty(x).elements();
    Ok(vec![cx.b.dims(vec![n], true)?])
}

/// Reshape: 0 copies an extent (unless `allowzero`), one -1 is what remains.
pub(super) fn reshape(cx: &mut NodeCx<'_, '_>) -> Out {
    let (x, target) = (cx.input(0)?, cx.input(1)?);
    let own = cx.shape(x);
    let mut shape = cx.dims_of(target, "the target extents")?;
    let keep_zero = cx.flag("allowzero", false)?;
    let mut open = None;
    for (k, d) in shape.iter_mut().enumerate() {
        if d.is_const(0) && !keep_zero {
            *d = own.get(k).cloned().ok_or_else(|| {
                cx.bad(format!("target extent {k} is 0 (copy), but {} has no axis {k}", cx.b.ty(x)))
            })?;
        } else if d.is_const(-1) {
            if open.replace(k).is_some() {
                return Err(cx.bad("more than one target extent is -1"));
            }
        } else if d.as_const().is_some_and(|v| v < 0) {
            return Err(cx.bad(format!("target extent {k} is {d}; only -1 may be negative")));
        }
    }
    if let Some(k) = open {
        shape[k] = remaining(cx, &own, &shape, k)?;
    }
    Ok(vec![cx.b.reshape(x, shape)?])
}

/// What extent `k` must be for `shape` to hold as many elements as `own`.
fn remaining(cx: &NodeCx<'_, '_>, own: &[Dim], shape: &[Dim], k: usize) -> Result<Dim> {
    let mut left = own.to_vec();
    let mut below = Dim::ONE;
    // Extents on both sides cancel, so that they need not be known to be non-zero.
    for (_, d) in shape.iter().enumerate().filter(|(i, _)| *i != k) {
        match left.iter().position(|l| l == d) {
            Some(at) => drop(left.remove(at)),
            None => below = below * d,
        }
    }
    let above: Dim = left.iter().product();
    if below.is_const(0) {
        return Err(cx.bad("an extent of -1 cannot be found where another one is 0"));
    }
    match above.div_exact(&below) {
        Some(q) => Ok(q),
        None if above.as_const().is_some() && below.as_const().is_some() => {
            Err(cx.bad(format!("{above} elements do not divide by {below}")))
        }
        None => Ok(above.floor_div(&below)),
    }
}

/// Flatten: the axes before `axis` become one, and those from it on.
pub(super) fn flatten(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    let listed = cx.int_or("axis", 1)?;
    let rank = shape.len();
    let axis = if listed == rank as i64 { rank } else { cx.axis(listed, rank)? };
    let two: Vec<Dim> = vec![shape[..axis].iter().product(), shape[axis..].iter().product()];
    Ok(vec![cx.b.reshape(x, two)?])
}

/// Transpose: by default the axes are reversed.
pub(super) fn transpose(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    let perm = match cx.ints("perm")? {
        None => (0..rank).rev().collect(),
        Some(p) => p.iter().map(|&a| cx.axis(a, rank)).collect::<Result<Vec<_>>>()?,
    };
    Ok(vec![cx.permute(x, &perm)?])
}

/// The axes of Squeeze and Unsqueeze: an attribute before opset 13, operand 1 since.
fn listed_axes(cx: &NodeCx<'_, '_>) -> Result<Option<Vec<i64>>> {
    if cx.opset < 13 {
        return Ok(cx.ints("axes")?.map(<[i64]>::to_vec));
    }
    cx.opt(1).map(|v| cx.ints_of(v, "axes")).transpose()
}

pub(super) fn squeeze(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    let axes = match listed_axes(cx)? {
        Some(list) => cx.axes(&list, shape.len())?,
        None => (0..shape.len()).filter(|&k| shape[k].is_const(1)).collect(),
    };
    if let Some(&k) = axes.iter().find(|&&k| shape[k].as_const().is_some_and(|n| n != 1)) {
        return Err(cx.bad(format!("axis {k} of {} has extent {}, not 1", cx.b.ty(x), shape[k])));
    }
    let left: Vec<Dim> =
        shape.iter().enumerate().filter(|(k, _)| !axes.contains(k)).map(|(_, d)| d.clone()).collect();
    Ok(vec![cx.b.reshape(x, left)?])
}

pub(super) fn unsqueeze(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    let list = listed_axes(cx)?.ok_or_else(|| cx.bad("the axes are missing"))?;
    let rank = shape.len() + list.len();
    let axes = cx.axes(&list, rank)?;
    let mut old = shape.into_iter();
    let wide = (0..rank).map(|k| if axes.contains(&k) { Dim::ONE } else { old.next().unwrap_or(Dim::ONE) });
    let wide: Vec<Dim> = wide.collect();
    Ok(vec![cx.b.reshape(x, wide)?])
}

pub(super) fn expand(cx: &mut NodeCx<'_, '_>) -> Out {
    let (x, target) = (cx.input(0)?, cx.input(1)?);
    let want = cx.dims_of(target, "the target extents")?;
    let shape = super::matmul::common_shape(&cx.shape(x), &want);
    Ok(vec![cx.fill(x, &shape)?])
}

/// Tile: `[a, b]` repeated is `[r, a, s, b]` read as `[r a, s b]`.
pub(super) fn tile(cx: &mut NodeCx<'_, '_>) -> Out {
    let (x, repeats) = (cx.input(0)?, cx.input(1)?);
    let shape = cx.shape(x);
    let repeats = cx.dims_of(repeats, "repeats")?;
    if repeats.len() != shape.len() {
        return Err(cx.bad(format!("needs {} repeats, one per axis, not {}", shape.len(), repeats.len())));
    }
    let wide: Vec<Dim> = shape.iter().zip(&repeats).flat_map(|(d, r)| [r.clone(), d.clone()]).collect();
    let axes = (0..shape.len() as u32).map(|k| 2 * k + 1).collect();
    let y = cx.b.add(Broadcast { shape: wide, axes }, &[x])?;
    let shape: Vec<Dim> = shape.iter().zip(&repeats).map(|(d, r)| d * r).collect();
    Ok(vec![cx.b.reshape(y, shape)?])
}

/// ConstantOfShape: one value (by default f32 zero) everywhere.
pub(super) fn constant_of_shape(cx: &mut NodeCx<'_, '_>) -> Out {
    let target = cx.input(0)?;
    let shape = cx.dims_of(target, "the extents")?;
    let value = match cx.tensor("value")? {
        None => cx.b.scalar(Scalar::f32(0.0)),
        Some(t) => {
            let literal = cx.tensors.literal(t)?;
            let one = literal.reshaped(&[]).map_err(|_| cx.bad("attribute 'value' must hold one element"))?;
            cx.b.constant("", one)
        }
    };
    Ok(vec![cx.fill(value, &shape)?])
}

/// Range: start, start + delta, .. below limit (above, for a negative delta).
pub(super) fn range(cx: &mut NodeCx<'_, '_>) -> Out {
    let ends = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
    let dtype = cx.dtype(ends[0]);
    let n = if dtype.is_int() {
        let mut e = ends.iter().map(|&v| cx.dims_of(v, "start, limit and delta"));
        let mut next =
            || e.next().unwrap_or_else(|| Ok(vec![])).map(|d| d.into_iter().next().unwrap_or(Dim::ZERO));
        let (start, limit, delta) = (next()?, next()?, next()?);
        let Some(step) = delta.as_const().filter(|&s| s != 0) else {
            return Err(cx.bad("delta must be a constant other than 0"));
        };
        let (span, step) = if step > 0 { (limit - start, step) } else { (start - limit, -step) };
        let n = span.ceil_div(&Dim::constant(step));
        if cx.le(&Dim::ZERO, &n) { n } else { n.at_least(&Dim::ZERO) }
    } else {
        let mut e = vec![];
        for v in ends {
            e.push(cx.floats_of(v, "start, limit and delta")?.first().copied().unwrap_or(f64::NAN));
        }
        let n = ((e[1] - e[0]) / e[2]).ceil();
        if !n.is_finite() {
            return Err(cx.bad(format!("from {} to {} by {} is no range", e[0], e[1], e[2])));
        }
        Dim::constant(n.max(0.0) as i64)
    };
    let mut scalars = [ends[0], ends[2]];
    for v in &mut scalars {
        *v = cx.b.reshape(*v, vec![])?;
    }
    let count = cx.iota(&n, dtype)?;
    let steps = if is_one(cx, ends[2]) { count } else { cx.mul(count, scalars[1])? };
    Ok(vec![if is_zero(cx, ends[0]) { steps } else { cx.add(steps, scalars[0])? }])
}

fn is_one(cx: &NodeCx<'_, '_>, v: ValueId) -> bool {
    cx.literal(v).is_some_and(|l| l.len() == 1 && l.get_f64(0) == 1.0)
}

fn is_zero(cx: &NodeCx<'_, '_>, v: ValueId) -> bool {
    cx.literal(v).is_some_and(|l| l.len() == 1 && l.get_f64(0) == 0.0)
}

/// EyeLike: ones on the diagonal that lies `k` above the main one.
pub(super) fn eye_like(cx: &mut NodeCx<'_, '_>) -> Out {
    use fornax_ir::scalar::CompareOp;
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    if shape.len() != 2 {
        return Err(cx.bad(format!("needs a matrix, not {}", cx.b.ty(x))));
    }
    let dtype = match cx.int("dtype")? {
        None => cx.dtype(x),
        Some(code) => crate::tensor::dtype(i32::try_from(code).unwrap_or(-1)).map_err(|what| cx.bad(what))?,
    };
    let difference = column_minus_row(cx, &shape)?;
    let k = cx.int_or("k", 0)?;
    let k = cx.b.scalar(Scalar::i64(k));
    let on = cx.cmp(CompareOp::Eq, difference, k)?;
    Ok(vec![cx.b.cast(on, dtype)?])
}

/// Trilu: elements on one side of the diagonal `k` above the main one, 0 elsewhere.
pub(super) fn trilu(cx: &mut NodeCx<'_, '_>) -> Out {
    use fornax_ir::scalar::CompareOp;
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    if shape.len() < 2 {
        return Err(cx.bad(format!("needs matrices, not {}", cx.b.ty(x))));
    }
    let k = match cx.opt(1) {
        Some(v) => cx.dims_of(v, "k")?.into_iter().next().unwrap_or(Dim::ZERO),
        None => Dim::ZERO,
    };
    let difference = column_minus_row(cx, &shape[shape.len() - 2..])?;
    let k = cx.extent(&k, DType::I64)?;
    let op = if cx.flag("upper", true)? { CompareOp::Ge } else { CompareOp::Le };
    let kept = cx.cmp(op, difference, k)?;
    let zero = cx.c(x, 0.0);
    Ok(vec![cx.select(kept, x, zero)?])
}

/// Column number less row number, for every element of a matrix.
fn column_minus_row(cx: &mut NodeCx<'_, '_>, shape: &[Dim]) -> Result<ValueId> {
    let rows = cx.iota(&shape[0], DType::I64)?;
    let rows = cx.along(rows, 0, 2)?;
    let columns = cx.iota(&shape[1], DType::I64)?;
    let columns = cx.along(columns, 1, 2)?;
    cx.sub(columns, rows)
}
