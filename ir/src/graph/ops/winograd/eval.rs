//! Reference semantics: the matrices as they are published, in 64 bits, rounded once.

use super::super::super::OpError;
use super::super::EvalCx;
use super::super::strided::{count, literal, zeros};
use super::{WinogradInput, WinogradOutput, WinogradWeights};
use crate::dtype::DType;
use crate::literal::Literal;

type Matrix = &'static [&'static [f64]];

/// `B^T`, `G` and `A^T` of one tile size.
struct Matrices {
    input: Matrix,
    weights: Matrix,
    output: Matrix,
}

const TWO: Matrices = Matrices {
    input: &[&[1., 0., -1., 0.], &[0., 1., 1., 0.], &[0., -1., 1., 0.], &[0., 1., 0., -1.]],
    weights: &[&[1., 0., 0.], &[0.5, 0.5, 0.5], &[0.5, -0.5, 0.5], &[0., 0., 1.]],
    output: &[&[1., 1., 1., 0.], &[0., 1., -1., -1.]],
};

const FOUR: Matrices = Matrices {
    input: &[
        &[4., 0., -5., 0., 1., 0.],
        &[0., -4., -4., 1., 1., 0.],
        &[0., 4., -4., -1., 1., 0.],
        &[0., -2., -1., 2., 1., 0.],
        &[0., 2., -1., -2., 1., 0.],
        &[0., 4., 0., -5., 0., 1.],
    ],
    weights: &[
        &[1. / 4., 0., 0.],
        &[-1. / 6., -1. / 6., -1. / 6.],
        &[-1. / 6., 1. / 6., -1. / 6.],
        &[1. / 24., 1. / 12., 1. / 6.],
        &[1. / 24., -1. / 12., 1. / 6.],
        &[0., 0., 1.],
    ],
    output: &[
        &[1., 1., 1., 1., 1., 0.],
        &[0., 1., -1., 2., -2., 0.],
        &[0., 1., 1., 4., 4., 0.],
        &[0., 1., -1., 8., -8., 1.],
    ],
};

fn matrices(tile: i64) -> &'static Matrices {
    if tile == 2 { &TWO } else { &FOUR }
}

/// `L x L^T` for a square `x` given by its elements, row-major.
fn both_sides(l: Matrix, x: &dyn Fn(usize, usize) -> f64) -> Vec<f64> {
    let product = |p: &[f64], q: &[f64]| {
        let row = |i: usize| {
            q.iter().enumerate().map(|(j, q)| if *q == 0.0 { 0.0 } else { q * x(i, j) }).sum::<f64>()
        };
        p.iter().enumerate().map(|(i, p)| if *p == 0.0 { 0.0 } else { p * row(i) }).sum()
    };
    l.iter().flat_map(|p| l.iter().map(move |q| product(p, q))).collect()
}

fn rounded(op: &'static str, cx: &EvalCx<'_>, data: Vec<f64>) -> Result<Literal, OpError> {
    match cx.dtype {
        DType::F64 => literal(op, cx.dtype, cx.shape, data),
        _ => literal(op, cx.dtype, cx.shape, data.iter().map(|&v| v as f32).collect()),
    }
}

pub(super) fn input(op: &WinogradInput, cx: &EvalCx<'_>, x: &Literal) -> Result<Literal, OpError> {
    const OP: &str = "winograd_input";
    let [places, images, rows, columns, channels] = cx.shape[..] else { return unshaped(OP) };
    let (height, width) = (x.shape()[1], x.shape()[2]);
    let mut out = zeros(OP, count(OP, cx.dtype, cx.shape)?)?;
    let inside = |tile: usize, i: usize, lo: i64, extent: usize| {
        let at = tile as i64 * op.tile + i as i64 - lo;
        usize::try_from(at).ok().filter(|&at| at < extent)
    };
    for at in 0..images * rows * columns * channels {
        let (c, tile) = (at % channels, at / channels);
        let (column, row, n) = (tile % columns, tile / columns % rows, tile / columns / rows);
        let element = |i: usize, j: usize| {
            let place = inside(row, i, op.lo[0], height).zip(inside(column, j, op.lo[1], width));
            place.map_or(0.0, |(y, z)| x.get_f64(((n * height + y) * width + z) * channels + c))
        };
        let values = both_sides(matrices(op.tile).input, &element);
        (0..places).for_each(|p| out[p * images * rows * columns * channels + at] = values[p]);
    }
    rounded(OP, cx, out)
}

pub(super) fn weights(op: &WinogradWeights, cx: &EvalCx<'_>, w: &Literal) -> Result<Literal, OpError> {
    const OP: &str = "winograd_weights";
    let [places, panels, channels, width] = cx.shape[..] else { return unshaped(OP) };
    let mut out = zeros(OP, count(OP, cx.dtype, cx.shape)?)?;
    for o in 0..(panels * width).min(w.shape()[0]) {
        for c in 0..channels {
            let window = |i: usize, j: usize| w.get_f64(((o * channels + c) * 3 + i) * 3 + j);
            let values = both_sides(matrices(op.tile).weights, &window);
            let (panel, lane) = (o / width, o % width);
            (0..places).for_each(|p| out[((p * panels + panel) * channels + c) * width + lane] = values[p]);
        }
    }
    rounded(OP, cx, out)
}

pub(super) fn output(op: &WinogradOutput, cx: &EvalCx<'_>, m: &Literal) -> Result<Literal, OpError> {
    const OP: &str = "winograd_output";
    let [images, height, width, channels] = cx.shape[..] else { return unshaped(OP) };
    let [_, _, rows, columns, _] = m.shape()[..] else { return unshaped(OP) };
    let (t, n) = (op.tile as usize, op.tile as usize + 2);
    let mut out = zeros(OP, count(OP, cx.dtype, cx.shape)?)?;
    let tiles = images * rows * columns;
    for at in 0..tiles * channels {
        let (c, tile) = (at % channels, at / channels);
        let (column, row, image) = (tile % columns, tile / columns % rows, tile / columns / rows);
        let values =
            both_sides(matrices(op.tile).output, &|p, q| m.get_f64((n * p + q) * tiles * channels + at));
        for (k, value) in values.into_iter().enumerate() {
            let (y, x) = (row * t + k / t, column * t + k % t);
            if y < height && x < width {
                out[((image * height + y) * width + x) * channels + c] = value;
            }
        }
    }
    rounded(OP, cx, out)
}

fn unshaped<T>(op: &'static str) -> Result<T, OpError> {
    Err(OpError::Eval { op, what: "the operand has another rank than was inferred".to_string() })
}
