//! A small convolutional network that classifies images: convolutions with batch norm, a residual, pools, a linear layer.

use std::io::{self, Write};

use fornax::{Tensor, TensorTree, Window};

use super::look;
use super::random::Random;

pub const SIDE: usize = 32;
pub const FEATURES: usize = 32;
const CLASSES: usize = 10;
const EPS: f64 = 1e-5;

/// A 3x3 convolution, and a batch norm with the statistics of training.
#[derive(TensorTree, Clone)]
struct Conv {
    kernel: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor,
    bias: Tensor,
}

impl Conv {
    fn new(inputs: usize, outputs: usize, random: &mut Random) -> Self {
        Conv {
            kernel: random.normal((2.0 / (9 * inputs) as f64).sqrt(), &[outputs, inputs, 3, 3]),
            mean: random.normal(0.1, &[outputs]),
            var: random.uniform(0.5, 1.5, &[outputs]),
            weight: random.uniform(0.5, 1.5, &[outputs]),
            bias: random.normal(0.1, &[outputs]),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let window = Window { padding: [1, 1], ..Window::default() };
        let x = x.conv2d(&self.kernel, None, window);
        x.batch_norm(&self.mean, &self.var, &self.weight, &self.bias, EPS)
    }
}

/// A linear layer.
#[derive(TensorTree, Clone)]
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }
}

/// The model: a struct of tensors.
#[derive(TensorTree, Clone)]
pub struct Cnn {
    stem: Conv,
    wide: Conv,
    residual: [Conv; 2],
    pub classifier: Linear,
}

impl Cnn {
    pub fn new(random: &mut Random) -> Self {
        Cnn {
            stem: Conv::new(3, 16, random),
            wide: Conv::new(16, FEATURES, random),
            residual: [Conv::new(FEATURES, FEATURES, random), Conv::new(FEATURES, FEATURES, random)],
            classifier: Linear {
                weight: random.normal((1.0 / FEATURES as f64).sqrt(), &[CLASSES, FEATURES]),
                bias: random.normal(0.1, &[CLASSES]),
            },
        }
    }

    /// Images `[batch, 3, side, side]` to features `[batch, features, side / 4, side / 4]`.
    fn features(&self, images: &Tensor) -> Tensor {
        let halve = |x: Tensor| x.max_pool2d([2, 2], Window::stride([2, 2]));
        let x = halve(self.stem.forward(images).relu());
        let x = halve(self.wide.forward(&x).relu());
        let [first, second] = &self.residual;
        (&x + second.forward(&first.forward(&x).relu())).relu()
    }

    /// Images `[batch, 3, side, side]` to probabilities `[batch, classes]`.
    pub fn forward(&self, images: &Tensor) -> Tensor {
        self.classifier.forward(&self.features(images).mean([2, 3], false)).softmax(-1)
    }

    /// The same step by step: each line runs at once, and its result can be looked at.
    pub fn step_through(&self, images: &Tensor, out: &mut dyn Write) -> io::Result<()> {
        look(out, "images", images)?;
        look(out, "stem", &self.stem.forward(images))?;
        let features = self.features(images);
        look(out, "features", &features)?;
        look(out, "pooled", &features.mean([2, 3], false))?;
        look(out, "probability", &self.forward(images))
    }
}
