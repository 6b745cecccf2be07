//! Orders nodes so that operands come first, and finds what breaks the format's rules of names.

use super::scope::{node_name, operator_name};
use crate::error::{ErrorKind, Result};
use crate::proto::{GraphProto, NodeProto};
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Most nodes of a cycle that a message names.
const MAX_SHOWN: usize = 8;

/// The nodes that `outputs` depend on, operands first and otherwise in the file's order.
///
/// `defined` says whether a name stands for something before any node ran.
///
/// # Errors
/// [`ErrorKind::Model`]: a value with two producers, a value without one, or a cycle.
pub(super) fn order<'m>(
    nodes: &'m [NodeProto],
    defined: &dyn Fn(&str) -> bool,
    outputs: &[&str],
) -> Result<Vec<&'m NodeProto>> {
    let makers = makers(nodes, defined)?;
    let operands = nodes.iter().map(|n| operands(n, &makers, defined)).collect::<Result<Vec<_>>>()?;
    let sorted = sort(nodes, &operands)?;
    let mut needed = vec![false; nodes.len()];
    for name in outputs {
        match makers.get(name) {
            Some(&i) => needed[i] = true,
            None if defined(name) => {}
            None => {
                let what = format!("output '{name}' is computed by no node and is no input or initializer");
                return Err(ErrorKind::Model(what));
            }
        }
    }
    for &i in sorted.iter().rev() {
        if needed[i] {
            operands[i].iter().for_each(|&o| needed[o] = true);
        }
    }
    Ok(sorted.into_iter().filter(|&i| needed[i]).map(|i| &nodes[i]).collect())
}

/// Which node makes each name.
fn makers<'m>(nodes: &'m [NodeProto], defined: &dyn Fn(&str) -> bool) -> Result<FxHashMap<&'m str, usize>> {
    let mut makers: FxHashMap<&str, usize> = FxHashMap::default();
    for (i, n) in nodes.iter().enumerate() {
        for name in n.output.iter().map(String::as_str).filter(|o| !o.is_empty()) {
            let what = if let Some(other) = makers.insert(name, i) {
                format!("{} and {}", shown(&nodes[other]), shown(n))
            } else if defined(name) {
                format!("{}, and is an input or initializer", shown(n))
            } else {
                continue;
            };
            return Err(ErrorKind::Model(format!("value '{name}' is defined twice: by {what}")));
        }
    }
    Ok(makers)
}

/// The nodes whose outputs a node needs, those that its branches mention included.
fn operands(
    node: &NodeProto,
    makers: &FxHashMap<&str, usize>,
    defined: &dyn Fn(&str) -> bool,
) -> Result<Vec<usize>> {
    let mut found = vec![];
    for name in node.input.iter().map(String::as_str).filter(|i| !i.is_empty()) {
        match makers.get(name) {
            Some(&i) => found.push(i),
            None if defined(name) => {}
            None => {
                let what = format!(
                    "{} uses '{name}', which is no input, no initializer and no node's output",
                    shown(node)
                );
                return Err(ErrorKind::Model(what));
            }
        }
    }
    let mut graphs: Vec<&GraphProto> = node.attribute.iter().filter_map(|a| a.g.as_ref()).collect();
    while let Some(g) = graphs.pop() {
        let inner = g.node.iter().flat_map(|n| n.input.iter()).chain(g.output.iter().map(|o| &o.name));
        found.extend(inner.filter_map(|name| makers.get(name.as_str())));
        graphs.extend(g.node.iter().flat_map(|n| n.attribute.iter()).filter_map(|a| a.g.as_ref()));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Kahn's algorithm; of the nodes that are ready, the first in the file goes first.
fn sort(nodes: &[NodeProto], operands: &[Vec<usize>]) -> Result<Vec<usize>> {
    let mut missing: Vec<usize> = operands.iter().map(Vec::len).collect();
    let mut users = vec![vec![]; nodes.len()];
    for (i, list) in operands.iter().enumerate() {
        list.iter().for_each(|&o| users[o].push(i));
    }
    let mut ready: BinaryHeap<_> = (0..nodes.len()).filter(|&i| missing[i] == 0).map(Reverse).collect();
    let mut sorted = Vec::with_capacity(nodes.len());
    while let Some(Reverse(i)) = ready.pop() {
        sorted.push(i);
        for &u in &users[i] {
            missing[u] -= 1;
            if missing[u] == 0 {
                ready.push(Reverse(u));
            }
        }
    }
    if sorted.len() == nodes.len() { Ok(sorted) } else { Err(cycle(nodes, operands, &missing)) }
}

/// Names one cycle among the nodes that still miss operands.
fn cycle(nodes: &[NodeProto], operands: &[Vec<usize>], missing: &[usize]) -> ErrorKind {
    let blocked = |i: usize| operands[i].iter().copied().find(|&o| missing[o] > 0);
    let mut at = (0..nodes.len()).find(|&i| missing[i] > 0).unwrap_or(0);
    let mut seen: FxHashMap<usize, usize> = FxHashMap::default();
    let mut path = vec![];
    // Walking to blocked operands must come back to a node seen before, as there are finitely many.
    while !seen.contains_key(&at) {
        seen.insert(at, path.len());
        path.push(at);
        at = blocked(at).unwrap_or(at);
    }
    let mut ring = path.split_off(seen[&at]);
    ring.reverse();
    let mut names: Vec<String> = ring.iter().take(MAX_SHOWN).map(|&i| shown(&nodes[i])).collect();
    if ring.len() > MAX_SHOWN {
        names.push(format!(".. ({} nodes)", ring.len()));
    }
    ErrorKind::Model(format!("the graph has a cycle: {} -> back to the first", names.join(" -> ")))
}

fn shown(node: &NodeProto) -> String {
    format!("{} '{}'", operator_name(node), node_name(node))
}
