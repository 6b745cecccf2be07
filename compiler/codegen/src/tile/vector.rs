//! Whether a stage can run with neighbouring points of an axis in one register.

use super::{Mode, PARTIALS, Split, StagePlan, Tile};
use crate::leaf::LeafEmitter;
use fornax_ir::dtype::DType;
use fornax_ir::kernel::analysis::stores;
use fornax_ir::kernel::{Affine, AxisId, AxisKind, IndexVar, Inst, Size, ValueId};

impl StagePlan<'_> {
    /// Sets up vectors along `axis`; false if the body or the emitter does not allow it.
    pub(super) fn vectorize(&mut self, axis: AxisId, vecs: u32, emitter: &dyn LeafEmitter) -> bool {
        let along = self.kernel.axis(self.number, axis).kind == AxisKind::Reduce;
        if along {
            self.mode = Mode::Along;
        } else if !self.nest.contains(&axis) {
            return false;
        }
        let Some(lanewise) = self.lanewise_values(axis) else { return false };
        let Some(width) = self.element_width(&lanewise) else { return false };
        let lanes = emitter.lanes(dtype_of_width(width));
        if lanes < 2 || (along && !self.runs_along(axis, lanes)) {
            return false;
        }
        let splittable = |c| self.conds.axes(c) & (1 << axis) == 0 || self.split(c, axis) != Split::No;
        if !along && !(0..self.conds.count()).all(splittable) {
            return false;
        }
        self.lanewise = lanewise;
        let vecs = if along { PARTIALS as u32 / lanes } else { vecs.clamp(1, 16) };
        self.vector = Some((axis, vecs, lanes));
        if along {
            self.rows = None;
        }
        self.limit_frame(width, Tile { rows: 1, vecs: 1, lanes });
        let tile = Tile { rows: 1, vecs: if along { vecs } else { 1 }, lanes };
        // Conditions that are computed point by point are scalar code, so the probe may assume all of them.
        let proven = vec![false; self.conds.count()];
        self.parts(tile).into_iter().all(|part| {
            self.build(part, tile, &proven).is_ok_and(|built| emitter.supports(&built.leaf).is_ok())
        })
    }

    /// Which values differ between lanes; `None` if one of them cannot be a vector.
    fn lanewise_values(&self, axis: AxisId) -> Option<Vec<bool>> {
        let mut lanewise: Vec<bool> = Vec::with_capacity(self.stage.body.len());
        for op in &self.stage.body {
            let is = |v: ValueId| lanewise[v as usize];
            let mut shared_indices = true;
            op.inst.for_each_affine(|a| shared_indices &= !indexed_by(a, is));
            if !shared_indices {
                return None;
            }
            lanewise.push(match &op.inst {
                Inst::Const(_) | Inst::Arg(_) | Inst::InRange(_) => false,
                Inst::Axis(a) => *a == axis,
                Inst::Load { src, at, .. } => match at.stride(axis) {
                    Size::ZERO if !stores(self.kernel, self.number, *src) => false,
                    Size::ONE => true,
                    _ => return None,
                },
                Inst::Store { at, value, .. } => {
                    if self.mode == Mode::Along {
                        (!is(*value)).then_some(())?;
                        false
                    } else {
                        (at.stride(axis) == Size::ONE).then_some(true)?
                    }
                }
                Inst::Raise { cond, .. } => (!is(*cond)).then_some(false)?,
                Inst::Accumulate { value, .. } => self.mode != Mode::Along && is(*value),
                inst => {
                    let mut any = false;
                    inst.for_each_operand(|v| any |= is(v));
                    any
                }
            });
        }
        Some(lanewise)
    }

    /// The one width in bytes of all lanewise values, masks and narrow loads aside.
    fn element_width(&self, lanewise: &[bool]) -> Option<u32> {
        let body = &self.stage.body;
        let mut width = None;
        for (i, op) in body.iter().enumerate() {
            let along = self.mode == Mode::Along && matches!(op.inst, Inst::Accumulate { .. });
            if !(lanewise[i] || along) {
                continue;
            }
            let memory = matches!(op.inst, Inst::Load { .. } | Inst::Store { .. } | Inst::Accumulate { .. });
            if op.dtype == DType::Bool {
                if memory {
                    return None;
                }
                continue;
            }
            if matches!(op.inst, Inst::Load { .. }) && self.is_narrow(i as ValueId) {
                continue;
            }
            let bytes = op.dtype.bytes() as u32;
            if *width.get_or_insert(bytes) != bytes {
                return None;
            }
        }
        width
    }

    /// A load of 8- or 16-bit integers that are only ever widened to 32 bits.
    fn is_narrow(&self, load: ValueId) -> bool {
        let dtype = self.stage.body[load as usize].dtype;
        let widens = self.stage.body.iter().all(|user| {
            let mut uses = false;
            user.inst.for_each_operand(|v| uses |= v == load);
            !uses || (matches!(user.inst, Inst::Cast(_)) && user.dtype.bytes() == 4)
        });
        dtype.is_int() && dtype.bytes() <= 2 && widens
    }

    /// Whether the accumulations can run along `axis`: in any order, or interleaved with blocks
    /// of 32 that start at the axis's first point.
    fn runs_along(&self, axis: AxisId, lanes: u32) -> bool {
        let last = self.reduce.last() == Some(&axis);
        let whole = self.extent(axis).as_const().is_some_and(|n| n % PARTIALS == 0);
        let masked = |op: &fornax_ir::kernel::Op| match &op.inst {
            Inst::Accumulate { mask, .. } | Inst::Load { mask, .. } | Inst::InRange(mask) => !mask.is_empty(),
            _ => false,
        };
        let reducing = self.stage.body.iter().zip(&self.info.in_reduce).filter(|(_, inside)| **inside);
        let mut ordered = self.accumulations().filter(|a| Self::is_ordered(a.1));
        last && (self.reduce.len() == 1 || whole)
            && (PARTIALS as u32).is_multiple_of(lanes)
            && !reducing.clone().any(|(op, _)| masked(op) || matches!(op.inst, Inst::Raise { .. }))
            && ordered.all(|a| Self::needs_partials(a.1))
    }
}

fn indexed_by(affine: &Affine, lanewise: impl Fn(ValueId) -> bool) -> bool {
    affine.terms.iter().any(|t| matches!(t.0, IndexVar::Value(v) if lanewise(v)))
}

fn dtype_of_width(bytes: u32) -> DType {
    match bytes {
        1 => DType::U8,
        2 => DType::U16,
        4 => DType::F32,
        _ => DType::F64,
    }
}
