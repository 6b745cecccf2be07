//! Composition of index maps: two views in a row are one. Exact: they name the same elements.

use super::super::facts::add;
use super::super::language::Space;
use super::super::pattern::{Match, node, var};
use super::{Find, Float, Make, Rule, Topic};
use egg::Id;
use fornax_ir::graph::ops::{Broadcast, Permute, Slice};
use fornax_ir::graph::{LocId, Op};

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "permute-permute",
        topic: Topic::Views,
        equation: "permute(permute(x, p), q) = permute(x, p . q)",
        why: "inverse permutations vanish",
        float: Float::Exact,
        guards: &[],

        find: Find::Pattern(|| {
            let is = |op: &Op| matches!(op, Op::Permute(_));
            node(0, is, vec![node(1, is, vec![var(0)])])
        }),
        make: Make::One(permute_permute),
        ..Rule::BARE
    },
    Rule {
        name: "reshape-reshape",
        topic: Topic::Views,
        equation: "reshape(reshape(x, a), b) = reshape(x, b)",
        why: "the shape between is never needed, and equal shapes vanish",
        float: Float::Exact,
        guards: &[],

        find: Find::Pattern(|| {
            let is = |op: &Op| matches!(op, Op::Reshape(_));
            node(0, is, vec![node(1, is, vec![var(0)])])
        }),
        make: Make::One(|s, m, loc| {
            let outer = m.op(s, 0).clone();
            add(s, outer, &[m.var(0)], loc)
        }),
        ..Rule::BARE
    },
    Rule {
        name: "broadcast-broadcast",
        topic: Topic::Views,
        equation: "broadcast(broadcast(x, a), b) = broadcast(x, b . a)",
        why: "one map",
        float: Float::Exact,
        guards: &[],

        find: Find::Pattern(|| {
            let is = |op: &Op| matches!(op, Op::Broadcast(_));
            node(0, is, vec![node(1, is, vec![var(0)])])
        }),
        make: Make::One(broadcast_broadcast),
        ..Rule::BARE
    },
    Rule {
        name: "slice-slice",
        topic: Topic::Views,
        equation: "slice(slice(x, a), b) = slice(x, a + step * b)",
        why: "one map",
        float: Float::Exact,
        guards: &[],

        find: Find::Pattern(|| {
            let is = |op: &Op| matches!(op, Op::Slice(_));
            node(0, is, vec![node(1, is, vec![var(0)])])
        }),
        make: Make::One(slice_slice),
        ..Rule::BARE
    },
    Rule {
        name: "unary-through-permute",
        topic: Topic::Views,
        equation: "f(permute(x, p)) = permute(f(x), p)",
        why: "f joins the kernel that makes x, and the permutation the one that follows",
        float: Float::Exact,
        guards: &[],

        find: Find::Pattern(|| {
            let f = |op: &Op| matches!(op, Op::Unary(_) | Op::Cast(_));
            node(0, f, vec![node(1, |op| matches!(op, Op::Permute(_)), vec![var(0)])])
        }),
        make: Make::One(|s, m, loc| {
            let (f, view) = (m.op(s, 0).clone(), m.op(s, 1).clone());
            let inner = add(s, f, &[m.var(0)], loc)?;
            add(s, view, &[inner], loc)
        }),
        ..Rule::BARE
    },
];

fn permute_permute(space: &mut Space, m: &Match, loc: LocId) -> Option<Id> {
    let (Op::Permute(q), Op::Permute(p)) = (m.op(space, 0), m.op(space, 1)) else { return None };
    let perm = q.perm.iter().map(|&k| p.perm[k as usize]).collect();
    add(space, Permute { perm }, &[m.var(0)], loc)
}

fn broadcast_broadcast(space: &mut Space, m: &Match, loc: LocId) -> Option<Id> {
    let (Op::Broadcast(b), Op::Broadcast(a)) = (m.op(space, 0), m.op(space, 1)) else { return None };
    let axes = a.axes.iter().map(|&k| b.axes[k as usize]).collect();
    let shape = b.shape.clone();
    add(space, Broadcast { shape, axes }, &[m.var(0)], loc)
}

fn slice_slice(space: &mut Space, m: &Match, loc: LocId) -> Option<Id> {
    let (Op::Slice(b), Op::Slice(a)) = (m.op(space, 0), m.op(space, 1)) else { return None };
    let places = a.start.iter().zip(&a.step).zip(&b.start);
    let start = places.map(|((first, &step), at)| first + at * step).collect();
    let step = a.step.iter().zip(&b.step).map(|(a, b)| a * b).collect();
    let slice = Slice { start, size: b.size.clone(), step };
    add(space, slice, &[m.var(0)], loc)
}
