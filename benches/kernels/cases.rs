//! The products and convolutions that are measured, as graphs.

use fornax_ir::graph::ops::{Conv, DotGeneral};
use fornax_ir::graph::{Builder, Graph, TensorType, ValueId};
use fornax_ir::{DType, Dim, Literal};

/// What a case is held against.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A matrix product whose right operand is constant.
    Weights,
    /// A matrix product of two inputs.
    TwoInputs,
    /// A matrix-vector product: reads its matrix once.
    Vector,
    /// Convolutions in a row.
    Convolutions,
}

/// A graph with what it computes and reads.
pub struct Case {
    pub name: String,
    pub kind: Kind,
    pub graph: Graph,
    /// Multiplications and additions.
    pub flops: f64,
    /// Bytes of operands, weights and results, each once.
    pub bytes: f64,
    /// Extents of the inputs.
    pub inputs: Vec<Vec<usize>>,
}

/// Rows, inner extent and columns of products with constant weights: layers of transformers, perceptrons, and 1x1
/// convolutions of image networks.
const WEIGHTS: [[usize; 3]; 7] = [
    [128, 768, 768],
    [128, 768, 3072],
    [128, 384, 1536],
    [64, 784, 512],
    [196, 192, 768],
    [784, 512, 128],
    [49, 2048, 512],
];

/// A convolution of a chain.
#[derive(Clone, Copy)]
struct Layer {
    to: usize,
    kernel: usize,
    stride: usize,
    groups: usize,
}

const fn dense(to: usize, kernel: usize) -> Layer {
    Layer { to, kernel, stride: 1, groups: 1 }
}
const fn depthwise(channels: usize) -> Layer {
    Layer { to: channels, kernel: 3, stride: 1, groups: channels }
}
const fn strided(layer: Layer, stride: usize) -> Layer {
    Layer { stride, ..layer }
}

/// Name, channels and extent of the image, layers: those of ResNet and MobileNet V2. In a chain what lies between two
/// layers has whatever layout suits them, as in a network.
const CHAINS: &[(&str, usize, usize, &[Layer])] = &[
    ("stem 7x7/2", 3, 224, &[strided(dense(64, 7), 2)]),
    ("4 of 3x3, 64", 64, 56, &[dense(64, 3); 4]),
    ("4 of 3x3, 128", 128, 28, &[dense(128, 3); 4]),
    ("4 of 3x3, 256", 256, 14, &[dense(256, 3); 4]),
    ("4 of 3x3, 512", 512, 7, &[dense(512, 3); 4]),
    ("3x3/2, 64 to 128", 64, 56, &[strided(dense(128, 3), 2), dense(128, 3)]),
    ("bottleneck 256", 256, 56, &[dense(64, 1), dense(64, 3), dense(256, 1)]),
    ("bottleneck 512", 512, 28, &[dense(128, 1), dense(128, 3), dense(512, 1)]),
    ("bottleneck 1024", 1024, 14, &[dense(256, 1), dense(256, 3), dense(1024, 1)]),
    ("bottleneck 2048", 2048, 7, &[dense(512, 1), dense(512, 3), dense(2048, 1)]),
    ("inverted 24", 24, 56, &[dense(144, 1), depthwise(144), dense(24, 1)]),
    ("inverted 64", 64, 14, &[dense(384, 1), depthwise(384), dense(64, 1)]),
    ("inverted 160", 160, 7, &[dense(960, 1), depthwise(960), dense(160, 1)]),
    ("4 depthwise, 144", 144, 56, &[depthwise(144); 4]),
    ("4 depthwise, 384", 384, 14, &[depthwise(384); 4]),
];

/// Numbers of both signs, none zero, in a fixed order.
fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + 13) % 1021) as f32 / 512.0 - 0.993).collect()
}

fn shape(extents: &[usize]) -> Vec<Dim> {
    extents.iter().map(|&n| Dim::constant(n as i64)).collect()
}

fn constant(b: &mut Builder, extents: &[usize]) -> ValueId {
    let n = extents.iter().product();
    let literal = Literal::from_vec(extents, numbers(n)).expect("as many numbers as extents say");
    b.constant("weights", literal)
}

fn input(b: &mut Builder, name: &str, extents: &[usize]) -> ValueId {
    b.input(name, TensorType::new(DType::F32, shape(extents)))
}

fn product([m, k, n]: [usize; 3], kind: Kind) -> Case {
    let mut b = Builder::new("product");
    let a = input(&mut b, "a", &[m, k]);
    let (w, mut inputs) = match kind {
        Kind::TwoInputs => (input(&mut b, "b", &[k, n]), vec![vec![m, k], vec![k, n]]),
        _ => (constant(&mut b, &[k, n]), vec![vec![m, k]]),
    };
    let y = b.add(DotGeneral { batch: vec![], contract: vec![(1, 0)] }, &[a, w]).expect("extents agree");
    b.output("y", y);
    inputs.shrink_to_fit();
    let name = match kind {
        Kind::TwoInputs => format!("product {m} x {k} x {n}, two inputs"),
        Kind::Vector => format!("vector x matrix {k} x {n}"),
        _ => format!("product {m} x {k} x {n}, weights"),
    };
    let bytes = 4.0 * (m * k + k * n + m * n) as f64;
    Case { name, kind, graph: b.finish(), flops: 2.0 * (m * k * n) as f64, bytes, inputs }
}

fn chain(name: &str, channels: usize, extent: usize, layers: &[Layer]) -> Case {
    let mut b = Builder::new("chain");
    let first = [1, channels, extent, extent];
    let mut x = input(&mut b, "x", &first);
    let (mut from, mut size, mut flops) = (channels, extent, 0.0);
    let mut bytes = 4.0 * first.iter().product::<usize>() as f64;
    for l in layers {
        let w = [l.to, from / l.groups, l.kernel, l.kernel];
        let weights = constant(&mut b, &w);
        let pad = Dim::constant(l.kernel as i64 / 2);
        let op = Conv {
            strides: vec![l.stride as i64; 2],
            pads: vec![(pad.clone(), pad); 2],
            dilations: vec![1; 2],
            groups: l.groups as i64,
        };
        let y = b.add(op, &[x, weights]).expect("extents agree");
        x = b.relu(y).expect("a float");
        size = size.div_ceil(l.stride);
        let (out, taps) = (l.to * size * size, w[1] * l.kernel * l.kernel);
        flops += 2.0 * (out * taps) as f64;
        bytes += 4.0 * (w.iter().product::<usize>() + 2 * out) as f64;
        from = l.to;
    }
    b.output("y", x);
    let inputs = vec![first.to_vec()];
    let name = format!("conv {name} at {extent}");
    Case { name, kind: Kind::Convolutions, graph: b.finish(), flops, bytes, inputs }
}

/// All cases.
pub fn all() -> Vec<Case> {
    let mut cases: Vec<Case> = WEIGHTS.into_iter().map(|shape| product(shape, Kind::Weights)).collect();
    cases.extend([512, 1024, 2048].map(|n| product([n, n, n], Kind::TwoInputs)));
    cases.push(product([1, 4096, 4096], Kind::Vector));
    cases.extend(
        CHAINS.iter().map(|(name, channels, extent, layers)| chain(name, *channels, *extent, layers)),
    );
    cases
}

/// Elements of an input.
pub fn elements(extents: &[usize]) -> Vec<f32> {
    numbers(extents.iter().product())
}
