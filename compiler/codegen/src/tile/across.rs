//! Squares of a copy that transposes: as many rows as a register has lanes.
//!
//! A store that steps along the rows of the tile, not along its lanes, writes one element after the other. Of as many
//! rows as there are lanes, the registers are turned in place: interleaving the first half of all rows with the second
//! rotates the bits of an element's number (row, then lane) by one, so after `log2 n` such rounds rows and lanes have
//! changed places.

use super::builder::{Ref, Section};
use super::point::Points;
use super::{Form, Mode};
use fornax_ir::kernel::analysis::stores;
use fornax_ir::kernel::{IndexVar, Inst as Kir, Size, ValueId};
use fornax_ir::leaf::Inst;

impl Points<'_, '_> {
    /// Whether a store writes registers of neighbouring rows.
    pub(super) fn goes_across(&self, id: ValueId) -> bool {
        let (plan, tile) = (self.plan, self.tile);
        let op = &plan.stage.body[id as usize];
        let (Kir::Store { at, value, mask, .. }, Some((rows, _))) = (&op.inst, plan.rows) else {
            return false;
        };
        let square = tile.rows == tile.lanes && tile.lanes == plan.interleaved && !tile.part;
        let fits = op.dtype.bytes() == 4 && self.form(id) == Form::Split && self.form(*value) == Form::Wide;
        let plain = mask.is_empty() && at.terms.iter().all(|t| matches!(t.0, IndexVar::Axis(_)));
        // Rows are computed before any of them is stored.
        let apart = |op: &fornax_ir::kernel::Op| match &op.inst {
            Kir::Load { src, .. } => !stores(plan.kernel, plan.number, *src),
            Kir::Raise { .. } => false,
            _ => true,
        };
        plan.mode == Mode::Map
            && square
            && fits
            && plain
            && at.stride(rows) == Size::ONE
            && plan.stage.body.iter().all(apart)
    }

    /// Writes the square that begins at column `p`, all of it with its first row.
    pub(super) fn store_across(&mut self, id: ValueId, row: u32, p: u32) {
        let op = &self.plan.stage.body[id as usize];
        let Kir::Store { dst, at, value, .. } = &op.inst else { return };
        if row > 0 {
            return;
        }
        let ty = self.ty(op.dtype, true);
        let mut rows: Vec<Ref> = (0..self.tile.rows).map(|r| self.value(*value, r, p, true)).collect();
        let half = rows.len() / 2;
        for _ in 0..rows.len().trailing_zeros() {
            let pairs = (0..half).flat_map(|i| [(i, false), (i, true)]);
            let mut turn =
                |(i, upper)| self.b.push(Section::Body, Inst::Interleave(rows[i], rows[i + half], upper), ty);
            rows = pairs.map(&mut turn).collect();
        }
        for (lane, row) in (0..).zip(rows) {
            let addr = self.address(*dst, at, op.dtype, 0, p + lane, Section::Body);
            self.b.push(Section::Body, Inst::Store(addr, row), ty);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Part, StagePlan, Tile};
    use crate::leaf::Clif;
    use crate::target::{Cpu, Target};
    use fornax_ir::kernel::Kernel;
    use fornax_ir::leaf::Inst;

    #[test]
    fn only_whole_squares_are_turned() {
        let text = "kernel \"turn\" {\n  buffer b0: read f32\n  buffer b1: write f32\n  stage {\n    axis a0: parallel 24\n    \
                    axis a1: parallel 40\n    %0 = load f32 b0[a0*40 + a1]\n    store f32 b1[a0 + a1*24], %0\n  }\n  \
                    schedule 0: vector a1*1, rows a0*4\n}\n";
        let kernel: Kernel = text.parse().unwrap();
        let emitter = Clif::new(&Target::host(Cpu::Baseline).unwrap());
        let plan = StagePlan { interleaved: 4, ..StagePlan::new(&kernel, 0, &emitter) };
        // Rows of the tile: interleavings, stores.
        for (rows, turns, stores) in [(4, 8, 4), (3, 0, 12), (1, 0, 4)] {
            let tile = Tile { rows, vecs: 1, lanes: 4, part: false };
            let leaf = plan.build(Part::Whole, tile, &[]).unwrap().leaf;
            fornax_ir::leaf::verify::verify(&leaf).unwrap();
            let count = |is: fn(&Inst) -> bool| leaf.body.iter().filter(|op| is(&op.inst)).count();
            assert_eq!(count(|i| matches!(i, Inst::Interleave(..))), turns, "{rows} rows");
            assert_eq!(count(|i| matches!(i, Inst::Store(..))), stores, "{rows} rows");
        }
    }
}
