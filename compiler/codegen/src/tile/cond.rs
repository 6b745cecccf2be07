//! The conditions of a stage's masks, each distinct one once, and what each varies with.

use super::args::CondId;
use fornax_ir::kernel::{AxisId, InRange, IndexVar, Mask, Size, Stage};

/// The distinct conditions of a stage.
#[derive(Clone, Debug, Default)]
pub struct Conds {
    list: Vec<InRange>,
}

impl Conds {
    /// Those of all masks in the stage's body.
    #[must_use]
    pub fn of(stage: &Stage) -> Self {
        let mut conds = Conds::default();
        for op in &stage.body {
            if let Some(mask) = mask_of(&op.inst) {
                for c in mask {
                    if !conds.list.contains(c) {
                        conds.list.push(c.clone());
                    }
                }
            }
        }
        conds
    }
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len()
    }
    /// The condition of that number.
    #[must_use]
    pub fn get(&self, id: CondId) -> &InRange {
        &self.list[id]
    }
    /// The numbers of a mask's conditions.
    #[must_use]
    pub fn ids(&self, mask: &Mask) -> Vec<CondId> {
        mask.iter().filter_map(|c| self.list.iter().position(|k| k == c)).collect()
    }
    /// Notes the outcome of a condition, and what follows from it for those on the same index up
    /// to a constant. `span` holds the least and the greatest sum of the index's terms, where known.
    pub fn learn(&self, id: CondId, outcome: bool, span: Option<(i64, i64)>, known: &mut [Option<bool>]) {
        known[id] = Some(outcome);
        let Some((low, high)) = self.interval(id) else { return };
        // Where the sum is: on one side of the interval if the span does not reach the other.
        let (first, last) = match span {
            Some((first, last)) if outcome => (first.max(low), last.min(high - 1)),
            Some((first, last)) if last < high => (first, last.min(low - 1)),
            Some((first, last)) if first >= low => (first.max(high), last),
            _ => (i64::MIN, i64::MAX),
        };
        for (other, known) in known.iter_mut().enumerate() {
            let Some((from, to)) = self.interval(other).filter(|_| known.is_none()) else { continue };
            if self.list[other].index.terms != self.list[id].index.terms {
                continue;
            }
            *known = match outcome {
                _ if from <= first && last < to => Some(true),
                _ if last < from || to <= first => Some(false),
                true if from <= low && high <= to => Some(true),
                true if to <= low || high <= from => Some(false),
                false if low <= from && to <= high => Some(false),
                _ => None,
            };
        }
    }
    /// Between which values the sum of its terms has to lie, if they are known.
    fn interval(&self, id: CondId) -> Option<(i64, i64)> {
        let InRange { index, limit } = &self.list[id];
        let offset = index.offset.as_const()?;
        Some((offset.checked_neg()?, limit.as_const()?.checked_sub(offset)?))
    }
    /// The axes its index names, as a bit mask.
    #[must_use]
    pub fn axes(&self, id: CondId) -> u64 {
        let bit = |v: &(IndexVar, Size)| match v.0 {
            IndexVar::Axis(a) => 1u64 << a,
            IndexVar::Value(_) => 0,
        };
        self.list[id].index.terms.iter().fold(0, |m, t| m | bit(t))
    }
    /// Whether its index depends on a value of the body.
    #[must_use]
    pub fn has_values(&self, id: CondId) -> bool {
        self.list[id].index.terms.iter().any(|t| matches!(t.0, IndexVar::Value(_)))
    }
    /// Whether the strides along all of these axes are constants, and no value takes part: then
    /// the range of an axis where it holds can be computed.
    #[must_use]
    pub fn is_affine_in(&self, id: CondId, axes: u64) -> bool {
        self.list[id].index.terms.iter().all(|&(v, stride)| match v {
            IndexVar::Axis(a) => axes & (1 << a) == 0 || stride.as_const().is_some(),
            IndexVar::Value(_) => false,
        })
    }
    /// The constant stride along an axis.
    #[must_use]
    pub fn stride(&self, id: CondId, axis: AxisId) -> Option<i64> {
        self.list[id].index.stride(axis).as_const()
    }
}

/// The mask of an instruction that has one.
#[must_use]
pub fn mask_of(inst: &fornax_ir::kernel::Inst) -> Option<&Mask> {
    use fornax_ir::kernel::Inst;
    match inst {
        Inst::Load { mask, .. }
        | Inst::Store { mask, .. }
        | Inst::Accumulate { mask, .. }
        | Inst::InRange(mask) => Some(mask),
        _ => None,
    }
}
