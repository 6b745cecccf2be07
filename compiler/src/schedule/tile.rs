//! Chooses the schedule of a kernel: which axis fills the vector registers, which one the register
//! tile's rows, in which order the loops run, and what is shared out among threads.

mod block;
mod conv;
mod strip;

use super::const_extent;
use super::share::share_out;
use crate::Machine;
use fornax_ir::dtype::DType;
use fornax_ir::kernel::{
    Affine, AxisId, AxisKind, Buf, InRange, IndexVar, Inst, Kernel, Op, Order, Schedule, Size, Stage,
    StageSchedule,
};

/// Stands for an extent known only at run time.
const TYPICAL: i64 = 128;

/// Fills in `kernel.schedule`.
pub fn choose(kernel: &mut Kernel, machine: Machine) {
    if let Some(schedule) = strip::schedule(kernel, machine) {
        kernel.schedule = schedule;
        return;
    }
    let stages: Vec<StageSchedule> = (0..kernel.stages.len()).map(|s| stage(kernel, s, machine)).collect();
    let parallel = if kernel.outer.is_empty() && kernel.stages.len() == 1 {
        share_out(kernel, &stages[0], machine)
    } else {
        kernel
            .outer
            .iter()
            .enumerate()
            .filter(|(_, a)| a.kind == AxisKind::Parallel)
            .map(|(i, _)| (i as AxisId, 1))
            .collect()
    };
    kernel.schedule = Schedule { parallel, stages, ..Schedule::default() };
}

/// Lanes of the narrowest register, in which costs of lane by lane work are counted: four values of 32 bits.
const LANES: i64 = 4;
/// Instructions around one run of a pointwise leaf, roughly.
const RUN: i64 = 32;
/// Values of a pointwise stage that are computed for two registers at a time, at most: more would not stay in them.
const MAX_WIDE: usize = 64;
/// Registers of columns that are summed together, where there are 32 registers and where there are fewer: long runs of
/// neighbours, which is how memory is read fastest.
const COLUMNS: [i64; 2] = [16, 8];
/// Rows of a tile, at most, all of which fall into the same set of a first-level cache: those of eight and of twelve
/// ways keep most of their lines.
const CROWDED: u32 = 10;
/// Registers of a tile that shares no vectors, which it reads from memory as they are needed.
const STREAMED: u32 = 16;
/// Points of a strided copy's second axis that are computed together: half a cache line.
const COPY_ROWS: u32 = 8;

/// What four points along an axis cost, in instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cost {
    /// Computed in vector registers where that is possible.
    vector: i64,
    /// One after the other.
    scalar: i64,
    /// What is the same for all of them.
    shared: i64,
    /// Every load inside the accumulations walks neighbouring elements or stays, and so does no
    /// other value: nothing has to be put together lane by lane.
    smooth: bool,
}

/// Whether an index differs between neighbouring points of an axis, by its stride or by values that do.
fn moves(at: &Affine, axis: AxisId, differs: &[bool]) -> bool {
    at.terms.iter().any(|t| match t.0 {
        IndexVar::Axis(a) => a == axis,
        IndexVar::Value(v) => differs[v as usize],
    })
}

/// Whether it does so by steps of one element.
fn steps(at: &Affine, axis: AxisId, differs: &[bool]) -> bool {
    let by_value = at.terms.iter().any(|t| matches!(t.0, IndexVar::Value(v) if differs[v as usize]));
    at.stride(axis) == Size::ONE && !by_value
}

/// The cost of four points along an axis. A lane by lane access takes an instruction for each
/// element and one less to move it in or out of the register. What is inside a reduction counts
/// as often as that has elements. Elements of 32 bits up to three apart take two loads and a shuffle.
fn cost(stage: &Stage, axis: AxisId, elements: i64) -> Cost {
    let end = stage.body.iter().rposition(|op| matches!(op.inst, Inst::Accumulate { .. }));
    let by_lane = 2 * LANES - 1;
    let mut total = Cost { vector: 0, scalar: 0, shared: 0, smooth: true };
    let mut differs: Vec<bool> = Vec::with_capacity(stage.body.len());
    // What follows an accumulation stands outside the reduction, also where another one comes later.
    let mut follows: Vec<bool> = Vec::with_capacity(stage.body.len());
    for (i, op) in stage.body.iter().enumerate() {
        let register = match op.dtype {
            DType::F64 => 2,
            d if d.bytes() == 4 || d == DType::Bool => 1,
            _ => LANES,
        };
        let (differ, vector) = match &op.inst {
            Inst::Const(_) | Inst::Arg(_) | Inst::InRange(_) | Inst::Raise { .. } => (false, 0),
            Inst::Axis(a) => (*a == axis, 1),
            Inst::Load { at, .. } => {
                let near = matches!(at.stride(axis), Size::Const(-3..=3)) && op.dtype.bytes() == 4;
                let cost = match steps(at, axis, &differs) {
                    true => 1,
                    false if near => LANES - 1,
                    false => by_lane,
                };
                (moves(at, axis, &differs), cost)
            }
            Inst::Store { at, .. } => (true, if steps(at, axis, &differs) { 1 } else { by_lane }),
            inst => {
                let mut any = false;
                inst.for_each_operand(|v| any |= differs[v as usize]);
                (any, register)
            }
        };
        differs.push(differ);
        let accumulates = matches!(op.inst, Inst::Accumulate { .. });
        let mut after = false;
        op.inst.for_each_operand(|v| after |= follows[v as usize]);
        follows.push(after || accumulates);
        let times = if end.is_some_and(|end| i <= end) && !after { elements } else { 1 };
        if !differ {
            total.shared += times * i64::from(!matches!(op.inst, Inst::Const(_) | Inst::Arg(_)));
        } else {
            total.vector += vector * times;
            total.scalar += LANES * times;
            let outside = end.is_some_and(|end| i > end) && matches!(op.inst, Inst::Store { .. });
            total.smooth &= vector < LANES - 1 || outside;
        }
    }
    total
}

/// Whether a stage runs along an axis over neighbouring elements, so that nothing has to be put
/// together lane by lane.
pub fn is_smooth(stage: &Stage, schedule: &StageSchedule) -> bool {
    schedule.vector.is_some_and(|(axis, _)| cost(stage, axis, 1).smooth)
}

/// The axis along which vectors save most, if they do.
fn vector_axis(
    stage: &Stage,
    parallel: &[AxisId],
    elements: i64,
    extent: &dyn Fn(AxisId) -> i64,
) -> Option<(AxisId, Cost)> {
    let pointwise = accumulation(stage).is_none();
    // Instructions for 2^16 points, those of a tail one by one.
    let of = |c: Cost, extent: i64| {
        let n = extent.clamp(1, 4096);
        let (once, each) = if pointwise { (RUN + c.shared, 0) } else { (0, c.shared) };
        let all = n / LANES * (c.vector + each) + n % LANES * (c.scalar / LANES + each) + once;
        (all << 16) / n
    };
    let rated =
        parallel.iter().copied().filter(|a| extent(*a) >= LANES).map(|a| (a, cost(stage, a, elements)));
    let paying = rated.filter(|(_, c)| c.vector <= c.scalar);
    paying.min_by_key(|&(a, c)| (of(c, extent(a)), -extent(a), a))
}

fn accumulation(stage: &Stage) -> Option<Order> {
    stage.body.iter().find_map(|op| match op.inst {
        Inst::Accumulate { order, .. } => Some(order),
        _ => None,
    })
}

fn stage(kernel: &Kernel, index: usize, machine: Machine) -> StageSchedule {
    let stage = &kernel.stages[index];
    let first = kernel.outer.len() as AxisId;
    let extent = |a: AxisId| const_extent(kernel.axis(index, a).extent, TYPICAL);
    let own = first..first + stage.axes.len() as AxisId;
    let parallel: Vec<AxisId> =
        own.clone().filter(|a| kernel.axis(index, *a).kind == AxisKind::Parallel).collect();
    let reduce: Vec<AxisId> = own.filter(|a| kernel.axis(index, *a).kind == AxisKind::Reduce).collect();
    let order = accumulation(stage);
    let elements = reduce.iter().fold(1i64, |n, a| n.saturating_mul(extent(*a).max(1))).min(1 << 20);
    let vector = vector_axis(stage, &parallel, elements, &extent);
    let Some(order) = order else {
        let Some((v, cost)) = vector else { return StageSchedule::default() };
        let few = stage.body.len() <= MAX_WIDE;
        let vecs = if few && cost.smooth && extent(v) >= 16 * machine.lanes() { 2 } else { 1 };
        if let Some((vecs, rows)) = short_copy(stage, &parallel, v, machine, &extent) {
            return StageSchedule { vector: Some((v, vecs)), rows: Some(rows), ..Default::default() };
        }
        if !cost.smooth
            && let Some((a, across)) = squares(stage, &parallel, machine, &extent)
        {
            let rows = Some((across, machine.lanes() as u32));
            return StageSchedule { vector: Some((a, 1)), rows, ..Default::default() };
        }
        let rows = copy_rows(stage, &parallel, v, &extent);
        return StageSchedule { vector: Some((v, vecs)), rows, ..Default::default() };
    };
    if order == Order::Interleaved {
        let inner = reduce.last().copied().filter(|a| cost(stage, *a, 1).smooth && extent(*a) >= 16);
        // Sums of columns walk the rows. Where there is nothing else to divide, threads take a part of the columns each.
        let others = |v: AxisId| {
            let outer = kernel.outer.iter().map(|a| const_extent(a.extent, TYPICAL));
            outer.chain(parallel.iter().filter(|a| **a != v).map(|a| extent(*a))).product::<i64>()
        };
        let columns = |v: AxisId| {
            let across = extent(v) / machine.lanes();
            let most = if others(v) > 1 { across } else { (across / 4).max(2).min(across) };
            most.clamp(1, COLUMNS[usize::from(machine.registers < 32)]) as u32
        };
        let v = vector.filter(|v| v.1.smooth).map(|v| (v.0, columns(v.0))).or(inner.map(|v| (v, 1)));
        return StageSchedule { vector: v, ..Default::default() };
    }
    let vector = vector.map(|v| v.0);
    let mut schedule = conv::bordered(stage, &parallel, vector, machine, &extent)
        .unwrap_or_else(|| contraction(stage, &parallel, vector, machine, &extent));
    schedule.order = conv::panels_first(stage, &parallel, &reduce, &schedule);
    schedule.block = block::blocks(kernel, &schedule, machine).unwrap_or_default();
    if let (Some((v, vecs)), Some((r, rows))) = (schedule.vector, schedule.rows)
        && rows > CROWDED
        && schedule.block.is_empty()
        && block::crowded(stage, r, v)
    {
        schedule.rows = Some((r, balanced(extent(r), CROWDED, vecs)));
    }
    schedule
}

/// The axes of a transposed copy: that of the registers it loads, and that of those it stores, of which as many rows as
/// lanes are turned in place.
fn squares(
    stage: &Stage,
    parallel: &[AxisId],
    machine: Machine,
    extent: &dyn Fn(AxisId) -> i64,
) -> Option<(AxisId, AxisId)> {
    let lanes = machine.lanes();
    let long = || parallel.iter().copied().filter(|&a| lanes > LANES && extent(a) >= lanes);
    let loaded = |op: &Op, a: AxisId| match &op.inst {
        Inst::Load { at, mask, .. } => mask.is_empty() && matches!(at.stride(a), Size::Const(0 | 1)),
        _ => true,
    };
    let stored = |op: &Op, a: AxisId| match &op.inst {
        Inst::Store { at, mask, .. } => mask.is_empty() && at.stride(a) == Size::ONE && op.dtype.bytes() == 4,
        _ => true,
    };
    let along = |a: &AxisId| stage.body.iter().all(|op| loaded(op, *a));
    let across = long().find(|&a| stage.body.iter().all(|op| stored(op, a)))?;
    long().filter(|&a| a != across).find(along).map(|a| (a, across))
}

/// The second axis of a tile whose accesses stride along the first: the one along which they step.
/// Each cache line is then used by several rows while it is there.
fn copy_rows(
    stage: &Stage,
    parallel: &[AxisId],
    vector: AxisId,
    extent: &dyn Fn(AxisId) -> i64,
) -> Option<(AxisId, u32)> {
    let strided = |a: AxisId| {
        let counts = |op: &&Op| match &op.inst {
            Inst::Load { at, .. } | Inst::Store { at, .. } => {
                at.stride(a) == Size::ONE && !matches!(at.stride(vector), Size::Const(-1..=1))
            }
            _ => false,
        };
        stage.body.iter().filter(counts).count()
    };
    let others = parallel.iter().copied().filter(|a| *a != vector && extent(*a) > 1);
    let (_, rows) = others.map(|a| (strided(a), a)).filter(|r| r.0 > 0).max_by_key(|r| (r.0, extent(r.1)))?;
    let most = if stage.body.len() > 12 { COPY_ROWS / 2 } else { COPY_ROWS };
    Some((rows, balanced(extent(rows), most, 1)))
}

/// The tile of a copy whose runs of neighbouring elements are a few registers long: whole runs, several at a time.
fn short_copy(
    stage: &Stage,
    parallel: &[AxisId],
    vector: AxisId,
    machine: Machine,
    extent: &dyn Fn(AxisId) -> i64,
) -> Option<(u32, (AxisId, u32))> {
    let [Op { inst: Inst::Load { at, .. }, .. }, Op { inst: Inst::Store { at: to, .. }, .. }] =
        &stage.body[..]
    else {
        return None;
    };
    let vecs = extent(vector) / machine.lanes();
    let runs = at.stride(vector) == Size::ONE && to.stride(vector) == Size::ONE;
    if !runs || !(1..=4).contains(&vecs) || extent(vector) % machine.lanes() != 0 {
        return None;
    }
    let rows = parallel.iter().copied().filter(|a| *a != vector).max_by_key(|a| extent(*a))?;
    (extent(rows) >= i64::from(COPY_ROWS)).then_some((vecs as u32, (rows, COPY_ROWS)))
}

/// Register tile of a sum of products: rows share what walks the vector axis, vectors share the splats.
fn contraction(
    stage: &Stage,
    parallel: &[AxisId],
    vector: Option<AxisId>,
    machine: Machine,
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
        let rows = rows.map(|r| (r, balanced(extent(r), 4, 1)));
        return StageSchedule { rows, unroll: 1, ..Default::default() };
    };
    let loads = stage.body.iter().filter(|op| matches!(op.inst, Inst::Load { src: Buf::Arg(_), .. })).count();
    // Registers along the axis that hold something.
    let across = ((extent(v) + machine.lanes() - 1) / machine.lanes()).clamp(1, 16) as u32;
    let few = machine.registers < 32;
    // Several products of a point: each has its accumulators.
    let products =
        stage.body.iter().filter(|op| matches!(op.inst, Inst::Accumulate { .. })).count().max(1) as u32;
    if products > 1 && rows.is_none_or(|r| shared_loads(stage, r, vector) == 1) {
        let vecs = across.min((if few { 8 } else { STREAMED }) / products).max(1);
        return StageSchedule { vector: Some((v, vecs)), unroll: 4, ..Default::default() };
    }
    let vecs: u32 = match across {
        _ if extent(v) < 2 * machine.lanes() => 1,
        _ if rows.is_none() => across.min(if few { 4 } else { 8 }),
        _ if loads > 8 => 1,
        _ => 2,
    };
    let rows = rows.map(|r| {
        // Eight accumulators keep the multiply-adds busy.
        let vecs = if extent(r) < 4 && vecs > 1 { across.min(4) } else { vecs };
        let most = (most_rows(machine, vecs) / products).max(1);
        (r, balanced(extent(r), most, vecs * products), vecs)
    });
    let vecs = rows.map_or(vecs, |r| r.2);
    if let Some((r, ..)) = rows.filter(|r| shared_loads(stage, r.0, vector) == 1) {
        // Every vector is loaded for one row alone: long runs of a few rows at a time, which is how memory is read fastest.
        let vecs = across.min(if few { 4 } else { 8 });
        let rows = balanced(extent(r), (STREAMED / vecs).max(1), vecs);
        return StageSchedule {
            vector: Some((v, vecs)),
            rows: Some((r, rows)),
            unroll: 4,
            ..Default::default()
        };
    }
    StageSchedule { vector: Some((v, vecs)), rows: rows.map(|r| (r.0, r.1)), unroll: 4, ..Default::default() }
}

/// Rows of a tile whose accumulators, a row of loaded vectors and two splats fit the registers.
fn most_rows(machine: Machine, vecs: u32) -> u32 {
    let free = machine.registers.saturating_sub(2 + vecs);
    (free / vecs).clamp(1, if machine.registers < 32 { 6 } else { 14 })
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

/// The row count up to `most` with which an axis takes least time: a tile takes a round of multiply-adds for each
/// register, of which eight at least are under way at a time, and its vector loads.
fn balanced(extent: i64, most: u32, vecs: u32) -> u32 {
    let tile = |rows: i64| if rows == 0 { 0 } else { (rows * i64::from(vecs)).max(8) + i64::from(vecs) };
    let time = |rows: i64| extent / rows * tile(rows) + tile(extent % rows);
    (1..=i64::from(most)).min_by_key(|&r| (time(r), -r)).unwrap_or(1) as u32
}

#[cfg(test)]
mod tests {
    use crate::Machine;
    use crate::plan::Group;
    use crate::schedule::lower;
    use fornax_ir::graph::text::parse;

    #[test]
    fn a_transposed_copy_loads_along_one_axis_and_stores_along_the_other() {
        let wide = Machine { vector_bytes: 64, registers: 32, ..Machine::PORTABLE };
        // The extents of the register's axis and of the tile's rows, and how many rows.
        for (n, m, machine, want) in [
            (197, 64, wide, Some((64, 197, 16))),
            (64, 197, wide, Some((197, 64, 16))),
            (197, 12, wide, None),
            (197, 64, Machine::PORTABLE, None),
        ] {
            let text = format!(
                "graph \"g\" {{\n  %0: f32[{n}, {m}] = input \"x\"\n  %1: f32[{m}, {n}] = permute %0 perm [1, 0]\n  \
                 output \"y\" %1\n}}\n"
            );
            let graph = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
            let kernel = lower(&graph, &Group::new(graph.outputs[0].value), machine).unwrap().kernel;
            let stage = &kernel.schedule.stages[0];
            let extent = |axis| kernel.axis(0, axis).extent.as_const().unwrap();
            let found = stage.vector.zip(stage.rows).map(|(v, r)| (extent(v.0), extent(r.0), r.1));
            match want {
                Some(want) => assert_eq!(found, Some(want), "{n} x {m}"),
                None => assert!(found.is_none_or(|f| f.2 != 16), "{n} x {m}: {found:?}"),
            }
        }
    }
}
