//! One order for equal graphs: the same graph gives the same plan, in whatever order it was built.
//!
//! Nodes are numbered as a depth-first walk from the outputs meets them, operands first; constants,
//! regions and locations as their nodes are. Inputs, outputs and symbols have an order of their own, which
//! stays. What no output needs is left out, but for inputs.

use fornax_ir::graph::{ConstId, Graph, Input, Loc, LocId, Node, Op, Output, RegionId, ValueId};
use rustc_hash::FxHashMap;

struct Walk<'g> {
    old: &'g Graph,
    out: Graph,
    values: Vec<Option<ValueId>>,
    consts: FxHashMap<ConstId, ConstId>,
    regions: FxHashMap<RegionId, RegionId>,
    locs: FxHashMap<LocId, LocId>,
}

/// The graph with its nodes in the order in which its outputs need them.
pub fn renumber(graph: &Graph) -> Graph {
    let mut walk = Walk {
        old: graph,
        out: Graph {
            name: graph.name.clone(),
            ranges: graph.ranges.clone(),
            symbols: graph.symbols.clone(),
            locs: vec![Loc::default()],
            ..Graph::default()
        },
        values: vec![None; graph.nodes.len()],
        consts: FxHashMap::default(),
        regions: FxHashMap::default(),
        locs: FxHashMap::default(),
    };
    for i in &graph.inputs {
        let value = walk.push(i.value);
        walk.out.inputs.push(Input { value, ..i.clone() });
    }
    for o in &graph.outputs {
        walk.cone(o.value);
        let value = walk.values[o.value.index()].expect("its cone was walked");
        walk.out.outputs.push(Output { name: o.name.clone(), value });
    }
    let mut guards = graph.guards.clone();
    guards.sort_by_cached_key(|g| {
        let loc = graph.loc_text(g.loc).to_string();
        (g.kind as u8, g.lhs.to_string(), g.rhs.to_string(), g.what.clone(), loc)
    });
    for mut guard in guards {
        guard.loc = walk.loc(guard.loc);
        walk.out.guards.push(guard);
    }
    walk.out
}

impl Walk<'_> {
    /// Numbers a value and what it needs.
    fn cone(&mut self, root: ValueId) {
        let mut stack = vec![root];
        while let Some(&v) = stack.last() {
            if self.values[v.index()].is_some() {
                stack.pop();
                continue;
            }
            let before = stack.len();
            let open = self.old.node(v).inputs.iter().rev().filter(|i| self.values[i.index()].is_none());
            stack.extend(open);
            if stack.len() == before {
                stack.pop();
                self.push(v);
            }
        }
    }

    fn push(&mut self, v: ValueId) -> ValueId {
        let node = self.old.node(v);
        let mut op = node.op.clone();
        if let Op::Const(c) = &mut op {
            *c = self.constant(*c);
        }
        op.map_regions(|r| self.region(r));
        let inputs =
            node.inputs.iter().map(|i| self.values[i.index()].expect("operands come first")).collect();
        let loc = self.loc(node.loc);
        let new = ValueId(self.out.nodes.len() as u32);
        self.out.nodes.push(Node { op, inputs, loc, ..node.clone() });
        self.values[v.index()] = Some(new);
        new
    }

    fn constant(&mut self, c: ConstId) -> ConstId {
        let next = ConstId(self.out.consts.len() as u32);
        *self.consts.entry(c).or_insert_with(|| {
            self.out.consts.push(self.old.consts[c.index()].clone());
            next
        })
    }

    fn region(&mut self, r: RegionId) -> RegionId {
        if let Some(&known) = self.regions.get(&r) {
            return known;
        }
        let next = RegionId(self.out.regions.len() as u32);
        self.out.regions.push(renumber(&self.old.regions[r.index()]));
        self.regions.insert(r, next);
        next
    }

    fn loc(&mut self, loc: LocId) -> LocId {
        let text = self.old.loc_text(loc);
        if text.is_empty() {
            return LocId::default();
        }
        let next = LocId(self.out.locs.len() as u32);
        *self.locs.entry(loc).or_insert_with(|| {
            self.out.locs.push(Loc(text.to_string()));
            next
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fornax_ir::graph::text::parse;
    use fornax_ir::graph::verify::verify;

    #[test]
    fn order_of_insertion_does_not_matter() {
        let text = |lines: &str, out: &str| {
            format!(
                "graph \"g\" {{\n  %0: f32[n] = input \"x\"\n  %1: f32[n] = input \"y\"\n{lines}\n  output \"o\" {out}\n}}\n"
            )
        };
        let one = text("  %2: f32[n] = exp %0\n  %3: f32[n] = neg %1\n  %4: f32[n] = add %2, %3", "%4");
        let two = text(
            "  %2: f32[n] = neg %1\n  %3: f32[n] = abs %1\n  %4: f32[n] = exp %0\n  %5: f32[n] = add %4, %2",
            "%5",
        );
        let [one, two] = [one, two].map(|t| renumber(&parse(&t).unwrap()));
        verify(&one).unwrap();
        assert_eq!(one.to_string(), two.to_string());
    }
}
