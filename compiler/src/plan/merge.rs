//! Kernels that store several tensors: two groups as one, and the order of what results.

use super::{Group, Plan, is_stored, producer, storage};
use crate::Machine;
use crate::schedule::lower;
use fornax_ir::graph::ops::{Sort, Sorted};
use fornax_ir::graph::{Graph, Op, ValueId};
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

impl Group {
    /// The group that stores what both store: of a producer and its consumer, or of two siblings. Its
    /// root is the later one of the two. `None` where their rows differ, or one is a copy.
    /// [`crate::schedule::lower`] tells whether the result is a kernel.
    pub fn merged(&self, other: &Group) -> Option<Group> {
        let (first, last) = if self.root < other.root { (self, other) } else { (other, self) };
        if first.copy_to.is_some() || last.copy_to.is_some() {
            return None;
        }
        let mut group = last.clone();
        if !first.locals.is_empty() {
            if !last.locals.is_empty() && last.outer != first.outer {
                return None;
            }
            group.outer = first.outer;
        }
        group.members.extend(&first.members);
        group.locals.extend(first.locals.iter().filter(|v| !last.locals.contains(v)));
        group.locals.sort();
        group.members.retain(|v| !group.locals.contains(v));
        group.also.extend(first.stored());
        group.also.sort();
        group.also.dedup();
        Some(group)
    }

    /// As [`Group::merged`] for a first kernel that reduces the rows of the second, whether that loads the results or the
    /// same rows: it becomes a stage of each row, which is then read from memory once. `None` where the rows differ.
    pub fn merged_in_rows(&self, other: &Group, graph: &Graph) -> Option<Group> {
        let (first, last) = if self.root < other.root { (self, other) } else { (other, self) };
        let reduces = |v: &ValueId| matches!(graph.node(*v).op, Op::Reduce(_));
        let outer = graph.ty(first.root).rank();
        let same_rows = |g: &Group| g.locals.is_empty() || g.outer == outer;
        if first.copy_to.is_some()
            || last.copy_to.is_some()
            || !first.also.is_empty()
            || !first.members.iter().chain([&first.root]).any(reduces)
            || !(same_rows(first) && same_rows(last))
        {
            return None;
        }
        let mut group = Group { outer, ..last.clone() };
        group.members.extend(&first.members);
        group.locals.extend(first.locals.iter().filter(|v| !last.locals.contains(v)));
        group.locals.push(first.root);
        group.locals.sort();
        group.members.retain(|v| !group.locals.contains(v));
        group.also.push(first.root);
        group.also.sort();
        Some(group)
    }

    /// The materialised tensors that the group's values have as operands, ascending, each once.
    pub fn loads(&self, graph: &Graph) -> Vec<ValueId> {
        if self.copy_to.is_some() {
            return vec![self.root];
        }
        let mut loads: Vec<ValueId> = vec![];
        let computed = self.members.iter().chain(&self.locals).chain(&self.also).chain([&self.root]);
        for &v in computed {
            let operands = graph.node(v).inputs.iter().map(|&i| storage(graph, i));
            loads.extend(operands.filter(|&s| !self.computes(s)));
        }
        loads.sort();
        loads.dedup();
        loads
    }
}

/// The tensors that a region operator reads.
fn read_by_region(graph: &Graph, v: ValueId) -> impl Iterator<Item = ValueId> + '_ {
    graph.node(v).inputs.iter().map(|&i| storage(graph, i))
}

impl Plan {
    /// Puts the groups into an order in which each tensor is stored before it is loaded; among those
    /// that could be next, the one with the smallest root is.
    ///
    /// # Errors
    /// A tensor in a cycle: two groups need each other's results.
    pub fn sort(&mut self, graph: &Graph) -> Result<(), ValueId> {
        let mut stores: FxHashMap<ValueId, usize> = FxHashMap::default();
        for (k, g) in self.groups.iter().enumerate() {
            stores.extend(g.stored().map(|v| (v, k)));
        }
        // Region operators stand between the groups, behind them in number.
        let groups = self.groups.len();
        let regions: Vec<ValueId> = graph.values().filter(|v| graph.node(*v).op.has_regions()).collect();
        stores.extend(regions.iter().enumerate().map(|(k, v)| (*v, groups + k)));
        let mut needs = vec![0usize; groups + regions.len()];
        let mut users: Vec<Vec<usize>> = vec![vec![]; needs.len()];
        let mut need = |k: usize, v: ValueId| {
            if let Some(s) = stores.get(&producer(graph, v).unwrap_or(v)) {
                needs[k] += 1;
                users[*s].push(k);
            }
        };
        for (k, g) in self.groups.iter().enumerate() {
            g.loads(graph).into_iter().for_each(|v| need(k, v));
        }
        for (k, &r) in regions.iter().enumerate() {
            read_by_region(graph, r).for_each(|v| need(groups + k, v));
        }
        let key = |k: usize| {
            let (copy, root) =
                self.groups.get(k).map_or_else(|| (None, regions[k - groups]), |g| (g.copy_to, g.root));
            Reverse((copy, root, k))
        };
        let mut ready: BinaryHeap<_> = (0..needs.len()).filter(|&k| needs[k] == 0).map(key).collect();
        let mut order = vec![];
        while let Some(Reverse((.., k))) = ready.pop() {
            order.push(k);
            for &u in &users[k] {
                needs[u] -= 1;
                if needs[u] == 0 {
                    ready.push(key(u));
                }
            }
        }
        if let Some(k) = (0..groups).find(|&k| needs[k] > 0) {
            return Err(self.groups[k].root);
        }
        let mut groups: Vec<Option<Group>> = std::mem::take(&mut self.groups).into_iter().map(Some).collect();
        self.groups = order.into_iter().filter_map(|k| groups.get_mut(k)?.take()).collect();
        Ok(())
    }

    /// The plan in which two of its kernels are one that stores what both store.
    ///
    /// # Errors
    /// Why that is no kernel, or no order of kernels.
    pub fn merge(&self, graph: &Graph, a: usize, b: usize) -> Result<Plan, &'static str> {
        let (Some(first), Some(last), false) = (self.groups.get(a), self.groups.get(b), a == b) else {
            return Err("there are no two such kernels");
        };
        let group = first.merged(last).ok_or("their rows differ, or one is a copy")?;
        lower(graph, &group, Machine::PORTABLE).map_err(|refuse| refuse.0)?;
        let mut plan = self.clone();
        plan.groups[a.min(b)] = group;
        plan.groups.remove(a.max(b));
        plan.sort(graph).map_err(|_| "a third kernel needs the one and is needed by the other")?;
        Ok(plan)
    }

    /// Makes one kernel of two that sort the same tensor in the same way, of which one stores the elements and the other
    /// their places.
    pub fn join_sorts(&mut self, graph: &Graph) {
        let mut first: FxHashMap<(ValueId, Sort), usize> = FxHashMap::default();
        let mut gone = vec![];
        for k in 0..self.groups.len() {
            let group = &self.groups[k];
            let Op::Sort(op) = &graph.node(group.root).op else { continue };
            if group.copy_to.is_some() || !group.also.is_empty() {
                continue;
            }
            let key = (graph.node(group.root).inputs[0], Sort { of: Sorted::Values, ..op.clone() });
            let Some(&j) = first.get(&key) else {
                first.insert(key, k);
                continue;
            };
            if let Some(both) = self.groups[j].merged(group) {
                self.groups[j] = both;
                gone.push(k);
            }
        }
        // Both need one tensor, and the first of them stands where that is stored.
        gone.into_iter().rev().for_each(|k| _ = self.groups.remove(k));
    }

    /// Checks that each tensor is stored once, and before it is loaded, or read by control flow whose
    /// results are loaded. Regions are not looked into.
    ///
    /// # Errors
    /// The first tensor for which that does not hold, and what is wrong.
    pub fn verify(&self, graph: &Graph) -> Result<(), (ValueId, &'static str)> {
        let mut stored = vec![false; graph.nodes.len()];
        let leaf = |v: ValueId| graph.node(v).inputs.is_empty() && !is_stored(graph, v);
        for g in &self.groups {
            for v in g.loads(graph) {
                if let Some(region) = producer(graph, v) {
                    runs(graph, &mut stored, region)?;
                } else if !stored[v.index()] && !is_stored(graph, v) && !leaf(v) {
                    return Err((v, "is loaded before it is stored"));
                }
            }
            for v in g.stored() {
                if std::mem::replace(&mut stored[v.index()], true) {
                    return Err((v, "is stored twice"));
                }
            }
        }
        let live = graph.live();
        for v in graph.values().filter(|v| live[v.index()] && graph.node(*v).op.has_regions()) {
            runs(graph, &mut stored, v)?;
        }
        let output = |v: ValueId| storage(graph, v);
        let absent = |v: &ValueId| !stored[v.index()] && !is_stored(graph, *v);
        match graph.outputs.iter().map(|o| output(o.value)).find(absent) {
            Some(v) => Err((v, "is an output and never stored")),
            None => Ok(()),
        }
    }
}

/// Checks that a region operator can run, and those before it whose results it takes; marks them.
fn runs(graph: &Graph, stored: &mut [bool], region: ValueId) -> Result<(), (ValueId, &'static str)> {
    let mut regions = vec![region];
    while let Some(r) = regions.pop() {
        if std::mem::replace(&mut stored[r.index()], true) {
            continue;
        }
        for v in read_by_region(graph, r) {
            match producer(graph, v) {
                Some(other) => regions.push(other),
                None if stored[v.index()] || is_stored(graph, v) => {}
                None => return Err((v, "is read by control flow before it is stored")),
            }
        }
    }
    Ok(())
}
