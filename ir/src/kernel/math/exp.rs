//! e^x and tanh.
//!
//! `e^x = 2^n e^r` with `n = round(x / ln 2)` and `r = x - n ln 2`, where ln 2 comes in two parts of
//! which the first times n is exact. `e^r = 1 + r + r^2 Q(r)`; Q is a minimax fit (Remez exchange in
//! 40 decimal digits and more) over `|r| <= 1.003 ln(2)/2`. For f32 the relative error of `e^r` is even, 2^-28.2; for f64
//! that of `e^r - 1`, 2^-61.7.

use super::emit::{Emit, Format};
use crate::kernel::ValueId;
use std::f64::consts::LOG2_E;

const Q32: [f64; 5] = [
    0.49999993340285975,
    0.16666518900116484,
    0.04166840499807591,
    0.008368926436536472,
    0.0013814420090824356,
];
const Q64: [f64; 11] = [
    0.5,
    0.16666666666666677,
    0.0416666666666667,
    0.008333333333321341,
    0.0013888888888866392,
    0.00019841269886944587,
    2.4801587361473368e-05,
    2.7557243307928996e-06,
    2.7557241948956743e-07,
    2.510937568799496e-08,
    2.0924700730701487e-09,
];

/// ln 2 in two parts: the first has 9 bits for f32 and 32 for f64.
pub(super) fn ln2(format: Format) -> (f64, f64) {
    if format.double() {
        (0.6931471803691238, 1.9082149292705877e-10)
    } else {
        (0.693359375, -0.00021219444005469057)
    }
}

/// An argument of the exponential function, reduced.
struct Reduced {
    /// n with [`Format::exponent_magic`] added.
    shifted: ValueId,
    n: ValueId,
    r: ValueId,
}

/// Reduces `x + low`, |x| within the clamps of [`exp`]; `low` is a small correction.
fn reduce(e: &mut Emit, x: ValueId, low: Option<ValueId>) -> Reduced {
    let f = Format::of(e.dtype(x));
    let (hi, lo) = ln2(f);
    let magic = e.num(f.float, f.exponent_magic());
    let log2e = e.num(f.float, LOG2_E);
    let shifted = e.fma(x, log2e, magic);
    let n = e.sub(shifted, magic);
    let (hi, lo) = (e.num(f.float, -hi), e.num(f.float, -lo));
    let mut r = e.fma(n, hi, x);
    if let Some(low) = low {
        r = e.add(r, low);
    }
    let r = e.fma(n, lo, r);
    Reduced { shifted, n, r }
}

/// `Q(r)`.
fn quotient(e: &mut Emit, r: ValueId) -> ValueId {
    let double = Format::of(e.dtype(r)).double();
    e.poly(r, if double { &Q64 } else { &Q32 })
}

/// `e^r - 1`.
fn less_one(e: &mut Emit, r: ValueId) -> ValueId {
    let q = quotient(e, r);
    let square = e.mul(r, r);
    e.fma(square, q, r)
}

/// `e^r`: in f32, where 1 is large beside what is added, by Horner's rule to the end.
fn power_of_e(e: &mut Emit, r: ValueId) -> ValueId {
    let one = e.num(e.dtype(r), 1.0);
    if Format::of(e.dtype(r)).double() {
        let less = less_one(e, r);
        return e.add(less, one);
    }
    let q = quotient(e, r);
    let slope = e.fma(q, r, one);
    e.fma(slope, r, one)
}

/// 2^n in one step, for n in the normal range, from n with [`Format::exponent_magic`] added.
pub(super) fn power(e: &mut Emit, f: Format, shifted: ValueId) -> ValueId {
    let bits = e.as_uint(shifted);
    let bits = e.shl(bits, f.mantissa);
    e.as_float(bits)
}

/// e^x. Largest error 1.1 ULP, denormal results included.
pub(super) fn exp(e: &mut Emit, x: ValueId) -> ValueId {
    exp_sum(e, x, None)
}

/// `e^(x + low)` for a `low` below about 1e-10 of 1.
pub(super) fn exp_sum(e: &mut Emit, x: ValueId, low: Option<ValueId>) -> ValueId {
    let (least, most) = if Format::of(e.dtype(x)).double() { (-746.0, 710.0) } else { (-104.0, 89.0) };
    let x = e.at_most(x, most);
    let x = e.at_least(x, least);
    let Reduced { n, r, .. } = reduce(e, x, low);
    let value = power_of_e(e, r);
    e.power_of_two(value, n)
}

/// `e^-x` for x in 0 to 85, in one step.
pub(super) fn exp_neg(e: &mut Emit, x: ValueId) -> ValueId {
    let f = Format::of(e.dtype(x));
    let x = e.neg(x);
    let Reduced { shifted, r, .. } = reduce(e, x, None);
    let value = power_of_e(e, r);
    let scale = power(e, f, shifted);
    e.mul(value, scale)
}

/// tanh x = t / (t + 2) with t = e^(2|x|) - 1, and the sign of x. Largest error 3 ULP.
pub(super) fn tanh(e: &mut Emit, x: ValueId) -> ValueId {
    let f = Format::of(e.dtype(x));
    let sign = e.sign(x);
    let a = e.abs(x);
    // tanh rounds to 1 from there on.
    let a = e.at_most(a, if f.double() { 20.0 } else { 10.0 });
    let twice = e.add(a, a);
    let Reduced { shifted, r, .. } = reduce(e, twice, None);
    let expm1 = less_one(e, r);
    let scale = power(e, f, shifted);
    let less = e.offset(scale, -1.0);
    let t = e.fma(scale, expm1, less);
    let below = e.offset(t, 2.0);
    let value = e.div(t, below);
    e.with_sign(value, sign)
}
