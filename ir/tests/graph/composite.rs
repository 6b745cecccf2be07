//! Composites against their formulas in f64.

use super::view::{indices, place};
use super::{assert_close, eval, f32s, filled, i64s, lit};
use fornax_ir::graph::builder::Result;
use fornax_ir::graph::composite::{ConvTranspose, Pool};
use fornax_ir::graph::{Builder, ValueId};
use fornax_ir::scalar::ReduceOp;
use fornax_ir::scalar::eval::erf;
use fornax_ir::{DType, Dim, Literal};
use proptest::prelude::*;

fn wave(shape: &[usize]) -> Literal {
    filled(shape, |i| ((i * 37 % 41) as f32 - 20.0) / 8.0)
}

type Formula = Box<dyn Fn(f64) -> f64>;
type Build = fn(&mut Builder, ValueId) -> Result<ValueId>;

#[test]
fn activations() {
    let softplus = |x: f64| x.exp().ln_1p();
    let table: Vec<(&str, Build, Formula)> = vec![
        ("relu", |b, x| b.relu(x), Box::new(|x| x.max(0.0))),
        ("leaky_relu", |b, x| b.leaky_relu(x, 0.1), Box::new(|x| if x < 0.0 { 0.1 * x } else { x })),
        ("sigmoid", |b, x| b.sigmoid(x), Box::new(|x| 1.0 / (1.0 + (-x).exp()))),
        ("silu", |b, x| b.silu(x), Box::new(|x| x / (1.0 + (-x).exp()))),
        ("hard_sigmoid", |b, x| b.hard_sigmoid(x, 0.2, 0.5), Box::new(|x| (0.2 * x + 0.5).clamp(0.0, 1.0))),
        ("hard_swish", |b, x| b.hard_swish(x), Box::new(|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0))),
        ("elu", |b, x| b.elu(x, 0.7), Box::new(|x| if x < 0.0 { 0.7 * x.exp_m1() } else { x })),
        ("selu", |b, x| b.selu(x, 1.6, 1.1), Box::new(|x| 1.1 * if x < 0.0 { 1.6 * x.exp_m1() } else { x })),
        ("celu", |b, x| b.celu(x, 2.0), Box::new(|x| if x < 0.0 { 2.0 * (x / 2.0).exp_m1() } else { x })),
        ("softplus", |b, x| b.softplus(x), Box::new(softplus)),
        ("softsign", |b, x| b.softsign(x), Box::new(|x| x / (1.0 + x.abs()))),
        ("mish", |b, x| b.mish(x), Box::new(move |x| x * softplus(x).tanh())),
        ("gelu", |b, x| b.gelu(x), Box::new(|x| x / 2.0 * (1.0 + erf(x / 2f64.sqrt())))),
        (
            "gelu_tanh",
            |b, x| b.gelu_tanh(x),
            Box::new(|x| {
                x / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
            }),
        ),
    ];
    let x = wave(&[41]);
    for (name, build, want) in table {
        let y = eval(std::slice::from_ref(&x), |b, v| build(b, v[0]));
        let want: Vec<f64> = (0..x.len()).map(|i| want(x.get_f64(i))).collect();
        assert_close(&y, &want, 1e-6);
        let ends = f32s(&eval(&[lit(&[3], &[-100f32, 100.0, f32::NAN])], |b, v| build(b, v[0])));
        assert!(ends[..2].iter().all(|v| v.is_finite()) && ends[2].is_nan(), "{name}: {ends:?}");
    }
}

#[test]
fn softmax_is_stable_along_any_axis() {
    let x = wave(&[2, 5, 3]);
    for axis in 0..3u32 {
        let row = |i: &[usize]| -> Vec<f64> {
            let mut i = i.to_vec();
            (0..[2, 5, 3][axis as usize])
                .map(|k| {
                    i[axis as usize] = k;
                    x.get_f64(place(&[2, 5, 3], &i))
                })
                .collect()
        };
        let probability = |i: &Vec<usize>| {
            let sum: f64 = row(i).iter().map(|v| v.exp()).sum();
            x.get_f64(place(&[2, 5, 3], i)).exp() / sum
        };
        let want: Vec<f64> = indices(&[2, 5, 3]).iter().map(probability).collect();
        assert_close(&eval(std::slice::from_ref(&x), |b, v| b.softmax(v[0], axis)), &want, 1e-6);
        let logs: Vec<f64> = want.iter().map(|p| p.ln()).collect();
        assert_close(&eval(std::slice::from_ref(&x), |b, v| b.log_softmax(v[0], axis)), &logs, 1e-6);
    }
    let huge = lit(&[3], &[1000f32, 999.0, -1e30]);
    let p = f32s(&eval(std::slice::from_ref(&huge), |b, v| b.softmax(v[0], 0)));
    assert!((p[0] - 0.7310586).abs() < 1e-6 && p[2] == 0.0, "{p:?}");
    let l = f32s(&eval(&[huge], |b, v| b.logsumexp_keep(v[0], &[0])));
    assert!((l[0] - 1000.3133).abs() < 1e-3, "{l:?}");
    let none = f32s(&eval(&[lit(&[2], &[f32::NEG_INFINITY; 2])], |b, v| b.logsumexp_keep(v[0], &[0])));
    assert_eq!(none, [f32::NEG_INFINITY]);
}

#[test]
fn normalisations() {
    let (n, c, w) = (2, 4, 3);
    let x = wave(&[n, c, w]);
    let (scale, bias) = (filled(&[c], |i| 1.0 + i as f32), filled(&[c], |i| i as f32 - 1.0));
    let at = |i: &[usize]| x.get_f64(place(&[n, c, w], i));
    let stats = |v: Vec<f64>| {
        let mean = v.iter().sum::<f64>() / v.len() as f64;
        (mean, v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / v.len() as f64)
    };
    let all = indices(&[n, c, w]);
    let affine = |i: &[usize], v: f64| v * scale.get_f64(i[1]) + bias.get_f64(i[1]);
    let args = [x.clone(), scale.clone(), bias.clone()];

    let want = |members: &dyn Fn(&[usize], &[usize]) -> bool| -> Vec<f64> {
        let one = |i: &Vec<usize>| {
            let (mean, var) = stats(all.iter().filter(|j| members(i, j)).map(|j| at(j)).collect());
            affine(i, (at(i) - mean) / (var + 1e-3).sqrt())
        };
        all.iter().map(one).collect()
    };
    let instance = want(&|i, j| i[..2] == j[..2]);
    assert_close(&eval(&args, |b, v| b.instance_norm(v[0], v[1], v[2], 1e-3)), &instance, 1e-5);
    let group = want(&|i, j| i[0] == j[0] && i[1] / 2 == j[1] / 2);
    assert_close(&eval(&args, |b, v| b.group_norm(v[0], 2, v[1], v[2], 1e-3)), &group, 1e-5);

    let mean = filled(&[c], |i| i as f32 / 2.0);
    let var = filled(&[c], |i| 0.5 + i as f32);
    let batch: Vec<f64> = all
        .iter()
        .map(|i| affine(i, (at(i) - mean.get_f64(i[1])) / (var.get_f64(i[1]) + 1e-3).sqrt()))
        .collect();
    let five = [x.clone(), scale.clone(), bias.clone(), mean, var];
    assert_close(&eval(&five, |b, v| b.batch_norm(v[0], [v[1], v[2], v[3], v[4]], 1e-3)), &batch, 1e-5);

    let rms: Vec<f64> = all
        .iter()
        .map(|i| {
            let row: Vec<f64> = (0..w).map(|k| at(&[i[0], i[1], k]).powi(2)).collect();
            at(i) / (row.iter().sum::<f64>() / w as f64 + 1e-3).sqrt()
        })
        .collect();
    assert_close(&eval(std::slice::from_ref(&x), |b, v| b.rms_norm(v[0], 2, None, 1e-3)), &rms, 1e-5);
    let layer = eval(&[x], |b, v| b.layer_norm(v[0], 1, None, None, 1e-3));
    let first: f64 = (0..c * w).map(|i| layer.get_f64(i)).sum();
    assert!(first.abs() < 1e-4);
}

/// NumPy's matmul of operands of at least two axes, by the definition.
fn naive_matmul(a: &Literal, b: &Literal) -> (Vec<usize>, Vec<f64>) {
    let (sa, sb) = (a.shape(), b.shape());
    let lead = sa.len().max(sb.len()) - 2;
    let one = |s: &[usize], i: usize| (i + s.len()).checked_sub(lead + 2).map_or(1, |k| s[k]);
    let mut shape: Vec<usize> =
        (0..lead).map(|i| if one(sa, i) == 1 { one(sb, i) } else { one(sa, i) }).collect();
    shape.extend([sa[sa.len() - 2], sb[sb.len() - 1]]);
    let pick = |s: &[usize], i: &[usize], tail: [usize; 2]| -> usize {
        let skip = lead + 2 - s.len();
        let mut index: Vec<usize> = (skip..lead).map(|k| if s[k - skip] == 1 { 0 } else { i[k] }).collect();
        index.extend(tail);
        place(s, &index)
    };
    let value = |i: &Vec<usize>| {
        let k = sa[sa.len() - 1];
        (0..k).map(|j| a.get_f64(pick(sa, i, [i[lead], j])) * b.get_f64(pick(sb, i, [j, i[lead + 1]]))).sum()
    };
    let data = indices(&shape).iter().map(value).collect();
    (shape, data)
}

proptest! {
    #[test]
    fn matmul(kinds in prop::collection::vec((1usize..4, 0usize..4), 0..4), cut in any::<[bool; 2]>(), m in 1usize..4, k in 1usize..4, n in 1usize..4) {
        // Each leading axis: in both, 1 on the left, 1 on the right, 1 in both.
        let mut sa: Vec<usize> = kinds.iter().map(|&(d, kind)| if kind & 1 == 1 { 1 } else { d }).collect();
        let mut sb: Vec<usize> = kinds.iter().map(|&(d, kind)| if kind & 2 == 2 { 1 } else { d }).collect();
        if !sa.is_empty() && cut[0] { sa.remove(0); }
        if !sb.is_empty() && cut[1] { sb.remove(0); }
        sa.extend([m, k]);
        sb.extend([k, n]);
        let (a, b) = (wave(&sa), wave(&sb));
        let (shape, want) = naive_matmul(&a, &b);
        let y = eval(&[a, b], |g, v| g.matmul(v[0], v[1]));
        prop_assert_eq!(y.shape(), &shape[..]);
        assert_close(&y, &want, 1e-5);
    }

    #[test]
    fn conv_transpose(
        axes in prop::collection::vec((1usize..5, 1usize..4, 1i64..4, 1i64..3, 0i64..3, 0i64..3, 0i64..2), 1..3),
        c in 1usize..3, m in 1usize..3, groups in 1usize..3, plain in any::<bool>(),
    ) {
        // (extent, kernel, stride, dilation, lo, hi, output padding)
        let axes: Vec<_> = axes.into_iter().map(|(d, k, s, dil, lo, hi, out)| {
            if plain { (d, k, k as i64, 1, 0, 0, 0) } else { (d, k, s, dil, lo, hi, out.min(s - 1)) }
        }).collect();
        let full = |&(d, k, s, dil, lo, hi, out): &(usize, usize, i64, i64, i64, i64, i64)| {
            (d as i64 - 1) * s + (k as i64 - 1) * dil + 1 - lo - hi + out
        };
        prop_assume!(axes.iter().all(|a| full(a) >= 1));
        let sx: Vec<usize> = [1, c * groups].into_iter().chain(axes.iter().map(|a| a.0)).collect();
        let sw: Vec<usize> = [c * groups, m].into_iter().chain(axes.iter().map(|a| a.1)).collect();
        let so: Vec<usize> = [1, m * groups].into_iter().chain(axes.iter().map(|a| full(a) as usize)).collect();
        let (x, w) = (wave(&sx), wave(&sw));
        let mut want = vec![0.0; so.iter().product()];
        for i in indices(&sx) {
            for t in indices(&sw[1..]) {
                let to: Option<Vec<usize>> = axes.iter().enumerate().map(|(k, a)| {
                    let p = i[k + 2] as i64 * a.2 + t[k + 1] as i64 * a.3 - a.4;
                    usize::try_from(p).ok().filter(|&p| p < so[k + 2])
                }).collect();
                let Some(to) = to else { continue };
                let to = [vec![0, i[1] / c * m + t[0]], to].concat();
                let tap = [vec![i[1]], t.clone()].concat();
                want[place(&so, &to)] += x.get_f64(place(&sx, &i)) * w.get_f64(place(&sw, &tap));
            }
        }
        let attributes = ConvTranspose {
            strides: axes.iter().map(|a| a.2).collect(),
            pads: axes.iter().map(|a| (Dim::constant(a.4), Dim::constant(a.5))).collect(),
            dilations: axes.iter().map(|a| a.3).collect(),
            output_pads: axes.iter().map(|a| a.6).collect(),
            groups: groups as i64,
        };
        let y = eval(&[x, w], |b, v| b.conv_transpose(v[0], v[1], &attributes));
        prop_assert_eq!(y.shape(), &so[..]);
        assert_close(&y, &want, 1e-5);
    }
}

#[test]
fn products_with_vectors_and_general_matrix_products() {
    let (m, v) = (lit(&[2, 3], &[1f32, 2., 3., 4., 5., 6.]), lit(&[3], &[1f32, 0., -1.]));
    assert_eq!(f32s(&eval(&[m.clone(), v.clone()], |b, x| b.matmul(x[0], x[1]))), [-2., -2.]);
    let w = lit(&[2], &[1f32, -1.]);
    assert_eq!(f32s(&eval(&[w.clone(), m.clone()], |b, x| b.matmul(x[0], x[1]))), [-3., -3., -3.]);
    let dot = eval(&[v.clone(), v.clone()], |b, x| b.matmul(x[0], x[1]));
    assert_eq!((dot.shape().len(), dot.get_f64(0)), (0, 2.0));
    let stack = eval(&[w, lit(&[2, 2, 1], &[1f32, 2., 3., 5.])], |b, x| b.matmul(x[0], x[1]));
    assert_eq!((stack.shape(), f32s(&stack)), (&[2, 1][..], vec![-1., -2.]));
    let y = eval(&[m.clone(), m, lit(&[1], &[1f32])], |b, x| {
        b.gemm((x[0], false), (x[1], true), Some(x[2]), 2.0, 0.5)
    });
    assert_eq!(f32s(&y), [28.5, 64.5, 64.5, 154.5]);
}

#[test]
fn pools_count_what_they_should() {
    let x = filled(&[1, 1, 5], |i| i as f32 + 1.0);
    let pool = |lo: i64, hi: i64, ceil: bool| Pool {
        window: vec![3],
        strides: vec![2],
        pads: vec![(Dim::constant(lo), Dim::constant(hi))],
        dilations: vec![1],
        ceil,
    };
    let avg =
        |p: &Pool, count: bool| f32s(&eval(std::slice::from_ref(&x), |b, v| b.avg_pool(v[0], p, count)));
    assert_eq!(avg(&pool(0, 0, false), false), [2.0, 4.0]);
    assert_eq!(avg(&pool(1, 1, false), false), [1.5, 3.0, 4.5]);
    assert_eq!(avg(&pool(1, 1, false), true), [1.0, 3.0, 3.0]);
    // With ceil, windows start at 0, 2, (4): the last reaches beyond and counts what is there.
    let four = filled(&[1, 1, 4], |i| i as f32 + 1.0);
    let run = |p: &Pool, count| f32s(&eval(std::slice::from_ref(&four), |b, v| b.avg_pool(v[0], p, count)));
    assert_eq!(run(&pool(0, 0, false), true), [2.0]);
    assert_eq!(run(&pool(0, 0, true), true), [2.0, 3.5]);
    let max = f32s(&eval(std::slice::from_ref(&four), |b, v| b.max_pool(v[0], &pool(0, 0, true))));
    assert_eq!(max, [3.0, 4.0]);
}

#[test]
fn indices_of_extremes_running_sums_and_one_hot() {
    let x = lit(&[2, 3], &[1f32, 3., 3., 5., f32::NAN, 7.]);
    let arg = |op, last| i64s(&eval(std::slice::from_ref(&x), |b, v| b.arg_extreme(op, v[0], 1, last)));
    assert_eq!(arg(ReduceOp::Max, false), [1, 1]);
    assert_eq!(arg(ReduceOp::Max, true), [2, 1]);
    assert_eq!(arg(ReduceOp::Min, false), [0, 1]);
    let y = lit(&[3, 2], &[1f32, 10., 2., 20., 3., 30.]);
    let sums = |exclusive, reverse| {
        f32s(&eval(std::slice::from_ref(&y), |b, v| b.cumsum(v[0], 0, exclusive, reverse)))
    };
    assert_eq!(sums(false, false), [1., 10., 3., 30., 6., 60.]);
    assert_eq!(sums(true, false), [0., 0., 1., 10., 3., 30.]);
    assert_eq!(sums(false, true), [6., 60., 5., 50., 3., 30.]);
    assert_eq!(sums(true, true), [5., 50., 3., 30., 0., 0.]);
    let hot = eval(&[lit(&[2], &[-1i64, 5])], |b, v| {
        let (on, off) = (b.scalar_f64(DType::F32, 2.0), b.scalar_f64(DType::F32, 0.0));
        b.one_hot(v[0], Dim::constant(3), 1, on, off)
    });
    assert_eq!((hot.shape(), f32s(&hot)), (&[2, 3][..], vec![0., 0., 2., 0., 0., 0.]));
}

#[test]
fn means_over_symbolic_extents() {
    let mut b = Builder::new("t");
    let x = b.input("x", super::ty("f32 n m"));
    let (mean, var) = (b.mean(x, &[0, 1]).unwrap(), b.var_keep(x, &[1]).unwrap());
    b.output("mean", mean);
    b.output("var", var);
    let out = super::graph_interp::run(&b.finish(), &[lit(&[2, 2], &[1f32, 3., 5., 11.])]).unwrap();
    assert_eq!((f32s(&out.outputs[0]), f32s(&out.outputs[1])), (vec![5.0], vec![1.0, 9.0]));
}
