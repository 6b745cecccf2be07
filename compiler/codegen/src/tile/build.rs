//! Leaves of a stage.

use super::args::{CondId, IntArg, PtrArg, Tile};
use super::builder::{Ref, Section};
use super::point::{I64, LoopSpec, Points};
use super::{Mode, PARTIALS, StagePlan, State};
use fornax_ir::dtype::DType;
use fornax_ir::kernel::analysis::stores;
use fornax_ir::kernel::{Access, AxisId, Buf, Inst as Kir, Op, Size, ValueId};
use fornax_ir::leaf::{Addr, Inst, Leaf, Loop, MAX_LOOPS, PtrId, Type, ValueId as LeafValue};
use fornax_ir::scalar::{BinaryOp, ReduceOp, Scalar};
use smallvec::smallvec;

/// Which part of a stage's work on a tile a leaf does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Part {
    /// All of it.
    Whole,
    /// Whole blocks of 32 elements into partials in the frame.
    Blocks,
    /// The remaining elements into partials in the frame.
    Rest,
    /// The partials' sum, and what depends on it.
    End,
}

/// A leaf with what its driver has to provide.
#[derive(Clone, PartialEq, Debug)]
pub struct Built {
    /// The program.
    pub leaf: Leaf,
    /// What the pointer arguments are.
    pub ptrs: Vec<PtrArg>,
    /// What the integer arguments are.
    pub ints: Vec<IntArg>,
    /// For each pointer: no stage stores to its buffer.
    pub readonly: Vec<bool>,
    /// Conditions that bound the loop over a reduce axis.
    pub clamps: Vec<(AxisId, Vec<CondId>)>,
    /// Conditions without which the loops do not run at all.
    pub live: Vec<CondId>,
    /// The axes of the loops, outermost first.
    pub loop_axes: Vec<AxisId>,
    /// The axis whose loop starts after its whole blocks of 32.
    pub after_blocks: Option<AxisId>,
    /// Bytes of the frame that the pointer [`PtrArg::Frame`] needs.
    pub frame: i64,
}

impl StagePlan<'_> {
    /// The leaves that together do a tile's work, in order.
    #[must_use]
    pub fn parts(&self, tile: Tile) -> Vec<Part> {
        let whole = |a: &AxisId| self.extent(*a).as_const().is_some_and(|n| n % PARTIALS == 0);
        if self.mode != Mode::Along || tile.lanes == 1 || self.reduce.last().is_some_and(whole) {
            vec![Part::Whole]
        } else {
            vec![Part::Blocks, Part::Rest, Part::End]
        }
    }

    /// The leaf of one part of a tile; `known` is what the driver has found out about the conditions there.
    ///
    /// # Errors
    /// More loops than a leaf has.
    pub fn build(&self, part: Part, tile: Tile, known: &[Option<bool>]) -> Result<Built, String> {
        let mut tile = tile;
        let loops: Vec<LoopSpec> = match (self.mode, part) {
            (_, Part::End) => Vec::new(),
            (Mode::Map, _) => {
                let along = self.vector.filter(|v| Some(v.0) == self.leaf_axis());
                let step = if along.is_some() { tile.width() } else { 1 };
                let axis = self.leaf_axis().into_iter();
                axis.map(|axis| LoopSpec { axis, count: Size::Arg(u32::MAX), step }).collect()
            }
            (Mode::Reduce, _) => self.reduce_loops(1),
            (Mode::Along, Part::Rest) => {
                tile.lanes = 1;
                tile.vecs = 1;
                self.reduce_loops(1)
            }
            (Mode::Along, _) => self.reduce_loops(self.block),
        };
        if loops.len() > MAX_LOOPS {
            return Err(format!("{} reduce axes; a stage may have {MAX_LOOPS}", loops.len()));
        }
        let mut leaf = Assembly {
            p: Points::new(self, tile, known, loops),
            part,
            clamps: Vec::new(),
            live: Vec::new(),
            frame: 0,
            partials: 0,
            identities: Vec::new(),
            rest_steps: Vec::new(),
        };
        leaf.assemble();
        Ok(leaf.finish())
    }

    fn reduce_loops(&self, last_step: i64) -> Vec<LoopSpec> {
        let last = self.reduce.last().copied();
        let spec = |&axis: &AxisId| {
            let step = if Some(axis) == last { last_step } else { 1 };
            LoopSpec { axis, count: self.extent(axis), step }
        };
        self.reduce.iter().map(spec).collect()
    }
}

pub(super) struct Assembly<'p, 'k> {
    pub(super) p: Points<'p, 'k>,
    part: Part,
    clamps: Vec<(AxisId, Vec<CondId>)>,
    live: Vec<CondId>,
    frame: i64,
    /// Bytes between partials of one number and the next: those of all points stand side by side, so that one round's
    /// do not fall into the same few sets of a cache.
    partials: i64,
    /// Where a point's first partial stands, and what it starts from.
    identities: Vec<(i64, Ref, Type)>,
    /// Frame pointers and the bytes each round of the loop over the rest advances them.
    rest_steps: Vec<(PtrId, i64)>,
}

impl Assembly<'_, '_> {
    fn assemble(&mut self) {
        self.clamp_loops();
        self.p.place();
        match (self.p.plan.mode, self.part) {
            (Mode::Map, _) => {
                self.effects(Section::Body);
                self.prefetch();
            }
            (Mode::Reduce, _) => {
                self.accumulate();
                self.effects(Section::Finish);
            }
            (Mode::Along, Part::Rest) => self.accumulate_rest(),
            (Mode::Along, Part::End) => {
                self.load_partials();
                self.effects(Section::Finish);
            }
            (Mode::Along, part) => self.accumulate_along(part),
        }
    }

    /// Rows, and the first columns of registers of the tile, rows outermost.
    fn points(&self) -> Vec<(u32, u32)> {
        let tile = self.p.tile;
        let vecs = if self.p.plan.mode == Mode::Along { 1 } else { tile.vecs };
        (0..tile.rows).flat_map(|r| (0..vecs).map(move |v| (r, v * tile.lanes))).collect()
    }

    /// Conditions that all accumulations share bound the loops.
    fn clamp_loops(&mut self) {
        let plan = self.p.plan;
        let mut masks = plan.accumulations().filter_map(|(_, op)| super::cond::mask_of(&op.inst));
        let Some(first) = masks.next() else { return };
        let mut common = plan.conds.ids(first);
        for mask in masks {
            let ids = plan.conds.ids(mask);
            common.retain(|c| ids.contains(c));
        }
        for c in common {
            match self.p.states[c] {
                State::Proven => {}
                State::Uniform => self.live.push(c),
                State::Clamp(axis) => match self.clamps.iter_mut().find(|k| k.0 == axis) {
                    Some((_, conds)) => conds.push(c),
                    None => self.clamps.push((axis, vec![c])),
                },
                State::PerPoint | State::Failed => continue,
            }
            self.p.implied[c] = true;
        }
    }

    /// Everything with an effect that is outside the reduction, point by point in the body's order.
    fn effects(&mut self, section: Section) {
        let plan = self.p.plan;
        self.p.outside = if section == Section::Finish { Section::Finish } else { Section::Init };
        for (r, p) in self.points() {
            for (id, op) in plan.stage.body.iter().enumerate() {
                let id = id as ValueId;
                if section == Section::Finish && plan.info.in_reduce[id as usize] {
                    continue;
                }
                match &op.inst {
                    Kir::Store { .. } if section == Section::Body && self.p.goes_across(id) => {
                        self.p.store_across(id, r, p);
                    }
                    Kir::Store { dst, at, value, mask } if !self.p.fails(mask) => {
                        let wide = self.p.is_wide(id);
                        for p in self.p.columns(id, p) {
                            let value = self.p.value(*value, r, p, wide);
                            let cond = self.p.mask(mask, false, r, p, section);
                            let addr = self.p.address(*dst, at, op.dtype, r, p, section);
                            let ty = self.p.ty(op.dtype, wide);
                            let inst = match wide && self.p.tile.part {
                                true => Inst::StorePart(addr, value, self.p.left(p)),
                                false => Inst::Store(addr, value),
                            };
                            self.guarded(section, cond, inst, ty);
                        }
                    }
                    Kir::Raise { .. } => self.raise(id, op, r, p, section),
                    // A load of what the stage stores keeps its place among the stores.
                    Kir::Load { src, .. } if stores(plan.kernel, plan.number, *src) => {
                        let wide = self.p.is_wide(id);
                        self.p.value(id, r, p, wide);
                    }
                    _ => {}
                }
            }
        }
    }

    fn guarded(&mut self, section: Section, cond: Option<Ref>, inst: Inst, ty: Type) {
        if let Some(cond) = cond {
            self.p.b.push(section, Inst::If(cond, 1), Type { dtype: DType::Bool, lanes: 1 });
        }
        self.p.b.push(section, inst, ty);
    }

    fn raise(&mut self, id: ValueId, op: &Op, r: u32, p: u32, section: Section) {
        let Kir::Raise { cond, detail } = op.inst else { return };
        for p in self.p.columns(id, p) {
            // One point of several that differ in nothing raises for all of them.
            if self.p.instance(id, r, p) == (r, p) {
                let cond = self.p.value(cond, r, p, false);
                let detail = self.leaf_size(detail);
                self.p.b.push(section, Inst::Raise(cond, detail), Type { dtype: DType::Bool, lanes: 1 });
            }
        }
    }

    /// A size as the leaf sees it: a constant or an integer argument.
    fn leaf_size(&mut self, size: Size) -> Size {
        match size {
            Size::Const(n) => Size::Const(n),
            Size::Arg(_) => Size::Arg(self.p.b.int(IntArg::Sum(smallvec![(size, 1)]))),
        }
    }

    fn ordered_ids(&self) -> Vec<(ValueId, Op)> {
        self.p.plan.accumulations().map(|(id, op)| (id, op.clone())).collect()
    }

    /// The tile's accumulations over the leaf's loops.
    fn accumulate(&mut self) {
        let accs = self.ordered_ids();
        for (id, op) in &accs {
            for (r, p) in self.points() {
                self.p.columns(*id, p).for_each(|p| self.start(*id, op, r, p));
            }
        }
        self.clear_partials();
        for (r, p) in self.points() {
            for (id, op) in self.p.plan.stage.body.iter().enumerate() {
                let (id, info) = (id as ValueId, &self.p.plan.info);
                match op.inst {
                    Kir::Accumulate { .. } => {
                        self.p.columns(id, p).for_each(|p| self.step(id, op, r, p));
                    }
                    Kir::Raise { .. } if info.in_reduce[id as usize] && !info.post[id as usize] => {
                        self.raise(id, op, r, p, Section::Body);
                    }
                    _ => {}
                }
            }
        }
        self.prefetch();
        self.p.outside = Section::Finish;
        for (id, op) in &accs {
            if StagePlan::needs_partials(op) {
                for (r, p) in self.points() {
                    self.p.columns(*id, p).for_each(|p| self.sum_partials(*id, op, r, p));
                }
            }
        }
    }

    /// The carried accumulator of an instance, or its partials in the frame, at the identity.
    fn start(&mut self, id: ValueId, op: &Op, r: u32, p: u32) {
        if self.p.instance(id, r, p) != (r, p) {
            return;
        }
        let Kir::Accumulate { op: reduce, .. } = op.inst else { return };
        let ty = self.p.ty(op.dtype, self.p.is_wide(id));
        let identity = self.p.b.push(Section::Init, Inst::Const(Scalar::identity(reduce, op.dtype)), ty);
        if StagePlan::needs_partials(op) {
            let bytes = ty.lanes as i64 * op.dtype.bytes() as i64;
            let place = self.partials;
            self.partials += bytes;
            self.identities.push((place, identity, ty));
            self.p.results.insert((id, r, p), place as Ref);
        } else {
            let carried = self.p.b.carry(ty, identity);
            self.p.results.insert((id, r, p), carried);
        }
    }

    /// All partials at their identities.
    fn clear_partials(&mut self) {
        for (place, identity, ty) in std::mem::take(&mut self.identities) {
            for p in 0..PARTIALS {
                let addr = self.frame_addr(ty.dtype, place + p * self.partials, None);
                self.p.b.push(Section::Init, Inst::Store(addr, identity), ty);
            }
        }
        self.frame = self.partials * PARTIALS;
    }

    /// One element joins an accumulation.
    fn step(&mut self, id: ValueId, op: &Op, r: u32, p: u32) {
        let Kir::Accumulate { mask, .. } = &op.inst else { return };
        if self.p.instance(id, r, p) != (r, p) || self.p.fails(mask) {
            return;
        }
        let wide = self.p.is_wide(id);
        let ty = self.p.ty(op.dtype, wide);
        let open = self.p.open_conds(mask, true);
        let place = self.p.results[&(id, r, p)];
        if StagePlan::needs_partials(op) {
            let addr = self.partial_addr(op.dtype, place);
            let before = self.p.b.push(Section::Body, Inst::Load(addr), ty);
            let after = self.combine_element(op, before, r, p, wide);
            let after = self.where_open(&open, (after, before), (r, p), ty);
            self.p.b.push(Section::Body, Inst::Store(addr, after), ty);
            return;
        }
        let after = self.combine_element(op, place, r, p, wide);
        let after = self.where_open(&open, (after, place), (r, p), ty);
        self.p.b.set_next(place, after);
    }

    /// `after` where all conditions hold, else `before`.
    fn where_open(
        &mut self,
        open: &[CondId],
        (after, before): (Ref, Ref),
        (r, p): (u32, u32),
        ty: Type,
    ) -> Ref {
        let body = Section::Body;
        let holds = match ty.lanes {
            1 => self.p.all_of(open, r, p, body),
            _ => self.p.all_of_wide(open, r, p, body),
        };
        holds.map_or(after, |cond| self.p.b.push(body, Inst::Select(cond, after, before), ty))
    }

    /// `before` combined with the accumulation's element; a sum of products contracts.
    fn combine_element(&mut self, op: &Op, before: Ref, r: u32, p: u32, wide: bool) -> Ref {
        let Kir::Accumulate { op: reduce, value, .. } = op.inst else { return before };
        let ty = self.p.ty(op.dtype, wide);
        if let (Kir::Binary(BinaryOp::Mul, a, b), ReduceOp::Sum, true) =
            (&self.p.plan.stage.body[value as usize].inst, reduce, op.dtype.is_float())
        {
            let (a, b) = (self.p.value(*a, r, p, wide), self.p.value(*b, r, p, wide));
            return self.p.b.push(Section::Body, Inst::Fma(a, b, before), ty);
        }
        let element = self.p.value(value, r, p, wide);
        self.p.b.push(Section::Body, Inst::Binary(combiner(reduce, op.dtype), before, element), ty)
    }

    /// An address in the frame.
    fn frame_addr(&mut self, dtype: DType, disp: i64, value: Option<LeafValue>) -> Addr {
        let ptr = self.p.b.ptr(&PtrArg::Frame, dtype);
        Addr { ptr, disp, int: None, value }
    }

    /// The address of the partial that the present point joins.
    fn partial_addr(&mut self, dtype: DType, place: Ref) -> Addr {
        let body = Section::Body;
        let plan = self.p.plan;
        let int = self.p.b.int(IntArg::Point);
        let mut point = self.p.b.push(body, Inst::Int(int), I64);
        let mut inner: Vec<Size> = Vec::new();
        for l in (0..self.p.loops.len()).rev() {
            let axis = self.p.loops[l].axis;
            let mut term = self.p.b.push(body, Inst::Counter(l as u32), I64);
            if !inner.is_empty() {
                let count = inner.iter().try_fold(1i64, |n, s| s.as_const().map(|s| n.wrapping_mul(s)));
                let factor = match count {
                    Some(n) => Inst::Const(Scalar::i64(n)),
                    None => Inst::Int(self.p.b.int(IntArg::Product(inner.iter().copied().collect()))),
                };
                let factor = self.p.b.push(body, factor, I64);
                term = self.p.b.push(body, Inst::Binary(BinaryOp::Mul, term, factor), I64);
            }
            point = self.p.b.push(body, Inst::Binary(BinaryOp::Add, point, term), I64);
            inner.push(plan.extent(axis));
        }
        let low = self.p.size(Size::Const(PARTIALS - 1), 1, body);
        let partial = self.p.b.push(body, Inst::Binary(BinaryOp::And, point, low), I64);
        let bytes = self.p.size(Size::Const(self.partials), 1, body);
        let offset = self.p.b.push(body, Inst::Binary(BinaryOp::Mul, partial, bytes), I64);
        self.frame_addr(dtype, i64::from(place), Some(offset))
    }

    /// The tree over an instance's partials in the frame.
    fn sum_partials(&mut self, id: ValueId, op: &Op, r: u32, p: u32) {
        if self.p.instance(id, r, p) != (r, p) {
            return;
        }
        let ty = self.p.ty(op.dtype, self.p.is_wide(id));
        let place = i64::from(self.p.results[&(id, r, p)]);
        let bytes = self.partials;
        let ptr = self.p.b.ptr(&PtrArg::Frame, op.dtype);
        let load = |s: &mut Self, p: i64| {
            let addr = Addr { ptr, disp: place + p * bytes, int: None, value: None };
            s.p.b.push(Section::Finish, Inst::Load(addr), ty)
        };
        let sum = self.tree(op, ty, PARTIALS, &mut { load });
        self.p.results.insert((id, r, p), sum);
    }

    /// Partial p with p + n/2, then p + n/4 and so on, of `n` leaves.
    fn tree(&mut self, op: &Op, ty: Type, n: i64, leaf: &mut impl FnMut(&mut Self, i64) -> Ref) -> Ref {
        fn node<'p, 'k>(
            s: &mut Assembly<'p, 'k>,
            (combine, ty): (BinaryOp, Type),
            (p, level, n): (i64, i64, i64),
            leaf: &mut impl FnMut(&mut Assembly<'p, 'k>, i64) -> Ref,
        ) -> Ref {
            if level == n {
                return leaf(s, p);
            }
            let low = node(s, (combine, ty), (p, level * 2, n), leaf);
            let high = node(s, (combine, ty), (p + level, level * 2, n), leaf);
            s.p.b.push(Section::Finish, Inst::Binary(combine, low, high), ty)
        }
        let Kir::Accumulate { op: reduce, .. } = op.inst else { return 0 };
        node(self, (combiner(reduce, op.dtype), ty), (0, 1, n), leaf)
    }

    /// Blocks of 32 elements into registers; then the result, or the partials into the frame.
    fn accumulate_along(&mut self, part: Part) {
        let accs = self.ordered_ids();
        let vecs = self.p.tile.vecs;
        let mut carried = Vec::new();
        for (_, op) in &accs {
            let Kir::Accumulate { op: reduce, .. } = op.inst else { continue };
            let ty = self.p.ty(op.dtype, true);
            let identity = self.p.b.push(Section::Init, Inst::Const(Scalar::identity(reduce, op.dtype)), ty);
            carried.push((0..vecs).map(|_| self.p.b.carry(ty, identity)).collect::<Vec<_>>());
        }
        for v in 0..vecs {
            let p = v * self.p.tile.lanes;
            for ((_, op), regs) in accs.iter().zip(&carried) {
                let after = self.combine_element(op, regs[v as usize], 0, p, true);
                self.p.b.set_next(regs[v as usize], after);
            }
        }
        self.prefetch();
        self.p.outside = Section::Finish;
        for (k, ((id, op), regs)) in accs.iter().zip(&carried).enumerate() {
            let ty = self.p.ty(op.dtype, true);
            let bytes = i64::from(ty.lanes) * op.dtype.bytes() as i64;
            if part == Part::Blocks {
                for (v, &reg) in regs.iter().enumerate() {
                    let disp = (k as i64 * i64::from(vecs) + v as i64) * bytes;
                    let addr = self.frame_addr(op.dtype, disp, None);
                    self.p.b.push(Section::Finish, Inst::Store(addr, reg), ty);
                }
                self.frame = (k as i64 + 1) * i64::from(vecs) * bytes;
            } else {
                let sum = self.tree(op, ty, i64::from(vecs), &mut |_: &mut Self, v| regs[v as usize]);
                self.horizontal(*id, op, sum);
            }
        }
        if part == Part::Whole {
            self.effects(Section::Finish);
        }
    }

    fn horizontal(&mut self, id: ValueId, op: &Op, sum: Ref) {
        let Kir::Accumulate { op: reduce, .. } = op.inst else { return };
        let ty = Type { dtype: op.dtype, lanes: 1 };
        let result = self.p.b.push(Section::Finish, Inst::Horizontal(reduce, sum), ty);
        self.p.results.insert((id, 0, 0), result);
    }

    /// The elements after the last whole block, each into the partial of its number.
    fn accumulate_rest(&mut self) {
        for (k, (_, op)) in self.ordered_ids().iter().enumerate() {
            let bytes = op.dtype.bytes() as i64;
            let ty = Type { dtype: op.dtype, lanes: 1 };
            let addr = self.frame_addr(op.dtype, k as i64 * PARTIALS * bytes, None);
            if !self.rest_steps.iter().any(|s| s.0 == addr.ptr) {
                self.rest_steps.push((addr.ptr, bytes));
            }
            let before = self.p.b.push(Section::Body, Inst::Load(addr), ty);
            let after = self.combine_element(op, before, 0, 0, false);
            self.p.b.push(Section::Body, Inst::Store(addr, after), ty);
            self.frame = (k as i64 + 1) * PARTIALS * bytes;
        }
    }

    /// The tree over partials in the frame, several to a register.
    fn load_partials(&mut self) {
        self.p.outside = Section::Finish;
        for (k, (id, op)) in self.ordered_ids().iter().enumerate() {
            let ty = self.p.ty(op.dtype, true);
            let bytes = i64::from(ty.lanes) * op.dtype.bytes() as i64;
            let vecs = i64::from(self.p.tile.vecs);
            let ptr = self.p.b.ptr(&PtrArg::Frame, op.dtype);
            let place = k as i64 * vecs * bytes;
            let sum = self.tree(op, ty, vecs, &mut |s: &mut Self, v| {
                let addr = Addr { ptr, disp: place + v * bytes, int: None, value: None };
                s.p.b.push(Section::Finish, Inst::Load(addr), ty)
            });
            self.horizontal(*id, op, sum);
        }
    }

    /// Loops and pointer bumps, and the leaf.
    fn finish(mut self) -> Built {
        let plan = self.p.plan;
        let mut loops = Vec::new();
        let loop_axes: Vec<AxisId> = self.p.loops.iter().map(|l| l.axis).collect();
        for l in 0..self.p.loops.len() {
            let (axis, step) = (self.p.loops[l].axis, self.p.loops[l].step);
            let bounded = self.clamps.iter().any(|c| c.0 == axis) || (l == 0 && !self.live.is_empty());
            let count = self.loop_count(axis, step, self.p.loops[l].count, bounded);
            let ptrs: Vec<(PtrArg, DType)> = self.p.b.ptr_args().to_vec();
            let mut bumps = Vec::new();
            for (p, (arg, dtype)) in ptrs.iter().enumerate() {
                let Some(&(_, stride)) = arg.terms().iter().find(|t| t.0 == axis) else { continue };
                let scale = step * dtype.bytes() as i64;
                let bytes = match stride {
                    Size::Const(n) => Size::Const(n.wrapping_mul(scale)),
                    Size::Arg(_) => Size::Arg(self.p.b.int(IntArg::Sum(smallvec![(stride, scale)]))),
                };
                bumps.push((p as PtrId, bytes));
            }
            bumps.extend(self.rest_steps.iter().map(|&(ptr, bytes)| (ptr, Size::Const(bytes))));
            loops.push(Loop { count, bumps });
        }
        if loops.is_empty() && !self.live.is_empty() {
            let count = Size::Arg(self.p.b.int(IntArg::Live));
            loops.push(Loop { count, bumps: Vec::new() });
        }
        let after_blocks = if self.part == Part::Rest { loop_axes.last().copied() } else { None };
        let (leaf, ptrs, ints) = self.p.b.finish(loops);
        let stored = |b: Buf| (0..plan.kernel.stages.len()).any(|s| stores(plan.kernel, s, b));
        let readonly = |p: &PtrArg| match p {
            PtrArg::Element { buf: Buf::Arg(n), .. } => {
                plan.kernel.buffers[*n as usize].access == Access::Read && !stored(Buf::Arg(*n))
            }
            _ => false,
        };
        let readonly = ptrs.iter().map(readonly).collect();
        let (clamps, live, frame) = (self.clamps, self.live, self.frame);
        Built { leaf, ptrs, ints, readonly, clamps, live, loop_axes, after_blocks, frame }
    }

    fn loop_count(&mut self, axis: AxisId, step: i64, extent: Size, bounded: bool) -> Size {
        let b = &mut self.p.b;
        let arg = match (self.p.plan.mode, self.part, extent) {
            (Mode::Along, Part::Rest, Size::Const(n)) => return Size::Const(n % PARTIALS),
            (Mode::Along, Part::Rest, _) => IntArg::Rest(extent),
            (Mode::Along, _, Size::Const(n)) => return Size::Const(n / step),
            (Mode::Along, _, _) if step == PARTIALS => IntArg::Blocks(extent),
            (Mode::Map, ..) => IntArg::Trips(axis),
            (_, _, Size::Const(n)) if !bounded => return Size::Const(n),
            _ => IntArg::Trips(axis),
        };
        Size::Arg(b.int(arg))
    }
}

/// The operator that combines two elements of a reduction.
#[must_use]
pub fn combiner(reduce: ReduceOp, dtype: DType) -> BinaryOp {
    match (reduce, dtype) {
        (ReduceOp::Sum | ReduceOp::Max, DType::Bool) => BinaryOp::Or,
        (ReduceOp::Prod | ReduceOp::Min, DType::Bool) => BinaryOp::And,
        (ReduceOp::Sum, _) => BinaryOp::Add,
        (ReduceOp::Prod, _) => BinaryOp::Mul,
        (ReduceOp::Max, _) => BinaryOp::Max,
        (ReduceOp::Min, _) => BinaryOp::Min,
    }
}
