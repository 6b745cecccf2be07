//! Elementwise operators: every loop against the one-value functions, and corner cases by hand.

use super::{eval, f32s, i64s, lit};
use fornax_ir::graph::ops::*;
use fornax_ir::scalar::eval as one;
use fornax_ir::scalar::{BinaryOp, CompareOp, Scalar, UnaryOp};
use fornax_ir::{DType, Literal};

const ALL: [DType; 13] = [
    DType::Bool,
    DType::I8,
    DType::U8,
    DType::I16,
    DType::U16,
    DType::I32,
    DType::U32,
    DType::I64,
    DType::U64,
    DType::F16,
    DType::BF16,
    DType::F32,
    DType::F64,
];

/// Values with corners of every dtype.
fn samples(dtype: DType) -> Vec<Scalar> {
    let floats = [0.0, -0.0, 1.5, -2.5, 1e-8, 300.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    let ints = [0, 1, -1, 2, 3, 7, 127, -128, i64::MAX, i64::MIN];
    match dtype {
        DType::Bool => vec![Scalar::bool(false), Scalar::bool(true)],
        d if d.is_float() => floats.iter().map(|&v| Scalar::from_f64(d, v)).collect(),
        d => ints.iter().map(|&v| Scalar::from_i64(d, v)).collect(),
    }
}

fn array(values: &[Scalar]) -> Literal {
    let dtype = values[0].dtype;
    let bytes = values.iter().flat_map(|s| {
        let mut word = s.bits.to_le_bytes()[..dtype.bytes()].to_vec();
        if cfg!(target_endian = "big") {
            word.reverse();
        }
        word
    });
    Literal::from_bytes(dtype, &[values.len()], bytes.collect::<Vec<u8>>().into()).unwrap()
}

/// Equal bits, or both NaN.
fn assert_same(got: &Literal, want: &[Scalar], what: &str) {
    let array = array(want);
    assert_eq!(got.dtype(), array.dtype(), "{what}");
    let width = got.dtype().bytes();
    for (i, w) in want.iter().enumerate() {
        let nan = got.get_f64(i).is_nan() && w.as_f64().is_nan();
        let (g, w) = (&got.bytes()[i * width..][..width], &array.bytes()[i * width..][..width]);
        assert!(nan || g == w, "{what}, element {i}: {got:?} not {array:?}");
    }
}

#[test]
fn arrays_agree_with_single_values() {
    for d in ALL {
        let x = samples(d);
        for &op in UnaryOp::ALL.iter().filter(|&&op| one::unary_accepts(op, d)) {
            let want: Vec<Scalar> = x.iter().map(|&v| one::unary(op, v)).collect();
            assert_same(&eval(&[array(&x)], |b, v| b.unary(op, v[0])), &want, &format!("{op} {d}"));
        }
        let pairs: Vec<(Scalar, Scalar)> = x.iter().flat_map(|&a| x.iter().map(move |&b| (a, b))).collect();
        let (a, b): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
        let args = [array(&a), array(&b)];
        for &op in BinaryOp::ALL.iter().filter(|&&op| one::binary_accepts(op, d)) {
            let want: Vec<Scalar> = pairs.iter().map(|&(a, b)| one::binary(op, a, b)).collect();
            assert_same(&eval(&args, |b, v| b.binary(op, v[0], v[1])), &want, &format!("{op} {d}"));
        }
        for &op in CompareOp::ALL {
            let want: Vec<Scalar> =
                pairs.iter().map(|&(a, b)| Scalar::bool(one::compare(op, a, b))).collect();
            assert_same(&eval(&args, |b, v| b.compare(op, v[0], v[1])), &want, &format!("{op} {d}"));
        }
        for to in ALL {
            let want: Vec<Scalar> = x.iter().map(|&v| one::cast(v, to)).collect();
            assert_same(&eval(&[array(&x)], |b, v| b.cast(v[0], to)), &want, &format!("{d} to {to}"));
        }
    }
}

#[test]
fn corners_by_hand() {
    let (a, z) = (lit(&[3], &[7i64, -7, i64::MIN]), lit(&[3], &[0i64, 2, -1]));
    let args = [a, z];
    let run = |op| i64s(&eval(&args, |b, v| b.binary(op, v[0], v[1])));
    assert_eq!(run(BinaryOp::Div), [0, -3, i64::MIN]);
    assert_eq!(run(BinaryOp::Rem), [0, -1, 0]);
    assert_eq!(run(BinaryOp::Shl), [7, -28, 0]);
    let floats = [lit(&[3], &[f32::NAN, -0.0, 3.9]), lit(&[3], &[1.0f32, 0.0, -1.0])];
    let max = f32s(&eval(&floats, |b, v| b.binary(BinaryOp::Max, v[0], v[1])));
    assert!(max[0].is_nan() && max[1].is_sign_positive() && max[2] == 3.9);
    let cast = eval(&[lit(&[4], &[f32::NAN, 1e30, -1.9, 300.0])], |b, v| b.cast(v[0], DType::U8));
    assert_eq!(cast.bytes()[..], [0, 255, 0, 255]);
    let half = eval(&[lit(&[1], &[1.0f32])], |b, v| b.add(Bitcast(DType::U32), v));
    assert_eq!(half.get_i64(0), 0x3f80_0000);
    let mask = Literal::from_bools(&[3], &[true, false, true]).unwrap();
    let picked = eval(&[mask, floats[1].clone(), floats[0].clone()], |b, v| b.select(v[0], v[1], v[2]));
    assert_eq!(f32s(&picked), [1.0, -0.0, -1.0]);
}
