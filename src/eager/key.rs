//! What tells one compiled operation from another, built on the stack.

use fornax_ir::DType;
use smallvec::SmallVec;

/// Words of a key that need no allocation.
pub(crate) type Words = SmallVec<[u64; 16]>;

/// Bytes of an operation's name, at most.
const NAME: usize = 16;

/// How the extents of operands relate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Relation {
    /// Every result element comes from the operands' elements at the same place, after broadcasting: neighbouring axes
    /// merge where all operands allow it, and the result has the operands' common shape.
    Elementwise,
    /// Each axis has an extent of its own, except where axes are linked.
    Own,
    /// As `Own`, and axes are linked to those of the first operand that stand at the same distance from the end.
    Aligned,
}

/// Two axes, given as (operand, axis), whose extents are one symbol where they are equal; the later operand comes first.
pub(crate) type Link = ((u8, u8), (u8, u8));

/// An operation's name and attributes.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(super) name: &'static str,
    pub(super) words: Words,
    pub(super) relation: Relation,
    pub(super) links: SmallVec<[Link; 2]>,
    /// For each operand (the last entry stands for all further ones), axes whose extent is a constant of the program.
    pub(super) exact: [u8; 4],
    /// As `exact`, axes that broadcast: an extent of 1 is a constant.
    pub(super) ones: [u8; 4],
}

impl Key {
    fn new(name: &'static str, relation: Relation) -> Key {
        let mut bytes = [0; NAME];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        let mut words = Words::new();
        words.extend(bytes.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().expect("eight bytes"))));
        Key { name, words, relation, links: SmallVec::new(), exact: [0; 4], ones: [0; 4] }
    }

    /// An operation that works place by place on broadcast operands.
    pub(crate) fn elementwise(name: &'static str) -> Key {
        Key::new(name, Relation::Elementwise)
    }

    /// An operation on whole tensors whose operands don't broadcast.
    pub(crate) fn tensors(name: &'static str) -> Key {
        Key::new(name, Relation::Own)
    }

    /// An operation on whole tensors in which later operands broadcast to the first.
    pub(crate) fn aligned(name: &'static str) -> Key {
        Key { ones: [u8::MAX; 4], ..Key::new(name, Relation::Aligned) }
    }

    /// An integer attribute.
    pub(crate) fn int(mut self, value: i64) -> Key {
        self.words.push(value as u64);
        self
    }

    /// A list of axes.
    pub(crate) fn axes(self, axes: &[u32]) -> Key {
        self.ints(axes.iter().map(|&a| i64::from(a)))
    }

    /// A list of integers.
    pub(crate) fn ints(mut self, values: impl ExactSizeIterator<Item = i64>) -> Key {
        self.words.push(values.len() as u64);
        self.words.extend(values.map(|v| v as u64));
        self
    }

    /// A float attribute.
    pub(crate) fn float(mut self, value: f64) -> Key {
        self.words.push(value.to_bits());
        self
    }

    /// A choice.
    pub(crate) fn flag(self, value: bool) -> Key {
        self.int(i64::from(value))
    }

    /// A dtype attribute.
    pub(crate) fn dtype(self, dtype: DType) -> Key {
        self.int(dtype as i64)
    }

    /// Declares that an axis of a later operand has the extent of an axis of an earlier one.
    pub(crate) fn link(mut self, later: (u8, usize), earlier: (u8, usize)) -> Key {
        self.links.push(((later.0, later.1 as u8), (earlier.0, earlier.1 as u8)));
        self
    }

    /// Declares that the program is for these extents of an operand (one of the first four) alone.
    pub(crate) fn exact(mut self, operand: usize, axes: impl Iterator<Item = usize>) -> Key {
        axes.filter(|&axis| axis < 8).for_each(|axis| self.exact[operand] |= 1 << axis);
        self
    }

    /// Declares axes that broadcast, of an operand (one of the first four).
    pub(crate) fn broadcast(mut self, operand: usize, axes: impl Iterator<Item = usize>) -> Key {
        axes.filter(|&axis| axis < 8).for_each(|axis| self.ones[operand] |= 1 << axis);
        self
    }

    /// Whether no other key has fewer extents open: all are fixed, or none could be.
    pub(super) fn is_exact(&self) -> bool {
        self.exact == [u8::MAX; 4] || self.relation == Relation::Elementwise
    }

    /// The same operation for these extents alone.
    pub(super) fn all_exact(mut self) -> Key {
        self.exact = [u8::MAX; 4];
        self
    }
}
