//! Integers: nothing here traps; the corner cases are those of [`BinaryOp`].

use super::clif_type;
use super::ops::constant;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use fornax_ir::dtype::DType;
use fornax_ir::leaf::Type;
use fornax_ir::scalar::{BinaryOp, Scalar, UnaryOp};

/// An operator of one operand.
pub(super) fn unary(b: &mut FunctionBuilder<'_>, op: UnaryOp, a: Value, ty: Type) -> Value {
    match op {
        UnaryOp::Neg => b.ins().ineg(a),
        UnaryOp::Not => b.ins().bnot(a),
        UnaryOp::Abs if ty.dtype.is_signed_int() => b.ins().iabs(a),
        UnaryOp::Abs => a,
        UnaryOp::IsNan => constant(b, Scalar::bool(false), Type { dtype: DType::Bool, ..ty }),
        _ => unreachable!("`{op}` of integers is expanded before leaves are made"),
    }
}

/// An operator of two operands; the second one's value if it is the same constant in all lanes.
pub(super) fn binary(
    b: &mut FunctionBuilder<'_>,
    op: BinaryOp,
    x: Value,
    (y, constant_y): (Value, Option<Scalar>),
    ty: Type,
) -> Value {
    let signed = ty.dtype.is_signed_int();
    match op {
        BinaryOp::Add => b.ins().iadd(x, y),
        BinaryOp::Sub => b.ins().isub(x, y),
        BinaryOp::Mul => b.ins().imul(x, y),
        BinaryOp::And => b.ins().band(x, y),
        BinaryOp::Or => b.ins().bor(x, y),
        BinaryOp::Xor => b.ins().bxor(x, y),
        BinaryOp::Min if signed => b.ins().smin(x, y),
        BinaryOp::Min => b.ins().umin(x, y),
        BinaryOp::Max if signed => b.ins().smax(x, y),
        BinaryOp::Max => b.ins().umax(x, y),
        BinaryOp::Shl | BinaryOp::Shr => match constant_y {
            Some(count) => shift_by(b, op, x, count, ty),
            None => shift(b, op, x, y, ty),
        },
        BinaryOp::Div => divide(b, x, y, ty, false),
        BinaryOp::Rem => divide(b, x, y, ty, true),
        BinaryOp::Pow => unreachable!("`{op}` is expanded before leaves are made"),
    }
}

/// A shift by a known count.
fn shift_by(b: &mut FunctionBuilder<'_>, op: BinaryOp, x: Value, count: Scalar, ty: Type) -> Value {
    let width = ty.dtype.bytes() as i64 * 8;
    let count = count.as_i64();
    let inside = (0..width).contains(&count);
    let arithmetic = op == BinaryOp::Shr && ty.dtype.is_signed_int();
    if !inside && !arithmetic {
        return constant(b, Scalar::new(ty.dtype, 0), ty);
    }
    let by = b.ins().iconst(types::I32, if inside { count } else { width - 1 });
    match op {
        BinaryOp::Shl => b.ins().ishl(x, by),
        _ if arithmetic => b.ins().sshr(x, by),
        _ => b.ins().ushr(x, by),
    }
}

/// A shift of one lane; Cranelift masks the count, so counts of the width or more are taken out.
fn shift(b: &mut FunctionBuilder<'_>, op: BinaryOp, x: Value, y: Value, ty: Type) -> Value {
    let width = ty.dtype.bytes() as i64 * 8;
    let inside = b.ins().icmp_imm_u(IntCC::UnsignedLessThan, y, width);
    if op == BinaryOp::Shr && ty.dtype.is_signed_int() {
        let most = b.ins().iconst(clif_type(ty), width - 1);
        let by = b.ins().select(inside, y, most);
        return b.ins().sshr(x, by);
    }
    let shifted = if op == BinaryOp::Shl { b.ins().ishl(x, y) } else { b.ins().ushr(x, y) };
    let zero = b.ins().iconst(clif_type(ty), 0);
    b.ins().select(inside, shifted, zero)
}

/// Quotient or remainder of one lane, of magnitudes in at least 32 bits, so that nothing overflows
/// (MIN / -1 wraps when its magnitude becomes signed again). A divisor of 0 is replaced by 1: x % 1 = 0,
/// and the quotient is selected away.
fn divide(b: &mut FunctionBuilder<'_>, x: Value, y: Value, ty: Type, remainder: bool) -> Value {
    let signed = ty.dtype.is_signed_int();
    let narrow = clif_type(ty);
    let wide = if narrow.bytes() < 4 { types::I32 } else { narrow };
    let mut extend = |v| match (narrow == wide, signed) {
        (true, _) => v,
        (_, true) => b.ins().sextend(wide, v),
        _ => b.ins().uextend(wide, v),
    };
    let (x, y) = (extend(x), extend(y));
    let zero = b.ins().iconst(wide, 0);
    let one = b.ins().iconst(wide, 1);
    let (dividend, divisor) = if signed { (b.ins().iabs(x), b.ins().iabs(y)) } else { (x, y) };
    let divisor = b.ins().umax(divisor, one);
    let mut result =
        if remainder { b.ins().urem(dividend, divisor) } else { b.ins().udiv(dividend, divisor) };
    if signed {
        let sign_of = if remainder { x } else { b.ins().bxor(x, y) };
        let negative = b.ins().icmp(IntCC::SignedLessThan, sign_of, zero);
        let negated = b.ins().ineg(result);
        result = b.ins().select(negative, negated, result);
    }
    if !remainder {
        let by_zero = b.ins().icmp(IntCC::Equal, y, zero);
        result = b.ins().select(by_zero, zero, result);
    }
    if narrow == wide { result } else { b.ins().ireduce(narrow, result) }
}
