//! What the next round of an outer loop reads, asked for while this one computes.
//!
//! A product with its right operand in panels reads a panel from front to end for each tile of rows, then the next
//! one. The panels of a large operand come from far memory, and the first tile would wait for each. So every
//! tile asks for its part of the next panel, in the order in which it steps through the present one: tiles of all rows
//! together ask for all of it once. Behind the last panel that is memory that nobody reads, which does no harm.

use super::args::{PtrArg, Tile};
use super::build::Assembly;
use super::builder::Section;
use super::{Form, Mode, StagePlan};
use fornax_ir::dtype::DType;
use fornax_ir::kernel::{Affine, AxisId, Buf, IndexVar, Inst as Kir, Size};
use fornax_ir::leaf::{Addr, Inst, Type};
use smallvec::SmallVec;

/// Bytes of a cache line.
const LINE: i64 = 64;
/// Least bytes of a panel: shorter ones have hardly begun when they end.
const LEAST: i64 = 4 << 10;
/// Most lines that one round asks for.
const LINES: i64 = 4;

/// Strides in elements by axis.
type Terms = SmallVec<[(AxisId, Size); 4]>;

/// The part of the next panel that a tile asks for.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Ahead {
    buf: Buf,
    dtype: DType,
    offset: i64,
    terms: Terms,
    /// Lines for each round of the innermost loop.
    lines: i64,
}

impl StagePlan<'_> {
    /// What tiles of that size ask for.
    pub(super) fn ahead(&self, tile: Tile) -> Vec<Ahead> {
        if !self.prefetches || self.mode != Mode::Reduce || self.reduce.is_empty() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for (op, form) in self.stage.body.iter().zip(&self.forms) {
            if let Kir::Load { src: src @ Buf::Arg(_), at, mask } = &op.inst
                && *form == Form::Wide
                && mask.is_empty()
            {
                found.extend(self.next_panel(*src, at, op.dtype, tile));
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
        (lines <= LINES).then_some(Ahead { buf, dtype, offset, terms, lines })
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
        for Ahead { buf, dtype, offset, terms, lines } in self.p.plan.ahead(self.p.tile) {
            let ptr = self.p.b.ptr(&PtrArg::Element { buf, offset: Size::Const(offset), terms }, dtype);
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
            let mut row = 0;
            while row < m {
                let tile = Tile { rows: i64::from(rows).min(m - row) as u32, vecs: 2, lanes: 4, part: false };
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
                row = if outside { row + i64::from(tile.rows) } else { m };
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
}
