//! Short spellings for kernels in tests, and pseudo-random numbers.

use fornax_ir::dtype::DType;
use fornax_ir::kernel::{
    Access, Affine, Axis, AxisId, AxisKind, Buf, BufferDecl, InRange, IndexVar, Inst, Kernel, LocalDecl,
    Mask, Op, Order, Schedule, Size, Stage, StageSchedule, ValueId,
};
use fornax_ir::scalar::{BinaryOp, CompareOp, ReduceOp, Scalar, UnaryOp};

/// A pseudo-random sequence (xorshift64*).
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    pub fn below(&mut self, n: usize) -> usize {
        ((self.next() >> 33) % n as u64) as usize
    }
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// `n` elements: mostly small numbers, and with `special` a few corner cases.
pub fn elements(rng: &mut Rng, dtype: DType, n: usize, special: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..n {
        let bits = if special && rng.chance(15) {
            corner(rng, dtype)
        } else if dtype.is_float() {
            Scalar::from_f64(dtype, (rng.below(4096) as f64 - 2048.0) / 512.0).bits
        } else {
            Scalar::from_i64(dtype, rng.below(201) as i64 - 100).bits
        };
        bytes.extend_from_slice(&bits.to_le_bytes()[..dtype.bytes()]);
    }
    bytes
}

fn corner(rng: &mut Rng, dtype: DType) -> u64 {
    if dtype.is_float() {
        let values =
            [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 1e30, -3e9, 1e19, 5e-324, 2147483648.0];
        return Scalar::from_f64(dtype, rng.pick(&values)).bits;
    }
    let width = dtype.bytes() as u32 * 8;
    let values = [0, 1, u64::MAX, 1 << (width - 1), (1 << (width - 1)) - 1, u64::from(width), 3];
    Scalar::new(dtype, if dtype == DType::Bool { rng.next() & 1 } else { rng.pick(&values) }).bits
}

pub fn read(dtype: DType) -> BufferDecl {
    BufferDecl { dtype, access: Access::Read }
}
pub fn write(dtype: DType) -> BufferDecl {
    BufferDecl { dtype, access: Access::Write }
}
pub fn c(n: i64) -> Size {
    Size::Const(n)
}
pub fn par(extent: Size) -> Axis {
    Axis { extent, kind: AxisKind::Parallel }
}
pub fn red(extent: Size) -> Axis {
    Axis { extent, kind: AxisKind::Reduce }
}
pub fn seq(extent: Size) -> Axis {
    Axis { extent, kind: AxisKind::Sequential }
}
/// `offset + sum of stride * axis`.
pub fn at(offset: i64, terms: &[(AxisId, i64)]) -> Affine {
    Affine::new(c(offset), terms.iter().map(|&(a, s)| (IndexVar::Axis(a), c(s))))
}
/// The same with strides that may be arguments.
pub fn at_sizes(offset: Size, terms: &[(AxisId, Size)]) -> Affine {
    Affine::new(offset, terms.iter().map(|&(a, s)| (IndexVar::Axis(a), s)))
}
pub fn within(index: Affine, limit: i64) -> InRange {
    InRange { index, limit: c(limit) }
}
pub fn mask(conds: &[InRange]) -> Mask {
    conds.iter().cloned().collect()
}

/// A stage under construction.
#[derive(Default)]
pub struct Body(pub Vec<Op>);

impl Body {
    pub fn push(&mut self, inst: Inst, dtype: DType) -> ValueId {
        self.0.push(Op { inst, dtype });
        self.0.len() as ValueId - 1
    }
    pub fn dtype(&self, v: ValueId) -> DType {
        self.0[v as usize].dtype
    }
    pub fn load(&mut self, buf: u32, dtype: DType, at: Affine) -> ValueId {
        self.load_if(Buf::Arg(buf), dtype, at, Mask::new())
    }
    pub fn load_if(&mut self, src: Buf, dtype: DType, at: Affine, mask: Mask) -> ValueId {
        self.push(Inst::Load { src, at, mask }, dtype)
    }
    pub fn scalar(&mut self, s: Scalar) -> ValueId {
        self.push(Inst::Const(s), s.dtype)
    }
    pub fn un(&mut self, op: UnaryOp, a: ValueId) -> ValueId {
        let dtype = if op == UnaryOp::IsNan { DType::Bool } else { self.dtype(a) };
        self.push(Inst::Unary(op, a), dtype)
    }
    pub fn bin(&mut self, op: BinaryOp, a: ValueId, b: ValueId) -> ValueId {
        let dtype = self.dtype(a);
        self.push(Inst::Binary(op, a, b), dtype)
    }
    pub fn cmp(&mut self, op: CompareOp, a: ValueId, b: ValueId) -> ValueId {
        self.push(Inst::Compare(op, a, b), DType::Bool)
    }
    pub fn select(&mut self, cond: ValueId, a: ValueId, b: ValueId) -> ValueId {
        let dtype = self.dtype(a);
        self.push(Inst::Select(cond, a, b), dtype)
    }
    pub fn cast(&mut self, a: ValueId, to: DType) -> ValueId {
        self.push(Inst::Cast(a), to)
    }
    pub fn acc(&mut self, op: ReduceOp, order: Order, value: ValueId, mask: Mask) -> ValueId {
        let dtype = self.dtype(value);
        self.push(Inst::Accumulate { op, order, value, mask }, dtype)
    }
    pub fn store(&mut self, buf: u32, at: Affine, value: ValueId) {
        self.store_if(Buf::Arg(buf), at, value, Mask::new());
    }
    pub fn store_if(&mut self, dst: Buf, at: Affine, value: ValueId, mask: Mask) {
        let dtype = self.dtype(value);
        self.push(Inst::Store { dst, at, value, mask }, dtype);
    }
    pub fn stage(self, axes: Vec<Axis>) -> Stage {
        Stage { axes, body: self.0 }
    }
}

pub fn schedule(vector: Option<(AxisId, u32)>, rows: Option<(AxisId, u32)>, unroll: u32) -> StageSchedule {
    StageSchedule { vector, rows, unroll, ..StageSchedule::default() }
}

/// A kernel of one stage.
pub fn kernel(
    name: &str,
    buffers: Vec<BufferDecl>,
    scalars: u32,
    stage: Stage,
    schedule: StageSchedule,
) -> Kernel {
    Kernel {
        name: name.to_owned(),
        buffers,
        scalars,
        stages: vec![stage],
        schedule: Schedule { stages: vec![schedule], ..Schedule::default() },
        ..Kernel::default()
    }
}

pub fn local(dtype: DType, len: Size) -> LocalDecl {
    LocalDecl { dtype, len }
}
