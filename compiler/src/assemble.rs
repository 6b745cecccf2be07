//! From a plan to a program: every group becomes a scheduled kernel, equal kernels become one, and
//! tensors get their places.

use crate::buffers::{Step, assign};
use crate::plan::{Group, Plan, storage};
use crate::schedule::{DETAIL, Lowered, Operand, lower};
use crate::{Error, WeightSource};
use fornax_codegen::program::{
    Call, Guard, GuardKind, Place, Program, SymbolRange, TensorSpec, WeightsLayout,
};
use fornax_ir::Dim;
use fornax_ir::graph::{self, ConstId, Graph, Op, ValueId};
use fornax_ir::kernel::Kernel;
use rustc_hash::FxHashMap;

/// Alignment of every weight, bytes.
const WEIGHT_ALIGN: u64 = 64;

struct Assembler<'g> {
    graph: &'g Graph,
    program: Program,
    kernel_ids: FxHashMap<Kernel, usize>,
    weights: Vec<WeightSource>,
    weight_of: FxHashMap<ConstId, u64>,
    messages: FxHashMap<String, u32>,
}

/// Builds the program of a plan, and tells which constants its weights hold.
pub(crate) fn assemble(graph: &Graph, plan: &Plan) -> Result<(Program, Vec<WeightSource>), Error> {
    let mut a = Assembler {
        graph,
        program: Program { name: graph.name.clone(), ..Program::default() },
        kernel_ids: FxHashMap::default(),
        weights: vec![],
        weight_of: FxHashMap::default(),
        messages: FxHashMap::default(),
    };
    a.signature();
    plan.verify(graph).map_err(|(v, what)| Error::Internal {
        stage: "plan",
        what: format!("{v} ({}) {what}", graph.loc(v)),
    })?;
    let mut lowered = vec![];
    for g in &plan.groups {
        let l = lower(graph, g).map_err(|refuse| Error::Internal {
            stage: "schedule",
            what: format!("the kernel of {} ({}) is refused: {}", g.root, graph.loc(g.root), refuse.0),
        })?;
        lowered.push((g, l));
    }
    let places = a.places(&lowered);
    for (g, l) in lowered {
        a.call(g, l, &places);
    }
    Ok((a.program, a.weights))
}

impl Assembler<'_> {
    fn message(&mut self, text: String) -> u32 {
        let next = self.program.messages.len() as u32;
        *self.messages.entry(text.clone()).or_insert_with(|| {
            self.program.messages.push(text);
            next
        })
    }

    fn signature(&mut self) {
        let g = self.graph;
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
        for guard in &g.guards {
            let loc = g.loc_text(guard.loc);
            let relation = if guard.kind == graph::GuardKind::Eq { "equals" } else { "is at most" };
            let at = if loc.is_empty() { String::new() } else { format!("{loc}: ") };
            let text = format!("{at}{}; it needs that {} {relation} {}", guard.what, guard.lhs, guard.rhs);
            let message = self.message(text);
            let kind = if guard.kind == graph::GuardKind::Eq { GuardKind::Eq } else { GuardKind::Le };
            let (lhs, rhs) = (guard.lhs.clone(), guard.rhs.clone());
            self.program.guards.push(Guard { kind, lhs, rhs, message });
        }
    }

    /// Where every root lives.
    fn places(&mut self, lowered: &[(&Group, Lowered)]) -> FxHashMap<ValueId, Place> {
        let g = self.graph;
        let mut places = FxHashMap::default();
        let copied: Vec<u32> = lowered.iter().filter_map(|(g, _)| g.copy_to).collect();
        for (k, o) in g.outputs.iter().enumerate() {
            if !copied.contains(&(k as u32)) {
                places.insert(storage(g, o.value), Place::Output(k as u32));
            }
        }
        let arena =
            |v: &ValueId| !places.contains_key(v) && !matches!(g.node(*v).op, Op::Input(_) | Op::Const(_));
        let tensors = |l: &Lowered| -> Vec<usize> {
            let read =
                l.operands.iter().filter_map(|o| if let Operand::Tensor(v) = o { Some(*v) } else { None });
            read.filter(arena).map(|v| v.index()).collect()
        };
        let steps: Vec<Step> = lowered
            .iter()
            .map(|(group, l)| Step {
                reads: tensors(l),
                // The root first: it may take over memory, the others are given what is free.
                writes: [group.root]
                    .iter()
                    .chain(&group.also)
                    .filter(|v| group.copy_to.is_none() && arena(v))
                    .map(|v| (v.index(), g.ty(*v).bytes()))
                    .collect(),
                in_place: match arena(&group.root) {
                    true => l.in_place.iter().filter(|v| arena(v)).map(|v| v.index()).collect(),
                    false => vec![],
                },
            })
            .collect();
        let assignment = assign(&steps, &g.ranges);
        self.program.slots = assignment.slots;
        places.extend(assignment.slot_of.iter().map(|(v, s)| (ValueId(*v as u32), Place::Slot(*s as u32))));
        places
    }

    fn place(&mut self, v: ValueId, places: &FxHashMap<ValueId, Place>) -> Place {
        match &self.graph.node(v).op {
            Op::Input(i) => Place::Input(i.0),
            Op::Const(c) => Place::Weights(self.weight(*c)),
            _ => places[&v],
        }
    }

    fn weight(&mut self, c: ConstId) -> u64 {
        if let Some(&at) = self.weight_of.get(&c) {
            return at;
        }
        let at = self.program.weights.bytes.next_multiple_of(WEIGHT_ALIGN);
        let len = self.graph.consts[c.index()].literal.bytes().len() as u64;
        self.program.weights = WeightsLayout { bytes: at + len };
        self.weights.push(WeightSource { constant: c, offset: at });
        self.weight_of.insert(c, at);
        at
    }

    fn call(&mut self, group: &Group, l: Lowered, places: &FxHashMap<ValueId, Place>) {
        let buffers = l
            .operands
            .iter()
            .map(|o| match (o, group.copy_to) {
                (Operand::Tensor(v), _) => self.place(*v, places),
                (Operand::Target(_), Some(k)) => Place::Output(k),
                (Operand::Target(v), None) => self.place(*v, places),
            })
            .collect();
        let scalars = l.scalars.iter().map(|d| self.scalar(d)).collect();
        let next = self.program.kernels.len();
        let kernel = *self.kernel_ids.entry(l.kernel.clone()).or_insert(next);
        if kernel == next {
            self.program.kernels.push(l.kernel);
        }
        let label = self.label(group);
        self.program.calls.push(Call { kernel, buffers, scalars, work: l.work, label, bytes: l.bytes });
    }

    /// Symbols that stand for messages become their numbers.
    fn scalar(&mut self, d: &Dim) -> Dim {
        let Some(v) = d.as_symbol().and_then(|s| s.strip_prefix(DETAIL)).and_then(|n| n.parse().ok()) else {
            return d.clone();
        };
        let loc = self.graph.loc(ValueId(v));
        let at = if loc.is_empty() { "gather" } else { loc };
        let text = format!("{at}: an index is outside its axis");
        Dim::constant(self.message(text) as i64)
    }

    fn label(&self, group: &Group) -> String {
        let mut values: Vec<ValueId> =
            group.members.iter().chain(&group.locals).chain(&group.also).copied().collect();
        values.push(group.root);
        values.sort();
        values.dedup();
        let mut names: Vec<&str> = vec![];
        for v in values {
            let name = self.graph.node(v).op.name();
            if names.last() != Some(&name) {
                names.push(name);
            }
        }
        if group.copy_to.is_some() {
            names = vec!["copy"];
        }
        format!("{} // {}", names.join(" "), self.graph.loc(group.root))
    }
}
