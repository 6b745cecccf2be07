//! Conversions: floats to integers truncate and saturate, NaN to 0; integers wrap; to bool `!= 0`.

use super::ops::constant;
use super::{Emission, clif_type};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use fornax_ir::dtype::DType;
use fornax_ir::leaf::Type;
use fornax_ir::scalar::Scalar;

impl Emission<'_> {
    pub(super) fn cast(&self, b: &mut FunctionBuilder<'_>, a: Value, from: Type, to: Type) -> Value {
        if from.dtype == to.dtype {
            return a;
        }
        if to.dtype == DType::Bool {
            let zero = constant(b, Scalar::new(from.dtype, 0), from);
            return match from.dtype.is_float() {
                true => b.ins().fcmp(FloatCC::NotEqual, a, zero),
                false => b.ins().icmp(IntCC::NotEqual, a, zero),
            };
        }
        if from.lanes > 1 {
            return self.cast_lanes(b, a, from, to);
        }
        match (from.dtype.is_float(), to.dtype.is_float()) {
            (true, true) if to.dtype == DType::F64 => b.ins().fpromote(types::F64, a),
            (true, true) => b.ins().fdemote(types::F32, a),
            (true, false) => float_to_int(b, a, to.dtype),
            (false, true) => int_to_float(b, a, from.dtype, to),
            (false, false) => resize(b, a, from.dtype, to),
        }
    }

    fn cast_lanes(&self, b: &mut FunctionBuilder<'_>, a: Value, from: Type, to: Type) -> Value {
        let signed = |d: DType| d.is_signed_int();
        if from.dtype == DType::Bool {
            let one = constant(b, Scalar::from_i64(to.dtype, 1), to);
            let zero = constant(b, Scalar::from_i64(to.dtype, 0), to);
            return self.select(b, a, one, zero, to);
        }
        match (from.dtype.is_float(), to.dtype.is_float()) {
            // Narrow integers are kept in 32 bits, where those without a sign fit a signed one.
            (false, true) if signed(from.dtype) || from.dtype.bytes() < 4 => {
                b.ins().fcvt_from_sint(clif_type(to), a)
            }
            (false, true) => b.ins().fcvt_from_uint(clif_type(to), a),
            (true, false) if signed(to.dtype) => b.ins().fcvt_to_sint_sat(clif_type(to), a),
            (true, false) => b.ins().fcvt_to_uint_sat(clif_type(to), a),
            _ => a,
        }
    }
}

fn float_to_int(b: &mut FunctionBuilder<'_>, a: Value, to: DType) -> Value {
    let clif = clif_type(Type { dtype: to, lanes: 1 });
    if to.bytes() >= 4 {
        return if to.is_signed_int() {
            b.ins().fcvt_to_sint_sat(clif, a)
        } else {
            b.ins().fcvt_to_uint_sat(clif, a)
        };
    }
    let bits = to.bytes() as u32 * 8;
    let (least, most) =
        if to.is_signed_int() { (-1 << (bits - 1), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) };
    let wide = b.ins().fcvt_to_sint_sat(types::I32, a);
    let least = b.ins().iconst(types::I32, i64::from(least as u32));
    let most = b.ins().iconst(types::I32, i64::from(most));
    let low = b.ins().smax(wide, least);
    let both = b.ins().smin(low, most);
    b.ins().ireduce(clif, both)
}

fn int_to_float(b: &mut FunctionBuilder<'_>, a: Value, from: DType, to: Type) -> Value {
    let a = if from.bytes() < 4 { resize(b, a, from, Type { dtype: DType::I32, lanes: 1 }) } else { a };
    if from.is_signed_int() {
        b.ins().fcvt_from_sint(clif_type(to), a)
    } else {
        b.ins().fcvt_from_uint(clif_type(to), a)
    }
}

fn resize(b: &mut FunctionBuilder<'_>, a: Value, from: DType, to: Type) -> Value {
    let clif = clif_type(to);
    match from.bytes().cmp(&to.dtype.bytes()) {
        std::cmp::Ordering::Equal => a,
        std::cmp::Ordering::Greater => b.ins().ireduce(clif, a),
        std::cmp::Ordering::Less if from.is_signed_int() => b.ins().sextend(clif, a),
        std::cmp::Ordering::Less => b.ins().uextend(clif, a),
    }
}
