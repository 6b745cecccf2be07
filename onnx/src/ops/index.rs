//! Reading at places that data names.

use crate::error::Result;
use crate::import::NodeCx;
use fornax_ir::graph::ValueId;
use fornax_ir::graph::ops::{self, Iota, Update};
use fornax_ir::scalar::CompareOp;
use fornax_ir::{DType, Dim};

type Out = Result<Vec<ValueId>>;

pub(super) fn gather(cx: &mut NodeCx<'_, '_>) -> Out {
    let (x, i) = (cx.input(0)?, cx.input(1)?);
    let axis = cx.axis(cx.int_or("axis", 0)?, cx.rank(x))?;
    Ok(vec![cx.b.add(ops::Gather { axes: vec![axis as u32] }, &[x, i])?])
}

/// Every element of `shape` knows its place along `axis`.
fn places(cx: &mut NodeCx<'_, '_>, shape: &[Dim], axis: usize, dtype: DType) -> Result<ValueId> {
    Ok(cx.b.add(Iota { dtype, shape: shape.to_vec(), axis: axis as u32 }, &[])?)
}

/// GatherElements: `y[i, j, ..] = x[i, indices[i, j, ..], ..]`.
pub(super) fn gather_elements(cx: &mut NodeCx<'_, '_>) -> Out {
    let (x, i) = (cx.input(0)?, cx.input(1)?);
    let rank = cx.rank(x);
    if rank != cx.rank(i) {
        return Err(cx.bad(format!("data {} and indices {} must have one rank", cx.b.ty(x), cx.b.ty(i))));
    }
    let axis = cx.axis(cx.int_or("axis", 0)?, rank)?;
    let (shape, dtype) = (cx.shape(i), cx.dtype(i));
    let mut operands = vec![x];
    for k in 0..rank {
        operands.push(if k == axis { i } else { places(cx, &shape, k, dtype)? });
    }
    Ok(vec![cx.b.add(ops::Gather { axes: (0..rank as u32).collect() }, &operands)?])
}

/// GatherND: the last axis of the indices holds a place along each of the axes after the batch axes.
pub(super) fn gather_nd(cx: &mut NodeCx<'_, '_>) -> Out {
    let (x, i) = (cx.input(0)?, cx.input(1)?);
    let (rank, places_shape) = (cx.rank(x), cx.shape(i));
    let batch = cx.int_or("batch_dims", 0)?;
    let Some((last, outer)) = places_shape.split_last() else {
        return Err(cx.bad("the indices need at least one axis"));
    };
    let batch = usize::try_from(batch).ok().filter(|&b| b <= outer.len());
    let (Some(batch), Some(depth)) = (batch, last.as_const()) else {
        return Err(cx.bad(format!("the last axis of the indices ({}) must be constant", cx.b.ty(i))));
    };
    let depth = depth as usize;
    if batch + depth > rank || depth == 0 {
        return Err(cx.bad(format!("{batch} batch axes and {depth} indices do not fit data {}", cx.b.ty(x))));
    }
    let dtype = cx.dtype(i);
    let mut operands = vec![x];
    for k in 0..batch {
        operands.push(places(cx, outer, k, dtype)?);
    }
    for k in 0..depth {
        let part = cx.slice(i, outer.len(), Dim::constant(k as i64), Dim::ONE, 1)?;
        operands.push(cx.b.reshape(part, outer.to_vec())?);
    }
    Ok(vec![cx.b.add(ops::Gather { axes: (0..(batch + depth) as u32).collect() }, &operands)?])
}

/// What the attribute `reduction` says of an update.
fn update(cx: &NodeCx<'_, '_>) -> Result<Update> {
    match cx.text_or("reduction", "none")? {
        "none" => Ok(Update::Put),
        other => {
            match Update::from_name(other).filter(|u| *u != Update::Put) {
                Some(update) => Ok(update),
                None => Err(cx
                    .bad(format!("attribute 'reduction' must be none, add, mul, max or min, not '{other}'"))),
            }
        }
    }
}

/// ScatterElements, and Scatter before it: `y = x`, then `y[i, indices[i, j, ..], ..] = updates[i, j, ..]`.
pub(super) fn scatter_elements(cx: &mut NodeCx<'_, '_>) -> Out {
    let (x, i, updates) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let axis = cx.axis(cx.int_or("axis", 0)?, cx.rank(x))? as u32;
    let update = update(cx)?;
    Ok(vec![cx.b.scatter_elements(update, axis, x, updates, i)?])
}

/// ScatterND: the last axis of the indices holds a place along each of the first axes.
pub(super) fn scatter_nd(cx: &mut NodeCx<'_, '_>) -> Out {
    let (x, i, updates) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let shape = cx.shape(i);
    let depth = shape.last().and_then(Dim::as_const).filter(|d| (1..=cx.rank(x) as i64).contains(d));
    let Some(depth) = depth else {
        let (x, i) = (cx.b.ty(x), cx.b.ty(i));
        return Err(cx.bad(format!(
            "the last axis of the indices {i} must hold at most as many places as {x} has axes"
        )));
    };
    let update = update(cx)?;
    let (outer, mut places) = (&shape[..shape.len() - 1], vec![]);
    for k in 0..depth {
        let part = cx.slice(i, outer.len(), Dim::constant(k), Dim::ONE, 1)?;
        places.push(cx.b.reshape(part, outer.to_vec())?);
    }
    let axes: Vec<u32> = (0..depth as u32).collect();
    Ok(vec![cx.b.scatter(update, &axes, x, updates, &places)?])
}

/// TopK: the largest (smallest) elements along an axis in order, and their places.
pub(super) fn top_k(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let axis = cx.axis(cx.int_or("axis", -1)?, cx.rank(x))? as u32;
    let count = match cx.opt(1) {
        Some(k) => cx.dims_of(k, "k")?.into_iter().next(),
        None => cx.int("k")?.map(Dim::constant),
    };
    let count = count.ok_or_else(|| cx.bad("k is missing"))?;
    let (values, places) = cx.b.sort(x, axis, cx.flag("largest", true)?, count)?;
    Ok(vec![values, places])
}

/// CumSum: running sums along an axis that is an operand.
pub(super) fn cum_sum(cx: &mut NodeCx<'_, '_>) -> Out {
    let (x, axis) = (cx.input(0)?, cx.input(1)?);
    let [axis] = cx.ints_of(axis, "the axis")?[..] else { return Err(cx.bad("the axis must be one number")) };
    let axis = cx.axis(axis, cx.rank(x))? as u32;
    let (exclusive, reverse) = (cx.flag("exclusive", false)?, cx.flag("reverse", false)?);
    Ok(vec![cx.b.cumsum(x, axis, exclusive, reverse)?])
}

/// OneHot: `values[1]` where the place along a new axis equals the index (negative ones count from the
/// end), `values[0]` elsewhere.
pub(super) fn one_hot(cx: &mut NodeCx<'_, '_>) -> Out {
    let (i, depth, values) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let n = if cx.dtype(depth).is_float() {
        cx.floats_of(depth, "depth")?.first().map(|&v| Dim::constant(v as i64))
    } else {
        cx.dims_of(depth, "depth")?.into_iter().next()
    };
    let n = n.ok_or_else(|| cx.bad("depth is empty"))?;
    let own = cx.shape(i);
    let axis = cx.axis(cx.int_or("axis", -1)?, own.len() + 1)?;
    let mut wide = own.clone();
    wide.insert(axis, Dim::ONE);
    let mut shape = own;
    shape.insert(axis, n.clone());
    let i = cx.b.cast(i, DType::I64)?;
    let zero = cx.c(i, 0.0);
    let minus = cx.cmp(CompareOp::Lt, i, zero)?;
    let count = cx.extent(&n, DType::I64)?;
    let moved = cx.add(i, count)?;
    let i = cx.select(minus, moved, i)?;
    let i = cx.b.reshape(i, wide)?;
    let at = places(cx, &shape, axis, DType::I64)?;
    let hit = cx.cmp(CompareOp::Eq, at, i)?;
    let mut pair = vec![];
    for k in 0..2 {
        let v = cx.slice(values, 0, Dim::constant(k), Dim::ONE, 1)?;
        pair.push(cx.b.reshape(v, vec![])?);
    }
    Ok(vec![cx.select(hit, pair[1], pair[0])?])
}
