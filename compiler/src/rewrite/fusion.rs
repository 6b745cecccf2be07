//! Fusion as a search over load or inline: from the greedy plan on, moves that make kernels cheaper.
//!
//! - *Split*: a value that a kernel computes on its way is stored, and what follows loads it. Pays where
//!   the rest does not suit the loops of the first part, as an expensive epilogue does not suit tiles
//!   that leave many points over.
//! - *Join*: a stored value is computed by all kernels that load it. Pays where that is cheaper than
//!   memory. A product is joined where each point accumulates elements of it that no other does.
//! - *Merge*: two kernels over the same elements, of which one loads what the other stores or both load
//!   the same tensor, become one that stores what both do. Pays by one start and one reading less.
//!
//! A kernel's cost depends on nothing but its group, so a move costs what the kernels it makes do, less
//! those it replaces. `schedule::lower` says what a kernel can be. Moves are tried in the order of the
//! values, until a round brings nothing or the fuel is spent.

use super::cost::Profile;
use crate::plan::{Group, Plan, several_products, storage};
use crate::schedule::Cache;
use fornax_ir::graph::ops::OpClass;
use fornax_ir::graph::{Graph, Op, ValueId};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::{BTreeMap, BTreeSet};

/// Kernels that are lowered for each kernel of the plan, at most.
const FUEL: usize = 6;
/// Rounds over all kernels.
const ROUNDS: usize = 2;
/// A move must save this part of what it replaces, and so many nanoseconds.
const MARGIN: (f64, f64) = (0.1, 300.0);
/// Places at which one kernel is split for trial, at most.
const MAX_SPLITS: usize = 4;
/// Kernels that a joined value may be repeated in, at most.
const MAX_JOINS: usize = 4;
/// Partners that a kernel is merged with for trial, at most.
const MAX_PARTNERS: usize = 3;
/// Kernels before and after a kernel that are looked at as its partners for each tensor, at most: a tensor that a
/// whole deep model reads has users in every layer.
const MAX_NEAR: usize = 8;
/// Tensors that one kernel stores, at most.
const MAX_STORES: usize = 4;

/// A kernel of the plan in the making.
struct Kernel {
    group: Group,
    cost: f64,
    /// Tensors it loads.
    loads: Vec<ValueId>,
}

/// What a search did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moves {
    /// Kernels that were split.
    pub splits: usize,
    /// Values that are computed where they were loaded.
    pub joins: usize,
    /// Pairs of kernels that became one that stores what both do.
    pub merges: usize,
    /// Kernels that were lowered for trial.
    pub tried: usize,
}

struct Search<'g> {
    graph: &'g Graph,
    cache: &'g Cache,
    profile: &'g Profile,
    inlinable: &'g dyn Fn(ValueId) -> bool,
    kernels: Vec<Option<Kernel>>,
    /// The kernel that stores a value.
    maker: FxHashMap<ValueId, usize>,
    /// The kernels that load a value, by their roots.
    users: FxHashMap<ValueId, BTreeSet<(ValueId, usize)>>,
    outputs: FxHashSet<ValueId>,
    /// From the first to the last value of kernels that store several, also of those that are no more: spans that
    /// overlap are one, by their first value.
    spans: BTreeMap<ValueId, ValueId>,
    moves: Moves,
    fuel: usize,
}

/// Improves a plan.
pub fn improve(
    graph: &Graph,
    cache: &Cache,
    mut plan: Plan,
    profile: &Profile,
    inlinable: &dyn Fn(ValueId) -> bool,
) -> (Plan, Moves) {
    let greedy = plan.clone();
    let mut search = Search::new(graph, cache, profile, inlinable);
    search.fuel = plan.groups.len() * FUEL;
    let (mut rest, mut copies) = (vec![], vec![]);
    for group in std::mem::take(&mut plan.groups) {
        if group.copy_to.is_some() {
            copies.push(group);
        } else if let Some(kernel) = search.kernel(group.clone()) {
            search.insert(kernel);
        } else {
            rest.push(group);
        }
    }
    for _ in 0..ROUNDS {
        let before = search.moves;
        search.round();
        let kept = |m: Moves| (m.splits, m.joins, m.merges);
        if kept(before) == kept(search.moves) {
            break;
        }
    }
    let kept = search.kernels.into_iter().flatten().map(|k| k.group);
    let mut plan = Plan { groups: kept.chain(rest).collect(), ..plan };
    plan.groups.extend(copies);
    if let Err(v) = plan.sort(graph) {
        tracing::error!("fusion made a cycle of kernels at {v}; the greedy plan is used; please report this");
        return (greedy, Moves::default());
    }
    (plan, search.moves)
}

impl<'g> Search<'g> {
    /// A search over no kernels yet, without fuel.
    fn new(
        graph: &'g Graph,
        cache: &'g Cache,
        profile: &'g Profile,
        inlinable: &'g dyn Fn(ValueId) -> bool,
    ) -> Self {
        Search {
            graph,
            cache,
            profile,
            inlinable,
            kernels: vec![],
            maker: FxHashMap::default(),
            users: FxHashMap::default(),
            outputs: graph.outputs.iter().map(|o| storage(graph, o.value)).collect(),
            spans: BTreeMap::new(),
            moves: Moves::default(),
            fuel: 0,
        }
    }

    fn op(&self, v: ValueId) -> &Op {
        &self.graph.node(v).op
    }

    fn kernel(&self, group: Group) -> Option<Kernel> {
        let loads = group.loads(self.graph);
        let cost = self.profile.group(self.graph, self.cache, &group).ok()?;
        let loads = loads.into_iter().filter(|v| !matches!(self.op(*v), Op::Const(_))).collect();
        Some(Kernel { group, cost, loads })
    }

    /// As [`Search::kernel`], for trial.
    fn trial(&mut self, group: Group) -> Option<Kernel> {
        self.fuel = self.fuel.checked_sub(1)?;
        self.moves.tried += 1;
        self.kernel(group)
    }

    fn insert(&mut self, kernel: Kernel) {
        let k = self.kernels.len();
        if !kernel.group.also.is_empty() {
            self.span(kernel.group.stored().min().unwrap_or(kernel.group.root), kernel.group.root);
        }
        kernel.group.stored().for_each(|v| {
            self.maker.insert(v, k);
        });
        for &v in &kernel.loads {
            self.users.entry(v).or_default().insert((kernel.group.root, k));
        }
        self.kernels.push(Some(kernel));
    }

    fn remove(&mut self, k: usize) {
        let Some(kernel) = self.kernels[k].take() else { return };
        for v in kernel.group.stored() {
            if self.maker.get(&v) == Some(&k) {
                self.maker.remove(&v);
            }
        }
        for v in &kernel.loads {
            if let Some(users) = self.users.get_mut(v) {
                users.remove(&(kernel.group.root, k));
            }
        }
    }

    fn round(&mut self) {
        let mut order: Vec<(ValueId, usize)> = self.maker.iter().map(|(v, k)| (*v, *k)).collect();
        order.sort();
        for (root, k) in order {
            if self.maker.get(&root) == Some(&k) && !self.join(root, k) && !self.merge(k) {
                self.split(k);
            }
        }
    }

    fn pays(before: f64, after: f64) -> bool {
        before - after > (before * MARGIN.0).max(MARGIN.1)
    }

    /// Computes a stored value in all kernels that load it.
    fn join(&mut self, v: ValueId, k: usize) -> bool {
        let Some(kernel) = &self.kernels[k] else { return false };
        let own = kernel.group.clone();
        let contraction = |v: &ValueId| self.op(*v).class() == OpClass::Contraction;
        let contracted = own.members.iter().chain([&v]).copied().find(|v| contraction(v));
        let simple = own.also.is_empty() && own.locals.is_empty();
        let in_parts = |v: &ValueId| matches!(self.op(*v), Op::Pad(_) | Op::Concat(_));
        let parts = own.members.iter().chain([&v]).any(in_parts);
        let panels = matches!(self.op(v), Op::Pack(_));
        if self.outputs.contains(&v) || panels || !simple || !(self.inlinable)(v) {
            return false;
        }
        let mut users: Vec<usize> = match self.users.get(&v) {
            Some(users) if users.len() <= MAX_JOINS => users.iter().map(|u| u.1).collect(),
            _ => return false,
        };
        users.sort();
        if users.is_empty() || (contracted.is_some() && users.len() > 1) {
            return false;
        }
        let mut before = kernel.cost;
        let mut made = vec![];
        for &u in &users {
            let Some(user) = &self.kernels[u] else { return false };
            before += user.cost;
            let mut group = user.group.clone();
            group.members.insert(v);
            group.members.extend(own.members.iter().copied());
            if contracted.is_some_and(|c| !several_products(self.graph, self.cache, c, &group)) {
                return false;
            }
            // Masks would stand in the innermost loop.
            let anchored = |v: &ValueId| matches!(self.op(*v), Op::Conv(_) | Op::DotGeneral(_));
            if parts && user.group.members.iter().chain([&user.group.root]).any(anchored) {
                return false;
            }
            let Some(new) = self.trial(group) else { return false };
            made.push(new);
        }
        let after: f64 = made.iter().map(|m| m.cost).sum();
        // What follows a product of a few elements a point is small beside it: a start less is a gain for certain.
        let gains = Self::pays(before, after) || (contracted.is_some() && before - after > MARGIN.1);
        if !gains {
            return false;
        }
        self.remove(k);
        users.iter().for_each(|&u| self.remove(u));
        made.into_iter().for_each(|m| self.insert(m));
        self.moves.joins += 1;
        true
    }

    /// Makes a kernel and one that loads what it stores, or loads what it loads, one.
    fn merge(&mut self, k: usize) -> bool {
        let Some(kernel) = &self.kernels[k] else { return false };
        let (group, cost) = (kernel.group.clone(), kernel.cost);
        if group.stored().count() >= MAX_STORES {
            return false;
        }
        for u in self.partners(k) {
            let Some(other) = &self.kernels[u] else { continue };
            let before = cost + other.cost;
            let ways = [group.merged(&other.group), group.merged_in_rows(&other.group, self.graph)];
            if self.feeds_around(k, u) || self.feeds_around(u, k) {
                continue;
            }
            let Some(new) = ways.into_iter().flatten().find_map(|both| self.trial(both)) else { continue };
            if Self::pays(before, new.cost) {
                self.remove(k);
                self.remove(u);
                self.insert(new);
                self.moves.merges += 1;
                return true;
            }
        }
        false
    }

    /// Kernels over as many elements that load what a kernel stores, then those that load what it loads.
    fn partners(&self, k: usize) -> Vec<usize> {
        let Some(kernel) = &self.kernels[k] else { return vec![] };
        let elements = |g: &Group| self.graph.ty(g.root).elements();
        let size = elements(&kernel.group);
        let mut found: Vec<usize> = vec![];
        let near = kernel.group.stored().chain(kernel.loads.iter().copied());
        for v in near.collect::<Vec<_>>() {
            let Some(users) = self.users.get(&v) else { continue };
            let own = (kernel.group.root, k);
            let before = users.range(..own).rev().take(MAX_NEAR);
            let mut near: Vec<usize> =
                before.chain(users.range(own..).take(MAX_NEAR + 1)).map(|u| u.1).collect();
            near.sort();
            for u in near {
                let Some(other) = &self.kernels[u] else { continue };
                let few = other.group.stored().count() < MAX_STORES;
                if u != k && few && !found.contains(&u) && elements(&other.group) == size {
                    found.push(u);
                }
            }
        }
        found.truncate(MAX_PARTNERS);
        found
    }

    /// Whether what `from` stores reaches `to` through a third kernel.
    fn feeds_around(&self, from: usize, to: usize) -> bool {
        let Some(target) = &self.kernels[to] else { return false };
        let bound = self.bound(target.group.root);
        let mut seen = FxHashSet::default();
        let mut open: Vec<usize> = self.direct_users(from).filter(|&u| u != to).collect();
        while let Some(k) = open.pop() {
            if k == to {
                return true;
            }
            let Some(kernel) = &self.kernels[k] else { continue };
            let first = kernel.group.stored().min();
            if first.is_some_and(|v| v < bound) && seen.insert(k) {
                open.extend(self.direct_users(k));
            }
        }
        false
    }

    /// A value such that no kernel all of whose values come later leads to a kernel with root `last`: what a
    /// kernel loads comes before its root, and a kernel that stores several values may lead to the first of
    /// them by what it loads for the last.
    fn bound(&self, last: ValueId) -> ValueId {
        let reached = self.spans.range(..last).next_back();
        reached.map_or(last, |(_, &end)| end.max(last))
    }
    /// Adds a span to [`Search::spans`].
    fn span(&mut self, first: ValueId, last: ValueId) {
        let (mut first, mut last) = (first, last);
        // Those that begin before its end, latest first, until one ends before its start.
        while let Some((&start, &end)) = self.spans.range(..last).next_back()
            && end > first
        {
            self.spans.remove(&start);
            (first, last) = (first.min(start), last.max(end));
        }
        self.spans.insert(first, last);
    }

    fn direct_users(&self, k: usize) -> impl Iterator<Item = usize> + '_ {
        let stored = self.kernels[k].iter().flat_map(|kernel| kernel.group.stored());
        stored.flat_map(|v| self.users.get(&v).into_iter().flatten().map(|u| u.1))
    }

    /// Stores a value that a kernel computes on its way, where that is cheapest.
    fn split(&mut self, k: usize) {
        let Some(kernel) = &self.kernels[k] else { return };
        let (group, before) = (kernel.group.clone(), kernel.cost);
        if group.members.is_empty() || !group.locals.is_empty() || !group.also.is_empty() {
            return;
        }
        let mut best: Option<(f64, Kernel, Kernel)> = None;
        for at in self.places(&group) {
            let (first, second) = self.cut(&group, at);
            let (Some(first), Some(second)) = (self.trial(first), self.trial(second)) else { continue };
            let cost = first.cost + second.cost;
            if best.as_ref().is_none_or(|b| cost < b.0) {
                best = Some((cost, first, second));
            }
        }
        if let Some((cost, first, second)) = best
            && Self::pays(before, cost)
        {
            self.remove(k);
            self.insert(first);
            self.insert(second);
            self.moves.splits += 1;
        }
    }

    /// Values of a kernel at which it may be split: what follows its contraction, nearest first, and
    /// the stored operand of its last reduction.
    fn places(&self, group: &Group) -> Vec<ValueId> {
        let elements = self.graph.ty(group.root).elements();
        let mut members: Vec<ValueId> = group.members.iter().copied().collect();
        members.sort();
        let anchor = members.iter().rposition(|&m| self.op(m).class() == OpClass::Contraction);
        let Some(anchor) = anchor else { return vec![] };
        // A convolution that a permutation stores in its own order is cut behind that.
        let permuted = |c: ValueId| {
            let reads =
                |m: &&ValueId| matches!(self.op(**m), Op::Permute(_)) && self.graph.node(**m).inputs[0] == c;
            members.iter().chain([&group.root]).any(|m| reads(&m))
        };
        let computes = |v: ValueId| match self.op(v) {
            Op::Conv(_) => !permuted(v),
            Op::Permute(_) => matches!(self.op(self.graph.node(v).inputs[0]), Op::Conv(_)),
            op => matches!(op.class(), OpClass::Elementwise | OpClass::Contraction),
        };
        let after = members[anchor..].iter().copied();
        let fits = after.filter(|&v| computes(v) && self.graph.ty(v).elements() == elements);
        fits.take(MAX_SPLITS).collect()
    }

    /// The kernel that stores `at`, and the one that goes on from there.
    fn cut(&self, group: &Group, at: ValueId) -> (Group, Group) {
        let mut first = Group::new(at);
        let mut open = vec![at];
        while let Some(v) = open.pop() {
            for &i in &self.graph.node(v).inputs {
                let s = storage(self.graph, i);
                if group.members.contains(&s) && first.members.insert(s) {
                    open.push(s);
                }
            }
        }
        let mut second = Group::new(group.root);
        let mut open = vec![group.root];
        while let Some(v) = open.pop() {
            for &i in &self.graph.node(v).inputs {
                let s = storage(self.graph, i);
                if s != at && group.members.contains(&s) && second.members.insert(s) {
                    open.push(s);
                }
            }
        }
        (first, second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::greedy;
    use fornax_ir::graph::text::parse;

    /// The moves on a graph, and the kernels before and after.
    fn moves(text: &str) -> (Moves, usize, usize) {
        let graph = parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let cache = Cache::new(&graph);
        let plan = greedy::plan_with(&graph, &cache);
        let before = plan.groups.len();
        let (plan, moves) = improve(&graph, &cache, plan, &Profile::default(), &|_| true);
        plan.verify(&graph).unwrap();
        (moves, before, plan.groups.len())
    }

    #[test]
    fn a_long_epilogue_behind_borders_is_split_off_and_a_short_one_is_not() {
        let conv = |epilogue: &str| {
            format!(
                "graph \"conv\" {{\n  %0: f32[1, 32, 40] = input \"x\"\n  %1: f32[32, 32, 3] = input \"w\"\n  \
                 %2: f32[1, 32, 40] = conv %0, %1 strides [1] pads [16:16] dilations [16] groups 1\n  \
                 %3: f32[1, 32, 40] = {epilogue} %2\n  output \"y\" %3\n}}\n"
            )
        };
        let (long, before, after) = moves(&conv("erf"));
        assert_eq!((long.splits, before, after), (1, 1, 2));
        let (short, before, after) = moves(&conv("neg"));
        assert_eq!((short.splits, before, after), (0, 1, 1));
    }

    #[test]
    fn a_recurrent_step_is_one_kernel_with_the_product_of_its_gates() {
        let step = |rows: &str, gates: i64| {
            let mut lines = vec![
                format!("%0: f32[{rows}, 256] = input \"h\""),
                format!("%1: f32[{rows}, {}] = input \"x\"", 256 * gates),
                format!("%2: f32[256, {}] = input \"w\"", 256 * gates),
                format!("%3: f32[{rows}, {}] = dot %0, %2 batch [] contract [1:0]", 256 * gates),
                format!("%4: f32[{rows}, {}] = add %3, %1", 256 * gates),
            ];
            for g in 0..gates {
                let slice = format!("slice %4 start [0, {}] size [{rows}, 256] step [1, 1]", 256 * g);
                lines.push(format!("%{}: f32[{rows}, 256] = {slice}", lines.len()));
                lines.push(format!("%{}: f32[{rows}, 256] = tanh %{}", lines.len(), lines.len() - 1));
                if g > 0 {
                    let (a, b) = (lines.len() - 1, lines.len() - 3 - usize::from(g > 1));
                    lines.push(format!("%{}: f32[{rows}, 256] = mul %{a}, %{b}", lines.len()));
                }
            }
            let last = lines.len() - 1;
            format!("graph \"step\" {{\n  {}\n  output \"y\" %{last}\n}}\n", lines.join("\n  "))
        };
        for (rows, gates, kernels) in [("1", 4, 1), ("1", 3, 1), ("n", 2, 1), ("1", 5, 2)] {
            let (_, _, after) = moves(&step(rows, gates));
            assert_eq!(after, kernels, "{rows} rows, {gates} gates");
        }
    }

    #[test]
    fn spans_that_overlap_are_one_and_bound_what_reaches_into_them() {
        let graph = parse("graph \"g\" {\n  %0: f32[2] = input \"x\"\n  output \"y\" %0\n}\n").unwrap();
        let (cache, profile) = (Cache::new(&graph), Profile::default());
        let mut search = Search::new(&graph, &cache, &profile, &|_| true);
        let v = ValueId;
        for (first, last) in [(2, 5), (10, 12), (4, 7), (20, 30), (11, 21)] {
            search.span(v(first), v(last));
        }
        let spans: Vec<_> = search.spans.iter().map(|(a, b)| (a.index(), b.index())).collect();
        assert_eq!(spans, [(2, 7), (10, 30)]);
        // Before a span, at its start, inside, at its end, between two, behind all.
        for (last, bound) in [(1, 1), (2, 2), (3, 7), (7, 7), (9, 9), (11, 30), (40, 40)] {
            assert_eq!(search.bound(v(last)).index(), bound, "{last}");
        }
    }

    #[test]
    fn the_mean_of_rows_and_their_variance_read_them_once() {
        let text = "graph \"s\" {\n  %0: f32[640, 1000] = input \"x\"\n  %1: f32[640] = reduce %0 by sum axes [1]\n  \
                    %2: f32[640, 1000] = broadcast %1 shape [640, 1000] axes [0]\n  %3: f32[640, 1000] = sub %0, %2\n  \
                    %4: f32[640, 1000] = mul %3, %3\n  %5: f32[640] = reduce %4 by sum axes [1]\n  \
                    output \"a\" %1\n  output \"b\" %5\n}\n";
        let (m, before, after) = moves(text);
        assert_eq!((m.merges, before, after), (1, 2, 1));
    }

    #[test]
    fn siblings_of_one_tensor_become_one_kernel_unless_one_needs_the_other() {
        let siblings = "graph \"s\" {\n  %0: f32[64, 100] = input \"x\"\n  %1: f32[64] = reduce %0 by sum axes [1]\n  \
                        %2: f32[64] = reduce %0 by max axes [1]\n  output \"a\" %1\n  output \"b\" %2\n}\n";
        let (m, before, after) = moves(siblings);
        assert_eq!((m.merges, before, after), (1, 2, 1));
        // The second needs the first through a product, which is a kernel of its own.
        let around = "graph \"s\" {\n  %0: f32[64, 64] = input \"x\"\n  %1: f32[64, 64] = exp %0\n  \
                      %2: f32[64, 64] = dot %1, %1 batch [] contract [1:0]\n  %3: f32[64, 64] = dot %2, %2 batch [] contract [1:0]\n  \
                      %4: f32[64, 64] = add %3, %1\n  output \"a\" %1\n  output \"b\" %4\n}\n";
        let (_, before, after) = moves(around);
        assert_eq!((before, after), (3, 3));
    }
}
