//! Rounding to integers, sign, and remainder.

use super::emit::{Emit, Format};
use super::log;
use crate::dtype::DType;
use crate::kernel::ValueId;
use crate::scalar::{CompareOp, UnaryOp};

/// `|x|` rounded to the nearest integer, ties to even: below 2^mantissa by adding and taking off 2^mantissa.
fn nearest(e: &mut Emit, a: ValueId) -> ValueId {
    let f = Format::of(e.dtype(a));
    let whole = (1u64 << f.mantissa) as f64;
    let up = e.offset(a, whole);
    e.offset(up, -whole)
}

/// Floor, Ceil, Round or Trunc of a float; exact. A zero result has the sign of x.
pub(super) fn round(e: &mut Emit, op: UnaryOp, x: ValueId) -> ValueId {
    let f = Format::of(e.dtype(x));
    let (sign, a) = (e.sign(x), e.abs(x));
    let near = nearest(e, a);
    let signed = e.with_sign(near, sign);
    let (value, passed) = match op {
        UnaryOp::Floor => (signed, Some((CompareOp::Gt, x, -1.0))),
        UnaryOp::Ceil => (signed, Some((CompareOp::Lt, x, 1.0))),
        UnaryOp::Trunc => (near, Some((CompareOp::Gt, a, -1.0))),
        _ => (signed, None),
    };
    let value = match passed {
        Some((order, bound, step)) => {
            let passed = e.compare(order, value, bound);
            let back = e.offset(value, step);
            let value = e.select(passed, back, value);
            e.with_sign(value, sign)
        }
        None => value,
    };
    // From 2^mantissa on every number is an integer; NaN comes here too.
    let fraction = e.is(a, CompareOp::Lt, (1u64 << f.mantissa) as f64);
    e.select(fraction, value, x)
}

/// Sign of a float or an integer; exact.
pub(super) fn sign(e: &mut Emit, x: ValueId) -> ValueId {
    let d = e.dtype(x);
    if d.is_float() {
        let (sign, a) = (e.sign(x), e.abs(x));
        let one = e.num(d, 1.0);
        let one = e.with_sign(one, sign);
        let other = e.is(a, CompareOp::Gt, 0.0);
        return e.select(other, one, x);
    }
    let (zero, one) = (e.num(d, 0.0), e.num(d, 1.0));
    let positive = e.compare(CompareOp::Gt, x, zero);
    let value = e.select(positive, one, zero);
    if !d.is_signed_int() {
        return value;
    }
    let minus = e.num(d, -1.0);
    let negative = e.compare(CompareOp::Lt, x, zero);
    e.select(negative, minus, value)
}

/// Remainder of integers: `x - (x / y) y`, and 0 for y = 0.
pub(super) fn rem_int(e: &mut Emit, x: ValueId, y: ValueId) -> ValueId {
    let quotient = e.div(x, y);
    let product = e.mul(quotient, y);
    let rest = e.sub(x, product);
    let zero = e.num(e.dtype(x), 0.0);
    let none = e.compare(CompareOp::Eq, y, zero);
    e.select(none, zero, rest)
}

/// Bits by which one step of the long division advances.
const STEP: f64 = 24.0;

/// Remainder of floats; exact. A long division of the significands, 24 bits a step: 12 steps for
/// f32 (which computes in f64), 88 for f64, whose exponents lie up to 2097 apart.
pub(super) fn rem_float(e: &mut Emit, x: ValueId, y: ValueId) -> ValueId {
    let d = e.dtype(x);
    let steps = if d == DType::F64 { 88 } else { 12 };
    let (wide_x, wide_y) = (e.cast(x, DType::F64), e.cast(y, DType::F64));
    let (a, b) = (e.abs(wide_x), e.abs(wide_y));
    let (px, py) = (log::parts(e, a), log::parts(e, b));
    let distance = e.sub(px.k, py.k);
    let m = e.offset(py.f, 1.0);
    let halves = e.split(m);
    let magic = e.num(DType::F64, Format::of(DType::F64).magic());
    let magic_bits = e.as_uint(magic);
    let mut rest = e.offset(px.f, 1.0);
    let mut left = e.at_least(distance, 0.0);
    for _ in 0..steps {
        let shift = e.at_most(left, STEP);
        left = e.sub(left, shift);
        let bits = e.add(shift, magic);
        let bits = e.as_uint(bits);
        let bits = e.sub(bits, magic_bits);
        let scale = e.exp2_int(bits);
        rest = e.mul(rest, scale);
        let quotient = e.div(rest, m);
        let quotient = e.add(quotient, magic);
        let quotient = e.sub(quotient, magic);
        let upper = e.mul(quotient, halves.hi);
        let lower = e.mul(quotient, halves.lo);
        rest = e.sub(rest, upper);
        rest = e.sub(rest, lower);
    }
    let more = e.add(rest, m);
    let negative = e.is(rest, CompareOp::Lt, 0.0);
    let rest = e.select(negative, more, rest);
    let value = scale_by(e, rest, py.k);
    // Whatever has less than the divisor's magnitude is its own remainder.
    let less = e.compare(CompareOp::Lt, a, b);
    let value = e.select(less, a, value);
    let finite = e.is(a, CompareOp::Lt, f64::INFINITY);
    let divides = e.is(b, CompareOp::Gt, 0.0);
    let defined = e.and(finite, divides);
    let nan = e.num(DType::F64, f64::NAN);
    let value = e.select(defined, value, nan);
    let value = e.cast(value, d);
    let sign = e.sign(x);
    e.with_sign(value, sign)
}

/// `x * 2^k` for an f64 k that is an integer within the exponents of f64, in two exact steps.
fn scale_by(e: &mut Emit, x: ValueId, k: ValueId) -> ValueId {
    let magic = e.num(DType::F64, Format::of(DType::F64).magic());
    let origin = e.as_uint(magic);
    let half = e.scale(k, 0.5);
    let half = e.add(half, magic);
    let first = e.sub(half, magic);
    let rest = e.sub(k, first);
    let rest = e.add(rest, magic);
    [half, rest].into_iter().fold(x, |x, n| {
        let n = e.as_uint(n);
        let n = e.sub(n, origin);
        let power = e.exp2_int(n);
        e.mul(x, power)
    })
}

/// `base^exponent` of integers: square and multiply, one step a bit of the exponent.
pub(super) fn pow_int(e: &mut Emit, base: ValueId, exponent: ValueId) -> ValueId {
    let d = e.dtype(base);
    let (zero, one) = (e.num(d, 0.0), e.num(d, 1.0));
    let bits = d.bytes() as u32 * 8 - d.is_signed_int() as u32;
    let (mut square, mut value) = (base, one);
    for bit in 0..bits {
        let set = e.and_bits(exponent, 1 << bit);
        let set = e.compare(CompareOp::Ne, set, zero);
        let product = e.mul(value, square);
        value = e.select(set, product, value);
        if bit + 1 < bits {
            square = e.mul(square, square);
        }
    }
    if !d.is_signed_int() {
        return value;
    }
    // A negative exponent: +-1 for a base of +-1, else 0.
    let minus = e.num(d, -1.0);
    let odd = e.and_bits(exponent, 1);
    let odd = e.compare(CompareOp::Ne, odd, zero);
    let unit = e.select(odd, minus, one);
    let is_one = e.compare(CompareOp::Eq, base, one);
    let is_minus = e.compare(CompareOp::Eq, base, minus);
    let inverse = e.select(is_minus, unit, zero);
    let inverse = e.select(is_one, one, inverse);
    let negative = e.compare(CompareOp::Lt, exponent, zero);
    e.select(negative, inverse, value)
}
