//! Graphs as petgraph sees them, so that its algorithms run on them.
//!
//! `&Graph` has an edge from every node to each of its operands; the way back searches the later nodes
//! (linear time for each question). [`Dataflow`] has the edges of the data, from a node to its users,
//! and answers both ways at once: `toposort` of it is an order of execution.

use super::{Graph, ValueId};
use petgraph::Direction;
use petgraph::visit::{
    GraphBase, IntoNeighbors, IntoNeighborsDirected, IntoNodeIdentifiers, NodeCompactIndexable, NodeCount,
    NodeIndexable, VisitMap, Visitable,
};
use std::fmt::Write;

/// Which nodes were visited.
#[derive(Clone, Debug, Default)]
pub struct Visited(Vec<bool>);

impl VisitMap<ValueId> for Visited {
    fn visit(&mut self, v: ValueId) -> bool {
        !std::mem::replace(&mut self.0[v.index()], true)
    }
    fn is_visited(&self, v: &ValueId) -> bool {
        self.0[v.index()]
    }
    fn unvisit(&mut self, v: ValueId) -> bool {
        std::mem::replace(&mut self.0[v.index()], false)
    }
}

/// An edge: a node and the number of one of its operands.
pub type Edge = (ValueId, u32);

/// All nodes, in order.
pub struct Values(std::ops::Range<u32>);

impl Iterator for Values {
    type Item = ValueId;
    fn next(&mut self) -> Option<ValueId> {
        self.0.next().map(ValueId)
    }
}

/// Nodes next to one.
pub enum Neighbors<'g> {
    /// As listed.
    Listed(std::slice::Iter<'g, ValueId>),
    /// Users of a node, found by search.
    Searched {
        /// The graph.
        graph: &'g Graph,
        /// The node whose users are sought.
        of: ValueId,
        /// The node to look at next.
        user: u32,
        /// Its operand to look at next.
        operand: usize,
    },
}

impl Iterator for Neighbors<'_> {
    type Item = ValueId;
    fn next(&mut self) -> Option<ValueId> {
        match self {
            Neighbors::Listed(list) => list.next().copied(),
            Neighbors::Searched { graph, of, user, operand } => {
                while let Some(node) = graph.nodes.get(*user as usize) {
                    while let Some(i) = node.inputs.get(*operand) {
                        *operand += 1;
                        if i == of {
                            return Some(ValueId(*user));
                        }
                    }
                    (*user, *operand) = (*user + 1, 0);
                }
                None
            }
        }
    }
}

impl GraphBase for Graph {
    type NodeId = ValueId;
    type EdgeId = Edge;
}

impl NodeCount for Graph {
    fn node_count(&self) -> usize {
        self.nodes.len()
    }
}

impl NodeIndexable for Graph {
    fn node_bound(&self) -> usize {
        self.nodes.len()
    }
    fn to_index(&self, v: ValueId) -> usize {
        v.index()
    }
    fn from_index(&self, i: usize) -> ValueId {
        ValueId(i as u32)
    }
}

impl NodeCompactIndexable for Graph {}

impl Visitable for Graph {
    type Map = Visited;
    fn visit_map(&self) -> Visited {
        Visited(vec![false; self.nodes.len()])
    }
    fn reset_map(&self, map: &mut Visited) {
        map.0.clear();
        map.0.resize(self.nodes.len(), false);
    }
}

impl IntoNodeIdentifiers for &Graph {
    type NodeIdentifiers = Values;
    fn node_identifiers(self) -> Values {
        Values(0..self.nodes.len() as u32)
    }
}

impl<'g> IntoNeighbors for &'g Graph {
    type Neighbors = Neighbors<'g>;
    fn neighbors(self, v: ValueId) -> Neighbors<'g> {
        Neighbors::Listed(self.node(v).inputs.iter())
    }
}

impl<'g> IntoNeighborsDirected for &'g Graph {
    type NeighborsDirected = Neighbors<'g>;
    fn neighbors_directed(self, v: ValueId, d: Direction) -> Neighbors<'g> {
        match d {
            Direction::Outgoing => self.neighbors(v),
            Direction::Incoming => Neighbors::Searched { graph: self, of: v, user: 0, operand: 0 },
        }
    }
}

/// A graph with the users of every node at hand; edges lead from a node to its users.
pub struct Dataflow<'g> {
    /// The graph.
    pub graph: &'g Graph,
    users: Vec<ValueId>,
    /// Where the users of each node begin in the list; one more entry than nodes.
    first: Vec<u32>,
}

impl<'g> Dataflow<'g> {
    /// Collects the users, in linear time.
    pub fn new(graph: &'g Graph) -> Self {
        let n = graph.nodes.len();
        let mut first = vec![0u32; n + 1];
        graph.nodes.iter().flat_map(|n| &n.inputs).for_each(|i| first[i.index() + 1] += 1);
        for k in 0..n {
            first[k + 1] += first[k];
        }
        let mut next = first.clone();
        let mut users = vec![ValueId::default(); first[n] as usize];
        for v in graph.values() {
            for i in &graph.node(v).inputs {
                users[next[i.index()] as usize] = v;
                next[i.index()] += 1;
            }
        }
        Dataflow { graph, users, first }
    }

    /// The nodes that use a value, ascending; one that uses it twice is listed twice.
    pub fn users(&self, v: ValueId) -> &[ValueId] {
        &self.users[self.first[v.index()] as usize..self.first[v.index() + 1] as usize]
    }
}

impl GraphBase for Dataflow<'_> {
    type NodeId = ValueId;
    type EdgeId = Edge;
}

impl NodeCount for Dataflow<'_> {
    fn node_count(&self) -> usize {
        self.graph.node_count()
    }
}

impl NodeIndexable for Dataflow<'_> {
    fn node_bound(&self) -> usize {
        self.graph.node_bound()
    }
    fn to_index(&self, v: ValueId) -> usize {
        v.index()
    }
    fn from_index(&self, i: usize) -> ValueId {
        ValueId(i as u32)
    }
}

impl NodeCompactIndexable for Dataflow<'_> {}

impl Visitable for Dataflow<'_> {
    type Map = Visited;
    fn visit_map(&self) -> Visited {
        self.graph.visit_map()
    }
    fn reset_map(&self, map: &mut Visited) {
        self.graph.reset_map(map);
    }
}

impl IntoNodeIdentifiers for &Dataflow<'_> {
    type NodeIdentifiers = Values;
    fn node_identifiers(self) -> Values {
        self.graph.node_identifiers()
    }
}

impl<'a> IntoNeighbors for &'a Dataflow<'_> {
    type Neighbors = Neighbors<'a>;
    fn neighbors(self, v: ValueId) -> Neighbors<'a> {
        Neighbors::Listed(self.users(v).iter())
    }
}

impl<'a> IntoNeighborsDirected for &'a Dataflow<'_> {
    type NeighborsDirected = Neighbors<'a>;
    fn neighbors_directed(self, v: ValueId, d: Direction) -> Neighbors<'a> {
        match d {
            Direction::Outgoing => self.neighbors(v),
            Direction::Incoming => self.graph.neighbors(v),
        }
    }
}

/// The graph in the DOT language of Graphviz: nodes with operator, type and location, edges with the
/// number of the operand where there are several.
pub fn to_dot(graph: &Graph) -> String {
    let mut out = String::from("digraph {\n  node [shape=box]\n");
    for v in graph.values() {
        let node = graph.node(v);
        let mut label = format!("{v} {} {}", node.op.name(), node.ty);
        if !graph.loc(v).is_empty() {
            label += &format!("\n{}", graph.loc(v));
        }
        let _ = writeln!(out, "  n{} [label={}]", v.0, dot_text(&label));
        for (k, i) in node.inputs.iter().enumerate() {
            let number = if node.inputs.len() > 1 { format!(" [label={k}]") } else { String::new() };
            let _ = writeln!(out, "  n{} -> n{}{number}", i.0, v.0);
        }
    }
    for (k, o) in graph.outputs.iter().enumerate() {
        let _ = writeln!(out, "  out{k} [label={} shape=oval]", dot_text(&o.name));
        let _ = writeln!(out, "  n{} -> out{k}", o.value.0);
    }
    out + "}\n"
}

fn dot_text(s: &str) -> String {
    format!("\"{}\"", s.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::super::{Builder, TensorType};
    use super::*;
    use crate::dim::Dim;
    use crate::dtype::DType;
    use crate::scalar::{BinaryOp, UnaryOp};
    use petgraph::algo::{dominators, tarjan_scc, toposort};
    use petgraph::visit::{Dfs, Reversed};

    /// x -> exp -> (neg, abs) -> add -> out, and the square of x.
    fn diamond() -> Graph {
        let mut b = Builder::new("g");
        let x = b.input("x", TensorType::new(DType::F32, vec![Dim::symbol("n")]));
        b.set_loc("a \"b\"");
        let e = b.unary(UnaryOp::Exp, x).unwrap();
        let n = b.unary(UnaryOp::Neg, e).unwrap();
        let a = b.unary(UnaryOp::Abs, e).unwrap();
        let s = b.binary(BinaryOp::Add, n, a).unwrap();
        let q = b.binary(BinaryOp::Mul, x, x).unwrap();
        b.output("s", s);
        b.output("q", q);
        b.finish()
    }

    #[test]
    fn topological_orders_put_operands_first() {
        let g = diamond();
        let flow = Dataflow::new(&g);
        let order = toposort(&flow, None).unwrap();
        let mut users_first = toposort(&g, None).unwrap();
        users_first.reverse();
        for order in [order, users_first] {
            assert_eq!(order.len(), g.nodes.len());
            let place = |v: ValueId| order.iter().position(|&o| o == v).unwrap();
            for v in g.values() {
                assert!(g.node(v).inputs.iter().all(|&i| place(i) < place(v)));
            }
        }
    }

    #[test]
    fn dominators_components_and_reachability() {
        let g = diamond();
        let flow = Dataflow::new(&g);
        let [x, e, n, a, s, q] = [0, 1, 2, 3, 4, 5].map(ValueId);
        let d = dominators::simple_fast(&flow, x);
        assert_eq!([n, a, s].map(|v| d.immediate_dominator(v)), [Some(e); 3]);
        assert_eq!(d.immediate_dominator(q), Some(x));
        let post = dominators::simple_fast(&g, s);
        assert_eq!(post.immediate_dominator(e), Some(s));
        assert_eq!(tarjan_scc(&g).len(), 6);
        assert_eq!(tarjan_scc(&flow).iter().map(Vec::len).max(), Some(1));
        let mut dfs = Dfs::new(&g, s);
        let mut below = vec![];
        while let Some(v) = dfs.next(&g) {
            below.push(v);
        }
        assert!(!below.contains(&q) && below.len() == 5);
        let mut up = Dfs::new(Reversed(&flow), q);
        assert_eq!((up.next(Reversed(&flow)), up.next(Reversed(&flow))), (Some(q), Some(x)));
    }

    #[test]
    fn users_agree_both_ways() {
        let g = diamond();
        let flow = Dataflow::new(&g);
        for v in g.values() {
            let searched: Vec<_> = g.neighbors_directed(v, Direction::Incoming).collect();
            assert_eq!(searched, flow.users(v));
        }
        assert_eq!(flow.users(ValueId(0)), [ValueId(1), ValueId(5), ValueId(5)]);
    }

    #[test]
    fn dot_names_every_node_and_edge() {
        let dot = to_dot(&diamond());
        assert!(dot.contains("n1 [label=\"%1 exp f32[n]\\na \\\"b\\\"\"]"), "{dot}");
        assert!(dot.contains("n0 -> n5 [label=1]") && dot.contains("n4 -> out0"));
        assert_eq!(dot.matches("->").count(), 9);
    }
}
