//! Control flow: the steps of `Cond`, `While` and `Scan`.
//!
//! A loop copies nothing: what it carries is read where one variable points to and written where
//! another does (see [`Carried`]); what a scan walks is read, and what it stacks written, as slices of
//! the whole. A carried value that the body hands on as it is stays where it was.

use super::{Assembler, Scope, internal};
use crate::Error;
use crate::plan::{producer, storage};
use fornax_codegen::program::{Carried, Place, Slice, Step};
use fornax_ir::graph::ops::{Cond, Scan, While};
use fornax_ir::graph::{Graph, Op, RegionId, TensorType, ValueId};

/// What a loop carries.
struct State {
    carried: Vec<Carried>,
    /// Where an iteration reads each value; after the loop, where the result is.
    now: Vec<Place>,
    /// Where it writes each value; `None` for what never changes.
    next: Vec<Option<Place>>,
    /// The slots it all lives in.
    slots: Vec<u32>,
}

impl Assembler<'_> {
    /// Makes the steps of a region operator, if that has not happened, and before it those of the
    /// operators whose results it takes.
    pub(super) fn demand(
        &mut self,
        scope: &mut Scope<'_>,
        v: ValueId,
        steps: &mut Vec<Step>,
    ) -> Result<(), Error> {
        let mut stack = vec![v];
        while let Some(&top) = stack.last() {
            let graph = scope.graph;
            let before = stack.len();
            if !scope.done.contains(&top) {
                let operands = graph.node(top).inputs.iter().map(|&i| storage(graph, i));
                let waits = operands.filter_map(|o| producer(graph, o)).filter(|p| !scope.done.contains(p));
                stack.extend(waits);
                if stack.len() > before {
                    continue;
                }
                let step = self.region_operator(scope, top)?;
                steps.push(step);
                scope.done.insert(top);
            }
            stack.pop();
        }
        Ok(())
    }

    fn region_operator(&mut self, scope: &mut Scope<'_>, v: ValueId) -> Result<Step, Error> {
        let graph = scope.graph;
        let node = graph.node(v);
        let mut operands = Vec::with_capacity(node.inputs.len());
        for &i in &node.inputs {
            operands.push(self.place(scope, storage(graph, i))?);
        }
        let types = node.op.results(&graph.regions);
        match &node.op {
            Op::Cond(c) => self.cond(scope, v, c, &operands, &types),
            Op::While(w) => self.while_loop(scope, v, w, &operands),
            Op::Scan(s) => self.scan(scope, v, s, &operands, &types),
            op => Err(internal("assemble", format!("{v} is {}, which has no regions", op.name()))),
        }
    }

    /// Where a result goes: to an output, or to a slot that is added to `fresh`.
    fn result(
        &mut self,
        scope: &mut Scope<'_>,
        key: (ValueId, u32),
        ty: &TensorType,
        fresh: &mut Vec<u32>,
    ) -> Place {
        *scope.results.entry(key).or_insert_with(|| {
            let slot = self.memory.slot(ty.bytes());
            fresh.push(slot);
            Place::Slot(slot)
        })
    }

    /// The steps of a region between those places.
    fn inner(
        &mut self,
        scope: &Scope<'_>,
        region: RegionId,
        inputs: Vec<Place>,
        outputs: Vec<Option<Place>>,
    ) -> Result<Vec<Step>, Error> {
        let graph = &scope.graph.regions[region.index()];
        let missing = || internal("plan", format!("region {region} of {} has no plan", scope.graph.name));
        let plan = scope.plan.regions.get(region.index()).ok_or_else(missing)?;
        let mut path = scope.path.clone();
        path.push(region);
        self.block(Scope::new(graph, plan, path, inputs, outputs))
    }

    fn behind(&self, places: &[Place]) -> Vec<u32> {
        places.iter().flat_map(|p| self.memory.behind(*p, &self.program.slices)).collect()
    }

    fn cond(
        &mut self,
        scope: &mut Scope<'_>,
        v: ValueId,
        op: &Cond,
        operands: &[Place],
        types: &[TensorType],
    ) -> Result<Step, Error> {
        let (pred, captured) = (operands[0], &operands[1..]);
        let mut fresh = vec![];
        let results: Vec<Place> =
            types.iter().zip(0..).map(|(ty, k)| self.result(scope, (v, k), ty, &mut fresh)).collect();
        // Both branches write the results: they exist from here on, and until behind both.
        self.memory.note(self.behind(&[pred]), fresh, vec![]);
        let outputs: Vec<_> = results.iter().copied().map(Some).collect();
        let then = self.inner(scope, op.then, captured.to_vec(), outputs.clone())?;
        let otherwise = self.inner(scope, op.otherwise, captured.to_vec(), outputs)?;
        self.memory.note(self.behind(&results), vec![], vec![]);
        Ok(Step::Cond { pred, then, otherwise })
    }

    /// The variables and buffers of what a loop carries.
    fn state(&mut self, body: &Graph, first: &[Place]) -> State {
        let mut state = State { carried: vec![], now: vec![], next: vec![], slots: self.behind(first) };
        for ((&first, input), output) in first.iter().zip(&body.inputs).zip(&body.outputs) {
            if storage(body, output.value) == input.value {
                state.now.push(first);
                state.next.push(None);
                continue;
            }
            let buffers = [(); 2].map(|()| self.memory.slot(input.ty.bytes()));
            state.slots.extend(buffers);
            let mut all = self.behind(&[first]);
            all.extend(buffers);
            let (now, next) = (self.memory.variable(all), self.memory.variable(buffers.to_vec()));
            state.carried.push(Carried { now, next, first, buffers });
            state.now.push(Place::Variable(now));
            state.next.push(Some(Place::Variable(next)));
        }
        state
    }

    fn while_loop(
        &mut self,
        scope: &mut Scope<'_>,
        v: ValueId,
        op: &While,
        operands: &[Place],
    ) -> Result<Step, Error> {
        let (first, captured) = operands.split_at(op.carried as usize);
        let body = &scope.graph.regions[op.body.index()];
        let mut state = self.state(body, first);
        let pred = self.memory.slot(1.into());
        let mut fresh: Vec<u32> = state.carried.iter().flat_map(|c| c.buffers).collect();
        fresh.push(pred);
        state.slots.push(pred);
        self.memory.note(self.behind(first), fresh, vec![]);
        let start = self.memory.start_loop();
        let inputs = [&state.now, captured].concat();
        let pred = Place::Slot(pred);
        let cond = self.inner(scope, op.cond, inputs.clone(), vec![Some(pred)])?;
        let body = self.inner(scope, op.body, inputs, state.next.clone())?;
        self.memory.end_loop(&start, state.slots);
        set_carried(scope, v, state.now)?;
        Ok(Step::While { cond, pred, body, carried: state.carried })
    }

    fn scan(
        &mut self,
        scope: &mut Scope<'_>,
        v: ValueId,
        op: &Scan,
        operands: &[Place],
        types: &[TensorType],
    ) -> Result<Step, Error> {
        let (first, rest) = operands.split_at(op.carried as usize);
        let (xs, captured) = rest.split_at(op.xs as usize);
        let body = &scope.graph.regions[op.body.index()];
        let mut state = self.state(body, first);
        let mut fresh: Vec<u32> = state.carried.iter().flat_map(|c| c.buffers).collect();
        let mut ys = vec![];
        for (ty, k) in types.iter().zip(0..).skip(first.len()) {
            ys.push(self.result(scope, (v, k), ty, &mut fresh));
        }
        state.slots.extend(self.behind(&ys));
        self.memory.note(self.behind(first), fresh, vec![]);
        let start = self.memory.start_loop();
        let counter = self.program.counters;
        self.program.counters += 1;
        let mut slice = |of: Place, element: &TensorType| {
            self.program.slices.push(Slice { of, counter, stride: element.bytes() });
            Place::Slice(self.program.slices.len() as u32 - 1)
        };
        let mut inputs = state.now.clone();
        inputs.extend(xs.iter().zip(&body.inputs[first.len()..]).map(|(x, i)| slice(*x, &i.ty)));
        let mut outputs = state.next.clone();
        let elements = &body.outputs[first.len()..];
        outputs.extend(ys.iter().zip(elements).map(|(y, o)| Some(slice(*y, body.ty(o.value)))));
        inputs.extend(captured);
        let body = self.inner(scope, op.body, inputs, outputs)?;
        self.memory.end_loop(&start, state.slots);
        set_carried(scope, v, state.now)?;
        let (length, reverse) = (op.length.clone(), op.reverse);
        Ok(Step::Scan { length, reverse, counter, body, carried: state.carried })
    }
}

/// Tells where the first results of a loop are. The loop chooses that: an output must be a copy.
fn set_carried(scope: &mut Scope<'_>, v: ValueId, places: Vec<Place>) -> Result<(), Error> {
    for (place, k) in places.into_iter().zip(0..) {
        if scope.results.insert((v, k), place).is_some() {
            let what =
                format!("result {k} of {v} ({}) is an output, but not copied there", scope.graph.loc(v));
            return Err(internal("plan", what));
        }
    }
    Ok(())
}
