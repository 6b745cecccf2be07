//! Recognition: a class that is the body of a composite gets its name.

use super::super::composites::{ATTENTION, PATTERNS, SOFTMAX};
use super::super::facts::insert_name;
use super::super::language::{Attrs, Kind, Node, Space, op};
use super::super::pattern::{Match, Pattern};
use super::{Find, Float, Make, Rule, Topic};
use egg::Id;
use fornax_ir::graph::ops::{OpClass, Unary};
use fornax_ir::graph::{LocId, Op, OpKind};
use fornax_ir::scalar::UnaryOp;

/// Steps between the two products of an attention, at most: scales, masks, conversions, views.
const MAX_STEPS: usize = 8;

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "name-composite",
        topic: Topic::Names,
        equation: "body(x) = name(x), for softmax, gelu, layer norm and their spellings",
        why: "a name can have a schedule of its own, and tells people what a kernel computes",
        float: Float::Exact,
        guards: &[],

        find: Find::Class(bodies),
        make: Make::One(name),
        ..Rule::BARE
    },
    Rule {
        name: "name-attention",
        topic: Topic::Names,
        equation: "softmax(.. dot(q, k) ..) . v = attention(q, k, v)",
        why: "the scores need no memory in a schedule of its own",
        float: Float::Exact,
        guards: &[],

        find: Find::Class(attention),
        make: Make::One(name),
        ..Rule::BARE
    },
];

/// Bodies that end in one of these operators alone are looked at.
fn may_be_body(space: &Space, class: Id) -> bool {
    space[class].nodes.iter().any(|n| matches!(n.kind, Kind::Op(OpKind::Binary)))
}

fn named(space: &Space, class: Id, name: u32) -> bool {
    space[class].nodes.iter().any(|n| n.kind == Kind::Named && n.attrs == Attrs(name))
}

fn bodies(space: &Space, id: Id) -> Vec<Match> {
    let class = space.find(id);
    if !may_be_body(space, class) {
        return vec![];
    }
    let found = |(name, pattern): &(u32, Pattern)| {
        if named(space, class, *name) {
            return None;
        }
        pattern.matches(space, class).into_iter().next().map(|m| m.with_op(0, Attrs(*name)))
    };
    PATTERNS.iter().find_map(found).map(|m| m.with_class(class)).into_iter().collect()
}

/// The classes behind reshapes, permutations, broadcasts, conversions and guards against rows without
/// any key (`select(isnan(x), 0, x)`) of a class, itself first.
fn behind_views(space: &Space, class: Id) -> Vec<Id> {
    let mut found = vec![space.find(class)];
    let mut k = 0;
    while k < found.len() && found.len() < MAX_STEPS {
        for n in &space[found[k]].nodes {
            let child = match op(space, n) {
                Some(Op::Select(_)) => guarded(space, n),
                Some(o) if o.class() == OpClass::View || matches!(o, Op::Cast(_)) => {
                    n.children.first().copied()
                }
                _ => None,
            };
            if let Some(child) = child.map(|c| space.find(c)).filter(|c| !found.contains(c)) {
                found.push(child);
            }
        }
        k += 1;
    }
    found
}

/// `x` of `select(isnan(x), 0, x)`.
fn guarded(space: &Space, n: &Node) -> Option<Id> {
    let x = space.find(n.children[2]);
    let zero = space[n.children[1]].data.uniform.is_some_and(|s| s.as_f64() == 0.0);
    let is_nan =
        |c: &Node| op(space, c) == Some(&Unary(UnaryOp::IsNan).into()) && space.find(c.children[0]) == x;
    (zero && space[n.children[0]].nodes.iter().any(is_nan)).then_some(x)
}

/// The operand of the softmax that a class is.
fn softmax_of(space: &Space, class: Id) -> Option<Id> {
    let mut softmaxes = PATTERNS.iter().filter(|p| p.0 == SOFTMAX);
    softmaxes.find_map(|p| p.1.matches(space, class).first().map(|m| m.var(0)))
}

/// Whether a class reaches a product through elementwise operators and views.
fn product_behind(space: &Space, class: Id) -> bool {
    let mut open = vec![space.find(class)];
    let mut k = 0;
    while k < open.len() && open.len() < 4 * MAX_STEPS {
        for n in &space[open[k]].nodes {
            let Some(o) = op(space, n) else { continue };
            if matches!(o, Op::DotGeneral(_)) {
                return true;
            }
            if matches!(o.class(), OpClass::Elementwise | OpClass::View) {
                for &c in &n.children {
                    let c = space.find(c);
                    if !open.contains(&c) {
                        open.push(c);
                    }
                }
            }
        }
        k += 1;
    }
    false
}

fn attention(space: &Space, id: Id) -> Vec<Match> {
    let class = space.find(id);
    let is_dot = |n: &&Node| n.kind == Kind::Op(OpKind::DotGeneral);
    if named(space, class, ATTENTION) {
        return vec![];
    }
    let products = space[class].nodes.iter().filter(is_dot);
    let weights = products.flat_map(|n| behind_views(space, n.children[0]));
    let mut named_softmax = weights.filter(|&w| named(space, w, SOFTMAX));
    let scores = named_softmax.any(|w| softmax_of(space, w).is_some_and(|s| product_behind(space, s)));
    let found = Match::default().with_op(0, Attrs(ATTENTION)).with_class(class);
    if scores { vec![found] } else { vec![] }
}

fn name(space: &mut Space, m: &Match, _: LocId) -> Option<Id> {
    Some(insert_name(space, m.attrs(0)?.0, m.class()?))
}
