//! What is peculiar to convolutions: tiles whose border points stand alone, and panels of weights.

use super::shared_loads;
use crate::Machine;
use fornax_ir::kernel::{AxisId, InRange, IndexVar, Inst, Size, Stage, StageSchedule};

/// Rows of a tile inside borders: few, as what a row of points leaves over is computed point by point.
const ROWS: u32 = 4;

/// The loads of what is accumulated.
fn loads(stage: &Stage) -> impl Iterator<Item = &Inst> {
    let end = stage.body.iter().position(|op| matches!(op.inst, Inst::Accumulate { .. })).unwrap_or(0);
    stage.body[..end].iter().map(|op| &op.inst).filter(|i| matches!(i, Inst::Load { .. }))
}

fn stride(load: &Inst, axis: AxisId) -> Size {
    if let Inst::Load { at, .. } = load { at.stride(axis) } else { Size::ZERO }
}

fn conditions(load: &Inst) -> &[InRange] {
    if let Inst::Load { mask, .. } = load { mask } else { &[] }
}

/// The tile of a window in which only the points inside the borders of an axis share loads, as each channel has
/// weights of its own: rows along that axis where all of its conditions hold, and several vectors to each.
pub(super) fn bordered(
    stage: &Stage,
    parallel: &[AxisId],
    vector: Option<AxisId>,
    machine: Machine,
    extent: &dyn Fn(AxisId) -> i64,
) -> Option<StageSchedule> {
    let v = vector?;
    let others = || parallel.iter().copied().filter(|&a| a != v && extent(a) > 1);
    let free = |a: AxisId| shared_loads(stage, a, vector) > 0;
    // Of what walks the vectors, something stays where it is: the weights.
    let shares = |a: AxisId| loads(stage).any(|l| stride(l, v) == Size::ONE && stride(l, a) == Size::ZERO);
    let inside = |c: &InRange| {
        let known = |t: &(IndexVar, Size)| matches!(t.0, IndexVar::Axis(_)) && t.1.as_const().is_some();
        c.index.terms.iter().all(known) && c.index.stride(v) == Size::ZERO
    };
    let known = loads(stage).flat_map(conditions).all(inside);
    if !known || others().any(free) {
        return None;
    }
    let rows = others().rfind(|&a| shares(a) && extent(a) > i64::from(ROWS))?;
    let across = ((extent(v) + machine.lanes() - 1) / machine.lanes()).max(1) as u32;
    let vecs = across.min(if machine.registers < 32 { 2 } else { 4 });
    Some(StageSchedule { vector: Some((v, vecs)), rows: Some((rows, ROWS)), unroll: 1, ..Default::default() })
}

/// The loops in an order in which a panel of weights meets all rows before the next one does: the axes of the
/// panels first. Empty where they are already, or nothing reuses them.
pub(super) fn panels_first(
    stage: &Stage,
    parallel: &[AxisId],
    reduce: &[AxisId],
    schedule: &StageSchedule,
) -> Vec<AxisId> {
    let (Some((v, _)), Some((r, _))) = (schedule.vector, schedule.rows) else { return vec![] };
    let weights = |l: &&Inst| stride(l, v) != Size::ZERO && stride(l, r) == Size::ZERO;
    let panels = |a: AxisId| a != v && loads(stage).filter(weights).any(|l| stride(l, a) != Size::ZERO);
    let mut order = parallel.to_vec();
    order.sort_by_key(|&a| !panels(a));
    if order == parallel {
        return vec![];
    }
    order.extend(reduce);
    order
}
