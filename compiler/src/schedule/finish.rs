//! From a draft to a KIR kernel: axes get their numbers, index expressions become affine maps plus
//! instructions for what is not affine, and symbolic extents become scalar arguments.

use super::Refuse;
use super::draft::{Bounds, DraftAxis, DraftInst, DraftKernel, DraftStage, Place, VALUE_BASE};
use fornax_ir::dim::{Atom, DimKind, Ranges, prove_nonneg};
use fornax_ir::kernel::{
    Access, Affine, Axis, Buf, BufferDecl, InRange, IndexVar, Inst, Kernel, LocalDecl, Mask, Op, Size, Stage,
    ValueId as Val,
};
use fornax_ir::scalar::{BinaryOp, CompareOp, Scalar};
use fornax_ir::{DType, Dim};
use rustc_hash::FxHashMap;

/// A kernel with what its arguments stand for.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The kernel, not scheduled yet.
    pub kernel: Kernel,
    /// What each buffer argument is.
    pub(crate) buffers: Vec<Place>,
    /// What each scalar argument is.
    pub scalars: Vec<Dim>,
}

struct Finisher<'r> {
    ranges: &'r Ranges,
    kernel: Kernel,
    buffers: Vec<Place>,
    scalars: Vec<Dim>,
    scalar_ids: FxHashMap<Dim, u32>,
    locals: Vec<fornax_ir::graph::ValueId>,
    dtype_of: &'r dyn Fn(Place) -> DType,
    /// Of the present stage: final number of each draft axis, and of each draft value.
    axis_ids: FxHashMap<u32, u32>,
    value_ids: Vec<Val>,
    body: Vec<Op>,
    computed: FxHashMap<Dim, Val>,
}

type Result<T> = std::result::Result<T, Refuse>;

/// Finishes a draft. `dtype_of` tells the element type of a place.
pub(crate) fn finish(
    draft: &DraftKernel,
    ranges: &Ranges,
    dtype_of: &dyn Fn(Place) -> DType,
) -> Result<Finished> {
    let mut f = Finisher {
        ranges,
        kernel: Kernel::default(),
        buffers: vec![],
        scalars: vec![],
        scalar_ids: FxHashMap::default(),
        locals: draft.locals.iter().map(|l| l.0).collect(),
        dtype_of,
        axis_ids: FxHashMap::default(),
        value_ids: vec![],
        body: vec![],
        computed: FxHashMap::default(),
    };
    f.kernel.outer = f.axes(&draft.outer);
    for (_, dtype, len) in &draft.locals {
        let len = f.size(len);
        f.kernel.locals.push(LocalDecl { dtype: *dtype, len });
    }
    for stage in &draft.stages {
        f.stage(&draft.outer, stage)?;
    }
    f.kernel.scalars = f.scalars.len() as u32;
    Ok(Finished { kernel: f.kernel, buffers: f.buffers, scalars: f.scalars })
}

impl Finisher<'_> {
    fn axes(&mut self, axes: &[DraftAxis]) -> Vec<Axis> {
        axes.iter().map(|a| Axis { extent: self.size(&a.extent), kind: a.kind }).collect()
    }

    fn size(&mut self, d: &Dim) -> Size {
        if let Some(v) = d.as_const() {
            return Size::Const(v);
        }
        let next = self.scalars.len() as u32;
        let id = *self.scalar_ids.entry(d.clone()).or_insert(next);
        if id == next {
            self.scalars.push(d.clone());
        }
        Size::Arg(id)
    }

    fn stage(&mut self, outer: &[DraftAxis], stage: &DraftStage) -> Result<()> {
        self.axis_ids = outer.iter().chain(&stage.axes).enumerate().map(|(i, a)| (a.id, i as u32)).collect();
        self.value_ids.clear();
        self.body.clear();
        self.computed.clear();
        for (inst, dtype) in &stage.ops {
            let val = self.inst(inst, *dtype)?;
            self.value_ids.push(val);
        }
        let axes = self.axes(&stage.axes);
        self.kernel.stages.push(Stage { axes, body: std::mem::take(&mut self.body) });
        Ok(())
    }

    fn push(&mut self, inst: Inst, dtype: DType) -> Val {
        self.body.push(Op { inst, dtype });
        self.body.len() as Val - 1
    }
    fn constant(&mut self, v: i64) -> Val {
        self.push(Inst::Const(Scalar::i64(v)), DType::I64)
    }

    fn inst(&mut self, inst: &DraftInst, dtype: DType) -> Result<Val> {
        let done = match inst {
            DraftInst::Plain(inst) => self.renumbered(inst),
            DraftInst::Index(d) => return self.index_value(d),
            DraftInst::Load { src, at, mask } => {
                let (src, at, mask) = (self.buffer(*src, Access::Read), self.affine(at)?, self.mask(mask)?);
                Inst::Load { src, at, mask }
            }
            DraftInst::InRange(m) => Inst::InRange(self.mask(m)?),
            DraftInst::Accumulate { op, order, value, mask } => {
                let mask = self.mask(mask)?;
                Inst::Accumulate { op: *op, order: *order, value: self.value_ids[*value as usize], mask }
            }
            DraftInst::Store { dst, at, value, mask } => {
                let (dst, at) = (self.buffer(*dst, Access::Write), self.affine(at)?);
                Inst::Store { dst, at, value: self.value_ids[*value as usize], mask: self.mask(mask)? }
            }
            DraftInst::Raise { cond, detail } => {
                // A scalar argument, so that equal layers share the kernel.
                let detail = self.size(&Dim::symbol(&format!("{DETAIL}{detail}")));
                Inst::Raise { cond: self.value_ids[*cond as usize], detail }
            }
        };
        Ok(self.push(done, dtype))
    }

    fn renumbered(&self, inst: &Inst) -> Inst {
        let v = |k: &Val| self.value_ids[*k as usize];
        match inst {
            Inst::Unary(o, a) => Inst::Unary(*o, v(a)),
            Inst::Binary(o, a, b) => Inst::Binary(*o, v(a), v(b)),
            Inst::Compare(o, a, b) => Inst::Compare(*o, v(a), v(b)),
            Inst::Select(a, b, c) => Inst::Select(v(a), v(b), v(c)),
            Inst::Cast(a) => Inst::Cast(v(a)),
            Inst::Bitcast(a) => Inst::Bitcast(v(a)),
            other => other.clone(),
        }
    }

    fn buffer(&mut self, place: Place, access: Access) -> Buf {
        if let Place::Local(v) = place {
            let at = self.locals.iter().position(|l| *l == v).expect("locals are declared");
            return Buf::Local(at as u32);
        }
        let at = self.buffers.iter().position(|p| *p == place).unwrap_or_else(|| {
            self.buffers.push(place);
            self.kernel.buffers.push(BufferDecl { dtype: (self.dtype_of)(place), access });
            self.buffers.len() - 1
        });
        Buf::Arg(at as u32)
    }

    fn mask(&mut self, bounds: &Bounds) -> Result<Mask> {
        bounds
            .iter()
            .map(|(i, limit)| Ok(InRange { index: self.affine(i)?, limit: self.size(limit) }))
            .collect()
    }

    fn variable(&mut self, id: u32) -> Result<IndexVar> {
        if id >= VALUE_BASE {
            return Ok(IndexVar::Value(self.value_ids[(id - VALUE_BASE) as usize]));
        }
        self.axis_ids
            .get(&id)
            .map(|&a| IndexVar::Axis(a))
            .ok_or(Refuse("an index over an axis of another stage"))
    }

    fn affine(&mut self, d: &Dim) -> Result<Affine> {
        if d.is_poisoned() {
            return Err(Refuse("an index expression overflows"));
        }
        let split = d.split_axes();
        let mut terms: Vec<(IndexVar, Size)> = vec![];
        for (id, stride) in &split.linear {
            terms.push((self.variable(*id)?, self.size(stride)));
        }
        for (stride, atom) in &split.atoms {
            let val = self.atom(atom)?;
            let stride = self.size(stride);
            match terms.iter().position(|t| t.0 == IndexVar::Value(val)) {
                Some(_) => return Err(Refuse("an index uses one quotient twice")),
                None => terms.push((IndexVar::Value(val), stride)),
            }
        }
        let offset = self.size(&split.offset);
        Ok(Affine::new(offset, terms))
    }

    fn index_value(&mut self, d: &Dim) -> Result<Val> {
        if let Some(&v) = self.computed.get(d) {
            return Ok(v);
        }
        let val = match d.kind() {
            _ if !d.has_axes() => match self.size(d) {
                Size::Const(v) => self.constant(v),
                Size::Arg(n) => self.push(Inst::Arg(n), DType::I64),
            },
            DimKind::Sum(terms) => {
                let mut sum = None;
                for (coeff, atoms) in terms {
                    let term = self.term(coeff, &atoms)?;
                    sum = Some(match sum {
                        None => term,
                        Some(s) => self.push(Inst::Binary(BinaryOp::Add, s, term), DType::I64),
                    });
                }
                sum.ok_or(Refuse("an empty index expression"))?
            }
            _ => return Err(Refuse("an index expression overflows")),
        };
        self.computed.insert(d.clone(), val);
        Ok(val)
    }

    fn term(&mut self, coeff: i64, atoms: &[Atom]) -> Result<Val> {
        let mut product = None;
        for a in atoms {
            let val = self.atom(a)?;
            product = Some(match product {
                None => val,
                Some(p) => self.push(Inst::Binary(BinaryOp::Mul, p, val), DType::I64),
            });
        }
        Ok(match (product, coeff) {
            (None, c) => self.constant(c),
            (Some(p), 1) => p,
            (Some(p), c) => {
                let c = self.constant(c);
                self.push(Inst::Binary(BinaryOp::Mul, p, c), DType::I64)
            }
        })
    }

    fn atom(&mut self, atom: &Atom) -> Result<Val> {
        match atom {
            Atom::Symbol(s) => {
                let d = Dim::symbol(s);
                self.index_value(&d)
            }
            Atom::Axis(k) => match self.variable(*k)? {
                IndexVar::Axis(a) => {
                    let key = Dim::axis(*k);
                    if let Some(&v) = self.computed.get(&key) {
                        return Ok(v);
                    }
                    let v = self.push(Inst::Axis(a), DType::I64);
                    self.computed.insert(key, v);
                    Ok(v)
                }
                IndexVar::Value(v) => Ok(v),
            },
            Atom::FloorDiv(a, b) => self.quotient(a, b),
            Atom::Min(v) => self.fold(BinaryOp::Min, v),
            Atom::Max(v) => self.fold(BinaryOp::Max, v),
            Atom::Product(v) => self.fold(BinaryOp::Mul, v),
        }
    }

    fn fold(&mut self, op: BinaryOp, dims: &[Dim]) -> Result<Val> {
        let mut val = self.index_value(&dims[0])?;
        for d in &dims[1..] {
            let b = self.index_value(d)?;
            val = self.push(Inst::Binary(op, val, b), DType::I64);
        }
        Ok(val)
    }

    /// `floor(a / b)`, b > 0. The IR's division truncates.
    fn quotient(&mut self, a: &Dim, b: &Dim) -> Result<Val> {
        let key = a.floor_div(b);
        if let Some(&v) = self.computed.get(&key) {
            return Ok(v);
        }
        let (num, den) = (self.index_value(a)?, self.index_value(b)?);
        let mut q = self.push(Inst::Binary(BinaryOp::Div, num, den), DType::I64);
        if !prove_nonneg(a, self.ranges) {
            let back = self.push(Inst::Binary(BinaryOp::Mul, q, den), DType::I64);
            let below = self.push(Inst::Compare(CompareOp::Lt, num, back), DType::Bool);
            let one = self.constant(1);
            let less = self.push(Inst::Binary(BinaryOp::Sub, q, one), DType::I64);
            q = self.push(Inst::Select(below, less, q), DType::I64);
        }
        self.computed.insert(key, q);
        Ok(q)
    }
}

/// Prefix of the symbols that stand for the message of an index error: `DETAIL` and the value's number.
pub(crate) const DETAIL: &str = "\u{1}detail";
