"""ONNX graphs as functions of torch and of JAX, for the operators of the benchmark graphs.

A graph becomes straight-line Python: what follows from constants and shapes is computed once, by numpy, and every other
node is one call of the table of its library. `Unsupported` names the first operator that the table lacks.
"""

import numpy as np
import onnx
from onnx import numpy_helper


# Operands that a table's functions read as numpy arrays: they must follow from constants and shapes.
STATIC = {
    "Clip": (1, 2),
    "Expand": (1,),
    "Pow": (1,),
    "ReduceMean": (1,),
    "ReduceSum": (1,),
    "Reshape": (1,),
    "Split": (1,),
    "Squeeze": (1,),
}


class Unsupported(Exception):
    """The table has no such operator; the text names it."""


def attributes(node):
    """The node's attributes by name, texts decoded."""
    decoded = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in decoded.items()}


def fold(op, at, x):
    """One node on constants (numpy arrays); NotImplemented where there is no rule."""
    if op == "Constant":
        value = at["value"] if "value" in at else at.get("value_float", at.get("value_int"))
        return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
    if op == "ConstantOfShape":
        fill = numpy_helper.to_array(at["value"]) if "value" in at else np.zeros(1, np.float32)
        return np.full(tuple(x[0]), fill[0])
    if op == "Slice":
        where = [slice(None)] * x[0].ndim
        axes = x[3] if len(x) > 3 else range(len(x[1]))
        steps = x[4] if len(x) > 4 else [1] * len(x[1])
        for axis, start, end, step in zip(axes, x[1], x[2], steps):
            where[int(axis)] = slice(int(start), int(end), int(step))
        return x[0][tuple(where)]
    rules = {
        "Identity": lambda: x[0],
        "Add": lambda: x[0] + x[1],
        "Sub": lambda: x[0] - x[1],
        "Mul": lambda: x[0] * x[1],
        "Div": lambda: x[0] // x[1] if x[0].dtype.kind == "i" else x[0] / x[1],
        "Sqrt": lambda: np.sqrt(x[0]),
        "Equal": lambda: x[0] == x[1],
        "Where": lambda: np.where(x[0], x[1], x[2]),
        "Expand": lambda: x[0] * np.ones(tuple(x[1]), x[0].dtype),
        "Concat": lambda: np.concatenate(x, at["axis"]),
        "Gather": lambda: np.take(x[0], x[1], at.get("axis", 0)),
        "Unsqueeze": lambda: np.expand_dims(x[0], tuple(x[1])),
        "Squeeze": lambda: np.squeeze(x[0], tuple(x[1]) if len(x) > 1 else None),
        "Reshape": lambda: x[0].reshape(tuple(x[1])),
        "Transpose": lambda: x[0].transpose(at.get("perm")),
        "Cast": lambda: x[0].astype(onnx.helper.tensor_dtype_to_np_dtype(at["to"])),
    }
    return rules[op]() if op in rules else NotImplemented


def torch_table():
    """How torch computes each operator: (attributes, operands) to a result or a tuple of results."""
    import torch
    import torch.nn.functional as f

    def conv(at, x):
        pads = at.get("pads", [0] * 4)
        n = len(pads) // 2
        if pads[:n] != pads[n:] or at.get("auto_pad", "NOTSET") != "NOTSET":
            raise Unsupported("Conv with uneven pads")
        call = {1: f.conv1d, 2: f.conv2d, 3: f.conv3d}[x[1].dim() - 2]
        bias = x[2] if len(x) > 2 else None
        return call(x[0], x[1], bias, at.get("strides", 1), pads[:n], at.get("dilations", 1), at.get("group", 1))

    def gemm(at, x):
        a = x[0].t() if at.get("transA") else x[0]
        b = x[1] if at.get("transB") else x[1].t()
        if at.get("alpha", 1.0) != 1.0 or at.get("beta", 1.0) != 1.0:
            raise Unsupported("Gemm with alpha or beta")
        return f.linear(a, b, x[2] if len(x) > 2 else None)

    def max_pool(at, x):
        return f.max_pool2d(x[0], at["kernel_shape"], at["strides"], at.get("pads", [0] * 4)[:2])

    def lstm(at, x):
        return torch_lstm(torch, at, x)

    def reduce_axes(at, x):
        return tuple(at["axes"]) if "axes" in at else tuple(x[1].tolist())

    return common_table() | {
        "Conv": conv,
        "Gemm": gemm,
        "MaxPool": max_pool,
        "LSTM": lstm,
        "GlobalAveragePool": lambda at, x: x[0].mean((2, 3), keepdim=True),
        "Relu": lambda at, x: f.relu(x[0]),
        "Sigmoid": lambda at, x: torch.sigmoid(x[0]),
        "Tanh": lambda at, x: torch.tanh(x[0]),
        "Erf": lambda at, x: torch.erf(x[0]),
        "Sqrt": lambda at, x: torch.sqrt(x[0]),
        "IsNaN": lambda at, x: torch.isnan(x[0]),
        "Where": lambda at, x: torch.where(*x),
        "Clip": lambda at, x: torch.clamp(x[0], float(x[1]), float(x[2])),
        "Softmax": lambda at, x: torch.softmax(x[0], at.get("axis", -1)),
        "LayerNormalization": lambda at, x: f.layer_norm(x[0], x[1].shape, x[1], x[2], at.get("epsilon", 1e-5)),
        "ReduceSum": lambda at, x: x[0].sum(reduce_axes(at, x), bool(at.get("keepdims", 1))),
        "ReduceMean": lambda at, x: x[0].mean(reduce_axes(at, x), bool(at.get("keepdims", 1))),
        "Transpose": lambda at, x: x[0].permute(at["perm"]),
        "Flatten": lambda at, x: torch.flatten(x[0], at.get("axis", 1)),
        "Concat": lambda at, x: torch.cat(x, at["axis"]),
        "Expand": lambda at, x: x[0].expand(torch.broadcast_shapes(x[0].shape, tuple(x[1].tolist()))),
        "Gather": lambda at, x: torch_gather(torch, at, x),
        "GatherElements": lambda at, x: torch.gather(x[0], at.get("axis", 0), x[1]),
        "Split": lambda at, x: (
            torch.split(x[0], x[1].tolist(), at.get("axis", 0))
            if len(x) > 1
            else torch.chunk(x[0], at["num_outputs"], at.get("axis", 0))
        ),
        "Squeeze": lambda at, x: x[0].squeeze(tuple(x[1].tolist())),
        "Cast": lambda at, x: x[0].to(torch_dtype(torch, at["to"])),
    }


def torch_dtype(torch, code):
    """The dtype of an ONNX element type."""
    return torch.from_numpy(np.zeros(1, onnx.helper.tensor_dtype_to_np_dtype(code))).dtype


def torch_gather(torch, at, x):
    """Rows of a table by index, or slices of an axis."""
    axis = at.get("axis", 0)
    if x[1].dim() == 0:
        return x[0].select(axis, int(x[1]))
    if axis == 0 and x[0].dim() == 2:
        return torch.nn.functional.embedding(x[1], x[0])
    if x[1].dim() == 1:
        return x[0].index_select(axis, x[1])
    raise Unsupported("Gather by several axes of indices")


def torch_lstm(torch, at, x):
    """A forward LSTM by torch's own operator, whose gates are i, f, c, o where ONNX's are i, o, f, c."""
    if at.get("direction", "forward") != "forward" or len(x) > 7 or x[4] is not None:
        raise Unsupported("LSTM beyond the forward one")

    def gates(t):
        i, o, f, c = t.chunk(4)
        return torch.cat([i, f, c, o])

    halves = [gates(half) for half in x[3][0].chunk(2)]
    weights = [gates(x[1][0]), gates(x[2][0]), *halves]
    y, h, c = torch.lstm(x[0], (x[5], x[6]), weights, True, 1, 0.0, False, False, False)
    return y.unsqueeze(1), h, c


def common_table():
    """What is written alike in both libraries."""
    return {
        "MatMul": lambda at, x: x[0] @ x[1],
        "Add": lambda at, x: x[0] + x[1],
        "Sub": lambda at, x: x[0] - x[1],
        "Mul": lambda at, x: x[0] * x[1],
        "Div": lambda at, x: x[0] / x[1],
        "Pow": lambda at, x: x[0] ** (float(x[1]) if x[1].ndim == 0 else x[1]),
        "Identity": lambda at, x: x[0],
        "Reshape": lambda at, x: x[0].reshape(shape_of(x[0], x[1])),
    }


def shape_of(x, shape):
    """Reshape's target, where 0 keeps an extent."""
    return tuple(x.shape[i] if d == 0 else int(d) for i, d in enumerate(shape.tolist()))


def jax_table():
    """How JAX computes each operator; enough for the graphs of plain products, elementwise work and reductions."""
    import jax
    import jax.numpy as jnp

    def gemm(at, x):
        a = x[0].T if at.get("transA") else x[0]
        b = x[1].T if at.get("transB") else x[1]
        return at.get("alpha", 1.0) * (a @ b) + (at.get("beta", 1.0) * x[2] if len(x) > 2 else 0)

    def layer_norm(at, x):
        mean = x[0].mean(-1, keepdims=True)
        centred = x[0] - mean
        scale = jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + at.get("epsilon", 1e-5))
        return centred * scale * x[1] + x[2]

    def axes(at, x):
        return tuple(at["axes"]) if "axes" in at else tuple(np.asarray(x[1]).tolist())

    return common_table() | {
        "Gemm": gemm,
        "LayerNormalization": layer_norm,
        "Relu": lambda at, x: jnp.maximum(x[0], 0),
        "Sigmoid": lambda at, x: jax.nn.sigmoid(x[0]),
        "Tanh": lambda at, x: jnp.tanh(x[0]),
        "Erf": lambda at, x: jax.scipy.special.erf(x[0]),
        "Softmax": lambda at, x: jax.nn.softmax(x[0], at.get("axis", -1)),
        "ReduceSum": lambda at, x: x[0].sum(axes(at, x), keepdims=bool(at.get("keepdims", 1))),
        "ReduceMean": lambda at, x: x[0].mean(axes(at, x), keepdims=bool(at.get("keepdims", 1))),
    }


def plan(model, table, shapes):
    """The graph as (constants, steps, outputs).

    Constants are numpy arrays by name; a step is (function, attributes, operands, result names), an operand a name or,
    where it is STATIC, its value. `shapes` gives the extents of the inputs; a Shape must follow from them.
    """
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = dict(shapes)
    for info in graph.value_info:
        extents = info.type.tensor_type.shape.dim
        if all(d.HasField("dim_value") for d in extents):
            shapes.setdefault(info.name, tuple(d.dim_value for d in extents))
    known = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    steps = []
    for node in graph.node:
        at, op, names = attributes(node), node.op_type, list(node.input)
        if op == "Shape" and (names[0] in shapes or names[0] in known):
            shape = shapes[names[0]] if names[0] in shapes else known[names[0]].shape
            known[node.output[0]] = np.asarray(shape, np.int64)
            continue
        if all(n in known or n == "" for n in names):
            value = fold(op, at, [known[n] for n in names if n])
            if value is not NotImplemented:
                known[node.output[0]] = np.asarray(value)
                continue
        if op not in table:
            raise Unsupported(f"operator {op}")
        for k in STATIC.get(op, ()):
            if k < len(names) and names[k]:
                if names[k] not in known:
                    raise Unsupported(f"{op} whose operand {k} depends on data")
                names[k] = known[names[k]]
        steps.append((table[op], at, names, list(node.output)))
    used = {n for s in steps for n in s[2] if isinstance(n, str)} | {o.name for o in graph.output}
    constants = {n: v for n, v in known.items() if n in used}
    return constants, steps, [o.name for o in graph.output]


def execute(steps, values, outputs):
    """Runs the steps; `values` (inputs and constants by name) grows by every result."""
    for function, at, names, results in steps:
        got = function(at, [(values[n] if n else None) if isinstance(n, str) else n for n in names])
        values.update(zip(results, got if isinstance(got, (tuple, list)) else [got]))
    return [values[o] for o in outputs]
