//! Reductions, products and convolutions against naive formulas in f64.

use super::view::{indices, place};
use super::{assert_close, eval, f32s, filled, lit};
use fornax_ir::graph::ops::*;
use fornax_ir::scalar::ReduceOp;
use fornax_ir::{DType, Dim, Literal};
use proptest::prelude::*;

fn wave(shape: &[usize], seed: usize) -> Literal {
    filled(shape, |i| (((i + seed) * 2654435761 % 1000) as f32 - 500.0) / 250.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn reduce(shape in prop::collection::vec(0usize..6, 1..4), mask in 1usize..8, op in 0usize..4) {
        let axes: Vec<u32> = (0..shape.len() as u32).filter(|k| mask >> k & 1 == 1).collect();
        prop_assume!(!axes.is_empty());
        let op = ReduceOp::ALL[op];
        let x = wave(&shape, mask);
        let y = eval(std::slice::from_ref(&x), |b, v| b.reduce(op, v[0], &axes));
        let kept: Vec<usize> = (0..shape.len()).filter(|k| !axes.contains(&(*k as u32))).collect();
        let out: Vec<usize> = kept.iter().map(|&k| shape[k]).collect();
        let first = [0.0, 1.0, f64::NEG_INFINITY, f64::INFINITY][ReduceOp::ALL.iter().position(|&o| o == op).unwrap()];
        let mut want = vec![first; out.iter().product()];
        for (k, index) in indices(&shape).iter().enumerate() {
            let to: Vec<usize> = kept.iter().map(|&k| index[k]).collect();
            let (w, v) = (&mut want[place(&out, &to)], x.get_f64(k));
            *w = match op {
                ReduceOp::Sum => *w + v,
                ReduceOp::Prod => *w * v,
                ReduceOp::Max => w.max(v),
                ReduceOp::Min => w.min(v),
            };
        }
        if shape.contains(&0) {
            (0..y.len()).for_each(|i| assert_eq!(y.get_f64(i), first));
        } else {
            assert_close(&y, &want, 1e-5);
        }
    }

    #[test]
    fn dot(batch in 0usize..4, m in 0usize..40, k in 0usize..9, n in 0usize..40, turn in any::<[bool; 2]>()) {
        // a: [batch, m, k] or [k, m, batch]; b: [k, batch, n] or [n, batch, k]
        let (sa, ia) = if turn[0] { ([k, m, batch], [2, 1, 0]) } else { ([batch, m, k], [0, 1, 2]) };
        let (sb, ib) = if turn[1] { ([n, batch, k], [1, 2, 0]) } else { ([k, batch, n], [1, 0, 2]) };
        let (a, b) = (wave(&sa, 1), wave(&sb, 2));
        let op = DotGeneral { batch: vec![(ia[0] as u32, ib[0] as u32)], contract: vec![(ia[2] as u32, ib[1] as u32)] };
        let y = eval(&[a.clone(), b.clone()], |g, v| g.add(op, v));
        prop_assert_eq!(y.shape(), &[batch, m, n][..]);
        let mut want = vec![];
        for i in indices(&[batch, m, n]) {
            let term = |j: usize| {
                let (mut x, mut w) = ([0; 3], [0; 3]);
                (x[ia[0]], x[ia[1]], x[ia[2]]) = (i[0], i[1], j);
                (w[ib[0]], w[ib[1]], w[ib[2]]) = (i[0], j, i[2]);
                a.get_f64(place(&sa, &x)) * b.get_f64(place(&sb, &w))
            };
            want.push((0..k).map(term).sum());
        }
        assert_close(&y, &want, 1e-5);
    }

    #[test]
    fn conv(
        spatial in prop::collection::vec((1usize..8, 1usize..4, 1i64..3, 1i64..3, 0i64..3, 0i64..3), 0..4),
        n in 1usize..3, c in 1usize..3, o in 1usize..3, groups in 1usize..3,
    ) {
        let extent = |&(d, k, s, dil, lo, hi): &(usize, usize, i64, i64, i64, i64)| {
            (d as i64 + lo + hi - ((k as i64 - 1) * dil + 1)).div_euclid(s) + 1
        };
        prop_assume!(spatial.iter().all(|a| extent(a) >= 1));
        let sx: Vec<usize> = [n, c * groups].into_iter().chain(spatial.iter().map(|a| a.0)).collect();
        let sw: Vec<usize> = [o * groups, c].into_iter().chain(spatial.iter().map(|a| a.1)).collect();
        let so: Vec<usize> = [n, o * groups].into_iter().chain(spatial.iter().map(|a| extent(a) as usize)).collect();
        let (x, w) = (wave(&sx, 3), wave(&sw, 4));
        let op = Conv {
            strides: spatial.iter().map(|a| a.2).collect(),
            dilations: spatial.iter().map(|a| a.3).collect(),
            pads: spatial.iter().map(|a| (Dim::constant(a.4), Dim::constant(a.5))).collect(),
            groups: groups as i64,
        };
        let y = eval(&[x.clone(), w.clone()], |b, v| b.add(op.clone(), v));
        prop_assert_eq!(y.shape(), &so[..]);
        let taps: Vec<usize> = spatial.iter().map(|a| a.1).collect();
        let mut want = vec![];
        let mut untouched = vec![true; so.iter().product()];
        for (at, i) in indices(&so).iter().enumerate() {
            let mut sum = 0.0;
            for ci in 0..c {
                for t in indices(&taps) {
                    let read: Option<Vec<usize>> = spatial.iter().enumerate().map(|(k, a)| {
                        let p = i[k + 2] as i64 * a.2 + t[k] as i64 * a.3 - a.4;
                        usize::try_from(p).ok().filter(|&p| p < a.0)
                    }).collect();
                    let Some(read) = read else { continue };
                    let from = [vec![i[0], i[1] / o * c + ci], read].concat();
                    let tap = [vec![i[1], ci], t.clone()].concat();
                    // The first tap of all is made infinite below.
                    untouched[at] &= place(&sw, &tap) != 0;
                    sum += x.get_f64(place(&sx, &from)) * w.get_f64(place(&sw, &tap));
                }
            }
            want.push(sum);
        }
        assert_close(&y, &want, 1e-5);
        // An infinite weight reaches only what reads through it, never padding.
        let mut infinite = f32s(&w);
        infinite[0] = f32::INFINITY;
        let z = eval(&[x, lit(&sw, &infinite)], |b, v| b.add(op, v));
        for (i, untouched) in untouched.iter().enumerate() {
            if *untouched {
                prop_assert_eq!(z.get_f64(i), y.get_f64(i));
            } else {
                prop_assert!(!z.get_f64(i).is_finite());
            }
        }
    }

    #[test]
    fn reduce_window(
        axes in prop::collection::vec((1usize..7, 1i64..4, 1i64..3, 1i64..3, 0i64..3, 0i64..3), 1..3),
        lead in 0usize..3, op in 0usize..4,
    ) {
        let extent = |&(d, k, s, dil, lo, hi): &(usize, i64, i64, i64, i64, i64)| {
            (d as i64 + lo + hi - ((k - 1) * dil + 1)).div_euclid(s) + 1
        };
        prop_assume!(axes.iter().all(|a| extent(a) >= 1));
        let op = ReduceOp::ALL[op];
        let sx: Vec<usize> = [lead].into_iter().chain(axes.iter().map(|a| a.0)).collect();
        let so: Vec<usize> = [lead].into_iter().chain(axes.iter().map(|a| extent(a) as usize)).collect();
        let x = wave(&sx, 5);
        let window = ReduceWindow {
            op,
            window: axes.iter().map(|a| a.1).collect(),
            strides: axes.iter().map(|a| a.2).collect(),
            dilations: axes.iter().map(|a| a.3).collect(),
            pads: axes.iter().map(|a| (Dim::constant(a.4), Dim::constant(a.5))).collect(),
        };
        let y = eval(std::slice::from_ref(&x), |b, v| b.add(window, v));
        let taps: Vec<usize> = axes.iter().map(|a| a.1 as usize).collect();
        for (k, i) in indices(&so).iter().enumerate() {
            let mut inside = vec![];
            for t in indices(&taps) {
                let read: Option<Vec<usize>> = axes.iter().enumerate().map(|(k, a)| {
                    let p = i[k + 1] as i64 * a.2 + t[k] as i64 * a.3 - a.4;
                    usize::try_from(p).ok().filter(|&p| p < a.0)
                }).collect();
                inside.extend(read.map(|r| x.get_f64(place(&sx, &[vec![i[0]], r].concat()))));
            }
            let want = match op {
                ReduceOp::Sum => inside.iter().sum(),
                ReduceOp::Prod => inside.iter().product(),
                ReduceOp::Max => inside.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b)),
                ReduceOp::Min => inside.iter().fold(f64::INFINITY, |a, &b| a.min(b)),
            };
            let got = y.get_f64(k);
            prop_assert!(got == want || (got - want).abs() < 1e-4, "{} not {}", got, want);
        }
    }
}

#[test]
fn a_sum_combines_thirty_two_interleaved_partials() {
    // In f32, 2^24 absorbs a 1: partial 0 loses the ones at 32 and 64, partials of their own keep theirs.
    let mut x = vec![0f32; 96];
    (x[0], x[32], x[64]) = (16777216.0, 1.0, 1.0);
    assert_eq!(f32s(&eval(&[lit(&[96], &x)], |b, v| b.reduce(ReduceOp::Sum, v[0], &[0]))), [16777216.0]);
    (x[32], x[64], x[1], x[17]) = (0.0, 0.0, 1.0, 1.0);
    assert_eq!(f32s(&eval(&[lit(&[96], &x)], |b, v| b.reduce(ReduceOp::Sum, v[0], &[0]))), [16777218.0]);
    // Strided reductions number their elements the same way.
    let column = lit(&[96, 1, 2], &x.iter().flat_map(|&v| [v, 0.0]).collect::<Vec<f32>>());
    assert_eq!(f32s(&eval(&[column], |b, v| b.reduce(ReduceOp::Sum, v[0], &[0, 1]))), [16777218.0, 0.0]);
}

#[test]
fn maxima_propagate_nan_and_order_zeros() {
    let x = lit(&[2, 3], &[1.0, f32::NAN, 2.0, -0.0, 0.0, -0.0]);
    let max = f32s(&eval(std::slice::from_ref(&x), |b, v| b.reduce(ReduceOp::Max, v[0], &[1])));
    assert!(max[0].is_nan() && max[1].to_bits() == 0);
    let min = f32s(&eval(&[x], |b, v| b.reduce(ReduceOp::Min, v[0], &[1])));
    assert!(min[0].is_nan() && min[1].to_bits() == 0x8000_0000);
}

#[test]
fn integers_wrap_and_halves_accumulate_in_f32() {
    let bytes = lit(&[1, 3], &[100i8, 100, 100]);
    let op = || DotGeneral { batch: vec![], contract: vec![(1, 1)] };
    let y = eval(&[bytes.clone(), bytes], |b, v| b.add(op(), v));
    assert_eq!((y.dtype(), y.get_i64(0)), (DType::I8, 30000i64 as i8 as i64));
    let ones = eval(&[filled(&[1, 4000], |_| 1.0)], |b, v| b.cast(v[0], DType::F16));
    let y = eval(&[ones.clone(), ones.clone()], |b, v| b.add(op(), v));
    assert_eq!((y.dtype(), y.get_f64(0)), (DType::F16, 4000.0));
    let sum = eval(&[ones], |b, v| b.reduce(ReduceOp::Sum, v[0], &[0, 1]));
    assert_eq!(sum.get_f64(0), 4000.0);
}

#[test]
fn long_products_sum_in_ascending_order_in_every_layout() {
    // The same chain by hand, product and sum rounded apart.
    let (m, k, n) = (3, 700, 21);
    let (a, b) = (wave(&[m, k], 8), wave(&[k, n], 9));
    let (fa, fb) = (f32s(&a), f32s(&b));
    let chain = |i: usize, j: usize| (0..k).fold(0f32, |s, p| s + fa[i * k + p] * fb[p * n + j]);
    let want: Vec<f32> = (0..m * n).map(|i| chain(i / n, i % n)).collect();
    let op = DotGeneral { batch: vec![], contract: vec![(1, 0)] };
    assert_eq!(f32s(&eval(&[a.clone(), b.clone()], |g, v| g.add(op, v))), want);
    let swapped = DotGeneral { batch: vec![], contract: vec![(0, 1)] };
    let turned = f32s(&eval(&[b, a], |g, v| g.add(swapped, v)));
    let turned: Vec<f32> = (0..m * n).map(|i| turned[i % n * m + i / n]).collect();
    assert_eq!(turned, want);
}
