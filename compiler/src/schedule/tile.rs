//! Chooses the schedule of a kernel: which axis fills the vector registers, which one the register
//! tile's rows, in which order the loops run, and what is shared out among threads.

use super::const_extent;
use fornax_ir::kernel::{
    AxisId, AxisKind, Buf, InRange, Inst, Kernel, Order, Schedule, Size, Stage, StageSchedule,
};

/// Stands for an extent known only at run time.
const TYPICAL: i64 = 128;
/// Vector registers of one 128-bit tile: accumulators, and what one row of the tile needs beside them.
const ACCUMULATORS: u32 = 12;
/// Elements of a pointwise kernel in one work item.
const POINTWISE_ITEM: i64 = 8192;

/// Fills in `kernel.schedule`.
pub fn choose(kernel: &mut Kernel) {
    let stages: Vec<StageSchedule> = (0..kernel.stages.len()).map(|s| stage(kernel, s)).collect();
    let parallel = if kernel.outer.is_empty() && kernel.stages.len() == 1 {
        share_out(kernel, &stages[0])
    } else {
        kernel
            .outer
            .iter()
            .enumerate()
            .filter(|(_, a)| a.kind == AxisKind::Parallel)
            .map(|(i, _)| (i as AxisId, 1))
            .collect()
    };
    kernel.schedule = Schedule { parallel, stages };
}

/// What the loads and stores of a stage say about one axis.
struct Walk {
    /// Every store walks neighbouring elements.
    unit_store: bool,
    /// Every load walks neighbouring elements or stays.
    unit_loads: bool,
    /// Some load stays: its element serves several points.
    shares: bool,
    /// The axis' position or a value derived from it is data (counters, quotients, gathered indices).
    data: bool,
}

fn walk(stage: &Stage, axis: AxisId) -> Walk {
    let mut w = Walk { unit_store: true, unit_loads: true, shares: false, data: false };
    for op in &stage.body {
        match &op.inst {
            Inst::Load { at, .. } => match at.stride(axis) {
                Size::Const(0) => w.shares = true,
                Size::Const(1) => {}
                _ => w.unit_loads = false,
            },
            Inst::Store { at, .. } => w.unit_store &= at.stride(axis) == Size::Const(1),
            Inst::Axis(a) if *a == axis => w.data = true,
            _ => {}
        }
    }
    w
}

fn accumulation(stage: &Stage) -> Option<Order> {
    stage.body.iter().find_map(|op| match op.inst {
        Inst::Accumulate { order, .. } => Some(order),
        _ => None,
    })
}

fn stage(kernel: &Kernel, index: usize) -> StageSchedule {
    let stage = &kernel.stages[index];
    let first = kernel.outer.len() as AxisId;
    let extent = |a: AxisId| const_extent(kernel.axis(index, a).extent, TYPICAL);
    let own = first..first + stage.axes.len() as AxisId;
    let parallel: Vec<AxisId> =
        own.clone().filter(|a| kernel.axis(index, *a).kind == AxisKind::Parallel).collect();
    let reduce: Vec<AxisId> = own.filter(|a| kernel.axis(index, *a).kind == AxisKind::Reduce).collect();
    let order = accumulation(stage);
    let fits = |a: &AxisId| {
        let w = walk(stage, *a);
        w.unit_store && w.unit_loads && !w.data
    };
    let vector = parallel.iter().copied().filter(fits).max_by_key(|a| extent(*a)).filter(|a| extent(*a) >= 4);
    let Some(_) = order else {
        let vecs = if vector.is_some_and(|v| extent(v) >= 64) { 2 } else { 1 };
        return StageSchedule { vector: vector.map(|v| (v, vecs)), ..Default::default() };
    };
    if order == Some(Order::Interleaved) {
        let inner = reduce.last().copied().filter(|a| {
            let w = walk_inside(stage, *a);
            w && extent(*a) >= 16
        });
        let v = vector.map(|v| (v, 1)).or(inner.map(|v| (v, 1)));
        return StageSchedule { vector: v, ..Default::default() };
    }
    contraction(stage, &parallel, vector, &extent)
}

/// Whether all loads walk a reduce axis over neighbouring elements, or stay.
fn walk_inside(stage: &Stage, axis: AxisId) -> bool {
    let w = walk(stage, axis);
    w.unit_loads && !w.data
}

/// Register tile of a sum of products: rows share what walks the vector axis, vectors share the splats.
fn contraction(
    stage: &Stage,
    parallel: &[AxisId],
    vector: Option<AxisId>,
    extent: &dyn Fn(AxisId) -> i64,
) -> StageSchedule {
    let rows = parallel
        .iter()
        .copied()
        .filter(|a| Some(*a) != vector && extent(*a) > 1)
        .map(|a| (shared_loads(stage, a, vector), a))
        .filter(|(shared, _)| *shared > 0)
        .max_by_key(|(shared, a)| (*shared, extent(*a)))
        .map(|(_, a)| a);
    let Some(v) = vector else {
        let rows = rows.map(|r| (r, balanced(extent(r), 4)));
        return StageSchedule { rows, unroll: 1, ..Default::default() };
    };
    let loads = stage.body.iter().filter(|op| matches!(op.inst, Inst::Load { src: Buf::Arg(_), .. })).count();
    let vecs: u32 = match extent(v) {
        e if e < 8 => 1,
        _ if rows.is_none() => 4,
        _ if loads > 8 => 1,
        _ => 2,
    };
    let rows = rows.map(|r| (r, balanced(extent(r), (ACCUMULATORS / vecs).min(6))));
    StageSchedule { vector: Some((v, vecs)), rows, unroll: 4, ..Default::default() }
}

/// How much of the accumulated product the points of an axis share: 2 for each load that walks the
/// vector axis (a vector load saved), 1 for each other (a splat saved), 0 if a mask depends on the axis.
fn shared_loads(stage: &Stage, axis: AxisId, vector: Option<AxisId>) -> u32 {
    let reads = |i: &InRange| i.index.stride(axis) != Size::ZERO;
    let end = stage.body.iter().position(|op| matches!(op.inst, Inst::Accumulate { .. })).unwrap_or(0);
    let mut shared = 0;
    for op in &stage.body[..end] {
        let Inst::Load { at, mask, .. } = &op.inst else { continue };
        if mask.iter().any(reads) {
            return 0;
        }
        if at.stride(axis) == Size::ZERO {
            shared += if vector.is_some_and(|v| at.stride(v) != Size::ZERO) { 2 } else { 1 };
        }
    }
    shared
}

/// The largest row count up to `most` that leaves the fewest rows over.
fn balanced(extent: i64, most: u32) -> u32 {
    (1..=most as i64).max_by_key(|r| ((extent / r) * r * 64 / extent.max(1) + r * 4, *r)).unwrap_or(1) as u32
}

/// Work items of a kernel of one stage: whole tiles, outermost axes first.
fn share_out(kernel: &Kernel, schedule: &StageSchedule) -> Vec<(AxisId, i64)> {
    let stage = &kernel.stages[0];
    let parallel: Vec<AxisId> = (0..stage.axes.len() as AxisId)
        .filter(|a| stage.axes[*a as usize].kind == AxisKind::Parallel)
        .collect();
    let vector = schedule.vector.map(|v| v.0);
    let mut items = vec![];
    for &a in &parallel {
        let only = parallel.len() == 1;
        let rows = schedule.rows.filter(|r| r.0 == a).map_or(1, |r| r.1 as i64);
        if Some(a) == vector {
            if only {
                let chunk = if accumulation(stage).is_some() { 64 } else { POINTWISE_ITEM };
                items.push((a, chunk));
            }
        } else {
            items.push((a, rows));
        }
    }
    items
}
