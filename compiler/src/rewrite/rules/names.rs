//! Recognition: a class that is the body of a composite gets its name.

use super::super::composites::{ATTENTION, PATTERNS, SOFTMAX, TABLE};
use super::super::facts::insert_name;
use super::super::language::{Attrs, Kind, Space, op};
use super::super::pattern::Match;
use super::{Find, Float, Make, Rule, Topic};
use egg::Id;
use fornax_ir::graph::ops::OpClass;
use fornax_ir::graph::{LocId, Op, OpKind};

/// Steps between the two products of an attention, at most: scales, masks, conversions, views.
const MAX_STEPS: usize = 8;

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "name-composite",
        topic: Topic::Names,
        equation: "body(x) = name(x), for softmax, gelu, layer norm and their spellings",
        why: "a name can have a schedule of its own, and tells people what a kernel computes",
        float: Float::Exact,
        find: Find::Class(bodies),
        make: Make::One(name),
    },
    Rule {
        name: "name-attention",
        topic: Topic::Names,
        equation: "softmax(.. dot(q, k) ..) . v = attention(q, k, v)",
        why: "the scores need no memory in a schedule of its own",
        float: Float::Exact,
        find: Find::Class(attention),
        make: Make::One(name),
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
    let found = |(name, pattern): &(u32, super::super::pattern::Pattern)| {
        if named(space, class, *name) {
            return None;
        }
        pattern.matches(space, class).into_iter().next().map(|m| m.with_op(0, Attrs(*name)))
    };
    PATTERNS.iter().find_map(found).map(|m| m.with_class(class)).into_iter().collect()
}

/// The classes behind reshapes, permutations, broadcasts and conversions of a class, itself first.
fn behind_views(space: &Space, class: Id) -> Vec<Id> {
    let mut found = vec![space.find(class)];
    let mut k = 0;
    while k < found.len() && found.len() < MAX_STEPS {
        for n in &space[found[k]].nodes {
            let view = op(space, n).is_some_and(|o| o.class() == OpClass::View || matches!(o, Op::Cast(_)));
            let child = n.children.first().map(|&c| space.find(c));
            if let Some(child) = child.filter(|c| view && !found.contains(c)) {
                found.push(child);
            }
        }
        k += 1;
    }
    found
}

/// The operands of a product that a class reaches through elementwise operators and views.
fn product_behind(space: &Space, class: Id) -> Option<(Id, Id)> {
    let mut open = vec![space.find(class)];
    let mut k = 0;
    while k < open.len() && open.len() < 4 * MAX_STEPS {
        for n in &space[open[k]].nodes {
            let Some(o) = op(space, n) else { continue };
            if matches!(o, Op::DotGeneral(_)) {
                return Some((space.find(n.children[0]), space.find(n.children[1])));
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
    None
}

fn attention(space: &Space, id: Id) -> Vec<Match> {
    let class = space.find(id);
    let is_dot = |n: &&super::super::language::Node| n.kind == Kind::Op(OpKind::DotGeneral);
    if named(space, class, ATTENTION) {
        return vec![];
    }
    for n in space[class].nodes.iter().filter(is_dot) {
        for weights in behind_views(space, n.children[0]) {
            let softmax =
                space[weights].nodes.iter().find(|n| n.kind == Kind::Named && n.attrs == Attrs(SOFTMAX));
            let Some(softmax) = softmax else { continue };
            let Some((q, k)) = product_behind(space, softmax.children[0]) else { continue };
            let v = space.find(n.children[1]);
            let m = Match::default().with_var(0, q).with_var(1, k).with_var(2, v);
            return vec![m.with_op(0, Attrs(ATTENTION)).with_class(class)];
        }
    }
    vec![]
}

fn name(space: &mut Space, m: &Match, _: LocId) -> Option<Id> {
    let name = m.attrs(0)?;
    let class = m.class()?;
    let operands: Vec<Id> = (0..TABLE[name.0 as usize].operands).map_while(|k| m.get(k)).collect();
    Some(insert_name(space, name.0, &operands, class))
}
