//! Blocks of rows of large products: what of the left operand stays in the second-level cache while all panels of the
//! right one pass by.

use crate::Machine;
use fornax_ir::kernel::analysis::{copied_load, copied_stride};
use fornax_ir::kernel::{AxisId, AxisKind, IndexVar, Inst, Kernel, Op, Size, Stage, StageSchedule};

/// Rows from which there are enough blocks for all threads.
const MIN_ROWS: i64 = 256;
/// Columns from which a copy of the left operand is made up for: it takes a third of a cycle an element, and a panel
/// one.
const MIN_COLUMNS: i64 = 512;
/// Elements summed for one result, at least: shorter rows stay in the first-level cache.
const MIN_SUMMED: i64 = 256;
/// Most tiles of a block.
const MAX_TILES: i64 = 16;
/// How much of the right operand is read again and again, in sizes of a second-level cache: a part of the third-level one.
const FAR_CACHES: i64 = 4;
/// Elements so many bytes apart fall into the same set: 64 sets of 64 bytes, as common first-level caches have.
const PERIOD: i64 = 4096;
/// Rows a multiple of so many bytes apart fall into few sets of a first-level cache.
const SETS: i64 = 2048;

/// Whether what a tile reads of all its rows falls into one set of a first-level cache, as their elements that meet a
/// register along `lanes` are a multiple of its period apart.
pub(super) fn crowded(stage: &Stage, rows: AxisId, lanes: AxisId) -> bool {
    let end = stage.body.iter().position(|op| matches!(op.inst, Inst::Accumulate { .. })).unwrap_or(0);
    stage.body[..end].iter().any(|op| match &op.inst {
        Inst::Load { at, .. } if at.stride(lanes) == Size::ZERO => {
            let apart = at.stride(rows).as_const().unwrap_or(0).saturating_mul(op.dtype.bytes() as i64);
            apart != 0 && apart % PERIOD == 0
        }
        _ => false,
    })
}

/// The blocks of a product, if they pay: where the left operand does not stay in the cache, or its rows are in each
/// other's way.
pub(super) fn blocks(
    kernel: &Kernel,
    schedule: &StageSchedule,
    machine: Machine,
) -> Option<Vec<(AxisId, u32)>> {
    let ((rows, tile), (lanes, _)) = (schedule.rows?, schedule.vector?);
    let load = copied_load(kernel, rows)? as usize;
    let stage = &kernel.stages[0];
    let Inst::Load { at, .. } = &stage.body[load].inst else { return None };
    let bytes = stage.body[load].dtype.bytes() as i64;
    let extent = |a: AxisId| kernel.axis(0, a).extent.as_const();
    let (mut columns, mut summed) = (1i64, 1i64);
    for (a, axis) in (0..).zip(&stage.axes) {
        match axis.kind {
            AxisKind::Reduce => summed = extent(a)?,
            _ if a != rows => columns = columns.checked_mul(extent(a)?)?,
            _ => {}
        }
    }
    let count = extent(rows)?;
    if count < MIN_ROWS || columns < MIN_COLUMNS || summed < MIN_SUMMED {
        return None;
    }
    // Panels: another axis than that of the lanes walks what the lanes walk.
    let other = |a: AxisId| a != lanes && a != rows && kernel.axis(0, a).kind == AxisKind::Parallel;
    let panel = |op: &Op| {
        let Inst::Load { at, .. } = &op.inst else { return None };
        let mut axes =
            at.terms.iter().filter_map(|t| if let IndexVar::Axis(a) = t.0 { Some(a) } else { None });
        if at.stride(lanes) == Size::ZERO { None } else { axes.find(|&a| other(a)) }
    };
    let end = stage.body.iter().position(|op| matches!(op.inst, Inst::Accumulate { .. }))?;
    let panels = stage.body[..end].iter().find_map(panel)?;
    let apart = at.stride(rows).as_const()?.checked_mul(bytes)?;
    let far = count.checked_mul(apart)? > machine.near_bytes / 2;
    if !(far || apart % SETS == 0) {
        return None;
    }
    // Half of the cache holds the block, the other half a panel and what is written.
    let one = copied_stride(summed, bytes) * bytes * i64::from(tile);
    let tiles = (machine.near_bytes / 2 / one).clamp(1, MAX_TILES);
    let mut blocks = vec![(rows, tile * tiles as u32)];
    let panel_bytes = summed.checked_mul(columns)?.checked_mul(bytes)? / extent(panels)?;
    let near = (FAR_CACHES * machine.near_bytes / panel_bytes).max(1);
    if near < extent(panels)? {
        blocks.insert(0, (panels, near as u32));
    }
    Some(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Group;
    use crate::schedule::lower;
    use fornax_ir::graph::text::parse;

    const WIDE: Machine = Machine { vector_bytes: 64, registers: 32, near_bytes: 1 << 20 };

    /// The schedule of `x [m, k] . w`, with `w` in panels of so many columns.
    fn product(m: i64, k: i64, panels: i64, width: i64) -> StageSchedule {
        let text = format!(
            "graph \"g\" {{\n  %0: f32[{m}, {k}] = input \"x\"\n  %1: f32[{panels}, {k}, {width}] = input \"w\"\n  \
             %2: f32[{m}, {panels}, {width}] = dot %0, %1 batch [] contract [1:1]\n  output \"y\" %2\n}}\n"
        );
        let graph = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let lowered = lower(&graph, &Group::new(graph.outputs[0].value), WIDE).unwrap();
        lowered.kernel.schedule.stages[0].clone()
    }

    #[test]
    fn blocks_are_for_large_left_operands_and_for_rows_in_each_others_way() {
        for (m, k, panels, want) in [
            (1024, 1024, 32, vec![(0, 126)]),
            (2048, 2048, 64, vec![(1, 16), (0, 56)]),
            // Rows 2048 bytes apart, and rows that are not; then larger than half of the cache.
            (280, 512, 32, vec![(0, 224)]),
            (280, 400, 32, vec![]),
            (420, 400, 32, vec![(0, 224)]),
            // Too few rows, columns, elements of a sum.
            (128, 3072, 24, vec![]),
            (1024, 1024, 8, vec![]),
            (4096, 64, 32, vec![]),
        ] {
            assert_eq!(product(m, k, panels, 32).block, want, "{m} x {k} x {panels} panels");
        }
    }

    #[test]
    fn tiles_are_lower_where_their_rows_share_a_set() {
        for (m, k, panels, want) in [(140, 3072, 24, 10), (140, 3000, 24, 14), (1024, 1024, 32, 14)] {
            assert_eq!(product(m, k, panels, 32).rows, Some((0, want)), "{m} x {k} x {panels} panels");
        }
    }

    #[test]
    fn a_matrix_met_by_one_row_is_read_in_long_runs() {
        let schedule = product(1, 512, 32, 128);
        assert_eq!((schedule.vector.unwrap().1, schedule.rows.unwrap().1), (8, 2));
        let schedule = product(1, 512, 64, 32);
        assert_eq!((schedule.vector.unwrap().1, schedule.rows.unwrap().1), (2, 8));
    }
}
