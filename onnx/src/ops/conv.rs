//! Convolutions.

use super::window::{Window, window};
use crate::error::Result;
use crate::import::NodeCx;
use fornax_ir::graph::ValueId;
use fornax_ir::graph::ops::{self, Pad, Slice};
use fornax_ir::{DType, Dim};

type Out = Result<Vec<ValueId>>;

/// The kernel's spatial extents, which must be constant.
fn kernel_of(cx: &NodeCx<'_, '_>, x: ValueId, w: ValueId) -> Result<Vec<i64>> {
    let (rx, shape) = (cx.rank(x), cx.shape(w));
    if rx < 3 || shape.len() != rx {
        let (x, w) = (cx.b.ty(x), cx.b.ty(w));
        return Err(cx.bad(format!("needs an input and a kernel of one rank, 3 or more; has {x} and {w}")));
    }
    let kernel: Option<Vec<i64>> = shape[2..].iter().map(Dim::as_const).collect();
    let kernel =
        kernel.ok_or_else(|| cx.bad(format!("the kernel {} must have constant extents", cx.b.ty(w))))?;
    match cx.ints("kernel_shape")? {
        Some(declared) if declared != kernel => {
            Err(cx.bad(format!("kernel_shape is {declared:?}, but the kernel's extents are {kernel:?}")))
        }
        _ => Ok(kernel),
    }
}

pub(super) fn conv(cx: &mut NodeCx<'_, '_>) -> Out {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let y = convolve(cx, x, w)?;
    Ok(vec![add_bias(cx, y, 2)?])
}

fn convolve(cx: &mut NodeCx<'_, '_>, x: ValueId, w: ValueId) -> Result<ValueId> {
    let kernel = kernel_of(cx, x, w)?;
    let spatial = cx.shape(x)[2..].to_vec();
    let Window { strides, dilations, pads, .. } = window(cx, &spatial, kernel)?;
    let groups = cx.int_or("group", 1)?;
    Ok(cx.b.add(ops::Conv { strides, pads, dilations, groups }, &[x, w])?)
}

fn add_bias(cx: &mut NodeCx<'_, '_>, y: ValueId, operand: usize) -> Result<ValueId> {
    let Some(bias) = cx.opt(operand) else { return Ok(y) };
    let bias = cx.along(bias, 1, cx.rank(y))?;
    cx.add(y, bias)
}

/// Convolution of 8-bit integers less their zero points, summed in i32.
pub(super) fn conv_integer(cx: &mut NodeCx<'_, '_>) -> Out {
    let mut parts = [cx.input(0)?, cx.input(1)?];
    for (k, p) in parts.iter_mut().enumerate() {
        *p = cx.b.cast(*p, DType::I32)?;
        if let Some(zero) = cx.opt(2 + k) {
            let zero = cx.b.cast(zero, DType::I32)?;
            let rank = cx.rank(*p);
            let zero = if cx.rank(zero) == 1 { cx.along(zero, 0, rank)? } else { zero };
            *p = cx.sub(*p, zero)?;
        }
    }
    Ok(vec![convolve(cx, parts[0], parts[1])?])
}

/// What a transposed convolution's attributes say.
struct Transposed {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    pads: Vec<(Dim, Dim)>,
    extra: Vec<i64>,
}

fn transposed(cx: &NodeCx<'_, '_>, x: ValueId, w: ValueId) -> Result<Transposed> {
    let kernel = kernel_of(cx, x, w)?;
    let n = kernel.len();
    let spatial = cx.shape(x)[2..].to_vec();
    let strides = cx.per_axis("strides", n, 1, 1)?;
    let dilations = cx.per_axis("dilations", n, 1, 1)?;
    let mut extra = cx.per_axis("output_padding", n, 0, 0)?;
    let auto = cx.text_or("auto_pad", "NOTSET")?;
    let target = match cx.ints("output_shape")? {
        None => None,
        // It may name the batch and channel axes too.
        Some(l) if l.len() == n || l.len() == n + 2 => Some(l[l.len() - n..].to_vec()),
        Some(l) => return Err(cx.bad(format!("output_shape needs {n} entries, but is {l:?}"))),
    };
    let listed = cx.per_axis("pads", 2 * n, 0, 0)?;
    let mut pads = vec![];
    for k in 0..n {
        let full = (&spatial[k] - 1) * strides[k] + extra[k] + (kernel[k] - 1) * dilations[k] + 1;
        let total = match (&target, auto) {
            (Some(t), _) => full - t[k],
            (None, "SAME_UPPER" | "SAME_LOWER") => full - &spatial[k] * strides[k],
            (None, "NOTSET" | "VALID") => {
                pads.push((Dim::constant(listed[k]), Dim::constant(listed[n + k])));
                continue;
            }
            (None, other) => {
                return Err(cx.bad(format!("attribute 'auto_pad' is '{other}', which is unknown")));
            }
        };
        // An output larger than the kernel reaches has zeros at its end.
        extra[k] += total.as_const().map_or(0, |t| (-t).max(0));
        let total = if cx.le(&Dim::ZERO, &total) { total } else { total.at_least(&Dim::ZERO) };
        let half = total.floor_div(&Dim::constant(2));
        let rest = &total - &half;
        pads.push(if auto == "SAME_UPPER" { (half, rest) } else { (rest, half) });
    }
    Ok(Transposed { kernel, strides, dilations, pads, extra })
}

/// ConvTranspose: the gradient of a convolution by its input.
pub(super) fn conv_transpose(cx: &mut NodeCx<'_, '_>) -> Out {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let t = transposed(cx, x, w)?;
    let groups = cx.int_or("group", 1)?;
    let disjoint = groups == 1
        && t.kernel == t.strides
        && t.dilations.iter().all(|&d| d == 1)
        && t.extra.iter().all(|&e| e == 0)
        && t.pads.iter().all(|(lo, hi)| lo.is_const(0) && hi.is_const(0));
    let y = if disjoint { scatter_blocks(cx, x, w, &t.kernel)? } else { by_stuffing(cx, x, w, &t, groups)? };
    Ok(vec![add_bias(cx, y, 2)?])
}

/// Where stride and kernel agree, every input element becomes one block of its own: a 1x1 convolution
/// to all elements of the block, whose axes then move between the spatial ones.
fn scatter_blocks(cx: &mut NodeCx<'_, '_>, x: ValueId, w: ValueId, kernel: &[i64]) -> Result<ValueId> {
    let n = kernel.len();
    let (sx, sw) = (cx.shape(x), cx.shape(w));
    let block: i64 = kernel.iter().product();
    let flat = cx.b.reshape(w, vec![sw[0].clone(), &sw[1] * block])?;
    let flat = cx.permute(flat, &[1, 0])?;
    let mut shape = vec![&sw[1] * block, sw[0].clone()];
    shape.resize(n + 2, Dim::ONE);
    let flat = cx.b.reshape(flat, shape)?;
    let op = ops::Conv {
        strides: vec![1; n],
        pads: vec![(Dim::ZERO, Dim::ZERO); n],
        dilations: vec![1; n],
        groups: 1,
    };
    let y = cx.b.add(op, &[x, flat])?;
    let mut split = vec![sx[0].clone(), sw[1].clone()];
    split.extend(kernel.iter().map(|&k| Dim::constant(k)));
    split.extend_from_slice(&sx[2..]);
    let y = cx.b.reshape(y, split)?;
    let perm: Vec<usize> = [0, 1].into_iter().chain((0..n).flat_map(|k| [2 + n + k, 2 + k])).collect();
    let y = cx.permute(y, &perm)?;
    let mut out = vec![sx[0].clone(), sw[1].clone()];
    out.extend(sx[2..].iter().zip(kernel).map(|(d, &k)| d * k));
    Ok(cx.b.reshape(y, out)?)
}

/// In general: the input with stride - 1 zeros between its elements, convolved with the kernel turned
/// around, whose channel axes change places within each group.
fn by_stuffing(
    cx: &mut NodeCx<'_, '_>,
    x: ValueId,
    w: ValueId,
    t: &Transposed,
    groups: i64,
) -> Result<ValueId> {
    let n = t.kernel.len();
    let stuffed = stuff(cx, x, &t.strides)?;
    let turned = turn(cx, w, groups, n)?;
    // Padding p of the result is padding (k - 1) d - p of the operand; below 0 it cuts the result.
    let mut pads = vec![];
    let mut cuts = vec![];
    for k in 0..n {
        let reach = (t.kernel[k] - 1) * t.dilations[k];
        let side = |pad: &Dim, extra: i64| {
            let p = Dim::constant(reach + extra) - pad;
            let grow = if cx.le(&Dim::ZERO, &p) { p.clone() } else { p.at_least(&Dim::ZERO) };
            (grow.clone(), grow - p)
        };
        let (lo, cut_lo) = side(&t.pads[k].0, 0);
        let (hi, cut_hi) = side(&t.pads[k].1, t.extra[k]);
        pads.push((lo, hi));
        cuts.push((cut_lo, cut_hi));
    }
    let op = ops::Conv { strides: vec![1; n], pads, dilations: t.dilations.clone(), groups };
    let mut y = cx.b.add(op, &[stuffed, turned])?;
    for (k, (lo, hi)) in cuts.into_iter().enumerate() {
        let size = &cx.shape(y)[2 + k] - &lo - hi;
        y = cx.slice(y, 2 + k, lo, size, 1)?;
    }
    Ok(y)
}

/// `stride - 1` zeros between neighbouring elements of the spatial axes.
fn stuff(cx: &mut NodeCx<'_, '_>, x: ValueId, strides: &[i64]) -> Result<ValueId> {
    let zero = cx.c(x, 0.0);
    let mut y = x;
    for (k, &s) in strides.iter().enumerate().filter(|(_, s)| **s > 1) {
        let axis = 2 + k;
        let shape = cx.shape(y);
        let mut wide = shape.clone();
        wide.insert(axis + 1, Dim::ONE);
        let mut hi = vec![Dim::ZERO; wide.len()];
        hi[axis + 1] = Dim::constant(s - 1);
        let lo = vec![Dim::ZERO; wide.len()];
        y = cx.b.reshape(y, wide)?;
        y = cx.b.add(Pad { lo, hi }, &[y, zero])?;
        let mut long = shape.clone();
        long[axis] = &shape[axis] * s;
        y = cx.b.reshape(y, long)?;
        y = cx.slice(y, axis, Dim::ZERO, (&shape[axis] - 1) * s + 1, 1)?;
    }
    Ok(y)
}

/// `[C, O / g, k..]` as `[O, C / g, k..]` with every spatial axis reversed.
fn turn(cx: &mut NodeCx<'_, '_>, w: ValueId, groups: i64, n: usize) -> Result<ValueId> {
    let shape = cx.shape(w);
    let g = Dim::constant(groups);
    let per_group = (groups > 0).then(|| shape[0].div_exact(&g)).flatten();
    let per_group = per_group
        .ok_or_else(|| cx.bad(format!("{} channels do not divide into {groups} groups", shape[0])))?;
    let mut op = Slice { start: vec![Dim::ZERO; n + 2], size: shape.clone(), step: vec![1; n + 2] };
    for (k, extent) in shape.iter().enumerate().skip(2) {
        op.start[k] = extent - 1;
        op.step[k] = -1;
    }
    let w = cx.b.add(op, &[w])?;
    let mut split = vec![g, per_group.clone(), shape[1].clone()];
    split.extend_from_slice(&shape[2..]);
    let w = cx.b.reshape(w, split)?;
    let perm: Vec<usize> = [0, 2, 1].into_iter().chain(3..n + 3).collect();
    let w = cx.permute(w, &perm)?;
    let mut out = vec![&shape[1] * groups, per_group];
    out.extend_from_slice(&shape[2..]);
    Ok(cx.b.reshape(w, out)?)
}
