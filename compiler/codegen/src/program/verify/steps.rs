//! Invariants of control flow.

use super::super::{Carried, Place, Program, Step};
use super::{Dims, ProgramError, index};
use fornax_ir::kernel::Access;

/// What a step may name.
#[derive(Clone)]
struct Known {
    /// Variables that may be read.
    read: Vec<bool>,
    /// Variables that may be written through.
    written: Vec<bool>,
    counters: Vec<bool>,
}

/// What was named so far, wherever that was.
struct Seen {
    calls: Vec<bool>,
    variables: Vec<bool>,
    counters: Vec<bool>,
}

fn fault<T>(what: String) -> Result<T, ProgramError> {
    Err(ProgramError::Steps(what))
}

/// Marks what must be named once.
fn once(seen: &mut [bool], i: usize, what: &str) -> Result<(), ProgramError> {
    match seen.get_mut(i) {
        None => fault(format!("{what} {i} does not exist")),
        Some(true) => fault(format!("{what} {i} is used by two steps")),
        Some(seen) => {
            *seen = true;
            Ok(())
        }
    }
}

impl Program {
    /// What a slice is a part of, or the place itself.
    pub(super) fn base(&self, mut place: Place) -> Place {
        let mut end = u32::MAX;
        while let Place::Slice(n) = place
            && n < end
            && let Some(slice) = self.slices.get(n as usize)
        {
            (place, end) = (slice.of, n);
        }
        place
    }

    pub(super) fn verify_steps(&self, dims: &Dims<'_>) -> Result<(), ProgramError> {
        for (i, slice) in self.slices.iter().enumerate() {
            let place = || format!("slice {i}");
            dims.check(&slice.stride, place)?;
            index(place, "counter", slice.counter.into(), self.counters as usize)?;
            self.exists(slice.of, &format!("slice {i}"))?;
            if matches!(slice.of, Place::Slice(n) if n as usize >= i) {
                return fault(format!("slice {i} is a part of {}, which is no earlier one", slice.of));
            }
        }
        let (variables, counters) =
            (vec![false; self.variables as usize], vec![false; self.counters as usize]);
        let mut known =
            Known { read: variables.clone(), written: variables.clone(), counters: counters.clone() };
        let calls = vec![false; self.calls.len()];
        let mut seen = Seen { calls, variables, counters };
        self.verify_block(dims, &self.steps, &mut known, &mut seen)?;
        match seen.calls.iter().position(|made| !made) {
            Some(i) => fault(format!("call {i} is made by no step")),
            None => Ok(()),
        }
    }

    fn verify_block(
        &self,
        dims: &Dims<'_>,
        steps: &[Step],
        known: &mut Known,
        seen: &mut Seen,
    ) -> Result<(), ProgramError> {
        for step in steps {
            let pred = |known: &Known, pred: Place| self.usable(known, pred, false, "a condition");
            match step {
                Step::Call(i) => {
                    once(&mut seen.calls, *i, "call")?;
                    let call = &self.calls[*i];
                    let kernel = &self.kernels[call.kernel];
                    for (decl, place) in kernel.buffers.iter().zip(&call.buffers) {
                        let stores = decl.access != Access::Read;
                        self.usable(known, *place, stores, &format!("call {i} ({})", call.label))?;
                    }
                }
                Step::Cond { pred: p, then, otherwise } => {
                    pred(known, *p)?;
                    self.verify_block(dims, then, &mut known.clone(), seen)?;
                    self.verify_block(dims, otherwise, &mut known.clone(), seen)?;
                }
                Step::While { cond, pred: p, body, carried } => {
                    self.enter(known, seen, carried)?;
                    let mut inner = known.clone();
                    carried.iter().for_each(|c| inner.written[c.next as usize] = true);
                    self.verify_block(dims, cond, &mut inner, seen)?;
                    pred(&inner, *p)?;
                    self.verify_block(dims, body, &mut inner, seen)?;
                }
                Step::Scan { length, counter, body, carried, .. } => {
                    dims.check(length, || "a scan's length".to_owned())?;
                    self.enter(known, seen, carried)?;
                    once(&mut seen.counters, *counter as usize, "counter")?;
                    let mut inner = known.clone();
                    carried.iter().for_each(|c| inner.written[c.next as usize] = true);
                    inner.counters[*counter as usize] = true;
                    self.verify_block(dims, body, &mut inner, seen)?;
                }
            }
        }
        Ok(())
    }

    /// A loop's own variables and buffers; from here on what it carries may be read.
    fn enter(&self, known: &mut Known, seen: &mut Seen, carried: &[Carried]) -> Result<(), ProgramError> {
        for c in carried {
            self.usable(known, c.first, false, "a loop")?;
            for n in [c.now, c.next] {
                once(&mut seen.variables, n as usize, "variable")?;
            }
            for n in c.buffers {
                index(|| "a loop".to_owned(), "slot", n.into(), self.slots.len())?;
            }
            if c.buffers[0] == c.buffers[1] {
                return fault(format!("a loop carries a value in slot {} alone", c.buffers[0]));
            }
        }
        carried.iter().for_each(|c| known.read[c.now as usize] = true);
        Ok(())
    }

    fn exists(&self, place: Place, who: &str) -> Result<(), ProgramError> {
        let at = || who.to_owned();
        match place {
            Place::Input(n) => index(at, "input", n.into(), self.inputs.len()),
            Place::Output(n) => index(at, "output", n.into(), self.outputs.len()),
            Place::Slot(n) => index(at, "slot", n.into(), self.slots.len()),
            Place::Weights(offset) if offset > self.weights.bytes => {
                let (what, count) = ("weights byte", self.weights.bytes);
                Err(ProgramError::Index { place: at(), what, index: offset, count })
            }
            Place::Weights(_) => Ok(()),
            Place::Variable(n) => index(at, "variable", n.into(), self.variables as usize),
            Place::Slice(n) => index(at, "slice", n.into(), self.slices.len()),
        }
    }

    /// Whether a place exists where a step uses it.
    fn usable(&self, known: &Known, place: Place, stores: bool, who: &str) -> Result<(), ProgramError> {
        let mut at = place;
        self.exists(at, who)?;
        while let Place::Slice(n) = at {
            let slice = &self.slices[n as usize];
            if !known.counters[slice.counter as usize] {
                return fault(format!("{who} uses {at} outside of the scan with counter{}", slice.counter));
            }
            at = slice.of;
        }
        let Place::Variable(n) = at else { return Ok(()) };
        let (read, written) = (known.read[n as usize], known.written[n as usize]);
        match (stores, written || (read && !stores)) {
            (_, true) => Ok(()),
            (false, false) => fault(format!("{who} reads {at} before its loop")),
            (true, false) => {
                fault(format!("{who} stores to {at}, which is not the next value of a loop around"))
            }
        }
    }
}
