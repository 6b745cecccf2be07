//! Writing instruction sequences: equal ones become one value.

use crate::dtype::DType;
use crate::kernel::{Inst, Op, ValueId};
use crate::scalar::{BinaryOp, CompareOp, Scalar, UnaryOp};
use rustc_hash::FxHashMap;

/// A body under construction.
#[derive(Default)]
pub(super) struct Emit {
    pub(super) body: Vec<Op>,
    known: FxHashMap<Op, ValueId>,
}

/// The facts of a float format that expansions need.
#[derive(Clone, Copy)]
pub(super) struct Format {
    /// f32 or f64.
    pub float: DType,
    /// The unsigned integer of equal width.
    pub int: DType,
    /// Stored bits of the significand.
    pub mantissa: u32,
    /// Of the exponent.
    pub bias: i64,
}

impl Format {
    /// The facts of f64, or of f32 for every other dtype.
    pub(super) fn of(dtype: DType) -> Format {
        match dtype {
            DType::F64 => Format { float: DType::F64, int: DType::U64, mantissa: 52, bias: 1023 },
            _ => Format { float: DType::F32, int: DType::U32, mantissa: 23, bias: 127 },
        }
    }
    pub(super) fn double(self) -> bool {
        self.float == DType::F64
    }
    /// 1.5 * 2^mantissa: adding it rounds to an integer, which then stands in the low bits.
    pub(super) fn magic(self) -> f64 {
        1.5 * (1u64 << self.mantissa) as f64
    }
    /// As [`Format::magic`], with the bias in the low bits as well: their sum is the exponent of that power of two.
    pub(super) fn exponent_magic(self) -> f64 {
        self.magic() + self.bias as f64
    }
    pub(super) fn sign_bit(self) -> u64 {
        1 << (self.float.bytes() * 8 - 1)
    }
    /// The bits of a value of the format.
    pub(super) fn bits(self, v: f64) -> u64 {
        Scalar::from_f64(self.float, v).bits
    }
}

/// The upper and lower part of a value that one float cannot hold.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    pub hi: ValueId,
    pub lo: ValueId,
}

impl Emit {
    /// Appends an instruction.
    pub(super) fn push(&mut self, inst: Inst, dtype: DType) -> ValueId {
        self.body.push(Op { inst, dtype });
        (self.body.len() - 1) as ValueId
    }
    /// A value that depends on nothing but its operands: an earlier equal one, or a new one.
    pub(super) fn pure(&mut self, inst: Inst, dtype: DType) -> ValueId {
        let op = Op { inst, dtype };
        if let Some(&v) = self.known.get(&op) {
            return v;
        }
        let v = self.push(op.inst.clone(), dtype);
        self.known.insert(op, v);
        v
    }
    pub(super) fn dtype(&self, v: ValueId) -> DType {
        self.body[v as usize].dtype
    }
    pub(super) fn constant(&mut self, v: Scalar) -> ValueId {
        self.pure(Inst::Const(v), v.dtype)
    }
    pub(super) fn num(&mut self, dtype: DType, v: f64) -> ValueId {
        self.constant(Scalar::from_f64(dtype, v))
    }
    pub(super) fn bits(&mut self, dtype: DType, v: u64) -> ValueId {
        self.constant(Scalar::new(dtype, v))
    }
    pub(super) fn unary(&mut self, op: UnaryOp, a: ValueId) -> ValueId {
        let dtype = if op == UnaryOp::IsNan { DType::Bool } else { self.dtype(a) };
        self.pure(Inst::Unary(op, a), dtype)
    }
    pub(super) fn binary(&mut self, op: BinaryOp, a: ValueId, b: ValueId) -> ValueId {
        self.pure(Inst::Binary(op, a, b), self.dtype(a))
    }
    pub(super) fn add(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(BinaryOp::Add, a, b)
    }
    pub(super) fn sub(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(BinaryOp::Sub, a, b)
    }
    pub(super) fn mul(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(BinaryOp::Mul, a, b)
    }
    pub(super) fn div(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(BinaryOp::Div, a, b)
    }
    /// Times a constant.
    pub(super) fn scale(&mut self, a: ValueId, by: f64) -> ValueId {
        let by = self.num(self.dtype(a), by);
        self.mul(a, by)
    }
    /// Plus a constant.
    pub(super) fn offset(&mut self, a: ValueId, by: f64) -> ValueId {
        let by = self.num(self.dtype(a), by);
        self.add(a, by)
    }
    /// `a * b + c`.
    pub(super) fn fma(&mut self, a: ValueId, b: ValueId, c: ValueId) -> ValueId {
        self.pure(Inst::Fma(a, b, c), self.dtype(a))
    }
    /// `a * 2^n`.
    pub(super) fn power_of_two(&mut self, a: ValueId, n: ValueId) -> ValueId {
        self.pure(Inst::Scale(a, n), self.dtype(a))
    }
    pub(super) fn neg(&mut self, a: ValueId) -> ValueId {
        self.unary(UnaryOp::Neg, a)
    }
    pub(super) fn abs(&mut self, a: ValueId) -> ValueId {
        self.unary(UnaryOp::Abs, a)
    }
    pub(super) fn and(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(BinaryOp::And, a, b)
    }
    pub(super) fn or(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(BinaryOp::Or, a, b)
    }
    pub(super) fn and_bits(&mut self, a: ValueId, mask: u64) -> ValueId {
        let mask = self.bits(self.dtype(a), mask);
        self.and(a, mask)
    }
    pub(super) fn shl(&mut self, a: ValueId, by: u32) -> ValueId {
        let by = self.bits(self.dtype(a), by as u64);
        self.binary(BinaryOp::Shl, a, by)
    }
    pub(super) fn shr(&mut self, a: ValueId, by: u32) -> ValueId {
        let by = self.bits(self.dtype(a), by as u64);
        self.binary(BinaryOp::Shr, a, by)
    }
    pub(super) fn compare(&mut self, op: CompareOp, a: ValueId, b: ValueId) -> ValueId {
        self.pure(Inst::Compare(op, a, b), DType::Bool)
    }
    /// Comparison with a constant.
    pub(super) fn is(&mut self, a: ValueId, op: CompareOp, b: f64) -> ValueId {
        let b = self.num(self.dtype(a), b);
        self.compare(op, a, b)
    }
    pub(super) fn select(&mut self, cond: ValueId, a: ValueId, b: ValueId) -> ValueId {
        self.pure(Inst::Select(cond, a, b), self.dtype(a))
    }
    pub(super) fn cast(&mut self, a: ValueId, to: DType) -> ValueId {
        if self.dtype(a) == to { a } else { self.pure(Inst::Cast(a), to) }
    }
    pub(super) fn bitcast(&mut self, a: ValueId, to: DType) -> ValueId {
        if self.dtype(a) == to { a } else { self.pure(Inst::Bitcast(a), to) }
    }

    /// The bits of a float as the unsigned integer of its width.
    pub(super) fn as_uint(&mut self, x: ValueId) -> ValueId {
        let int = Format::of(self.dtype(x)).int;
        self.bitcast(x, int)
    }
    /// The float of these bits.
    pub(super) fn as_float(&mut self, x: ValueId) -> ValueId {
        let float = if self.dtype(x) == DType::U64 { DType::F64 } else { DType::F32 };
        self.bitcast(x, float)
    }
    /// The sign bit of a float, in place.
    pub(super) fn sign(&mut self, x: ValueId) -> ValueId {
        let sign = Format::of(self.dtype(x)).sign_bit();
        let x = self.as_uint(x);
        self.and_bits(x, sign)
    }
    /// A float that is not negative, with a sign bit set into it.
    pub(super) fn with_sign(&mut self, x: ValueId, sign: ValueId) -> ValueId {
        let x = self.as_uint(x);
        let x = self.or(x, sign);
        self.as_float(x)
    }
    /// `x`, or `limit` where x is greater; NaN stays.
    pub(super) fn at_most(&mut self, x: ValueId, limit: f64) -> ValueId {
        let limit = self.num(self.dtype(x), limit);
        self.binary(BinaryOp::Min, x, limit)
    }
    /// `x`, or `limit` where x is less; NaN stays.
    pub(super) fn at_least(&mut self, x: ValueId, limit: f64) -> ValueId {
        let limit = self.num(self.dtype(x), limit);
        self.binary(BinaryOp::Max, x, limit)
    }
    /// The polynomial with these coefficients, lowest power first, by Horner's rule.
    pub(super) fn poly(&mut self, x: ValueId, coefficients: &[f64]) -> ValueId {
        let dtype = self.dtype(x);
        let mut powers = coefficients.iter().rev();
        let mut sum = self.num(dtype, powers.next().copied().unwrap_or(0.0));
        for &c in powers {
            let c = self.num(dtype, c);
            sum = self.fma(sum, x, c);
        }
        sum
    }
    /// 2^n for an integer n (unsigned, wrapping) of the format's width, within its normal range.
    pub(super) fn exp2_int(&mut self, n: ValueId) -> ValueId {
        let format = if self.dtype(n) == DType::U64 { DType::F64 } else { DType::F32 };
        let format = Format::of(format);
        let bias = self.bits(format.int, format.bias as u64);
        let n = self.add(n, bias);
        let n = self.shl(n, format.mantissa);
        self.as_float(n)
    }
    /// `a + b` exactly (Knuth's two-sum).
    pub(super) fn two_sum(&mut self, a: ValueId, b: ValueId) -> Pair {
        let hi = self.add(a, b);
        let b2 = self.sub(hi, a);
        let a2 = self.sub(hi, b2);
        let (db, da) = (self.sub(b, b2), self.sub(a, a2));
        Pair { hi, lo: self.add(da, db) }
    }
    /// `a + b` exactly, where `|a| >= |b|` or a is 0 (Dekker's fast two-sum).
    pub(super) fn fast_two_sum(&mut self, a: ValueId, b: ValueId) -> Pair {
        let hi = self.add(a, b);
        let b2 = self.sub(hi, a);
        Pair { hi, lo: self.sub(b, b2) }
    }
    /// The upper half of an f64's significand, and the exact rest.
    pub(super) fn split(&mut self, a: ValueId) -> Pair {
        let bits = self.as_uint(a);
        let bits = self.and_bits(bits, !0 << 27);
        let hi = self.as_float(bits);
        Pair { hi, lo: self.sub(a, hi) }
    }
    /// `a * b` of f64 exactly but for underflow (Dekker), whether or not multiply-add is fused.
    pub(super) fn two_product(&mut self, a: ValueId, b: ValueId) -> Pair {
        let hi = self.mul(a, b);
        let (x, y) = (self.split(a), self.split(b));
        let top = self.mul(x.hi, y.hi);
        let rest = self.sub(top, hi);
        let (c, d) = (self.mul(x.hi, y.lo), self.mul(x.lo, y.hi));
        let rest = self.add(rest, c);
        let rest = self.add(rest, d);
        let low = self.mul(x.lo, y.lo);
        Pair { hi, lo: self.add(rest, low) }
    }
}
