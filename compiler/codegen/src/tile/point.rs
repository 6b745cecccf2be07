//! Values of a stage's body at one row and register of a tile.

use super::args::{CondId, IntArg, PtrArg, Tile};
use super::builder::{LeafBuilder, Ref, Section};
use super::{StagePlan, State};
use fornax_ir::dtype::DType;
use fornax_ir::kernel::{Affine, AxisId, Buf, IndexVar, Inst as Kir, Mask, Size, ValueId};
use fornax_ir::leaf::{Addr, Inst, Type};
use fornax_ir::scalar::{BinaryOp, CompareOp, Scalar};
use rustc_hash::FxHashMap;
use smallvec::smallvec;

/// One lane of i64.
pub(super) const I64: Type = Type { dtype: DType::I64, lanes: 1 };
const BOOL: Type = Type { dtype: DType::Bool, lanes: 1 };

/// A loop of the leaf: over an axis in steps of so many points.
pub(super) struct LoopSpec {
    pub axis: AxisId,
    pub count: Size,
    pub step: i64,
}

/// Which value at which row and register, and whether as a register.
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
    pub fn new(plan: &'p StagePlan<'k>, tile: Tile, proven: &[bool], loops: Vec<LoopSpec>) -> Self {
        let conds = plan.conds.count();
        Points {
            plan,
            tile,
            b: LeafBuilder::default(),
            loops,
            outside: Section::Init,
            states: (0..conds).map(|c| plan.state(c, tile, proven)).collect(),
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

    /// Whether a value is a register of several lanes in this tile.
    pub fn is_wide(&self, id: ValueId) -> bool {
        self.tile.lanes > 1 && self.plan.lanewise[id as usize]
    }

    /// The type of a value in this tile.
    pub fn ty(&self, dtype: DType, wide: bool) -> Type {
        Type { dtype, lanes: if wide { self.tile.lanes } else { 1 } }
    }

    /// Row and register that tell a value's instances apart.
    pub fn instance(&self, id: ValueId, r: u32, v: u32) -> (u32, u32) {
        let by_row = self.plan.rows.is_some_and(|(axis, _)| self.plan.info.depends(id, axis));
        (if by_row { r } else { 0 }, if self.is_wide(id) { v } else { 0 })
    }

    fn section(&self, id: ValueId) -> Section {
        if self.in_body[id as usize] && self.outside != Section::Finish {
            Section::Body
        } else {
            self.outside
        }
    }

    /// The value at row `r` and register `v`, in one lane unless it differs between lanes or
    /// `wide` asks for a register.
    pub fn value(&mut self, id: ValueId, r: u32, v: u32, wide: bool) -> Ref {
        let (r, v) = self.instance(id, r, v);
        let natural = self.is_wide(id);
        let wide = (wide && self.tile.lanes > 1) || natural;
        let section = self.section(id);
        let key = (id, r, v, wide);
        for s in [Section::Init, section] {
            if let Some(&known) = self.memo.get(&(s, key)) {
                return known;
            }
        }
        let result =
            if wide && !natural { self.splat(id, r, v, section) } else { self.compute(id, r, v, section) };
        self.memo.insert((section, key), result);
        result
    }

    /// A value that is the same in all lanes, as a register.
    fn splat(&mut self, id: ValueId, r: u32, v: u32, section: Section) -> Ref {
        let op = &self.plan.stage.body[id as usize];
        let ty = self.ty(op.dtype, true);
        let scalar_known =
            [Section::Init, section].iter().any(|s| self.memo.contains_key(&(*s, (id, r, v, false))));
        match &op.inst {
            Kir::Const(c) => self.b.push(section, Inst::Const(*c), ty),
            Kir::Load { src, at, mask } if !scalar_known && self.open_conds(mask, true).is_empty() => {
                let addr = self.address(*src, at, op.dtype, r, v, section);
                self.b.push(section, Inst::LoadSplat(addr), ty)
            }
            _ => {
                let scalar = self.value(id, r, v, false);
                self.b.push(section, Inst::Splat(scalar), ty)
            }
        }
    }

    fn compute(&mut self, id: ValueId, r: u32, v: u32, section: Section) -> Ref {
        let op = &self.plan.stage.body[id as usize];
        let wide = self.is_wide(id);
        let ty = self.ty(op.dtype, wide);
        let inst = match &op.inst {
            Kir::Const(c) => Inst::Const(*c),
            Kir::Arg(n) => return self.size(Size::Arg(*n), 1, section),
            Kir::Axis(a) => {
                let index = Affine::new(Size::ZERO, [(IndexVar::Axis(*a), Size::ONE)]);
                let first = self.index(&index, r, v, section);
                if !wide {
                    return first;
                }
                Inst::Ramp(first)
            }
            Kir::Load { src, at, mask } => {
                let addr = self.address(*src, at, op.dtype, r, v, section);
                match self.mask(mask, true, r, v, section) {
                    Some(cond) => Inst::LoadIf(cond, addr),
                    None => Inst::Load(addr),
                }
            }
            Kir::InRange(mask) => {
                let always = Inst::Const(Scalar::bool(true));
                return match self.mask(mask, false, r, v, section) {
                    Some(cond) => cond,
                    None => self.b.push(section, always, ty),
                };
            }
            Kir::Unary(o, a) => Inst::Unary(*o, self.value(*a, r, v, wide)),
            Kir::Binary(o, a, b) => Inst::Binary(*o, self.value(*a, r, v, wide), self.value(*b, r, v, wide)),
            Kir::Compare(o, a, b) => {
                Inst::Compare(*o, self.value(*a, r, v, wide), self.value(*b, r, v, wide))
            }
            Kir::Select(a, b, c) => Inst::Select(
                self.value(*a, r, v, wide),
                self.value(*b, r, v, wide),
                self.value(*c, r, v, wide),
            ),
            Kir::Fma(a, b, c) => {
                Inst::Fma(self.value(*a, r, v, wide), self.value(*b, r, v, wide), self.value(*c, r, v, wide))
            }
            Kir::Cast(a) => Inst::Cast(self.value(*a, r, v, wide)),
            Kir::Bitcast(a) => Inst::Bitcast(self.value(*a, r, v, wide)),
            Kir::Accumulate { .. } => return self.results[&(id, r, v)],
            Kir::Store { .. } | Kir::Raise { .. } => unreachable!("stores and raises have no value"),
        };
        self.b.push(section, inst, ty)
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

    /// How far row `r` and register `v` are from the tile's first point, along an axis.
    fn offset_in_tile(&self, axis: AxisId, r: u32, v: u32) -> i64 {
        let row = if self.plan.rows.is_some_and(|(a, _)| a == axis) { i64::from(r) } else { 0 };
        let lane = match self.plan.vector {
            Some((a, _, lanes)) if a == axis && self.tile.lanes > 1 => i64::from(v) * i64::from(lanes),
            _ => 0,
        };
        row + lane
    }

    /// An index, with the leaf's counters and the body's values, i64.
    pub fn index(&mut self, affine: &Affine, r: u32, v: u32, section: Section) -> Ref {
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
                    let value = self.value(value, r, v, false);
                    let term = self.times(value, stride, 1, section);
                    sum = self.add(sum, term, section);
                }
                IndexVar::Axis(a) => {
                    if let Some((l, step)) = self.loop_of(a) {
                        let counter = self.b.push(section, Inst::Counter(l), I64);
                        let term = self.times(counter, stride, step, section);
                        sum = self.add(sum, term, section);
                    }
                    let inside = self.offset_in_tile(a, r, v);
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
    pub fn address(&mut self, buf: Buf, at: &Affine, dtype: DType, r: u32, v: u32, section: Section) -> Addr {
        let bytes = dtype.bytes() as i64;
        let (mut terms, mut disp) = (smallvec![], 0i64);
        let (mut int, mut value) = (smallvec![], None);
        for &(var, stride) in &at.terms {
            match var {
                IndexVar::Axis(a) => {
                    terms.push((a, stride));
                    let inside = self.offset_in_tile(a, r, v) * bytes;
                    match stride.as_const() {
                        Some(stride) => disp = disp.wrapping_add(stride.wrapping_mul(inside)),
                        None if inside != 0 => int.push((stride, inside)),
                        None => {}
                    }
                }
                IndexVar::Value(index) => {
                    let index = self.value(index, r, v, false);
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

    /// The conditions of a mask that are not known to hold here.
    pub fn open_conds(&self, mask: &Mask, load: bool) -> Vec<CondId> {
        let mut conds = self.plan.conds.ids(mask);
        let implied = |c: CondId| load && self.outside != Section::Finish && self.implied[c];
        conds.retain(|&c| self.states[c] != State::Proven && !implied(c));
        conds
    }

    /// Whether a mask holds, one-lane bool; `None` if it is known to.
    pub fn mask(&mut self, mask: &Mask, load: bool, r: u32, v: u32, section: Section) -> Option<Ref> {
        let conds = self.open_conds(mask, load);
        self.all_of(&conds, r, v, section)
    }

    /// Whether all conditions hold; `None` for none.
    pub fn all_of(&mut self, conds: &[CondId], r: u32, v: u32, section: Section) -> Option<Ref> {
        let mut all = None;
        for &c in conds {
            let cond = self.cond(c, r, v, section);
            all = Some(match all {
                None => cond,
                Some(before) => self.b.push(section, Inst::Binary(BinaryOp::And, before, cond), BOOL),
            });
        }
        all
    }

    fn cond(&mut self, c: CondId, r: u32, v: u32, section: Section) -> Ref {
        if self.states[c] == State::Uniform {
            let section = if section == Section::Body { Section::Init } else { section };
            let int = self.b.int(IntArg::Cond(c));
            let holds = self.b.push(section, Inst::Int(int), I64);
            let zero = self.size(Size::ZERO, 1, section);
            return self.b.push(section, Inst::Compare(CompareOp::Ne, holds, zero), BOOL);
        }
        let cond = self.plan.conds.get(c).clone();
        let index = self.index(&cond.index, r, v, section);
        let zero = self.size(Size::ZERO, 1, section);
        let limit = self.size(cond.limit, 1, section);
        let above = self.b.push(section, Inst::Compare(CompareOp::Ge, index, zero), BOOL);
        let below = self.b.push(section, Inst::Compare(CompareOp::Lt, index, limit), BOOL);
        self.b.push(section, Inst::Binary(BinaryOp::And, above, below), BOOL)
    }
}
