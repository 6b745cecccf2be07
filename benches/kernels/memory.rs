//! Kernels that memory bounds, beside loops that read and write as much: normalisations, reductions, views, pooling, and
//! what training computes behind them.

use fornax::{Model, Options, Tensor};
use fornax_ir::graph::composite::Pool;
use fornax_ir::graph::ops::{Broadcast, Concat, Gather, Pad};
use fornax_ir::graph::{Builder, Graph, GraphError, TensorType, ValueId};
use fornax_ir::scalar::{CompareOp, ReduceOp, UnaryOp};
use fornax_ir::{DType, Dim};

use super::cases::elements;
use super::ffi;

type Built = Result<ValueId, GraphError>;
/// Makes the result of the inputs.
type Make = fn(&mut Builder, &[ValueId]) -> Built;

/// A kernel, or the few that one operation becomes.
struct Case {
    name: &'static str,
    /// Extents of the inputs of floats.
    floats: &'static [&'static [usize]],
    /// Extents and limit of an input of indices.
    indices: Option<(&'static [usize], i64)>,
    make: Make,
}

const fn case(name: &'static str, floats: &'static [&'static [usize]], make: Make) -> Case {
    Case { name, floats, indices: None, make }
}

const MATRIX: &[usize] = &[4096, 1024];
const ROWS: &[usize] = &[32768, 128];
const CUBE: &[usize] = &[64, 256, 256];
const IMAGES: &[usize] = &[16, 64, 64, 64];
const HEADS: &[usize] = &[8, 512, 16, 64];

const CASES: &[Case] = &[
    case("softmax, last axis", &[MATRIX], |b, x| b.softmax(x[0], 1)),
    case("softmax, rows of 128", &[ROWS], |b, x| b.softmax(x[0], 1)),
    case("softmax, first axis", &[MATRIX], |b, x| b.softmax(x[0], 0)),
    case("softmax, middle axis", &[CUBE], |b, x| b.softmax(x[0], 1)),
    case("log softmax, last axis", &[MATRIX], |b, x| b.log_softmax(x[0], 1)),
    case("layer norm", &[MATRIX, &[1024], &[1024]], |b, x| {
        b.layer_norm(x[0], 1, Some(x[1]), Some(x[2]), 1e-5)
    }),
    case("rms norm", &[MATRIX, &[1024]], |b, x| b.rms_norm(x[0], 1, Some(x[1]), 1e-5)),
    case("group norm", &[IMAGES, &[64], &[64]], |b, x| b.group_norm(x[0], 8, x[1], x[2], 1e-5)),
    case("instance norm", &[IMAGES, &[64], &[64]], |b, x| b.instance_norm(x[0], x[1], x[2], 1e-5)),
    case("batch norm, given statistics", &[IMAGES, &[64], &[64], &[64], &[64]], |b, x| {
        b.batch_norm(x[0], [x[1], x[2], x[3], x[4]], 1e-5)
    }),
    case("batch norm, own statistics", &[IMAGES, &[64], &[64]], batch_norm),
    case("sum, last axis", &[MATRIX], |b, x| b.reduce(ReduceOp::Sum, x[0], &[1])),
    case("sum, first axis", &[MATRIX], |b, x| b.reduce(ReduceOp::Sum, x[0], &[0])),
    case("sum, middle axis", &[CUBE], |b, x| b.reduce(ReduceOp::Sum, x[0], &[1])),
    case("sum, all axes", &[MATRIX], |b, x| b.reduce(ReduceOp::Sum, x[0], &[0, 1])),
    case("sum, images", &[IMAGES], |b, x| b.reduce(ReduceOp::Sum, x[0], &[0, 2, 3])),
    case("max, last axis", &[MATRIX], |b, x| b.reduce(ReduceOp::Max, x[0], &[1])),
    case("max, first axis", &[MATRIX], |b, x| b.reduce(ReduceOp::Max, x[0], &[0])),
    case("max, all axes", &[MATRIX], |b, x| b.reduce(ReduceOp::Max, x[0], &[0, 1])),
    case("variance, last axis", &[MATRIX], |b, x| b.var_keep(x[0], &[1])),
    case("variance, first axis", &[MATRIX], |b, x| b.var_keep(x[0], &[0])),
    case("argmax, last axis", &[MATRIX], |b, x| b.arg_extreme(ReduceOp::Max, x[0], 1, false)),
    case("argmax, first axis", &[MATRIX], |b, x| b.arg_extreme(ReduceOp::Max, x[0], 0, false)),
    case("max pool 3x3/2", &[IMAGES], |b, x| b.max_pool(x[0], &pool(3, 2, 1))),
    case("max pool 2x2/2", &[IMAGES], |b, x| b.max_pool(x[0], &pool(2, 2, 0))),
    case("average pool 3x3/2", &[IMAGES], |b, x| b.avg_pool(x[0], &pool(3, 2, 1), false)),
    case("average pool 2x2/2", &[IMAGES], |b, x| b.avg_pool(x[0], &pool(2, 2, 0), false)),
    case("average pool 3x3/1", &[IMAGES], |b, x| b.avg_pool(x[0], &pool(3, 1, 1), false)),
    case("average pool, global", &[IMAGES], |b, x| b.mean(x[0], &[2, 3])),
    case("nearest, twice as large", &[&[4, 64, 64, 64]], |b, x| upsample(b, x[0])),
    case("bilinear, twice as large", &[&[4, 64, 64, 64]], |b, x| bilinear(b, x[0])),
    Case {
        name: "gather rows of 256",
        floats: &[&[8192, 256]],
        indices: Some((&[16384], 8192)),
        make: |b, x| b.add(Gather { axes: vec![0] }, &[x[0], x[1]]),
    },
    case("concat, last axis", &[&[4096, 512], &[4096, 384]], |b, x| b.add(Concat { axis: 1 }, x)),
    case("concat, channels", &[&[16, 32, 64, 64], &[16, 32, 64, 64]], |b, x| b.add(Concat { axis: 1 }, x)),
    case("transpose", &[&[2048, 2048]], |b, x| b.permute(x[0], &[1, 0])),
    case("transpose 0213", &[HEADS], |b, x| b.permute(x[0], &[0, 2, 1, 3])),
    case("channels last", &[IMAGES], |b, x| b.permute(x[0], &[0, 2, 3, 1])),
    case("channels first", &[&[16, 64, 64, 64]], |b, x| b.permute(x[0], &[0, 3, 1, 2])),
    case("pad", &[&[16, 64, 62, 62]], pad),
    case("select", &[MATRIX, MATRIX], |b, x| {
        let c = b.compare(CompareOp::Gt, x[0], x[1])?;
        b.select(c, x[0], x[1])
    }),
    case("add a row", &[MATRIX, &[1024]], |b, x| b.add_values(x[0], x[1])),
    case("add a column", &[MATRIX, &[4096, 1]], |b, x| b.add_values(x[0], x[1])),
    case("relu", &[MATRIX], |b, x| b.relu(x[0])),
    case("gelu", &[MATRIX], |b, x| b.gelu(x[0])),
    case("silu", &[MATRIX], |b, x| b.silu(x[0])),
    case("tanh", &[MATRIX], |b, x| b.unary(UnaryOp::Tanh, x[0])),
    case("gradient of layer norm", &[MATRIX, MATRIX, &[1024]], layer_norm_gradient),
    case("gradient of batch norm", &[IMAGES, IMAGES], batch_norm_gradient),
    case("gradient of max pool 2x2/2", &[IMAGES, &[16, 64, 32, 32]], max_pool_gradient),
    case("gradient of average pool 2x2/2", &[&[16, 64, 32, 32]], |b, x| {
        let quarter = b.scalar_f64(DType::F32, 0.25);
        let g = b.mul(x[0], quarter)?;
        upsample(b, g)
    }),
    Case {
        name: "gradient of softmax cross entropy",
        floats: &[MATRIX],
        indices: Some((&[4096], 1024)),
        make: |b, x| {
            let p = b.softmax(x[0], 1)?;
            let (on, off) = (b.scalar_f64(DType::F32, 1.0), b.scalar_f64(DType::F32, 0.0));
            let hot = b.one_hot(x[1], Dim::constant(1024), 1, on, off)?;
            b.sub(p, hot)
        },
    },
];

fn pool(window: i64, stride: i64, pad: i64) -> Pool {
    let pad = Dim::constant(pad);
    Pool {
        window: vec![window; 2],
        strides: vec![stride; 2],
        pads: vec![(pad.clone(), pad); 2],
        dilations: vec![1; 2],
        ceil: false,
    }
}

fn batch_norm(b: &mut Builder, x: &[ValueId]) -> Built {
    let y = b.standardise(x[0], &[0, 2, 3], 1e-5)?;
    let (scale, bias) = (b.per_channel(y, x[1])?, b.per_channel(y, x[2])?);
    let y = b.mul(y, scale)?;
    b.add_values(y, bias)
}

fn pad(b: &mut Builder, x: &[ValueId]) -> Built {
    let zero = b.scalar_f64(DType::F32, 0.0);
    let sides: Vec<Dim> = [0, 0, 1, 1].map(Dim::constant).to_vec();
    b.add(Pad { lo: sides.clone(), hi: sides }, &[x[0], zero])
}

/// Each element of the last two axes four times.
fn upsample(b: &mut Builder, x: ValueId) -> Built {
    let [n, c, h, w] = [0, 1, 2, 3].map(|k| b.shape(x)[k].clone());
    let two = Dim::constant(2);
    let shape = vec![n.clone(), c.clone(), h.clone(), two.clone(), w.clone(), two.clone()];
    let repeated = b.add(Broadcast { shape, axes: vec![0, 1, 2, 4] }, &[x])?;
    b.reshape(repeated, vec![n, c, h * &two, w * &two])
}

/// Both of the last two axes twice as long, three quarters of the nearer element and one of the other.
fn bilinear(b: &mut Builder, x: ValueId) -> Built {
    [2, 3].into_iter().try_fold(x, |x, axis| {
        let n = b.shape(x)[axis as usize].as_const().expect("a known extent");
        let mut along = |odd: i64, even: i64| {
            let place = |i: i64| (i / 2 + if i % 2 == 0 { even } else { odd }).clamp(0, n - 1);
            let places: Vec<i64> = (0..2 * n).map(place).collect();
            let literal = fornax_ir::Literal::from_vec(&[2 * n as usize], places).expect("as many as said");
            let places = b.constant("places", literal);
            b.add(Gather { axes: vec![axis] }, &[x, places])
        };
        let (near, far) = (along(0, 0)?, along(1, -1)?);
        let (most, rest) = (b.scalar_f64(DType::F32, 0.75), b.scalar_f64(DType::F32, 0.25));
        let (near, far) = (b.mul(near, most)?, b.mul(far, rest)?);
        b.add_values(near, far)
    })
}

/// Of x, the result's gradient and the scale.
fn layer_norm_gradient(b: &mut Builder, x: &[ValueId]) -> Built {
    let g = b.mul(x[1], x[2])?;
    standardise_gradient(b, x[0], g, &[1])
}

fn batch_norm_gradient(b: &mut Builder, x: &[ValueId]) -> Built {
    standardise_gradient(b, x[0], x[1], &[0, 2, 3])
}

/// `(g - mean(g) - y mean(g y)) / deviation` with `y = (x - mean) / deviation`.
fn standardise_gradient(b: &mut Builder, x: ValueId, g: ValueId, axes: &[u32]) -> Built {
    let mean = b.mean_keep(x, axes)?;
    let centred = b.sub(x, mean)?;
    let var = b.var_keep(x, axes)?;
    let eps = b.scalar_f64(DType::F32, 1e-5);
    let var = b.add_values(var, eps)?;
    let deviation = b.unary(UnaryOp::Sqrt, var)?;
    let y = b.div(centred, deviation)?;
    let product = b.mul(g, y)?;
    let (mean, slope) = (b.mean_keep(g, axes)?, b.mean_keep(product, axes)?);
    let back = b.mul(y, slope)?;
    let rest = b.sub(g, mean)?;
    let rest = b.sub(rest, back)?;
    b.div(rest, deviation)
}

/// Of the image and the result's gradient: that goes to every element that is the largest of its window.
fn max_pool_gradient(b: &mut Builder, x: &[ValueId]) -> Built {
    let largest = b.max_pool(x[0], &pool(2, 2, 0))?;
    let (largest, g) = (upsample(b, largest)?, upsample(b, x[1])?);
    let hit = b.compare(CompareOp::Eq, x[0], largest)?;
    let zero = b.scalar_f64(DType::F32, 0.0);
    b.select(hit, g, zero)
}

/// The graph, its inputs, and bytes read and written.
fn build(case: &Case) -> (Graph, Vec<Tensor>, [usize; 2]) {
    let mut b = Builder::new("memory");
    let (mut values, mut inputs, mut read) = (vec![], vec![], 0);
    let shape = |extents: &[usize]| extents.iter().map(|&n| Dim::constant(n as i64)).collect::<Vec<_>>();
    for (k, extents) in case.floats.iter().enumerate() {
        values.push(b.input(&format!("x{k}"), TensorType::new(DType::F32, shape(extents))));
        inputs.push(Tensor::from_vec(elements(extents), extents).expect("as many as extents say"));
        read += 4 * extents.iter().product::<usize>();
    }
    if let Some((extents, limit)) = case.indices {
        let n: usize = extents.iter().product();
        let places: Vec<i64> = (0..n as i64).map(|i| i * 7919 % limit).collect();
        values.push(b.input("indices", TensorType::new(DType::I64, shape(extents))));
        inputs.push(Tensor::from_vec(places, extents).expect("as many as extents say"));
        read += 8 * n;
    }
    let y = (case.make)(&mut b, &values).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    let written = b.ty(y).bytes().as_const().expect("known extents") as usize;
    b.output("y", y);
    (b.finish(), inputs, [read, written])
}

/// Seconds of the fastest run, how many kernels it takes, and the bytes a loop would read and write.
fn measure(case: &Case, threads: usize) -> (f64, usize, [usize; 2]) {
    let (graph, tensors, bytes) = build(case);
    let model = Model::from_graph(graph, Options::default().threads(threads)).expect("the case compiles");
    let named: Vec<(&str, &Tensor)> =
        model.inputs().iter().zip(&tensors).map(|(info, t)| (info.name.as_str(), t)).collect();
    let kernels = model.profile(&named).expect("the case runs").1.len();
    (super::fastest_run(&model, &named), kernels, bytes)
}

/// Prints the cases whose name contains the filter, farthest from the roof first.
pub fn report(filter: &str, threads: usize) {
    let cases = CASES.iter().filter(|c| c.name.contains(filter));
    let mut lines: Vec<(f64, String)> = vec![];
    for case in cases {
        let (seconds, kernels, [read, written]) = measure(case, threads);
        let roof = ffi::touch(read, written, threads);
        let (part, ms) = (100.0 * roof / seconds, seconds * 1e3);
        let gbytes = (read + written) as f64 / seconds / 1e9;
        let name = case.name;
        lines.push((
            part,
            format!(
                "{name:<36} {threads} threads {kernels:>2} kernels {ms:>8.3} ms {gbytes:>6.1} GB/s {part:>6.1} % of the roof"
            ),
        ));
    }
    lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    println!("memory: parts of the speed of loops that read and write as much, {threads} threads");
    lines.iter().for_each(|l| println!("{}", l.1));
}
