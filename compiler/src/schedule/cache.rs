//! Kernels by the structure of their groups: what was lowered once serves every equal group.
//!
//! Lowering looks at the operators that a group computes, at the types of what it loads, at scalar
//! constants, and at the ranges of symbols; not at names, locations, and numbers of values. So a group's
//! [`Structure`] numbers its values in the order in which they are met from the root on. The layers of a
//! deep model are lowered once each, and so is a group that planning tries and assembling needs.

use super::{DETAIL, Lowered, Operand, Refuse, is_library, literal_scalar, lower};
use crate::Machine;
use crate::plan::{Group, storage};
use fornax_ir::Dim;
use fornax_ir::dim::Ranges;
use fornax_ir::graph::{Graph, Op, TensorType, ValueId};
use fornax_ir::scalar::Scalar;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};

/// Groups after which all are forgotten: bounds memory.
const MAX_ENTRIES: usize = 1 << 13;

/// How a value of a group is computed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Source {
    /// Loaded.
    Tensor,
    /// A constant of one element.
    Scalar(Scalar),
    /// Other extents over the same elements.
    View,
    /// By this operator.
    Computed(Op),
}

/// A value with the numbers of its operands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Entry {
    source: Source,
    ty: TensorType,
    inputs: SmallVec<[u32; 4]>,
}

/// All that lowering a group depends on, but for ranges.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Structure {
    /// The root first, then the locals, then what is stored beside the root, then their operands.
    entries: Vec<Entry>,
    locals: u32,
    /// The numbers of what is stored beside the root.
    also: SmallVec<[u32; 4]>,
    outer: usize,
    copies: bool,
}

/// Numbers values as they are met.
#[derive(Default)]
struct Numbering {
    values: Vec<ValueId>,
    ids: FxHashMap<ValueId, u32>,
}

impl Numbering {
    fn id(&mut self, v: ValueId) -> u32 {
        let next = self.values.len() as u32;
        let id = *self.ids.entry(v).or_insert(next);
        if id == next {
            self.values.push(v);
        }
        id
    }
}

/// A group's structure, with its values by number.
fn structure(graph: &Graph, group: &Group) -> (Structure, Vec<ValueId>) {
    let mut n = Numbering::default();
    n.id(group.root);
    group.locals.iter().for_each(|&v| _ = n.id(v));
    let also = group.also.iter().map(|&v| n.id(v)).collect();
    // Library functions read counters and extents from memory, too.
    let from_memory = is_library(graph, group.root);
    let mut entries = vec![];
    while entries.len() < n.values.len() {
        let v = n.values[entries.len()];
        let node = graph.node(v);
        let leaf = matches!(node.op, Op::Iota(_) | Op::Dims(_)) && !from_memory;
        let mut inputs = SmallVec::new();
        let source = match &node.op {
            Op::Reshape(_) => {
                inputs.push(n.id(storage(graph, v)));
                Source::View
            }
            op if leaf || group.computes(v) => {
                inputs.extend(node.inputs.iter().map(|&i| n.id(i)));
                Source::Computed(op.clone())
            }
            _ => match graph.literal(v).filter(|l| l.len() == 1) {
                Some(l) => Source::Scalar(literal_scalar(l)),
                None => Source::Tensor,
            },
        };
        entries.push(Entry { source, ty: node.ty.clone(), inputs });
    }
    let (locals, outer, copies) = (group.locals.len() as u32, group.outer, group.copy_to.is_some());
    (Structure { entries, locals, also, outer, copies }, n.values)
}

struct Known {
    result: Result<Lowered, Refuse>,
    /// The values of the group that was lowered.
    values: Vec<ValueId>,
}

/// Remembers what [`lower`] said of groups, for graphs of the same ranges of symbols.
pub struct Cache {
    ranges: Ranges,
    machine: Machine,
    known: RefCell<FxHashMap<Structure, Known>>,
    asked: Cell<u64>,
    lowered: Cell<u64>,
}

impl Cache {
    /// Nothing known yet of a graph's groups, on the portable machine.
    pub fn new(graph: &Graph) -> Cache {
        Cache::for_machine(graph, Machine::PORTABLE)
    }
    /// Nothing known yet of a graph's groups.
    pub fn for_machine(graph: &Graph, machine: Machine) -> Cache {
        let (asked, lowered) = (Cell::new(0), Cell::new(0));
        Cache { ranges: graph.ranges.clone(), machine, known: RefCell::default(), asked, lowered }
    }
    /// What kernels are scheduled for.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// As [`super::lower`].
    ///
    /// # Errors
    /// As [`super::lower`].
    pub fn lower(&self, graph: &Graph, group: &Group) -> Result<Lowered, Refuse> {
        self.find(graph, group, |known, values| {
            known.result.as_ref().map_err(|refuse| *refuse).map(|l| {
                let mut l = renamed(l, &known.values, values);
                l.kernel.name = graph.loc(group.root).to_string();
                l
            })
        })
    }

    /// What `look` says of the kernel of an equal group: all of it but names and numbers of values.
    ///
    /// # Errors
    /// As [`super::lower`].
    pub fn inspect<R>(
        &self,
        graph: &Graph,
        group: &Group,
        look: impl FnOnce(&Lowered) -> R,
    ) -> Result<R, Refuse> {
        self.find(graph, group, |known, _| known.result.as_ref().map(look).map_err(|refuse| *refuse))
    }

    /// How often it was asked, and how many groups were lowered for that.
    pub fn statistics(&self) -> (u64, u64) {
        (self.asked.get(), self.lowered.get())
    }

    fn find<R>(&self, graph: &Graph, group: &Group, then: impl FnOnce(&Known, &[ValueId]) -> R) -> R {
        self.asked.set(self.asked.get() + 1);
        let (key, values) = structure(graph, group);
        let fresh = || {
            self.lowered.set(self.lowered.get() + 1);
            Known { result: lower(graph, group, self.machine), values: values.clone() }
        };
        if graph.ranges != self.ranges {
            return then(&fresh(), &values);
        }
        if let Some(known) = self.known.borrow().get(&key) {
            return then(known, &values);
        }
        let new = fresh();
        let result = then(&new, &values);
        let mut known = self.known.borrow_mut();
        if known.len() >= MAX_ENTRIES {
            known.clear();
        }
        known.insert(key, new);
        result
    }
}

/// A kernel whose values `old` are now `new`.
fn renamed(l: &Lowered, old: &[ValueId], new: &[ValueId]) -> Lowered {
    let mut l = l.clone();
    if old == new {
        return l;
    }
    let map: FxHashMap<ValueId, ValueId> = old.iter().copied().zip(new.iter().copied()).collect();
    let value = |v: &mut ValueId| {
        if let Some(&n) = map.get(v) {
            *v = n;
        }
    };
    let operand = |o: &mut Operand| match o {
        Operand::Tensor(v) | Operand::Target(v) => value(v),
    };
    l.operands.iter_mut().for_each(operand);
    l.in_place.iter_mut().for_each(value);
    for d in &mut l.scalars {
        let detail = d.as_symbol().and_then(|s| s.strip_prefix(DETAIL)).and_then(|n| n.parse().ok());
        if let Some(mut v) = detail.map(ValueId) {
            value(&mut v);
            *d = Dim::symbol(&format!("{DETAIL}{}", v.0));
        }
    }
    l
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::greedy;
    use fornax_ir::graph::text;

    /// So many equal layers: a product, a softmax of its rows, a gather of these.
    fn layers(count: usize, last: i64) -> Graph {
        let mut source = String::from(
            "graph \"layers\" {\n  %0: f32[n, 16] = input \"x\"\n  %1: i64[n] = input \"i\"\n  \
             %2: f32[16, 16] = input \"w\"\n",
        );
        let mut x = 0;
        for layer in 0..count {
            let k = 3 + 9 * layer;
            let scale = if layer + 1 == count { last } else { 1 };
            source.push_str(&format!(
                "  %{k}: f32[n, 16] = dot %{x}, %2 batch [] contract [1:0] loc(\"layer {layer}\")\n"
            ));
            let text = [
                format!("f32[n] = reduce %{k} by max axes [1]"),
                format!("f32[n, 16] = broadcast %{} shape [n, 16] axes [0]", k + 1),
                format!("f32[n, 16] = sub %{k}, %{}", k + 2),
                format!("f32[n, 16] = exp %{}", k + 3),
                format!("f32[n] = reduce %{} by sum axes [1]", k + 4),
                format!("f32[n, 16] = broadcast %{} shape [n, 16] axes [0]", k + 5),
                format!("f32[n, 16] = div %{}, %{}", k + 4, k + 6),
                format!("f32[{scale}*n, 16] = gather %{}, %1 axes [0]", k + 7),
            ];
            for (i, t) in text.iter().enumerate() {
                let t = t.replace("[1*n", "[n");
                source.push_str(&format!("  %{}: {t} loc(\"layer {layer} {i}\")\n", k + 1 + i));
            }
            x = k + 8;
        }
        source.push_str(&format!("  output \"y\" %{x}\n}}"));
        text::parse(&source).unwrap_or_else(|e| panic!("{e:?}\n{source}"))
    }

    #[test]
    fn what_is_known_is_what_lowering_says() {
        let graph = layers(5, 1);
        let plan = greedy::plan(&graph);
        let cache = Cache::new(&graph);
        for g in &plan.groups {
            let (known, fresh) =
                (cache.lower(&graph, g).unwrap(), lower(&graph, g, Machine::PORTABLE).unwrap());
            assert_eq!(known.kernel, fresh.kernel);
            assert_eq!(known.kernel.name, fresh.kernel.name);
            assert_eq!((&known.operands, &known.scalars), (&fresh.operands, &fresh.scalars));
            assert_eq!((&known.work, &known.bytes), (&fresh.work, &fresh.bytes));
            assert_eq!(known.in_place, fresh.in_place);
        }
        assert!(plan.groups.len() >= 10, "{}", plan.listing(&graph));
        let (asked, lowered) = cache.statistics();
        assert_eq!(asked, plan.groups.len() as u64);
        assert!(lowered <= 4, "{lowered} of {asked}");
    }

    #[test]
    fn deep_models_lower_no_more_groups_than_shallow_ones() {
        let count = |layers_: usize| {
            let graph = layers(layers_, 1);
            let cache = Cache::new(&graph);
            greedy::plan_with(&graph, &cache);
            cache.statistics().1
        };
        assert_eq!(count(4), count(24));
    }

    #[test]
    fn structure_tells_apart_what_lowers_differently() {
        let graph = |body: &str| {
            text::parse(&format!(
                "graph \"g\" {{\n  %0: f32[n, 8] = input \"x\"\n  %1: f32[n, 8] = input \"y\"\n{body}\n  \
                 output \"z\" %3\n}}"
            ))
            .unwrap()
        };
        let key = |g: &Graph, edit: &dyn Fn(&mut Group)| {
            let mut group = Group::new(ValueId(3));
            group.members.insert(ValueId(2));
            edit(&mut group);
            structure(g, &group).0
        };
        let same = |_: &mut Group| {};
        let a = graph("  %2: f32[n, 8] = add %0, %1\n  %3: f32[n, 8] = mul %2, %0");
        let first = key(&a, &same);
        assert_eq!(first, key(&a, &same));
        let others = [
            "  %2: f32[n, 8] = sub %0, %1\n  %3: f32[n, 8] = mul %2, %0",
            "  %2: f32[n, 8] = add %0, %1\n  %3: f32[n, 8] = mul %2, %1",
            "  %2: f32[n, 8] = add %0, %0\n  %3: f32[n, 8] = mul %2, %0",
        ];
        for other in others {
            assert_ne!(first, key(&graph(other), &same), "{other}");
        }
        assert_ne!(first, key(&a, &|g| g.members.clear()));
        assert_ne!(first, key(&a, &|g| g.also.push(ValueId(2))));
        assert_ne!(first, key(&a, &|g| g.locals.push(ValueId(2))));
        assert_ne!(first, key(&a, &|g| g.copy_to = Some(0)));
        // The operands of the one are those of the other, exchanged: one structure.
        let b = graph("  %2: f32[n, 8] = add %1, %0\n  %3: f32[n, 8] = mul %2, %1");
        assert_eq!(first, key(&b, &same));
    }
}
