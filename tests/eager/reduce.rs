use super::reference::{Nd, agree, layouts, numbers, tolerance};
use fornax::{DType, Tensor};

type Reduction = (&'static str, fn(&Tensor, &[usize], bool) -> Tensor, fn(&[f64]) -> f64);

fn mean(v: &[f64]) -> f64 {
    v.iter().sum::<f64>() / v.len() as f64
}

fn var(v: &[f64], correction: f64) -> f64 {
    let m = mean(v);
    v.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / (v.len() as f64 - correction)
}

const REDUCTIONS: &[Reduction] = &[
    ("sum", |x, a, k| x.sum(a, k), |v| v.iter().sum()),
    ("prod", |x, a, k| x.prod(a, k), |v| v.iter().product()),
    ("mean", |x, a, k| x.mean(a, k), mean),
    ("max", |x, a, k| x.max(a, k), |v| v.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
    ("min", |x, a, k| x.min(a, k), |v| v.iter().copied().fold(f64::INFINITY, f64::min)),
    ("var", |x, a, k| x.var(a, 1, k), |v| var(v, 1.0)),
    ("var 0", |x, a, k| x.var(a, 0, k), |v| var(v, 0.0)),
    ("std", |x, a, k| x.std(a, 1, k), |v| var(v, 1.0).sqrt()),
    ("logsumexp", |x, a, k| x.logsumexp(a, k), |v| v.iter().map(|x| x.exp()).sum::<f64>().ln()),
    ("any", |x, a, k| x.gt(1).any(a, k), |v| f64::from(v.iter().any(|&x| x > 1.0))),
    ("all", |x, a, k| x.gt(-1).all(a, k), |v| f64::from(v.iter().all(|&x| x > -1.0))),
];

#[test]
fn reductions_over_every_set_of_axes() {
    let x = numbers(&[3, 4, 2], DType::F32, 1);
    for &(name, f, reference) in REDUCTIONS {
        for axes in [&[0usize][..], &[2], &[0, 2], &[0, 1, 2]] {
            for keep in [false, true] {
                let expected = Nd::of(&x).fold(axes, keep, reference);
                agree(&format!("{name} over {axes:?}"), &f(&x, axes, keep), &expected, 1e-5);
            }
        }
    }
}

#[test]
fn reductions_of_every_layout_and_dtype() {
    for x in layouts(&[5, 7], DType::F64, 3) {
        let expected = Nd::of(&x).fold(&[1], false, |v| v.iter().sum());
        agree("sum", &x.sum(1, false), &expected, 1e-12);
    }
    for dtype in [DType::I32, DType::I64, DType::I8, DType::U8, DType::Bool] {
        let x = numbers(&[3, 50], dtype, 2);
        let sum = x.sum(-1, false);
        assert_eq!(sum.dtype(), DType::I64);
        agree("sum of integers", &sum, &Nd::of(&x).fold(&[1], false, |v| v.iter().sum()), 0.0);
        let largest = |v: &[f64]| v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        agree("max of integers", &x.max(0, true), &Nd::of(&x).fold(&[0], true, largest), 0.0);
    }
}

#[test]
fn the_whole_tensor_and_no_axis() {
    let x = numbers(&[2, 3], DType::F64, 4);
    assert_eq!(x.sum(.., false).shape(), [0usize; 0]);
    assert!((x.sum(.., false).item::<f64>() - x.to_f64_vec().iter().sum::<f64>()).abs() < 1e-12);
    assert_eq!(x.sum([0usize; 0], false), x);
    let scalar = Tensor::from(3.0f32);
    assert_eq!(scalar.sum(.., false), scalar);
    assert_eq!(scalar.mean(.., true), scalar);
}

#[test]
fn nothing_reduces_to_the_identity() {
    let x = Tensor::zeros(&[2, 0, 3], DType::F32).unwrap();
    agree("sum", &x.sum(1, false), &Nd::from_fn(&[2, 3], |_| 0.0), 0.0);
    agree("prod", &x.prod(1, false), &Nd::from_fn(&[2, 3], |_| 1.0), 0.0);
    agree("max", &x.max(1, false), &Nd::from_fn(&[2, 3], |_| f64::NEG_INFINITY), 0.0);
    agree("mean", &x.mean(1, false), &Nd::from_fn(&[2, 3], |_| f64::NAN), 0.0);
    assert_eq!(x.sum(0, false).shape(), [0, 3]);
}

#[test]
fn places_of_extremes() {
    for dtype in [DType::F32, DType::I64, DType::U8] {
        let x = numbers(&[4, 6], dtype, 9);
        let first = |v: &[f64], better: fn(f64, f64) -> bool| {
            (1..v.len()).fold(0, |best, i| if better(v[i], v[best]) { i } else { best }) as f64
        };
        let expected = Nd::of(&x).fold(&[1], false, |v| first(v, |a, b| a > b));
        agree("argmax", &x.argmax(1, false), &expected, 0.0);
        let expected = Nd::of(&x).fold(&[0], true, |v| first(v, |a, b| a < b));
        agree("argmin", &x.argmin(0, true), &expected, 0.0);
        let expected = Nd::of(&x).fold(&[0, 1], false, |v| first(v, |a, b| a > b));
        agree("argmax of all", &x.argmax(.., false), &expected, 0.0);
        assert_eq!(x.argmax(.., true).shape(), [1, 1]);
    }
    assert_eq!(Tensor::from([1.0f32, f32::NAN, 9.0]).argmax(0, false).item::<i64>(), 1);
}

#[test]
fn a_correction_beyond_the_elements_leaves_none() {
    let x = Tensor::from([1.0f32, 2.0, 4.0]);
    for correction in [3, 5] {
        assert_eq!(x.var(0, correction, false).item::<f32>(), f32::INFINITY, "{correction}");
        assert_eq!(x.std(0, correction, false).item::<f32>(), f32::INFINITY, "{correction}");
        assert!(x.i(..1).var(0, correction, false).item::<f32>().is_nan(), "{correction}");
    }
}

#[test]
fn running_sums() {
    for x in layouts(&[3, 5], DType::F32, 2) {
        let n = Nd::of(&x);
        let along = Nd::from_fn(&[3, 5], |i| (0..=i[1]).map(|k| n.at(&[i[0], k])).sum());
        agree("cumsum", &x.cumsum(-1), &along, tolerance(DType::F32));
        let down = Nd::from_fn(&[3, 5], |i| (0..=i[0]).map(|k| n.at(&[k, i[1]])).sum());
        agree("cumsum", &x.cumsum(0), &down, tolerance(DType::F32));
    }
    let x = Tensor::from([1.0f32, f32::INFINITY, 2.0]);
    assert_eq!(x.cumsum(0), Tensor::from([1.0f32, f32::INFINITY, f32::INFINITY]));
    assert_eq!(Tensor::from([true, false, true]).cumsum(0), Tensor::from([1i64, 1, 2]));
    assert_eq!(Tensor::from([2i32, 3, 4]).cumprod(0), Tensor::from([2i64, 6, 24]));
    let x = Tensor::from([[1.0f32, 5.0, 3.0], [4.0, f32::NAN, 9.0]]);
    let largest = x.cummax(1);
    assert_eq!(largest.i(0), Tensor::from([1.0f32, 5.0, 5.0]));
    assert!(largest.i((1, 1)).item::<f32>().is_nan() && largest.i((1, 2)).item::<f32>().is_nan());
    assert_eq!(x.cummin(0).i((1, ..1)), Tensor::from([1.0f32]));
    assert_eq!(Tensor::from([3u8, 1, 2]).cummin(-1), Tensor::from([3u8, 1, 1]));
}
