use super::reference::{Nd, agree, common, indices, layouts, numbers};
use fornax::{DType, Tensor, Window, einsum};

#[test]
fn matrix_products_broadcast() {
    let shapes: [(&[usize], &[usize]); 10] = [
        (&[3, 4], &[4, 5]),
        (&[4], &[4]),
        (&[4], &[4, 5]),
        (&[3, 4], &[4]),
        (&[2, 3, 4], &[4, 5]),
        (&[2, 3, 4], &[2, 4, 5]),
        (&[2, 1, 3, 4], &[3, 4, 2]),
        (&[1, 4], &[4, 1]),
        (&[3, 0], &[0, 2]),
        (&[0, 3], &[3, 2]),
    ];
    for (left, right) in shapes {
        for (a, b) in layouts(left, DType::F32, 1).iter().zip(layouts(right, DType::F32, 5).iter().rev()) {
            let (m, n) = (Nd::of(a), Nd::of(b));
            let two = |x: &Nd, column: bool| match x.shape.len() {
                1 if column => Nd { shape: vec![x.shape[0], 1], data: x.data.clone() },
                1 => Nd { shape: vec![1, x.shape[0]], data: x.data.clone() },
                _ => x.clone(),
            };
            let (m2, n2) = (two(&m, false), two(&n, true));
            let (rm, rn) = (m2.shape.len(), n2.shape.len());
            let mut shape = common(&m2.shape[..rm - 2], &n2.shape[..rn - 2]);
            shape.extend([m2.shape[rm - 2], n2.shape[rn - 1]]);
            let cell = |i: &[usize]| {
                let (lead, at) = i.split_at(i.len() - 2);
                let term = |k| {
                    m2.broadcast_at(&[lead, &[at[0], k]].concat())
                        * n2.broadcast_at(&[lead, &[k, at[1]]].concat())
                };
                (0..m2.shape[rm - 1]).map(term).sum::<f64>()
            };
            // An extent of 1 that multiplies is no broadcast.
            let mut expected = Nd::from_fn(&shape, cell);
            if n.shape.len() == 1 {
                expected.shape.pop();
            }
            if m.shape.len() == 1 {
                let at = expected.shape.len() - usize::from(n.shape.len() > 1) - 1;
                expected.shape.remove(at);
            }
            agree(&format!("{left:?} x {right:?}"), &a.matmul(b), &expected, 1e-5);
        }
    }
    let (a, b) = (numbers(&[3, 4], DType::I32, 1), numbers(&[4, 2], DType::I32, 2));
    let expected =
        Nd::from_fn(&[3, 2], |i| (0..4).map(|k| Nd::of(&a).at(&[i[0], k]) * Nd::of(&b).at(&[k, i[1]])).sum());
    agree("integers", &a.matmul(&b), &expected, 0.0);
    assert_eq!(Tensor::from([1.0f32, 2.0]).dot(&Tensor::from([3.0f32, 4.0])).item::<f32>(), 11.0);
}

#[test]
fn linear_layers_and_sums_of_products() {
    let (x, w, bias) =
        (numbers(&[2, 3, 4], DType::F32, 1), numbers(&[5, 4], DType::F32, 2), numbers(&[5], DType::F32, 3));
    let expected = x.matmul(&w.t());
    agree("linear", &x.linear(&w, None), &Nd::of(&expected), 1e-5);
    agree("linear with bias", &x.linear(&w, Some(&bias)), &Nd::of(&(&expected + &bias)), 1e-5);
    let one = Tensor::from([0.5f32]);
    agree("linear with one bias", &x.linear(&w, Some(&one)), &Nd::of(&(&expected + &one)), 1e-5);
    agree("linear of a vector", &x.i((0, 0)).linear(&w, None), &Nd::of(&expected.i((0, 0))), 1e-5);
    let (a, b) = (numbers(&[2, 3, 4], DType::F32, 4), numbers(&[2, 4, 5], DType::F32, 5));
    let cases: [(&str, Vec<&Tensor>, Tensor); 9] = [
        ("bij,bjk->bik", vec![&a, &b], a.matmul(&b)),
        ("bij,bjk", vec![&a, &b], einsum("bij,bjk->ik", &[&a, &b])),
        ("bij,bjk->kbi", vec![&a, &b], a.matmul(&b).permute([2, 0, 1])),
        ("abc->cab", vec![&a], a.permute([2, 0, 1])),
        ("abc->b", vec![&a], a.sum([0, 2], false)),
        ("abc->", vec![&a], a.sum(.., false)),
        ("i,j->ij", vec![&bias, &bias], bias.unsqueeze(1) * bias.unsqueeze(0)),
        ("abc,abc->abc", vec![&a, &a], &a * &a),
        ("bij,bjk,k->bi", vec![&a, &b, &bias], a.matmul(&b).matmul(&bias)),
    ];
    for (equation, operands, expected) in cases {
        agree(equation, &einsum(equation, &operands), &Nd::of(&expected), 1e-4);
    }
}

fn softmax(v: &[f64]) -> Vec<f64> {
    let largest = v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = v.iter().map(|x| (x - largest).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|x| x / sum).collect()
}

/// A function of the rows of the last axis.
fn rows(x: &Tensor, f: impl Fn(&[f64]) -> Vec<f64>) -> Nd {
    let n = Nd::of(x);
    let width = *n.shape.last().unwrap();
    Nd { data: n.data.chunks(width).flat_map(f).collect(), shape: n.shape }
}

#[test]
fn softmax_and_norms() {
    for x in layouts(&[3, 4, 6], DType::F32, 1) {
        agree("softmax", &x.softmax(-1), &rows(&x, softmax), 1e-5);
        let logs = rows(&x, |v| softmax(v).iter().map(|p| p.ln()).collect());
        agree("log_softmax", &x.log_softmax(2), &logs, 1e-5);
        let moved = rows(&x.transpose(0, 2), softmax);
        agree("softmax of another axis", &x.softmax(0).transpose(0, 2), &moved, 1e-5);
        let standard = |v: &[f64]| -> Vec<f64> {
            let mean = v.iter().sum::<f64>() / v.len() as f64;
            let var = v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / v.len() as f64;
            v.iter().map(|x| (x - mean) / (var + 1e-5).sqrt()).collect()
        };
        agree("layer_norm", &x.layer_norm(None, None, 1e-5), &rows(&x, standard), 1e-4);
        let (w, b) = (numbers(&[6], DType::F32, 7), numbers(&[6], DType::F32, 8));
        let scaled = Nd::of(&x.layer_norm(None, None, 1e-5)).zip(&Nd::of(&w), |x, w| x * w);
        agree("layer_norm, scaled", &x.layer_norm(Some(&w), None, 1e-5), &scaled, 1e-5);
        let moved = scaled.zip(&Nd::of(&b), |x, b| x + b);
        agree("layer_norm, whole", &x.layer_norm(Some(&w), Some(&b), 1e-5), &moved, 1e-5);
        let shifted = Nd::of(&x.layer_norm(None, None, 1e-5)).zip(&Nd::of(&b), |x, b| x + b);
        agree("layer_norm, shifted", &x.layer_norm(None, Some(&b), 1e-5), &shifted, 1e-5);
        let root = |v: &[f64]| -> Vec<f64> {
            let mean = v.iter().map(|x| x * x).sum::<f64>() / v.len() as f64;
            v.iter().map(|x| x / (mean + 1e-6).sqrt()).collect()
        };
        agree("rms_norm", &x.rms_norm(None, 1e-6), &rows(&x, root), 1e-5);
        agree(
            "rms_norm, scaled",
            &x.rms_norm(Some(&w), 1e-6),
            &rows(&x, root).zip(&Nd::of(&w), |x, w| x * w),
            1e-5,
        );
    }
    let square = numbers(&[4, 4], DType::F32, 3);
    let w = numbers(&[4, 4], DType::F32, 4);
    let flat = square.reshape([1, 16]).layer_norm(None, None, 1e-5).reshape([4, 4]);
    agree("layer_norm over two axes", &square.layer_norm(Some(&w), None, 1e-5), &Nd::of(&(&flat * &w)), 1e-5);
}

#[test]
fn norms_of_channels() {
    let x = numbers(&[2, 6, 3, 3], DType::F32, 1);
    let [w, b, mean] = [2, 3, 4].map(|seed| numbers(&[6], DType::F32, seed));
    let var = numbers(&[6], DType::F32, 5).abs() + 0.5;
    let channel = |t: &Tensor| Nd::of(&t.reshape([6, 1, 1]));
    let root = channel(&var).map(|v| (v + 1e-5).sqrt());
    let expected = Nd::of(&x).zip(&channel(&mean), |x, m| x - m).zip(&root, |x, r| x / r);
    let expected = expected.zip(&channel(&w), |x, w| x * w).zip(&channel(&b), |x, b| x + b);
    agree("batch_norm", &x.batch_norm(&mean, &var, &w, &b, 1e-5), &expected, 1e-5);
    let grouped = x.reshape([2, 3, 18]).layer_norm(None, None, 1e-5).reshape([2, 6, 3, 3]);
    let expected = Nd::of(&grouped).zip(&channel(&w), |x, w| x * w).zip(&channel(&b), |x, b| x + b);
    agree("group_norm", &x.group_norm(3, &w, &b, 1e-5), &expected, 1e-5);
}

/// A convolution by its definition.
fn conv(x: &Nd, w: &Nd, window: &Window<2>) -> Nd {
    let out = |k: usize| {
        let taps = (w.shape[k + 2] - 1) * window.dilation[k] + 1;
        (x.shape[k + 2] + 2 * window.padding[k] - taps) / window.stride[k] + 1
    };
    let per_group = w.shape[0] / window.groups;
    Nd::from_fn(&[x.shape[0], w.shape[0], out(0), out(1)], |o| {
        let first = o[1] / per_group * w.shape[1];
        let term = |t: &Vec<usize>| {
            let place = |k: usize| {
                (o[k + 2] * window.stride[k] + t[k + 1] * window.dilation[k]).checked_sub(window.padding[k])
            };
            let (Some(h), Some(v)) = (place(0), place(1)) else { return 0.0 };
            if h >= x.shape[2] || v >= x.shape[3] {
                return 0.0;
            }
            x.at(&[o[0], first + t[0], h, v]) * w.at(&[o[1], t[0], t[1], t[2]])
        };
        indices(&w.shape[1..]).iter().map(term).sum()
    })
}

#[test]
fn convolutions() {
    let windows = [
        Window::default(),
        Window { stride: [2, 1], padding: [1, 2], ..Window::default() },
        Window { dilation: [2, 1], groups: 2, ..Window::default() },
        Window { groups: 4, padding: [1, 1], ..Window::default() },
    ];
    for window in windows {
        let w = numbers(&[8, 4 / window.groups, 3, 2], DType::F32, 2);
        let bias = numbers(&[8], DType::F32, 3);
        for x in layouts(&[2, 4, 6, 5], DType::F32, 1) {
            let expected = conv(&Nd::of(&x), &Nd::of(&w), &window);
            agree(&format!("{window:?}"), &x.conv2d(&w, None, window), &expected, 1e-4);
            let expected = expected.zip(&Nd::of(&bias.reshape([8, 1, 1])), |y, b| y + b);
            agree("with bias", &x.conv2d(&w, Some(&bias), window), &expected, 1e-4);
        }
    }
    let (x, w) = (numbers(&[2, 3, 9], DType::F32, 4), numbers(&[4, 3, 3], DType::F32, 5));
    let flat = Window { stride: [1, 2], padding: [0, 1], ..Window::default() };
    let expected = conv(&Nd::of(&x.unsqueeze(2)), &Nd::of(&w.unsqueeze(2)), &flat);
    let y = x.conv1d(&w, None, Window { stride: [2], padding: [1], ..Window::default() });
    agree("conv1d", &y.unsqueeze(2), &expected, 1e-4);
}

#[test]
fn pools() {
    let x = numbers(&[2, 3, 7, 6], DType::F32, 1);
    let n = Nd::of(&x);
    let windows = [Window::stride([2, 2]), Window { stride: [2, 1], padding: [1, 1], ..Window::default() }];
    for window in windows {
        let out = |k: usize| (n.shape[k + 2] + 2 * window.padding[k] - [3, 2][k]) / window.stride[k] + 1;
        let shape = [2, 3, out(0), out(1)];
        let inside = |o: &[usize]| -> Vec<f64> {
            let place = |t: &Vec<usize>| {
                let at = |k: usize| (o[k + 2] * window.stride[k] + t[k]).checked_sub(window.padding[k]);
                let (h, v) = (at(0)?, at(1)?);
                (h < 7 && v < 6).then(|| n.at(&[o[0], o[1], h, v]))
            };
            indices(&[3, 2]).iter().filter_map(place).collect()
        };
        let largest = |o: &[usize]| inside(o).into_iter().fold(f64::NEG_INFINITY, f64::max);
        agree("max_pool2d", &x.max_pool2d([3, 2], window), &Nd::from_fn(&shape, largest), 0.0);
        let mean = |o: &[usize]| inside(o).iter().sum::<f64>() / 6.0;
        agree("avg_pool2d", &x.avg_pool2d([3, 2], window), &Nd::from_fn(&shape, mean), 1e-5);
    }
    let row = x.i((.., .., 0));
    let up = Window { stride: [4], ceil: true, ..Window::default() };
    assert_eq!(row.max_pool1d([2], up).shape(), [2, 3, 2]);
    assert_eq!(row.avg_pool1d([2], Window::stride([2])).shape(), [2, 3, 3]);
}

#[test]
fn attention() {
    let q = numbers(&[2, 3, 5, 4], DType::F32, 1);
    let (k, v) = (numbers(&[2, 3, 6, 4], DType::F32, 2), numbers(&[2, 3, 6, 7], DType::F32, 3));
    let scores = q.matmul(&k.t()) / 2.0;
    let plain = scores.softmax(-1).matmul(&v);
    agree("attention", &q.scaled_dot_product_attention(&k, &v, None), &Nd::of(&plain), 1e-5);
    let mask = Tensor::ones([5, 6], DType::Bool).tril(1);
    let masked = mask.where_(&scores, f64::NEG_INFINITY).softmax(-1).matmul(&v);
    agree("masked", &q.scaled_dot_product_attention(&k, &v, Some(&mask)), &Nd::of(&masked), 1e-5);
    let added = numbers(&[2, 1, 5, 6], DType::F32, 4);
    let moved = (&scores + &added).softmax(-1).matmul(&v);
    agree("added", &q.scaled_dot_product_attention(&k, &v, Some(&added)), &Nd::of(&moved), 1e-5);
}
