//! Products of one tensor with several constant weights, as one product with the weights side by side:
//! the query, key and value projections of attention, the gate and up projections of a gated network.

use super::super::certify::Draw;
use super::super::facts::{add, literal};
use super::super::language::{Attrs, Kind, Node, Space, op};
use super::super::pattern::Match;
use super::{Equal, Find, Float, Make, Rule, Topic};
use egg::Id;
use fornax_ir::Dim;
use fornax_ir::dtype::DType;
use fornax_ir::graph::ops::{Cast, Concat, DotGeneral, Slice};
use fornax_ir::graph::{Builder, Graph, LocId, Op, OpKind, TensorType};

/// Products that are merged at once, at most.
const MAX_PARTS: usize = 6;

pub(super) static RULES: &[Rule] = &[Rule {
    name: "merge-products",
    topic: Topic::Merge,
    equation: "dot(x, A), dot(x, B), .. = slices of dot(x, [A B ..]), A, B, .. constant",
    why: "x is read once, and one kernel is started",
    float: Float::Exact,
    guards: &[],

    find: Find::Class(siblings),
    make: Make::Several(merge),
    drawn: Some(drawn),
    ..Rule::BARE
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

/// A tensor with two or three products with constants, one of them perhaps of another shape.
fn drawn(draw: &mut Draw) -> Option<Graph> {
    let mut b = Builder::new("siblings");
    let rank = 1 + draw.below(3);
    let mut shape: Vec<Dim> = (0..rank).map(|_| draw.extent()).collect();
    let along = draw.below(rank);
    let k = draw.below(4);
    shape[along] = Dim::from(k);
    let dtype = draw.pick(&[DType::F32, DType::F32, DType::F64, DType::I32]);
    let x = b.input("x", TensorType::new(dtype, shape));
    for part in 0..2 + draw.below(2) {
        let columns = draw.below(4);
        let stored = if draw.below(3) == 0 { DType::I8 } else { dtype };
        let w = b.constant("w", draw.literal(stored, &[k, columns]));
        let w = if stored == dtype { w } else { b.cast(w, dtype).ok()? };
        let y = b.add(DotGeneral { batch: vec![], contract: vec![(along as u32, 0)] }, &[x, w]).ok()?;
        b.output(&format!("y{part}"), y);
    }
    Some(b.finish())
}
