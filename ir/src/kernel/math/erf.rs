//! The error function.
//!
//! Below 1: `x + x P(x^2)`. From 1 on: `1 - e^-G(|x| - 1)` for f64 and `1 - 2^L(|x| - 1)` for f32, with G fitted to
//! `-log erfc` and L to its logarithm of base 2, up to where the result rounds to 1. All are minimax fits (Remez
//! exchange in 40 decimal digits and more) of the relative error of erf: f32 2^-29.6 and 2^-25.8, f64 2^-68.7 and 2^-66.1.
//! `2^r = 1 + r E(r)` for `|r| <= 1/2` with a relative error of 2^-23.3, which counts for at most a fifth of it, as `erfc`
//! does there.

use super::emit::{Emit, Format};
use super::exp::{exp_neg, power};
use crate::kernel::ValueId;
use crate::scalar::CompareOp;

const P32: [f64; 7] = [
    0.12837916572675476,
    -0.3761262582452654,
    0.11283585151987667,
    -0.026853812073281504,
    0.005188327932118681,
    -0.0008010195606204725,
    7.853867235353697e-05,
];
const P64: [f64; 14] = [
    0.1283791670955126,
    -0.37612638903183754,
    0.11283791670955119,
    -0.026866170645129736,
    0.005223977625422104,
    -0.0008548327021854214,
    0.00012055332899393883,
    -1.4925647465956485e-05,
    1.6462043420826237e-06,
    -1.6364614554752861e-07,
    1.4792146609872266e-08,
    -1.216304501303421e-09,
    8.703794250610697e-11,
    -4.222894090238812e-12,
];
const L32: [f64; 6] = [
    -2.668416821702437,
    -3.807213457042381,
    -1.2165098336350677,
    -0.059214771256072975,
    0.013050242661592014,
    -0.001669515088554091,
];
const E32: [f64; 6] = [
    1.0,
    0.6931469776605402,
    0.24022241551209,
    0.05550733046180901,
    0.00967154763647731,
    0.0013265152533371732,
];
const G64: [f64; 21] = [
    1.8496055099332482,
    2.6389675142347913,
    0.8431072563584867,
    0.04156109804649546,
    -0.010033825434024691,
    0.001977903020069666,
    -0.00023732471060935824,
    -2.6270319418450905e-05,
    2.714081870684039e-05,
    -9.576411660455606e-06,
    2.016674879877457e-06,
    -9.96778339104359e-08,
    -1.3045630005570318e-07,
    7.110153327089193e-08,
    -2.3263587956309147e-08,
    5.597293454354893e-09,
    -1.021758601403758e-09,
    1.3882687080560517e-10,
    -1.3274674391086358e-11,
    7.966197382984611e-13,
    -2.2526782331768948e-14,
];

/// The error function. Largest error 2 ULP.
pub(super) fn erf(e: &mut Emit, x: ValueId) -> ValueId {
    let double = Format::of(e.dtype(x)).double();
    let (sign, a) = (e.sign(x), e.abs(x));
    let square = e.mul(x, x);
    let small = e.poly(square, if double { &P64 } else { &P32 });
    let small = e.fma(a, small, a);
    let most = e.at_most(a, if double { 6.0 } else { 4.0 });
    let t = e.offset(most, -1.0);
    let complement = if double {
        let g = e.poly(t, &G64);
        exp_neg(e, g)
    } else {
        complement(e, t)
    };
    let one = e.num(e.dtype(x), 1.0);
    let large = e.sub(one, complement);
    let below = e.is(a, CompareOp::Lt, 1.0);
    let value = e.select(below, small, large);
    e.with_sign(value, sign)
}

/// `erfc(1 + t)` of an f32, for t in 0 to 3.
fn complement(e: &mut Emit, t: ValueId) -> ValueId {
    let f = Format::of(e.dtype(t));
    let log = e.poly(t, &L32);
    let shifted = e.offset(log, f.exponent_magic());
    let n = e.offset(shifted, -f.exponent_magic());
    let r = e.sub(log, n);
    let value = e.poly(r, &E32);
    let scale = power(e, f, shifted);
    e.mul(value, scale)
}
