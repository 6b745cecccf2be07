//! Algebraic identities of elementwise operators, each exact for every operand.
//!
//! Floats: `x + 0` is not `x` (for `x = -0`), `x * 0` is not `0` (for infinities and NaN).

use super::constant::uniform;
use super::rebuild::Rebuild;
use super::simplify::{Site, Step};
use fornax_ir::dtype::{DType, DTypeClass};
use fornax_ir::graph::ops::{Binary, Broadcast, Cast, Select, Unary};
use fornax_ir::graph::{Op, ValueId};
use fornax_ir::scalar::{BinaryOp, Scalar, UnaryOp};

/// Identities of binary operators.
pub(super) fn binary(r: &mut Rebuild<'_>, s: &Site<'_>) -> Option<Step> {
    let Op::Binary(Binary(op)) = *s.op else { return None };
    let (a, b) = (s.inputs[0], s.inputs[1]);
    // Constants stand on the right: these are commutative for every operand.
    if is_commutative(op) && uniform(r.graph(), a).is_some() && uniform(r.graph(), b).is_none() {
        return Step::binary(Binary(op), b, a);
    }
    if let Some(c) = uniform(r.graph(), b) {
        if is_right_neutral(op, c) {
            return Some(Step::Value(a));
        }
        if let Some(inverse) = exact_inverse(op, c) {
            let c = r.scalar(inverse);
            let c = r.add(spread(s), &[c]).ok()?;
            return Step::binary(Binary(BinaryOp::Mul), a, c);
        }
        if op == BinaryOp::Pow {
            return power(r, s, a, c);
        }
        // Wrapping integers: everything times 0 is 0.
        if op == BinaryOp::Mul && c.dtype.is_int() && c.bits == 0 {
            return Some(Step::Value(b));
        }
    }
    // x + -y = x - y and x - -y = x + y: the same real number, rounded once.
    if let Some(y) = negated(r, b) {
        match op {
            BinaryOp::Add => return Step::binary(Binary(BinaryOp::Sub), a, y),
            BinaryOp::Sub => return Step::binary(Binary(BinaryOp::Add), a, y),
            _ => {}
        }
    }
    None
}

/// A broadcast of a scalar to the shape of the site.
fn spread(s: &Site<'_>) -> Broadcast {
    Broadcast { shape: s.node.ty.shape.clone(), axes: vec![] }
}

fn is_commutative(op: BinaryOp) -> bool {
    use BinaryOp::*;
    matches!(op, Add | Mul | Min | Max | And | Or | Xor)
}

/// Small powers as products. The square of a float is one rounding of the same real number; the cube
/// is two roundings, hence not under strict.
fn power(r: &mut Rebuild<'_>, s: &Site<'_>, x: ValueId, exponent: Scalar) -> Option<Step> {
    let mul = Binary(BinaryOp::Mul);
    let n = exponent.as_f64();
    let cubes = !s.options.strict || exponent.dtype.is_int();
    if n == 2.0 {
        return Step::binary(mul, x, x);
    }
    if n != 3.0 || !cubes {
        return None;
    }
    let square = r.add(mul.clone(), &[x, x]).ok()?;
    Step::binary(mul, square, x)
}

/// Whether `x op c` is `x` for every `x`.
fn is_right_neutral(op: BinaryOp, c: Scalar) -> bool {
    let zero = c.bits == 0;
    let one = c == Scalar::from_f64(c.dtype, 1.0);
    match (op, c.dtype.class()) {
        // x - +0 is x also for x = -0; x + c needs c = -0.
        (BinaryOp::Add, DTypeClass::Float) => c == Scalar::from_f64(c.dtype, -0.0),
        (BinaryOp::Sub, DTypeClass::Float) => zero,
        (BinaryOp::Mul | BinaryOp::Div, DTypeClass::Float) => one,
        // No power but x^1 is the identity also for NaN.
        (BinaryOp::Pow, DTypeClass::Float) => one,
        (BinaryOp::Or | BinaryOp::Xor, DTypeClass::Bool) => zero,
        (BinaryOp::And, DTypeClass::Bool) => !zero,
        (_, DTypeClass::Float | DTypeClass::Bool) => false,
        (BinaryOp::Add | BinaryOp::Sub | BinaryOp::Or | BinaryOp::Xor | BinaryOp::Shl | BinaryOp::Shr, _) => {
            zero
        }
        (BinaryOp::Mul | BinaryOp::Div | BinaryOp::Pow, _) => one,
        (BinaryOp::And, _) => c == Scalar::new(c.dtype, u64::MAX),
        _ => false,
    }
}

/// The float whose product is the quotient by `c`: the reciprocal of a power of two, when both are
/// normal numbers. Quotient and product are then the same real number, rounded once.
fn exact_inverse(op: BinaryOp, c: Scalar) -> Option<Scalar> {
    if op != BinaryOp::Div || !matches!(c.dtype, DType::F32 | DType::F64) {
        return None;
    }
    let v = c.as_f64();
    let power_of_two = v.is_normal() && v.to_bits() << 12 == 0;
    let normal = match c.dtype {
        DType::F32 => (v as f32).is_normal() && (1.0 / v as f32).is_normal(),
        _ => (1.0 / v).is_normal(),
    };
    (power_of_two && normal).then(|| Scalar::from_f64(c.dtype, 1.0 / v))
}

fn negated(r: &Rebuild<'_>, v: ValueId) -> Option<ValueId> {
    operand_of(r, v, UnaryOp::Neg)
}

/// `x` if the value is `op x`.
fn operand_of(r: &Rebuild<'_>, v: ValueId, op: UnaryOp) -> Option<ValueId> {
    let node = r.node(v);
    matches!(node.op, Op::Unary(Unary(o)) if o == op).then(|| node.inputs[0])
}

/// Identities of unary operators.
pub(super) fn unary(r: &mut Rebuild<'_>, s: &Site<'_>) -> Option<Step> {
    let Op::Unary(Unary(op)) = *s.op else { return None };
    let x = s.inputs[0];
    match op {
        // Involutions: the sign bit or all bits flip twice; MIN negates to itself.
        UnaryOp::Neg | UnaryOp::Not => operand_of(r, x, op).map(Step::Value),
        // The sign is dropped anyway; |MIN| = |-MIN| = MIN.
        UnaryOp::Abs => match operand_of(r, x, UnaryOp::Neg) {
            Some(y) => Step::unary(Unary(op), y),
            None => operand_of(r, x, UnaryOp::Abs).map(|_| Step::Value(x)),
        },
        // Idempotent: the result is an integer already.
        UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc => {
            let whole = matches!(
                r.node(x).op,
                Op::Unary(Unary(UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc))
            );
            whole.then_some(Step::Value(x))
        }
        _ => None,
    }
}

/// Conversions that change nothing, and chains whose first step loses nothing.
pub(super) fn cast(r: &mut Rebuild<'_>, s: &Site<'_>) -> Option<Step> {
    let Op::Cast(Cast(to)) = *s.op else { return None };
    let x = s.inputs[0];
    let mid = r.ty(x).dtype;
    if mid == to {
        return Some(Step::Value(x));
    }
    let inner = r.node(x);
    let Op::Cast(_) = inner.op else { return None };
    let (y, from) = (inner.inputs[0], r.ty(inner.inputs[0]).dtype);
    if !chain_is_direct(from, mid, to) {
        return None;
    }
    if from == to { Some(Step::Value(y)) } else { Step::unary(Cast(to), y) }
}

/// Whether converting `from -> mid -> to` is converting `from -> to`, given that `mid` holds every
/// value of `from`: yes, but from a float `mid` to an integer `to` saturates where an integer `from`
/// would wrap, so `to` must then hold every value of `from` as well.
fn chain_is_direct(from: DType, mid: DType, to: DType) -> bool {
    let saturates = mid.is_float() && to.is_int() && from.is_int();
    holds(mid, from) && (!saturates || holds(to, from))
}

/// Whether every value of `small` is a value of `large`.
fn holds(large: DType, small: DType) -> bool {
    use DTypeClass::*;
    let bits = |d: DType| d.bytes() * 8;
    // Significand bits, hidden one included.
    let precision = |d: DType| match d {
        DType::F16 => 11,
        DType::BF16 => 8,
        DType::F32 => 24,
        _ => 53,
    };
    match (large.class(), small.class()) {
        _ if large == small => true,
        (Bool, _) => false,
        (_, Bool) => true,
        (Signed, Signed) | (Unsigned, Unsigned) => bits(large) >= bits(small),
        (Signed, Unsigned) => bits(large) > bits(small),
        (Unsigned, Signed) | (Signed | Unsigned, Float) => false,
        // The smallest signed integer is a power of two, hence needs one bit less than its width.
        (Float, Signed) => precision(large) >= bits(small) - 1,
        (Float, Unsigned) => precision(large) >= bits(small),
        (Float, Float) => large == DType::F64 || (large == DType::F32 && small != DType::F64),
    }
}

/// Selections that are decided.
pub(super) fn select(r: &mut Rebuild<'_>, s: &Site<'_>) -> Option<Step> {
    let Op::Select(Select) = *s.op else { return None };
    let (c, a, b) = (s.inputs[0], s.inputs[1], s.inputs[2]);
    if a == b {
        return Some(Step::Value(a));
    }
    if let Some(c) = uniform(r.graph(), c) {
        return Some(Step::Value(if c.bits != 0 { a } else { b }));
    }
    let c = operand_of(r, c, UnaryOp::Not)?;
    Some(Step::Node(Op::from(Select), [c, b, a].into_iter().collect()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use fornax_ir::dtype::DTYPES;
    use fornax_ir::graph::Builder;
    use fornax_ir::scalar::eval;

    fn with_scalar(op: BinaryOp, dtype: DType, c: f64) -> Vec<&'static str> {
        let mut b = builder();
        let x = typed_input(&mut b, "x", dtype, &["n"]);
        let c = b.scalar_f64(dtype, c);
        let y = b.binary(op, x, c).unwrap();
        b.output("y", y);
        ops(&simplified(b)).split_off(1)
    }

    #[test]
    fn neutral_elements_go() {
        use BinaryOp::*;
        let none: [&str; 0] = [];
        assert_eq!(with_scalar(Add, DType::F32, -0.0), none);
        assert_eq!(with_scalar(Sub, DType::F32, 0.0), none);
        assert_eq!(with_scalar(Mul, DType::F32, 1.0), none);
        assert_eq!(with_scalar(Div, DType::F16, 1.0), none);
        assert_eq!(with_scalar(Pow, DType::F64, 1.0), none);
        assert_eq!(with_scalar(Add, DType::I32, 0.0), none);
        assert_eq!(with_scalar(And, DType::Bool, 1.0), none);
    }

    #[test]
    fn what_is_not_neutral_stays() {
        use BinaryOp::*;
        assert_eq!(with_scalar(Add, DType::F32, 0.0), ["const", "broadcast", "add"]);
        assert_eq!(with_scalar(Sub, DType::F32, -0.0), ["const", "broadcast", "sub"]);
        assert_eq!(with_scalar(Mul, DType::F32, 0.0), ["const", "broadcast", "mul"]);
        assert_eq!(with_scalar(Mul, DType::I32, 0.0), ["const", "broadcast"]);
    }

    #[test]
    fn division_by_powers_of_two_is_multiplication() {
        assert_eq!(with_scalar(BinaryOp::Div, DType::F32, 8.0), ["const", "broadcast", "mul"]);
        assert_eq!(with_scalar(BinaryOp::Div, DType::F32, 6.0), ["const", "broadcast", "div"]);
        assert_eq!(with_scalar(BinaryOp::Div, DType::F32, 2f64.powi(127)), ["const", "broadcast", "div"]);
        for x in [1.0f32, -3.3e-39, 1e38, f32::INFINITY, -0.0, 7.77] {
            let c = Scalar::f32(0.03125);
            let i = exact_inverse(BinaryOp::Div, c).unwrap();
            let x = Scalar::f32(x);
            assert_eq!(eval::binary(BinaryOp::Div, x, c), eval::binary(BinaryOp::Mul, x, i));
        }
    }

    #[test]
    fn cast_chains_agree_with_their_direct_form() {
        let numbers = [
            0.0, 1.0, -1.0, 2.5, 127.0, -128.0, 255.0, 300.0, 32768.0, 65504.0, 16777217.0, 1e10, -1e19,
            1e300,
        ];
        let direct = |f: DType, m, t| chain_is_direct(f, m, t);
        let mut checked = 0;
        for f in &DTYPES {
            for m in &DTYPES {
                for t in DTYPES.iter().filter(|t| direct(f.dtype, m.dtype, t.dtype)) {
                    for v in numbers {
                        let x = Scalar::from_f64(f.dtype, v);
                        let two = eval::cast(eval::cast(x, m.dtype), t.dtype);
                        assert_eq!(two, eval::cast(x, t.dtype), "{x} by {} to {}", m.dtype, t.dtype);
                        checked += 1;
                    }
                }
            }
        }
        assert!(checked > 1000);
        assert!(!direct(DType::I8, DType::F32, DType::U8));
        assert!(!direct(DType::F32, DType::F16, DType::F32));
        assert!(!direct(DType::I64, DType::F64, DType::I64));
    }

    fn unary_chain(list: &[UnaryOp]) -> Vec<&'static str> {
        let mut b = builder();
        let mut x = input(&mut b, "x", &["n"]);
        for &op in list {
            x = b.unary(op, x).unwrap();
        }
        b.output("y", x);
        ops(&simplified(b)).split_off(1)
    }

    #[test]
    fn unary_chains_shorten() {
        use UnaryOp::*;
        let none: [&str; 0] = [];
        assert_eq!(unary_chain(&[Neg, Neg]), none);
        assert_eq!(unary_chain(&[Neg, Neg, Neg]), ["neg"]);
        assert_eq!(unary_chain(&[Neg, Abs, Abs]), ["abs"]);
        assert_eq!(unary_chain(&[Round, Floor]), ["round"]);
        assert_eq!(unary_chain(&[Exp, Log]), ["exp", "log"]);
    }

    #[test]
    fn decided_selections_go() {
        let build = |decide: fn(&mut Builder, ValueId) -> ValueId| {
            let mut b = builder();
            let x = input(&mut b, "x", &["n"]);
            let y = input(&mut b, "y", &["n"]);
            let c = typed_input(&mut b, "c", DType::Bool, &["n"]);
            let c = decide(&mut b, c);
            let z = b.select(c, x, y).unwrap();
            b.output("z", z);
            let g = simplified(b);
            (ops(&g).split_off(3), g.outputs[0].value, g.nodes.last().unwrap().inputs.to_vec())
        };
        assert_eq!(build(|b, _| b.scalar(Scalar::bool(false))).1, ValueId(1));
        let (names, _, inputs) = build(|b, c| b.unary(UnaryOp::Not, c).unwrap());
        assert_eq!((names, inputs), (vec!["select"], vec![ValueId(2), ValueId(1), ValueId(0)]));
    }
}
