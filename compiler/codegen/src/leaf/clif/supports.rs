//! Which leaves can be emitted.

use super::{Features, types_of};
use fornax_ir::dtype::DType;
use fornax_ir::leaf::{Inst, Leaf, Op, Type, ValueId};
use fornax_ir::scalar::{BinaryOp, UnaryOp};

/// Names the first operation there is no instruction sequence for.
pub(super) fn check(leaf: &Leaf, f: Features) -> Result<(), String> {
    let types = types_of(leaf);
    let ty = |v: ValueId| types[v as usize];
    let consts = |v: ValueId| is_const(leaf, v);
    for op in leaf.init.iter().chain(&leaf.body).chain(&leaf.finish) {
        if !scalar(op, &ty) || (is_vector(op, &ty) && !vector(op, &ty, &consts, f)) {
            let lanes = op.ty.lanes;
            return Err(format!("no code for {:?} with {lanes} lanes of {}", op.inst, op.ty.dtype));
        }
    }
    Ok(())
}

fn is_const(leaf: &Leaf, v: ValueId) -> bool {
    let of = |first: ValueId, ops: &[Op]| {
        let op = v.checked_sub(first).and_then(|i| ops.get(i as usize));
        op.is_some_and(|op| matches!(op.inst, Inst::Const(_)))
    };
    of(0, &leaf.init) || of(leaf.first_body(), &leaf.body) || of(leaf.first_finish(), &leaf.finish)
}

fn is_vector(op: &Op, ty: &impl Fn(ValueId) -> Type) -> bool {
    op.ty.lanes > 1 || matches!(op.inst, Inst::Horizontal(_, a) if ty(a).lanes > 1)
}

/// What holds for any number of lanes.
fn scalar(op: &Op, ty: &impl Fn(ValueId) -> Type) -> bool {
    let half = |d: DType| matches!(d, DType::F16 | DType::BF16);
    match &op.inst {
        Inst::LoadPart(..) | Inst::StorePart(..) | Inst::Interleave(..) => false,
        Inst::Unary(o, a) => {
            let known =
                matches!(o, UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Sqrt | UnaryOp::IsNan | UnaryOp::Not);
            known && !half(ty(*a).dtype)
        }
        Inst::Binary(o, ..) => match o {
            BinaryOp::Pow => false,
            BinaryOp::Rem => !op.ty.dtype.is_float(),
            _ => !half(op.ty.dtype),
        },
        Inst::Cast(a) => ty(*a).dtype == op.ty.dtype || !(half(ty(*a).dtype) || half(op.ty.dtype)),
        Inst::Compare(_, a, _) => !half(ty(*a).dtype),
        Inst::Fma(..) => !half(op.ty.dtype),
        _ => true,
    }
}

/// What several lanes need beyond that.
fn vector(op: &Op, ty: &impl Fn(ValueId) -> Type, is_const: &impl Fn(ValueId) -> bool, f: Features) -> bool {
    let wide = |d: DType| d.bytes() >= 4;
    let d = op.ty.dtype;
    if !f.vectors || !f.little {
        return false;
    }
    match &op.inst {
        Inst::Store(..) => wide(d),
        Inst::Load(_) | Inst::LoadIf(..) => wide(d) || (d.is_int() && op.ty.lanes == 4),
        // Two loads of four elements each, and a shuffle.
        Inst::LoadStrided(_, by) => d.bytes() == 4 && op.ty.lanes == 4 && matches!(by.abs(), 1..=3),
        Inst::LoadSplat(_) | Inst::Splat(_) | Inst::Const(_) => true,
        Inst::Ramp(_) => d.is_int() && wide(d),
        Inst::Select(..) => true,
        Inst::Unary(o, a) => {
            let a = ty(*a).dtype;
            match o {
                _ if a.is_float() => true,
                UnaryOp::Not => a == DType::Bool || wide(a),
                UnaryOp::Neg => wide(a),
                UnaryOp::Abs => a.bytes() == 4,
                _ => false,
            }
        }
        Inst::Binary(o, _, y) => match o {
            _ if d.is_float() => true,
            BinaryOp::And | BinaryOp::Or | BinaryOp::Xor => d == DType::Bool || wide(d),
            _ if d == DType::Bool => false,
            BinaryOp::Add | BinaryOp::Sub => wide(d),
            BinaryOp::Mul | BinaryOp::Min | BinaryOp::Max => d.bytes() == 4,
            // The arithmetic shift of 64-bit lanes has no x86-64 instruction below AVX-512.
            BinaryOp::Shl => wide(d) && is_const(*y),
            BinaryOp::Shr => is_const(*y) && (d.bytes() == 4 || !d.is_signed_int()),
            _ => false,
        },
        Inst::Compare(_, a, _) => {
            let a = ty(*a).dtype;
            a.is_float() || a.bytes() == 4
        }
        Inst::Cast(a) => {
            let (from, to) = (ty(*a).dtype, d);
            match (from, to) {
                (DType::Bool, _) => wide(to),
                (_, DType::Bool) => from.is_float() || from.bytes() == 4,
                _ if from.bytes() < 4 => to.bytes() == 4 && from.is_int(),
                _ => from.bytes() == to.bytes() && (from.bytes() == 4 || from.is_int() == to.is_int()),
            }
        }
        Inst::Bitcast(a) => wide(ty(*a).dtype) && wide(d),
        Inst::Fma(..) | Inst::Scale(..) => d.is_float(),
        Inst::Horizontal(..) => true,
        _ => true,
    }
}
