//! Buffer assignment: which tensors share memory in the arena.
//!
//! A tensor lives from the call that writes it to the last call that reads it. Slots are reused
//! once their tensor is dead, and taken over in place where a kernel reads an element only to write
//! its successor. Sizes may be symbolic: a slot is reused only when one size provably bounds the other.

use fornax_ir::Dim;
use fornax_ir::dim::{Ranges, prove_le};

/// One call, as far as memory is concerned.
pub(crate) struct Step {
    /// Tensors it reads (numbers of the caller's choice).
    pub reads: Vec<usize>,
    /// The tensors of the arena that it writes, with their bytes.
    pub writes: Vec<(usize, Dim)>,
    /// Tensors among `reads` whose memory the first written one may take over.
    pub in_place: Vec<usize>,
}

/// The slots and who lives in them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// Bytes of each slot.
    pub slots: Vec<Dim>,
    /// Slot of each tensor of the arena.
    pub slot_of: std::collections::BTreeMap<usize, usize>,
}

/// Assigns slots to the tensors of a sequence of calls.
pub(crate) fn assign(steps: &[Step], ranges: &Ranges) -> Assignment {
    let mut last_read = std::collections::BTreeMap::new();
    for (i, s) in steps.iter().enumerate() {
        s.reads.iter().for_each(|r| {
            last_read.insert(*r, i);
        });
    }
    let mut a = Assignment::default();
    let mut free: Vec<usize> = vec![];
    for (i, s) in steps.iter().enumerate() {
        let mut dying: Vec<usize> = s.reads.iter().copied().filter(|r| last_read[r] == i).collect();
        dying.sort();
        dying.dedup();
        let mut kept = None;
        let mut unread = vec![];
        for (k, (tensor, bytes)) in s.writes.iter().enumerate() {
            let heir = s.in_place.iter().copied().filter(|_| k == 0).find(|t| {
                dying.contains(t)
                    && a.slot_of.get(t).is_some_and(|slot| prove_le(bytes, &a.slots[*slot], ranges))
            });
            let slot = match heir {
                Some(t) => {
                    kept = Some(t);
                    a.slot_of[&t]
                }
                None => take(&mut free, &mut a.slots, bytes, ranges),
            };
            a.slot_of.insert(*tensor, slot);
            if !last_read.contains_key(tensor) {
                unread.push(slot);
            }
        }
        free.extend(unread);
        free.extend(dying.iter().filter(|t| Some(**t) != kept).filter_map(|t| a.slot_of.get(t)));
    }
    a
}

/// A free slot that fits, else one that can grow, else a new one.
fn take(free: &mut Vec<usize>, slots: &mut Vec<Dim>, bytes: &Dim, ranges: &Ranges) -> usize {
    let constant = |s: &usize| slots[*s].as_const().unwrap_or(i64::MAX);
    let fitting = free.iter().enumerate().filter(|(_, s)| prove_le(bytes, &slots[**s], ranges));
    let best = fitting.min_by_key(|(_, s)| constant(s)).map(|(at, _)| at);
    let grown = || {
        let can = free.iter().enumerate().filter(|(_, s)| prove_le(&slots[**s], bytes, ranges));
        can.max_by_key(|(_, s)| slots[**s].as_const()).map(|(at, _)| at)
    };
    match best.or_else(grown) {
        Some(at) => {
            let slot = free.swap_remove(at);
            if !prove_le(bytes, &slots[slot], ranges) {
                slots[slot] = bytes.clone();
            }
            slot
        }
        None => {
            slots.push(bytes.clone());
            slots.len() - 1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(reads: &[usize], writes: usize, bytes: &str, in_place: &[usize]) -> Step {
        Step {
            reads: reads.to_vec(),
            writes: vec![(writes, bytes.parse().unwrap())],
            in_place: in_place.to_vec(),
        }
    }

    #[test]
    fn a_chain_alternates_between_two_slots() {
        let steps: Vec<Step> = (1..9).map(|i| step(&[i - 1], i, "4*n", &[])).collect();
        let a = assign(&steps, &Ranges::new());
        assert_eq!(a.slots.len(), 2);
        assert!((2..9).all(|i| a.slot_of[&i] != a.slot_of[&(i - 1)]));
    }

    #[test]
    fn a_chain_in_place_needs_one() {
        let steps: Vec<Step> = (1..9).map(|i| step(&[i - 1], i, "4*n", &[i - 1])).collect();
        assert_eq!(assign(&steps, &Ranges::new()).slots.len(), 1);
    }

    #[test]
    fn a_tensor_still_needed_keeps_its_slot() {
        let steps = [step(&[], 0, "64", &[]), step(&[0], 1, "64", &[0]), step(&[0, 1], 2, "64", &[0, 1])];
        let a = assign(&steps, &Ranges::new());
        assert_ne!(a.slot_of[&0], a.slot_of[&1]);
    }

    #[test]
    fn what_one_call_writes_does_not_share_memory() {
        let write = |w: &[usize]| w.iter().map(|t| (*t, "64".parse().unwrap())).collect();
        let steps = [
            Step { reads: vec![], writes: write(&[0]), in_place: vec![] },
            // 2 is never read: its slot is free only once the call is over.
            Step { reads: vec![0], writes: write(&[1, 2, 3]), in_place: vec![0] },
            Step { reads: vec![1, 3], writes: write(&[4]), in_place: vec![] },
        ];
        let a = assign(&steps, &Ranges::new());
        assert_eq!(a.slot_of[&1], a.slot_of[&0]);
        assert_eq!(a.slot_of[&4], a.slot_of[&2]);
        let mut slots = [a.slot_of[&1], a.slot_of[&2], a.slot_of[&3]];
        slots.sort();
        assert_eq!(slots, [0, 1, 2]);
    }

    #[test]
    fn sizes_that_do_not_compare_get_slots_of_their_own() {
        let steps = [step(&[], 0, "4*a", &[]), step(&[0], 1, "8", &[]), step(&[1], 2, "4*b", &[])];
        assert_eq!(assign(&steps, &Ranges::new()).slots.len(), 3);
        let steps = [step(&[], 0, "32", &[]), step(&[0], 1, "8", &[]), step(&[1], 2, "64", &[])];
        assert_eq!(assign(&steps, &Ranges::new()).slots, vec![Dim::constant(64), Dim::constant(8)]);
    }
}
