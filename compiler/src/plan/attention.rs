//! Attention: a product, what is computed row by row from it, such as a softmax, and a product with that as one kernel.
//!
//! The matrix between the products then never exists: a strip of a few of its rows passes through all stages in a
//! worker's scratch. No value changes by that, and each is computed as often as before, so it needs neither a name nor
//! a float mode: masks, scales, and whatever else exporters put between the products come along as they are spelled.
//! What stays in memory is what other kernels read.
//!
//! Each strip reads both right operands once more. They are small beside the rows of a strip where few elements are
//! summed for a score and few columns come out: heads of attention, not layers of a perceptron.

use super::{Group, Plan, demanded, storage};
use crate::schedule::{Cache, Lowered, is_vectorised};
use fornax_ir::graph::ops::{DotGeneral, OpClass};
use fornax_ir::graph::{Graph, Op, ValueId};
use fornax_ir::kernel::{Inst, Kernel, Op as KernelOp, Order, Stage};
use rustc_hash::{FxHashMap, FxHashSet};

/// What [`crate::Options::without`] calls it.
pub const ATTENTION: &str = "attention";

/// Elements summed by the first product and columns of the second, together, at most: strips have tens of rows, and
/// a kernel for each stage reads or writes each element between the products six times.
const MAX_WIDTH: i64 = 512;
/// Stands for a width known only at run time: that of a head.
const TYPICAL: i64 = 128;
/// Strips of one row that there should be at least.
const MIN_SINGLE: i64 = 8;

/// The plan with one kernel for each two products around rows.
pub fn join(graph: &Graph, cache: &Cache, plan: Plan) -> Plan {
    let mut kernels = Kernels::new(graph, &plan);
    let mut rows: Vec<(ValueId, usize)> = (0..plan.groups.len())
        .filter(|&k| !plan.groups[k].locals.is_empty() && plan.groups[k].copy_to.is_none())
        .map(|k| (plan.groups[k].root, k))
        .collect();
    rows.sort();
    let mut gone = FxHashSet::default();
    for (_, k) in rows {
        let Some(joint) = kernels.around(k) else { continue };
        // A kernel is joined once.
        if [joint.first, joint.rows, joint.last].iter().any(|k| gone.contains(k)) {
            continue;
        }
        if let Some(group) = joint.group(&kernels, cache) {
            kernels.groups[joint.last] = group;
            gone.extend([joint.first, joint.rows]);
        }
    }
    if gone.is_empty() {
        return plan;
    }
    let kept = kernels.groups.into_iter().enumerate().filter(|(k, _)| !gone.contains(k));
    let mut joined = Plan { groups: kept.map(|(_, g)| g).collect(), regions: plan.regions.clone() };
    if joined.sort(graph).is_err() {
        tracing::error!("attention made a cycle of kernels; the plan before is used; please report this");
        return plan;
    }
    joined
}

/// The kernels of a plan, with who stores and who loads a tensor.
struct Kernels<'g> {
    graph: &'g Graph,
    groups: Vec<Group>,
    maker: FxHashMap<ValueId, usize>,
    users: FxHashMap<ValueId, Vec<usize>>,
    demanded: FxHashSet<ValueId>,
}

impl<'g> Kernels<'g> {
    fn new(graph: &'g Graph, plan: &Plan) -> Self {
        let mut maker = FxHashMap::default();
        let mut users: FxHashMap<ValueId, Vec<usize>> = FxHashMap::default();
        for (k, g) in plan.groups.iter().enumerate() {
            maker.extend(g.stored().map(|v| (v, k)));
            g.loads(graph).into_iter().for_each(|v| users.entry(v).or_default().push(k));
        }
        Kernels { graph, groups: plan.groups.clone(), maker, users, demanded: demanded(graph) }
    }

    /// The kernel that alone reads a tensor.
    fn only_user(&self, v: ValueId) -> Option<usize> {
        match self.users.get(&v).map(Vec::as_slice) {
            Some(&[user]) if !self.demanded.contains(&v) => Some(user),
            _ => None,
        }
    }

    /// The product of a kernel that stores one tensor and has no rows.
    fn product(&self, k: usize) -> Option<(ValueId, &DotGeneral)> {
        let group = &self.groups[k];
        let simple = group.also.is_empty() && group.locals.is_empty() && group.copy_to.is_none();
        group.computed().filter(|_| simple).find_map(|v| dot(self.graph, v).map(|dot| (v, dot)))
    }

    /// The kernels around one that computes rows, if products stand on both sides and nothing else reads what is
    /// between them.
    fn around(&self, rows: usize) -> Option<Joint> {
        let group = &self.groups[rows];
        if !group.also.is_empty() || group.computed().any(|v| dot(self.graph, v).is_some()) {
            return None;
        }
        let last = self.only_user(group.root)?;
        let (product, of_columns) = self.product(last)?;
        let [left, right] = self.graph.node(product).inputs[..] else { return None };
        let right = self.graph.ty(right);
        let [column] = of_columns.free(1, right.rank())[..] else { return None };
        let column = right.shape[column].as_const().unwrap_or(TYPICAL);
        if storage(self.graph, left) != group.root {
            return None;
        }
        let fits = |v: ValueId| {
            let first = *self.maker.get(&v)?;
            let (product, scores) = self.product(first)?;
            let [(summed, _)] = scores.contract[..] else { return None };
            let summed = &self.graph.ty(self.graph.node(product).inputs[0]).shape[summed as usize];
            let summed = summed.as_const().unwrap_or(TYPICAL);
            let once = self.only_user(v) == Some(rows) && first != last;
            (once && summed.saturating_add(column) <= MAX_WIDTH).then_some(first)
        };
        let first = group.loads(self.graph).into_iter().find_map(fits)?;
        Some(Joint { first, rows, last })
    }
}

/// Three kernels by their places in a plan.
struct Joint {
    first: usize,
    rows: usize,
    last: usize,
}

impl Joint {
    /// The three kernels as one, where that is one, whose stages run over neighbouring elements if theirs did.
    fn group(&self, kernels: &Kernels<'_>, cache: &Cache) -> Option<Group> {
        let graph = kernels.graph;
        let [first, rows, last] = [self.first, self.rows, self.last].map(|k| &kernels.groups[k]);
        let mut group = last.clone();
        group.outer = rows.outer;
        group.members.extend(first.members.iter().chain(&rows.members));
        group.locals = rows.locals.iter().copied().chain([rows.root]).collect();
        if self.feeds_one_local(kernels) {
            // What follows the product at once is computed in its tile, if that suits it.
            let mut inlined = group.clone();
            inlined.members.insert(first.root);
            inlined.close();
            let suits = |lowered: &Lowered| in_strips(lowered) == Some(true) && !has_borders(&lowered.kernel);
            if cache.inspect(graph, &inlined, suits) == Ok(true) {
                return Some(inlined);
            }
        }
        group.locals.push(first.root);
        group.close();
        let smooth = cache.inspect(graph, &group, in_strips).ok().flatten()?;
        let was = |g: &Group| cache.inspect(graph, g, |l| is_vectorised(&l.kernel)) == Ok(true);
        (smooth || ![first, rows, last].into_iter().all(was)).then_some(group)
    }

    /// Whether what the first kernel stores is an operand of one value alone, which has a stage of its own.
    fn feeds_one_local(&self, kernels: &Kernels<'_>) -> bool {
        let (graph, scores, rows) =
            (kernels.graph, kernels.groups[self.first].root, &kernels.groups[self.rows]);
        let reads = |v: &ValueId| {
            graph.node(*v).inputs.iter().any(|&i| storage(graph, i) == scores) && *v != rows.root
        };
        let mut readers = rows.computed().filter(reads);
        let one = readers.next().filter(|_| readers.next().is_none());
        one.is_some_and(|v| rows.locals.contains(&v) && graph.node(v).op.class() == OpClass::Elementwise)
    }
}

impl Group {
    /// Puts the locals in order, and out of the members.
    fn close(&mut self) {
        self.locals.sort();
        self.locals.dedup();
        let locals = &self.locals;
        self.members.retain(|v| !locals.contains(v));
    }
}

/// Of a kernel that runs in strips, or else has many rows to share out: whether all stages run over neighbouring
/// elements.
fn in_strips(lowered: &Lowered) -> Option<bool> {
    let outer = lowered.kernel.outer.iter().map(|a| a.extent.as_const().unwrap_or(1));
    let many = outer.fold(1i64, i64::saturating_mul) >= MIN_SINGLE;
    let fits = lowered.kernel.schedule.block.is_some() || many;
    fits.then(|| is_vectorised(&lowered.kernel))
}

/// Whether a product's stage has conditions on its points, which leave it no whole tiles.
fn has_borders(kernel: &Kernel) -> bool {
    let conditional = |op: &KernelOp| matches!(op.inst, Inst::InRange(_) | Inst::Axis(_));
    let product =
        |s: &&Stage| s.body.iter().any(|op| matches!(op.inst, Inst::Accumulate { order: Order::Chain, .. }));
    kernel.stages.iter().filter(product).any(|s| s.body.iter().any(conditional))
}

fn dot(graph: &Graph, v: ValueId) -> Option<&DotGeneral> {
    match &graph.node(v).op {
        Op::DotGeneral(dot) => Some(dot),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::greedy;
    use fornax_ir::graph::text::parse;

    /// Softmax of the rows of `%3`, and its product with `%2`, beside what stands in `middle` (from `%5` on; the
    /// scores are `%4`) and the outputs.
    fn graph(middle: &[&str], outputs: &str) -> Graph {
        let mut text = String::from(
            "graph \"g\" {\n  %0: f32[2, 3, 37, 24] = input \"q\"\n  %1: f32[2, 3, 24, 48] = input \"k\"\n  \
             %2: f32[2, 3, 48, 16] = input \"v\"\n  %3: f32[37, 48] = input \"mask\"\n  \
             %4: f32[2, 3, 37, 48] = dot %0, %1 batch [0:0, 1:1] contract [3:2]\n",
        );
        let mut n = 4;
        for line in middle {
            n += 1;
            text.push_str(&format!("  %{n}: {line}\n"));
        }
        let big = "f32[2, 3, 37, 48]";
        let repeat = "shape [2, 3, 37, 48] axes [0, 1, 2]";
        for line in [
            format!("f32[2, 3, 37] = reduce %{n} by max axes [3]"),
            format!("{big} = broadcast %{} {repeat}", n + 1),
            format!("{big} = sub %{n}, %{}", n + 2),
            format!("{big} = exp %{}", n + 3),
            format!("f32[2, 3, 37] = reduce %{} by sum axes [3]", n + 4),
            format!("{big} = broadcast %{} {repeat}", n + 5),
            format!("{big} = div %{}, %{}", n + 4, n + 6),
            format!("f32[2, 3, 37, 16] = dot %{}, %2 batch [0:0, 1:1] contract [3:2]", n + 7),
        ] {
            n += 1;
            text.push_str(&format!("  %{n}: {line}\n"));
        }
        text.push_str(&format!("  output \"y\" %{n}\n{outputs}}}\n").replace("%P", &format!("%{}", n - 1)));
        parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    fn kernels(graph: &Graph) -> usize {
        let cache = Cache::new(graph);
        let plan = greedy::plan_with(graph, &cache);
        let plan = join(graph, &cache, plan);
        plan.verify(graph).unwrap();
        plan.groups.len()
    }

    #[test]
    fn products_around_rows_are_one_kernel_unless_something_else_reads_what_is_between_them() {
        let masked = [
            "f32[2, 3, 37, 48] = broadcast %3 shape [2, 3, 37, 48] axes [2, 3]",
            "f32[2, 3, 37, 48] = add %4, %5",
        ];
        let causal = [
            "i64[37, 48] = iota shape [37, 48] axis 0",
            "i64[37, 48] = iota shape [37, 48] axis 1",
            "bool[37, 48] = ge %5, %6",
            "bool[2, 3, 37, 48] = broadcast %7 shape [2, 3, 37, 48] axes [2, 3]",
            "f32[2, 3, 37, 48] = iota shape [2, 3, 37, 48] axis 3",
            "f32[2, 3, 37, 48] = select %8, %4, %9",
        ];
        for (middle, outputs, want) in [
            (&[][..], "", 1),
            (&masked, "", 1),
            (&causal, "", 1),
            (&[], "  output \"scores\" %4\n", 3),
            (&[], "  output \"weights\" %P\n", 3),
        ] {
            assert_eq!(kernels(&graph(middle, outputs)), want, "{middle:?} {outputs}");
        }
    }
}
