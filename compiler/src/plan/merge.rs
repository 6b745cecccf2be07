//! Kernels that store several tensors: two groups as one, and the order of what results.

use super::{Group, Plan, is_stored, storage};
use crate::schedule::lower;
use fornax_ir::graph::{Graph, ValueId};
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
        let mut needs = vec![0usize; self.groups.len()];
        let mut users: Vec<Vec<usize>> = vec![vec![]; self.groups.len()];
        for (k, g) in self.groups.iter().enumerate() {
            for s in g.loads(graph).iter().filter_map(|v| stores.get(v)) {
                needs[k] += 1;
                users[*s].push(k);
            }
        }
        let key = |k: usize| {
            let g: &Group = &self.groups[k];
            Reverse((g.copy_to, g.root, k))
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
        if let Some(k) = (0..needs.len()).find(|&k| needs[k] > 0) {
            return Err(self.groups[k].root);
        }
        let mut groups: Vec<Option<Group>> = std::mem::take(&mut self.groups).into_iter().map(Some).collect();
        self.groups = order.into_iter().filter_map(|k| groups[k].take()).collect();
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
        lower(graph, &group).map_err(|refuse| refuse.0)?;
        let mut plan = self.clone();
        plan.groups[a.min(b)] = group;
        plan.groups.remove(a.max(b));
        plan.sort(graph).map_err(|_| "a third kernel needs the one and is needed by the other")?;
        Ok(plan)
    }

    /// Checks that each tensor is stored once, and before it is loaded.
    ///
    /// # Errors
    /// The first tensor for which that does not hold, and what is wrong.
    pub fn verify(&self, graph: &Graph) -> Result<(), (ValueId, &'static str)> {
        let mut stored = vec![false; graph.nodes.len()];
        let leaf = |v: ValueId| graph.node(v).inputs.is_empty() && !is_stored(graph, v);
        for g in &self.groups {
            let missing = |v: &&ValueId| !stored[v.index()] && !is_stored(graph, **v) && !leaf(**v);
            if let Some(v) = g.loads(graph).iter().find(missing) {
                return Err((*v, "is loaded before it is stored"));
            }
            for v in g.stored() {
                if std::mem::replace(&mut stored[v.index()], true) {
                    return Err((v, "is stored twice"));
                }
            }
        }
        let output = |v: ValueId| storage(graph, v);
        let absent = |v: &ValueId| !stored[v.index()] && !is_stored(graph, *v);
        match graph.outputs.iter().map(|o| output(o.value)).find(absent) {
            Some(v) => Err((v, "is an output and never stored")),
            None => Ok(()),
        }
    }
}
