//! A small transformer that scores the next token: embedding, two blocks of attention and a gelu network, a head.

use std::io::{self, Write};

use fornax::{Dim, Tensor, TensorTree};

use super::look;
use super::random::Random;

pub const VOCABULARY: usize = 128;
pub const LENGTH: usize = 32;
const WIDTH: usize = 64;
const HEADS: usize = 4;
const EPS: f64 = 1e-5;

#[derive(TensorTree, Clone)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn new(inputs: usize, outputs: usize, random: &mut Random) -> Self {
        let weight = random.normal((1.0 / inputs as f64).sqrt(), &[outputs, inputs]);
        Linear { weight, bias: random.normal(0.1, &[outputs]) }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }
}

#[derive(TensorTree, Clone)]
struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    fn new(random: &mut Random) -> Self {
        Norm { weight: random.uniform(0.5, 1.5, &[WIDTH]), bias: random.normal(0.1, &[WIDTH]) }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(Some(&self.weight), Some(&self.bias), EPS)
    }
}

#[derive(TensorTree, Clone)]
struct Block {
    norms: [Norm; 2],
    queries: Linear,
    keys: Linear,
    values: Linear,
    mix: Linear,
    up: Linear,
    down: Linear,
}

impl Block {
    fn new(random: &mut Random) -> Self {
        Block {
            norms: [Norm::new(random), Norm::new(random)],
            queries: Linear::new(WIDTH, WIDTH, random),
            keys: Linear::new(WIDTH, WIDTH, random),
            values: Linear::new(WIDTH, WIDTH, random),
            mix: Linear::new(WIDTH, WIDTH, random),
            up: Linear::new(WIDTH, 4 * WIDTH, random),
            down: Linear::new(4 * WIDTH, WIDTH, random),
        }
    }

    /// Probabilities `[batch, heads, length, length]` of looking from each place at each other.
    fn attention(&self, x: &Tensor) -> Tensor {
        let scores = heads(&self.queries.forward(x)).matmul(&heads(&self.keys.forward(x)).transpose(-1, -2));
        (scores * ((WIDTH / HEADS) as f64).powf(-0.5)).softmax(-1)
    }

    /// `[batch, length, width]` to the same.
    fn forward(&self, x: &Tensor) -> Tensor {
        let normal = self.norms[0].forward(x);
        let mixed = self.attention(&normal).matmul(&heads(&self.values.forward(&normal)));
        let x = x + self.mix.forward(&mixed.transpose(1, 2).flatten(2, 3));
        let hidden = self.up.forward(&self.norms[1].forward(&x)).gelu();
        x + self.down.forward(&hidden)
    }
}

/// `[batch, length, width]` to `[batch, heads, length, width / heads]`.
fn heads(x: &Tensor) -> Tensor {
    let each = Dim::from(WIDTH / HEADS);
    x.reshape([x.dim(0), x.dim(1), HEADS.into(), each]).transpose(1, 2)
}

/// The model: a struct of tensors.
#[derive(TensorTree, Clone)]
pub struct Transformer {
    tokens: Tensor,
    places: Tensor,
    blocks: Vec<Block>,
    norm: Norm,
    head: Linear,
}

impl Transformer {
    pub fn new(random: &mut Random) -> Self {
        Transformer {
            tokens: random.normal(1.0, &[VOCABULARY, WIDTH]),
            places: random.normal(0.3, &[LENGTH, WIDTH]),
            blocks: (0..2).map(|_| Block::new(random)).collect(),
            norm: Norm::new(random),
            head: Linear::new(WIDTH, VOCABULARY, random),
        }
    }

    fn embed(&self, tokens: &Tensor) -> Tensor {
        self.tokens.embedding(tokens) + &self.places
    }

    /// Tokens `[batch, length]` to scores of the next token `[batch, vocabulary]`.
    pub fn forward(&self, tokens: &Tensor) -> Tensor {
        let x = self.blocks.iter().fold(self.embed(tokens), |x, block| block.forward(&x));
        self.head.forward(&self.norm.forward(&x.select(1, -1)))
    }

    /// The same step by step: each line runs at once, and its result can be looked at.
    pub fn step_through(&self, tokens: &Tensor, out: &mut dyn Write) -> io::Result<()> {
        look(out, "tokens", tokens)?;
        let x = self.embed(tokens);
        look(out, "embedded", &x)?;
        let block = &self.blocks[0];
        look(out, "attention", &block.attention(&block.norms[0].forward(&x)))?;
        look(out, "first block", &block.forward(&x))?;
        look(out, "scores", &self.forward(tokens))
    }
}
