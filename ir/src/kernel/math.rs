//! Functions, rounding and half precision in basic instructions.
//!
//! [`expand`] rewrites a kernel so that code generation needs
//! - of unary operators Neg, Abs, Not, Sqrt, IsNan;
//! - of binary ones Add, Sub, Mul, Div, Min, Max, And, Or, Xor, Shl, Shr;
//! - Fma and Scale of f32 and f64, Compare, Select, Cast, Bitcast;
//! - no f16 and no bf16: their buffers, locals and values are the bits as u16, they widen to f32 and
//!   round back in integer arithmetic. Their accumulations become ones of f32, rounded at the end.
//!
//! All sequences are free of branches and table look-ups. For f32, those of Exp, Log, Tanh, Erf,
//! Atan, the roundings and Sign stay within f32 and u32; Sin, Cos, Pow and Rem compute in f64.
//!
//! # Largest errors
//! In units in the last place, with and without fused multiply-add, denormals included:
//!
//! | | f32 | f64 |
//! |---|---|---|
//! | Exp | 1.1 | 1.1 |
//! | Log | 1 | 1 |
//! | Atan | 2 | 2 |
//! | Tanh | 3 | 3 |
//! | Erf | 2 | 2 |
//! | Sin, Cos | 1 | 1 for arguments up to 2^28, then as stated in `math/trig.rs` |
//! | Pow | 1 | 2 |
//! | Rem, Sign, Floor, Ceil, Round, Trunc | exact | exact |
//!
//! An error of at most 1 leaves the two floats around the true result.
//! f16 and bf16 round the f32 result once more.

use super::{Affine, InRange, IndexVar, Inst, Kernel, Mask, Op, Size, ValueId};
use crate::dtype::DType;
use crate::scalar::{BinaryOp, Scalar, UnaryOp};
use emit::Emit;

mod emit;
mod erf;
mod exp;
mod half;
mod log;
mod pow;
mod round;
mod trig;

#[cfg(test)]
mod tests;

/// The kernel in basic instructions, see [the module](self). Axes, locals' numbers, buffers' numbers
/// and the schedule stay; values are numbered anew. The kernel must satisfy [`super::verify`]; so does the result.
pub fn expand(kernel: &Kernel) -> Kernel {
    let mut result = kernel.clone();
    result.buffers.iter_mut().for_each(|b| b.dtype = stored(b.dtype));
    result.locals.iter_mut().for_each(|l| l.dtype = stored(l.dtype));
    for stage in &mut result.stages {
        stage.body = expand_body(&stage.body);
    }
    result
}

/// The instructions of one body in basic instructions, as [`expand`] does it.
pub fn expand_body(body: &[Op]) -> Vec<Op> {
    let mut rewrite = Rewrite { source: body, e: Emit::default(), map: Vec::new() };
    for op in body {
        let v = rewrite.op(op);
        rewrite.map.push(v);
    }
    rewrite.e.body
}

fn is_half(d: DType) -> bool {
    matches!(d, DType::F16 | DType::BF16)
}

/// The dtype in which a value of dtype `d` is kept.
fn stored(d: DType) -> DType {
    if is_half(d) { DType::U16 } else { d }
}

/// The dtype in which operators on `d` compute.
fn computed(d: DType) -> DType {
    if is_half(d) { DType::F32 } else { d }
}

struct Rewrite<'a> {
    source: &'a [Op],
    e: Emit,
    /// New numbers of the values rewritten so far; f16 and bf16 as u16.
    map: Vec<ValueId>,
}

impl Rewrite<'_> {
    fn raw(&self, v: ValueId) -> ValueId {
        self.map[v as usize]
    }

    /// The value, halves widened to f32.
    fn value(&mut self, v: ValueId) -> ValueId {
        let (d, raw) = (self.source[v as usize].dtype, self.raw(v));
        if is_half(d) { half::widen(&mut self.e, raw, d) } else { raw }
    }

    /// A computed value as one of dtype `d`.
    fn finish(&mut self, v: ValueId, d: DType) -> ValueId {
        if is_half(d) { half::narrow(&mut self.e, v, d) } else { v }
    }

    fn affine(&mut self, a: &Affine) -> Affine {
        let renumber = |&(var, stride): &(IndexVar, Size)| match var {
            IndexVar::Value(v) => (IndexVar::Value(self.raw(v)), stride),
            axis => (axis, stride),
        };
        let mut terms: Vec<_> = a.terms.iter().map(renumber).collect();
        terms.sort();
        // Equal values have become one. A variable occurs once: known strides add up, others take a copy.
        let mut merged: Vec<(IndexVar, Size)> = Vec::with_capacity(terms.len());
        for (var, stride) in terms {
            match (merged.last_mut(), var) {
                (Some((last, s)), IndexVar::Value(v)) if *last == var => {
                    if let (Size::Const(x), Size::Const(y)) = (*s, stride) {
                        *s = Size::Const(x.wrapping_add(y));
                    } else {
                        let op = self.e.body[v as usize].clone();
                        merged.push((IndexVar::Value(self.e.push(op.inst, op.dtype)), stride));
                    }
                }
                _ => merged.push((var, stride)),
            }
        }
        Affine::new(a.offset, merged)
    }

    fn mask(&mut self, m: &Mask) -> Mask {
        m.iter().map(|c| InRange { index: self.affine(&c.index), limit: c.limit }).collect()
    }

    fn op(&mut self, op: &Op) -> ValueId {
        let d = op.dtype;
        match &op.inst {
            Inst::Const(v) => self.e.constant(Scalar::new(stored(d), v.bits)),
            Inst::Axis(_) | Inst::Arg(_) => self.e.pure(op.inst.clone(), d),
            Inst::Load { src, at, mask } => {
                let (at, mask) = (self.affine(at), self.mask(mask));
                self.e.push(Inst::Load { src: *src, at, mask }, stored(d))
            }
            Inst::InRange(m) => {
                let m = self.mask(m);
                self.e.pure(Inst::InRange(m), d)
            }
            Inst::Unary(o, a) => self.unary(*o, *a, d),
            Inst::Binary(o, a, b) => {
                let (a, b) = (self.value(*a), self.value(*b));
                let v = binary(&mut self.e, *o, a, b);
                self.finish(v, d)
            }
            Inst::Compare(o, a, b) => {
                let (a, b) = (self.value(*a), self.value(*b));
                self.e.compare(*o, a, b)
            }
            Inst::Select(c, a, b) => self.e.select(self.raw(*c), self.raw(*a), self.raw(*b)),
            Inst::Cast(a) if self.source[*a as usize].dtype == d => self.raw(*a),
            Inst::Cast(a) => {
                let a = self.value(*a);
                let v = self.e.cast(a, computed(d));
                self.finish(v, d)
            }
            Inst::Bitcast(a) => self.e.bitcast(self.raw(*a), stored(d)),
            Inst::Fma(a, b, c) => {
                let (a, b, c) = (self.value(*a), self.value(*b), self.value(*c));
                let v = self.e.fma(a, b, c);
                self.finish(v, d)
            }
            Inst::Scale(a, n) => {
                let (a, n) = (self.value(*a), self.value(*n));
                self.e.power_of_two(a, n)
            }
            Inst::Accumulate { op, order, value, mask } => {
                let (value, mask) = (self.value(*value), self.mask(mask));
                let inst = Inst::Accumulate { op: *op, order: *order, value, mask };
                let v = self.e.push(inst, computed(d));
                self.finish(v, d)
            }
            Inst::Store { dst, at, value, mask } => {
                let (at, mask) = (self.affine(at), self.mask(mask));
                let inst = Inst::Store { dst: *dst, at, value: self.raw(*value), mask };
                self.e.push(inst, stored(d))
            }
            Inst::Raise { cond, detail } => {
                let inst = Inst::Raise { cond: self.raw(*cond), detail: *detail };
                self.e.push(inst, d)
            }
        }
    }

    fn unary(&mut self, o: UnaryOp, a: ValueId, d: DType) -> ValueId {
        if is_half(d) && matches!(o, UnaryOp::Neg | UnaryOp::Abs) {
            let (op, bits) =
                if o == UnaryOp::Neg { (BinaryOp::Xor, 0x8000) } else { (BinaryOp::And, 0x7fff) };
            let bits = self.e.bits(DType::U16, bits);
            return self.e.binary(op, self.raw(a), bits);
        }
        let a = self.value(a);
        let v = unary(&mut self.e, o, a);
        self.finish(v, d)
    }
}

fn unary(e: &mut Emit, o: UnaryOp, a: ValueId) -> ValueId {
    match o {
        UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Not | UnaryOp::Sqrt | UnaryOp::IsNan => e.unary(o, a),
        UnaryOp::Sign => round::sign(e, a),
        UnaryOp::Exp => exp::exp(e, a),
        UnaryOp::Log => log::log(e, a),
        UnaryOp::Sin => trig::sin(e, a, false),
        UnaryOp::Cos => trig::sin(e, a, true),
        UnaryOp::Tanh => exp::tanh(e, a),
        UnaryOp::Erf => erf::erf(e, a),
        UnaryOp::Atan => trig::atan(e, a),
        UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc => round::round(e, o, a),
    }
}

fn binary(e: &mut Emit, o: BinaryOp, a: ValueId, b: ValueId) -> ValueId {
    let float = e.dtype(a).is_float();
    match o {
        BinaryOp::Pow if float => pow::pow(e, a, b),
        BinaryOp::Pow => round::pow_int(e, a, b),
        BinaryOp::Rem if float => round::rem_float(e, a, b),
        BinaryOp::Rem => round::rem_int(e, a, b),
        _ => e.binary(o, a, b),
    }
}
