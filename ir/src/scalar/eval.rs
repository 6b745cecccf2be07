//! What the scalar operators compute, for the interpreters: one value at a time, exact before fast.
//!
//! Rules that hold throughout:
//! - Integers wrap. bool is a one-bit integer where an operator accepts it at all.
//! - f16 and bf16 widen to f32, compute there and round once to nearest even. Conversions between
//!   them and integers or f64 go through f32 too.
//! - Arithmetic and square root of f32 are f32's own; its functions (exp, log, pow, ...) are those
//!   of f64, rounded. f64's are the platform's libm, except [`erf`].
//! - Which operator accepts which dtype is [`unary_accepts`], [`binary_accepts`], [`cast_accepts`],
//!   [`bitcast_accepts`] and [`reduce_accepts`]; verifiers ask them, and the functions here panic
//!   on what they refuse.

use super::{BinaryOp, CompareOp, ReduceOp, Scalar, UnaryOp};
use crate::dtype::{DType, DTypeClass};
use std::cmp::Ordering;

/// Whether the operator is defined for operands of that dtype.
pub fn unary_accepts(op: UnaryOp, dtype: DType) -> bool {
    match op {
        UnaryOp::Not => !dtype.is_float(),
        UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Sign => dtype != DType::Bool,
        _ => dtype.is_float(),
    }
}

/// The dtype of the operator's result.
pub fn unary_result(op: UnaryOp, dtype: DType) -> DType {
    if op == UnaryOp::IsNan { DType::Bool } else { dtype }
}

/// Whether the operator is defined for operands of that dtype.
pub fn binary_accepts(op: BinaryOp, dtype: DType) -> bool {
    use BinaryOp::*;
    match op {
        Add | Sub | Mul | Div | Rem | Pow => dtype != DType::Bool,
        Min | Max => true,
        And | Or | Xor => !dtype.is_float(),
        Shl | Shr => dtype.is_int(),
    }
}

/// Whether the reduction is defined for elements of that dtype.
pub fn reduce_accepts(op: ReduceOp, dtype: DType) -> bool {
    dtype != DType::Bool || matches!(op, ReduceOp::Max | ReduceOp::Min)
}

/// Whether a value of `from` converts to `to`: any pair does.
pub fn cast_accepts(_from: DType, _to: DType) -> bool {
    true
}

/// Whether bits of `from` may be taken as `to`: equal widths, and no bool (its bits are restricted).
pub fn bitcast_accepts(from: DType, to: DType) -> bool {
    from.bytes() == to.bytes() && (from == to || (from != DType::Bool && to != DType::Bool))
}

/// An operator of one operand.
///
/// # Panics
/// Where [`unary_accepts`] refuses.
pub fn unary(op: UnaryOp, x: Scalar) -> Scalar {
    let d = x.dtype;
    assert!(unary_accepts(op, d), "{op} of {d}");
    if op == UnaryOp::IsNan {
        return Scalar::bool(x.as_f64().is_nan());
    }
    match d {
        DType::F64 => Scalar::f64(unary_f64(op, f64::from_bits(x.bits))),
        DType::F32 => Scalar::f32(unary_f32(op, f32::from_bits(x.bits as u32))),
        DType::F16 | DType::BF16 => match op {
            // The sign bit alone: exact for NaN as well.
            UnaryOp::Neg => Scalar::new(d, x.bits ^ 0x8000),
            UnaryOp::Abs => Scalar::new(d, x.bits & 0x7fff),
            _ => narrow(d, unary_f32(op, x.as_f64() as f32)),
        },
        _ => {
            let v = x.as_i64();
            Scalar::new(
                d,
                match op {
                    UnaryOp::Neg => v.wrapping_neg() as u64,
                    UnaryOp::Abs if d.is_signed_int() => v.wrapping_abs() as u64,
                    UnaryOp::Abs => x.bits,
                    UnaryOp::Sign if d.is_signed_int() => v.signum() as u64,
                    UnaryOp::Sign => (x.bits != 0) as u64,
                    UnaryOp::Not if d == DType::Bool => x.bits ^ 1,
                    _ => !x.bits,
                },
            )
        }
    }
}

/// An operator of two operands of one dtype.
///
/// # Panics
/// Where [`binary_accepts`] refuses, or the dtypes differ.
pub fn binary(op: BinaryOp, a: Scalar, b: Scalar) -> Scalar {
    let d = a.dtype;
    assert!(d == b.dtype && binary_accepts(op, d), "{op} of {d} and {}", b.dtype);
    match d {
        DType::F64 => Scalar::f64(binary_f64(op, f64::from_bits(a.bits), f64::from_bits(b.bits))),
        DType::F32 => {
            Scalar::f32(binary_f32(op, f32::from_bits(a.bits as u32), f32::from_bits(b.bits as u32)))
        }
        DType::F16 | DType::BF16 => narrow(d, binary_f32(op, a.as_f64() as f32, b.as_f64() as f32)),
        _ => Scalar::new(d, binary_int(op, d, a, b)),
    }
}

/// A comparison of two operands of one dtype.
///
/// # Panics
/// If the dtypes differ.
pub fn compare(op: CompareOp, a: Scalar, b: Scalar) -> bool {
    assert_eq!(a.dtype, b.dtype, "{op}");
    let order = match a.dtype.class() {
        DTypeClass::Float => a.as_f64().partial_cmp(&b.as_f64()),
        DTypeClass::Signed => Some(a.as_i64().cmp(&b.as_i64())),
        _ => Some(a.bits.cmp(&b.bits)),
    };
    match op {
        CompareOp::Eq => order == Some(Ordering::Equal),
        CompareOp::Ne => order != Some(Ordering::Equal),
        CompareOp::Lt => order == Some(Ordering::Less),
        CompareOp::Le => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        CompareOp::Gt => order == Some(Ordering::Greater),
        CompareOp::Ge => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}

/// Conversion: floats to integers truncate and saturate (NaN is 0), integers wrap, integers to
/// floats round to nearest even, anything to bool is `!= 0`.
pub fn cast(x: Scalar, to: DType) -> Scalar {
    let from = x.dtype;
    if from == to {
        return x;
    }
    match (from.class(), to.class()) {
        (DTypeClass::Float, DTypeClass::Bool) => Scalar::bool(x.as_f64() != 0.0),
        (_, DTypeClass::Bool) => Scalar::bool(x.bits != 0),
        (DTypeClass::Float, DTypeClass::Float) => match to {
            DType::F64 => Scalar::f64(x.as_f64()),
            DType::F32 => Scalar::f32(x.as_f64() as f32),
            _ => narrow(to, x.as_f64() as f32),
        },
        (DTypeClass::Float, _) => Scalar::from_f64(to, x.as_f64()),
        (_, DTypeClass::Float) => {
            let unsigned = from == DType::U64;
            let v = x.as_i64();
            match to {
                DType::F64 => Scalar::f64(if unsigned { x.bits as f64 } else { v as f64 }),
                _ => {
                    let v = if unsigned { x.bits as f32 } else { v as f32 };
                    if to == DType::F32 { Scalar::f32(v) } else { narrow(to, v) }
                }
            }
        }
        _ => Scalar::new(to, x.as_i64() as u64),
    }
}

/// The same bits as another dtype.
///
/// # Panics
/// Where [`bitcast_accepts`] refuses.
pub fn bitcast(x: Scalar, to: DType) -> Scalar {
    assert!(bitcast_accepts(x.dtype, to), "bitcast of {} to {to}", x.dtype);
    Scalar::new(to, x.bits)
}

/// `a * b + c`: with one rounding if `fused`, else with two. Integers wrap; f16 and bf16 compute in
/// f32 and round once more at the end.
///
/// # Panics
/// If the dtypes differ or are bool.
pub fn fma(a: Scalar, b: Scalar, c: Scalar, fused: bool) -> Scalar {
    let d = a.dtype;
    assert!(d == b.dtype && d == c.dtype && d != DType::Bool, "fma of {d}, {} and {}", b.dtype, c.dtype);
    let (x, y, z) = (a.as_f64(), b.as_f64(), c.as_f64());
    let single = || {
        let (x, y, z) = (x as f32, y as f32, z as f32);
        if fused { x.mul_add(y, z) } else { x * y + z }
    };
    match d {
        DType::F64 => Scalar::f64(if fused { x.mul_add(y, z) } else { x * y + z }),
        DType::F32 => Scalar::f32(single()),
        DType::F16 | DType::BF16 => narrow(d, single()),
        _ => binary(BinaryOp::Add, binary(BinaryOp::Mul, a, b), c),
    }
}

/// `a * 2^n` of floats, rounded once where [`crate::kernel::Inst::Scale`] says so.
///
/// # Panics
/// If the dtypes differ or are not f32 or f64.
pub fn scale(a: Scalar, n: Scalar) -> Scalar {
    assert!(scale_accepts(a.dtype) && a.dtype == n.dtype, "scale of {} by {}", a.dtype, n.dtype);
    let n = n.as_f64();
    let half = (n / 2.0).floor();
    // Each factor is a normal number; in f64 the product of an f32 is exact.
    let value = a.as_f64() * half.exp2() * (n - half).exp2();
    if a.dtype == DType::F64 { Scalar::f64(value) } else { Scalar::f32(value as f32) }
}

/// The dtypes of [`scale`].
pub fn scale_accepts(d: DType) -> bool {
    matches!(d, DType::F32 | DType::F64)
}

/// One step of a reduction.
///
/// # Panics
/// Where [`reduce_accepts`] refuses, or the dtypes differ.
pub fn reduce_step(op: ReduceOp, a: Scalar, b: Scalar) -> Scalar {
    binary(reduce_binary(op), a, b)
}

/// The operator by which two elements of a reduction combine.
pub fn reduce_binary(op: ReduceOp) -> BinaryOp {
    match op {
        ReduceOp::Sum => BinaryOp::Add,
        ReduceOp::Prod => BinaryOp::Mul,
        ReduceOp::Max => BinaryOp::Max,
        ReduceOp::Min => BinaryOp::Min,
    }
}

/// An f32 as f16 or bf16, to nearest even.
fn narrow(d: DType, v: f32) -> Scalar {
    let bits =
        if d == DType::F16 { half::f16::from_f32(v).to_bits() } else { half::bf16::from_f32(v).to_bits() };
    Scalar::new(d, bits as u64)
}

/// [`unary`] of an f64. `Not` and `IsNan` have no float result and give NaN.
pub fn unary_f64(op: UnaryOp, x: f64) -> f64 {
    match op {
        UnaryOp::Neg => -x,
        UnaryOp::Abs => x.abs(),
        UnaryOp::Sign => {
            if x == 0.0 || x.is_nan() {
                x
            } else {
                1f64.copysign(x)
            }
        }
        UnaryOp::Exp => x.exp(),
        UnaryOp::Log => x.ln(),
        UnaryOp::Sqrt => x.sqrt(),
        UnaryOp::Sin => x.sin(),
        UnaryOp::Cos => x.cos(),
        UnaryOp::Tanh => x.tanh(),
        UnaryOp::Erf => erf(x),
        UnaryOp::Atan => x.atan(),
        UnaryOp::Floor => x.floor(),
        UnaryOp::Ceil => x.ceil(),
        UnaryOp::Round => x.round_ties_even(),
        UnaryOp::Trunc => x.trunc(),
        UnaryOp::Not | UnaryOp::IsNan => f64::NAN,
    }
}

/// [`unary`] of an f32: what f64 gives, rounded.
pub fn unary_f32(op: UnaryOp, x: f32) -> f32 {
    match op {
        UnaryOp::Neg => -x,
        UnaryOp::Abs => x.abs(),
        UnaryOp::Sqrt => x.sqrt(),
        _ => unary_f64(op, x as f64) as f32,
    }
}

/// [`binary`] of two f64. Bitwise operators and shifts have no float result and give NaN.
pub fn binary_f64(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Rem => a % b,
        BinaryOp::Pow => a.powf(b),
        BinaryOp::Min | BinaryOp::Max => {
            let first = if a == b { a.is_sign_negative() } else { a < b };
            match (a.is_nan() || b.is_nan(), first == (op == BinaryOp::Min)) {
                (true, _) => f64::NAN,
                (false, true) => a,
                (false, false) => b,
            }
        }
        _ => f64::NAN,
    }
}

/// [`binary`] of two f32.
pub fn binary_f32(op: BinaryOp, a: f32, b: f32) -> f32 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        // Exact, so that no rounding follows.
        BinaryOp::Rem => a % b,
        _ => binary_f64(op, a as f64, b as f64) as f32,
    }
}

/// [`binary`] of two integers or bools; the bits beyond the width are arbitrary.
fn binary_int(op: BinaryOp, d: DType, a: Scalar, b: Scalar) -> u64 {
    let signed = d.is_signed_int();
    let (x, y) = (a.as_i64(), b.as_i64());
    let (ux, uy) = (a.bits, b.bits);
    let less = if signed { x < y } else { ux < uy };
    let width = d.bytes() as u64 * 8;
    // A count beyond the width, or a negative one.
    let far = if signed { y < 0 || y >= width as i64 } else { uy >= width };
    match op {
        BinaryOp::Add => ux.wrapping_add(uy),
        BinaryOp::Sub => ux.wrapping_sub(uy),
        BinaryOp::Mul => ux.wrapping_mul(uy),
        BinaryOp::Div if uy == 0 => 0,
        BinaryOp::Div if signed => x.wrapping_div(y) as u64,
        BinaryOp::Div => ux / uy,
        BinaryOp::Rem if uy == 0 => 0,
        BinaryOp::Rem if signed => x.wrapping_rem(y) as u64,
        BinaryOp::Rem => ux % uy,
        BinaryOp::Pow if signed && y < 0 => match x {
            1 => 1,
            -1 => (if y % 2 == 0 { 1i64 } else { -1 }) as u64,
            _ => 0,
        },
        BinaryOp::Pow => wrapping_pow(ux, uy),
        BinaryOp::Min => {
            if less {
                ux
            } else {
                uy
            }
        }
        BinaryOp::Max => {
            if less {
                uy
            } else {
                ux
            }
        }
        BinaryOp::And => ux & uy,
        BinaryOp::Or => ux | uy,
        BinaryOp::Xor => ux ^ uy,
        BinaryOp::Shl => {
            if far {
                0
            } else {
                ux << uy
            }
        }
        BinaryOp::Shr if signed => (x >> if far { 63 } else { y }) as u64,
        BinaryOp::Shr => {
            if far {
                0
            } else {
                ux >> uy
            }
        }
    }
}

/// `base^exp` modulo 2^64 (hence modulo every smaller width).
fn wrapping_pow(mut base: u64, mut exp: u64) -> u64 {
    let mut result = 1u64;
    while exp != 0 {
        if exp & 1 == 1 {
            result = result.wrapping_mul(base);
        }
        base = base.wrapping_mul(base);
        exp >>= 1;
    }
    result
}

/// The error function, to about 1 ULP.
///
/// Below 2: `2/sqrt(pi) e^(-x^2) sum of 2^n x^(2n+1) / (2n+1)!!` (NIST DLMF 7.6.2), whose terms are
/// all positive. From 2 on: `1 - erfc(x)` by Laplace's continued fraction (DLMF 7.9.1). `x^2` is
/// taken exactly, as the square of x's upper half and a small rest.
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() || a == 0.0 {
        return x;
    }
    if a >= 6.0 {
        return 1f64.copysign(x);
    }
    if a < 1e-9 {
        return x * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let upper = f64::from_bits(a.to_bits() & 0xffff_ffff_f800_0000);
    let gauss = (-upper * upper).exp() * (-(a - upper) * (a + upper)).exp();
    let value = if a < 2.0 {
        let (mut term, mut sum, mut n) = (a, a, 1.0);
        while term > sum * 1e-17 {
            term *= 2.0 * a * a / (2.0 * n + 1.0);
            sum += term;
            n += 1.0;
        }
        std::f64::consts::FRAC_2_SQRT_PI * gauss * sum
    } else {
        // erfc(x) sqrt(pi) e^(x^2) = 1/(x + (1/2)/(x + 1/(x + (3/2)/(x + ...)))), from the inside out.
        let fraction = (1..=80).rev().fold(a, |tail, k| a + 0.5 * k as f64 / tail);
        1.0 - gauss * 0.5 * std::f64::consts::FRAC_2_SQRT_PI / fraction
    };
    value.copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use BinaryOp::*;
    use DType::*;

    #[test]
    fn erf_agrees_with_a_table_of_forty_digit_values() {
        let table = [
            (1e-300, 1.1283791670955126e-300),
            (1e-5, 1.1283791670579e-05),
            (0.1, 0.1124629160182849),
            (0.5, 0.5204998778130465),
            (0.9, 0.7969082124228322),
            (1.0, 0.8427007929497149),
            (1.5, 0.9661051464753108),
            (1.99, 0.995111413199617),
            (2.0, 0.9953222650189527),
            (2.5, 0.999593047982555),
            (3.0, 0.9999779095030014),
            (4.5, 0.9999999998033839),
            (5.9, 0.9999999999999999),
        ];
        for (x, want) in table {
            for (x, want) in [(x, want), (-x, -want)] {
                let got = erf(x);
                assert!(((got - want) / want).abs() < 4.5e-16, "erf({x}) = {got}, not {want}");
            }
        }
        assert!(erf(f64::NAN).is_nan());
        assert_eq!(erf(-0.0).to_bits(), (-0.0f64).to_bits());
    }

    #[test]
    fn integer_corner_cases() {
        let table: &[(BinaryOp, DType, i64, i64, i64)] = &[
            (Add, I8, 127, 1, -128),
            (Sub, U8, 0, 1, 255),
            (Mul, I16, 300, 300, 24464),
            (Div, I32, 7, 0, 0),
            (Div, I32, i32::MIN as i64, -1, i32::MIN as i64),
            (Div, I64, i64::MIN, -1, i64::MIN),
            (Div, I8, -7, 2, -3),
            (Div, U64, -1, 2, i64::MAX),
            (Rem, I32, -7, 2, -1),
            (Rem, I64, i64::MIN, -1, 0),
            (Rem, U8, 7, 0, 0),
            (Pow, I32, 3, 4, 81),
            (Pow, I32, 2, -1, 0),
            (Pow, I32, -1, -3, -1),
            (Pow, I32, 0, 0, 1),
            (Pow, I32, 0, -1, 0),
            (Pow, U8, 2, 8, 0),
            (Shl, I32, 1, 31, i32::MIN as i64),
            (Shl, I32, 1, 32, 0),
            (Shl, I32, 1, -1, 0),
            (Shl, U64, 1, 63, i64::MIN),
            (Shr, I32, -8, 1, -4),
            (Shr, I32, -8, 40, -1),
            (Shr, I32, 8, -1, 0),
            (Shr, U32, 0x8000_0000, 31, 1),
            (Shr, U32, 0x8000_0000, 32, 0),
            (Min, U8, 200, 100, 100),
            (Max, I8, -3, 2, 2),
            (Max, Bool, 0, 1, 1),
            (Xor, Bool, 1, 1, 0),
        ];
        for &(op, d, a, b, want) in table {
            let got = binary(op, Scalar::from_i64(d, a), Scalar::from_i64(d, b));
            assert_eq!(got, Scalar::from_i64(d, want), "{op} {d} {a} {b}");
        }
    }

    #[test]
    fn float_corner_cases() {
        let nan = f64::NAN;
        let table: &[(BinaryOp, f64, f64, f64)] = &[
            (Min, nan, 1.0, nan),
            (Min, 1.0, nan, nan),
            (Max, nan, 1.0, nan),
            (Min, 0.0, -0.0, -0.0),
            (Min, -0.0, 0.0, -0.0),
            (Max, -0.0, 0.0, 0.0),
            (Max, 0.0, -0.0, 0.0),
            (Max, 1.0, 2.0, 2.0),
            (Rem, -7.5, 2.0, -1.5),
            (Rem, 1.0, 0.0, nan),
            (Pow, nan, 0.0, 1.0),
            (Pow, -2.0, 3.0, -8.0),
            (Div, 1.0, -0.0, f64::NEG_INFINITY),
        ];
        for &(op, a, b, want) in table {
            for d in [F16, BF16, F32, F64] {
                let got = binary(op, Scalar::from_f64(d, a), Scalar::from_f64(d, b)).as_f64();
                let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
                assert!(same, "{op} {d} {a} {b}: {got}");
            }
        }
        assert!(compare(CompareOp::Ne, Scalar::f32(f32::NAN), Scalar::f32(f32::NAN)));
        assert!(!compare(CompareOp::Ge, Scalar::f32(f32::NAN), Scalar::f32(1.0)));
        assert!(compare(CompareOp::Eq, Scalar::f32(0.0), Scalar::f32(-0.0)));
    }

    #[test]
    fn casts_saturate_wrap_and_round() {
        let cases: &[(Scalar, Scalar)] = &[
            (Scalar::f32(3e9), Scalar::from_i64(I32, i32::MAX as i64)),
            (Scalar::f32(-1.5), Scalar::from_i64(I8, -1)),
            (Scalar::f32(-1.5), Scalar::from_i64(U8, 0)),
            (Scalar::f32(f32::NAN), Scalar::from_i64(I64, 0)),
            (Scalar::f32(f32::NAN), Scalar::bool(true)),
            (Scalar::f64(-0.0), Scalar::bool(false)),
            (Scalar::f64(1e300), Scalar::new(U64, u64::MAX)),
            (Scalar::from_i64(I32, 300), Scalar::from_i64(U8, 44)),
            (Scalar::from_i64(I8, -1), Scalar::new(U64, u64::MAX)),
            (Scalar::from_i64(I32, 256), Scalar::bool(true)),
            (Scalar::bool(true), Scalar::f32(1.0)),
            // A double rounding through f64 would give 2^63 + 2^40.
            (Scalar::new(U64, (1 << 63) + (1 << 39) + 1), Scalar::f32(9.223373e18)),
            (Scalar::new(U64, u64::MAX), Scalar::f64(18446744073709551616.0)),
            (Scalar::f64(65520.0), Scalar::new(F16, 0x7c00)),
            (Scalar::f32(1.0 + 1.0 / 256.0), Scalar::new(BF16, 0x3f80)),
        ];
        for &(from, want) in cases {
            assert_eq!(cast(from, want.dtype), want, "{from}");
        }
    }

    #[test]
    fn halves_compute_in_f32_and_round_once() {
        let one = Scalar::from_f64(F16, 1.0);
        let tiny = Scalar::from_f64(F16, 0.0004);
        assert_eq!(binary(Add, one, tiny), one);
        let got = fma(tiny, tiny, one, true);
        assert_eq!(got, one);
        assert_eq!(unary(UnaryOp::Neg, Scalar::new(BF16, 0x7fc1)).bits, 0xffc1);
        assert_eq!(unary(UnaryOp::Exp, one), Scalar::from_f64(F16, 1f64.exp()));
    }
}
