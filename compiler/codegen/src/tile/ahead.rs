//! What the next round of an outer loop reads, asked for while this one computes.
//!
//! A product with its right operand in panels reads a panel from front to end for each tile of rows, then the next
//! one. The panels of a large operand come from far memory, and the first tile would wait for each. So every
//! tile asks for its part of the next panel, in the order in which it steps through the present one: tiles of all rows
//! together ask for all of it once. Behind the last panel that is memory that nobody reads, which does no harm.
//!
//! The same holds for rows that the stages of a kernel walk one after the other: the last of them that reads the row
//! once more asks for the next one, which the caches' own prefetching would begin anew.

use super::args::{PtrArg, Tile};
use super::build::Assembly;
use super::builder::Section;
use super::{Form, Mode, StagePlan};
use fornax_ir::dtype::DType;
use fornax_ir::kernel::{Affine, AxisId, Buf, IndexVar, Inst as Kir, Op, Size, Stage};
use fornax_ir::leaf::{Addr, Inst, Type};
use smallvec::SmallVec;

/// Bytes of a cache line.
const LINE: i64 = 64;
/// Least bytes of a panel: shorter ones have hardly begun when they end.
const LEAST: i64 = 4 << 10;
/// Most lines that one round asks for.
const LINES: i64 = 4;
/// Least bytes of a tensor whose rows are asked for: what nearer caches hold needs no asking.
const NEAR: i64 = 1 << 20;

/// Strides in elements by axis.
type Terms = SmallVec<[(AxisId, Size); 4]>;

/// The part of the next panel that a tile asks for.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Ahead {
    buf: Buf,
    dtype: DType,
    offset: i64,
    terms: Terms,
    /// The axis of the rows if they come in blocks: each of these asks for the whole panel.
    block: Option<AxisId>,
    /// Lines for each round of the innermost loop.
    lines: i64,
}

impl StagePlan<'_> {
    /// What tiles of that size ask for.
    pub(super) fn ahead(&self, tile: Tile) -> Vec<Ahead> {
        if !self.prefetches || (self.mode == Mode::Reduce && self.reduce.is_empty()) {
            return Vec::new();
        }
        let mut found = Vec::new();
        for (op, form) in self.stage.body.iter().zip(&self.forms) {
            if let Kir::Load { src: src @ Buf::Arg(_), at, mask } = &op.inst
                && *form == Form::Wide
                && mask.is_empty()
            {
                found.extend(match self.mode {
                    Mode::Reduce => self.next_panel(*src, at, op.dtype, tile),
                    Mode::Map | Mode::Along => self.next_row(*src, at, op.dtype, tile),
                });
            }
        }
        found
    }

    /// The next panel of a load, if it reads such.
    fn next_panel(&self, buf: Buf, at: &Affine, dtype: DType, tile: Tile) -> Option<Ahead> {
        let (v, vecs, lanes) = self.vector?;
        let (rows, _) = self.rows?;
        let extent = |a: AxisId| self.extent(a).as_const().filter(|n| *n > 0);
        let known = |t: &(IndexVar, Size)| matches!(t.0, IndexVar::Axis(_)) && t.1.as_const().is_some();
        let stride = |a: AxisId| at.stride(a).as_const().unwrap_or(0);
        let width = extent(v)?;
        let whole = width == i64::from(vecs * lanes) && stride(v) == 1 && stride(rows) == 0;
        if !whole || !at.terms.iter().all(known) {
            return None;
        }
        let mut elements = width;
        for &a in self.reduce.iter().rev() {
            if stride(a) != elements {
                return None;
            }
            elements = elements.checked_mul(extent(a)?)?;
        }
        let from = self.nest.iter().rposition(|&a| a != v && stride(a) != 0)?;
        let panel = self.nest[from];
        if stride(panel) != elements || extent(panel)? < 2 || elements * (dtype.bytes() as i64) < LEAST {
            return None;
        }
        // Of the loops inside, each point asks for an equal part.
        let inner: Vec<AxisId> = self.nest[from + 1..].iter().copied().filter(|&a| a != v).collect();
        let blocks = &self.kernel.schedule.stages[self.number].block;
        let block = blocks.last().filter(|b| b.0 == rows && inner.contains(&rows));
        let extent = |a: AxisId| {
            let points = block.filter(|b| b.0 == a).map_or(i64::MAX, |b| i64::from(b.1));
            extent(a).map(|n| n.min(points))
        };
        let points = inner.iter().try_fold(1i64, |n, &a| n.checked_mul(extent(a)?))?;
        let each = (elements + points - 1) / points;
        let mut terms: Terms = at.terms.iter().filter_map(|t| self.outside(*t)).collect();
        let mut part = each;
        for &a in inner.iter().rev() {
            terms.push((a, Size::Const(part)));
            part = part.checked_mul(extent(a)?)?;
        }
        let taken = if inner.contains(&rows) { each * i64::from(tile.rows) } else { each };
        let rounds = elements / width;
        let step = (taken + rounds - 1) / rounds;
        let mut part = step;
        for &a in self.reduce.iter().rev() {
            terms.push((a, Size::Const(part)));
            part = part.checked_mul(extent(a)?)?;
        }
        terms.sort();
        let lines = (step * dtype.bytes() as i64 + LINE - 1) / LINE;
        let offset = at.offset.as_const()?.checked_add(elements)?;
        let block = block.map(|b| b.0);
        (lines <= LINES).then_some(Ahead { buf, dtype, offset, terms, block, lines })
    }

    /// The next row of a load that walks rows which the kernel's stages share.
    fn next_row(&self, buf: Buf, at: &Affine, dtype: DType, tile: Tile) -> Option<Ahead> {
        let along = self.mode == Mode::Along;
        let runs = |a: AxisId| along || Some(a) == self.leaf_axis();
        let (v, ..) = self.vector.filter(|v| runs(v.0) && tile.lanes > 1 && !tile.part)?;
        let outer = self.kernel.outer.len().checked_sub(1)? as AxisId;
        let row = at.stride(outer).as_const()?;
        let reads = |s: &Stage| {
            let loads = |op: &Op| matches!(op.inst, Kir::Load { src, .. } if src == buf);
            s.body.iter().any(loads)
        };
        let (before, from) = self.kernel.stages.split_at(self.number);
        let last = before.iter().any(reads) && !from[1..].iter().any(reads);
        let bytes = row.checked_mul(self.kernel.outer[outer as usize].extent.as_const()?)?;
        let large = bytes.checked_mul(dtype.bytes() as i64)? >= NEAR && row >= self.extent(v).as_const()?;
        let known = |t: &(IndexVar, Size)| matches!(t.0, IndexVar::Axis(_)) && t.1.as_const().is_some();
        let simple = self.stage.axes.len() == 1 && self.rows.is_none() && at.terms.iter().all(known);
        if !last || !large || !simple || at.stride(v) != Size::ONE {
            return None;
        }
        let axis = |t: &(IndexVar, Size)| if let IndexVar::Axis(a) = t.0 { Some((a, t.1)) } else { None };
        let terms = at.terms.iter().filter_map(axis).collect();
        let round = if along { self.block } else { tile.width() };
        let lines = (round * dtype.bytes() as i64 + LINE - 1) / LINE;
        Some(Ahead { buf, dtype, offset: at.offset.as_const()?.checked_add(row)?, terms, block: None, lines })
    }

    /// A term of an index over an axis outside of the leaf.
    fn outside(&self, (var, stride): (IndexVar, Size)) -> Option<(AxisId, Size)> {
        let IndexVar::Axis(a) = var else { return None };
        let inside = self.reduce.contains(&a) || self.vector.is_some_and(|v| v.0 == a);
        (!inside).then_some((a, stride))
    }
}

impl Assembly<'_, '_> {
    /// Asks for what the next round of an outer loop reads.
    pub(super) fn prefetch(&mut self) {
        for Ahead { buf, dtype, offset, terms, block, lines } in self.p.plan.ahead(self.p.tile) {
            let offset = Size::Const(offset);
            let arg = match block {
                Some(axis) => PtrArg::InRange { axis, buf, offset, terms },
                None => PtrArg::Element { buf, offset, terms },
            };
            let ptr = self.p.b.ptr(&arg, dtype);
            for line in 0..lines {
                let addr = Addr { ptr, disp: line * LINE, int: None, value: None };
                self.p.b.push(Section::Body, Inst::Prefetch(addr), Type { dtype, lanes: 1 });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaf::Clif;
    use crate::target::{Cpu, Target};
    use fornax_ir::kernel::Kernel;

    /// `x [m, k] . w [3, k, 8]` in tiles of so many rows, with panels outside or inside of the rows.
    fn product(m: i64, k: i64, rows: u32, order: &str) -> Kernel {
        let text = format!(
            "kernel \"product\" {{\n  buffer b0: read f32\n  buffer b1: read f32\n  buffer b2: write f32\n  stage {{\n    \
             axis a0: parallel {m}\n    axis a1: parallel 3\n    axis a2: parallel 8\n    axis a3: reduce {k}\n    \
             %0 = load f32 b0[a0*{k} + a3]\n    %1 = load f32 b1[a1*{panel} + a2 + a3*8]\n    %2 = mul f32 %0, %1\n    \
             %3 = accumulate f32 sum chain %2\n    store f32 b2[a0*24 + a1*8 + a2], %3\n  }}\n  \
             schedule 0: vector a2*2, rows a0*{rows}, unroll 4, order {order}\n}}\n",
            panel = 8 * k
        );
        text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    fn plan(kernel: &Kernel) -> StagePlan<'_> {
        let emitter = Clif::new(&Target::host(Cpu::Baseline).unwrap());
        StagePlan { prefetches: true, ..StagePlan::new(kernel, 0, &emitter) }
    }

    #[test]
    fn tiles_of_all_rows_ask_for_all_of_the_next_panel() {
        for (m, k, rows, order) in [
            (26, 256, 13, "a1 a0 a2 a3"),
            (64, 256, 8, "a1 a0 a2 a3, block a0*16"),
            (20, 130, 4, "a1 a0 a2 a3, block a1*2 a0*8"),
            (27, 130, 4, "a1 a0 a2 a3"),
            (5, 512, 5, "a1 a0 a2 a3"),
            (12, 300, 4, "a0 a1 a2 a3"),
        ] {
            let kernel = product(m, k, rows, order);
            let plan = plan(&kernel);
            let panel = 8 * k;
            // From the second panel on to the third: bytes that are asked for.
            let mut asked = vec![false; 4 * panel as usize];
            let outside = order.starts_with("a1");
            let block = kernel.schedule.stages[0].block.last();
            let (mut row, end) = (0, block.map_or(m, |b| i64::from(b.1)));
            while row < end {
                let tile =
                    Tile { rows: i64::from(rows).min(end - row) as u32, vecs: 2, lanes: 4, part: false };
                let [ahead] = &plan.ahead(tile)[..] else { panic!("one panel is asked for") };
                for round in 0..k {
                    let at = |t: &(AxisId, Size)| t.1.as_const().unwrap() * [row, 1, 0, round][t.0 as usize];
                    let first = 4 * (ahead.offset + ahead.terms.iter().map(at).sum::<i64>() - 2 * panel);
                    for byte in (0..ahead.lines * LINE).map(|b| first + b) {
                        if let Some(byte) = usize::try_from(byte).ok().and_then(|b| asked.get_mut(b)) {
                            *byte = true;
                        }
                    }
                }
                row = if outside { row + i64::from(tile.rows) } else { end };
            }
            assert!(asked.iter().all(|a| *a), "{m} x {k}, {rows} rows, {order}");
        }
    }

    #[test]
    fn nothing_is_asked_for_where_no_panel_follows() {
        // Short panels; an emitter without the instruction.
        let tile = Tile { rows: 4, vecs: 2, lanes: 4, part: false };
        assert!(plan(&product(16, 64, 4, "a1 a0 a2 a3")).ahead(tile).is_empty());
        let kernel = product(16, 256, 4, "a1 a0 a2 a3");
        let asks = plan(&kernel);
        assert_eq!(asks.ahead(tile).len(), 1);
        assert!(StagePlan { prefetches: false, ..asks }.ahead(tile).is_empty());
    }

    /// `x[n, m]` less the sums of its rows.
    fn rows(n: i64, m: i64) -> Kernel {
        let text = format!(
            "kernel \"rows\" {{\n  buffer b0: read f32\n  buffer b1: write f32\n  local l0: f32[1]\n  \
             outer a0: parallel {n}\n  stage {{\n    axis a1: reduce {m}\n    %0 = load f32 b0[a0*{m} + a1]\n    \
             %1 = accumulate f32 sum interleaved %0\n    store f32 l0[0], %1\n  }}\n  stage {{\n    axis a1: parallel {m}\n    \
             %0 = load f32 b0[a0*{m} + a1]\n    %1 = load f32 l0[0]\n    %2 = sub f32 %0, %1\n    \
             store f32 b1[a0*{m} + a1], %2\n  }}\n  parallel a0/1\n  schedule 0: vector a1*1\n  schedule 1: vector a1*2\n}}\n"
        );
        text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    #[test]
    fn the_last_stage_that_reads_a_row_asks_though_others_follow() {
        let emitter = Clif::new(&Target::host(Cpu::Baseline).unwrap());
        let text = "kernel \"variance\" {\n  buffer b0: read f32\n  buffer b1: write f32\n  local l0: f32[1]\n  local l1: f32[1]\n  \
                    outer a0: parallel 1024\n  stage {\n    axis a1: reduce 512\n    %0 = load f32 b0[a0*512 + a1]\n    \
                    %1 = accumulate f32 sum interleaved %0\n    store f32 l0[0], %1\n  }\n  stage {\n    axis a1: reduce 512\n    \
                    %0 = load f32 b0[a0*512 + a1]\n    %1 = load f32 l0[0]\n    %2 = sub f32 %0, %1\n    \
                    %3 = accumulate f32 sum interleaved %2\n    store f32 l1[0], %3\n  }\n  stage {\n    %0 = load f32 l1[0]\n    \
                    store f32 b1[a0], %0\n  }\n  parallel a0/1\n  schedule 0: vector a1*1\n  schedule 1: vector a1*1\n  schedule 2:\n}\n";
        let kernel: Kernel = text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"));
        let plan = |number| StagePlan { prefetches: true, ..StagePlan::new(&kernel, number, &emitter) };
        let tile = |n| Tile { rows: 1, vecs: plan(n).vector.map_or(1, |v| v.1), lanes: 4, part: false };
        assert!(plan(0).ahead(tile(0)).is_empty());
        let [ahead] = &plan(1).ahead(tile(1))[..] else { panic!("one row is asked for") };
        // Blocks of 32 elements are two lines.
        assert_eq!((ahead.offset, ahead.lines), (512, 2));
    }

    #[test]
    fn the_last_stage_of_a_row_asks_for_the_next_one() {
        let emitter = Clif::new(&Target::host(Cpu::Baseline).unwrap());
        let kernel = rows(1024, 512);
        let plan = |number| StagePlan { prefetches: true, ..StagePlan::new(&kernel, number, &emitter) };
        let tile = Tile { rows: 1, vecs: 2, lanes: 4, part: false };
        assert!(plan(0).ahead(tile).is_empty());
        let [ahead] = &plan(1).ahead(tile)[..] else { panic!("one row is asked for") };
        // Where the present row is read, a row later: one line for a round of eight elements.
        assert_eq!((ahead.offset, ahead.lines), (512, 1));
        assert_eq!(ahead.terms[..], [(0, Size::Const(512)), (1, Size::ONE)]);
        let near = rows(64, 512);
        let plan = StagePlan { prefetches: true, ..StagePlan::new(&near, 1, &emitter) };
        assert!(plan.ahead(tile).is_empty(), "a tensor that the nearer caches hold");
    }
}
