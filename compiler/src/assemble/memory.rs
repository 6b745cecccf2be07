//! What the arena holds while a program is made, and how it is assigned in the end.

use crate::buffers::{self, assign};
use fornax_codegen::program::{Place, Program, Slice};
use fornax_ir::Dim;
use fornax_ir::dim::Ranges;

/// Tensors of the arena, each in a slot of its own, and who reads and writes them, in the order of the
/// steps: what stands in a loop once, with marks before and behind it.
#[derive(Default)]
pub(super) struct Memory {
    bytes: Vec<Dim>,
    events: Vec<buffers::Step>,
    /// The slots that each variable may point to.
    variables: Vec<Vec<u32>>,
}

/// Where a loop begins, for [`Memory::end_loop`].
pub(super) struct LoopStart {
    slots: usize,
    events: usize,
}

impl Memory {
    /// A slot of that many bytes. It exists from the note on that writes it.
    pub(super) fn slot(&mut self, bytes: Dim) -> u32 {
        self.bytes.push(bytes);
        self.bytes.len() as u32 - 1
    }

    /// A variable that points to one of those slots.
    pub(super) fn variable(&mut self, mut slots: Vec<u32>) -> u32 {
        slots.sort_unstable();
        slots.dedup();
        self.variables.push(slots);
        self.variables.len() as u32 - 1
    }

    /// The slots that a place may be in.
    pub(super) fn behind(&self, mut place: Place, slices: &[Slice]) -> Vec<u32> {
        while let Place::Slice(n) = place {
            place = slices[n as usize].of;
        }
        match place {
            Place::Slot(s) => vec![s],
            Place::Variable(n) => self.variables[n as usize].clone(),
            _ => vec![],
        }
    }

    /// Something reads and writes slots; what it writes begins to exist here. The first one written may
    /// take over the memory of one in `in_place`, if that is not read later.
    pub(super) fn note(&mut self, reads: Vec<u32>, writes: Vec<u32>, in_place: Vec<u32>) {
        let numbers = |slots: Vec<u32>| slots.into_iter().map(|s| s as usize).collect();
        let writes = writes.into_iter().map(|s| (s as usize, self.bytes[s as usize].clone())).collect();
        self.events.push(buffers::Step { reads: numbers(reads), writes, in_place: numbers(in_place) });
    }

    /// What exists by now is kept to the loop's end if the loop reads it.
    pub(super) fn start_loop(&self) -> LoopStart {
        LoopStart { slots: self.bytes.len(), events: self.events.len() }
    }

    /// The end of a loop, which also needs `used` to here.
    pub(super) fn end_loop(&mut self, start: &LoopStart, mut used: Vec<u32>) {
        let outer = |s: &usize| *s < start.slots;
        let read = self.events[start.events..].iter().flat_map(|e| &e.reads).copied().filter(outer);
        used.extend(read.map(|s| s as u32));
        used.sort_unstable();
        used.dedup();
        self.note(used, vec![], vec![]);
    }

    /// Assigns memory, and gives the program's places their final slots.
    pub(super) fn settle(self, program: &mut Program, ranges: &Ranges) {
        let assignment = assign(&self.events, ranges);
        let slot = |s: u32| assignment.slot_of.get(&(s as usize)).map_or(s, |s| *s as u32);
        let place = |p: Place| if let Place::Slot(s) = p { Place::Slot(slot(s)) } else { p };
        program.calls.iter_mut().flat_map(|c| &mut c.buffers).for_each(|p| *p = place(*p));
        program.slices.iter_mut().for_each(|s| s.of = place(s.of));
        program.steps.iter_mut().for_each(|s| s.rename(&place, &slot));
        program.variables = self.variables.len() as u32;
        program.slots = assignment.slots;
    }
}
