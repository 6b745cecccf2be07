//! Resize and Upsample, one axis at a time: both are separable.

use crate::error::Result;
use crate::import::NodeCx;
use fornax_ir::graph::ValueId;
use fornax_ir::scalar::{BinaryOp, CompareOp, Scalar, UnaryOp};
use fornax_ir::{DType, Dim};

type Out = Result<Vec<ValueId>>;

/// Largest denominator of a scale that multiplies a symbolic extent.
const MAX_DENOMINATOR: i64 = 4096;

/// How places of the result map to places of the operand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    Asymmetric,
    AlignCorners,
    TfHalfPixelForNn,
    TfCropAndResize,
}

/// How a place between elements picks one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// How elements are made at places between elements.
#[derive(Clone, Copy)]
enum Mode {
    Nearest(Nearest),
    Linear,
    /// Keys' kernel with its parameter; whether taps outside are left out.
    Cubic(f64, bool),
}

/// What happens to one axis.
struct Axis {
    axis: usize,
    from: Dim,
    to: Dim,
    /// The scale as given; `None` for `to / from`.
    scale: Option<f32>,
    /// Start and end of the part that is resized, as shares of the axis.
    part: (f32, f32),
}

/// All of an axis.
const WHOLE: (f32, f32) = (0.0, 1.0);

/// Upsample: scales from an attribute (opset 7) or operand 1 (opset 9).
pub(super) fn upsample(cx: &mut NodeCx<'_, '_>) -> Out {
    let scales = match cx.floats("scales")? {
        Some(s) => s.to_vec(),
        None => scales_of(cx, 1)?.ok_or_else(|| cx.bad("the scales are missing"))?,
    };
    let mode = match cx.text_or("mode", "nearest")? {
        "nearest" => Mode::Nearest(Nearest::Floor),
        "linear" | "bilinear" => Mode::Linear,
        other => return Err(cx.bad(format!("attribute 'mode' must be nearest or linear, not '{other}'"))),
    };
    let x = cx.input(0)?;
    let axes = by_scales(cx, x, &(0..cx.rank(x)).collect::<Vec<_>>(), &scales)?;
    resize_axes(cx, x, axes, Coordinates::Asymmetric, mode)
}

pub(super) fn resize(cx: &mut NodeCx<'_, '_>) -> Out {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    if cx.opset < 11 {
        let scales = scales_of(cx, 1)?.ok_or_else(|| cx.bad("the scales are missing"))?;
        // Opset 10 rounds up where it shrinks.
        let nearest = if scales.iter().any(|&s| s < 1.0) { Nearest::Ceil } else { Nearest::Floor };
        let mode = match cx.text_or("mode", "nearest")? {
            "nearest" => Mode::Nearest(nearest),
            "linear" => Mode::Linear,
            other => return Err(cx.bad(format!("attribute 'mode' must be nearest or linear, not '{other}'"))),
        };
        let axes = by_scales(cx, x, &(0..rank).collect::<Vec<_>>(), &scales)?;
        return resize_axes(cx, x, axes, Coordinates::Asymmetric, mode);
    }
    if cx.flag("antialias", false)? {
        return Err(cx.bad("antialias = 1 is not supported"));
    }
    let coordinates = coordinates(cx)?;
    let mode = mode(cx)?;
    let listed = match cx.ints("axes")? {
        Some(list) => list.iter().map(|&a| cx.axis(a, rank)).collect::<Result<Vec<_>>>()?,
        None => (0..rank).collect(),
    };
    let mut axes = match (scales_of(cx, 2)?, cx.opt(3)) {
        (Some(scales), None) => by_scales(cx, x, &listed, &scales)?,
        (None, Some(sizes)) => {
            let sizes = cx.dims_of(sizes, "sizes")?;
            by_sizes(cx, x, &listed, sizes)?
        }
        _ => return Err(cx.bad("exactly one of scales and sizes must be given")),
    };
    if coordinates == Coordinates::TfCropAndResize {
        crop(cx, &mut axes)?;
    }
    resize_axes(cx, x, axes, coordinates, mode)
}

fn coordinates(cx: &NodeCx<'_, '_>) -> Result<Coordinates> {
    Ok(match cx.text_or("coordinate_transformation_mode", "half_pixel")? {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "asymmetric" => Coordinates::Asymmetric,
        "align_corners" => Coordinates::AlignCorners,
        "tf_half_pixel_for_nn" => Coordinates::TfHalfPixelForNn,
        "tf_crop_and_resize" => Coordinates::TfCropAndResize,
        other => return Err(cx.bad(format!("coordinate_transformation_mode '{other}' is not supported"))),
    })
}

/// Reads the part of each axis from operand 1: all starts, then all ends.
fn crop(cx: &NodeCx<'_, '_>, axes: &mut [Axis]) -> Result<()> {
    let roi = cx.input(1)?;
    let roi = cx.floats_of(roi, "roi")?;
    let n = axes.len();
    if roi.len() != 2 * n {
        return Err(cx.bad(format!("roi needs {} numbers, two for each axis, not {}", 2 * n, roi.len())));
    }
    for (k, a) in axes.iter_mut().enumerate() {
        a.part = (roi[k] as f32, roi[n + k] as f32);
    }
    Ok(())
}

fn mode(cx: &NodeCx<'_, '_>) -> Result<Mode> {
    let nearest = match cx.text_or("nearest_mode", "round_prefer_floor")? {
        "round_prefer_floor" => Nearest::RoundPreferFloor,
        "round_prefer_ceil" => Nearest::RoundPreferCeil,
        "floor" => Nearest::Floor,
        "ceil" => Nearest::Ceil,
        other => return Err(cx.bad(format!("nearest_mode '{other}' is unknown"))),
    };
    Ok(match cx.text_or("mode", "nearest")? {
        "nearest" => Mode::Nearest(nearest),
        "linear" => Mode::Linear,
        "cubic" => {
            let a = f64::from(cx.float_or("cubic_coeff_a", -0.75)?);
            Mode::Cubic(a, cx.flag("exclude_outside", false)?)
        }
        other => return Err(cx.bad(format!("mode '{other}' is unknown"))),
    })
}

/// The scales that an operand holds; an empty tensor is the same as none.
fn scales_of(cx: &NodeCx<'_, '_>, operand: usize) -> Result<Option<Vec<f32>>> {
    let Some(v) = cx.opt(operand) else { return Ok(None) };
    let list = cx.floats_of(v, "scales")?;
    Ok((!list.is_empty()).then(|| list.into_iter().map(|v| v as f32).collect()))
}

fn by_scales(cx: &NodeCx<'_, '_>, x: ValueId, listed: &[usize], scales: &[f32]) -> Result<Vec<Axis>> {
    if scales.len() != listed.len() {
        return Err(cx.bad(format!("needs {} scales, not {}", listed.len(), scales.len())));
    }
    let shape = cx.shape(x);
    let axis = |(&axis, &scale): (&usize, &f32)| {
        let from = shape[axis].clone();
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(cx.bad(format!("scale {scale} of axis {axis} must be above 0")));
        }
        let to = match from.as_const() {
            Some(n) => Dim::constant((n as f32 * scale).floor() as i64),
            None => {
                let (p, q) = fraction(scale).ok_or_else(|| {
                    cx.bad(format!(
                        "scale {scale} of axis {axis} is no fraction, and the extent {from} is not constant"
                    ))
                })?;
                (&from * p).floor_div(&Dim::constant(q))
            }
        };
        Ok(Axis { axis, from, to, scale: Some(scale), part: WHOLE })
    };
    listed.iter().zip(scales).map(axis).collect()
}

/// `p / q` that rounds to `scale`, with the smallest `q`.
fn fraction(scale: f32) -> Option<(i64, i64)> {
    let near = |q: &i64| {
        let p = (f64::from(scale) * *q as f64).round();
        (1.0..1e9).contains(&p) && (p / *q as f64) as f32 == scale
    };
    let q = (1..=MAX_DENOMINATOR).find(near)?;
    Some(((f64::from(scale) * q as f64).round() as i64, q))
}

fn by_sizes(cx: &NodeCx<'_, '_>, x: ValueId, listed: &[usize], sizes: Vec<Dim>) -> Result<Vec<Axis>> {
    if sizes.len() != listed.len() {
        return Err(cx.bad(format!("needs {} sizes, not {}", listed.len(), sizes.len())));
    }
    let shape = cx.shape(x);
    let policy = cx.text_or("keep_aspect_ratio_policy", "stretch")?;
    let pick: fn(f32, f32) -> f32 = match policy {
        "stretch" => {
            let pairs = listed.iter().zip(sizes);
            let axis = |(&axis, to)| Axis { axis, from: shape[axis].clone(), to, scale: None, part: WHOLE };
            return Ok(pairs.map(axis).collect());
        }
        "not_larger" => f32::min,
        "not_smaller" => f32::max,
        other => return Err(cx.bad(format!("keep_aspect_ratio_policy '{other}' is unknown"))),
    };
    let mut scale: Option<f32> = None;
    for (&a, size) in listed.iter().zip(&sizes) {
        let (Some(n), Some(to)) = (shape[a].as_const(), size.as_const()) else {
            return Err(
                cx.bad(format!("keep_aspect_ratio_policy '{policy}' needs constant extents and sizes"))
            );
        };
        let own = to as f32 / n as f32;
        scale = Some(scale.map_or(own, |s| pick(s, own)));
    }
    let scale = scale.unwrap_or(1.0);
    let axis = |&axis: &usize| {
        let from = shape[axis].clone();
        let to = Dim::constant((from.as_const().unwrap_or(0) as f32 * scale).round() as i64);
        Axis { axis, from, to, scale: Some(scale), part: WHOLE }
    };
    Ok(listed.iter().map(axis).collect())
}

fn resize_axes(cx: &mut NodeCx<'_, '_>, x: ValueId, axes: Vec<Axis>, c: Coordinates, mode: Mode) -> Out {
    let own = cx.dtype(x);
    let between = !matches!(mode, Mode::Nearest(_)) && !own.is_float();
    let mut y = if between { cx.b.cast(x, DType::F32)? } else { x };
    for a in axes {
        if a.from == a.to && a.scale.is_none_or(|s| s == 1.0) && a.part == WHOLE {
            continue;
        }
        y = match mode {
            Mode::Nearest(n) => match whole_factor(&a, c, n) {
                Some(s) => repeat(cx, y, a.axis, s)?,
                None => nearest(cx, y, &a, c, n)?,
            },
            Mode::Linear => linear(cx, y, &a, c)?,
            Mode::Cubic(coefficient, exclude) => cubic(cx, y, &a, c, coefficient, exclude)?,
        };
        if c == Coordinates::TfCropAndResize {
            y = extrapolate(cx, y, &a)?;
        }
    }
    Ok(vec![cx.b.cast(y, own)?])
}

/// The extrapolation value where a place lies outside the operand.
fn extrapolate(cx: &mut NodeCx<'_, '_>, y: ValueId, a: &Axis) -> Result<ValueId> {
    let value = cx.float_or("extrapolation_value", 0.0)?;
    let at = place(cx, a, Coordinates::TfCropAndResize)?;
    let zero = cx.c(at, 0.0);
    let last = cx.extent(&(&a.from - 1), DType::F32)?;
    let before = cx.cmp(CompareOp::Lt, at, zero)?;
    let after = cx.cmp(CompareOp::Gt, at, last)?;
    let outside = cx.bin(BinaryOp::Or, before, after)?;
    let outside = cx.along(outside, a.axis, cx.rank(y))?;
    let value = cx.c(y, value.into());
    cx.select(outside, value, y)
}

/// The factor by which each element repeats, where that is all the mode does.
fn whole_factor(a: &Axis, c: Coordinates, n: Nearest) -> Option<i64> {
    let round = matches!(n, Nearest::RoundPreferFloor | Nearest::RoundPreferCeil);
    let repeats = match c {
        Coordinates::HalfPixel | Coordinates::HalfPixelSymmetric => round,
        Coordinates::Asymmetric | Coordinates::TfHalfPixelForNn => n == Nearest::Floor,
        Coordinates::PytorchHalfPixel | Coordinates::AlignCorners | Coordinates::TfCropAndResize => false,
    };
    let s = match a.scale {
        Some(s) if s.fract() == 0.0 => s as i64,
        Some(_) => return None,
        None => a.to.div_exact(&a.from)?.as_const()?,
    };
    (repeats && s >= 1 && a.to == &a.from * s).then_some(s)
}

/// Every element `s` times, one after the other.
fn repeat(cx: &mut NodeCx<'_, '_>, x: ValueId, axis: usize, s: i64) -> Result<ValueId> {
    let shape = cx.shape(x);
    let mut wide = shape.clone();
    wide.insert(axis + 1, Dim::ONE);
    let y = cx.b.reshape(x, wide.clone())?;
    wide[axis + 1] = Dim::constant(s);
    let y = cx.fill(y, &wide)?;
    let mut long = shape;
    long[axis] = &long[axis] * s;
    Ok(cx.b.reshape(y, long)?)
}

/// The operand's place, as f32, for each place of the result.
fn place(cx: &mut NodeCx<'_, '_>, a: &Axis, c: Coordinates) -> Result<ValueId> {
    let i = cx.iota(&a.to, DType::F32)?;
    let (from, to) = (cx.extent(&a.from, DType::F32)?, cx.extent(&a.to, DType::F32)?);
    let scale = match a.scale {
        Some(s) => cx.b.scalar(Scalar::f32(s)),
        None => cx.div(to, from)?,
    };
    let half_pixel = |cx: &mut NodeCx<'_, '_>| {
        let y = cx.shift(i, 0.5)?;
        let y = cx.div(y, scale)?;
        cx.shift(y, -0.5)
    };
    match c {
        Coordinates::HalfPixel => half_pixel(cx),
        Coordinates::Asymmetric => cx.div(i, scale),
        Coordinates::TfHalfPixelForNn => {
            let y = cx.shift(i, 0.5)?;
            cx.div(y, scale)
        }
        Coordinates::PytorchHalfPixel => {
            let y = half_pixel(cx)?;
            let one = cx.c(to, 1.0);
            let many = cx.cmp(CompareOp::Gt, to, one)?;
            let zero = cx.c(y, 0.0);
            cx.select(many, y, zero)
        }
        Coordinates::AlignCorners => {
            let one = cx.c(to, 1.0);
            let last = cx.sub(from, one)?;
            let steps = cx.sub(to, one)?;
            let steps = cx.max(steps, one)?;
            let y = cx.mul(i, last)?;
            cx.div(y, steps)
        }
        Coordinates::TfCropAndResize => {
            // From start (in - 1) in steps of (end - start) (in - 1) / (out - 1); a single one in the middle.
            let one = cx.c(to, 1.0);
            let last = cx.sub(from, one)?;
            let steps = cx.sub(to, one)?;
            let steps = cx.max(steps, one)?;
            let (start, end) = (f64::from(a.part.0), f64::from(a.part.1));
            let reach = cx.scale(last, end - start)?;
            let step = cx.div(reach, steps)?;
            let y = cx.mul(i, step)?;
            let first = cx.scale(last, start)?;
            let y = cx.add(y, first)?;
            let middle = cx.scale(last, 0.5 * (start + end))?;
            let single = cx.cmp(CompareOp::Le, to, one)?;
            cx.select(single, middle, y)
        }
        Coordinates::HalfPixelSymmetric => {
            // offset = in/2 (1 - out / (scale in)): where rounding the output extent left a rest.
            let exact = cx.mul(scale, from)?;
            let part = cx.div(to, exact)?;
            let one = cx.c(part, 1.0);
            let rest = cx.sub(one, part)?;
            let middle = cx.scale(from, 0.5)?;
            let offset = cx.mul(middle, rest)?;
            let y = half_pixel(cx)?;
            cx.add(y, offset)
        }
    }
}

/// Places within `0..n`, as i64.
fn index(cx: &mut NodeCx<'_, '_>, place: ValueId, n: &Dim) -> Result<ValueId> {
    let i = cx.b.cast(place, DType::I64)?;
    clamp_index(cx, i, n)
}

fn clamp_index(cx: &mut NodeCx<'_, '_>, i: ValueId, n: &Dim) -> Result<ValueId> {
    let zero = cx.b.scalar(Scalar::i64(0));
    let last = cx.extent(&(n - 1), DType::I64)?;
    let i = cx.max(i, zero)?;
    cx.min(i, last)
}

fn nearest(cx: &mut NodeCx<'_, '_>, x: ValueId, a: &Axis, c: Coordinates, n: Nearest) -> Result<ValueId> {
    let at = place(cx, a, c)?;
    let (shift, round) = match n {
        Nearest::RoundPreferFloor => (-0.5, UnaryOp::Ceil),
        Nearest::RoundPreferCeil => (0.5, UnaryOp::Floor),
        Nearest::Floor => (0.0, UnaryOp::Floor),
        Nearest::Ceil => (0.0, UnaryOp::Ceil),
    };
    let at = if shift == 0.0 { at } else { cx.shift(at, shift)? };
    let at = cx.un(round, at)?;
    let i = index(cx, at, &a.from)?;
    cx.take(x, a.axis, i)
}

/// Weights of rank 1 in `x`'s dtype, laid along an axis of `x`.
fn weights(cx: &mut NodeCx<'_, '_>, w: ValueId, x: ValueId, axis: usize) -> Result<ValueId> {
    let w = cx.b.cast(w, cx.dtype(x))?;
    cx.along(w, axis, cx.rank(x))
}

fn linear(cx: &mut NodeCx<'_, '_>, x: ValueId, a: &Axis, c: Coordinates) -> Result<ValueId> {
    let at = place(cx, a, c)?;
    let zero = cx.c(at, 0.0);
    let last = cx.extent(&(&a.from - 1), DType::F32)?;
    let at = cx.max(at, zero)?;
    let at = cx.min(at, last)?;
    let below = cx.un(UnaryOp::Floor, at)?;
    let share = cx.sub(at, below)?;
    let i = index(cx, below, &a.from)?;
    let one = cx.b.scalar(Scalar::i64(1));
    let next = cx.add(i, one)?;
    let next = clamp_index(cx, next, &a.from)?;
    let (lo, hi) = (cx.take(x, a.axis, i)?, cx.take(x, a.axis, next)?);
    let one = cx.c(share, 1.0);
    let rest = cx.sub(one, share)?;
    let (share, rest) = (weights(cx, share, x, a.axis)?, weights(cx, rest, x, a.axis)?);
    let (lo, hi) = (cx.mul(lo, rest)?, cx.mul(hi, share)?);
    cx.add(lo, hi)
}

/// Cubic convolution over four taps (R. Keys, 1981), with parameter `coefficient`.
fn cubic(
    cx: &mut NodeCx<'_, '_>,
    x: ValueId,
    a: &Axis,
    c: Coordinates,
    coefficient: f64,
    exclude: bool,
) -> Result<ValueId> {
    let at = place(cx, a, c)?;
    let below = cx.un(UnaryOp::Floor, at)?;
    let t = cx.sub(at, below)?;
    let base = cx.b.cast(below, DType::I64)?;
    let mut taps = vec![];
    for k in -1..=2i64 {
        let offset = cx.b.scalar(Scalar::i64(k));
        let raw = cx.add(base, offset)?;
        let i = clamp_index(cx, raw, &a.from)?;
        let distance = cx.shift(t, -(k as f64))?;
        let distance = cx.un(UnaryOp::Abs, distance)?;
        let mut w = if k == 0 || k == 1 {
            inner(cx, distance, coefficient)?
        } else {
            outer(cx, distance, coefficient)?
        };
        if exclude {
            let inside = cx.cmp(CompareOp::Eq, raw, i)?;
            let zero = cx.c(w, 0.0);
            w = cx.select(inside, w, zero)?;
        }
        taps.push((i, w));
    }
    if exclude {
        let mut total = taps[0].1;
        for (_, w) in &taps[1..] {
            total = cx.bin(BinaryOp::Add, total, *w)?;
        }
        for (_, w) in &mut taps {
            *w = cx.div(*w, total)?;
        }
    }
    let mut sum: Option<ValueId> = None;
    for (i, w) in taps {
        let w = weights(cx, w, x, a.axis)?;
        let v = cx.take(x, a.axis, i)?;
        let v = cx.mul(v, w)?;
        sum = Some(match sum {
            None => v,
            Some(s) => cx.add(s, v)?,
        });
    }
    sum.ok_or_else(|| cx.bad("no taps"))
}

/// Keys' kernel within distance 1: `((a + 2) d - (a + 3)) d^2 + 1`.
fn inner(cx: &mut NodeCx<'_, '_>, d: ValueId, a: f64) -> Result<ValueId> {
    let y = cx.scale(d, a + 2.0)?;
    let y = cx.shift(y, -(a + 3.0))?;
    let y = cx.mul(y, d)?;
    let y = cx.mul(y, d)?;
    cx.shift(y, 1.0)
}

/// Keys' kernel between distances 1 and 2: `((a d - 5a) d + 8a) d - 4a`.
fn outer(cx: &mut NodeCx<'_, '_>, d: ValueId, a: f64) -> Result<ValueId> {
    let y = cx.scale(d, a)?;
    let y = cx.shift(y, -5.0 * a)?;
    let y = cx.mul(y, d)?;
    let y = cx.shift(y, 8.0 * a)?;
    let y = cx.mul(y, d)?;
    cx.shift(y, -4.0 * a)
}
