//! Composites by name: bodies in primitives, in the spellings that exporters use, and the patterns
//! derived from them.
//!
//! A name is one more node of the class that its body is. It tells people what a kernel computes; schedules
//! follow from the body.

use super::pattern::{Pattern, Test};
use fornax_ir::Dim;
use fornax_ir::dtype::DType;
use fornax_ir::graph::builder::Result;
use fornax_ir::graph::ops::{Broadcast, Reshape};
use fornax_ir::graph::{Builder, Graph, Op, TensorType, ValueId};
use fornax_ir::scalar::{BinaryOp, ReduceOp, UnaryOp};
use std::sync::LazyLock;

/// A body: from its operands `[rows, columns]` to its value.
pub type Body = fn(&mut Builder, &[ValueId]) -> Result<ValueId>;

/// A composite with its spellings.
pub struct Composite {
    /// Its name.
    pub name: &'static str,
    /// How many operands its bodies have: what is named, first; then numbers that spellings leave open, such as
    /// the count of a mean or an epsilon.
    pub operands: usize,
    /// Its spellings.
    pub bodies: &'static [Body],
}

/// Index of softmax in [`TABLE`].
pub const SOFTMAX: u32 = 0;
/// Index of attention, which is recognised by what is around a softmax and has no one body here.
pub const ATTENTION: u32 = 4;

/// The composites that are recognised; nodes of kind `Named` index it.
pub static TABLE: &[Composite] = &[
    Composite { name: "softmax", operands: 1, bodies: &[softmax] },
    Composite {
        name: "gelu",
        operands: 1,
        bodies: &[
            |b, x| gelu(b, x[0], true, 0),
            |b, x| gelu(b, x[0], true, 1),
            |b, x| gelu(b, x[0], true, 2),
            |b, x| gelu(b, x[0], false, 0),
            |b, x| gelu(b, x[0], false, 1),
            |b, x| gelu(b, x[0], false, 2),
        ],
    },
    Composite {
        name: "gelu_tanh",
        operands: 1,
        bodies: &[
            |b, x| gelu_tanh(b, x[0], 0, false),
            |b, x| gelu_tanh(b, x[0], 1, false),
            |b, x| gelu_tanh(b, x[0], 2, false),
            |b, x| gelu_tanh(b, x[0], 0, true),
            |b, x| gelu_tanh(b, x[0], 1, true),
            |b, x| gelu_tanh(b, x[0], 2, true),
        ],
    },
    Composite {
        name: "layer_norm",
        operands: 3,
        bodies: &[|b, x| layer_norm(b, x, 0), |b, x| layer_norm(b, x, 1), |b, x| layer_norm(b, x, 2)],
    },
    Composite { name: "attention", operands: 3, bodies: &[] },
];

/// The patterns of all bodies, with the composite that each is of.
pub static PATTERNS: LazyLock<Vec<(u32, Pattern)>> = LazyLock::new(|| {
    let mut patterns: Vec<(u32, Pattern)> = vec![];
    for (k, composite) in TABLE.iter().enumerate() {
        for body in composite.bodies {
            let graph = body_graph(composite.operands, *body).expect("a composite's body has types");
            patterns.push((k as u32, pattern(&graph, graph.outputs[0].value)));
        }
    }
    patterns
});

/// The graph of a body on `f32[rows, columns]` operands, which leaves nothing to fold.
pub(super) fn body_graph(operands: usize, body: Body) -> Result<Graph> {
    let mut b = Builder::new("body");
    let shape = vec![Dim::symbol("rows"), Dim::symbol("columns")];
    let inputs: Vec<ValueId> = (0..operands)
        .map(|k| b.input(&format!("x{k}"), TensorType::new(DType::F32, shape.clone())))
        .collect();
    let y = body(&mut b, &inputs)?;
    b.output("y", y);
    Ok(b.finish())
}

/// What a graph's value matches: inputs are variables, numbers are numbers, and reshapes and repeats are
/// looked through, since spellings differ in them.
fn pattern(graph: &Graph, v: ValueId) -> Pattern {
    let node = graph.node(v);
    match &node.op {
        Op::Input(i) => Pattern::Var(i.0 as usize),
        Op::Const(c) => Pattern::Number(graph.consts[c.index()].literal.get_f64(0)),
        Op::Broadcast(Broadcast { .. }) | Op::Reshape(Reshape { .. }) => pattern(graph, node.inputs[0]),
        op => {
            let spread = |&i: &ValueId| match pattern(graph, i) {
                number @ Pattern::Number(_) => number,
                inner => Pattern::Spread(Box::new(inner)),
            };
            let test = match op {
                Op::Reduce(r) => Test::Reduces(r.op),
                op => Test::Exactly(op.clone()),
            };
            Pattern::Node { bind: None, test, operands: node.inputs.iter().map(spread).collect() }
        }
    }
}

fn number(b: &mut Builder, v: f64) -> ValueId {
    b.scalar_f64(DType::F32, v)
}
fn scaled(b: &mut Builder, x: ValueId, by: f64) -> Result<ValueId> {
    let c = number(b, by);
    b.binary(BinaryOp::Mul, x, c)
}

/// `exp(x - max x) / sum exp(x - max x)` over the last axis.
fn softmax(b: &mut Builder, x: &[ValueId]) -> Result<ValueId> {
    let most = b.reduce_keep(ReduceOp::Max, x[0], &[1])?;
    let shifted = b.binary(BinaryOp::Sub, x[0], most)?;
    let e = b.unary(UnaryOp::Exp, shifted)?;
    let sum = b.reduce_keep(ReduceOp::Sum, e, &[1])?;
    b.binary(BinaryOp::Div, e, sum)
}

/// Where the factor 1/2 stands in `x * (1 + f) / 2`: at the end, at `x`, or at `1 + f`.
fn half(b: &mut Builder, x: ValueId, f: ValueId, place: u32) -> Result<ValueId> {
    let one = number(b, 1.0);
    let sum = b.binary(BinaryOp::Add, f, one)?;
    let (x, sum) = match place {
        1 => (scaled(b, x, 0.5)?, sum),
        2 => (x, scaled(b, sum, 0.5)?),
        _ => (x, sum),
    };
    let y = b.binary(BinaryOp::Mul, x, sum)?;
    if place == 0 { scaled(b, y, 0.5) } else { Ok(y) }
}

/// `x / 2 * (1 + erf(x / sqrt 2))` (Hendrycks and Gimpel, 2016), with a division or a multiplication.
fn gelu(b: &mut Builder, x: ValueId, divides: bool, place: u32) -> Result<ValueId> {
    let inner = if divides {
        let root = number(b, std::f64::consts::SQRT_2);
        b.binary(BinaryOp::Div, x, root)?
    } else {
        scaled(b, x, std::f64::consts::FRAC_1_SQRT_2)?
    };
    let e = b.unary(UnaryOp::Erf, inner)?;
    half(b, x, e, place)
}

/// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))` (the same paper's approximation); the cube
/// as `(x * x) * x`, whose factor may be spelled `x * (1 + 0.044715 x^2)`.
fn gelu_tanh(b: &mut Builder, x: ValueId, place: u32, factored: bool) -> Result<ValueId> {
    let square = b.binary(BinaryOp::Mul, x, x)?;
    let inner = if factored {
        let one = number(b, 1.0);
        let s = scaled(b, square, 0.044715)?;
        let s = b.binary(BinaryOp::Add, s, one)?;
        b.binary(BinaryOp::Mul, x, s)?
    } else {
        let cube = b.binary(BinaryOp::Mul, square, x)?;
        let s = scaled(b, cube, 0.044715)?;
        b.binary(BinaryOp::Add, x, s)?
    };
    let inner = scaled(b, inner, (2.0 / std::f64::consts::PI).sqrt())?;
    let t = b.unary(UnaryOp::Tanh, inner)?;
    half(b, x, t, place)
}

/// `(x - mean x) / sqrt(mean (x - mean x)^2 + eps)` over the last axis, operands `[x, count, eps]`: by
/// division (0), by the reciprocal of the root (1), with the factor `1 / count` as a number (2).
fn layer_norm(b: &mut Builder, x: &[ValueId], spelling: u32) -> Result<ValueId> {
    let [x, count, eps] = [x[0], x[1], x[2]];
    let by_count = |b: &mut Builder, v: ValueId| {
        let op = if spelling == 2 { BinaryOp::Mul } else { BinaryOp::Div };
        b.binary(op, v, count)
    };
    let sum = b.reduce_keep(ReduceOp::Sum, x, &[1])?;
    let mean = by_count(b, sum)?;
    let centred = b.binary(BinaryOp::Sub, x, mean)?;
    let square = b.binary(BinaryOp::Mul, centred, centred)?;
    let sum = b.reduce_keep(ReduceOp::Sum, square, &[1])?;
    let variance = by_count(b, sum)?;
    let shifted = b.binary(BinaryOp::Add, variance, eps)?;
    let root = b.unary(UnaryOp::Sqrt, shifted)?;
    if spelling == 1 {
        let one = number(b, 1.0);
        let reciprocal = b.binary(BinaryOp::Div, one, root)?;
        return b.binary(BinaryOp::Mul, centred, reciprocal);
    }
    b.binary(BinaryOp::Div, centred, root)
}
