//! The error function.
//!
//! Below 1: `x + x P(x^2)`. From 1 on: `1 - e^-G(|x| - 1)`, with G fitted to `-log erfc`, up to where the
//! result rounds to 1. Both are minimax fits (Remez exchange in 50 decimal digits) of the relative
//! error of erf: f32 2^-34.8 and 2^-35.5, f64 2^-68.7 and 2^-66.1.

use super::emit::{Emit, Format};
use super::exp::exp_neg;
use crate::kernel::ValueId;
use crate::scalar::CompareOp;

const P32: [f64; 8] = [
    0.12837916705811,
    -0.37612638435247936,
    0.11283781980767998,
    -0.026865400315652405,
    0.005220945939521413,
    -0.0008482833103632552,
    0.00011256960228019762,
    -9.641507314887568e-06,
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
const G32: [f64; 8] = [
    1.8496055100445188,
    2.6389675160215402,
    0.8431070650229783,
    0.04156355035694639,
    -0.010046586946051381,
    0.002012096457919797,
    -0.00028958825070554657,
    2.1697410247658445e-05,
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
    let g = e.poly(t, if double { &G64 } else { &G32 });
    let complement = exp_neg(e, g);
    let one = e.num(e.dtype(x), 1.0);
    let large = e.sub(one, complement);
    let below = e.is(a, CompareOp::Lt, 1.0);
    let value = e.select(below, small, large);
    e.with_sign(value, sign)
}
