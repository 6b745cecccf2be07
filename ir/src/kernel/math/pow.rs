//! Powers of floats: `|x|^y = e^(y log |x|)`, with the cases of IEEE 754 around it.
//!
//! f32 computes in f64, where the logarithm's error does not matter. f64 needs the logarithm in two
//! parts: as in [`super::log`], `log m = 2 s + (2/3) s z + s z^2 W(z)`, the first two terms as
//! pairs; W is a minimax fit (Remez exchange in 60 decimal digits) with a relative error of `log m` of 2^-73.3.

use super::emit::{Emit, Format, Pair};
use super::exp::{exp, exp_sum, ln2};
use super::log::{Parts, log, parts};
use super::round;
use crate::dtype::DType;
use crate::kernel::ValueId;

use crate::scalar::{BinaryOp, CompareOp, UnaryOp};

const W: [f64; 8] = [
    0.39999999999999986,
    0.2857142857144231,
    0.22222222218086485,
    0.1818181881427897,
    0.15384560110438064,
    0.13336210178938437,
    0.1167671401449701,
    0.11975138240342252,
];

/// 2/3 less its nearest f64.
const TWO_THIRDS_LOW: f64 = 3.700743415417188e-17;

/// Power of floats. Largest error 1 ULP for f32, 2 ULP for f64.
///
/// `x^0 = 1^y = 1` for all x and y, NaN included; a negative x has powers for integers alone.
pub(super) fn pow(e: &mut Emit, x: ValueId, y: ValueId) -> ValueId {
    let d = e.dtype(x);
    let a = e.abs(x);
    let (zero, one, inf) = (e.num(d, 0.0), e.num(d, 1.0), e.num(d, f64::INFINITY));
    let value = if d == DType::F64 { magnitude_double(e, a, y) } else { magnitude_single(e, a, y) };
    // Powers of 0 and infinity.
    let grows = e.is(y, CompareOp::Gt, 0.0);
    let of_zero = e.select(grows, zero, inf);
    let of_inf = e.select(grows, inf, zero);
    let is_zero = e.is(a, CompareOp::Eq, 0.0);
    let is_inf = e.is(a, CompareOp::Eq, f64::INFINITY);
    let value = e.select(is_zero, of_zero, value);
    let value = e.select(is_inf, of_inf, value);
    // (-1)^(+-infinity) = 1; NaN stays.
    let unit = e.is(a, CompareOp::Eq, 1.0);
    let value = e.select(unit, one, value);
    let sum = e.add(x, y);
    let nan_x = e.unary(UnaryOp::IsNan, x);
    let nan_y = e.unary(UnaryOp::IsNan, y);
    let nan = e.or(nan_x, nan_y);
    let value = e.select(nan, sum, value);
    // The sign, for odd integers y.
    let whole = round::round(e, UnaryOp::Trunc, y);
    let integer = e.compare(CompareOp::Eq, whole, y);
    let half = e.scale(y, 0.5);
    let whole = round::round(e, UnaryOp::Trunc, half);
    let odd = e.compare(CompareOp::Ne, whole, half);
    let odd = e.and(odd, integer);
    let sign = e.sign(x);
    let none = e.bits(Format::of(d).int, 0);
    let sign = e.select(odd, sign, none);
    let value = e.with_sign(value, sign);
    let negative = e.is(x, CompareOp::Lt, 0.0);
    let finite = e.is(x, CompareOp::Gt, f64::NEG_INFINITY);
    let fraction = e.unary(UnaryOp::Not, integer);
    let undefined = e.and(negative, finite);
    let undefined = e.and(undefined, fraction);
    let nan = e.num(d, f64::NAN);
    let value = e.select(undefined, nan, value);
    let trivial = e.is(y, CompareOp::Eq, 0.0);
    let is_one = e.is(x, CompareOp::Eq, 1.0);
    let trivial = e.binary(BinaryOp::Or, trivial, is_one);
    e.select(trivial, one, value)
}

fn magnitude_single(e: &mut Emit, a: ValueId, y: ValueId) -> ValueId {
    let (a, y) = (e.cast(a, DType::F64), e.cast(y, DType::F64));
    let log = log(e, a);
    let product = e.mul(y, log);
    let value = exp(e, product);
    e.cast(value, DType::F32)
}

fn magnitude_double(e: &mut Emit, a: ValueId, y: ValueId) -> ValueId {
    let log = log_pair(e, a);
    // Larger exponents overflow and underflow alike: |log a| is 0 or at least 2^-53.
    let limit = 2f64.powi(66);
    let y = e.at_most(y, limit);
    let y = e.at_least(y, -limit);
    let product = e.two_product(y, log.hi);
    let low = e.mul(y, log.lo);
    let low = e.add(product.lo, low);
    let size = e.abs(product.hi);
    let near = e.is(size, CompareOp::Lt, 800.0);
    let zero = e.num(DType::F64, 0.0);
    let low = e.select(near, low, zero);
    exp_sum(e, product.hi, Some(low))
}

/// `a * b` of pairs, the smallest terms left out.
fn mul_pairs(e: &mut Emit, a: Pair, b: Pair) -> Pair {
    let Pair { hi, lo } = e.two_product(a.hi, b.hi);
    let cross = e.mul(a.hi, b.lo);
    let other = e.mul(a.lo, b.hi);
    let cross = e.add(cross, other);
    Pair { hi, lo: e.add(lo, cross) }
}

/// The logarithm of a positive finite f64, to about 2^-64 of itself.
fn log_pair(e: &mut Emit, a: ValueId) -> Pair {
    let Parts { k, f } = parts(e, a);
    let two = e.num(DType::F64, 2.0);
    let below = e.fast_two_sum(two, f);
    let s = e.div(f, below.hi);
    let back = e.two_product(s, below.hi);
    let rest = e.sub(f, back.hi);
    let rest = e.sub(rest, back.lo);
    let low = e.mul(s, below.lo);
    let rest = e.sub(rest, low);
    let s = Pair { hi: s, lo: e.div(rest, below.hi) };
    let z = mul_pairs(e, s, s);
    let cube = mul_pairs(e, s, z);
    let two_thirds = Pair { hi: e.num(DType::F64, 2.0 / 3.0), lo: e.num(DType::F64, TWO_THIRDS_LOW) };
    let second = mul_pairs(e, cube, two_thirds);
    let w = e.poly(z.hi, &W);
    let fifth = e.mul(cube.hi, z.hi);
    let third = e.mul(fifth, w);
    let (hi, lo) = ln2(Format::of(DType::F64));
    let first = e.add(s.hi, s.hi);
    let top = e.scale(k, hi);
    let sum = e.two_sum(top, first);
    let more = e.two_sum(sum.hi, second.hi);
    let low = e.scale(k, lo);
    let double = e.add(s.lo, s.lo);
    let terms = [sum.lo, more.lo, second.lo, double, third];
    let low = terms.into_iter().fold(low, |low, t| e.add(low, t));
    e.fast_two_sum(more.hi, low)
}
