//! How far the compiled functions of `f32` are from the true values, over every argument there is.
//!
//! `cargo bench --bench ulp` prints a line for each function: the largest error in units in the last place (ULP) of the
//! true value, where it is, the stated bound, and the verdict. It takes some minutes; `-- 101` looks at every 101st bit
//! pattern, `-- exp erf` at these functions only. The exit code is 1 when a bound does not hold.
//!
//! The true values are computed in `f64`, whose own error is below a millionth of an ULP of `f32`.

#![allow(clippy::print_stdout, reason = "a report is what it is for")]

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
use std::process::ExitCode;

use fornax::Tensor;
use fornax::ir::scalar::eval::erf;

/// Bit patterns that one call computes.
const CHUNK: usize = 1 << 20;

/// A function, its true value, and the stated bound of its error in ULP.
struct Function {
    name: &'static str,
    compiled: fn(&Tensor) -> Tensor,
    truth: fn(f64) -> f64,
    bound: f64,
    /// The smallest magnitude whose last place errors are measured in, as a function of the argument: where a sum
    /// cancels, that of its terms.
    floor: fn(f64) -> f64,
}

const TINY: f64 = f32::MIN_POSITIVE as f64;

/// The stated bounds. `sigmoid` is spelled `1 / (1 + exp(-x))`, so where its value is below the smallest normal number
/// it is 0: the error is in units of that number there. `gelu` adds 1 and an error function that may be close to -1: its error is in units of the last
/// place of the larger of its value and half its argument's.
const FUNCTIONS: [Function; 8] = [
    Function { name: "exp", compiled: Tensor::exp, truth: f64::exp, bound: 1.1, floor: |_| TINY },
    Function { name: "tanh", compiled: Tensor::tanh, truth: f64::tanh, bound: 3.0, floor: |_| TINY },
    Function { name: "erf", compiled: Tensor::erf, truth: erf, bound: 2.0, floor: |_| TINY },
    Function { name: "log", compiled: Tensor::log, truth: f64::ln, bound: 1.0, floor: |_| TINY },
    Function { name: "sin", compiled: Tensor::sin, truth: f64::sin, bound: 1.0, floor: |_| TINY },
    Function { name: "cos", compiled: Tensor::cos, truth: f64::cos, bound: 1.0, floor: |_| TINY },
    Function { name: "sigmoid", compiled: Tensor::sigmoid, truth: sigmoid, bound: 3.0, floor: sigmoid_floor },
    Function { name: "gelu", compiled: Tensor::gelu, truth: gelu, bound: 3.0, floor: |x| x.abs() / 2.0 },
];

/// Where a value is below the smallest normal number, that is one unit.
fn sigmoid_floor(x: f64) -> f64 {
    if sigmoid(x) < TINY { TINY * 2f64.powi(23) } else { TINY }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn gelu(x: f64) -> f64 {
    // What its spelling gives, minus infinity times zero.
    if x == f64::NEG_INFINITY {
        return f64::NAN;
    }
    let a = x.abs() * FRAC_1_SQRT_2;
    // 1 + erf of a negative argument is erfc of its magnitude: from 2 on by Laplace's continued fraction (DLMF 7.9.1).
    let tail = match x < 0.0 && a >= 2.0 {
        true => {
            let fraction = (1..=80).rev().fold(a, |tail, k| a + 0.5 * f64::from(k) / tail);
            (-a * a).exp() * 0.5 * FRAC_2_SQRT_PI / fraction
        }
        false => 1.0 + erf(x * FRAC_1_SQRT_2),
    };
    if tail == 0.0 { 0.0_f64.copysign(x) } else { 0.5 * x * tail }
}

/// The distance of a result from the true value, in units in the last place of the latter.
fn ulps(got: f32, want: f64, floor: f64) -> f64 {
    let rounded = want as f32;
    if want.is_nan() || got.is_nan() {
        return if want.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if got.is_infinite() || rounded.is_infinite() {
        // The greatest number and infinity are neighbours.
        let next = |v: f32| v.abs() == f32::MAX || v.is_infinite();
        return match got == rounded {
            true => 0.0,
            false if next(got) && next(rounded) && got.signum() == rounded.signum() => 1.0,
            false => f64::INFINITY,
        };
    }
    let exponent = (want.abs().max(floor).max(TINY).to_bits() >> 52) as i32 - 1023;
    (f64::from(got) - want).abs() / 2f64.powi(exponent - 23)
}

/// The largest error among so many bit patterns from `first` on, and the pattern.
fn worst(f: &Function, first: u64, step: u64, count: usize) -> (f64, u32) {
    let bits = |k: usize| (first + k as u64 * step) as u32;
    let arguments: Vec<f32> = (0..count).map(|k| f32::from_bits(bits(k))).collect();
    let tensor = Tensor::from_vec(arguments, &[count]).expect("a chunk fits in memory");
    let results = (f.compiled)(&tensor);
    let results = results.as_slice::<f32>().expect("results are of the arguments' type");
    let error = |(k, &got): (usize, &f32)| {
        let x = f64::from(f32::from_bits(bits(k)));
        (ulps(got, (f.truth)(x), (f.floor)(x)), bits(k))
    };
    results.iter().enumerate().map(error).fold((0.0, 0), |a, b| if b.0 > a.0 { b } else { a })
}

/// The largest error over all patterns `0, step, 2 * step, ...`, on two threads.
fn largest(f: &Function, step: u64) -> (f64, u32) {
    let total = (1u64 << 32).div_ceil(step);
    let chunks = total.div_ceil(CHUNK as u64);
    let next = std::sync::atomic::AtomicU64::new(0);
    let work = || {
        let mut most = (0.0, 0);
        loop {
            let chunk = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if chunk >= chunks {
                return most;
            }
            let begin = chunk * CHUNK as u64;
            let found = worst(f, begin * step, step, (total - begin).min(CHUNK as u64) as usize);
            if found.0 > most.0 {
                most = found;
            }
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let mine = work();
        let other = other.join().expect("a thread that computes errors ends");
        if other.0 > mine.0 { other } else { mine }
    })
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let step = arguments.iter().find_map(|a| a.parse::<u64>().ok()).unwrap_or(1).max(1);
    let named = |name: &str| arguments.iter().any(|a| a == name);
    let all = !FUNCTIONS.iter().any(|f| named(f.name));
    let mut holds = true;
    for f in FUNCTIONS.iter().filter(|f| all || named(f.name)) {
        let (error, bits) = largest(f, step);
        let verdict = if error <= f.bound { "ok" } else { "MISSED" };
        holds &= error <= f.bound;
        let x = f32::from_bits(bits);
        println!(
            "{:8} {error:10.4} ULP at {x:e} (bits {bits:#010x}), bound {:.1}: {verdict}",
            f.name, f.bound
        );
    }
    ExitCode::from(u8::from(!holds))
}
