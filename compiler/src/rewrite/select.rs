//! From an e-graph back to a graph: one node for every class that is needed, without cycles.
//!
//! Classes are settled leaf-up, cheapest first, where a node costs its own weight and the most
//! expensive of its operands (Knuth's generalization of Dijkstra's algorithm: every class that is settled has a
//! node whose operands were settled before, so that no selection is cyclic). Spellings that are wanted weigh
//! little and the ones they replace weigh much; what nobody asked for stays as it was written.

use super::language::{Kind, Node, Space, op};
use super::rules::Added;
use super::saturate::Saturated;
use egg::Id;
use fornax_ir::graph::{
    Const, ConstId, Graph, Input, LocId, Node as GraphNode, Op, Output, TensorType, ValueId,
};
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::BuildHasher;
use std::sync::Arc;

/// Weight of a spelling that is to be replaced.
const REPLACED: u64 = 1 << 48;
/// Weight of a spelling that nobody asked for, where there is one as it was written.
const UNWANTED: u64 = 1 << 32;
/// Weight of a spelling as it was written, and of any other of a class that rules made.
const WRITTEN: u64 = 1 << 8;
/// Weight of a spelling that was asked for.
const WANTED: u64 = 1;

/// A spelling of a class.
#[derive(Clone, Debug)]
struct Candidate {
    class: usize,
    node: Node,
    operands: SmallVec<[usize; 3]>,
    weight: u64,
}

/// One way to compute a class.
pub struct Spelling<'s> {
    /// The class.
    pub class: usize,
    /// The operator.
    pub op: &'s Op,
    /// Classes of its operands.
    pub operands: &'s [usize],
    /// The result's type.
    pub ty: Arc<TensorType>,
    /// Where the class comes from.
    pub loc: LocId,
}

/// What a selection gives.
pub struct Selection {
    /// The selected graph: operands before users, in the order in which outputs need them.
    pub graph: Graph,
    /// Whether a kernel that uses a value may compute it in place.
    pub inlinable: Vec<bool>,
}

/// The scalar classes of an e-graph, numbered, with their spellings.
pub struct Candidates<'s> {
    saturated: &'s Saturated,
    /// Number of each scalar class that computes something or is a leaf.
    number: FxHashMap<Id, usize>,
    classes: Vec<Id>,
    candidates: Vec<Candidate>,
    originals: FxHashSet<Node>,
}

/// The class that computes what a class loads, or the class itself.
fn computed(space: &Space, id: Id) -> Id {
    let class = space.find(id);
    let nodes = &space[class].nodes;
    if nodes.iter().any(|n| matches!(n.kind, Kind::Op(_))) {
        return class;
    }
    let tensors = nodes.iter().filter(|n| n.kind == Kind::Load).flat_map(|n| &space[n.children[0]].nodes);
    tensors.filter(|n| n.kind == Kind::Mat).map(|n| space.find(n.children[0])).min().unwrap_or(class)
}

/// The input or constant that a class loads.
fn leaf(space: &Space, class: Id) -> Option<Node> {
    let loads = space[class].nodes.iter().filter(|n| n.kind == Kind::Load);
    let tensors = loads.flat_map(|n| &space[n.children[0]].nodes);
    tensors.filter(|n| matches!(n.kind, Kind::Op(_))).min().cloned()
}

impl<'s> Candidates<'s> {
    /// All spellings of all classes that a graph's outputs can reach.
    pub fn new(saturated: &'s Saturated, graph: &Graph) -> Self {
        let space = &saturated.space;
        let canonical =
            |n: &Node| Node { children: n.children.iter().map(|&c| space.find(c)).collect(), ..n.clone() };
        let mut all = Candidates {
            saturated,
            number: FxHashMap::default(),
            classes: vec![],
            candidates: vec![],
            originals: saturated.originals.iter().map(canonical).collect(),
        };
        let mut open: Vec<usize> = vec![];
        for o in &graph.outputs {
            let class = computed(space, saturated.class(o.value));
            all.number_of(class, &mut open);
        }
        while let Some(class) = open.pop() {
            let id = all.classes[class];
            let nodes = space[id].nodes.iter().filter(|n| matches!(n.kind, Kind::Op(_))).cloned();
            let nodes: Vec<Node> = nodes.chain(leaf(space, id)).collect();
            let written = nodes.iter().any(|n| all.originals.contains(n));
            for node in nodes {
                let children: SmallVec<[Id; 3]> = node.children.iter().map(|&c| computed(space, c)).collect();
                let operands = children.iter().map(|&c| all.number_of(c, &mut open)).collect();
                let weight = if !written || all.originals.contains(&node) { WRITTEN } else { UNWANTED };
                all.candidates.push(Candidate { class, node, operands, weight });
            }
        }
        all
    }

    fn number_of(&mut self, class: Id, open: &mut Vec<usize>) -> usize {
        let next = self.classes.len();
        let number = *self.number.entry(class).or_insert(next);
        if number == next {
            self.classes.push(class);
            open.push(next);
        }
        number
    }

    /// How many classes there are.
    pub fn len(&self) -> usize {
        self.classes.len()
    }
    /// Whether there are none: the graph has no outputs.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }
    /// The number of a class, if the outputs can reach it.
    pub fn number(&self, class: Id) -> Option<usize> {
        self.number.get(&computed(&self.saturated.space, class)).copied()
    }
    /// All spellings of all classes.
    pub fn spellings(&self) -> impl Iterator<Item = Spelling<'_>> {
        let space = &self.saturated.space;
        self.candidates.iter().map(move |c| {
            let facts = &space[self.classes[c.class]].data;
            let op = op(space, &c.node).expect("candidates are operators");
            Spelling { class: c.class, op, operands: &c.operands, ty: facts.ty.clone(), loc: facts.loc }
        })
    }

    /// The number of the class and the node of an equality that a rule added, if it can be selected.
    pub fn find(&self, added: &Added) -> Option<(usize, Node)> {
        let space = &self.saturated.space;
        let class = *self.number.get(&space.find(added.class))?;
        let children = added.node.children.iter().map(|&c| space.find(c)).collect();
        let node = Node { children, ..added.node.clone() };
        let selectable = matches!(node.kind, Kind::Op(_)) && !self.originals.contains(&node);
        let known = selectable && space[self.classes[class]].nodes.contains(&node);
        known.then_some((class, node))
    }

    /// Settles every class that can be, by the weights of candidates, and tells which one it takes.
    fn settle(&self, weight: &dyn Fn(usize, &Candidate) -> u64) -> Vec<Option<usize>> {
        let mut users: Vec<Vec<usize>> = vec![vec![]; self.classes.len()];
        let mut missing: Vec<usize> = vec![0; self.candidates.len()];
        let mut queue = BinaryHeap::new();
        for (k, c) in self.candidates.iter().enumerate() {
            let mut operands = c.operands.clone();
            operands.sort();
            operands.dedup();
            missing[k] = operands.len();
            operands.iter().for_each(|&o| users[o].push(k));
            if operands.is_empty() {
                queue.push(Reverse((weight(k, c), k)));
            }
        }
        let mut chosen: Vec<Option<usize>> = vec![None; self.classes.len()];
        let mut cost = vec![0u64; self.classes.len()];
        while let Some(Reverse((c, k))) = queue.pop() {
            let class = self.candidates[k].class;
            if chosen[class].is_some() {
                continue;
            }
            chosen[class] = Some(k);
            cost[class] = c;
            for &user in &users[class] {
                missing[user] -= 1;
                let candidate = &self.candidates[user];
                if missing[user] == 0 && chosen[candidate.class].is_none() {
                    let operands = candidate.operands.iter().map(|&o| cost[o]).max().unwrap_or(0);
                    queue.push(Reverse((operands + weight(user, candidate), user)));
                }
            }
        }
        chosen
    }

    /// The graph in which each wanted spelling replaces the others of its class, as far as that makes no cycle.
    /// `None` if an output cannot be computed, which would be a fault of the e-graph.
    pub fn select(&self, graph: &Graph, wanted: &FxHashSet<(usize, Node)>) -> Option<Selection> {
        let replaced: FxHashSet<usize> = wanted.iter().map(|w| w.0).collect();
        let weight = |_: usize, c: &Candidate| {
            if !replaced.contains(&c.class) {
                return c.weight;
            }
            if wanted.contains(&(c.class, c.node.clone())) { WANTED } else { REPLACED }
        };
        self.extract(graph, &self.settle(&weight))
    }

    /// A graph of other spellings than the search would take: for seed 0 none that was written, where there is another
    /// one; for others whichever. It must compute the same, however slowly, or some rule is wrong.
    pub fn chaos(&self, graph: &Graph, seed: u64) -> Option<Selection> {
        let any = |k: usize| FxBuildHasher.hash_one((seed, k)) % WRITTEN + 1;
        let weight = |k: usize, c: &Candidate| match seed {
            0 if c.weight == UNWANTED => any(k),
            0 => REPLACED,
            _ => any(k),
        };
        self.extract(graph, &self.settle(&weight))
    }

    /// The graph of chosen candidates.
    fn extract(&self, graph: &Graph, chosen: &[Option<usize>]) -> Option<Selection> {
        let space = &self.saturated.space;
        let mut build = Build {
            out: Graph {
                name: graph.name.clone(),
                ranges: graph.ranges.clone(),
                symbols: graph.symbols.clone(),
                guards: graph.guards.clone(),
                locs: graph.locs.clone(),
                regions: graph.regions.clone(),
                ..Graph::default()
            },
            value: vec![None; self.classes.len()],
            consts: FxHashMap::default(),
        };
        for i in &graph.inputs {
            let value = ValueId(build.out.nodes.len() as u32);
            build.out.inputs.push(Input { value, ..i.clone() });
            build.out.nodes.push(graph.node(i.value).clone());
            if let Some(&class) = self.number.get(&computed(space, self.saturated.class(i.value))) {
                build.value[class] = Some(value);
            }
        }
        for o in &graph.outputs {
            let class = self.number[&computed(space, self.saturated.class(o.value))];
            let value = build.cone(self, chosen, class)?;
            build.out.outputs.push(Output { name: o.name.clone(), value });
        }
        let mut inlinable = vec![false; build.out.nodes.len()];
        for (class, value) in build.value.iter().enumerate() {
            if let Some(v) = value {
                let nodes = &space[self.classes[class]].nodes;
                inlinable[v.index()] = nodes.iter().any(|n| n.kind == Kind::Load);
            }
        }
        Some(Selection { graph: build.out, inlinable })
    }
}

struct Build {
    out: Graph,
    value: Vec<Option<ValueId>>,
    consts: FxHashMap<ConstId, ConstId>,
}

impl Build {
    /// Adds what a class needs, operands first, and the class.
    fn cone(&mut self, all: &Candidates<'_>, chosen: &[Option<usize>], root: usize) -> Option<ValueId> {
        let mut stack = vec![root];
        while let Some(&class) = stack.last() {
            if self.value[class].is_some() {
                stack.pop();
                continue;
            }
            let candidate = &all.candidates[chosen[class]?];
            let open = candidate.operands.iter().rev().filter(|&&o| self.value[o].is_none());
            let before = stack.len();
            stack.extend(open);
            if stack.len() == before {
                stack.pop();
                self.push(all, class, candidate);
            }
        }
        self.value[root]
    }

    fn push(&mut self, all: &Candidates<'_>, class: usize, candidate: &Candidate) {
        let space = &all.saturated.space;
        let facts = &space[all.classes[class]].data;
        let inputs =
            candidate.operands.iter().map(|&o| self.value[o].expect("operands come first")).collect();
        let op = match op(space, &candidate.node).expect("candidates are operators") {
            Op::Const(c) => Op::Const(self.constant(space, *c)),
            op => op.clone(),
        };
        self.value[class] = Some(ValueId(self.out.nodes.len() as u32));
        self.out.nodes.push(GraphNode { op, inputs, ty: (*facts.ty).clone(), sym: None, loc: facts.loc });
    }

    fn constant(&mut self, space: &Space, c: ConstId) -> ConstId {
        *self.consts.entry(c).or_insert_with(|| {
            let Const { literal, name } = &space.analysis.consts[c.index()];
            self.out.consts.push(Const { literal: literal.clone(), name: name.clone() });
            ConstId(self.out.consts.len() as u32 - 1)
        })
    }
}
