//! Small models written eagerly: eager, interpreted and compiled they agree, for every size of their symbolic dims.

mod common;

use common::graphs::{arguments, check_nodes};
use fornax::{Backend, DType, Dim, Options, Tensor, TensorTree, Window, jit, trace};

/// Numbers in -0.5..0.5 that repeat in no short period.
fn weights(shape: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let n: usize = shape.iter().product();
    let values = (0..n).map(|_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f64 / f64::from(1 << 24) - 0.5
    });
    Tensor::from_f64s(values, DType::F32, shape).unwrap()
}

#[derive(TensorTree, Clone)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn new(inputs: usize, outputs: usize, seed: u64) -> Self {
        Linear { weight: weights(&[outputs, inputs], seed), bias: weights(&[outputs], seed + 1) }
    }
    fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }
}

#[derive(TensorTree, Clone)]
struct Block {
    norms: [(Tensor, Tensor); 2],
    qkv: Linear,
    out: Linear,
    mlp: (Linear, Linear),
    #[tensor(static)]
    heads: usize,
    #[tensor(static)]
    eps: f64,
}

impl Block {
    fn new(width: usize, heads: usize) -> Self {
        let norm = |seed| (weights(&[width], seed), weights(&[width], seed + 1));
        Block {
            norms: [norm(1), norm(3)],
            qkv: Linear::new(width, 3 * width, 5),
            out: Linear::new(width, width, 7),
            mlp: (Linear::new(width, 4 * width, 9), Linear::new(4 * width, width, 11)),
            heads,
            eps: 1e-5,
        }
    }

    /// `[batch, length, width]` to the same.
    fn forward(&self, x: &Tensor) -> Tensor {
        let norm =
            |x: &Tensor, k: usize| x.layer_norm(Some(&self.norms[k].0), Some(&self.norms[k].1), self.eps);
        let (batch, length, width) = (x.dim(0), x.dim(1), x.dim(2));
        let each = &width / self.heads;
        let split = |x: &Tensor| {
            x.reshape([batch.clone(), length.clone(), Dim::from(self.heads), each.clone()])
                .permute([0, 2, 1, 3])
        };
        let qkv: Vec<Tensor> = self.qkv.forward(&norm(x, 0)).chunk(3, -1).iter().map(split).collect();
        let scores = qkv[0].matmul(&qkv[1].transpose(-1, -2)) * (each.value().unwrap() as f64).powf(-0.5);
        let mixed = scores.softmax(-1).matmul(&qkv[2]);
        let mixed = mixed.permute([0, 2, 1, 3]).reshape([batch.clone(), length.clone(), width.clone()]);
        let x = x + self.out.forward(&mixed);
        let hidden = self.mlp.0.forward(&norm(&x, 1)).gelu();
        x + self.mlp.1.forward(&hidden)
    }
}

#[derive(TensorTree, Clone)]
struct Cnn {
    convs: Vec<Linear>,
    head: Linear,
}

impl Cnn {
    fn new() -> Self {
        let conv = |o: usize, i: usize, seed| Linear {
            weight: weights(&[o, i, 3, 3], seed),
            bias: weights(&[o], seed + 1),
        };
        Cnn { convs: vec![conv(4, 3, 1), conv(8, 4, 3)], head: Linear::new(8, 5, 5) }
    }

    /// `[batch, 3, height, width]` to the logarithms of five probabilities each.
    fn forward(&self, x: &Tensor) -> Tensor {
        let window = Window { padding: [1, 1], ..Window::default() };
        let features = self.convs.iter().fold(x.clone(), |x, conv| {
            x.conv2d(&conv.weight, Some(&conv.bias), window).relu().max_pool2d([2, 2], Window::stride([2, 2]))
        });
        self.head.forward(&features.mean([2, 3], false)).log_softmax(-1)
    }
}

fn agree<M: TensorTree<Owned = M>>(
    model: &M,
    spec: Tensor,
    inputs: &[Tensor],
    forward: impl Fn(&M, &Tensor) -> Tensor,
) {
    let options = Options::default().threads(2);
    let f = jit(|(model, x): (M, Tensor)| forward(&model, &x)).options(options.clone()).spec((model, &spec));
    let captured = trace(|x: Tensor| forward(model, &x), &spec).unwrap();
    let small = arguments(captured.graph(), &|_| Some(2));
    check_nodes(captured.graph(), &small, false).unwrap_or_else(|e| panic!("e-graph: {e}"));
    let interp = options.clone().backend(Backend::Interp);
    let interpreted = captured.lower(&interp).unwrap().compile(&interp).unwrap();
    let captured = captured.lower(&options).unwrap().compile(&options).unwrap();
    for x in inputs {
        let eager = forward(model, x);
        for (what, y) in [
            ("interpreted", interpreted.call(x).unwrap()),
            ("weights as constants", captured.call(x).unwrap()),
            ("weights as arguments", f.call((model, x))),
        ] {
            assert!(eager.allclose(&y, 1e-4, 1e-5), "{what} for {:?}:\n{eager}\n{y}", x.shape());
        }
    }
    assert_eq!(f.compilations(), 1, "{}", f.explain());
}

#[test]
fn a_transformer_block() {
    let spec =
        Tensor::spec(DType::F32, [Dim::symbol("batch", 1..=64), Dim::symbol("length", 1..=128), 16.into()]);
    let inputs = [(1, 1), (2, 5), (3, 40)].map(|(b, n)| weights(&[b, n, 16], 100));
    agree(&Block::new(16, 4), spec, &inputs, Block::forward);
}

#[test]
fn a_convolutional_network() {
    let spec = Tensor::spec(DType::F32, [Dim::symbol("batch", 1..=64), 3.into(), 12.into(), 16.into()]);
    let inputs = [1, 2, 5].map(|batch| weights(&[batch, 3, 12, 16], 100));
    agree(&Cnn::new(), spec, &inputs, Cnn::forward);
}
