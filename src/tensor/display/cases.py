#!/usr/bin/env python3
"""Prints arrays with NumPy 2.4 and writes their text to cases.json, which the tests beside read.

Names are ours: `tensor` for `array`, `f32` for `float32`, and the dtype is always told.
"""

import json
import pathlib

import numpy as np

DTYPES = {
    "f16": np.float16,
    "f32": np.float32,
    "f64": np.float64,
    "i8": np.int8,
    "u8": np.uint8,
    "i32": np.int32,
    "i64": np.int64,
    "u64": np.uint64,
    "bool": np.bool_,
}
LINE, THRESHOLD = 75, 1000


def representation(array, dtype):
    """As `repr`, with our names."""
    prefix = "tensor("
    body = np.array2string(array, separator=", ", prefix=prefix, suffix=")")
    facts = f"dtype={dtype})"
    if array.size > THRESHOLD or (array.size == 0 and array.shape != (0,)):
        facts = f"shape={array.shape}, {facts}"
    text = prefix + body + ","
    last = len(text) - (text.rfind("\n") + 1)
    gap = "\n" + " " * len(prefix) if last + len(facts) + 1 > LINE else " "
    return text + gap + facts


def case(dtype, shape, values=None, step=None):
    """An array of these values, or of the multiples of a step."""
    count = int(np.prod(shape, dtype=int))
    given = {"values": [str(v) for v in values]} if step is None else {"step": step}
    numbers = values if step is None else [i * step for i in range(count)]
    with np.errstate(all="ignore"):
        array = np.array(numbers, dtype=DTYPES[dtype]).reshape(shape)
    return {
        "dtype": dtype,
        "shape": list(shape),
        **given,
        "display": str(array),
        "debug": representation(array, dtype),
    }


NAN, INF = float("nan"), float("inf")
FLOATS = [
    [1.0, 2.5, -3.0],
    [0.0, -0.0],
    [1e-5, 1.0, 123456.0],
    [0.1, 0.123456789012345],
    [0.1, 1e-9, 0.123456789012],
    [0.1, 123456.789, 1e-8, 1.23456789],
    [0.001953125, 1.0],
    [0.5**27, 1.0],
    [0.0078125, 0.00390625, 0.001953125, 0.0009765625],
    [1e7, 1e8],
    [99999999.0, 1e6],
    [999999.0, 1.0],
    [1000.0, 1.0],
    [1001.0, 1.0],
    [0.0001, 0.05],
    [0.00009, 0.05],
    [NAN, 1.0],
    [NAN, INF, -INF],
    [NAN, NAN],
    [1.5, NAN, INF, -INF],
    [-INF, 1e20],
    [NAN, 1e-20, 12.0],
    [INF, 100.25],
    [1e300, -1e-300],
    [5e-324, 1.0],
    [1.7976931348623157e308],
    [3.4e38, 1.2e-38],
    [65504.0, 6e-8],
    [2048.0, 2.0],
    [16777216.0, 20000.0],
    [12345678.5, 100000.0],
    [1 / 3, 2 / 3, 1.0],
    [1e10 / 3, 1.0],
    [9.999999999, 0.0],
    [0.99999999999],
    [-1.0, 10.0, -100.0],
]
SCALARS = [
    0.0, -0.0, 1.0, -1.5, 100.0, 0.1, 1 / 3, 999.0, 1000.0, 123456.7, 999999.0, 1e6, 1234567.0, 1e7, 16777216.0,
    9999999999999998.0, 1e15, 1e16, 123456789012345678.0, 1e-4, 0.00010001, 9.9e-5, 1.5e-7, 1e-300, 5e-324, 1e300,
    3.4e38, NAN, INF, -INF,
]


def cases():
    for dtype in ["f16", "f32", "f64"]:
        for values in FLOATS:
            yield case(dtype, (len(values),), values)
        for value in SCALARS:
            yield case(dtype, (), [value])
        yield case(dtype, (30,), step=1.1)
        yield case(dtype, (7, 11), step=0.37)
        yield case(dtype, (2, 3), [1.5, 2, 3, 4, NAN, -6])
        yield case(dtype, (1, 1, 1, 1), [0.0])
        yield case(dtype, (2, 2, 3), step=0.5)
        for shape in [(0,), (3, 0), (2, 0, 3)]:
            yield case(dtype, shape, [])
    yield case("f32", (2000,), step=0.001)
    yield case("f64", (1001,), step=1e-7)
    yield case("f64", (20, 60), step=-3.3)
    yield case("f32", (4, 8, 40), step=0.25)
    yield case("f32", (2, 2, 2, 5), step=7.125)
    yield case("f32", (1, 1000), step=1.0)
    yield case("f32", (7, 143), step=1.0)
    yield case("f64", (3, 40), step=1000.5)
    for dtype in ["i8", "u8", "i32", "i64", "u64"]:
        yield case(dtype, (3,), [1, 20, 100])
        yield case(dtype, (), [7])
        yield case(dtype, (0, 2), [])
        yield case(dtype, (3, 25), step=1)
        yield case(dtype, (2, 3, 4), step=2)
    yield case("i64", (4,), [-(2**63), 2**63 - 1, 0, -1])
    yield case("u64", (2,), [2**64 - 1, 0])
    yield case("i32", (2, 2), [-1, 10, 100, -1000])
    yield case("i64", (40, 50), step=1)
    yield case("i32", (1001,), step=-1)
    yield case("i64", (100,), step=12345)
    yield case("i64", (5, 5, 50), step=3)
    yield case("i64", (8, 1, 8, 20), step=1)
    yield case("bool", (2,), [True, False])
    yield case("bool", (2, 2), [True, True, True, True])
    yield case("bool", (), [True])
    yield case("bool", (), [False])
    yield case("bool", (25,), step=1)
    yield case("bool", (0,), [])
    yield case("bool", (1100,), step=1)


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(c) for c in cases())
    pathlib.Path(__file__).with_name("cases.json").write_text(f"[\n{lines}\n]\n")
