//! Numbers moved through contractions: to the smaller tensor, or into constant weights.

use super::super::facts::{add, literal};
use super::super::language::Space;
use super::super::pattern::{Match, Pattern, binary, node, var};
use super::identities::spread;
use super::{Find, Float, Guard, Make, Rule, Topic};
use egg::Id;
use fornax_ir::graph::ops::Binary;
use fornax_ir::graph::{LocId, Op};
use fornax_ir::scalar::BinaryOp::Mul;

fn product(op: &Op) -> bool {
    matches!(op, Op::DotGeneral(_) | Op::Conv(_))
}

/// What scaled operands are, and sums of products with them, stays far from the limits of a float.
const MODERATE: &[Guard] = &[Guard { name: "the factor is zero or moderate", holds: moderate }];

/// Zero, or a float between `2^-40` and `2^40`; any integer.
fn moderate(space: &Space, m: &Match) -> bool {
    let Some(c) = space[m.var(2)].data.uniform else { return false };
    let size = c.as_f64().abs();
    !c.dtype.is_float() || size == 0.0 || (2f64.powi(-40)..=2f64.powi(40)).contains(&size)
}

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "scale-out-of-product",
        topic: Topic::Scale,
        equation: "(x * c) . w = (x . w) * c, c a number",
        why: "pays where the product is smaller than x, or has another factor behind it",
        float: Float::Reassociates,
        guards: MODERATE,

        find: Find::Pattern(|| node(0, product, vec![binary(Mul, var(0), Pattern::Uniform(2)), var(1)])),
        make: Make::One(out_of_product),
        ..Rule::BARE
    },
    Rule {
        name: "scale-out-of-weights",
        topic: Topic::Scale,
        equation: "x . (w * c) = (x . w) * c, c a number",
        why: "pays where the product is smaller than w, or has another factor behind it",
        float: Float::Reassociates,
        guards: MODERATE,

        find: Find::Pattern(|| node(0, product, vec![var(0), binary(Mul, var(1), Pattern::Uniform(2))])),
        make: Make::One(out_of_product),
        ..Rule::BARE
    },
    Rule {
        name: "scale-into-weights",
        topic: Topic::Scale,
        equation: "(x . W) * c = x . (W * c), W constant, c a number",
        why: "the factor costs nothing when the program runs",
        float: Float::Reassociates,
        guards: MODERATE,

        find: Find::Pattern(|| binary(Mul, node(0, product, vec![var(0), var(1)]), Pattern::Uniform(2))),
        pays: Some(|s, m| literal(s, m.var(1)).is_some()),
        make: Make::One(into_weights),
        ..Rule::BARE
    },
];

fn out_of_product(space: &mut Space, m: &Match, loc: LocId) -> Option<Id> {
    let op = m.op(space, 0).clone();
    let c = space[m.var(2)].data.uniform?;
    let inner = add(space, op, &[m.var(0), m.var(1)], loc)?;
    let shape = space[inner].data.ty.shape.clone();
    let c = spread(space, c, shape, loc)?;
    add(space, Binary(Mul), &[inner, c], loc)
}

/// The product with scaled weights, which are folded into one constant once it is chosen.
fn into_weights(space: &mut Space, m: &Match, loc: LocId) -> Option<Id> {
    let op = m.op(space, 0).clone();
    let c = space[m.var(2)].data.uniform?;
    let shape = space[m.var(1)].data.ty.shape.clone();
    let c = spread(space, c, shape, loc)?;
    let w = add(space, Binary(Mul), &[m.var(1), c], loc)?;
    add(space, op, &[m.var(0), w], loc)
}
