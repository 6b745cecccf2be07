use super::reference::{Nd, agree, layouts, numbers, tolerance};
use fornax::{DType, Tensor};

type Unary = (&'static str, fn(&Tensor) -> Tensor, fn(f64) -> f64);

fn erf(x: f64) -> f64 {
    // The Taylor series, which converges everywhere: fast enough for |x| <= 3.
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

const FLOAT_UNARY: &[Unary] = &[
    ("exp", Tensor::exp, f64::exp),
    ("log", |x| x.abs().log(), |v| v.abs().ln()),
    ("log2", |x| x.abs().log2(), |v| v.abs().log2()),
    ("log10", |x| x.abs().log10(), |v| v.abs().log10()),
    ("sqrt", Tensor::sqrt, f64::sqrt),
    ("rsqrt", Tensor::rsqrt, |v| 1.0 / v.sqrt()),
    ("reciprocal", Tensor::reciprocal, |v| 1.0 / v),
    ("sin", Tensor::sin, f64::sin),
    ("cos", Tensor::cos, f64::cos),
    ("tan", |x| (x * 0.4).tan(), |v| (v * 0.4).tan()),
    ("atan", Tensor::atan, f64::atan),
    ("tanh", Tensor::tanh, f64::tanh),
    ("erf", Tensor::erf, erf),
    ("floor", Tensor::floor, f64::floor),
    ("ceil", Tensor::ceil, f64::ceil),
    ("round", Tensor::round, f64::round_ties_even),
    ("trunc", Tensor::trunc, f64::trunc),
    ("sigmoid", Tensor::sigmoid, sigmoid),
    ("silu", Tensor::silu, |v| v * sigmoid(v)),
    ("gelu", Tensor::gelu, |v| v / 2.0 * (1.0 + erf(v / 2f64.sqrt()))),
    ("gelu_tanh", Tensor::gelu_tanh, |v| {
        v / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (v + 0.044715 * v * v * v)).tanh())
    }),
    ("softplus", Tensor::softplus, |v| (1.0 + v.exp()).ln()),
    ("softsign", Tensor::softsign, |v| v / (1.0 + v.abs())),
    ("mish", Tensor::mish, |v| v * (1.0 + v.exp()).ln().tanh()),
    ("hardsigmoid", Tensor::hardsigmoid, |v| (v / 6.0 + 0.5).clamp(0.0, 1.0)),
    ("hardswish", Tensor::hardswish, |v| v * (v / 6.0 + 0.5).clamp(0.0, 1.0)),
    ("leaky_relu", |x| x.leaky_relu(0.1), |v| if v < 0.0 { v * 0.1 } else { v }),
    ("elu", |x| x.elu(1.5), |v| if v < 0.0 { 1.5 * v.exp_m1() } else { v }),
];

const NUMBER_UNARY: &[Unary] = &[
    ("neg", Tensor::neg, |v| -v),
    ("-", |x| -x, |v| -v),
    ("abs", Tensor::abs, f64::abs),
    ("sign", Tensor::sign, |v| if v == 0.0 { 0.0 } else { v.signum() }),
    ("square", Tensor::square, |v| v * v),
    ("relu", Tensor::relu, |v| v.max(0.0)),
    ("pow 2", |x| x.pow(2), |v| v * v),
    ("pow 3", |x| x.pow(3), |v| v.powi(3)),
    ("clamp", |x| x.clamp(-1, 2), |v| v.clamp(-1.0, 2.0)),
    ("maximum", |x| x.maximum(1), |v| v.max(1.0)),
    ("minimum", |x| x.minimum(1), |v| v.min(1.0)),
    ("x + 1", |x| x + 1, |v| v + 1.0),
    ("2 - x", |x| 2 - x, |v| 2.0 - v),
    ("x * 3", |x| x * 3, |v| v * 3.0),
    ("logical_not", Tensor::logical_not, |v| f64::from(v == 0.0)),
];

const SIGNED: [DType; 5] = [DType::F32, DType::F64, DType::I32, DType::I64, DType::I8];

#[test]
fn functions_of_one_number() {
    for &(name, f, reference) in FLOAT_UNARY {
        for x in layouts(&[3, 5], DType::F32, 1).iter().chain([&numbers(&[7], DType::F64, 2)]) {
            let what = format!("{name} of {}", x.dtype());
            agree(&what, &f(x), &Nd::of(x).map(reference), 4.0 * tolerance(x.dtype()));
        }
    }
    for &(name, f, reference) in NUMBER_UNARY {
        for dtype in SIGNED {
            let x = numbers(&[2, 9], dtype, 3);
            agree(&format!("{name} of {dtype}"), &f(&x), &Nd::of(&x).map(reference), tolerance(dtype));
        }
    }
    for dtype in [DType::F16, DType::BF16] {
        let x = numbers(&[4, 4], dtype, 5);
        agree("exp of a half", &x.exp(), &Nd::of(&x).map(f64::exp), tolerance(dtype));
        agree(
            "sum of halves",
            &(&x + &x.t()),
            &Nd::of(&x).zip(&Nd::of(&x.t()), |a, b| a + b),
            tolerance(dtype),
        );
    }
    let x = Tensor::from([1.0f32, f32::NAN]);
    assert_eq!(x.isnan(), Tensor::from([false, true]));
    assert_eq!(!Tensor::from([true, false]), Tensor::from([false, true]));
    assert_eq!(!&Tensor::from([0u8, 255]), Tensor::from([255u8, 0]));
}

type Binary = (&'static str, fn(&Tensor, &Tensor) -> Tensor, fn(f64, f64) -> f64);

const BINARY: &[Binary] = &[
    ("+", |a, b| a + b, |a, b| a + b),
    ("-", |a, b| a - b, |a, b| a - b),
    ("*", |a, b| a * b, |a, b| a * b),
    ("maximum", |a, b| a.maximum(b), f64::max),
    ("minimum", |a, b| a.minimum(b), f64::min),
    ("eq", |a, b| a.eq(b), |a, b| f64::from(a == b)),
    ("ne", |a, b| a.ne(b), |a, b| f64::from(a != b)),
    ("lt", |a, b| a.lt(b), |a, b| f64::from(a < b)),
    ("le", |a, b| a.le(b), |a, b| f64::from(a <= b)),
    ("gt", |a, b| a.gt(b), |a, b| f64::from(a > b)),
    ("ge", |a, b| a.ge(b), |a, b| f64::from(a >= b)),
    ("logical_and", |a, b| a.logical_and(b), |a, b| f64::from(a != 0.0 && b != 0.0)),
    ("logical_or", |a, b| a.logical_or(b), |a, b| f64::from(a != 0.0 || b != 0.0)),
    ("logical_xor", |a, b| a.logical_xor(b), |a, b| f64::from((a != 0.0) != (b != 0.0))),
];

#[test]
fn operators_in_every_dtype() {
    for dtype in SIGNED {
        let (a, b) = (numbers(&[3, 4], dtype, 1), numbers(&[4], dtype, 2));
        for &(name, f, reference) in BINARY {
            let expected = Nd::of(&a).zip(&Nd::of(&b), reference);
            agree(&format!("{name} of {dtype}"), &f(&a, &b), &expected, tolerance(dtype));
        }
        let divisor = b.abs() + 1;
        let whole = |v: f64| if dtype.is_float() { v } else { v.trunc() };
        let expected = Nd::of(&a).zip(&Nd::of(&divisor), |a, b| whole(a / b));
        agree("quotient", &(&a / &divisor), &expected, tolerance(dtype));
        let expected = Nd::of(&a).zip(&Nd::of(&divisor), |a, b| a % b);
        agree("remainder", &(&a % &divisor), &expected, 2.0 * tolerance(dtype));
        let expected = Nd::of(&divisor).zip(&Nd::of(&Tensor::from([2.0f64])), f64::powf);
        agree("power", &divisor.pow(&Tensor::full([1], 2, dtype)), &expected, 4.0 * tolerance(dtype));
    }
    let (a, b) = (Tensor::from([200u8, 7, 0]), Tensor::from([100u8, 2, 0]));
    assert_eq!(&a + &b, Tensor::from([44u8, 9, 0]));
    assert_eq!(&a / &b, Tensor::from([2u8, 3, 0]));
    assert_eq!(a.lt(&b), Tensor::from([false, false, false]));
    assert_eq!(&a & 6u8, Tensor::from([0u8, 6, 0]));
    assert_eq!(&Tensor::from([true, false]) | &Tensor::from(false), Tensor::from([true, false]));
    assert_eq!(Tensor::from([true, false]) ^ true, Tensor::from([false, true]));
}

#[test]
fn operands_of_every_layout_broadcast() {
    let shapes: [(&[usize], &[usize]); 9] = [
        (&[2, 3, 4], &[2, 3, 4]),
        (&[2, 3, 4], &[4]),
        (&[2, 3, 4], &[3, 1]),
        (&[2, 1, 4], &[1, 3, 1]),
        (&[2, 3, 4], &[]),
        (&[1, 1], &[3, 1, 2]),
        (&[2, 0, 3], &[3]),
        (&[0], &[1]),
        (&[2, 1, 2, 1, 2, 1, 2, 3], &[2, 3, 1, 1, 2, 2, 1, 1]),
    ];
    for (left, right) in shapes {
        for a in layouts(left, DType::F32, 1) {
            for b in layouts(right, DType::F32, 7) {
                let what = format!("{left:?} - {right:?}");
                agree(&what, &(&a - &b), &Nd::of(&a).zip(&Nd::of(&b), |a, b| a - b), 1e-6);
            }
        }
    }
}

#[test]
fn numbers_stand_on_both_sides() {
    let x = Tensor::from([1.0f32, 2.0]);
    assert_eq!(&x + 0.5, Tensor::from([1.5f32, 2.5]));
    assert_eq!(1.0 / &x, Tensor::from([1.0f32, 0.5]));
    assert_eq!(3 - x.clone(), Tensor::from([2.0f32, 1.0]));
    assert_eq!(2 * x.clone() * 2usize + 0i64, Tensor::from([4.0f32, 8.0]));
    assert_eq!((1.0 - &x + &x).exp().log(), Tensor::from([1.0f32, 1.0]));
    assert_eq!(x % 2.0f32, Tensor::from([1.0f32, 0.0]));
    let n = Tensor::from([5i32, -7]);
    assert_eq!(&n / 2, Tensor::from([2i32, -3]));
    assert_eq!(&n * 2.0, Tensor::from([10i32, -14]));
    assert_eq!(n.eq(5), Tensor::from([true, false]));
}

#[test]
fn choices_and_conversions() {
    let x = numbers(&[3, 4], DType::F32, 1);
    let y = numbers(&[4], DType::F32, 2);
    let chosen = x.gt(&y).where_(&x, &y);
    agree("where", &chosen, &Nd::of(&x).zip(&Nd::of(&y), f64::max), 0.0);
    let filled = Nd::of(&x).map(|v| if v > 0.0 { -1.0 } else { v });
    agree("masked_fill", &x.masked_fill(&x.gt(0), -1), &filled, 0.0);
    agree("relu", &x.gt(0).where_(&x, 0), &Nd::of(&x).map(|v| v.max(0.0)), 0.0);
    for from in
        [DType::F32, DType::F64, DType::I32, DType::I64, DType::U8, DType::I8, DType::Bool, DType::F16]
    {
        for to in [DType::F32, DType::F64, DType::I32, DType::I64, DType::I8, DType::Bool] {
            let x = numbers(&[6], from, 3);
            let expected = Tensor::from_f64s(x.to_f64_vec(), to, &[6]).unwrap();
            assert_eq!(x.to_dtype(to), expected, "{from} to {to}");
        }
    }
}
