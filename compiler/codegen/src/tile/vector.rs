//! Whether a stage can run with neighbouring points of an axis in one register.

use super::cond::mask_of;
use super::{Form, Mode, PARTIALS, Split, StagePlan, Tile};
use crate::leaf::LeafEmitter;
use fornax_ir::dtype::DType;
use fornax_ir::kernel::analysis::stores;
use fornax_ir::kernel::{Affine, AxisId, AxisKind, IndexVar, Inst, Mask, Op, Size, ValueId};
use fornax_ir::leaf::{Addr, Inst as Lir, Leaf, Op as LirOp, Type};
use fornax_ir::scalar::Scalar;

/// Registers that maxima and minima along an axis are combined in.
const ACCUMULATORS: u32 = 8;

impl StagePlan<'_> {
    /// Sets up vectors along `axis`, of `most_lanes` at most; false if the body or the emitter does not allow it.
    pub(super) fn vectorize(
        &mut self,
        axis: AxisId,
        vecs: u32,
        most_lanes: u32,
        emitter: &dyn LeafEmitter,
    ) -> bool {
        let along = self.kernel.axis(self.number, axis).kind == AxisKind::Reduce;
        if along {
            self.mode = Mode::Along;
        } else if !self.nest.contains(&axis) {
            return false;
        }
        let Some(lanewise) = self.lanewise_values(axis) else { return false };
        let Some(width) = self.element_width(&lanewise) else { return false };
        let lanes = emitter.lanes(dtype_of_width(width)).min(most_lanes);
        if lanes < 2 || (along && !self.runs_along(axis, lanes)) {
            return false;
        }
        let Some(forms) = self.forms(axis, &lanewise, (width, lanes), emitter) else { return false };
        if !forms.contains(&Form::Wide) {
            return false;
        }
        self.forms = forms;
        if along {
            self.block = self.longest_block(axis, lanes);
        }
        let vecs = if along { self.block as u32 / lanes } else { vecs.clamp(1, 16) };
        self.vector = Some((axis, vecs, lanes));
        if along {
            self.rows = None;
        }
        self.limit_frame(Tile { lanes, ..Tile::POINT });
        let tile = Tile { vecs: if along { vecs } else { 1 }, lanes, ..Tile::POINT };
        // Conditions that are computed point by point are scalar code, so the probe may assume all of them.
        let known = vec![None; self.conds.count()];
        let emits = |tile: Tile| {
            self.parts(tile).into_iter().all(|part| {
                self.build(part, tile, &known).is_ok_and(|built| emitter.supports(&built.leaf).is_ok())
            })
        };
        let partial = self.allows_parts(axis, width, emitter) && emits(Tile { part: true, ..tile });
        let vectors = emits(tile);
        self.partial = partial;
        vectors
    }

    /// Whether the last points along the axis can be computed in a register that they fill in part: what is
    /// loaded and stored in registers lies side by side, and nothing is computed lane by lane.
    fn allows_parts(&self, axis: AxisId, width: u32, emitter: &dyn LeafEmitter) -> bool {
        let whole = |dtype: DType, at: &Affine, mask: &Mask| {
            let fits = dtype.bytes() as u32 == width && emitter.partial(dtype);
            at.stride(axis) == Size::ONE && mask.is_empty() && fits
        };
        let fits = |(op, form): (&Op, &Form)| match (&op.inst, form) {
            // Counters that are narrowed are made where that is.
            (Inst::Axis(_), _) => true,
            (_, Form::Split) => false,
            (Inst::Load { at, mask, .. } | Inst::Store { at, mask, .. }, Form::Wide) => {
                whole(op.dtype, at, mask)
            }
            (Inst::Store { .. }, _) => false,
            _ => true,
        };
        self.mode != Mode::Along
            && (0..self.conds.count()).all(|c| self.split(c, axis) != Split::Interior)
            && self.stage.body.iter().zip(&self.forms).all(fits)
    }

    /// Whether the mask may hold at one lane of a register and not at another.
    fn differs(&self, mask: &Mask, axis: AxisId, lanewise: &[bool]) -> bool {
        self.conds.ids(mask).into_iter().any(|c| {
            let along = self.conds.axes(c) & (1 << axis) != 0 && self.split(c, axis) == Split::No;
            along || indexed_by(&self.conds.get(c).index, |v| lanewise[v as usize])
        })
    }

    /// Which values differ between lanes; `None` if one of them cannot be computed for several
    /// points together.
    fn lanewise_values(&self, axis: AxisId) -> Option<Vec<bool>> {
        let mut lanewise: Vec<bool> = Vec::with_capacity(self.stage.body.len());
        for op in &self.stage.body {
            let is = |v: ValueId| lanewise[v as usize];
            let differs = mask_of(&op.inst).is_some_and(|mask| self.differs(mask, axis, &lanewise));
            let moves = |at: &Affine| at.stride(axis) != Size::ZERO || indexed_by(at, is);
            lanewise.push(match &op.inst {
                Inst::Const(_) | Inst::Arg(_) => false,
                Inst::InRange(_) => differs,
                Inst::Axis(a) => *a == axis,
                Inst::Load { src, at, .. } => {
                    let own = stores(self.kernel, self.number, *src);
                    let neighbours = at.stride(axis) == Size::ONE && !indexed_by(at, is) && !differs;
                    (!own || neighbours).then_some(differs || moves(at))?
                }
                Inst::Store { value, .. } if self.mode == Mode::Along => (!is(*value)).then_some(false)?,
                Inst::Store { .. } => true,
                Inst::Raise { cond, .. } => is(*cond),
                Inst::Accumulate { value, .. } => self.mode != Mode::Along && (is(*value) || differs),
                inst => {
                    let mut any = false;
                    inst.for_each_operand(|v| any |= is(v));
                    any
                }
            });
        }
        Some(lanewise)
    }

    /// The width in bytes of what is held in registers: that of the accumulators along the axis,
    /// else 4 wherever there is such a value.
    fn element_width(&self, lanewise: &[bool]) -> Option<u32> {
        let along = self.mode == Mode::Along;
        let mut width = None;
        for (op, &lanewise) in self.stage.body.iter().zip(lanewise) {
            let bytes = op.dtype.bytes() as u32;
            if along && matches!(op.inst, Inst::Accumulate { .. }) {
                if *width.get_or_insert(bytes) != bytes || op.dtype == DType::Bool {
                    return None;
                }
            } else if !along && lanewise && bytes >= 4 {
                width = Some(width.map_or(bytes, |w: u32| w.min(bytes)));
            }
        }
        width
    }

    /// How each value is held.
    fn forms(
        &self,
        axis: AxisId,
        lanewise: &[bool],
        (width, lanes): (u32, u32),
        emitter: &dyn LeafEmitter,
    ) -> Option<Vec<Form>> {
        let body = &self.stage.body;
        let fits = |d: DType| d != DType::Bool && d.bytes() as u32 == width;
        let mut forms: Vec<Form> = Vec::with_capacity(body.len());
        for (i, op) in body.iter().enumerate() {
            if !lanewise[i] {
                forms.push(Form::Shared);
                continue;
            }
            let follows = |at: &Affine, mask: &Mask| {
                !indexed_by(at, |v| lanewise[v as usize]) && !self.differs(mask, axis, lanewise)
            };
            let unit = |at: &Affine| at.stride(axis) == Size::ONE;
            let wide = match &op.inst {
                _ if self.counts(op) => fits(op.dtype),
                Inst::Load { at, mask, .. } => {
                    let narrow = width == 4 && self.is_narrow(i as ValueId);
                    let by = at.stride(axis).as_const().is_some_and(|by| by != 0);
                    follows(at, mask) && ((by && fits(op.dtype)) || (unit(at) && narrow))
                }
                Inst::Store { at, mask, .. } => unit(at) && follows(at, mask) && fits(op.dtype),
                Inst::Axis(_) | Inst::Accumulate { .. } => fits(op.dtype),
                Inst::InRange(_) | Inst::Raise { .. } => false,
                inst => {
                    let (mut widths, mut registers) = (true, false);
                    inst.for_each_operand(|v| {
                        let (d, form) = (body[v as usize].dtype, forms[v as usize]);
                        let narrow = form == Form::Wide && d.bytes() < 4;
                        widths &= d == DType::Bool || fits(d) || narrow;
                        registers |= form == Form::Wide || fits(d);
                    });
                    widths && registers && (op.dtype == DType::Bool || fits(op.dtype))
                }
            };
            let wide = wide && emitter.supports(&self.probe(op, axis, lanes)).is_ok();
            if let Inst::Load { src, .. } = &op.inst {
                // What the stage stores is loaded before any of its neighbours is stored.
                (wide || !stores(self.kernel, self.number, *src)).then_some(())?;
            }
            forms.push(if wide { Form::Wide } else { Form::Split });
        }
        Some(forms)
    }

    /// A leaf of this operation alone, on registers.
    fn probe(&self, op: &Op, axis: AxisId, lanes: u32) -> Leaf {
        let mut leaf = Leaf::default();
        let ty = |dtype: DType| Type { dtype, lanes };
        let addr = |leaf: &mut Leaf, dtype: DType| {
            leaf.ptrs.push(dtype);
            Addr { ptr: leaf.ptrs.len() as u32 - 1, disp: 0, int: None, value: None }
        };
        let mut operands = Vec::new();
        let mut needed: Vec<ValueId> = Vec::new();
        match &op.inst {
            Inst::Load { .. } | Inst::Axis(_) => {}
            _ if self.counts(op) => {}
            Inst::Store { value, .. } | Inst::Accumulate { value, .. } => needed.push(*value),
            inst => inst.for_each_operand(|v| needed.push(v)),
        }
        for v in needed {
            let operand = &self.stage.body[v as usize];
            let inst = match operand.inst {
                Inst::Const(c) => Lir::Const(c),
                _ => Lir::LoadSplat(addr(&mut leaf, operand.dtype)),
            };
            operands.push(leaf.body.len() as u32);
            leaf.body.push(LirOp { inst, ty: ty(operand.dtype) });
        }
        let at = addr(&mut leaf, op.dtype);
        let arg = |k: usize| operands.get(k).copied().unwrap_or(0);
        let inst = match &op.inst {
            Inst::Store { .. } => Lir::Store(at, arg(0)),
            Inst::Unary(o, _) => Lir::Unary(*o, arg(0)),
            Inst::Binary(o, ..) => Lir::Binary(*o, arg(0), arg(1)),
            Inst::Compare(o, ..) => Lir::Compare(*o, arg(0), arg(1)),
            Inst::Select(..) => Lir::Select(arg(0), arg(1), arg(2)),
            Inst::Cast(_) if !self.counts(op) => Lir::Cast(arg(0)),
            Inst::Bitcast(_) => Lir::Bitcast(arg(0)),
            Inst::Scale(..) => Lir::Scale(arg(0), arg(1)),
            Inst::Fma(..) => Lir::Fma(arg(0), arg(1), arg(2)),
            Inst::Accumulate { op: reduce, .. } => {
                Lir::Binary(super::build::combiner(*reduce, op.dtype), arg(0), arg(0))
            }
            Inst::Axis(_) | Inst::Cast(_) => {
                let first =
                    LirOp { inst: Lir::Const(Scalar::i64(0)), ty: Type { lanes: 1, ..ty(DType::I64) } };
                leaf.body.push(first);
                Lir::Ramp(0)
            }
            Inst::Load { at: place, .. } if place.stride(axis) != Size::ONE => {
                Lir::LoadStrided(at, place.stride(axis).as_const().unwrap_or(0))
            }
            _ => Lir::Load(at),
        };
        leaf.body.push(LirOp { inst, ty: ty(op.dtype) });
        leaf
    }

    /// Whether a value is a counter narrowed to 32 bits, which registers count in as they are.
    pub(super) fn counts(&self, op: &Op) -> bool {
        let counter = |v: ValueId| matches!(self.stage.body[v as usize].inst, Inst::Axis(_));
        op.dtype == DType::I32 && matches!(op.inst, Inst::Cast(a) if counter(a))
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

    /// How many elements are combined side by side: as many as there are partials, or more where no order shows and
    /// nothing is left over, since each register waits for what was combined before.
    fn longest_block(&self, axis: AxisId, lanes: u32) -> i64 {
        let block = (i64::from(ACCUMULATORS * lanes) / PARTIALS).max(1) * PARTIALS;
        let whole = self.extent(axis).as_const().is_some_and(|n| n > 0 && n % block == 0);
        let ordered = self.accumulations().any(|a| Self::is_ordered(a.1));
        if whole && !ordered { block } else { PARTIALS }
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
