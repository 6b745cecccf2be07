//! Equal graphs in other orders, and what lowering gives as text.

use super::graphs::Choice;
use fornax_compiler::{Lowered, Options, lower};
use fornax_ir::graph::verify::verify;
use fornax_ir::graph::{ConstId, Graph, LocId, Op, RegionId, ValueId};

/// Where each of `n` entries goes, the first `fixed` of which stay.
fn permutation(choice: &mut Choice, n: usize, fixed: usize) -> Vec<usize> {
    let mut to: Vec<usize> = (0..n).collect();
    for i in (fixed + 1..n).rev() {
        to.swap(i, fixed + choice.below(i + 1 - fixed));
    }
    to
}

/// Values of a graph, operands before users, in a random one of these orders.
fn order(choice: &mut Choice, graph: &Graph) -> Vec<ValueId> {
    let mut missing: Vec<usize> = graph.nodes.iter().map(|n| n.inputs.len()).collect();
    let mut users: Vec<Vec<ValueId>> = vec![vec![]; graph.nodes.len()];
    for v in graph.values() {
        graph.node(v).inputs.iter().for_each(|i| users[i.index()].push(v));
    }
    let mut ready: Vec<ValueId> = graph.values().filter(|v| missing[v.index()] == 0).collect();
    let mut order = vec![];
    while !ready.is_empty() {
        let v = ready.swap_remove(choice.below(ready.len()));
        order.push(v);
        for &user in &users[v.index()] {
            missing[user.index()] -= 1;
            if missing[user.index()] == 0 {
                ready.push(user);
            }
        }
    }
    order
}

/// The entries of a table where a permutation sends them.
fn moved<T: Clone>(table: &[T], to: &[usize]) -> Vec<T> {
    let mut from = vec![0; to.len()];
    to.iter().enumerate().for_each(|(old, &new)| from[new] = old);
    from.into_iter().map(|old| table[old].clone()).collect()
}

/// An equal graph: its nodes in another order, its constants, locations, guards and regions too.
pub fn shuffled(graph: &Graph, choice: &mut Choice) -> Graph {
    let out = reordered(graph, choice);
    verify(&out).unwrap();
    out
}

fn reordered(graph: &Graph, choice: &mut Choice) -> Graph {
    let order = order(choice, graph);
    let mut value = vec![ValueId(0); order.len()];
    order.iter().enumerate().for_each(|(new, old)| value[old.index()] = ValueId(new as u32));
    let consts = permutation(choice, graph.consts.len(), 0);
    let locs = permutation(choice, graph.locs.len(), 1);
    let regions = permutation(choice, graph.regions.len(), 0);
    let guards = permutation(choice, graph.guards.len(), 0);
    let loc = |l: LocId| LocId(locs[l.index()] as u32);
    let mut out = graph.clone();
    out.consts = moved(&graph.consts, &consts);
    out.locs = moved(&graph.locs, &locs);
    out.guards = moved(&graph.guards, &guards);
    out.guards.iter_mut().for_each(|g| g.loc = loc(g.loc));
    let inner: Vec<Graph> = graph.regions.iter().map(|r| reordered(r, choice)).collect();
    out.regions = moved(&inner, &regions);
    out.inputs.iter_mut().for_each(|i| i.value = value[i.value.index()]);
    out.outputs.iter_mut().for_each(|o| o.value = value[o.value.index()]);
    out.nodes = order.iter().map(|&v| graph.node(v).clone()).collect();
    for node in &mut out.nodes {
        node.loc = loc(node.loc);
        node.inputs.iter_mut().for_each(|i| *i = value[i.index()]);
        if let Op::Const(c) = &mut node.op {
            *c = ConstId(consts[c.index()] as u32);
        }
        node.op.map_regions(|r| RegionId(regions[r.index()] as u32));
    }
    out
}

/// Everything that lowering a graph gives, as text, and the weights.
pub fn lowered(graph: &Graph) -> (String, Vec<u8>) {
    let made = lower(graph.clone(), &Options::default()).unwrap();
    let weights = made.weight_bytes();
    let Lowered { graph, plan, program, report, .. } = made;
    let kernels: Vec<String> = program.kernels.iter().map(|k| k.to_string()).collect();
    (format!("{graph}\n{}\n{program}\n{}\n{report}", plan.listing(&graph), kernels.join("\n")), weights)
}
