//! Strips: products over rows that pass through other stages, such as attention. As many rows run together as fill
//! whole register tiles, and what the stages hand on stays in the second-level cache.

use super::{Order, TYPICAL, accumulation, const_extent, stage};
use crate::Machine;
use fornax_ir::kernel::block::{local_stride, unblocked};
use fornax_ir::kernel::{AxisId, AxisKind, Inst, Kernel, Schedule, Size, Stage, StageSchedule};

/// Register tiles of a strip, at most.
const MAX_TILES: i64 = 4;
/// Strips that there should be at least, so that all threads have some.
const MIN_STRIPS: i64 = 16;
/// Bytes of a panel of a right operand that stays in the first-level cache while the tiles of a strip pass by.
const PANEL: i64 = 16 << 10;

/// The schedule of a kernel of several stages, one a product whose right operand the points of the last outer axis
/// share: blocks of that axis. `None` for every other kernel.
pub(super) fn schedule(kernel: &Kernel, machine: Machine) -> Option<Schedule> {
    let axis = kernel.outer.len().checked_sub(1)? as AxisId;
    let products = |s: usize| accumulation(&kernel.stages[s]) == Some(Order::Chain);
    let rows = &kernel.outer[axis as usize];
    if rows.kind != AxisKind::Parallel || kernel.stages.len() < 2 || !(0..kernel.stages.len()).any(products) {
        return None;
    }
    let block = |points: i64| Some((axis, points));
    let inside =
        unblocked(Kernel { schedule: Schedule { block: block(1), ..Schedule::default() }, ..kernel.clone() });
    let mut stages: Vec<StageSchedule> =
        (0..inside.stages.len()).map(|s| stage(&inside, s, machine)).collect();
    let tiles = (0..stages.len()).filter(|&s| products(s)).filter_map(|s| stages[s].rows);
    let tile = tiles.filter(|r| r.0 == axis).map(|r| r.1).min()?;
    let bytes = kernel
        .locals
        .iter()
        .map(|l| const_extent(local_stride(l), TYPICAL).saturating_mul(l.dtype.bytes() as i64));
    let bytes = bytes.fold(0i64, i64::saturating_add).saturating_mul(i64::from(tile)).max(1);
    let tiles = tiles_of_strip(kernel, i64::from(tile), machine.near_bytes / 2 / bytes);
    for s in (0..stages.len()).filter(|&s| products(s)) {
        if stages[s].rows.is_some_and(|r| r.0 == axis) {
            stages[s].rows = Some((axis, tile));
        }
        if tiles > 1 {
            stages[s].order = panels_first(&inside, s, &stages[s], machine);
        }
    }
    let points = i64::from(tile) * tiles;
    let chunk = |a: AxisId| if a == axis { points } else { 1 };
    let parallel = (0..).zip(&kernel.outer).filter(|(_, a)| a.kind == AxisKind::Parallel);
    let parallel = parallel.map(|(a, _)| (a, chunk(a))).collect();
    Some(Schedule { parallel, block: block(points), stages })
}

/// How many register tiles a strip has, where so many fit into the cache: as many in each strip, and few enough that
/// there are strips for all threads.
fn tiles_of_strip(kernel: &Kernel, tile: i64, fit: i64) -> i64 {
    let most = fit.clamp(1, MAX_TILES);
    let Some((rows, others)) = kernel.outer.split_last() else { return most };
    let Some(rows) = rows.extent.as_const() else { return most };
    let others = others.iter().map(|a| const_extent(a.extent, 1)).fold(1i64, i64::saturating_mul);
    let all = (rows + tile - 1) / tile;
    let strips = |n: i64| (all + n - 1) / n;
    let enough = |n: &i64| others.saturating_mul(strips(*n)) >= MIN_STRIPS;
    let n = (1..=most).rev().find(enough).unwrap_or(1);
    strips(strips(n)).max(1)
}

/// The order of the loops in which each panel of the right operand meets all tiles of a strip while it is in the
/// first-level cache; empty where that is too small.
fn panels_first(inside: &Kernel, s: usize, schedule: &StageSchedule, machine: Machine) -> Vec<AxisId> {
    let stage: &Stage = &inside.stages[s];
    let (Some((v, vecs)), Some((r, _))) = (schedule.vector, schedule.rows) else { return vec![] };
    let first = inside.outer.len() as AxisId;
    let axes = || (first..).zip(&stage.axes);
    let summed = axes().filter(|(_, a)| a.kind == AxisKind::Reduce);
    let summed = summed.map(|(_, a)| const_extent(a.extent, TYPICAL)).fold(1i64, i64::saturating_mul);
    let width = i64::from(vecs) * i64::from(machine.vector_bytes);
    let shared = stage.body.iter().any(|op| match &op.inst {
        Inst::Load { at, .. } => at.stride(v) != Size::ZERO && at.stride(r) == Size::ZERO,
        _ => false,
    });
    if !shared || summed.saturating_mul(width) > PANEL {
        return vec![];
    }
    let mut order: Vec<AxisId> = axes().map(|(a, _)| a).collect();
    order.sort_by_key(|&a| (inside.axis(s, a).kind == AxisKind::Reduce, a == r));
    order
}
