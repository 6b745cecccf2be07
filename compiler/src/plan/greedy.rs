//! The greedy fuser: one sweep from the outputs to the inputs decides for every value whether the
//! kernels that use it compute it themselves or load it.
//!
//! A value is inlined when one kernel uses it (or it is cheap), when the kernel stays admissible
//! (`schedule::lower` accepts it), and when that repeats no expensive work: a contraction keeps its
//! operands in memory, except views that leave its loads contiguous and dequantised weights. A
//! kernel has one contraction, whose consumers are its epilogue; reductions of a row and what is
//! used more than once in the row become stages of their own (softmax, normalisation).

use super::{Group, Plan, demanded, inlined_always, is_stored, several_products};
use crate::canonicalize::constant::uniform;
use crate::schedule::{Cache, is_library, is_vectorised};
use fornax_ir::graph::ops::OpClass;
use fornax_ir::graph::{Graph, Op, ValueId};
use fornax_ir::scalar::{BinaryOp, UnaryOp};
use rustc_hash::FxHashSet;
use smallvec::SmallVec;

/// Values inlined in one kernel at most: bounds code size.
const MAX_MEMBERS: usize = 96;
/// Bytes of a local row at most, where known: it should stay in the second-level cache.
const MAX_ROW_BYTES: i64 = 256 << 10;
/// Rows of a kernel of stages over columns, at least.
const LEAST_ROWS: i64 = 8;
/// Scalar operations that are cheaper to repeat than a tensor is to store and load again.
const CHEAP: u32 = 4;

/// In which part of a kernel a value is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// The root's own stage, after its contraction if it has one.
    Main,
    /// As an operand of the contraction of the root's stage.
    Operand(ValueId),
    /// The stage of a local.
    Local(ValueId),
}

/// A use of a value by a kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Use {
    group: usize,
    part: Part,
    /// On the way the value is repeated along an axis.
    repeated: bool,
}

struct Fuser<'g> {
    graph: &'g Graph,
    cache: &'g Cache,
    /// Values that kernels may compute where they use them.
    inlinable: &'g dyn Fn(ValueId) -> bool,
    groups: Vec<Group>,
    uses: Vec<SmallVec<[Use; 2]>>,
    stored: Vec<bool>,
    demanded: FxHashSet<ValueId>,
    /// The contraction of each group's main stage.
    anchor: Vec<Option<ValueId>>,
}

/// Plans a graph. Deterministic: the same graph gives the same plan.
pub fn plan(graph: &Graph) -> Plan {
    plan_with(graph, &Cache::new(graph))
}

/// As [`plan`], with what is known of the graph's groups.
pub fn plan_with(graph: &Graph, cache: &Cache) -> Plan {
    plan_where(graph, cache, &|_| true)
}

/// Plans a graph in which only some values may be computed where they are used; the others are
/// stored. Counters and reshapes, which never need memory, are no part of the question.
pub fn plan_where(graph: &Graph, cache: &Cache, inlinable: &dyn Fn(ValueId) -> bool) -> Plan {
    let mut f = Fuser {
        graph,
        cache,
        inlinable,
        groups: vec![],
        uses: vec![SmallVec::new(); graph.nodes.len()],
        stored: vec![false; graph.nodes.len()],
        demanded: demanded(graph),
        anchor: vec![],
    };
    for v in &f.demanded {
        f.stored[v.index()] = true;
    }
    let live = graph.live();
    for v in graph.values().rev().filter(|v| live[v.index()]) {
        f.decide(v);
    }
    let mut groups = f.groups;
    groups.sort_by_key(|g| g.root);
    let mut plan = Plan { groups, ..Plan::default() };
    plan.add_copies(graph);
    plan
}

impl Fuser<'_> {
    fn op(&self, v: ValueId) -> &Op {
        &self.graph.node(v).op
    }
    fn is_contraction(&self, v: ValueId) -> bool {
        self.op(v).class() == OpClass::Contraction
    }

    fn decide(&mut self, v: ValueId) {
        if is_stored(self.graph, v) {
            return;
        }
        if let Op::Reshape(_) = self.op(v) {
            let operand = self.graph.node(v).inputs[0];
            let uses = std::mem::take(&mut self.uses[v.index()]);
            uses.iter().for_each(|u| self.add_use(operand, *u));
            self.stored[operand.index()] |= self.stored[v.index()];
            return;
        }
        if inlined_always(self.graph, v, &self.demanded) {
            return;
        }
        let inside = |u: &Use| self.groups[u.group].members.contains(&v);
        let (inside, uses): (Vec<Use>, Vec<Use>) = self.uses[v.index()].iter().copied().partition(inside);
        inside.iter().for_each(|&u| self.use_operands(v, u));
        if !inside.is_empty() && uses.is_empty() && !self.stored[v.index()] {
            return;
        }
        // Panels are there to be read from memory.
        let may = !matches!(self.op(v), Op::Pack(_) | Op::WinogradInput(_) | Op::WinogradWeights(_))
            && !is_library(self.graph, v)
            && (self.inlinable)(v)
            && !self.stored[v.index()]
            && !uses.is_empty();
        if !may || !self.inline(v, &uses) {
            self.new_group(v);
        }
    }

    fn add_use(&mut self, v: ValueId, u: Use) {
        let uses = &mut self.uses[v.index()];
        if let Some(same) = uses.iter_mut().find(|o| o.group == u.group && o.part == u.part) {
            same.repeated |= u.repeated;
        } else {
            uses.push(u);
        }
    }

    fn new_group(&mut self, v: ValueId) {
        let group = self.groups.len();
        let views = self.views_of_operands(v);
        self.groups.push(Group { members: views.collect(), ..Group::new(v) });
        let contraction = if self.is_contraction(v) { Some(v) } else { self.stored_conv(v) };
        self.anchor.push(contraction);
        self.use_operands(v, Use { group, part: Part::Main, repeated: false });
    }

    /// Records that a kernel which computes `v` uses its operands.
    fn use_operands(&mut self, v: ValueId, u: Use) {
        let node = self.graph.node(v);
        let repeats = match &node.op {
            Op::Broadcast(_) => {
                let (from, to) = (self.graph.ty(node.inputs[0]).elements(), node.ty.elements());
                from != to
            }
            Op::Gather(_) => true,
            _ => false,
        };
        let part = if u.part == Part::Main && self.is_contraction(v) { Part::Operand(v) } else { u.part };
        for &i in &node.inputs {
            self.add_use(i, Use { part, repeated: u.repeated || repeats, ..u });
        }
    }

    /// Tries to compute `v` in all kernels that use it.
    fn inline(&mut self, v: ValueId, uses: &[Use]) -> bool {
        let first = uses[0].group;
        let one_group = uses.iter().all(|u| u.group == first);
        if !one_group {
            // Elements that are all the same constant need no memory anywhere.
            let repeated = uniform(self.graph, v).is_some();
            let cheap = self.cheap_to_repeat(v) && (repeated || uses.iter().all(|u| u.part == Part::Main));
            return cheap && self.inline_everywhere(v, uses);
        }
        let parts_differ = uses.len() > 1;
        let row_reduce = matches!(self.op(v), Op::Reduce(_)) && (uses[0].repeated || parts_differ);
        if row_reduce || (parts_differ && !self.cheap_to_repeat(v)) {
            return self.make_local(v, first);
        }
        self.inline_everywhere(v, uses)
    }

    fn inline_everywhere(&mut self, v: ValueId, uses: &[Use]) -> bool {
        let fits = |u: &Use| self.admits(v, u);
        if !uses.iter().all(fits) {
            return false;
        }
        for u in uses {
            let views = self.views_of_operands(v);
            self.groups[u.group].members.extend(views);
            self.groups[u.group].members.insert(v);
            let contraction = if self.is_contraction(v) { Some(v) } else { self.stored_conv(v) };
            if u.part == Part::Main && contraction.is_some() {
                self.anchor[u.group] = contraction;
            }
            self.use_operands(v, *u);
        }
        true
    }

    /// Whether a kernel may compute `v` where it uses it.
    fn admits(&self, v: ValueId, u: &Use) -> bool {
        let group = &self.groups[u.group];
        if group.members.len() >= MAX_MEMBERS || is_library(self.graph, group.root) {
            return false;
        }
        let class = self.op(v).class();
        if self.stored_conv(v).is_some() && (u.part != Part::Main || self.anchor[u.group].is_some()) {
            return false;
        }
        if self.is_contraction(v) {
            let epilogue = u.part == Part::Main
                && self.anchor[u.group].is_none_or(|a| a == v)
                && !u.repeated
                && group.locals.is_empty();
            return epilogue && self.once_each(v, u) && self.lowers_well(v, u);
        }
        match u.part {
            Part::Operand(c) if matches!(self.op(c), Op::Reduce(_)) => !matches!(class, OpClass::Indexing),
            Part::Operand(_) => match class {
                OpClass::View => !matches!(self.op(v), Op::Pad(_) | Op::Concat(_)) && self.lowers_well(v, u),
                OpClass::Elementwise => self.dequantises(v, 0) && self.lowers_well(v, u),
                _ => false,
            },
            _ if class == OpClass::Elementwise
                && u.repeated
                && !self.once_a_row(v, group.root)
                && !self.cheap_to_repeat(v) =>
            {
                false
            }
            _ if class == OpClass::Elementwise && group.locals.is_empty() => true,
            _ => self.lowers_well(v, u),
        }
    }

    /// The views between a convolution and its operands as they are stored, where its weights are packed: a kernel
    /// is judged by how it reads all of them, and computes the views together with the convolution.
    fn views_of_operands(&self, v: ValueId) -> impl Iterator<Item = ValueId> + use<> {
        let mut views: SmallVec<[ValueId; 4]> = SmallVec::new();
        if let Op::Conv(_) = self.op(v) {
            let operands = &self.graph.node(v).inputs;
            let view = |v: ValueId| self.op(v).class() == OpClass::View;
            let packed = self.views_below(operands[1], view, &mut views);
            let stored = is_stored(self.graph, packed) || matches!(self.op(packed), Op::Pack(_));
            if views.is_empty() || !stored {
                views.clear();
            } else {
                // What another convolution gives is stored in the order of the permutation behind that.
                let conv = |v: ValueId| matches!(self.op(v), Op::Conv(_));
                let view =
                    |v: ValueId| matches!(self.op(v), Op::Permute(_)) && !conv(self.graph.node(v).inputs[0]);
                self.views_below(operands[0], view, &mut views);
            }
            views.retain(|v| (self.inlinable)(*v) && !self.stored[v.index()]);
        }
        views.into_iter()
    }

    /// Collects views of one operand, down to what they are views of; reshapes are looked through.
    fn views_below(
        &self,
        mut v: ValueId,
        is: impl Fn(ValueId) -> bool,
        views: &mut SmallVec<[ValueId; 4]>,
    ) -> ValueId {
        while let [operand] = self.graph.node(v).inputs[..]
            && !is_stored(self.graph, v)
        {
            match self.op(v) {
                Op::Pack(_) => break,
                Op::Reshape(_) => {}
                _ if is(v) => views.push(v),
                _ => break,
            }
            v = operand;
        }
        v
    }

    /// The convolution whose result a permutation stores in its own order: both are in one kernel.
    fn stored_conv(&self, v: ValueId) -> Option<ValueId> {
        let node = self.graph.node(v);
        let conv = *node.inputs.first().filter(|_| matches!(node.op, Op::Permute(_)))?;
        let packed = matches!(self.op(conv), Op::Conv(_)) && self.views_of_operands(conv).next().is_some();
        packed.then_some(conv)
    }

    /// One element for each row of the root: the kernel computes it outside the row's loop.
    fn once_a_row(&self, v: ValueId, root: ValueId) -> bool {
        let shape = &self.graph.ty(v).shape;
        let kept = shape.iter().rposition(|d| !d.is_const(1)).map_or(0, |k| k + 1);
        self.graph.ty(root).shape.starts_with(&shape[..kept])
    }

    /// The kernel computes no element of a contraction twice.
    fn once_each(&self, v: ValueId, u: &Use) -> bool {
        let group = &self.groups[u.group];
        if self.graph.ty(v).elements() == self.graph.ty(group.root).elements() {
            return true;
        }
        let mut after = group.clone();
        after.members.insert(v);
        several_products(self.graph, self.cache, v, &after)
    }

    /// Whether the kernel with `v` inlined is one kernel, and no slower to walk than before.
    fn lowers_well(&self, v: ValueId, u: &Use) -> bool {
        let before = &self.groups[u.group];
        let mut after = before.clone();
        after.members.insert(v);
        after.members.extend(self.views_of_operands(v));
        let vectorised = |g: &Group| self.cache.inspect(self.graph, g, |l| is_vectorised(&l.kernel));
        let Ok(new) = vectorised(&after) else { return false };
        let view_or_anchor = self.op(v).class() != OpClass::Elementwise;
        let anchored = self.anchor[u.group].is_some() || self.is_contraction(v);
        if !(view_or_anchor && anchored) || new {
            return true;
        }
        // It was not vectorised anyway?
        let views = self.views_of_operands(v).collect();
        let alone =
            if self.is_contraction(v) { Group { members: views, ..Group::new(v) } } else { before.clone() };
        vectorised(&alone) == Ok(false)
    }

    /// Gives `v` a stage of its own in the group, computed for one row at a time.
    fn make_local(&mut self, v: ValueId, group: usize) -> bool {
        if matches!(self.op(v), Op::DotGeneral(_) | Op::Conv(_) | Op::ReduceWindow(_) | Op::WinogradOutput(_))
        {
            return false;
        }
        let g = &self.groups[group];
        if self.anchor[group].is_some_and(|a| !matches!(self.op(a), Op::Reduce(_))) {
            return false;
        }
        let rank = self.graph.ty(v).rank();
        let outer = if !g.locals.is_empty() {
            g.outer
        } else if let Op::Reduce(r) = self.op(v) {
            match self.rows_of(v, r.axes[..].first().map_or(rank, |&a| a as usize)) {
                Some(outer) => outer,
                None => return false,
            }
        } else {
            return false;
        };
        let shape = &self.graph.ty(v).shape;
        if outer > rank {
            return false;
        }
        let row = shape[outer..]
            .iter()
            .fold(fornax_ir::Dim::constant(self.graph.ty(v).dtype.bytes() as i64), |n, d| n * d);
        if row.as_const().is_some_and(|n| n > MAX_ROW_BYTES) {
            return false;
        }
        let mut after = g.clone();
        after.outer = outer;
        after.locals.push(v);
        after.locals.sort();
        if self.cache.inspect(self.graph, &after, |_| ()).is_err() {
            return false;
        }
        self.groups[group] = after;
        self.use_operands(v, Use { group, part: Part::Local(v), repeated: false });
        true
    }

    /// The axes that a kernel of stages shares where the first of them is a reduction from axis `first` on: those before it.
    /// Behind them a stage may have columns, but only rows are divided among threads.
    fn rows_of(&self, v: ValueId, first: usize) -> Option<usize> {
        let shape = &self.graph.ty(v).shape;
        let columns = shape[first.min(shape.len())..].iter().any(|d| !d.is_const(1));
        let rows = shape[..first].iter().try_fold(1i64, |n, d| n.checked_mul(d.as_const()?));
        let few = first == 0 || rows.is_some_and(|n| n < LEAST_ROWS);
        (!(columns && few)).then_some(if columns { first } else { shape.len() })
    }

    /// Few scalar operations per element, none of them slow, over operands that are loads anyway.
    fn cheap_to_repeat(&self, v: ValueId) -> bool {
        self.cost(v, 0) <= CHEAP
    }

    /// Scalar operations to compute one element from tensors in memory, as far as it matters.
    fn cost(&self, v: ValueId, depth: u32) -> u32 {
        let own = match self.op(v) {
            Op::Input(_) | Op::Const(_) | Op::Iota(_) | Op::Dims(_) => return 0,
            Op::Unary(u) => match u.0 {
                UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Not | UnaryOp::IsNan => 1,
                UnaryOp::Sqrt => 4,
                _ => 16,
            },
            Op::Binary(b) => match b.0 {
                BinaryOp::Pow | BinaryOp::Rem => 32,
                BinaryOp::Div => 4,
                _ => 1,
            },
            Op::Compare(_) | Op::Select(_) | Op::Cast(_) | Op::Bitcast(_) => 1,
            Op::Reshape(_) | Op::Permute(_) | Op::Broadcast(_) | Op::Slice(_) => 0,
            Op::Pad(_) | Op::Concat(_) | Op::Gather(_) => 2,
            _ => return CHEAP + 1,
        };
        if depth > 6 || own > CHEAP {
            return CHEAP + 1;
        }
        let operands = self.graph.node(v).inputs.iter().map(|&i| self.cost(i, depth + 1));
        operands.fold(own, |a, b| a.saturating_add(b))
    }

    /// A weight stored in a narrow dtype, converted and scaled: cheaper to do in the contraction
    /// than to keep wide.
    fn dequantises(&self, v: ValueId, depth: u32) -> bool {
        if depth > 8 {
            return false;
        }
        let node = self.graph.node(v);
        match &node.op {
            Op::Const(_) => true,
            Op::Cast(_) | Op::Binary(_) | Op::Reshape(_) | Op::Permute(_) | Op::Broadcast(_) => {
                node.inputs.iter().all(|&i| self.dequantises(i, depth + 1))
            }
            _ => false,
        }
    }
}
