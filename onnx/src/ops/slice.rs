//! Cutting, joining, padding, and rearranging blocks.

use crate::error::Result;
use crate::import::NodeCx;
use fornax_ir::graph::ValueId;
use fornax_ir::graph::ops::{self, Concat, Pad};
use fornax_ir::scalar::{BinaryOp, Scalar, UnaryOp};
use fornax_ir::{DType, Dim};

type Out = Result<Vec<ValueId>>;

/// Ends at least this large (in size) mean "to the very end".
const FAR: i64 = i32::MAX as i64 - 1;

/// Slice: attributes before opset 10, operands since.
pub(super) fn slice(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    let rank = shape.len();
    let constants = |l: &[i64]| l.iter().map(|&v| Dim::constant(v)).collect::<Vec<_>>();
    let (starts, ends, axes, steps) = if cx.opset < 10 {
        let of = |name: &str| cx.ints(name)?.ok_or_else(|| cx.bad(format!("attribute '{name}' is missing")));
        (constants(of("starts")?), constants(of("ends")?), cx.ints("axes")?.map(<[i64]>::to_vec), None)
    } else {
        let (starts, ends) = (cx.input(1)?, cx.input(2)?);
        let axes = cx.opt(3).map(|v| cx.ints_of(v, "axes")).transpose()?;
        let steps = cx.opt(4).map(|v| cx.ints_of(v, "steps")).transpose()?;
        (cx.dims_of(starts, "starts")?, cx.dims_of(ends, "ends")?, axes, steps)
    };
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return Err(cx.bad("starts, ends, axes and steps must have equally many entries"));
    }
    cx.axes(&axes, rank)?;
    let mut op = ops::Slice { start: vec![Dim::ZERO; rank], size: shape.clone(), step: vec![1; rank] };
    for (k, &a) in axes.iter().enumerate() {
        let a = cx.axis(a, rank)?;
        let n = &shape[a];
        let step = steps[k];
        if step == 0 {
            return Err(cx.bad("a step is 0"));
        }
        let (lo, hi) = if step > 0 { (Dim::ZERO, n.clone()) } else { (Dim::constant(-1), n - 1) };
        let start = place(cx, &starts[k], n, if step > 0 { &Dim::ZERO } else { &lo }, &hi);
        let end = place(cx, &ends[k], n, &lo, &hi);
        let (span, size) =
            if step > 0 { (end - &start, step) } else { (&start - end, step.saturating_neg()) };
        let size = span.ceil_div(&Dim::constant(size));
        op.size[a] = if cx.le(&Dim::ZERO, &size) { size } else { size.at_least(&Dim::ZERO) };
        op.start[a] = start;
        op.step[a] = step;
    }
    if op.start.iter().all(|d| d == &Dim::ZERO) && op.size == shape && op.step.iter().all(|&s| s == 1) {
        return Ok(vec![x]);
    }
    Ok(vec![cx.b.add(op, &[x])?])
}

/// A start or end: negative ones count from the end `n`; the result lies in `lo..=hi`. An expression
/// whose sign is open is taken as not negative, which the slice's guard then checks.
fn place(cx: &NodeCx<'_, '_>, at: &Dim, n: &Dim, lo: &Dim, hi: &Dim) -> Dim {
    if let Some(v) = at.as_const() {
        if v >= FAR {
            return hi.clone();
        }
        if v <= -FAR {
            return lo.clone();
        }
    }
    let minus = cx.le(at, &Dim::constant(-1));
    let at = if minus { at + n } else { at.clone() };
    let at = if cx.le(&at, hi) {
        at
    } else if cx.le(hi, &at) {
        hi.clone()
    } else {
        at.at_most(hi)
    };
    if cx.le(lo, &at) || !minus { at } else { at.at_least(lo) }
}

/// Split: sizes from the attribute (before opset 13), operand 1, or equal parts with a smaller last one.
pub(super) fn split(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    let axis = cx.axis(cx.int_or("axis", 0)?, shape.len())?;
    let n = shape[axis].clone();
    let listed = if cx.opset < 13 {
        cx.ints("split")?.map(|l| l.iter().map(|&v| Dim::constant(v)).collect::<Vec<_>>())
    } else {
        cx.opt(1).map(|v| cx.dims_of(v, "the sizes of the parts")).transpose()?
    };
    let sizes = match listed {
        Some(sizes) => sizes,
        None => {
            let parts = cx.int("num_outputs")?.unwrap_or(cx.node.output.len() as i64).max(1);
            if parts > 1 << 20 {
                return Err(cx.bad(format!("{parts} parts are more than a model can name")));
            }
            let part = n.ceil_div(&Dim::constant(parts));
            let mut sizes = vec![part.clone(); parts as usize];
            sizes[parts as usize - 1] = &n - part * (parts - 1);
            sizes
        }
    };
    let total: Dim = sizes.iter().sum();
    if let (Some(t), Some(n)) = (total.as_const(), n.as_const())
        && t != n
    {
        return Err(cx.bad(format!("the parts have {t} elements together, but axis {axis} has {n}")));
    }
    let mut start = Dim::ZERO;
    let mut out = vec![];
    for size in sizes {
        out.push(cx.slice(x, axis, start.clone(), size.clone(), 1)?);
        start = start + size;
    }
    Ok(out)
}

pub(super) fn concat(cx: &mut NodeCx<'_, '_>) -> Out {
    let all = cx.all_inputs()?;
    let axis = cx.int("axis")?.ok_or_else(|| cx.bad("attribute 'axis' is missing"))?;
    let axis = cx.axis(axis, cx.rank(all[0]))? as u32;
    if all.len() == 1 {
        return Ok(all);
    }
    Ok(vec![cx.b.add(Concat { axis }, &all)?])
}

/// Pad: attributes before opset 11, operands since; negative padding cuts.
pub(super) fn pad(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    let (pads, value, axes) = if cx.opset < 11 {
        let pads = cx.ints("pads")?.ok_or_else(|| cx.bad("attribute 'pads' is missing"))?;
        let value = cx.float_or("value", 0.0)?;
        (pads.iter().map(|&v| Dim::constant(v)).collect(), cx.c(x, value.into()), None)
    } else {
        let pads = cx.input(1)?;
        let value = match cx.opt(2) {
            Some(v) => cx.b.reshape(v, vec![])?,
            None => cx.c(x, 0.0),
        };
        let axes = cx.opt(3).map(|v| cx.ints_of(v, "axes")).transpose()?;
        (cx.dims_of(pads, "pads")?, value, axes)
    };
    let axes = axes.unwrap_or_else(|| (0..rank as i64).collect());
    if pads.len() != 2 * axes.len() {
        return Err(cx.bad(format!("needs {} pads, two per axis, not {}", 2 * axes.len(), pads.len())));
    }
    cx.axes(&axes, rank)?;
    let mut lo = vec![Dim::ZERO; rank];
    let mut hi = lo.clone();
    for (k, &a) in axes.iter().enumerate() {
        let a = cx.axis(a, rank)?;
        lo[a] = pads[k].clone();
        hi[a] = pads[axes.len() + k].clone();
    }
    let mode = cx.text_or("mode", "constant")?;
    if mode == "constant" {
        return Ok(vec![pad_constant(cx, x, lo, hi, value)?]);
    }
    let mut y = x;
    for a in 0..rank {
        if lo[a] != Dim::ZERO || hi[a] != Dim::ZERO {
            y = pad_by_index(cx, y, a, &lo[a], &hi[a], mode)?;
        }
    }
    Ok(vec![y])
}

fn pad_constant(
    cx: &mut NodeCx<'_, '_>,
    x: ValueId,
    lo: Vec<Dim>,
    hi: Vec<Dim>,
    value: ValueId,
) -> Result<ValueId> {
    let cut = |d: &Dim| if d.as_const().is_some_and(|v| v < 0) { -d } else { Dim::ZERO };
    let grow = |d: &Dim| if d.as_const().is_some_and(|v| v < 0) { Dim::ZERO } else { d.clone() };
    let mut y = x;
    for a in 0..lo.len() {
        let (before, after) = (cut(&lo[a]), cut(&hi[a]));
        let size = &cx.shape(y)[a] - &before - after;
        y = cx.slice(y, a, before, size, 1)?;
    }
    let (lo, hi): (Vec<Dim>, Vec<Dim>) = (lo.iter().map(grow).collect(), hi.iter().map(grow).collect());
    if lo.iter().chain(&hi).all(|d| d == &Dim::ZERO) {
        return Ok(y);
    }
    Ok(cx.b.add(Pad { lo, hi }, &[y, value])?)
}

/// Padding that repeats elements: place `i` of the result is the operand's place `f(i - lo)`.
fn pad_by_index(
    cx: &mut NodeCx<'_, '_>,
    x: ValueId,
    axis: usize,
    lo: &Dim,
    hi: &Dim,
    mode: &str,
) -> Result<ValueId> {
    let n = cx.shape(x)[axis].clone();
    let out = &n + lo + hi;
    let i = cx.iota(&out, DType::I64)?;
    let before = cx.extent(lo, DType::I64)?;
    let last = cx.extent(&(&n - 1), DType::I64)?;
    let i = cx.sub(i, before)?;
    let i = match mode {
        "edge" => {
            let zero = cx.b.scalar(Scalar::i64(0));
            let i = cx.max(i, zero)?;
            cx.min(i, last)?
        }
        // Folds at 0, then at the last place: right for padding below the extent, as ONNX demands.
        "reflect" => {
            let i = cx.un(UnaryOp::Abs, i)?;
            let back = cx.sub(last, i)?;
            let back = cx.un(UnaryOp::Abs, back)?;
            cx.sub(last, back)?
        }
        "wrap" => {
            let period = cx.extent(&n, DType::I64)?;
            let r = cx.bin(BinaryOp::Rem, i, period)?;
            let r = cx.add(r, period)?;
            cx.bin(BinaryOp::Rem, r, period)?
        }
        other => {
            return Err(
                cx.bad(format!("attribute 'mode' must be constant, reflect, edge or wrap, not '{other}'"))
            );
        }
    };
    cx.take(x, axis, i)
}

/// The block size, batch, channels, height and width of DepthToSpace and SpaceToDepth.
fn blocks(cx: &NodeCx<'_, '_>, x: ValueId) -> Result<(Dim, [Dim; 4])> {
    let size = cx.int_or("blocksize", 0)?;
    let shape: Result<[Dim; 4], _> = cx.shape(x).try_into();
    match shape {
        Ok(shape) if size > 0 => Ok((Dim::constant(size), shape)),
        _ => Err(cx.bad(format!("needs four axes and blocksize > 0; has {} and {size}", cx.b.ty(x)))),
    }
}

pub(super) fn depth_to_space(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let (s, [n, c, h, w]) = blocks(cx, x)?;
    let depth =
        c.div_exact(&(&s * &s)).ok_or_else(|| cx.bad(format!("{c} channels do not divide by {s}^2")))?;
    let (split, perm) = match cx.text_or("mode", "DCR")? {
        "DCR" => {
            (vec![n.clone(), s.clone(), s.clone(), depth.clone(), h.clone(), w.clone()], [0, 3, 4, 1, 5, 2])
        }
        "CRD" => {
            (vec![n.clone(), depth.clone(), s.clone(), s.clone(), h.clone(), w.clone()], [0, 1, 4, 2, 5, 3])
        }
        other => return Err(cx.bad(format!("attribute 'mode' must be DCR or CRD, not '{other}'"))),
    };
    let y = cx.b.reshape(x, split)?;
    let y = cx.permute(y, &perm)?;
    Ok(vec![cx.b.reshape(y, vec![n, depth, h * &s, w * &s])?])
}

pub(super) fn space_to_depth(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let (s, [n, c, h, w]) = blocks(cx, x)?;
    let (rows, columns) = (h.floor_div(&s), w.floor_div(&s));
    let split = vec![n.clone(), c.clone(), rows.clone(), s.clone(), columns.clone(), s.clone()];
    let y = cx.b.reshape(x, split)?;
    let y = cx.permute(y, &[0, 3, 5, 1, 2, 4])?;
    Ok(vec![cx.b.reshape(y, vec![n, c * &s * &s, rows, columns])?])
}
