//! At which index the last stage of a kernel computes each tensor that it stores there.
//!
//! The stage walks the root's axes. Every other tensor must have the same elements, and its index must
//! reach each of them once: that of a value on the way from the root follows from the operators
//! between them (so that it is computed once), that of a sibling from an operand they share, or it is
//! the root's own.

use super::{Refuse, maps};
use crate::plan::{Group, storage};
use fornax_ir::Dim;
use fornax_ir::dim::Ranges;
use fornax_ir::graph::ops::OpClass;
use fornax_ir::graph::{Graph, Op, ValueId};
use rustc_hash::FxHashMap;

/// A tensor and its index over the axes of the stage.
pub(super) type Stored = (ValueId, Vec<Dim>);

/// The tensors that the stage of the root stores, the root last.
pub(super) fn indices(
    graph: &Graph,
    group: &Group,
    index: &[Dim],
    ranges: &Ranges,
) -> Result<Vec<Stored>, Refuse> {
    let also: Vec<ValueId> = group.also.iter().copied().filter(|v| !group.locals.contains(v)).collect();
    let mut stored = vec![];
    if !also.is_empty() {
        let known = reached(graph, group, index, ranges);
        for v in also {
            let at = match known.get(&v).or_else(|| shared(graph, group, v, &known)) {
                Some(at) => at.clone(),
                None => maps::reshape(index, &graph.ty(group.root).shape, &graph.ty(v).shape, ranges),
            };
            stored.push((v, at));
        }
    }
    stored.push((group.root, index.to_vec()));
    Ok(stored)
}

/// Whether what a group stores can be stored by one kernel, as far as shapes tell.
pub(super) fn check(graph: &Graph, group: &Group) -> Result<(), Refuse> {
    let elements = |v: ValueId| graph.ty(v).elements();
    for (k, &v) in group.also.iter().enumerate() {
        if group.also[..k].last().is_some_and(|&before| before >= v) || v == group.root {
            return Err(Refuse("the stored tensors are not ascending and different"));
        }
        if matches!(graph.node(v).op, Op::Reshape(_) | Op::Input(_) | Op::Const(_)) {
            return Err(Refuse("what a kernel stores is computed by no operator"));
        }
        if group.copy_to.is_some() {
            return Err(Refuse("a copy stores one tensor"));
        }
        if !group.locals.contains(&v) && elements(v) != elements(group.root) {
            return Err(Refuse("a stored tensor has other elements than the root"));
        }
    }
    Ok(())
}

/// The indices of values from the root on through operators that keep every element once.
fn reached(graph: &Graph, group: &Group, index: &[Dim], ranges: &Ranges) -> FxHashMap<ValueId, Vec<Dim>> {
    let mut known: FxHashMap<ValueId, Vec<Dim>> = FxHashMap::default();
    let mut open = vec![(group.root, index.to_vec())];
    while let Some((v, at)) = open.pop() {
        if known.contains_key(&v) {
            continue;
        }
        let node = graph.node(v);
        let inside = group.computes(v) && !group.locals.contains(&v);
        let elements = |v: ValueId| graph.ty(v).elements();
        match &node.op {
            Op::Reshape(_) => {
                let x = storage(graph, v);
                open.push((x, maps::reshape(&at, &node.ty.shape, &graph.ty(x).shape, ranges)));
            }
            _ if !inside => {}
            Op::Permute(p) => {
                let mut from = vec![Dim::constant(0); at.len()];
                p.perm.iter().zip(&at).for_each(|(&p, i)| from[p as usize] = i.clone());
                open.push((node.inputs[0], from));
            }
            Op::Broadcast(b) if elements(node.inputs[0]) == elements(v) => {
                let shape = &graph.ty(node.inputs[0]).shape;
                let place = |(d, &a): (&Dim, &u32)| {
                    if d.is_const(1) { Dim::constant(0) } else { at[a as usize].clone() }
                };
                open.push((node.inputs[0], shape.iter().zip(&b.axes).map(place).collect()));
            }
            Op::Slice(s) if graph.ty(node.inputs[0]).shape == node.ty.shape => {
                let from = |k: usize| s.start[k].clone() + at[k].clone() * s.step[k];
                open.push((node.inputs[0], (0..at.len()).map(from).collect()));
            }
            op if op.class() == OpClass::Elementwise => {
                // The first operand is looked at first.
                open.extend(node.inputs.iter().rev().map(|&i| (i, at.clone())));
            }
            _ => {}
        }
        known.insert(v, at);
    }
    known
}

/// The index of a sibling: that of a value it shares, through elementwise operators.
fn shared<'k>(
    graph: &Graph,
    group: &Group,
    v: ValueId,
    known: &'k FxHashMap<ValueId, Vec<Dim>>,
) -> Option<&'k Vec<Dim>> {
    let mut open = vec![v];
    let mut seen: Vec<ValueId> = vec![];
    while let Some(v) = open.pop() {
        if let Some(at) = known.get(&v) {
            return Some(at);
        }
        if seen.contains(&v) || seen.len() > 64 {
            continue;
        }
        seen.push(v);
        let node = graph.node(v);
        if node.op.class() == OpClass::Elementwise && group.computes(v) {
            open.extend(node.inputs.iter().rev());
        }
    }
    None
}
