use super::*;
use crate::kernel::interp::pure;
use crate::kernel::Buf;
use crate::scalar::eval;
use DType::*;

/// A body that applies the operator to elements of buffers, one an operand, and what it expands to.
fn expanded(inst: impl Fn(&[ValueId]) -> Inst, operands: &[DType], result: DType) -> Vec<Op> {
    let mut body = Vec::new();
    for (i, &dtype) in operands.iter().enumerate() {
        let (src, at) = (Buf::Arg(i as u32), Affine::constant(Size::ZERO));
        body.push(Op { inst: Inst::Load { src, at, mask: Mask::new() }, dtype });
    }
    let ids: Vec<ValueId> = (0..operands.len() as ValueId).collect();
    body.push(Op { inst: inst(&ids), dtype: result });
    let (dst, at) = (Buf::Arg(operands.len() as u32), Affine::constant(Size::ZERO));
    let value = operands.len() as ValueId;
    body.push(Op { inst: Inst::Store { dst, at, value, mask: Mask::new() }, dtype: result });
    let body = expand_body(&body);
    assert_basic(&body);
    body
}

/// What is left must be what code generation knows.
fn assert_basic(body: &[Op]) {
    for op in body {
        assert!(!is_half(op.dtype), "{op:?}");
        match op.inst {
            Inst::Unary(o, _) => {
                use UnaryOp::*;
                assert!(matches!(o, Neg | Abs | Not | Sqrt | IsNan), "{op:?}");
            }
            Inst::Binary(o, ..) => assert!(!matches!(o, BinaryOp::Rem | BinaryOp::Pow), "{op:?}"),
            _ => {}
        }
    }
}

fn eval_body(body: &[Op], inputs: &[Scalar], fused: bool, values: &mut Vec<Scalar>) -> Scalar {
    values.clear();
    for op in body {
        let v = match &op.inst {
            Inst::Load { src: Buf::Arg(n), .. } => Scalar::new(op.dtype, inputs[*n as usize].bits),
            Inst::Store { value, .. } => return values[*value as usize],
            _ => pure(op, |v| values[v as usize], fused),
        };
        values.push(v);
    }
    unreachable!("the body ends in a store")
}

/// Distance from the true value in units of its last place as an f32.
fn ulps32(got: f32, want: f64) -> f64 {
    let rounded = want as f32;
    if got.is_nan() || rounded.is_nan() || got.is_infinite() || rounded.is_infinite() {
        let same = got.to_bits() == rounded.to_bits() || (got.is_nan() && rounded.is_nan());
        // One of two neighbours may be the infinity.
        let near = rounded.is_infinite() && got == f32::MAX.copysign(rounded) && want.abs() < 3.4028237e38;
        return if same { 0.0 } else if near { 1.0 } else { f64::INFINITY };
    }
    let exponent = (want.abs().to_bits() >> 52) as i32 - 1023;
    let place = 2f64.powi(exponent.max(-126) - 23);
    let signs = if want == 0.0 && got.to_bits() != rounded.to_bits() { 1e9 } else { 0.0 };
    (got as f64 - want).abs() / place + signs
}

/// Each function, its bound for f32 and how far apart the tested bit patterns are.
const SINGLE: &[(UnaryOp, f64, usize)] = &[
    (UnaryOp::Exp, 1.0, 997),
    (UnaryOp::Log, 1.0, 997),
    (UnaryOp::Tanh, 3.0, 1997),
    (UnaryOp::Erf, 2.0, 1997),
    (UnaryOp::Atan, 2.0, 1997),
    (UnaryOp::Sin, 1.0, 3989),
    (UnaryOp::Cos, 1.0, 3989),
    (UnaryOp::Sign, 0.0, 9973),
    (UnaryOp::Floor, 0.0, 1997),
    (UnaryOp::Ceil, 0.0, 1997),
    (UnaryOp::Round, 0.0, 1997),
    (UnaryOp::Trunc, 0.0, 1997),
];

#[test]
fn functions_of_f32_stay_within_their_bounds() {
    let mut report = String::new();
    let mut failed = false;
    for &(op, bound, step) in SINGLE {
        let body = expanded(|v| Inst::Unary(op, v[0]), &[F32], F32);
        let mut worst = (0.0, 0u32, false);
        let mut values = Vec::new();
        for (i, bits) in (0..=u32::MAX).step_by(step).enumerate() {
            let fused = i % 2 == 0;
            let got = eval_body(&body, &[Scalar::new(F32, bits as u64)], fused, &mut values);
            let want = eval::unary_f64(op, f32::from_bits(bits) as f64);
            let error = ulps32(f32::from_bits(got.bits as u32), want);
            if error > worst.0 {
                worst = (error, bits, fused);
            }
        }
        failed |= worst.0 > bound;
        let x = f32::from_bits(worst.1);
        report += &format!("{op}: {:.4} at {x:e} (fused {}), {} instructions\n", worst.0, worst.2, body.len());
    }
    assert!(!failed, "\n{report}");
    if std::env::var_os("SHOW_ERRORS").is_some() {
        panic!("\n{report}");
    }
}
