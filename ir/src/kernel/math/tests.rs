use super::*;
use crate::kernel::Buf;
use crate::kernel::interp::pure;
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
        return if same {
            0.0
        } else if near {
            1.0
        } else {
            f64::INFINITY
        };
    }
    let exponent = (want.abs().to_bits() >> 52) as i32 - 1023;
    let place = 2f64.powi(exponent.max(-126) - 23);
    let signs = if want == 0.0 && got.to_bits() != rounded.to_bits() { 1e9 } else { 0.0 };
    (got as f64 - want).abs() / place + signs
}

/// Each function, its bound for f32 and how far apart the tested bit patterns are.
const SINGLE: &[(UnaryOp, f64, usize)] = &[
    (UnaryOp::Exp, 1.1, 1997),
    (UnaryOp::Log, 1.0, 1997),
    (UnaryOp::Tanh, 3.0, 2999),
    (UnaryOp::Erf, 2.0, 2999),
    (UnaryOp::Atan, 2.0, 2999),
    (UnaryOp::Sin, 1.0, 9973),
    (UnaryOp::Cos, 1.0, 9973),
    (UnaryOp::Sign, 0.0, 9973),
    (UnaryOp::Floor, 0.0, 3989),
    (UnaryOp::Ceil, 0.0, 3989),
    (UnaryOp::Round, 0.0, 3989),
    (UnaryOp::Trunc, 0.0, 3989),
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
        report +=
            &format!("{op}: {:.4} at {x:e} (fused {}), {} instructions\n", worst.0, worst.2, body.len());
    }
    assert!(!failed, "\n{report}");
    show(&report);
}

/// With SHOW_ERRORS set, fails with the measured errors.
fn show(report: &str) {
    assert!(std::env::var_os("SHOW_ERRORS").is_none(), "\n{report}");
}

/// Of each f64 function.
const DOUBLE: &[(&str, f64)] = &[
    ("exp", 1.1),
    ("log", 1.0),
    ("tanh", 3.0),
    ("erf", 2.0),
    ("atan", 2.0),
    ("sin", 1.0),
    ("cos", 1.0),
    ("pow", 2.0),
];

/// Lines of `function arguments result rest`: bits of the arguments and of the nearest result, and how many
/// units in the last place the true result lies above that. Computed with 60 decimal digits.
const POINTS: &str = include_str!("f64_points.txt");

#[test]
fn functions_of_f64_stay_within_their_bounds() {
    let mut report = String::new();
    let mut failed = false;
    let mut values = Vec::new();
    for &(name, bound) in DOUBLE {
        let body = match UnaryOp::from_name(name) {
            Some(op) => expanded(|v| Inst::Unary(op, v[0]), &[F64], F64),
            None => expanded(|v| Inst::Binary(BinaryOp::Pow, v[0], v[1]), &[F64, F64], F64),
        };
        let mut worst = (0.0, String::new());
        for line in POINTS.lines().filter(|l| l.split(' ').next() == Some(name)) {
            let fields: Vec<_> = line.split(' ').skip(1).collect();
            let bits = |s: &str| u64::from_str_radix(s, 16).unwrap();
            let (args, result) = fields.split_at(fields.len() - 2);
            let args: Vec<_> = args.iter().map(|a| Scalar::new(F64, bits(a))).collect();
            for fused in [false, true] {
                let got = eval_body(&body, &args, fused, &mut values);
                // Neighbouring floats of one sign have neighbouring bits.
                let apart = (got.bits as i64).wrapping_sub(bits(result[0]) as i64);
                let apart = if got.bits >> 63 == 1 { -apart } else { apart } as f64;
                let error = (apart - result[1].parse::<f64>().unwrap()).abs();
                if error > worst.0 {
                    worst = (error, format!("{args:?} (fused {fused}): {got}, {line}"));
                }
            }
        }
        failed |= worst.0 > bound;
        report += &format!("{name}: {:.3}, {} instructions, {}\n", worst.0, body.len(), worst.1);
    }
    assert!(!failed, "\n{report}");
    show(&report);
}

fn same(got: Scalar, want: Scalar) -> bool {
    got == want || (got.as_f64().is_nan() && want.as_f64().is_nan())
}

#[test]
fn special_values() {
    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;
    use UnaryOp::*;
    let table: &[(UnaryOp, &[(f64, f64)])] = &[
        (Exp, &[(NAN, NAN), (INF, INF), (-INF, 0.0), (0.0, 1.0), (-0.0, 1.0), (1e30, INF), (-1e30, 0.0)]),
        (Log, &[(NAN, NAN), (INF, INF), (-INF, NAN), (0.0, -INF), (-0.0, -INF), (1.0, 0.0), (-1.0, NAN)]),
        (Tanh, &[(NAN, NAN), (INF, 1.0), (-INF, -1.0), (0.0, 0.0), (-0.0, -0.0), (40.0, 1.0)]),
        (Erf, &[(NAN, NAN), (INF, 1.0), (-INF, -1.0), (0.0, 0.0), (-0.0, -0.0), (-30.0, -1.0)]),
        (Atan, &[(NAN, NAN), (0.0, 0.0), (-0.0, -0.0)]),
        (Sin, &[(NAN, NAN), (INF, NAN), (-INF, NAN), (0.0, 0.0), (-0.0, -0.0)]),
        (Cos, &[(NAN, NAN), (INF, NAN), (-INF, NAN), (0.0, 1.0), (-0.0, 1.0)]),
        (Sign, &[(NAN, NAN), (INF, 1.0), (-INF, -1.0), (0.0, 0.0), (-0.0, -0.0), (-3.0, -1.0)]),
        (Floor, &[(NAN, NAN), (-INF, -INF), (-0.0, -0.0), (-0.5, -1.0), (0.5, 0.0), (1e30, 1e30)]),
        (Ceil, &[(NAN, NAN), (INF, INF), (-0.0, -0.0), (-0.5, -0.0), (0.5, 1.0), (-0.9, -0.0)]),
        (Round, &[(NAN, NAN), (0.5, 0.0), (1.5, 2.0), (-2.5, -2.0), (-0.2, -0.0), (3.0, 3.0)]),
        (Trunc, &[(NAN, NAN), (-0.7, -0.0), (2.9, 2.0), (-2.9, -2.0), (INF, INF)]),
    ];
    let mut values = Vec::new();
    for dtype in [F16, BF16, F32, F64] {
        for &(op, points) in table {
            let body = expanded(|v| Inst::Unary(op, v[0]), &[dtype], dtype);
            for &(x, want) in points {
                let (x, want) = (Scalar::from_f64(dtype, x), Scalar::from_f64(dtype, want));
                let got = eval_body(&body, &[x], false, &mut values);
                let got = Scalar::new(dtype, got.bits);
                assert!(same(got, want), "{op} {x}: {got}, not {want}");
            }
        }
    }
}

#[test]
fn binary_functions_agree_with_the_reference_on_special_values() {
    let specials = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        2.0,
        -2.0,
        3.0,
        -3.0,
        0.5,
        -0.5,
        7.25,
        -1e4,
        1e30,
        -1e30,
        1e-38,
        3e-45,
        8388609.0,
        16777215.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    let mut values = Vec::new();
    for dtype in [F16, BF16, F32, F64] {
        for op in [BinaryOp::Pow, BinaryOp::Rem, BinaryOp::Min, BinaryOp::Max] {
            let body = expanded(|v| Inst::Binary(op, v[0], v[1]), &[dtype, dtype], dtype);
            for (x, y) in specials.iter().flat_map(|&x| specials.map(|y| (x, y))) {
                let (x, y) = (Scalar::from_f64(dtype, x), Scalar::from_f64(dtype, y));
                let got = Scalar::new(dtype, eval_body(&body, &[x, y], true, &mut values).bits);
                let want = eval::binary(op, x, y);
                let near = op == BinaryOp::Pow && got.bits.abs_diff(want.bits) <= 1;
                assert!(near || same(got, want), "{op} {x} {y}: {got}, not {want}");
            }
        }
    }
}

/// A sequence of bit patterns that look random (splitmix64).
fn scrambled(seed: u64) -> impl Iterator<Item = u64> {
    (1u64..).map(move |i| {
        let z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

#[test]
fn pow_of_f32_stays_within_its_bound() {
    let body = expanded(|v| Inst::Binary(BinaryOp::Pow, v[0], v[1]), &[F32, F32], F32);
    let mut values = Vec::new();
    let mut random = scrambled(1);
    for i in 0..200_000 {
        let bits = random.next().unwrap();
        let x = f32::from_bits(bits as u32);
        // An exponent whose power is in range more often than not.
        let y = (bits >> 40) as f32 / (1 << 24) as f32 * 220.0 - 110.0;
        let y = if i % 2 == 0 { y / x.abs().ln() } else { y.round() };
        let got = eval_body(&body, &[Scalar::f32(x), Scalar::f32(y)], i % 3 == 0, &mut values);
        let error = ulps32(f32::from_bits(got.bits as u32), (x as f64).powf(y as f64));
        assert!(error < 1.0, "{x:e} to the {y:e}: {got}, {error} ULP");
    }
}

#[test]
fn remainders_are_exact() {
    let mut values = Vec::new();
    for (dtype, count) in [(F32, 20_000), (F64, 2_000)] {
        let body = expanded(|v| Inst::Binary(BinaryOp::Rem, v[0], v[1]), &[dtype, dtype], dtype);
        let mut random = scrambled(2);
        for i in 0..count {
            let (x, y) = (random.next().unwrap(), random.next().unwrap());
            let (x, mut y) = (Scalar::new(dtype, x), Scalar::new(dtype, y));
            if i % 2 == 0 {
                // Not too far apart, so that quotients are small.
                let m = dtype.bytes() as u32 * 8 - 12;
                y = Scalar::new(dtype, (x.bits >> m << m) ^ (y.bits & ((1 << m) - 1)));
            }
            let got = eval_body(&body, &[x, y], i % 3 == 0, &mut values);
            let want = eval::binary(BinaryOp::Rem, x, y);
            assert!(same(got, want), "{x} % {y}: {got}, not {want}");
        }
    }
}

#[test]
fn integer_power_remainder_and_sign_agree_with_the_reference() {
    let mut values = Vec::new();
    for dtype in [I8, U8, I16, U16, I32, U32, I64, U64] {
        let edges = [0i64, 1, -1, 2, -2, 3, 5, 7, 63, 64, 127, -128, i32::MIN as i64, i64::MAX, i64::MIN];
        for op in [BinaryOp::Pow, BinaryOp::Rem] {
            let body = expanded(|v| Inst::Binary(op, v[0], v[1]), &[dtype, dtype], dtype);
            for (x, y) in edges.iter().flat_map(|&x| edges.map(|y| (x, y))) {
                let (x, y) = (Scalar::from_i64(dtype, x), Scalar::from_i64(dtype, y));
                let got = eval_body(&body, &[x, y], false, &mut values);
                assert_eq!(got, eval::binary(op, x, y), "{op} {x} {y}");
            }
        }
        let body = expanded(|v| Inst::Unary(UnaryOp::Sign, v[0]), &[dtype], dtype);
        for x in edges.map(|x| Scalar::from_i64(dtype, x)) {
            let got = eval_body(&body, &[x], false, &mut values);
            assert_eq!(got, eval::unary(UnaryOp::Sign, x), "{x}");
        }
    }
}

#[test]
fn halves_widen_and_narrow_exactly() {
    let mut values = Vec::new();
    for half in [F16, BF16] {
        let widen = expanded(|v| Inst::Cast(v[0]), &[half], F32);
        let narrow = expanded(|v| Inst::Cast(v[0]), &[F32], half);
        for bits in 0..=u16::MAX as u64 {
            let x = Scalar::new(half, bits);
            let got = eval_body(&widen, &[x], false, &mut values);
            assert!(same(got, eval::cast(x, F32)), "{x} widens to {got}");
        }
        for bits in (0..=u32::MAX as u64).step_by(4099) {
            // Ties are as likely as anything else.
            for x in [bits, bits & !0xfff, bits & !0xfff | 0x1000, bits & !0x7fff | 0x8000] {
                let x = Scalar::new(F32, x);
                let got = Scalar::new(half, eval_body(&narrow, &[x], false, &mut values).bits);
                assert!(same(got, eval::cast(x, half)), "{x} narrows to {got}");
            }
        }
    }
}

#[test]
fn operators_of_halves_agree_with_the_reference() {
    let mut values = Vec::new();
    let mut random = scrambled(3);
    for half in [F16, BF16] {
        let add = expanded(|v| Inst::Binary(BinaryOp::Add, v[0], v[1]), &[half, half], half);
        let neg = expanded(|v| Inst::Unary(UnaryOp::Neg, v[0]), &[half], half);
        let less = expanded(|v| Inst::Compare(crate::scalar::CompareOp::Lt, v[0], v[1]), &[half, half], Bool);
        let fma = expanded(|v| Inst::Fma(v[0], v[1], v[2]), &[half, half, half], half);
        let int = expanded(|v| Inst::Cast(v[0]), &[half], I32);
        let back = expanded(|v| Inst::Cast(v[0]), &[I64], half);
        for _ in 0..5000 {
            let bits = random.next().unwrap();
            let [x, y, z] = [0, 16, 32].map(|s| Scalar::new(half, bits >> s));
            let mut run = |body: &[Op], inputs: &[Scalar], dtype: DType| {
                Scalar::new(dtype, eval_body(body, inputs, true, &mut values).bits)
            };
            let sum = run(&add, &[x, y], half);
            assert!(same(sum, eval::binary(BinaryOp::Add, x, y)), "{x} + {y} = {sum}");
            assert_eq!(run(&neg, &[x], half), eval::unary(UnaryOp::Neg, x));
            let want = eval::compare(crate::scalar::CompareOp::Lt, x, y);
            assert_eq!(run(&less, &[x, y], Bool), Scalar::bool(want));
            let got = run(&fma, &[x, y, z], half);
            assert!(same(got, eval::fma(x, y, z, true)), "{x} * {y} + {z} = {got}");
            assert_eq!(run(&int, &[x], I32), eval::cast(x, I32));
            let wide = Scalar::new(I64, bits >> (bits & 63));
            assert_eq!(run(&back, &[wide], half), eval::cast(wide, half));
        }
    }
}
