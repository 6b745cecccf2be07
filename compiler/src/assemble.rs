//! From a plan to a program: every group becomes a scheduled kernel, equal kernels become one, and
//! tensors get their places. Regions become steps of branches and loops (`region`).
//!
//! While steps are made, every tensor of the arena has a slot of its own; buffer assignment then says
//! which of them share one (`memory`).

mod memory;
mod region;

use crate::plan::{Group, Plan, packed, producer, storage};
use crate::schedule::{Cache, DETAIL, Lowered, Operand};
use crate::{Error, WeightSource, weights};
use fornax_codegen::program::{
    Call, Guard, GuardKind, Place, Program, Step, SymbolRange, TensorSpec, WeightsLayout,
};
use fornax_ir::Dim;
use fornax_ir::graph::{self, ConstId, Graph, Op, RegionId, ValueId};
use fornax_ir::kernel::Kernel;
use memory::Memory;
use rustc_hash::{FxHashMap, FxHashSet};

/// Alignment of every weight, bytes.
const WEIGHT_ALIGN: u64 = 64;

struct Assembler<'c> {
    cache: &'c Cache,
    program: Program,
    memory: Memory,
    kernel_ids: FxHashMap<Kernel, usize>,
    weights: Vec<WeightSource>,
    weight_of: FxHashMap<(Vec<RegionId>, ConstId, Option<Op>), u64>,
    messages: FxHashMap<String, u32>,
}

/// A graph with its plan, at one place of the program.
struct Scope<'g> {
    graph: &'g Graph,
    plan: &'g Plan,
    /// The regions it is in, from the outside.
    path: Vec<RegionId>,
    /// Where its inputs are.
    inputs: Vec<Place>,
    /// Where its outputs go; `None` for those that need not be written.
    outputs: Vec<Option<Place>>,
    /// Where tensors are that kernels compute.
    places: FxHashMap<ValueId, Place>,
    /// Where results of region operators are, or are to go.
    results: FxHashMap<(ValueId, u32), Place>,
    /// The region operators whose steps are made.
    done: FxHashSet<ValueId>,
}

fn internal(stage: &'static str, what: String) -> Error {
    Error::Internal { stage, what }
}

/// Builds the program of a plan, and tells which constants its weights hold.
pub(crate) fn assemble(
    graph: &Graph,
    plan: &Plan,
    cache: &Cache,
) -> Result<(Program, Vec<WeightSource>), Error> {
    let mut a = Assembler {
        cache,
        program: Program { name: graph.name.clone(), ..Program::default() },
        memory: Memory::default(),
        kernel_ids: FxHashMap::default(),
        weights: vec![],
        weight_of: FxHashMap::default(),
        messages: FxHashMap::default(),
    };
    a.signature(graph);
    let inputs = (0..graph.inputs.len() as u32).map(Place::Input).collect();
    let outputs = (0..graph.outputs.len() as u32).map(|k| Some(Place::Output(k))).collect();
    let steps = a.block(Scope::new(graph, plan, vec![], inputs, outputs))?;
    a.program.steps = steps;
    a.memory.settle(&mut a.program, &graph.ranges);
    Ok((a.program, a.weights))
}

impl<'g> Scope<'g> {
    fn new(
        graph: &'g Graph,
        plan: &'g Plan,
        path: Vec<RegionId>,
        inputs: Vec<Place>,
        outputs: Vec<Option<Place>>,
    ) -> Self {
        let (mut places, mut results) = (FxHashMap::default(), FxHashMap::default());
        let copied: FxHashSet<u32> = plan.groups.iter().filter_map(|g| g.copy_to).collect();
        for (k, (o, place)) in graph.outputs.iter().zip(&outputs).enumerate() {
            let Some(place) = place.filter(|_| !copied.contains(&(k as u32))) else { continue };
            let v = storage(graph, o.value);
            match &graph.node(v).op {
                Op::Proj(p) => results.insert((graph.node(v).inputs[0], p.0), place),
                _ => places.insert(v, place),
            };
        }
        Scope { graph, plan, path, inputs, outputs, places, results, done: FxHashSet::default() }
    }
}

impl Assembler<'_> {
    fn message(&mut self, text: String) -> u32 {
        let next = self.program.messages.len() as u32;
        *self.messages.entry(text.clone()).or_insert_with(|| {
            self.program.messages.push(text);
            next
        })
    }

    fn signature(&mut self, g: &Graph) {
        let range = |name: &String| {
            let (lo, hi) = g.ranges.symbol(name);
            SymbolRange { name: name.clone(), lo: lo.max(0), hi }
        };
        self.program.symbols = g.symbols.iter().map(range).collect();
        let spec = |name: &str, v: ValueId| {
            let ty = g.ty(v);
            TensorSpec { name: name.to_string(), dtype: ty.dtype, shape: ty.shape.clone() }
        };
        self.program.inputs = g.inputs.iter().map(|i| spec(&i.name, i.value)).collect();
        self.program.outputs = g.outputs.iter().map(|o| spec(&o.name, o.value)).collect();
        // The conditions of regions are checked before anything runs, too.
        let mut graphs = vec![g];
        while let Some(g) = graphs.pop() {
            g.guards.iter().for_each(|guard| self.guard(g, guard));
            graphs.extend(g.regions.iter().rev());
        }
    }

    fn guard(&mut self, g: &Graph, guard: &graph::Guard) {
        let loc = g.loc_text(guard.loc);
        let relation = if guard.kind == graph::GuardKind::Eq { "equals" } else { "is at most" };
        let at = if loc.is_empty() { String::new() } else { format!("{loc}: ") };
        let text = format!("{at}{}; it needs that {} {relation} {}", guard.what, guard.lhs, guard.rhs);
        let message = self.message(text);
        let kind = if guard.kind == graph::GuardKind::Eq { GuardKind::Eq } else { GuardKind::Le };
        let (lhs, rhs) = (guard.lhs.clone(), guard.rhs.clone());
        self.program.guards.push(Guard { kind, lhs, rhs, message });
    }

    /// The steps of a graph.
    fn block(&mut self, mut scope: Scope<'_>) -> Result<Vec<Step>, Error> {
        let (graph, mut steps) = (scope.graph, vec![]);
        let refused = |(v, what): (ValueId, _)| internal("plan", format!("{v} ({}) {what}", graph.loc(v)));
        scope.plan.verify(graph).map_err(refused)?;
        for g in &scope.plan.groups {
            if g.copy_to.is_some_and(|k| scope.outputs[k as usize].is_none()) {
                continue;
            }
            let refused = |what| {
                let place = graph.loc(g.root);
                internal("schedule", format!("the kernel of {} ({place}) is refused: {what}", g.root))
            };
            let l = self.cache.lower(graph, g).map_err(|refuse| refused(refuse.0))?;
            for o in &l.operands {
                if let Operand::Tensor(v) = o
                    && let Some(producer) = producer(graph, *v)
                {
                    self.demand(&mut scope, producer, &mut steps)?;
                }
            }
            steps.push(self.call(&mut scope, g, l)?);
        }
        let live = graph.live();
        for v in graph.values().filter(|v| live[v.index()] && graph.node(*v).op.has_regions()) {
            self.demand(&mut scope, v, &mut steps)?;
        }
        Ok(steps)
    }

    /// Where a tensor is that exists by now.
    fn place(&mut self, scope: &Scope<'_>, v: ValueId) -> Result<Place, Error> {
        let node = scope.graph.node(v);
        let found = match &node.op {
            Op::Input(i) => scope.inputs.get(i.0 as usize),
            Op::Const(c) => return Ok(Place::Weights(self.weight(scope, *c, None))),
            Op::Pack(_) | Op::WinogradWeights(_) if let Some((c, layout)) = packed(scope.graph, v) => {
                return Ok(Place::Weights(self.weight(scope, c, Some(layout))));
            }
            Op::Proj(p) => scope.results.get(&(node.inputs[0], p.0)),
            _ => scope.places.get(&v),
        };
        let missing =
            || internal("plan", format!("{v} ({}) is used before a kernel stores it", scope.graph.loc(v)));
        found.copied().ok_or_else(missing)
    }

    fn weight(&mut self, scope: &Scope<'_>, c: ConstId, layout: Option<&Op>) -> u64 {
        let key = (scope.path.clone(), c, layout.cloned());
        if let Some(&at) = self.weight_of.get(&key) {
            return at;
        }
        let at = self.program.weights.bytes.next_multiple_of(WEIGHT_ALIGN);
        let literal = &scope.graph.consts[c.index()].literal;
        let len = weights::laid_out_bytes(literal, layout) as u64;
        self.program.weights = WeightsLayout { bytes: at + len };
        let regions = scope.path.clone();
        self.weights.push(WeightSource { regions, constant: c, layout: layout.cloned(), offset: at });
        self.weight_of.insert(key, at);
        at
    }

    fn call(&mut self, scope: &mut Scope<'_>, group: &Group, l: Lowered) -> Result<Step, Error> {
        let (mut fresh, mut buffers) = (vec![], vec![]);
        for o in &l.operands {
            let place = match (o, group.copy_to) {
                (Operand::Tensor(v), _) => self.place(scope, *v)?,
                (Operand::Target(_), Some(k)) => scope.outputs[k as usize].unwrap_or(Place::Output(k)),
                (Operand::Target(v), None) => self.target(scope, *v, &mut fresh),
            };
            buffers.push(place);
        }
        // The root first: it may take over memory, the others are given what is free.
        let root = scope.places.get(&group.root).copied();
        fresh.sort_by_key(|s| Some(Place::Slot(*s)) != root);
        let in_place = fresh.first().is_some_and(|s| Some(Place::Slot(*s)) == root);
        self.note_call(scope, &l, &buffers, fresh, in_place)?;
        let scalars = l.scalars.iter().map(|d| self.scalar(scope, d)).collect();
        let next = self.program.kernels.len();
        let kernel = *self.kernel_ids.entry(l.kernel.clone()).or_insert(next);
        if kernel == next {
            self.program.kernels.push(l.kernel);
        }
        let label = label(scope, group);
        self.program.calls.push(Call { kernel, buffers, scalars, work: l.work, label, bytes: l.bytes });
        Ok(Step::Call(self.program.calls.len() - 1))
    }

    /// Where a kernel stores a tensor: its place as an output, or a slot that is added to `fresh`.
    fn target(&mut self, scope: &mut Scope<'_>, v: ValueId, fresh: &mut Vec<u32>) -> Place {
        *scope.places.entry(v).or_insert_with(|| {
            let slot = self.memory.slot(scope.graph.ty(v).bytes());
            fresh.push(slot);
            Place::Slot(slot)
        })
    }

    /// Tells buffer assignment what a call reads and writes.
    fn note_call(
        &mut self,
        scope: &Scope<'_>,
        l: &Lowered,
        buffers: &[Place],
        fresh: Vec<u32>,
        may_take_over: bool,
    ) -> Result<(), Error> {
        let mut reads = vec![];
        for (o, place) in l.operands.iter().zip(buffers) {
            if let Operand::Tensor(_) = o {
                reads.extend(self.memory.behind(*place, &self.program.slices));
            }
        }
        let mut in_place = vec![];
        for v in l.in_place.iter().filter(|_| may_take_over) {
            // Not if another operand may be in the same memory.
            if let Place::Slot(s) = self.place(scope, *v)?
                && reads.iter().filter(|r| **r == s).count() == 1
            {
                in_place.push(s);
            }
        }
        self.memory.note(reads, fresh, in_place);
        Ok(())
    }

    /// Symbols that stand for messages become their numbers.
    fn scalar(&mut self, scope: &Scope<'_>, d: &Dim) -> Dim {
        let Some(v) = d.as_symbol().and_then(|s| s.strip_prefix(DETAIL)).and_then(|n| n.parse().ok()) else {
            return d.clone();
        };
        let loc = scope.graph.loc(ValueId(v));
        let at = if loc.is_empty() { scope.graph.node(ValueId(v)).op.name() } else { loc };
        let text = format!("{at}: an index is outside its axis");
        Dim::constant(self.message(text) as i64)
    }
}

fn label(scope: &Scope<'_>, group: &Group) -> String {
    let mut values: Vec<ValueId> =
        group.members.iter().chain(&group.locals).chain(&group.also).copied().collect();
    values.push(group.root);
    values.sort();
    values.dedup();
    let mut names: Vec<&str> = vec![];
    for v in values {
        let name = scope.graph.node(v).op.name();
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    if group.copy_to.is_some() {
        names = vec!["copy"];
    }
    format!("{} // {}", names.join(" "), scope.graph.loc(group.root))
}
