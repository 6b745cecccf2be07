//! Arrays as text: inputs of a test, and results.

use fornax_ir::graph::{Graph, Input};
use fornax_ir::literal::byte_count;
use fornax_ir::scalar::Scalar;
use fornax_ir::{DType, Dim, Literal};
use std::fmt::Write;

/// Bytes of an input at most.
const MAX_BYTES: usize = 64 << 20;
/// Elements of a result that are printed.
const MAX_PRINTED: usize = 256;

/// Reads `DTYPE[SHAPE] = VALUES`, where the values are `[1.0, nan, -inf]` in row-major order, `splat 2.5` or
/// `seeded(7)` (numbers that look random: floats in -2..2, integers in -8..8 or 0..16, truth values).
/// Floats may be given as bits (`0x7fc00000`).
///
/// # Errors
/// What is wrong, in words.
pub(super) fn parse(text: &str) -> Result<Literal, String> {
    let (ty, values) = text.split_once('=').ok_or("expected `DTYPE[SHAPE] = VALUES`")?;
    let (dtype, shape) = parse_type(ty.trim())?;
    let bytes = byte_count(dtype, &shape).map_err(|e| e.to_string())?;
    if bytes > MAX_BYTES {
        return Err(format!("{bytes} bytes are more than the {MAX_BYTES} of an input in a test"));
    }
    let count = bytes / dtype.bytes();
    let values = values.trim();
    let elements: Vec<Scalar> = if let Some(seed) = values.strip_prefix("seeded(") {
        let seed = seed.strip_suffix(')').and_then(|s| s.trim().parse().ok());
        seeded(dtype, seed.ok_or("expected `seeded(N)` with a number of 32 bits")?).take(count).collect()
    } else if let Some(value) = values.strip_prefix("splat ") {
        vec![element(dtype, value.trim())?; count]
    } else {
        let inner = values.strip_prefix('[').and_then(|v| v.strip_suffix(']'));
        let inner = inner.ok_or("values are `[...]`, `splat V` or `seeded(N)`")?;
        let items = inner.split(',').map(str::trim).filter(|v| !v.is_empty());
        items.map(|v| element(dtype, v)).collect::<Result<_, _>>()?
    };
    if elements.len() != count {
        return Err(format!("{} values for the {count} elements of {}", elements.len(), ty.trim()));
    }
    let mut data = vec![0; bytes];
    for (bytes, s) in data.chunks_mut(dtype.bytes()).zip(elements) {
        fornax_ir::kernel::interp::write(s, bytes);
    }
    Literal::from_bytes(dtype, &shape, data.into()).map_err(|e| e.to_string())
}

/// Numbers that look random for every input of a graph; every symbol is the smallest of its range from 3 on.
pub(super) fn seeded_inputs(graph: &Graph) -> Vec<Literal> {
    let symbol = |name: &str| {
        let (lo, hi) = graph.ranges.symbol(name);
        Some(lo.max(3).min(hi.unwrap_or(i64::MAX)))
    };
    let input = |(seed, i): (u32, &Input)| {
        let extent = |d: &Dim| d.eval_symbols(&symbol).unwrap_or(1).max(0) as usize;
        let shape: Vec<usize> = i.ty.shape.iter().map(extent).collect();
        let count = shape.iter().product::<usize>();
        let mut data = vec![0; count * i.ty.dtype.bytes()];
        for (bytes, s) in data.chunks_mut(i.ty.dtype.bytes()).zip(seeded(i.ty.dtype, seed)) {
            fornax_ir::kernel::interp::write(s, bytes);
        }
        Literal::from_bytes(i.ty.dtype, &shape, data.into()).expect("as many bytes as the shape has")
    };
    (1..).zip(&graph.inputs).map(input).collect()
}

fn parse_type(text: &str) -> Result<(DType, Vec<usize>), String> {
    let parts = text.strip_suffix(']').and_then(|t| t.split_once('['));
    let (dtype, shape) = parts.ok_or_else(|| format!("`{text}` is no DTYPE[SHAPE]"))?;
    let extents = shape.split(',').map(str::trim).filter(|d| !d.is_empty());
    let extent = |d: &str| d.parse().map_err(|_| format!("`{d}` is no extent"));
    Ok((dtype.trim().parse()?, extents.map(extent).collect::<Result<_, String>>()?))
}

fn element(dtype: DType, text: &str) -> Result<Scalar, String> {
    let read = match (dtype, text.strip_prefix("0x")) {
        (_, Some(hex)) => u64::from_str_radix(hex, 16).ok().map(|b| Scalar::new(dtype, b)),
        (DType::Bool, _) => text.parse().ok().map(Scalar::bool),
        (DType::F32, _) => text.parse().ok().map(Scalar::f32),
        (d, _) if d.is_float() => text.parse().ok().map(|v| Scalar::from_f64(d, v)),
        (DType::U64, _) => text.parse().ok().map(|v| Scalar::new(DType::U64, v)),
        (d, _) => {
            let v: Option<i64> = text.parse().ok();
            v.map(|v| Scalar::from_i64(d, v)).filter(|s| Some(s.as_i64()) == v)
        }
    };
    read.ok_or_else(|| format!("`{text}` is no {dtype}"))
}

/// Numbers from a linear congruential generator (the constants of Numerical Recipes), the high bits of each.
fn seeded(dtype: DType, seed: u32) -> impl Iterator<Item = Scalar> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    std::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let high = state >> 8;
        Some(match dtype {
            DType::Bool => Scalar::bool(high >> 23 != 0),
            d if d.is_float() => Scalar::from_f64(d, f64::from(high) / f64::from(1 << 22) - 2.0),
            d if d.is_signed_int() => Scalar::from_i64(d, i64::from(high >> 20) - 8),
            d => Scalar::from_i64(d, i64::from(high >> 20)),
        })
    })
}

/// `name: f32[2, 3]` and one line a row of the last axis. Floats have six significant digits, so that
/// what is printed is the same for every order of summation.
pub(super) fn print(name: &str, l: &Literal) -> String {
    let extents: Vec<String> = l.shape().iter().map(usize::to_string).collect();
    let mut out = format!("{name}: {}[{}]\n", l.dtype(), extents.join(", "));
    let shown = l.len().min(MAX_PRINTED);
    let row = l.shape().last().copied().unwrap_or(1).max(1);
    for start in (0..shown).step_by(row) {
        let items: Vec<String> = (start..(start + row).min(shown)).map(|i| show(l, i)).collect();
        let _ = writeln!(out, "  [{}]", items.join(", "));
    }
    if shown < l.len() {
        let _ = writeln!(out, "  and {} more", l.len() - shown);
    }
    out
}

fn show(l: &Literal, i: usize) -> String {
    let v = l.get_f64(i);
    match l.dtype() {
        DType::Bool => (v != 0.0).to_string(),
        DType::U64 => (l.get_i64(i) as u64).to_string(),
        d if !d.is_float() => l.get_i64(i).to_string(),
        _ if v.is_nan() => "nan".to_owned(),
        _ if v.is_infinite() || v.fract() == 0.0 => format!("{v:?}"),
        _ => format!("{:?}", format!("{v:.5e}").parse().unwrap_or(v)),
    }
}
