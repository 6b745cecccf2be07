//! Removal of nodes and constants that no output depends on.
//!
//! Inputs stay, used or not: they are the caller's arguments. Guards stay: what the graph as written
//! demanded of its extents is checked also when the node or region that demanded it is gone.

use fornax_ir::graph::{ConstId, Graph, Guard, Loc, LocId, Op, RegionId, ValueId};

/// The graph without dead nodes, constants and regions; the order of the rest is kept. Regions are
/// not looked into.
pub(super) fn remove(mut graph: Graph) -> Graph {
    let mut live = graph.live();
    graph.inputs.iter().for_each(|i| live[i.value.index()] = true);
    let mut new_value = vec![ValueId::default(); graph.nodes.len()];
    let mut new_const = vec![None; graph.consts.len()];
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    let mut consts = vec![];
    for (i, mut node) in std::mem::take(&mut graph.nodes).into_iter().enumerate() {
        if !live[i] {
            continue;
        }
        if let Op::Const(c) = &mut node.op {
            let k = c.index();
            *c = *new_const[k].get_or_insert_with(|| {
                consts.push(graph.consts[k].clone());
                ConstId(consts.len() as u32 - 1)
            });
        }
        node.inputs.iter_mut().for_each(|v| *v = new_value[v.index()]);
        new_value[i] = ValueId(nodes.len() as u32);
        nodes.push(node);
    }
    graph.nodes = nodes;
    graph.consts = consts;
    graph.inputs.iter_mut().for_each(|i| i.value = new_value[i.value.index()]);
    graph.outputs.iter_mut().for_each(|o| o.value = new_value[o.value.index()]);
    drop_unused_regions(&mut graph);
    graph
}

/// Keeps the regions that nodes name. The conditions of the others become the graph's own.
fn drop_unused_regions(graph: &mut Graph) {
    let mut used = vec![false; graph.regions.len()];
    graph.nodes.iter().flat_map(|n| n.op.regions()).for_each(|r| used[r.index()] = true);
    let mut new_region = vec![RegionId::default(); used.len()];
    let mut kept = vec![];
    for (k, region) in std::mem::take(&mut graph.regions).into_iter().enumerate() {
        if used[k] {
            new_region[k] = RegionId(kept.len() as u32);
            kept.push(region);
        } else {
            take_guards(graph, region);
        }
    }
    graph.regions = kept;
    graph.nodes.iter_mut().for_each(|n| n.op.map_regions(|r| new_region[r.index()]));
}

/// Moves the conditions of a graph, and of all inside it, to another.
fn take_guards(to: &mut Graph, from: Graph) {
    let mut graphs = vec![from];
    while let Some(mut from) = graphs.pop() {
        for guard in std::mem::take(&mut from.guards) {
            let text = from.loc_text(guard.loc).to_string();
            let loc = match to.locs.iter().position(|l| l.0 == text) {
                Some(k) => LocId(k as u32),
                None => {
                    to.locs.push(Loc(text));
                    LocId(to.locs.len() as u32 - 1)
                }
            };
            to.guards.push(Guard { loc, ..guard });
        }
        graphs.append(&mut from.regions);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use fornax_ir::dtype::DType;
    use fornax_ir::graph::verify::verify;
    use fornax_ir::graph::{Builder, TensorType};

    #[test]
    fn dead_nodes_and_constants_go_and_inputs_stay() {
        let mut b = builder();
        let unused = input(&mut b, "unused", &["2"]);
        let x = input(&mut b, "x", &["n"]);
        let c = b.constant("weights", f32s(&[2], &[1.0, 2.0]));
        b.binary(BinaryOp::Add, unused, c).unwrap();
        let y = b.unary(UnaryOp::Neg, x).unwrap();
        b.output("y", y);
        let g = remove(b.finish());
        assert_eq!(ops(&g), ["input", "input", "neg"]);
        assert!(g.consts.is_empty());
        assert_eq!(g.inputs[1].value, ValueId(1));
        assert_eq!(g.outputs[0].value, ValueId(2));
    }

    #[test]
    fn dead_regions_go_and_their_conditions_stay() {
        let mut b = builder();
        let (x, y) = (input(&mut b, "x", &["n"]), input(&mut b, "y", &["m"]));
        let p = b.input("p", TensorType::new(DType::Bool, vec![]));
        let branch = |b: &Builder, add: bool| {
            let mut r = b.region("branch");
            let (x, y) = (input(&mut r, "x", &["n"]), input(&mut r, "y", &["m"]));
            r.set_loc("branch.rs:1");
            let v = if add { r.binary(BinaryOp::Add, x, y) } else { r.unary(UnaryOp::Neg, x) };
            r.output("v", v.unwrap());
            r.finish()
        };
        let (first, same) = (branch(&b, true), branch(&b, false));
        let dead = b.cond(p, first, same.clone(), &[x, y]).unwrap();
        let kept = b.cond(p, same.clone(), same, &[x, y]).unwrap();
        b.output("kept", kept[0]);
        let old = b.finish();
        assert!(old.guards.is_empty() && !dead.is_empty());
        let g = remove(old);
        assert_eq!(verify(&g), Ok(()));
        assert_eq!(ops(&g), ["input", "input", "input", "cond", "proj"]);
        assert_eq!((g.regions.len(), g.nodes[3].op.regions().to_vec()), (2, vec![RegionId(0), RegionId(1)]));
        assert!(!g.guards.is_empty());
        assert_eq!(g.loc_text(g.guards[0].loc), "branch.rs:1");
    }
}
