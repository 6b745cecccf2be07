//! Arc tangent, sine and cosine. The polynomials are minimax fits (Remez exchange in 60 decimal digits).

use super::emit::{Emit, Format, Pair};
use crate::dtype::DType;
use crate::kernel::ValueId;
use crate::scalar::{BinaryOp, CompareOp};
use std::f64::consts::{FRAC_2_PI, FRAC_PI_2, FRAC_PI_4};

/// `(atan z - z) / z^3` by powers of z^2, |z| <= tan(pi/8): atan's relative error 2^-30.4 and 2^-64.0.
const ATAN32: [f64; 5] = [
    -0.3333331565536173,
    0.19998480469955315,
    -0.14243457433074042,
    0.10591903993942818,
    -0.06070662108316722,
];
const ATAN64: [f64; 12] = [
    -0.3333333333333333,
    0.1999999999999795,
    -0.1428571428540984,
    0.11111111088992283,
    -0.09090908160031615,
    0.07692282876338113,
    -0.06666225846686669,
    0.05876992322789779,
    -0.0521810731998363,
    0.04501980805442878,
    -0.0334308890595799,
    0.015144815528369424,
];
/// `(sin r - r) / r^3` by powers of r^2, |r| <= pi/4: sine's relative error 2^-37.5 and 2^-57.9.
const SIN32: [f64; 4] =
    [-0.16666666640866926, 0.008333329287640402, -0.00019839301290197606, 2.717979525569142e-06];
const SIN64: [f64; 6] = [
    -0.1666666666666663,
    0.008333333333322026,
    -0.00019841269829454244,
    2.755731355766103e-06,
    -2.5050735601011168e-08,
    1.5895416829432558e-10,
];
/// `(cos r - 1 + r^2/2) / r^4` by powers of r^2, |r| <= pi/4: cosine's error 2^-43.1 and 2^-63.9.
const COS32: [f64; 4] =
    [0.04166666662251018, -0.001388888369933192, 2.4799500915809954e-05, -2.7208368979030675e-07];
const COS64: [f64; 6] = [
    0.04166666666666661,
    -0.001388888888887539,
    2.480158729008113e-05,
    -2.7557314483603676e-07,
    2.087573663407883e-09,
    -1.1360149926004155e-11,
];

/// Arc tangent: `atan a = c + atan z` with z = a, (a - 1)/(a + 1) or -1/a, and c = 0, pi/4 or pi/2.
/// Largest error 2 ULP.
pub(super) fn atan(e: &mut Emit, x: ValueId) -> ValueId {
    let d = e.dtype(x);
    let double = Format::of(d).double();
    let (sign, a) = (e.sign(x), e.abs(x));
    let middle = e.is(a, CompareOp::Gt, 2f64.sqrt() - 1.0);
    let high = e.is(a, CompareOp::Gt, 2f64.sqrt() + 1.0);
    let pick = |e: &mut Emit, highest: ValueId, mid: ValueId, low: ValueId| {
        let below = e.select(middle, mid, low);
        e.select(high, highest, below)
    };
    let (zero, one, minus) = (e.num(d, 0.0), e.num(d, 1.0), e.num(d, -1.0));
    let (less, more) = (e.sub(a, one), e.add(a, one));
    let over = pick(e, minus, less, a);
    let under = pick(e, a, more, one);
    // What rounding to the dtype takes off pi/4 and pi/2.
    let (quarter_low, half_low) = if double {
        (3.061616997868383e-17, 6.123233995736766e-17)
    } else {
        (-2.1855695000931213e-08, -4.3711390001862426e-08)
    };
    let (quarter, half) = (e.num(d, FRAC_PI_4), e.num(d, FRAC_PI_2));
    let (quarter_low, half_low) = (e.num(d, quarter_low), e.num(d, half_low));
    let origin = pick(e, half, quarter, zero);
    let low = pick(e, half_low, quarter_low, zero);
    let z = e.div(over, under);
    let square = e.mul(z, z);
    let p = e.poly(square, if double { &ATAN64 } else { &ATAN32 });
    let cube = e.mul(z, square);
    let p = e.fma(cube, p, low);
    let p = e.add(z, p);
    let value = e.add(origin, p);
    e.with_sign(value, sign)
}

/// An argument reduced by multiples of pi/2.
struct Reduced {
    /// How many, modulo 4, in the lowest two bits of a u64.
    quadrant: ValueId,
    /// What remains, between -pi/4 and pi/4, in two parts.
    rest: Pair,
}

/// Sine (or cosine).
///
/// f32, every argument: largest error 1 ULP; it computes in f64. f64, |x| <= 2^28: 1 ULP; up to 2^50
/// the absolute error grows as |x| 2^-52, as that of the argument itself; beyond, the result is
/// some number between -1 and 1.
pub(super) fn sin(e: &mut Emit, x: ValueId, cosine: bool) -> ValueId {
    let d = e.dtype(x);
    let Reduced { quadrant, rest } = if d == DType::F64 { reduce_double(e, x) } else { reduce_single(e, x) };
    let quadrant = if cosine {
        let one = e.bits(DType::U64, 1);
        e.add(quadrant, one)
    } else {
        quadrant
    };
    let (s, c) = if d == DType::F64 { pair_double(e, rest) } else { pair_single(e, rest.hi) };
    let zero = e.bits(DType::U64, 0);
    let odd = e.and_bits(quadrant, 1);
    let odd = e.compare(CompareOp::Ne, odd, zero);
    let value = e.select(odd, c, s);
    let sign = e.and_bits(quadrant, 2);
    let sign = e.shl(sign, 62);
    let bits = e.as_uint(value);
    let bits = e.binary(BinaryOp::Xor, bits, sign);
    let value = e.as_float(bits);
    let value = e.cast(value, d);
    // NaN for infinities.
    let nothing = e.scale(x, 0.0);
    let value = e.add(value, nothing);
    if cosine {
        return value;
    }
    let zero = e.is(x, CompareOp::Eq, 0.0);
    e.select(zero, x, value)
}

/// Sine and cosine of a small f64, good to f32.
fn pair_single(e: &mut Emit, r: ValueId) -> (ValueId, ValueId) {
    let z = e.mul(r, r);
    let s = e.poly(z, &SIN32);
    let cube = e.mul(r, z);
    let s = e.fma(cube, s, r);
    let c = e.poly(z, &COS32);
    let minus_half = e.num(DType::F64, -0.5);
    let c = e.fma(c, z, minus_half);
    let one = e.num(DType::F64, 1.0);
    (s, e.fma(c, z, one))
}

/// Sine and cosine of a small number in two parts.
fn pair_double(e: &mut Emit, r: Pair) -> (ValueId, ValueId) {
    let z = e.mul(r.hi, r.hi);
    let p = e.poly(z, &SIN64);
    let cube = e.mul(r.hi, z);
    let half = e.scale(z, 0.5);
    let one = e.num(DType::F64, 1.0);
    let w = e.sub(one, half);
    let low = e.mul(r.lo, w);
    let p = e.fma(cube, p, low);
    let s = e.add(r.hi, p);
    let q = e.poly(z, &COS64);
    let fourth = e.mul(z, z);
    let cross = e.mul(r.hi, r.lo);
    let neg = e.neg(cross);
    let q = e.fma(fourth, q, neg);
    let lost = e.sub(one, w);
    let lost = e.sub(lost, half);
    let q = e.add(lost, q);
    (s, e.add(w, q))
}

/// 2/pi in pieces of 28 bits: piece i stands for `piece * 2^(-28 (i + 1))`.
const TWO_OVER_PI: [u32; 7] = [170891318, 240010261, 44024437, 131200308, 232525238, 43358524, 70845471];

/// Reduces an f32. Its product with each piece of 2/pi is exact in f64 and, taken modulo 4, stays
/// exact: where its last place is worth 4 or more it is no remainder at all. The sum keeps its
/// rounding errors, so that what remains is good to 2^-70 of pi/2, where no f32 but 0 comes nearer
/// than 2^-40 to a multiple of it.
fn reduce_single(e: &mut Emit, x: ValueId) -> Reduced {
    let x = e.cast(x, DType::F64);
    let four = e.num(DType::F64, 1.5 * 2f64.powi(54));
    let zero = e.num(DType::F64, 0.0);
    let mut sum: Option<Pair> = None;
    for (i, &piece) in TWO_OVER_PI.iter().enumerate() {
        let mut y = e.scale(x, piece as f64 * 2f64.powi(-28 * (i as i32 + 1)));
        // The products with the last pieces are less than 1 for every f32.
        if i < 5 {
            let near = e.add(y, four);
            let near = e.sub(near, four);
            let rest = e.sub(y, near);
            let a = e.abs(y);
            let inexact = e.is(a, CompareOp::Lt, 2f64.powi(53));
            y = e.select(inexact, rest, zero);
        }
        sum = Some(match sum {
            None => Pair { hi: y, lo: zero },
            Some(sum) => {
                let Pair { hi, lo } = e.two_sum(sum.hi, y);
                Pair { hi, lo: e.add(sum.lo, lo) }
            }
        });
    }
    let sum = sum.unwrap_or(Pair { hi: zero, lo: zero });
    let magic = e.num(DType::F64, Format::of(DType::F64).magic());
    let shifted = e.add(sum.hi, magic);
    let n = e.sub(shifted, magic);
    let rest = e.sub(sum.hi, n);
    let rest = e.add(rest, sum.lo);
    let rest = e.scale(rest, FRAC_PI_2);
    Reduced { quadrant: e.as_uint(shifted), rest: Pair { hi: rest, lo: zero } }
}

/// pi/2 in four parts of 25 bits and one of 53.
const HALF_PI: [f64; 5] = [
    1.5707963109016418,
    1.5893254712295857e-08,
    6.123233932053594e-17,
    6.368317055225283e-25,
    1.082856673921914e-32,
];

/// Reduces an f64 (Cody and Waite): while the multiple fits 28 bits, its products with the parts of
/// pi/2 are exact, and their sum keeps its rounding errors.
fn reduce_double(e: &mut Emit, x: ValueId) -> Reduced {
    let magic = e.num(DType::F64, Format::of(DType::F64).magic());
    let over = e.num(DType::F64, FRAC_2_PI);
    let shifted = e.fma(x, over, magic);
    let n = e.sub(shifted, magic);
    let mut sum = Pair { hi: x, lo: e.num(DType::F64, 0.0) };
    for part in HALF_PI {
        let product = e.scale(n, -part);
        let Pair { hi, lo } = e.two_sum(sum.hi, product);
        sum = Pair { hi, lo: e.add(sum.lo, lo) };
    }
    let rest = e.fast_two_sum(sum.hi, sum.lo);
    // Beyond the range of the reduction: anything bounded.
    let hi = e.at_most(rest.hi, 1.0);
    let hi = e.at_least(hi, -1.0);
    let far = e.abs(x);
    let near = e.is(far, CompareOp::Lt, 2f64.powi(50));
    let zero = e.num(DType::F64, 0.0);
    let hi = e.select(near, hi, zero);
    let lo = e.select(near, rest.lo, zero);
    Reduced { quadrant: e.as_uint(shifted), rest: Pair { hi, lo } }
}
