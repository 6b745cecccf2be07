//! The natural logarithm.
//!
//! `x = 2^k m` with m between sqrt(1/2) and sqrt(2); with `f = m - 1`, `s = f / (2 + f)` and `z = s^2`,
//! `log m = 2 atanh s = f - (f^2/2 - s (f^2/2 + z P(z)))`. P is a minimax fit (Remez exchange in 60
//! decimal digits) of `(2 atanh(s)/s - 2) / z`, with a relative error of `log m` of 2^-37.6 (f32) and 2^-59.4 (f64).

use super::emit::{Emit, Format};
use super::exp::ln2;
use crate::kernel::ValueId;
use crate::scalar::CompareOp;

const P32: [f64; 4] = [0.6666666565329279, 0.40000334734563414, 0.2853728405423736, 0.2358335371776328];
const P64: [f64; 7] = [
    0.6666666666666732,
    0.399999999994268,
    0.28571428740669597,
    0.22222198676153904,
    0.18183561993044325,
    0.15314045913782307,
    0.14796550939070327,
];

/// A positive number as `2^k (1 + f)`.
pub(super) struct Parts {
    /// k, as a float.
    pub k: ValueId,
    /// f, between sqrt(1/2) - 1 and sqrt(2) - 1.
    pub f: ValueId,
}

/// Takes a positive finite number apart; for others the parts mean nothing.
pub(super) fn parts(e: &mut Emit, x: ValueId) -> Parts {
    let f = Format::of(e.dtype(x));
    let normal = f64::powi(2.0, 1 - f.bias as i32);
    let small = e.is(x, CompareOp::Lt, normal);
    let raised = e.scale(x, (1u64 << f.mantissa) as f64);
    let x = e.select(small, raised, x);
    let bits = e.as_uint(x);
    // The exponent counts from sqrt(1/2): both bit patterns lie one below the other's place.
    let half = f.bits(0.5f64.sqrt());
    let up = e.bits(f.int, f.bits(1.0) - half);
    let biased = e.add(bits, up);
    let k = e.shr(biased, f.mantissa);
    // 2^k as bits, taken off the number's own exponent, leaves m.
    let power = e.shl(k, f.mantissa);
    let one = e.bits(f.int, f.bits(1.0));
    let m = e.sub(bits, power);
    let m = e.add(m, one);
    let m = e.as_float(m);
    // Integer to float: as the low bits of 1.5 * 2^mantissa.
    let magic = e.bits(f.int, f.bits(f.magic()));
    let k = e.add(k, magic);
    let k = e.as_float(k);
    let whole = e.num(f.float, f.magic() + f.bias as f64);
    let deep = e.num(f.float, f.magic() + (f.bias + f.mantissa as i64) as f64);
    let origin = e.select(small, deep, whole);
    Parts { k: e.sub(k, origin), f: e.offset(m, -1.0) }
}

/// The natural logarithm. Largest error 1 ULP. -inf for zeros, NaN below.
pub(super) fn log(e: &mut Emit, x: ValueId) -> ValueId {
    let format = Format::of(e.dtype(x));
    let Parts { k, f } = parts(e, x);
    let below = e.offset(f, 2.0);
    let s = e.div(f, below);
    let z = e.mul(s, s);
    let p = e.poly(z, if format.double() { &P64 } else { &P32 });
    let r = e.mul(z, p);
    let half = e.scale(f, 0.5);
    let half = e.mul(half, f);
    let (hi, lo) = ln2(format);
    let (hi, lo) = (e.num(format.float, hi), e.num(format.float, lo));
    let sum = e.add(half, r);
    let low = e.mul(k, lo);
    let low = e.fma(s, sum, low);
    let low = e.sub(half, low);
    let low = e.sub(low, f);
    let neg = e.neg(low);
    let value = e.fma(k, hi, neg);
    let finite = e.is(x, CompareOp::Lt, f64::INFINITY);
    let value = e.select(finite, value, x);
    let zero = e.is(x, CompareOp::Eq, 0.0);
    let infinite = e.num(format.float, f64::NEG_INFINITY);
    let value = e.select(zero, infinite, value);
    let negative = e.is(x, CompareOp::Lt, 0.0);
    let nan = e.num(format.float, f64::NAN);
    e.select(negative, nan, value)
}
