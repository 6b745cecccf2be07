//! Axes of contractions: a transposed operand is another numbering, a transposed result another order.

use super::super::facts::add;
use super::super::language::Space;
use super::super::pattern::{Match, node, var};
use super::{Find, Float, Guard, Make, Rule, Topic};
use egg::Id;
use fornax_ir::graph::ops::{DotGeneral, Permute};
use fornax_ir::graph::{LocId, Op};

fn dot(op: &Op) -> bool {
    matches!(op, Op::DotGeneral(_))
}
fn permute(op: &Op) -> bool {
    matches!(op, Op::Permute(_))
}

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "transpose-into-left",
        topic: Topic::Contraction,
        equation: "dot(permute(x, p), y) = permute(dot'(x, y), q)",
        why: "the transposed operand is never written",
        float: Float::Exact,
        guards: &[],

        find: Find::Pattern(|| node(0, dot, vec![node(1, permute, vec![var(0)]), var(1)])),
        make: Make::One(|s, m, loc| absorb(s, m, loc, 0)),
        ..Rule::BARE
    },
    Rule {
        name: "transpose-into-right",
        topic: Topic::Contraction,
        equation: "dot(x, permute(y, p)) = permute(dot'(x, y), q)",
        why: "the transposed operand is never written",
        float: Float::Exact,
        guards: &[],

        find: Find::Pattern(|| node(0, dot, vec![var(0), node(1, permute, vec![var(1)])])),
        make: Make::One(|s, m, loc| absorb(s, m, loc, 1)),
        ..Rule::BARE
    },
    Rule {
        name: "transpose-of-product",
        topic: Topic::Contraction,
        equation: "permute(dot(x, y)) = dot(y, x), where the free axes change sides",
        why: "the product is written as it is read",
        float: Float::Exact,
        guards: &[Guard { name: "the permutation exchanges the free axes of both sides", holds: exchanges }],
        pays: Some(|s, m| free_axes(s, m).is_some_and(|(left, right, _)| left > 0 && right > 0)),

        find: Find::Pattern(|| node(1, permute, vec![node(0, dot, vec![var(0), var(1)])])),
        make: Make::One(swap_sides),
        ..Rule::BARE
    },
];

fn pick(side: usize, pair: (u32, u32)) -> u32 {
    if side == 0 { pair.0 } else { pair.1 }
}

/// The product with the operand's own axes. Its free axes may come out in another order, which a
/// permutation of the result puts right.
fn absorb(space: &mut Space, m: &Match, loc: LocId, side: usize) -> Option<Id> {
    let (Op::DotGeneral(op), Op::Permute(p)) = (m.op(space, 0).clone(), m.op(space, 1).clone()) else {
        return None;
    };
    let renumber = |pairs: &[(u32, u32)]| -> Vec<(u32, u32)> {
        let one = |&(a, b): &(u32, u32)| match side {
            0 => (p.perm[a as usize], b),
            _ => (a, p.perm[b as usize]),
        };
        pairs.iter().map(one).collect()
    };
    let next = DotGeneral { batch: renumber(&op.batch), contract: renumber(&op.contract) };
    let inner = add(space, next.clone(), &[m.var(0), m.var(1)], loc)?;
    // Where each free axis of the permuted operand comes out of the new product.
    let rank = p.perm.len();
    let (old, new) = (op.free(side, rank), next.free(side, rank));
    let other_rank = space[m.var(1 - side)].data.ty.rank();
    let before = op.batch.len() + if side == 1 { op.free(0, other_rank).len() } else { 0 };
    let total = space[inner].data.ty.rank();
    let mut perm: Vec<u32> = (0..total as u32).collect();
    for (i, &axis) in old.iter().enumerate() {
        let at = new.iter().position(|&k| k == p.perm[axis] as usize)?;
        perm[before + i] = (before + at) as u32;
    }
    add(space, Permute { perm }, &[inner], loc)
}

/// Free axes of both sides of a product, and its batch axes.
fn free_axes(space: &Space, m: &Match) -> Option<(usize, usize, usize)> {
    let Op::DotGeneral(op) = m.op(space, 0) else { return None };
    let rank = |k: usize| space[m.var(k)].data.ty.rank();
    Some((op.free(0, rank(0)).len(), op.free(1, rank(1)).len(), op.batch.len()))
}

fn exchanges(space: &Space, m: &Match) -> bool {
    let (Some((left, right, batch)), Op::Permute(p)) = (free_axes(space, m), m.op(space, 1)) else {
        return false;
    };
    let order = (0..batch).chain(batch + left..batch + left + right).chain(batch..batch + left);
    order.eq(p.perm.iter().map(|&k| k as usize))
}

/// `permute(dot(x, y))` as `dot(y, x)`.
fn swap_sides(space: &mut Space, m: &Match, loc: LocId) -> Option<Id> {
    let Op::DotGeneral(op) = m.op(space, 0).clone() else { return None };
    let flip = |pairs: &[(u32, u32)]| pairs.iter().map(|&p| (pick(1, p), pick(0, p))).collect();
    let next = DotGeneral { batch: flip(&op.batch), contract: flip(&op.contract) };
    add(space, next, &[m.var(1), m.var(0)], loc)
}
