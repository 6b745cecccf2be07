//! f16 and bf16 as 16-bit integers: widening to f32, and rounding from it, in integer arithmetic.

use super::emit::Emit;
use crate::dtype::DType;
use crate::kernel::ValueId;
use crate::scalar::CompareOp;

/// The f32 that the bits (u16) of a value of dtype `half` stand for; exact.
pub(super) fn widen(e: &mut Emit, bits: ValueId, half: DType) -> ValueId {
    let bits = e.cast(bits, DType::U32);
    if half == DType::BF16 {
        let bits = e.shl(bits, 16);
        return e.as_float(bits);
    }
    let sign = e.and_bits(bits, 0x8000);
    let sign = e.shl(sign, 16);
    let rest = e.and_bits(bits, 0x7fff);
    let rest = e.shl(rest, 13);
    // The exponents' biases differ by 112; infinity and NaN move once more.
    let shift = e.bits(DType::U32, 112 << 23);
    let normal = e.add(rest, shift);
    let special = e.add(normal, shift);
    let limit = e.bits(DType::U32, 0x0f80_0000);
    let is_special = e.compare(CompareOp::Ge, rest, limit);
    let value = e.select(is_special, special, normal);
    // A denormal is the fraction of a number with the least exponent, less that number.
    let shift = e.bits(DType::U32, 113 << 23);
    let denormal = e.add(rest, shift);
    let denormal = e.as_float(denormal);
    let least = e.as_float(shift);
    let denormal = e.sub(denormal, least);
    let denormal = e.as_uint(denormal);
    let limit = e.bits(DType::U32, 1 << 23);
    let is_denormal = e.compare(CompareOp::Lt, rest, limit);
    let value = e.select(is_denormal, denormal, value);
    let value = e.or(value, sign);
    e.as_float(value)
}

/// The bits (u16) of the value of dtype `half` nearest to an f32, ties to even; NaN is the quiet one.
pub(super) fn narrow(e: &mut Emit, x: ValueId, half: DType) -> ValueId {
    let bits = e.as_uint(x);
    let sign = e.shr(bits, 16);
    let sign = e.and_bits(sign, 0x8000);
    let a = e.and_bits(bits, 0x7fff_ffff);
    let (value, nan) =
        if half == DType::BF16 { (round_off(e, a, 16), 0x7fc0) } else { (narrow_f16(e, a), 0x7e00) };
    let nan = e.bits(DType::U32, nan);
    let limit = e.bits(DType::U32, 0x7f80_0000);
    let is_nan = e.compare(CompareOp::Gt, a, limit);
    let value = e.select(is_nan, nan, value);
    let value = e.or(value, sign);
    e.cast(value, DType::U16)
}

/// Drops the lowest bits, to nearest even.
fn round_off(e: &mut Emit, a: ValueId, bits: u32) -> ValueId {
    let odd = e.shr(a, bits);
    let odd = e.and_bits(odd, 1);
    let below = e.bits(DType::U32, (1 << (bits - 1)) - 1);
    let up = e.add(a, below);
    let up = e.add(up, odd);
    e.shr(up, bits)
}

/// The bits of a f16 from those of an f32 that is neither negative nor NaN.
fn narrow_f16(e: &mut Emit, a: ValueId) -> ValueId {
    let shift = e.bits(DType::U32, 112 << 23);
    let normal = e.sub(a, shift);
    let normal = round_off(e, normal, 13);
    // From 65520 on.
    let limit = e.bits(DType::U32, 0x477f_f000);
    let overflows = e.compare(CompareOp::Ge, a, limit);
    let infinite = e.bits(DType::U32, 0x7c00);
    let value = e.select(overflows, infinite, normal);
    // Denormals are multiples of 2^-24, the last place of 0.5: adding 0.5 rounds to them.
    let half = e.num(DType::F32, 0.5);
    let denormal = e.as_float(a);
    let denormal = e.add(denormal, half);
    let denormal = e.as_uint(denormal);
    let half = e.as_uint(half);
    let denormal = e.sub(denormal, half);
    let limit = e.bits(DType::U32, 0x3880_0000);
    let small = e.compare(CompareOp::Lt, a, limit);
    e.select(small, denormal, value)
}
