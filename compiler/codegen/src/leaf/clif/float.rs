//! Floats.

use super::ops::{bitcast, constant};
use super::{Emission, clif_type};
use crate::leaf::scale_shift;
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use fornax_ir::leaf::Type;
use fornax_ir::scalar::{BinaryOp, Scalar, UnaryOp};

/// An operand, and its value if it is the same constant in all lanes.
type Operand = (Value, Option<Scalar>);

impl Emission<'_> {
    pub(super) fn float_unary(&self, b: &mut FunctionBuilder<'_>, op: UnaryOp, a: Value) -> Value {
        match op {
            UnaryOp::Neg => b.ins().fneg(a),
            UnaryOp::Abs => b.ins().fabs(a),
            UnaryOp::Sqrt => b.ins().sqrt(a),
            UnaryOp::IsNan => b.ins().fcmp(FloatCC::NotEqual, a, a),
            _ => unreachable!("`{op}` is expanded before leaves are made"),
        }
    }

    pub(super) fn float_binary(
        &self,
        b: &mut FunctionBuilder<'_>,
        op: BinaryOp,
        x: Operand,
        y: Operand,
        ty: Type,
    ) -> Value {
        match op {
            BinaryOp::Add => b.ins().fadd(x.0, y.0),
            BinaryOp::Sub => b.ins().fsub(x.0, y.0),
            BinaryOp::Mul => b.ins().fmul(x.0, y.0),
            BinaryOp::Div => b.ins().fdiv(x.0, y.0),
            BinaryOp::Max => self.extremum(b, true, x, y, ty),
            BinaryOp::Min => self.extremum(b, false, x, y, ty),
            _ => unreachable!("`{op}` of floats is expanded before leaves are made"),
        }
    }

    /// The larger or smaller; NaN if either is NaN; -0 < +0.
    fn extremum(&self, b: &mut FunctionBuilder<'_>, max: bool, x: Operand, y: Operand, ty: Type) -> Value {
        // Beside a constant c that is no NaN, "x <= c ? c : x" is right where equal operands
        // are equal bit for bit, or c is the zero that wins. Not every target compares vectors "or unordered".
        let plain = |c: Scalar| {
            let v = c.as_f64();
            !v.is_nan() && (v != 0.0 || v.is_sign_negative() != max)
        };
        let (a, c) = match (x.1, y.1) {
            (_, Some(c)) if plain(c) => (x.0, y.0),
            (Some(c), _) if plain(c) => (y.0, x.0),
            _ if max => return b.ins().fmax(x.0, y.0),
            _ => return b.ins().fmin(x.0, y.0),
        };
        let cc = if max { FloatCC::LessThanOrEqual } else { FloatCC::GreaterThanOrEqual };
        let replaced = b.ins().fcmp(cc, a, c);
        self.select(b, replaced, c, a, ty)
    }

    /// `a * 2^n` in two steps, each with a normal number of about half the exponent: their biased exponents add up to n and
    /// two biases, which stand in the low bits of n added to a large number.
    pub(super) fn scale(&self, b: &mut FunctionBuilder<'_>, a: Value, n: Value, ty: Type) -> Value {
        let (clif, (mantissa, shift)) = (clif_type(ty), scale_shift(ty.dtype));
        let shift = constant(b, shift, ty);
        let shifted = b.ins().fadd(n, shift);
        let both = bitcast(b, clif.as_int(), shifted);
        let half = b.ins().ushr_imm_u(both, 1);
        let rest = b.ins().isub(both, half);
        [half, rest].into_iter().fold(a, |value, exponent| {
            let bits = b.ins().ishl_imm_u(exponent, mantissa);
            let factor = bitcast(b, clif, bits);
            b.ins().fmul(value, factor)
        })
    }

    /// `x * y + z`, one rounding where the target has the instruction, else two.
    pub(super) fn fma(&self, b: &mut FunctionBuilder<'_>, [x, y, z]: [Value; 3], ty: Type) -> Value {
        if !ty.dtype.is_float() {
            let product = b.ins().imul(x, y);
            return b.ins().iadd(product, z);
        }
        if self.f.fma && (clif_type(ty).lane_type() == types::F32 || clif_type(ty).lane_type() == types::F64)
        {
            return b.ins().fma(x, y, z);
        }
        let product = b.ins().fmul(x, y);
        b.ins().fadd(product, z)
    }
}
