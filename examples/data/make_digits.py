"""Trains the small digit classifier of the examples and writes everything that is shipped beside this script.

    python make_digits.py path/to/digits.csv.gz

`digits.csv.gz` is the file `sklearn/datasets/data/digits.csv.gz` of scikit-learn: 1797 images of 8x8 pixels with values
0 to 16, and their labels. Needs numpy, onnx and onnxruntime. The network is trained here, in numpy, from a fixed seed;
onnxruntime computes the reference results.

Writes digits.onnx, digits.images.npz, digits.expected.npz and digits.labels.npz.
"""

import gzip
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
TRAINED = 1297  # images used for training; the other 500 are shipped
EPSILON = 1e-5


def windows(x):
    """3x3 windows of images padded by one: (n, c, h, w) to (n, h * w, c * 9)."""
    n, c, h, w = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    view = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return view.transpose(0, 2, 3, 1, 4, 5).reshape(n, h * w, c * 9)


def unwindow(g, shape):
    """The transpose of `windows`: adds the windows up at their places."""
    n, c, h, w = shape
    g = g.reshape(n, h, w, c, 3, 3)
    out = np.zeros((n, c, h + 2, w + 2), g.dtype)
    for i in range(3):
        for j in range(3):
            out[:, :, i : i + h, j : j + w] += g[:, :, :, :, i, j].transpose(0, 3, 1, 2)
    return out[:, :, 1:-1, 1:-1]


class Block:
    """Convolution 3x3, batch normalisation, ReLU, maximum of 2x2."""

    def __init__(self, rng, c_in, c_out):
        self.w = rng.normal(0, np.sqrt(2 / (9 * c_in)), (c_out, c_in * 9)).astype(np.float32)
        self.scale = np.ones(c_out, np.float32)
        self.bias = np.zeros(c_out, np.float32)
        self.mean = np.zeros(c_out, np.float32)
        self.var = np.ones(c_out, np.float32)

    def params(self):
        return [self.w, self.scale, self.bias]

    def forward(self, x):
        n, _, h, w = self.shape = x.shape
        self.cols = windows(x)
        y = self.cols @ self.w.T
        mean, var = y.mean((0, 1)), y.var((0, 1))
        self.mean += 0.1 * (mean - self.mean)
        self.var += 0.1 * (var - self.var)
        self.inv = 1 / np.sqrt(var + EPSILON)
        self.hat = (y - mean) * self.inv
        y = np.maximum(self.hat * self.scale + self.bias, 0)
        self.active = y
        pairs = y.reshape(n, h // 2, 2, w // 2, 2, -1)
        out = pairs.max((2, 4))
        share = pairs == out[:, :, None, :, None]
        self.share = share / share.sum((2, 4), keepdims=True)
        return out.transpose(0, 3, 1, 2)

    def backward(self, g):
        g = g.transpose(0, 2, 3, 1)[:, :, None, :, None] * self.share
        g = g.reshape(self.active.shape) * (self.active > 0)
        grads = [(g * self.hat).sum((0, 1)), g.sum((0, 1))]
        g = g * self.scale
        g = self.inv * (g - g.mean((0, 1)) - self.hat * (g * self.hat).mean((0, 1)))
        gw = np.einsum("npo,npk->ok", g, self.cols, optimize=True)
        return unwindow(g @ self.w, self.shape), [gw, *grads]


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def train(images, labels, rng, epochs=60, batch=32):
    """Two blocks and a linear layer, by Adam with a falling rate."""
    blocks = [Block(rng, 1, 8), Block(rng, 8, 16)]
    w = rng.normal(0, 0.1, (64, 10)).astype(np.float32)
    b = np.zeros(10, np.float32)
    params = blocks[0].params() + blocks[1].params() + [w, b]
    moments = [(np.zeros_like(p), np.zeros_like(p)) for p in params]
    step, steps = 0, epochs * (len(images) // batch)
    for _ in range(epochs):
        order = rng.permutation(len(images))
        for part in order[: len(order) // batch * batch].reshape(-1, batch):
            features = blocks[1].forward(blocks[0].forward(images[part]))
            flat = features.reshape(batch, -1)
            g = softmax(flat @ w + b)
            g[np.arange(batch), labels[part]] -= 1
            g /= batch
            g2, grads2 = blocks[1].backward((g @ w.T).reshape(features.shape))
            _, grads1 = blocks[0].backward(g2)
            step += 1
            rate = 3e-3 * (1 - step / (steps + 1))
            for p, (m, v), grad in zip(params, moments, [*grads1, *grads2, flat.T @ g, g.sum(0)]):
                m += 0.1 * (grad - m)
                v += 0.001 * (grad * grad - v)
                p -= rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    return blocks, w, b


def model(blocks, w, b):
    """The trained network as an ONNX model that takes the raw pixels."""
    constants = {"pixel_scale": np.float32(1 / 16), "to_nchw": np.array([-1, 1, 8, 8], np.int64), "fc.weight": w}
    constants["fc.bias"] = b
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "pixel_scale"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "to_nchw"], ["x0"]),
    ]
    for i, block in enumerate(blocks, 1):
        names = [f"conv{i}.weight", f"bn{i}.scale", f"bn{i}.bias", f"bn{i}.mean", f"bn{i}.var"]
        values = [block.w.reshape(len(block.w), -1, 3, 3), block.scale, block.bias, block.mean, block.var]
        constants.update(zip(names, values))
        nodes += [
            helper.make_node("Conv", [f"x{i - 1}", names[0]], [f"conv{i}"], name=f"conv{i}", pads=[1, 1, 1, 1]),
            helper.make_node(
                "BatchNormalization", [f"conv{i}", *names[1:]], [f"bn{i}"], name=f"bn{i}", epsilon=EPSILON
            ),
            helper.make_node("Relu", [f"bn{i}"], [f"relu{i}"], name=f"relu{i}"),
            helper.make_node("MaxPool", [f"relu{i}"], [f"x{i}"], name=f"pool{i}", kernel_shape=[2, 2], strides=[2, 2]),
        ]
    nodes += [
        helper.make_node("Flatten", ["x2"], ["features"], name="flatten"),
        helper.make_node("Gemm", ["features", "fc.weight", "fc.bias"], ["logits"], name="fc"),
        helper.make_node("Softmax", ["logits"], ["probabilities"], name="softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="fornax")
    onnx.checker.check_model(made, full_check=True)
    return made


def main():
    table = np.loadtxt(gzip.open(sys.argv[1]), delimiter=",").astype(np.int64)
    images, labels = table[:, :-1].reshape(-1, 8, 8).astype(np.uint8), table[:, -1]
    order = np.random.default_rng(1).permutation(len(images))
    images, labels = images[order], labels[order]
    x = images[:, None].astype(np.float32) / 16
    blocks, w, b = train(x[:TRAINED], labels[:TRAINED], np.random.default_rng(2))
    made = model(blocks, w, b)
    onnx.save(made, HERE / "digits.onnx")

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    reference = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    shipped, answers = images[TRAINED:], labels[TRAINED:]
    (probabilities,) = reference.run(None, {"images": shipped})
    np.savez_compressed(HERE / "digits.images.npz", images=shipped)
    np.savez_compressed(HERE / "digits.expected.npz", probabilities=probabilities)
    np.savez_compressed(HERE / "digits.labels.npz", labels=answers.astype(np.uint8))
    right = (probabilities.argmax(1) == answers).sum()
    print(f"{right} of {len(answers)} digits are recognised")


main()
