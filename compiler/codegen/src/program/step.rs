//! Control flow of a program.

use super::Place;
use fornax_ir::Dim;

/// One thing that a program does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Makes a call: an index into [`super::Program::calls`].
    Call(usize),
    /// Runs one of two lists of steps.
    Cond {
        /// One byte, 0 or 1, that decides.
        pred: Place,
        /// What runs if it is 1.
        then: Vec<Step>,
        /// What runs if it is 0.
        otherwise: Vec<Step>,
    },
    /// Runs `cond`, then, while the byte at `pred` is 1, `body` and `cond` again.
    While {
        /// What computes the byte.
        cond: Vec<Step>,
        /// Where it is.
        pred: Place,
        /// What is repeated.
        body: Vec<Step>,
        /// What each iteration hands to the next.
        carried: Vec<Carried>,
    },
    /// Runs `body` that many times.
    Scan {
        /// How many iterations; not negative.
        length: Dim,
        /// The counter goes from `length - 1` down to 0 instead of up from 0.
        reverse: bool,
        /// The number of its counter; no other scan has it.
        counter: u32,
        /// What is repeated.
        body: Vec<Step>,
        /// What each iteration hands to the next.
        carried: Vec<Carried>,
    },
}

/// A value that a loop carries from one iteration to the next. Nothing is copied: an iteration reads it
/// where one variable points to and writes the next one where another points to; between iterations
/// the variables move on.
///
/// Before the loop `now` points to `first` and `next` to the first buffer. After each iteration `now`
/// points to where `next` did, and `next` to the buffer where it did not. Behind the loop `now` points
/// to the last value, which is `first` if there was no iteration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Carried {
    /// The variable through which an iteration reads.
    pub now: u32,
    /// The variable through which an iteration writes.
    pub next: u32,
    /// The value before the loop.
    pub first: Place,
    /// Two slots, used in turn.
    pub buffers: [u32; 2],
}

/// A part of a place: `stride` bytes that begin `counter * stride` bytes behind its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slice {
    /// What it is a part of; a slice has a smaller number.
    pub of: Place,
    /// The counter of the scan that walks it.
    pub counter: u32,
    /// Its size, and the distance to the next one, bytes.
    pub stride: Dim,
}

impl Step {
    /// The steps that make the first `n` calls, one after the other.
    #[must_use]
    pub fn calls(n: usize) -> Vec<Step> {
        (0..n).map(Step::Call).collect()
    }

    /// The lists of steps inside it.
    #[must_use]
    pub fn blocks(&self) -> Vec<&[Step]> {
        match self {
            Step::Call(_) => vec![],
            Step::Cond { then, otherwise, .. } => vec![then, otherwise],
            Step::While { cond, body, .. } => vec![cond, body],
            Step::Scan { body, .. } => vec![body],
        }
    }

    /// What it carries from one iteration to the next.
    #[must_use]
    pub fn carried(&self) -> &[Carried] {
        match self {
            Step::While { carried, .. } | Step::Scan { carried, .. } => carried,
            Step::Call(_) | Step::Cond { .. } => &[],
        }
    }

    /// Renames the places and slots it names, and those of the steps inside it.
    pub fn rename(&mut self, place: &impl Fn(Place) -> Place, slot: &impl Fn(u32) -> u32) {
        let all = |steps: &mut Vec<Step>| steps.iter_mut().for_each(|s| s.rename(place, slot));
        match self {
            Step::Call(_) => {}
            Step::Cond { pred, then, otherwise } => {
                *pred = place(*pred);
                [then, otherwise].into_iter().for_each(all);
            }
            Step::While { cond, pred, body, .. } => {
                *pred = place(*pred);
                [cond, body].into_iter().for_each(all);
            }
            Step::Scan { body, .. } => all(body),
        }
        if let Step::While { carried, .. } | Step::Scan { carried, .. } = self {
            for c in carried {
                c.first = place(c.first);
                c.buffers = c.buffers.map(slot);
            }
        }
    }
}
