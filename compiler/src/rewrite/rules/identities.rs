//! Algebra of elementwise operators, where canonicalization cannot decide or has not seen the spelling.

use super::super::facts::{add, add_scalar};
use super::super::language::Space;
use super::super::pattern::{Match, Pattern, binary, node, unary, var};
use super::{Find, Float, Guard, Make, Rule, Topic};
use egg::Id;
use fornax_ir::DType;
use fornax_ir::graph::ops::{Binary, Broadcast};
use fornax_ir::graph::{LocId, Op};
use fornax_ir::scalar::BinaryOp::{Add, Mul, Sub};
use fornax_ir::scalar::{BinaryOp, Scalar, UnaryOp, eval};

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "neg-neg",
        topic: Topic::Identities,
        equation: "-(-x) = x",
        why: "two operations less",
        float: Float::Exact,
        guards: &[],

        find: Find::Pattern(|| unary(UnaryOp::Neg, unary(UnaryOp::Neg, var(0)))),
        make: Make::One(|_, m, _| Some(m.var(0))),
        ..Rule::BARE
    },
    Rule {
        name: "mul-one",
        topic: Topic::Identities,
        equation: "x * 1 = x",
        why: "an operation less",
        float: Float::Exact,
        guards: &[],

        find: Find::Pattern(|| binary(Mul, var(0), Pattern::Number(1.0))),
        make: Make::One(|_, m, _| Some(m.var(0))),
        ..Rule::BARE
    },
    Rule {
        name: "sub-zero",
        topic: Topic::Identities,
        equation: "x - 0 = x",
        why: "an operation less; of floats too, since -0 - 0 = -0",
        float: Float::Exact,
        guards: &[],

        find: Find::Pattern(|| binary(Sub, var(0), Pattern::Number(0.0))),
        make: Make::One(|_, m, _| Some(m.var(0))),
        ..Rule::BARE
    },
    Rule {
        name: "sub-neg",
        topic: Topic::Identities,
        equation: "x - (-y) = x + y",
        why: "an operation less",
        float: Float::Exact,
        guards: &[],

        find: Find::Pattern(|| binary(Sub, var(0), unary(UnaryOp::Neg, var(1)))),
        make: Make::One(|s, m, loc| add(s, Binary(Add), &[m.var(0), m.var(1)], loc)),
        ..Rule::BARE
    },
    Rule {
        name: "same-operands",
        topic: Topic::Identities,
        equation: "max(x, x) = min(x, x) = x",
        why: "an operation less",
        float: Float::Exact,
        guards: &[],

        find: Find::Pattern(|| {
            let extreme = |op: &Op| matches!(op, Op::Binary(Binary(BinaryOp::Max | BinaryOp::Min)));
            node(0, extreme, vec![var(0), var(0)])
        }),
        make: Make::One(|_, m, _| Some(m.var(0))),
        ..Rule::BARE
    },
    Rule {
        name: "select-same",
        topic: Topic::Identities,
        equation: "select(c, x, x) = x",
        why: "neither the condition nor the choice is computed",
        float: Float::Exact,
        guards: &[Guard {
            name: "x has the type of the result",
            // Extents that are only checked when the program runs have several spellings.
            holds: |s, m| m.class().is_some_and(|c| s[c].data.ty == s[m.var(1)].data.ty),
        }],

        find: Find::Pattern(|| node(0, |op| matches!(op, Op::Select(_)), vec![var(0), var(1), var(1)])),
        make: Make::One(|_, m, _| Some(m.var(1))),
        ..Rule::BARE
    },
    Rule {
        name: "scale-scale",
        topic: Topic::Identities,
        equation: "(x * a) * b = x * (a * b), a and b numbers",
        why: "one multiplication, and one number that a product may absorb",
        float: Float::Reassociates,
        guards: &[Guard { name: "the product of the numbers keeps their digits", holds: keeps_digits }],

        find: Find::Pattern(|| binary(Mul, binary(Mul, var(0), Pattern::Uniform(1)), Pattern::Uniform(2))),
        make: Make::One(scale_scale),
        ..Rule::BARE
    },
    Rule {
        name: "common-factor",
        topic: Topic::Identities,
        equation: "a * c + b * c = (a + b) * c",
        why: "a multiplication less",
        float: Float::Reassociates,
        guards: &[],

        find: Find::Pattern(|| binary(Add, binary(Mul, var(0), var(2)), binary(Mul, var(1), var(2)))),
        make: Make::One(|s, m, loc| {
            let sum = add(s, Binary(Add), &[m.var(0), m.var(1)], loc)?;
            add(s, Binary(Mul), &[sum, m.var(2)], loc)
        }),
        ..Rule::BARE
    },
];

/// The product of two numbers is neither infinite nor NaN nor a float with fewer digits than they have.
fn keeps_digits(space: &Space, m: &Match) -> bool {
    let number = |k: usize| space[m.var(k)].data.uniform;
    let (Some(a), Some(b)) = (number(1), number(2)) else { return false };
    let product = eval::binary(Mul, a, b);
    let zero = a.as_f64() == 0.0 || b.as_f64() == 0.0;
    !product.dtype.is_float() || if zero { product.as_f64() == 0.0 } else { is_normal(product) }
}

/// Whether a float is neither zero, infinite, NaN nor below the smallest number of full precision.
pub(super) fn is_normal(s: Scalar) -> bool {
    let smallest = match s.dtype {
        DType::F64 => f64::MIN_POSITIVE,
        DType::F16 => 6.103515625e-5,
        _ => f64::from(f32::MIN_POSITIVE),
    };
    s.as_f64().is_finite() && s.as_f64().abs() >= smallest
}

fn scale_scale(space: &mut Space, m: &Match, loc: LocId) -> Option<Id> {
    let number = |k: usize| space[m.var(k)].data.uniform;
    let product = eval::binary(Mul, number(1)?, number(2)?);
    let shape = space[m.var(0)].data.ty.shape.clone();
    let c = spread(space, product, shape, loc)?;
    add(space, Binary(Mul), &[m.var(0), c], loc)
}

/// A number at every index of a shape.
pub(super) fn spread(space: &mut Space, s: Scalar, shape: Vec<fornax_ir::Dim>, loc: LocId) -> Option<Id> {
    let c = add_scalar(space, s, loc);
    add(space, Broadcast { shape, axes: vec![] }, &[c], loc)
}
