//! Blocks of rows: what a stage reads of them inside its reduction is copied to the worker's scratch first.
//!
//! Rows that lie a multiple of the page size apart fall into the same few sets of a cache, and a matrix larger than
//! the second-level cache comes from the third again for each of the panels it meets. A block that fits is copied once,
//! to rows that lie side by side, and meets all panels from there. Copies change no element and no order of
//! accumulation, so results keep every bit.
//!
//! Kernels of several stages run these for blocks of points of their last outer axis, where that is scheduled.

use super::position::Position;
use super::{Driver, counted_by, nest};
use crate::leaf::LeafEmitter;
use crate::tile::StagePlan;
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_frontend::FunctionBuilder;
use fornax_ir::kernel::analysis::{copied_load, copied_stride};
use fornax_ir::kernel::block::local_stride;
use fornax_ir::kernel::{
    Affine, Axis, AxisId, AxisKind, Buf, IndexVar, Inst, Kernel, LocalDecl, Mask, Op, Schedule, Size, Stage,
    StageSchedule,
};

/// Registers side by side in a copy.
const VECS: u32 = 4;

/// A kernel whose stage reads copies of blocks of rows, and the kernel that copies.
pub(super) struct Blocks {
    /// The kernel as scheduled, but for the load: it reads the last local.
    pub kernel: Kernel,
    /// One stage over the rows and the elements of one: fills that local. Same arguments and locals.
    pub copy: Kernel,
    /// Rows of a tile.
    tile: i64,
    /// Bytes of a row in the copy.
    row_bytes: i64,
}

impl Blocks {
    /// The blocks that a kernel is scheduled with, if it is.
    pub fn of(kernel: &Kernel) -> Option<Blocks> {
        let [schedule] = &kernel.schedule.stages[..] else { return None };
        let &(rows, points) = schedule.block.last()?;
        let tile = i64::from(schedule.rows?.1);
        let load = copied_load(kernel, rows)? as usize;
        let op = &kernel.stages[0].body[load];
        let Inst::Load { src, at, .. } = &op.inst else { return None };
        let axes = &kernel.stages[0].axes;
        let reduce = axes.iter().position(|a| a.kind == AxisKind::Reduce)?;
        let elements = copied_stride(axes[reduce].extent.as_const()?, op.dtype.bytes() as i64);
        let local = Buf::Local(kernel.locals.len() as u32);
        let in_copy = |rows: AxisId, k: AxisId| {
            Affine::new(
                Size::ZERO,
                [(IndexVar::Axis(rows), Size::Const(elements)), (IndexVar::Axis(k), Size::ONE)],
            )
        };
        let mut blocked = kernel.clone();
        let len = i64::from(points).checked_mul(elements)?;
        blocked.locals.push(LocalDecl { dtype: op.dtype, len: Size::Const(len) });
        let mask = Mask::new();
        blocked.stages[0].body[load].inst =
            Inst::Load { src: local, at: in_copy(rows, reduce as AxisId), mask: mask.clone() };
        let from =
            Affine::new(at.offset, [(IndexVar::Axis(0), at.stride(rows)), (IndexVar::Axis(1), Size::ONE)]);
        let body = vec![
            Op { inst: Inst::Load { src: *src, at: from, mask: mask.clone() }, dtype: op.dtype },
            Op { inst: Inst::Store { dst: local, at: in_copy(0, 1), value: 0, mask }, dtype: op.dtype },
        ];
        let axis = |a: usize| Axis { kind: AxisKind::Parallel, ..axes[a] };
        let vector = StageSchedule { vector: Some((1, VECS)), ..StageSchedule::default() };
        let copy = Kernel {
            stages: vec![Stage { axes: vec![axis(rows as usize), axis(reduce)], body }],
            schedule: Schedule { stages: vec![vector], ..Schedule::default() },
            ..blocked.clone()
        };
        let row_bytes = elements * op.dtype.bytes() as i64;
        Some(Blocks { kernel: blocked, copy, tile, row_bytes })
    }

    /// The plan of the copying stage.
    pub fn plan(&self, emitter: &dyn LeafEmitter) -> StagePlan<'_> {
        StagePlan::new(&self.copy, 0, emitter)
    }
}

impl Driver<'_> {
    /// All points of the only stage that `pos` ranges over, block after block of the axes that are left: copies of the
    /// rows, then everything that reads them.
    pub(super) fn blocks(
        &mut self,
        b: &mut FunctionBuilder<'_>,
        pos: &Position,
        (blocks, copy): (&Blocks, &StagePlan<'_>),
        left: &[(AxisId, u32)],
    ) -> Result<(), String> {
        let Some((&(axis, points), inner)) = left.split_first() else { return Ok(()) };
        let points = i64::from(points);
        let (start, end) = pos.range(b, axis, blocks.kernel.axis(0, axis).extent);
        // Blocks of rows are whole tiles, and begin with one where the range does.
        let unit = if inner.is_empty() { blocks.tile } else { points };
        let chunk = if pos.keeps_steps(axis, unit) { unit } else { 1 };
        counted_by(b, (start, end), points, |b, at| {
            let past = b.ins().iadd_imm_s(at, points);
            let range = (at, b.ins().smin(past, end));
            let mut main = pos.clone();
            main.share(axis, range, chunk);
            if !inner.is_empty() {
                return self.blocks(b, &main, (blocks, copy), inner);
            }
            let mut copying = pos.restarted(2);
            copying.share(0, range, 1);
            self.place_copy(b, &mut copying, at, blocks);
            nest::emit(self, b, &mut copying, copy)?;
            main.locals = copying.locals;
            let plans = self.plans;
            nest::emit(self, b, &mut main, &plans[0])
        })
    }

    /// All stages, for a block of points of the axis that is the first of each after another.
    pub(super) fn outer_blocks(
        &mut self,
        b: &mut FunctionBuilder<'_>,
        pos: &Position,
        (axis, points): (AxisId, i64),
    ) -> Result<(), String> {
        let bounds = pos.range(b, axis, self.kernel.axis(0, axis).extent);
        counted_by(b, bounds, points, |b, at| {
            let past = b.ins().iadd_imm_s(at, points);
            let range = (at, b.ins().smin(past, bounds.1));
            let mut block = pos.clone();
            block.share(axis, range, points);
            // The copies of a local for this block begin where the local does.
            for (local, address) in self.kernel.locals.iter().zip(&mut block.locals) {
                let stride = pos.size(b, local_stride(local));
                let before = b.ins().imul(at, stride);
                let before = b.ins().imul_imm_s(before, local.dtype.bytes() as i64);
                *address = b.ins().isub(*address, before);
            }
            let plans = self.plans;
            plans.iter().try_for_each(|plan| nest::emit(self, b, &mut block, plan))
        })
    }

    /// The last local's address so that the block's first row, number `at`, lies at its beginning.
    fn place_copy(&self, b: &mut FunctionBuilder<'_>, pos: &mut Position, at: Value, blocks: &Blocks) {
        if let Some(local) = pos.locals.last_mut() {
            let before = b.ins().imul_imm_s(at, blocks.row_bytes);
            *local = b.ins().isub(*local, before);
        }
    }
}
