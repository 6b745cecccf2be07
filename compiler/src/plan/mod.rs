//! The plan: which tensors of a graph are materialised, and which kernel computes each.
//!
//! A [`Plan`] is the interface between rewriting, which makes one, and scheduling, which turns each
//! [`Group`] into a kernel. Everything a group's root needs is either inlined in the group (its
//! members), computed row by row into scratch (its locals), or loaded from a materialised tensor.

pub mod attention;
pub mod greedy;
mod merge;

use crate::schedule::{Cache, Lowered, MAX_PRODUCTS, is_library};
use fornax_ir::graph::ops::OpClass;
use fornax_ir::graph::{ConstId, Graph, Op, ValueId};
use fornax_ir::kernel::Inst;
use rustc_hash::FxHashSet;
use std::fmt;

/// One kernel of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The tensor whose axes its last stage walks, and which it stores; never a reshape (see [`storage`]).
    pub root: ValueId,
    /// Further tensors it stores, ascending, no reshapes: values of the same elements as the root's (a
    /// member on the way to it, or a sibling over the same axes), and locals.
    pub also: Vec<ValueId>,
    /// Values computed where they are used.
    pub members: FxHashSet<ValueId>,
    /// Values computed in stages of their own, for one point of the outer axes at a time; ascending.
    pub locals: Vec<ValueId>,
    /// How many leading axes of the root all stages share; 0 without locals.
    pub outer: usize,
    /// Set when the kernel copies an already materialised root to this output of the graph.
    pub copy_to: Option<u32>,
}

impl Group {
    /// A group that computes `root` from materialised operands alone.
    pub fn new(root: ValueId) -> Self {
        Group { root, also: vec![], members: FxHashSet::default(), locals: vec![], outer: 0, copy_to: None }
    }

    /// The tensors it stores, the root last. A copy stores none of its own.
    pub fn stored(&self) -> impl Iterator<Item = ValueId> + '_ {
        let root = self.copy_to.is_none().then_some(self.root);
        self.also.iter().copied().chain(root)
    }

    /// The values it computes, in no order.
    fn computed(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.members.iter().chain(&self.locals).copied().chain(self.stored())
    }

    /// Whether the kernel computes a value: it stores it, inlines it, or has a stage for it.
    pub fn computes(&self, v: ValueId) -> bool {
        (v == self.root && self.copy_to.is_none())
            || self.members.contains(&v)
            || self.also.contains(&v)
            || self.locals.contains(&v)
    }
}

/// What is materialised, and by which kernels, in order of execution.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Plan {
    /// The kernels.
    pub groups: Vec<Group>,
    /// The plans of the graph's regions, one for each.
    pub regions: Vec<Plan>,
}

/// The value whose memory a value shares: reshapes are the same bytes.
pub fn storage(graph: &Graph, mut v: ValueId) -> ValueId {
    while let Op::Reshape(_) = graph.node(v).op {
        v = graph.node(v).inputs[0];
    }
    v
}

impl Plan {
    /// Every operator its own kernel, nothing fused: the baseline of ablations.
    pub fn unfused(graph: &Graph) -> Plan {
        let live = graph.live();
        let demanded = demanded(graph);
        let computes =
            |v: &ValueId| live[v.index()] && !inlined_always(graph, *v, &demanded) && !is_stored(graph, *v);
        let groups = graph.values().filter(computes).map(Group::new).collect();
        let mut plan = Plan { groups, ..Plan::default() };
        plan.add_copies(graph);
        plan
    }

    /// Adds the copies for outputs that share a tensor with an input, a constant or an earlier output.
    fn add_copies(&mut self, graph: &Graph) {
        let roots: FxHashSet<ValueId> = self.groups.iter().flat_map(Group::stored).collect();
        let mut taken = FxHashSet::default();
        for (k, o) in graph.outputs.iter().enumerate() {
            let s = storage(graph, o.value);
            let stored_there = roots.contains(&s) || is_stored_directly(graph, s);
            let result = matches!(graph.node(s).op, Op::Proj(_)).then(|| &graph.node(s).inputs);
            if !stored_there || !taken.insert((result.map_or(s, |i| i[0]), result.map(|_| &graph.node(s).op)))
            {
                self.groups.push(Group { copy_to: Some(k as u32), ..Group::new(s) });
            }
        }
    }

    /// A listing for people: one line a kernel.
    pub fn listing<'a>(&'a self, graph: &'a Graph) -> impl fmt::Display + 'a {
        Listing { plan: self, graph }
    }
}

/// Values that no kernel of the graph computes: inputs, constants and their panels stand in memory before the program
/// runs, results of control flow are stored by it. Nodes of region operators are no tensors at all.
pub fn is_stored(graph: &Graph, v: ValueId) -> bool {
    let op = &graph.node(v).op;
    matches!(op, Op::Input(_) | Op::Const(_)) || op.class() == OpClass::Region || packed(graph, v).is_some()
}

/// The constant whose panels a value is, made when the program is compiled, and the operator that gives them.
pub fn packed(graph: &Graph, v: ValueId) -> Option<(ConstId, &Op)> {
    let node = graph.node(v);
    match (&node.op, node.inputs.first().map(|&x| &graph.node(x).op)) {
        (layout @ (Op::Pack(_) | Op::WinogradWeights(_)), Some(Op::Const(c))) => Some((*c, layout)),
        _ => None,
    }
}

/// Whether each point of a group accumulates a few elements of a product, no two points the same one: the gates of a
/// recurrent step, each a slice of one product with the weights of all, are a kernel with what follows them.
pub fn several_products(graph: &Graph, cache: &Cache, product: ValueId, group: &Group) -> bool {
    let (all, points) = (graph.ty(product).elements(), graph.ty(group.root).elements());
    let each = (2..=MAX_PRODUCTS).find(|&n| points.clone() * n as i64 == all);
    let (Some(each), Op::DotGeneral(_)) = (each, &graph.node(product).op) else { return false };
    let accumulates = |op: &&fornax_ir::kernel::Op| matches!(op.inst, Inst::Accumulate { .. });
    let count = |l: &Lowered| l.kernel.stages.last().map_or(0, |s| s.body.iter().filter(accumulates).count());
    cache.inspect(graph, group, count).is_ok_and(|n| n <= each)
}

/// The region operator whose result a tensor is.
pub fn producer(graph: &Graph, v: ValueId) -> Option<ValueId> {
    let node = graph.node(v);
    matches!(node.op, Op::Proj(_)).then(|| node.inputs[0])
}

/// Results of control flow that can be stored wherever they are wanted: not those a loop carries.
fn is_stored_directly(graph: &Graph, v: ValueId) -> bool {
    let node = graph.node(v);
    let Op::Proj(k) = &node.op else { return false };
    match &graph.node(node.inputs[0]).op {
        Op::Cond(_) => true,
        Op::Scan(s) => k.0 >= s.carried,
        _ => false,
    }
}

/// The tensors that must be in memory because the outputs, control flow or library functions read them there.
pub fn demanded(graph: &Graph) -> FxHashSet<ValueId> {
    let live = graph.live();
    let reads = |v: ValueId| graph.node(v).op.has_regions() || is_library(graph, v);
    let readers = graph.values().filter(|v| live[v.index()] && reads(*v));
    let operands = readers.flat_map(|v| graph.node(v).inputs.iter().copied());
    operands.chain(graph.outputs.iter().map(|o| o.value)).map(|v| storage(graph, v)).collect()
}

/// Values that are never tensors in memory of their own: reshapes share their operand's, and counters
/// and extents are computed where they are used (unless they are [`demanded`]).
fn inlined_always(graph: &Graph, v: ValueId, demanded: &FxHashSet<ValueId>) -> bool {
    let leaf = matches!(graph.node(v).op, Op::Iota(_) | Op::Dims(_));
    let reshape = matches!(graph.node(v).op, Op::Reshape(_));
    reshape || (leaf && !demanded.contains(&v))
}

struct Listing<'a> {
    plan: &'a Plan,
    graph: &'a Graph,
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, g) in self.plan.groups.iter().enumerate() {
            write!(f, "k{i}: {} {} = {}", g.root, self.graph.ty(g.root), self.graph.node(g.root).op.name())?;
            if let Some(k) = g.copy_to {
                write!(f, " copied to output {k}")?;
            }
            let names = |values: &[ValueId]| -> String {
                let names: Vec<_> =
                    values.iter().map(|&m| format!("{m}:{}", self.graph.node(m).op.name())).collect();
                names.join(" ")
            };
            let mut members: Vec<_> = g.members.iter().copied().collect();
            members.sort();
            if !members.is_empty() {
                write!(f, " with {}", names(&members))?;
            }
            if !g.locals.is_empty() {
                write!(f, "; rows of {} axes, per row {}", g.outer, names(&g.locals))?;
            }
            if !g.also.is_empty() {
                write!(f, "; also stores {}", names(&g.also))?;
            }
            writeln!(f, "  // {}", self.graph.loc(g.root))?;
        }
        for (k, (plan, graph)) in self.plan.regions.iter().zip(&self.graph.regions).enumerate() {
            write!(f, "region r{k} {{\n{}}}\n", plan.listing(graph))?;
        }
        Ok(())
    }
}
