//! Values of a stage's body at the points of a tile: a row, and a column along the vector axis.

use super::args::{CondId, IntArg, PtrArg, Tile};
use super::builder::{LeafBuilder, Ref, Section};
use super::{Form, StagePlan, State};
use fornax_ir::dtype::DType;
use fornax_ir::kernel::{Affine, AxisId, Buf, IndexVar, Inst as Kir, Mask, Op, Size, ValueId};
use fornax_ir::leaf::{Addr, Inst, Type};
use fornax_ir::scalar::{BinaryOp, CompareOp, Scalar};
use rustc_hash::FxHashMap;
use smallvec::smallvec;
use std::ops::Range;

/// One lane of i64.
pub(super) const I64: Type = Type { dtype: DType::I64, lanes: 1 };
const BOOL: Type = Type { dtype: DType::Bool, lanes: 1 };

/// A loop of the leaf: over an axis in steps of so many points.
pub(super) struct LoopSpec {
    pub axis: AxisId,
    pub count: Size,
    pub step: i64,
}

/// Which value at which row and column, and whether as a register.
type Instance = (ValueId, u32, u32, bool);

/// Instantiates the body of a stage for one tile.
pub(super) struct Points<'p, 'k> {
    pub plan: &'p StagePlan<'k>,
    pub tile: Tile,
    pub b: LeafBuilder,
    pub loops: Vec<LoopSpec>,
    /// Where values go that no loop of the leaf changes.
    pub outside: Section,
    /// What is known of each condition.
    pub states: Vec<State>,
    /// Conditions that hold wherever the body runs.
    pub implied: Vec<bool>,
    /// Values that are computed in the body.
    pub in_body: Vec<bool>,
    /// The results of the accumulations.
    pub results: FxHashMap<(ValueId, u32, u32), Ref>,
    memo: FxHashMap<(Section, Instance), Ref>,
}

impl<'p, 'k> Points<'p, 'k> {
    pub fn new(plan: &'p StagePlan<'k>, tile: Tile, known: &[Option<bool>], loops: Vec<LoopSpec>) -> Self {
        let conds = plan.conds.count();
        Points {
            plan,
            tile,
            b: LeafBuilder::default(),
            loops,
            outside: Section::Init,
            states: (0..conds).map(|c| plan.state(c, tile, known)).collect(),
            implied: vec![false; conds],
            in_body: Vec::new(),
            results: FxHashMap::default(),
            memo: FxHashMap::default(),
        }
    }

    /// Decides which values are computed in the body: those that the loops change, and loads that
    /// are only in bounds there. With no loops everything is.
    pub fn place(&mut self) {
        let axes = self.loops.iter().fold(0u64, |m, l| m | 1 << l.axis);
        let info = &self.plan.info;
        let mut in_body: Vec<bool> = Vec::new();
        for (i, op) in self.plan.stage.body.iter().enumerate() {
            let accumulates = matches!(op.inst, Kir::Accumulate { .. });
            let mut here = info.axes[i] & axes != 0 || accumulates;
            op.inst.for_each_operand(|v| here |= in_body[v as usize] && !info.post[v as usize]);
            if let Kir::Load { mask, .. } = &op.inst {
                here |= self.plan.conds.ids(mask).iter().any(|&c| self.implied[c]);
            }
            in_body.push((here && (accumulates || !info.post[i])) || self.loops.is_empty());
        }
        self.in_body = in_body;
    }

    /// How a value is held in this tile.
    pub fn form(&self, id: ValueId) -> Form {
        if self.tile.lanes > 1 { self.plan.forms[id as usize] } else { Form::Shared }
    }

    /// Whether a value is a register of several lanes in this tile.
    pub fn is_wide(&self, id: ValueId) -> bool {
        self.form(id) == Form::Wide
    }

    /// The columns of a value's instances among the lanes from column `p` on.
    pub fn columns(&self, id: ValueId, p: u32) -> Range<u32> {
        if self.form(id) == Form::Split { p..p + self.tile.lanes } else { p..p + 1 }
    }

    /// The type of a value in this tile.
    pub fn ty(&self, dtype: DType, wide: bool) -> Type {
        Type { dtype, lanes: if wide { self.tile.lanes } else { 1 } }
    }

    /// Row and column that tell a value's instances apart.
    pub fn instance(&self, id: ValueId, r: u32, p: u32) -> (u32, u32) {
        let by_row = self.plan.rows.is_some_and(|(axis, _)| self.plan.info.depends(id, axis));
        let column = match self.form(id) {
            Form::Shared => 0,
            Form::Wide => p - p % self.tile.lanes,
            Form::Split => p,
        };
        (if by_row { r } else { 0 }, column)
    }

    fn section(&self, id: ValueId) -> Section {
        if self.in_body[id as usize] && self.outside != Section::Finish {
            Section::Body
        } else {
            self.outside
        }
    }

    /// The value at row `r` and column `p` in one lane, or with `wide` in a register: then `p` is
    /// the register's first column.
    pub fn value(&mut self, id: ValueId, r: u32, p: u32, wide: bool) -> Ref {
        let wide = wide && self.tile.lanes > 1;
        let form = self.form(id);
        let first = self.instance(id, r, p);
        let (r, p) = (first.0, if form == Form::Wide && !wide { p } else { first.1 });
        let section = self.section(id);
        let key = (id, r, p, wide);
        for s in [Section::Init, section] {
            if let Some(&known) = self.memo.get(&(s, key)) {
                return known;
            }
        }
        let result = match (form, wide) {
            (Form::Shared, true) => self.splat(id, r, p, section),
            (Form::Split, true) => self.pack(id, r, p, section),
            (Form::Wide, false) => {
                let register = self.value(id, r, first.1, true);
                let ty = self.ty(self.plan.stage.body[id as usize].dtype, false);
                self.b.push(section, Inst::Lane(register, p - first.1), ty)
            }
            _ => self.compute(id, r, p, section),
        };
        self.memo.insert((section, key), result);
        result
    }

    /// A value that is computed lane by lane, as a register.
    fn pack(&mut self, id: ValueId, r: u32, p: u32, section: Section) -> Ref {
        let lanes: Vec<Ref> = (p..p + self.tile.lanes).map(|p| self.value(id, r, p, false)).collect();
        self.packed(lanes, self.plan.stage.body[id as usize].dtype, section)
    }

    /// A register of these lanes.
    fn packed(&mut self, lanes: Vec<Ref>, dtype: DType, section: Section) -> Ref {
        let first = lanes[0];
        let inst = if lanes.iter().all(|&l| l == first) { Inst::Splat(first) } else { Inst::Pack(lanes) };
        self.b.push(section, inst, self.ty(dtype, true))
    }

    /// A value that is the same in all lanes, in a register.
    fn splat(&mut self, id: ValueId, r: u32, p: u32, section: Section) -> Ref {
        let op = &self.plan.stage.body[id as usize];
        let ty = self.ty(op.dtype, true);
        let scalar_known =
            [Section::Init, section].iter().any(|s| self.memo.contains_key(&(*s, (id, r, p, false))));
        match &op.inst {
            Kir::Const(c) => self.b.push(section, Inst::Const(*c), ty),
            Kir::Load { src, at, mask } if !scalar_known && self.open_conds(mask, true).is_empty() => {
                let addr = self.address(*src, at, op.dtype, r, p, section);
                self.b.push(section, Inst::LoadSplat(addr), ty)
            }
            _ => {
                let scalar = self.value(id, r, p, false);
                self.b.push(section, Inst::Splat(scalar), ty)
            }
        }
    }

    fn compute(&mut self, id: ValueId, r: u32, p: u32, section: Section) -> Ref {
        let op = &self.plan.stage.body[id as usize];
        let wide = self.is_wide(id);
        let ty = self.ty(op.dtype, wide);
        let inst = match &op.inst {
            Kir::Const(c) => Inst::Const(*c),
            Kir::Arg(n) => return self.size(Size::Arg(*n), 1, section),
            Kir::Axis(a) => {
                let index = Affine::new(Size::ZERO, [(IndexVar::Axis(*a), Size::ONE)]);
                let first = self.index(&index, r, p, section);
                if !wide {
                    return first;
                }
                Inst::Ramp(first)
            }
            Kir::Load { src, at, mask } => {
                if self.fails(mask) {
                    return self.b.push(section, Inst::Const(Scalar::new(op.dtype, 0)), ty);
                }
                let by = match self.plan.vector {
                    Some((axis, ..)) if wide => at.stride(axis).as_const().unwrap_or(1),
                    _ => 1,
                };
                let addr = self.address(*src, at, op.dtype, r, p, section);
                match self.mask(mask, true, r, p, section) {
                    Some(_) if by != 1 => return self.load_lanes(op, r, p, section),
                    Some(cond) => Inst::LoadIf(cond, addr),
                    None if wide && self.tile.part => Inst::LoadPart(addr, self.left(p)),
                    None if by != 1 => Inst::LoadStrided(addr, by),
                    None => Inst::Load(addr),
                }
            }
            Kir::InRange(mask) => {
                if let Some(holds) = self.holds(mask) {
                    return self.b.push(section, Inst::Const(Scalar::bool(holds)), ty);
                }
                let always = Inst::Const(Scalar::bool(true));
                return match self.mask(mask, false, r, p, section) {
                    Some(cond) => cond,
                    None => self.b.push(section, always, ty),
                };
            }
            Kir::Unary(o, a) => Inst::Unary(*o, self.value(*a, r, p, wide)),
            Kir::Binary(o, a, b) => Inst::Binary(*o, self.value(*a, r, p, wide), self.value(*b, r, p, wide)),
            Kir::Compare(o, a, b) => {
                Inst::Compare(*o, self.value(*a, r, p, wide), self.value(*b, r, p, wide))
            }
            Kir::Select(a, b, c) if self.decided(*a).is_some() => {
                let taken = if self.decided(*a) == Some(true) { *b } else { *c };
                return self.value(taken, r, p, wide);
            }
            Kir::Select(a, b, c) => Inst::Select(
                self.value(*a, r, p, wide),
                self.value(*b, r, p, wide),
                self.value(*c, r, p, wide),
            ),
            Kir::Fma(a, b, c) => {
                Inst::Fma(self.value(*a, r, p, wide), self.value(*b, r, p, wide), self.value(*c, r, p, wide))
            }
            Kir::Scale(a, n) => Inst::Scale(self.value(*a, r, p, wide), self.value(*n, r, p, wide)),
            Kir::Cast(a) if wide && self.plan.counts(op) => {
                let Kir::Axis(a) = self.plan.stage.body[*a as usize].inst else { return 0 };
                let index = Affine::new(Size::ZERO, [(IndexVar::Axis(a), Size::ONE)]);
                Inst::Ramp(self.index(&index, r, p, section))
            }
            Kir::Cast(a) => Inst::Cast(self.value(*a, r, p, wide)),
            Kir::Bitcast(a) => Inst::Bitcast(self.value(*a, r, p, wide)),
            Kir::Accumulate { .. } => return self.results[&(id, r, p)],
            Kir::Store { .. } | Kir::Raise { .. } => unreachable!("stores and raises have no value"),
        };
        self.b.push(section, inst, ty)
    }

    /// How many of the points from column `p` of a partial tile on exist.
    pub fn left(&mut self, p: u32) -> Ref {
        let int = self.b.int(IntArg::Left);
        let left = self.b.push(Section::Init, Inst::Int(int), I64);
        if p == 0 {
            return left;
        }
        let before = self.size(Size::Const(i64::from(p)), 1, Section::Init);
        self.b.push(Section::Init, Inst::Binary(BinaryOp::Sub, left, before), I64)
    }

    /// A register of a masked load, one lane after the other.
    fn load_lanes(&mut self, op: &Op, r: u32, p: u32, section: Section) -> Ref {
        let Kir::Load { src, at, mask } = &op.inst else { return 0 };
        let mut lanes = Vec::new();
        for p in p..p + self.tile.lanes {
            let addr = self.address(*src, at, op.dtype, r, p, section);
            let inst = match self.mask(mask, true, r, p, section) {
                Some(cond) => Inst::LoadIf(cond, addr),
                None => Inst::Load(addr),
            };
            lanes.push(self.b.push(section, inst, self.ty(op.dtype, false)));
        }
        self.packed(lanes, op.dtype, section)
    }

    /// A size times a constant, i64.
    pub fn size(&mut self, size: Size, scale: i64, section: Section) -> Ref {
        let inst = match size {
            Size::Const(n) => Inst::Const(Scalar::i64(n.wrapping_mul(scale))),
            Size::Arg(_) => Inst::Int(self.b.int(IntArg::Sum(smallvec![(size, scale)]))),
        };
        self.b.push(section, inst, I64)
    }

    fn add(&mut self, a: Ref, b: Ref, section: Section) -> Ref {
        self.b.push(section, Inst::Binary(BinaryOp::Add, a, b), I64)
    }

    fn times(&mut self, a: Ref, size: Size, scale: i64, section: Section) -> Ref {
        if size == Size::Const(1) && scale == 1 {
            return a;
        }
        let factor = self.size(size, scale, section);
        self.b.push(section, Inst::Binary(BinaryOp::Mul, a, factor), I64)
    }

    /// How far row `r` and column `p` are from the tile's first point, along an axis.
    fn offset_in_tile(&self, axis: AxisId, r: u32, p: u32) -> i64 {
        let row = if self.plan.rows.is_some_and(|(a, _)| a == axis) { i64::from(r) } else { 0 };
        let lane = if self.plan.vector.is_some_and(|v| v.0 == axis) { i64::from(p) } else { 0 };
        row + lane
    }

    /// An index, with the leaf's counters and the body's values, i64.
    pub fn index(&mut self, affine: &Affine, r: u32, p: u32, section: Section) -> Ref {
        let mut fixed = affine.clone();
        fixed.terms.retain(|t| matches!(t.0, IndexVar::Axis(_)));
        let mut sum = if fixed.terms.is_empty() {
            self.size(affine.offset, 1, section)
        } else {
            let int = self.b.int(IntArg::Index(fixed));
            self.b.push(section, Inst::Int(int), I64)
        };
        for &(var, stride) in &affine.terms {
            match var {
                IndexVar::Value(value) => {
                    let value = self.value(value, r, p, false);
                    let term = self.times(value, stride, 1, section);
                    sum = self.add(sum, term, section);
                }
                IndexVar::Axis(a) => {
                    if let Some((l, step)) = self.loop_of(a) {
                        let counter = self.b.push(section, Inst::Counter(l), I64);
                        let term = self.times(counter, stride, step, section);
                        sum = self.add(sum, term, section);
                    }
                    let inside = self.offset_in_tile(a, r, p);
                    if inside != 0 {
                        let term = self.size(stride, inside, section);
                        sum = self.add(sum, term, section);
                    }
                }
            }
        }
        sum
    }

    fn loop_of(&self, axis: AxisId) -> Option<(u32, i64)> {
        let found = self.loops.iter().position(|l| l.axis == axis);
        found.map(|l| (l as u32, self.loops[l].step))
    }

    /// The address of an element.
    pub fn address(&mut self, buf: Buf, at: &Affine, dtype: DType, r: u32, p: u32, section: Section) -> Addr {
        let bytes = dtype.bytes() as i64;
        let (mut terms, mut disp) = (smallvec![], 0i64);
        let (mut int, mut value) = (smallvec![], None);
        for &(var, stride) in &at.terms {
            match var {
                IndexVar::Axis(a) => {
                    terms.push((a, stride));
                    let inside = self.offset_in_tile(a, r, p) * bytes;
                    match stride.as_const() {
                        Some(stride) => disp = disp.wrapping_add(stride.wrapping_mul(inside)),
                        None if inside != 0 => int.push((stride, inside)),
                        None => {}
                    }
                }
                IndexVar::Value(index) => {
                    let index = self.value(index, r, p, false);
                    let term = self.times(index, stride, bytes, section);
                    value = Some(value.map_or(term, |sum| self.add(sum, term, section)));
                }
            }
        }
        let mut offset = at.offset;
        if let Size::Const(n) = at.offset {
            let first = self.b.ptr_args().iter().find_map(|(p, _)| match p {
                PtrArg::Element { buf: b, offset: Size::Const(o), terms: t } if *b == buf && *t == terms => {
                    Some(*o)
                }
                _ => None,
            });
            let first = first.unwrap_or(n);
            offset = Size::Const(first);
            disp = disp.wrapping_add(n.wrapping_sub(first).wrapping_mul(bytes));
        }
        let ptr = self.b.ptr(&PtrArg::Element { buf, offset, terms }, dtype);
        let int = if int.is_empty() { None } else { Some(self.b.int(IntArg::Sum(int))) };
        Addr { ptr, disp, int, value }
    }

    /// Whether a condition of the mask is known not to hold.
    pub fn fails(&self, mask: &Mask) -> bool {
        self.plan.conds.ids(mask).iter().any(|&c| self.states[c] == State::Failed)
    }

    /// Whether a mask holds, if the driver has found that out.
    fn holds(&self, mask: &Mask) -> Option<bool> {
        let proven = |&c: &CondId| self.states[c] == State::Proven;
        if self.fails(mask) {
            Some(false)
        } else {
            self.plan.conds.ids(mask).iter().all(proven).then_some(true)
        }
    }

    /// What a value that tells whether a mask holds is known to be.
    fn decided(&self, id: ValueId) -> Option<bool> {
        match &self.plan.stage.body[id as usize].inst {
            Kir::InRange(mask) => self.holds(mask),
            _ => None,
        }
    }

    /// The conditions of a mask that are not known to hold here.
    pub fn open_conds(&self, mask: &Mask, load: bool) -> Vec<CondId> {
        let mut conds = self.plan.conds.ids(mask);
        let implied = |c: CondId| load && self.outside != Section::Finish && self.implied[c];
        conds.retain(|&c| self.states[c] != State::Proven && !implied(c));
        conds
    }

    /// Whether a mask holds, one-lane bool; `None` if it is known to.
    pub fn mask(&mut self, mask: &Mask, load: bool, r: u32, p: u32, section: Section) -> Option<Ref> {
        let conds = self.open_conds(mask, load);
        self.all_of(&conds, r, p, section)
    }

    /// Whether all conditions hold; `None` for none.
    pub fn all_of(&mut self, conds: &[CondId], r: u32, p: u32, section: Section) -> Option<Ref> {
        let mut all = None;
        for &c in conds {
            let cond = self.cond(c, r, p, section);
            all = Some(match all {
                None => cond,
                Some(before) => self.b.push(section, Inst::Binary(BinaryOp::And, before, cond), BOOL),
            });
        }
        all
    }

    /// As [`Points::all_of`] for a register of points from column `p` on.
    pub fn all_of_wide(&mut self, conds: &[CondId], r: u32, p: u32, section: Section) -> Option<Ref> {
        let columns = p..p + self.tile.lanes;
        let lanes: Option<Vec<Ref>> = columns.map(|p| self.all_of(conds, r, p, section)).collect();
        lanes.map(|lanes| self.packed(lanes, DType::Bool, section))
    }

    fn cond(&mut self, c: CondId, r: u32, p: u32, section: Section) -> Ref {
        if self.states[c] == State::Uniform {
            let section = if section == Section::Body { Section::Init } else { section };
            let int = self.b.int(IntArg::Cond(c));
            let holds = self.b.push(section, Inst::Int(int), I64);
            let zero = self.size(Size::ZERO, 1, section);
            return self.b.push(section, Inst::Compare(CompareOp::Ne, holds, zero), BOOL);
        }
        let cond = self.plan.conds.get(c).clone();
        let index = self.index(&cond.index, r, p, section);
        let zero = self.size(Size::ZERO, 1, section);
        let limit = self.size(cond.limit, 1, section);
        let above = self.b.push(section, Inst::Compare(CompareOp::Ge, index, zero), BOOL);
        let below = self.b.push(section, Inst::Compare(CompareOp::Lt, index, limit), BOOL);
        self.b.push(section, Inst::Binary(BinaryOp::And, above, below), BOOL)
    }
}
