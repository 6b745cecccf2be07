//! From a stage and its schedule to leaves.
//!
//! A [`StagePlan`] says which axes the driver loops over, which one a leaf runs along, and what
//! is computed together (a [`Tile`]: so many points of the `rows` axis by so many registers along
//! the `vector` axis). [`StagePlan::build`] makes the leaf of one tile:
//! - A stage without accumulations ([`Mode::Map`]): one loop along the vector axis.
//! - Accumulations over reduce axes ([`Mode::Reduce`]): the accumulators of the tile are carried
//!   in registers, the reduce axes are the leaf's loops, what depends on them is its `finish`.
//!   Interleaved sums of floats keep their 32 partials in the frame instead.
//! - Accumulations along the vector axis itself ([`Mode::Along`]): 32 partials in registers.
//!
//! A value is computed once for each row it depends on, and once for each register or each lane it
//! depends on ([`Form`]): what no vector instruction computes (strides, gathered indices, other
//! widths) is computed lane by lane, and packed where a register of it is needed.
//!
//! # Conditions
//! In a tile of several points a condition is known ([`State::Proven`], [`State::Failed`]), or is
//! the same for all of its points ([`State::Uniform`]): the driver only chooses tiles for which that
//! is so, and takes smaller ones elsewhere. A condition on one reduce axis that all accumulations
//! share clamps that loop; every other one is computed point by point.

mod across;
mod ahead;
pub mod args;
pub mod build;
pub mod builder;
pub mod collapse;
pub mod cond;
mod point;
mod vector;

pub use args::{CondId, IntArg, PtrArg, Tile};
pub use build::{Built, Part};

use crate::leaf::LeafEmitter;
use cond::Conds;
use fornax_ir::dtype::DType;
use fornax_ir::kernel::analysis::{StageInfo, axis_mask};
use fornax_ir::kernel::{AxisId, AxisKind, IndexVar, Inst, Kernel, Op, Order, Size, Stage};
use fornax_ir::scalar::ReduceOp;

/// Number of partials of an interleaved accumulation.
pub const PARTIALS: i64 = 32;
/// Most bytes of the frame that partials of one tile may take.
const FRAME_LIMIT: u32 = 32 << 10;

/// Lanes of the narrowest registers, and how many of them a tile may take for accumulators.
const NARROW: (u32, u32) = (4, 12);

/// What the leaves of a stage look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// No accumulation; the leaf runs along an axis.
    Map,
    /// The leaf's loops are the reduce axes.
    Reduce,
    /// As `Reduce`, with neighbouring points of the last reduce axis in one register.
    Along,
}

/// What the driver does with a condition at a tiled axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Split {
    /// It does not depend on the axis, or in a way that no range of the axis describes.
    No,
    /// Between two bounds it holds, outside it does not.
    Uniform,
    /// Between two bounds it holds for all points of the inner axes.
    Interior,
}

/// How a value that belongs to several points is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// It is the same for all points along the vector axis: one lane.
    Shared,
    /// Neighbouring points in the lanes of a register.
    Wide,
    /// Each point on its own.
    Split,
}

/// What a leaf knows of a condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It holds at every point.
    Proven,
    /// It holds at none.
    Failed,
    /// It is the same at every point of a run.
    Uniform,
    /// It bounds the loop over this reduce axis.
    Clamp(AxisId),
    /// It has to be computed.
    PerPoint,
}

/// How a stage is taken apart.
pub struct StagePlan<'k> {
    /// The kernel.
    pub kernel: &'k Kernel,
    /// The stage's number.
    pub number: usize,
    /// The stage.
    pub stage: &'k Stage,
    /// What its values depend on.
    pub info: StageInfo,
    /// Conditions of its masks.
    pub conds: Conds,
    /// What its leaves look like.
    pub mode: Mode,
    /// Axes the driver loops over, outermost first (with the one the leaf runs along, last).
    pub nest: Vec<AxisId>,
    /// Reduce axes that need a loop (extent not known to be 1), outermost first.
    pub reduce: Vec<AxisId>,
    /// The axis along which registers lie, with how many of how many lanes.
    pub vector: Option<(AxisId, u32, u32)>,
    /// The axis of the tile's rows, and how many.
    pub rows: Option<(AxisId, u32)>,
    /// For each value: how it is held in a tile of several lanes.
    pub forms: Vec<Form>,
    /// Whether tiles may be [`Tile::part`].
    pub partial: bool,
    /// Unroll factor of the innermost loop.
    pub unroll: u32,
    /// Whether leaves ask for what the next round of an outer loop reads.
    pub prefetches: bool,
    /// Elements that a round of a leaf of [`Mode::Along`] takes.
    pub block: i64,
    /// Lanes of registers of 32-bit elements that can be interleaved; 0 if none can.
    pub interleaved: u32,
}

impl<'k> StagePlan<'k> {
    /// The plan of stage `number`: as scheduled where that is possible for the body and the
    /// emitter, else one point at a time.
    #[must_use]
    pub fn new(kernel: &'k Kernel, number: usize, emitter: &dyn LeafEmitter) -> Self {
        let schedule = &kernel.schedule.stages[number];
        let wanted = schedule.vector.filter(|v| kernel.axis(number, v.0).kind != AxisKind::Sequential);
        let rows = schedule.rows.filter(|r| r.1 > 1 && kernel.axis(number, r.0).kind == AxisKind::Parallel);
        if let Some((axis, vecs)) = wanted {
            let mut plan = Self::scalar(kernel, number, Some(axis));
            plan.prefetches = emitter.prefetches();
            plan.interleaved = if emitter.interleaves() { emitter.lanes(DType::F32) } else { 0 };
            plan.set_rows(rows);
            if plan.vectorize(axis, vecs, u32::MAX, emitter) {
                return plan.fitting(vecs, rows, emitter);
            }
        }
        let leaf_axis = wanted.map(|v| v.0).filter(|&a| kernel.axis(number, a).kind == AxisKind::Parallel);
        let mut plan = Self::scalar(kernel, number, leaf_axis);
        plan.set_rows(rows);
        plan.limit_frame(Tile::POINT);
        plan
    }

    /// This plan, or one with narrower registers where the axis fills none of these and no tile may be partial.
    fn fitting(self, vecs: u32, rows: Option<(AxisId, u32)>, emitter: &dyn LeafEmitter) -> Self {
        let Some((axis, _, lanes)) = self.vector else { return self };
        let Some(extent) = self.extent(axis).as_const().map(|n| n.clamp(0, i64::from(u32::MAX)) as u32)
        else {
            return self;
        };
        let fits = extent >= lanes || self.partial || self.mode == Mode::Along;
        if fits || extent < NARROW.0 {
            return self;
        }
        let vecs = (vecs * lanes / NARROW.0).min(extent / NARROW.0).max(1);
        let mut narrow = Self::scalar(self.kernel, self.number, Some(axis));
        narrow.set_rows(rows.map(|(a, n)| (a, n.min(NARROW.1 / vecs).max(1))));
        if narrow.vectorize(axis, vecs, NARROW.0, emitter) { narrow } else { self }
    }

    /// One point at a time; a leaf without reduction runs along `leaf_axis`, or the innermost one.
    fn scalar(kernel: &'k Kernel, number: usize, leaf_axis: Option<AxisId>) -> Self {
        let stage = &kernel.stages[number];
        let info = StageInfo::of(kernel, number);
        let accumulates = stage.body.iter().any(|op| matches!(op.inst, Inst::Accumulate { .. }));
        let mode = if accumulates { Mode::Reduce } else { Mode::Map };
        let first = kernel.outer.len() as AxisId;
        let all = first + stage.axes.len() as AxisId;
        let reduces = |&a: &AxisId| kernel.axis(number, a).kind == AxisKind::Reduce;
        let order = &kernel.schedule.stages[number].order;
        let own = if order.is_empty() { (first..all).collect() } else { order.clone() };
        // The outer axes of a kernel of one stage belong to its nest.
        let outer = if kernel.stages.len() == 1 { 0..first } else { 0..0 };
        let mut nest: Vec<AxisId> = outer.chain(own.into_iter().filter(|a| !reduces(a))).collect();
        if let Some(axis) = leaf_axis.filter(|a| mode == Mode::Map && nest.contains(a)) {
            nest.retain(|&a| a != axis);
            nest.push(axis);
        }
        let looped = |a: &AxisId| kernel.axis(number, *a).extent != Size::ONE;
        let reduce = (first..all).filter(reduces).filter(looped).collect();
        let forms = vec![Form::Shared; stage.body.len()];
        let unroll = kernel.schedule.stages[number].unroll.clamp(1, 16);
        let conds = Conds::of(stage);
        StagePlan {
            kernel,
            number,
            stage,
            info,
            conds,
            mode,
            nest,
            reduce,
            vector: None,
            rows: None,
            forms,
            partial: false,
            unroll,
            prefetches: false,
            block: PARTIALS,
            interleaved: 0,
        }
    }

    fn set_rows(&mut self, rows: Option<(AxisId, u32)>) {
        self.rows = rows.filter(|r| self.nest.contains(&r.0) && self.leaf_axis() != Some(r.0));
    }

    /// The axis a leaf without reduction runs along.
    #[must_use]
    pub fn leaf_axis(&self) -> Option<AxisId> {
        if self.mode == Mode::Map { self.nest.last().copied() } else { None }
    }

    /// The extent of an axis.
    #[must_use]
    pub fn extent(&self, axis: AxisId) -> Size {
        self.kernel.axis(self.number, axis).extent
    }

    /// The reduce axes that need a loop, as a bit mask.
    #[must_use]
    pub fn reduce_mask(&self) -> u64 {
        self.reduce.iter().fold(0, |m, a| m | 1 << a)
    }

    /// All reduce axes, as a bit mask.
    #[must_use]
    pub fn all_reduce_mask(&self) -> u64 {
        axis_mask(self.kernel, self.number, |k| k == AxisKind::Reduce)
    }

    /// Axes whose loops are inside that of `axis`.
    fn inner(&self, axis: AxisId) -> u64 {
        let inside = self.nest.iter().skip_while(|&&a| a != axis).skip(1);
        inside.fold(self.reduce_mask(), |m, a| m | 1 << a)
    }

    /// The least and the greatest sum of the terms of a condition's index, where extents and strides are constants.
    #[must_use]
    pub fn span(&self, cond: CondId) -> Option<(i64, i64)> {
        let mut span = (0i64, 0i64);
        for (var, stride) in &self.conds.get(cond).index.terms {
            let IndexVar::Axis(axis) = var else { return None };
            let last = self.extent(*axis).as_const()?.checked_sub(1)?.max(0);
            let reach = stride.as_const()?.checked_mul(last)?;
            span = (span.0.checked_add(reach.min(0))?, span.1.checked_add(reach.max(0))?);
        }
        Some(span)
    }

    /// What the driver can do about a condition at a tiled axis.
    #[must_use]
    pub fn split(&self, cond: CondId, axis: AxisId) -> Split {
        let axes = self.conds.axes(cond);
        let inner = self.inner(axis) & axes;
        if axes & (1 << axis) == 0 || !self.conds.is_affine_in(cond, inner | 1 << axis) {
            Split::No
        } else if inner == 0 {
            Split::Uniform
        } else {
            Split::Interior
        }
    }

    /// What a leaf of this tile knows of a condition; `known` is what the driver has found out.
    #[must_use]
    pub fn state(&self, cond: CondId, tile: Tile, known: &[Option<bool>]) -> State {
        match known[cond] {
            Some(true) => return State::Proven,
            Some(false) => return State::Failed,
            None => {}
        }
        let axes = self.conds.axes(cond);
        let mut tiled: Vec<AxisId> = self.leaf_axis().into_iter().collect();
        tiled.extend(self.rows.filter(|_| tile.rows > 1).map(|r| r.0));
        if tile.lanes > 1 && self.mode == Mode::Reduce {
            tiled.extend(self.vector.map(|v| v.0));
        }
        tiled.retain(|a| axes & (1 << a) != 0);
        let reduce = axes & self.reduce_mask();
        if self.conds.has_values(cond) {
            State::PerPoint
        } else if reduce == 0 {
            let uniform = tiled.iter().all(|&a| self.split(cond, a) == Split::Uniform);
            if uniform { State::Uniform } else { State::PerPoint }
        } else if reduce.count_ones() == 1 && tiled.is_empty() && self.conds.is_affine_in(cond, reduce) {
            State::Clamp(reduce.trailing_zeros())
        } else {
            State::PerPoint
        }
    }

    /// The stage's accumulations.
    pub fn accumulations(&self) -> impl Iterator<Item = (u32, &'k Op)> + use<'k> {
        let ops = self.stage.body.iter().enumerate();
        ops.filter(|(_, op)| matches!(op.inst, Inst::Accumulate { .. })).map(|(i, op)| (i as u32, op))
    }

    /// Whether the order in which this accumulation combines its elements shows in its result.
    #[must_use]
    pub fn is_ordered(op: &Op) -> bool {
        match op.inst {
            Inst::Accumulate { op: reduce, .. } => {
                op.dtype.is_float() && matches!(reduce, ReduceOp::Sum | ReduceOp::Prod)
            }
            _ => false,
        }
    }

    /// Whether this accumulation needs 32 partials a point.
    #[must_use]
    pub fn needs_partials(op: &Op) -> bool {
        Self::is_ordered(op) && matches!(op.inst, Inst::Accumulate { order: Order::Interleaved, .. })
    }

    /// Takes fewer points together if their partials would not fit in the frame.
    fn limit_frame(&mut self, tile: Tile) {
        let partials = self.accumulations().filter(|a| Self::needs_partials(a.1));
        let bytes: u32 = partials.map(|a| a.1.dtype.bytes() as u32).sum();
        if self.mode != Mode::Reduce || bytes == 0 {
            return;
        }
        let one = PARTIALS as u32 * tile.lanes * bytes;
        if let Some(v) = &mut self.vector {
            v.1 = v.1.clamp(1, (FRAME_LIMIT / one).max(1));
        }
        let vecs = self.vector.map_or(1, |v| v.1);
        self.rows = self.rows.map(|(a, n)| (a, n.clamp(1, (FRAME_LIMIT / (one * vecs)).max(1))));
    }
}
