//! Products of one tensor with several constant weights, as one product with the weights side by side:
//! the query, key and value projections of attention, the gate and up projections of a gated network.

use super::super::facts::{add, literal};
use super::super::language::{Attrs, Kind, Node, Space, op};
use super::super::pattern::Match;
use super::{Equal, Find, Float, Make, Rule, Topic};
use egg::Id;
use fornax_ir::Dim;
use fornax_ir::graph::ops::{Cast, Concat, DotGeneral, Slice};
use fornax_ir::graph::{LocId, Op, OpKind, TensorType};

/// Products that are merged at once, at most.
const MAX_PARTS: usize = 6;

pub(super) static RULES: &[Rule] = &[Rule {
    name: "merge-products",
    topic: Topic::Merge,
    equation: "dot(x, A), dot(x, B), .. = slices of dot(x, [A B ..]), A, B, .. constant",
    why: "x is read once, and one kernel is started",
    float: Float::Exact,
    find: Find::Class(siblings),
    make: Make::Several(merge),
}];

/// Constant weights `[k, n]`, perhaps stored in a narrower dtype.
struct Weights {
    /// The stored constant's class.
    stored: Id,
    /// The conversion, if there is one.
    cast: Option<Cast>,
}

fn weights(space: &Space, id: Id) -> Option<Weights> {
    if literal(space, id).is_some() {
        return Some(Weights { stored: space.find(id), cast: None });
    }
    let cast = space[id].nodes.iter().find(|n| n.kind == Kind::Op(OpKind::Cast))?;
    let Some(Op::Cast(to)) = op(space, cast) else { return None };
    let stored = space.find(cast.children[0]);
    literal(space, stored).map(|_| Weights { stored, cast: Some(to.clone()) })
}

/// The one contraction pair of a plain product with weights `[k, n]`, whose free axis comes last.
fn plain(space: &Space, n: &Node) -> Option<Attrs> {
    let Some(Op::DotGeneral(DotGeneral { batch, contract })) = op(space, n) else { return None };
    let w = &space[n.children[1]].data.ty;
    (batch.is_empty() && contract.len() == 1 && contract[0].1 == 0 && w.rank() == 2).then_some(n.attrs)
}

/// At the class of `x`: the products of `x` with constant weights, all of them in one match. Variable 0
/// is `x`, the products follow; operator 0 is the product.
fn siblings(space: &Space, id: Id) -> Vec<Match> {
    let x = space.find(id);
    let mut groups: Vec<(Attrs, bool, Vec<Id>)> = vec![];
    let mut parents: Vec<Id> = space[x].parents().collect();
    parents.sort();
    parents.dedup();
    for parent in parents {
        let n = space.id_to_node(parent);
        if n.kind != Kind::Op(OpKind::DotGeneral) || space.find(n.children[0]) != x {
            continue;
        }
        let Some(attrs) = plain(space, n) else { continue };
        let Some(w) = weights(space, n.children[1]) else { continue };
        let class = space.find(parent);
        match groups.iter_mut().find(|g| g.0 == attrs && g.1 == w.cast.is_some()) {
            Some(g) if !g.2.contains(&class) => g.2.push(class),
            Some(_) => {}
            None => groups.push((attrs, w.cast.is_some(), vec![class])),
        }
    }
    let several = groups.into_iter().filter(|g| (2..=MAX_PARTS).contains(&g.2.len()));
    let to_match = |(attrs, _, parts): (Attrs, bool, Vec<Id>)| {
        let start = Match::default().with_var(0, x).with_op(0, attrs);
        parts.iter().enumerate().fold(start, |m, (k, &p)| m.with_var(k + 1, p))
    };
    several.map(to_match).collect()
}

fn merge(space: &mut Space, m: &Match, loc: LocId) -> Option<Equal> {
    let op = m.op(space, 0).clone();
    let Op::DotGeneral(DotGeneral { contract, .. }) = &op else { return None };
    let x = m.var(0);
    let parts: Vec<Id> = (1..=MAX_PARTS).map_while(|k| m.get(k)).collect();
    let mut stored = vec![];
    let mut cast = None;
    for &p in &parts {
        let is_product = |n: &&Node| {
            super::super::language::op(space, n) == Some(&op) && space.find(n.children[0]) == space.find(x)
        };
        let w = weights(space, space[p].nodes.iter().find(is_product)?.children[1])?;
        cast = w.cast;
        stored.push(w.stored);
    }
    let types: Vec<_> = stored.iter().map(|&w| space[w].data.ty.clone()).collect();
    let alike = |a: &TensorType, b: &TensorType| a.dtype == b.dtype && a.shape[0] == b.shape[0];
    if contract[0].1 != 0 || types.windows(2).any(|w| !alike(&w[0], &w[1])) {
        return None;
    }
    // Folded into one constant, once the merged product is chosen.
    let mut merged = add(space, Concat { axis: 1 }, &stored, loc)?;
    if let Some(c) = cast {
        merged = add(space, c, &[merged], loc)?;
    }
    let product = add(space, op, &[x, merged], loc)?;
    let ty = space[product].data.ty.clone();
    let last = ty.rank() - 1;
    let mut first = Dim::ZERO;
    let mut equal = vec![];
    for (&p, w) in parts.iter().zip(&types) {
        let mut slice =
            Slice { start: vec![Dim::ZERO; ty.rank()], size: ty.shape.clone(), step: vec![1; ty.rank()] };
        slice.start[last] = first.clone();
        slice.size[last] = w.shape[1].clone();
        first = first + &w.shape[1];
        equal.push((p, add(space, slice, &[product], loc)?));
    }
    Some(equal)
}
