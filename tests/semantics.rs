//! The semantics that `docs/numerics.md` states, each through the interpreter and native code alike: fused and not, for
//! the plainest and the native instruction set, on one thread and two, and folded at compile time.

use fornax::ir::graph::ops::{Binary, Bitcast, Cast, Compare, DotGeneral, Gather, Reduce, Unary};
use fornax::ir::graph::{Builder, Graph, TensorType, ValueId};
use fornax::ir::scalar::eval::{binary_accepts, reduce_accepts, unary_accepts};
use fornax::ir::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use fornax::ir::{DType, Dim, dtype::DTYPES};
use fornax::{Backend, Cpu, Element, Error, Model, Optimizer, Options, Outputs, Tensor};

/// Every way to run a graph: its name and options. The interpreter is the first.
fn ways() -> Vec<(String, Options)> {
    let mut ways = vec![("interpreter".to_string(), Options::default().backend(Backend::Interp))];
    for cpu in [Cpu::Baseline, Cpu::Native] {
        for (optimizer, fused) in [(Optimizer::None, "unfused"), (Optimizer::Greedy, "fused")] {
            for threads in [1, 2] {
                let options = Options::default().cpu(cpu).optimizer(optimizer).threads(threads);
                ways.push((format!("{cpu}, {fused}, {threads} threads"), options));
            }
        }
    }
    ways
}

/// Whether two elements are the same value: equal bits, or NaN of any kind.
fn same(a: &Tensor, b: &Tensor, i: usize) -> bool {
    let width = a.dtype().bytes();
    let (x, y) = (a.as_literal().get_f64(i), b.as_literal().get_f64(i));
    a.bytes()[i * width..][..width] == b.bytes()[i * width..][..width] || (x.is_nan() && y.is_nan())
}

#[track_caller]
fn assert_same(way: &str, name: &str, actual: &Tensor, expected: &Tensor) {
    assert_eq!((actual.dtype(), actual.shape()), (expected.dtype(), expected.shape()), "{way}: {name}");
    for i in 0..actual.numel() {
        let (a, b) = (actual.as_literal().get_f64(i), expected.as_literal().get_f64(i));
        assert!(same(actual, expected, i), "{way}: {name}, element {i} is {a}, expected {b}");
    }
}

/// Names and tensors.
type Named<'a> = [(&'a str, Tensor)];

/// A graph of these inputs, whose first axis is symbolic, or of constants in their place.
fn graph(inputs: &Named<'_>, constant: bool, body: &dyn Fn(&mut Builder, &[ValueId])) -> Graph {
    let mut b = Builder::new("semantics");
    let mut values = Vec::new();
    for (name, tensor) in inputs {
        let mut shape: Vec<Dim> = tensor.shape().iter().map(|&n| Dim::from(n)).collect();
        if let Some(first) = shape.first_mut() {
            *first = Dim::symbol("n");
        }
        values.push(if constant {
            b.constant(name, tensor.as_literal())
        } else {
            b.input(name, TensorType::new(tensor.dtype(), shape))
        });
    }
    body(&mut b, &values);
    b.finish()
}

/// Runs a graph in every way and compares each output with what is expected of it.
#[track_caller]
fn check(inputs: &Named<'_>, body: &dyn Fn(&mut Builder, &[ValueId]), expected: &Named<'_>) {
    let given: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, t)| (*name, t)).collect();
    for (way, options) in ways() {
        for constant in [false, true] {
            let model = Model::from_graph(graph(inputs, constant, body), options.clone()).unwrap();
            let outputs = model.run(if constant { &[] } else { &given }).unwrap();
            for (name, tensor) in expected {
                let way = format!("{way}{}", if constant { ", folded" } else { "" });
                assert_same(&way, name, &outputs[*name], tensor);
            }
        }
    }
}

fn vector<T: Element>(data: &[T]) -> Tensor {
    Tensor::from_slice(data, &[data.len()]).unwrap()
}

/// One binary operator on pairs.
#[track_caller]
fn check_binary<T: Element>(op: BinaryOp, cases: &[(T, T, T)]) {
    let column = |pick: fn(&(T, T, T)) -> T| vector(&cases.iter().map(pick).collect::<Vec<T>>());
    check(
        &[("a", column(|c| c.0)), ("b", column(|c| c.1))],
        &|b, v| {
            let r = b.add(Binary(op), v).unwrap();
            b.output("r", r);
        },
        &[("r", column(|c| c.2))],
    );
}

#[test]
fn integer_division_and_remainder() {
    check_binary::<i32>(
        BinaryOp::Div,
        &[
            (7, 2, 3),
            (-7, 2, -3),
            (7, -2, -3),
            (5, 0, 0),
            (0, 0, 0),
            (i32::MIN, -1, i32::MIN),
            (i32::MIN, 0, 0),
        ],
    );
    check_binary::<i32>(
        BinaryOp::Rem,
        &[(7, 3, 1), (-7, 3, -1), (7, -3, 1), (-7, -3, -1), (5, 0, 0), (i32::MIN, -1, 0), (i32::MIN, 0, 0)],
    );
    check_binary::<i64>(BinaryOp::Div, &[(i64::MIN, -1, i64::MIN), (1, 0, 0), (-9, 4, -2)]);
    check_binary::<i64>(BinaryOp::Rem, &[(i64::MIN, -1, 0), (1, 0, 0), (-9, 4, -1)]);
    check_binary::<i8>(BinaryOp::Div, &[(i8::MIN, -1, i8::MIN), (1, 0, 0), (-128, 2, -64)]);
    check_binary::<i16>(BinaryOp::Rem, &[(i16::MIN, -1, 0), (1, 0, 0), (-7, 4, -3)]);
    check_binary::<u8>(BinaryOp::Div, &[(200, 0, 0), (200, 3, 66), (255, 255, 1)]);
    check_binary::<u64>(BinaryOp::Rem, &[(u64::MAX, 0, 0), (u64::MAX, 10, 5), (3, u64::MAX, 3)]);
}

#[test]
fn integers_wrap() {
    check_binary::<i8>(BinaryOp::Add, &[(127, 1, -128), (-128, -1, 127)]);
    check_binary::<u8>(BinaryOp::Sub, &[(0, 1, 255), (3, 5, 254)]);
    check_binary::<i16>(BinaryOp::Mul, &[(300, 300, 24464), (i16::MIN, -1, i16::MIN)]);
    check_binary::<i32>(BinaryOp::Mul, &[(i32::MAX, 2, -2), (65536, 65536, 0)]);
    check_binary::<i64>(BinaryOp::Add, &[(i64::MAX, 1, i64::MIN)]);
    check(
        &[("x", vector(&[i32::MIN, -5, 5]))],
        &|b, v| {
            let (abs, neg) = (b.unary(UnaryOp::Abs, v[0]).unwrap(), b.unary(UnaryOp::Neg, v[0]).unwrap());
            b.output("abs", abs);
            b.output("neg", neg);
        },
        &[("abs", vector(&[i32::MIN, 5, 5])), ("neg", vector(&[i32::MIN, 5, -5]))],
    );
}

#[test]
fn shifts_by_the_width_or_more() {
    check_binary::<i32>(
        BinaryOp::Shl,
        &[(1, 31, i32::MIN), (1, 32, 0), (1, 33, 0), (-1, 1000, 0), (1, -1, 0), (1, i32::MIN, 0), (3, 1, 6)],
    );
    check_binary::<i32>(
        BinaryOp::Shr,
        &[(-8, 1, -4), (-8, 31, -1), (-8, 32, -1), (8, 32, 0), (-8, -1, -1), (8, -1, 0), (8, i32::MAX, 0)],
    );
    check_binary::<u32>(BinaryOp::Shr, &[(u32::MAX, 31, 1), (u32::MAX, 32, 0), (u32::MAX, u32::MAX, 0)]);
    check_binary::<i8>(BinaryOp::Shl, &[(1, 7, -128), (1, 8, 0), (1, 9, 0), (1, 127, 0)]);
    check_binary::<i8>(BinaryOp::Shr, &[(-128, 7, -1), (-128, 8, -1), (127, 8, 0), (-1, 100, -1)]);
    check_binary::<u64>(BinaryOp::Shl, &[(1, 63, 1 << 63), (1, 64, 0), (1, 1 << 40, 0)]);
    check_binary::<i64>(BinaryOp::Shr, &[(i64::MIN, 63, -1), (i64::MIN, 64, -1), (1, 64, 0)]);
}

#[test]
fn integer_powers() {
    check_binary::<i32>(
        BinaryOp::Pow,
        &[
            (2, 10, 1024),
            (0, 0, 1),
            (-3, 3, -27),
            (2, 32, 0),
            (2, -1, 0),
            (1, -5, 1),
            (-1, -3, -1),
            (-1, -4, 1),
        ],
    );
}

#[test]
fn minima_and_maxima_propagate_nan_and_order_zeros() {
    let nan = f32::NAN;
    let cases =
        [(1.0, 2.0), (nan, 1.0), (1.0, nan), (nan, nan), (-0.0, 0.0), (0.0, -0.0), (f32::INFINITY, 3.0)];
    let with = |r: [f32; 7]| cases.iter().zip(r).map(|(c, r)| (c.0, c.1, r)).collect::<Vec<_>>();
    check_binary(BinaryOp::Max, &with([2.0, nan, nan, nan, 0.0, 0.0, f32::INFINITY]));
    check_binary(BinaryOp::Min, &with([1.0, nan, nan, nan, -0.0, -0.0, 3.0]));
    check_binary::<f64>(BinaryOp::Max, &[(f64::NAN, 1.0, f64::NAN), (-0.0, 0.0, 0.0)]);
}

#[test]
fn reductions_propagate_nan_and_have_identities() {
    let mut rows = vec![1.0f32; 3 * 70];
    rows[70 + 33] = f32::NAN;
    rows[140] = 9.0;
    rows[209] = -9.0;
    let x = Tensor::from_vec(rows, &[3, 70]).unwrap();
    let empty = Tensor::zeros(&[2, 0], DType::F32).unwrap();
    let nan = f32::NAN;
    check(
        &[("x", x)],
        &|b, v| {
            for op in ReduceOp::ALL {
                let r = b.add(Reduce { op: *op, axes: vec![1] }, v).unwrap();
                b.output(op.name(), r);
            }
        },
        &[
            ("max", vector(&[1.0, nan, 9.0])),
            ("min", vector(&[1.0, nan, -9.0])),
            ("sum", vector(&[70.0, nan, 68.0])),
        ],
    );
    let (inf, all) = (f32::INFINITY, |v: f32| vector(&[v, v]));
    check(
        &[("x", empty)],
        &|b, v| {
            for op in ReduceOp::ALL {
                let r = b.add(Reduce { op: *op, axes: vec![1] }, v).unwrap();
                b.output(op.name(), r);
            }
        },
        &[("max", all(-inf)), ("min", all(inf)), ("sum", all(0.0)), ("prod", all(1.0))],
    );
    let empty = Tensor::zeros(&[1, 0], DType::I16).unwrap();
    check(
        &[("x", empty)],
        &|b, v| {
            for op in [ReduceOp::Max, ReduceOp::Min] {
                let r = b.add(Reduce { op, axes: vec![1] }, v).unwrap();
                b.output(op.name(), r);
            }
        },
        &[("max", vector(&[i16::MIN])), ("min", vector(&[i16::MAX]))],
    );
}

/// One conversion.
#[track_caller]
fn check_cast<A: Element, B: Element>(from: &[A], to: &[B]) {
    check(
        &[("x", vector(from))],
        &|b, v| {
            let r = b.add(Cast(B::DTYPE), v).unwrap();
            b.output("r", r);
        },
        &[("r", vector(to))],
    );
}

#[test]
fn conversions_saturate_wrap_and_round() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let x = [nan, inf, -inf, 1e20, -1e20, 2.9, -2.9, -0.0, 300.0];
    check_cast(&x, &[0i32, i32::MAX, i32::MIN, i32::MAX, i32::MIN, 2, -2, 0, 300]);
    check_cast(&x, &[0i64, i64::MAX, i64::MIN, i64::MAX, i64::MIN, 2, -2, 0, 300]);
    check_cast(&x, &[0i8, 127, -128, 127, -128, 2, -2, 0, 127]);
    check_cast(&x, &[0u8, 255, 0, 255, 0, 2, 0, 0, 255]);
    check_cast(&x, &[0u64, u64::MAX, 0, u64::MAX, 0, 2, 0, 0, 300]);
    check_cast(&[f64::NAN, 1e300, -1e300, 0.5], &[0u16, u16::MAX, 0, 0]);
    check_cast(&[300i32, -1, i32::MIN], &[44i8, -1, 0]);
    check_cast(&[-1i8, 127], &[u32::MAX, 127]);
    check_cast(&[255u8, 1], &[255i64, 1]);
    check_cast(&[i64::MAX, -1], &[9_223_372_036_854_775_807f32, -1.0]);
    check_cast(&[u64::MAX, 1 << 63], &[18_446_744_073_709_551_615f32, 9_223_372_036_854_775_808.0]);
    check_cast(&[16_777_217i32, 16_777_219], &[16_777_216f32, 16_777_220.0]);
    check_cast(&[1e300f64, -1e300, 0.1], &[inf, -inf, 0.1f32]);
}

#[test]
fn conversions_to_and_from_bool() {
    let bools = Tensor::from_bools(&[false, true, true, false], &[4]).unwrap();
    check(
        &[("x", vector(&[0.0f32, f32::NAN, 1e-40, -0.0])), ("y", vector(&[0i32, -1, 256, 0]))],
        &|b, v| {
            for (name, v) in [("x", v[0]), ("y", v[1])] {
                let r = b.cast(v, DType::Bool).unwrap();
                b.output(name, r);
                let back = b.cast(r, DType::F32).unwrap();
                b.output(&format!("{name} back"), back);
            }
        },
        &[("x", bools.clone()), ("y", bools), ("x back", vector(&[0.0f32, 1.0, 1.0, 0.0]))],
    );
}

#[test]
fn half_precision_computes_in_single_and_rounds_once() {
    let half = |v: &[f64]| Tensor::from_f64s(v.iter().copied(), DType::F16, &[v.len()]).unwrap();
    check(
        &[("a", half(&[2048.0, 65504.0, 0.1])), ("b", half(&[1.0, 65504.0, 0.2]))],
        &|b, v| {
            let (sum, product) =
                (b.add(Binary(BinaryOp::Add), v).unwrap(), b.add(Binary(BinaryOp::Mul), v).unwrap());
            b.output("sum", sum);
            b.output("product", product);
        },
        // 2049 ties to even; the largest half doubled is infinite.
        &[
            ("sum", half(&[2048.0, f64::INFINITY, 0.29980468750])),
            ("product", half(&[2048.0, f64::INFINITY, 0.01998901])),
        ],
    );
}

#[test]
fn denormals_and_divisions_by_zero_are_kept() {
    let tiny = f32::from_bits(1);
    check_binary::<f32>(
        BinaryOp::Mul,
        &[(tiny, 1.0, tiny), (f32::MIN_POSITIVE, 0.5, f32::MIN_POSITIVE / 2.0)],
    );
    check_binary::<f32>(BinaryOp::Add, &[(tiny, tiny, f32::from_bits(2))]);
    let inf = f32::INFINITY;
    check_binary::<f32>(BinaryOp::Div, &[(1.0, 0.0, inf), (1.0, -0.0, -inf), (0.0, 0.0, f32::NAN)]);
    check_binary::<f32>(
        BinaryOp::Rem,
        &[(-7.5, 2.0, -1.5), (7.5, -2.0, 1.5), (1.0, 0.0, f32::NAN), (3.0, inf, 3.0)],
    );
}

#[test]
fn rounding_ties_to_even_and_sign_keeps_zero() {
    let x = [0.5f32, 1.5, 2.5, -0.5, -1.5, 8_388_609.0, 1e30, f32::NAN, f32::NEG_INFINITY, -0.0, 0.49999997];
    let each = |f: fn(f32) -> f32| vector(&x.map(f));
    check(
        &[("x", vector(&x))],
        &|b, v| {
            use UnaryOp::*;
            for op in [Round, Floor, Ceil, Trunc, Sign] {
                let r = b.add(Unary(op), v).unwrap();
                b.output(op.name(), r);
            }
        },
        &[
            ("round", each(f32::round_ties_even)),
            ("floor", each(f32::floor)),
            ("ceil", each(f32::ceil)),
            ("trunc", each(f32::trunc)),
            ("sign", each(|v| if v.is_nan() || v == 0.0 { v } else { v.signum() })),
        ],
    );
}

#[test]
fn comparisons_with_nan_are_false_but_for_unequal() {
    let (a, b) = (vector(&[f32::NAN, 1.0, f32::NAN, -0.0]), vector(&[1.0, f32::NAN, f32::NAN, 0.0]));
    let bools = |v: [bool; 4]| Tensor::from_bools(&v, &[4]).unwrap();
    let last = |v| bools([false, false, false, v]);
    check(
        &[("a", a), ("b", b)],
        &|b, v| {
            for op in CompareOp::ALL {
                let r = b.add(Compare(*op), v).unwrap();
                b.output(op.name(), r);
            }
        },
        &[
            ("eq", last(true)),
            ("ne", bools([true, true, true, false])),
            ("lt", last(false)),
            ("le", last(true)),
            ("gt", last(false)),
            ("ge", last(true)),
        ],
    );
}

/// A gather whose indices are given, and whose first, named node is at fault where one is out of range.
fn gather(b: &mut Builder, v: &[ValueId]) {
    b.set_loc("Gather 'embedding'");
    let r = b.add(Gather { axes: vec![0] }, v).unwrap();
    b.output("r", r);
}

#[test]
fn indices_count_from_the_end() {
    let data = Tensor::from_slice(&[10.0f32, 11.0, 20.0, 21.0, 30.0, 31.0], &[3, 2]).unwrap();
    let mut b = Builder::new("gather");
    let table = b.input("data", TensorType::new(DType::F32, vec![Dim::from(3usize), Dim::from(2usize)]));
    let index = b.input("index", TensorType::new(DType::I64, vec![Dim::symbol("n")]));
    gather(&mut b, &[table, index]);
    let graph = b.finish();
    let expected = Tensor::from_slice(&[30.0f32, 31.0, 10.0, 11.0, 20.0, 21.0], &[3, 2]).unwrap();
    for (way, options) in ways() {
        let model = Model::from_graph(graph.clone(), options).unwrap();
        let outputs = model.run(&[("data", &data), ("index", &vector(&[-1i64, -3, 1]))]).unwrap();
        assert_same(&way, "r", &outputs["r"], &expected);
        for bad in [3i64, -4, i64::MIN, i64::MAX] {
            let error = model.run(&[("data", &data), ("index", &vector(&[0, bad]))]).unwrap_err();
            assert!(matches!(&error, Error::Index(at) if at.contains("embedding")), "{way}: {bad}: {error}");
            assert!(error.is_bad_input());
        }
    }
}

#[test]
fn reads_out_of_range_give_zero_and_the_run_goes_on() {
    let mut b = Builder::new("gather");
    let table = b.input("data", TensorType::new(DType::I32, vec![Dim::from(2usize)]));
    let index = b.input("index", TensorType::new(DType::I64, vec![Dim::from(4usize)]));
    gather(&mut b, &[table, index]);
    let graph = b.finish();
    let (data, indices) = (vector(&[7i32, 8]), vector(&[1i64, 2, -3, 0]));
    let arguments = [data.as_literal(), indices.as_literal()];
    let outcome = fornax::ir::graph::interp::run(&graph, &arguments).unwrap();
    assert_eq!(&*outcome.outputs[0].to_slice::<i32>().unwrap(), &[8, 0, 0, 7]);
    assert!(outcome.index_error.unwrap().contains("embedding"));

    let target = fornax_compiler::codegen::Target::host(Cpu::Native).unwrap();
    let lowered = fornax_compiler::lower(graph, &fornax_compiler::Options::default()).unwrap();
    let compiled = lowered.compile(&target, "clif", &fornax_compiler::codegen::Options::default()).unwrap();
    let options = fornax_runtime::InstanceOptions {
        pool: std::sync::Arc::new(fornax_runtime::ThreadPool::new(1).unwrap()),
        weights: Some(compiled.weights.clone()),
        memory_limit: None,
        byte_lengths: None,
    };
    let instance = compiled.code.instance(options).unwrap();
    let mut out = [-1i32; 4];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut out);
    let result = instance.run(&[], &[data.bytes(), indices.bytes()], &mut [bytes]);
    let code = fornax_runtime::abi::FNX_INDEX;
    assert!(
        matches!(result, Err(fornax_runtime::RunError::Program { code: c, .. }) if c == code),
        "{result:?}"
    );
    assert_eq!(out, [8, 0, 0, 7]);
}

#[test]
fn a_product_and_a_sum_round_twice_outside_of_contractions() {
    // (1 + 2^-12)^2 - 1 - 2^-11 is 2^-24 with one rounding and 0 with two.
    let x = 1.0f32 + 2.0f32.powi(-12);
    let c = -(1.0f32 + 2.0f32.powi(-11));
    check(
        &[("x", vector(&[x; 9])), ("c", vector(&[c; 9]))],
        &|b, v| {
            let square = b.binary(BinaryOp::Mul, v[0], v[0]).unwrap();
            let sum = b.binary(BinaryOp::Add, square, v[1]).unwrap();
            b.output("sum", sum);
        },
        &[("sum", vector(&[0.0f32; 9]))],
    );
}

/// Numbers at which operators are at their most particular.
fn corners(dtype: DType) -> Tensor {
    let values: Vec<f64> = if dtype.is_float() {
        // Sine and cosine of f64 are stated for arguments up to 2^28.
        let (tiny, large) = (2f64.powi(-149), if dtype == DType::F64 { 1e8 } else { 3e38 });
        vec![
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            2.5,
            -3.7,
            7.0,
            100.0,
            -1e4,
            large,
            tiny,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            1e-3,
        ]
    } else {
        return integer_corners(dtype);
    };
    Tensor::from_f64s(values, dtype, &[16]).unwrap()
}

fn integer_corners(dtype: DType) -> Tensor {
    let (lo, hi) = (i64::MIN >> (64 - 8 * dtype.bytes()), i64::MAX >> (64 - 8 * dtype.bytes()));
    let values = [0, 1, -1, 2, -2, 3, 7, 8, 31, 32, 33, 63, lo, hi, lo + 1, hi - 1];
    Tensor::from_i64s(values, dtype, &[16]).unwrap()
}

/// All pairs of corner values: two vectors of 256.
fn pairs(dtype: DType) -> (Tensor, Tensor) {
    let c = corners(dtype);
    let width = dtype.bytes();
    let element = |i: usize| c.bytes()[i * width..][..width].to_vec();
    let all = |pick: fn(usize) -> usize| (0..256).flat_map(|i| element(pick(i))).collect::<Vec<u8>>();
    let make = |bytes| Tensor::from_bytes(bytes, dtype, &[256]).unwrap();
    (make(all(|i| i / 16)), make(all(|i| i % 16)))
}

/// Whether native code may differ from the interpreter in the last bits: functions are approximations.
fn approximate(name: &str) -> bool {
    ["exp", "log", "sin", "cos", "tanh", "erf", "atan", "pow"].contains(&name)
}

/// Whether `a` is within some units in the last place of `b`.
fn close(a: f64, b: f64, dtype: DType) -> bool {
    let epsilon = match dtype {
        DType::F64 => 1e-14,
        DType::F32 => 2e-6,
        DType::F16 => 2e-3,
        _ => 2e-2,
    };
    (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= epsilon * b.abs() + f64::from(f32::MIN_POSITIVE)
}

#[track_caller]
fn agree(way: &str, dtype: DType, outputs: &Outputs, reference: &Outputs) {
    for (name, tensor) in outputs.iter() {
        let expected = &reference[name];
        if !approximate(name) || !dtype.is_float() {
            assert_same(&format!("{way}, {dtype}"), name, tensor, expected);
            continue;
        }
        for i in 0..tensor.numel() {
            let (a, b) = (tensor.as_literal().get_f64(i), expected.as_literal().get_f64(i));
            assert!(
                close(a, b, dtype),
                "{way}, {dtype}: {name}, element {i} is {a}, the interpreter has {b}"
            );
        }
    }
}

/// Every elementwise operator of a dtype on all pairs of its corner values.
fn every_operator(dtype: DType) {
    let (x, y) = pairs(dtype);
    let body = |b: &mut Builder, v: &[ValueId]| {
        for &op in BinaryOp::ALL.iter().filter(|&&op| binary_accepts(op, dtype)) {
            let r = b.add(Binary(op), v).unwrap();
            b.output(op.name(), r);
        }
        for &op in UnaryOp::ALL.iter().filter(|&&op| unary_accepts(op, dtype)) {
            let r = b.add(Unary(op), &v[..1]).unwrap();
            b.output(op.name(), r);
        }
        for &op in CompareOp::ALL {
            let r = b.add(Compare(op), v).unwrap();
            b.output(op.name(), r);
        }
        for &op in ReduceOp::ALL.iter().filter(|&&op| reduce_accepts(op, dtype) && !dtype.is_float()) {
            let r = b.add(Reduce { op, axes: vec![0] }, &v[..1]).unwrap();
            b.output(&format!("reduce {}", op.name()), r);
        }
        for to in DTYPES.iter().map(|row| row.dtype).filter(|&to| to != dtype) {
            let r = b.add(Cast(to), &v[..1]).unwrap();
            b.output(&format!("to {to}"), r);
        }
    };
    let inputs = [("x", x.clone()), ("y", y.clone())];
    let mut reference = None;
    for (way, options) in ways() {
        let model = Model::from_graph(graph(&inputs, false, &body), options).unwrap();
        let outputs = model.run(&[("x", &x), ("y", &y)]).unwrap();
        agree(&way, dtype, &outputs, reference.get_or_insert_with(|| outputs.clone()));
    }
}

macro_rules! every_operator { ($($name:ident: $dtype:ident),*) => { $(
    #[test]
    fn $name() {
        every_operator(DType::$dtype);
    }
)* } }
every_operator! {
    every_operator_of_bool: Bool, every_operator_of_i8: I8, every_operator_of_u8: U8, every_operator_of_i16: I16,
    every_operator_of_u16: U16, every_operator_of_i32: I32, every_operator_of_u32: U32, every_operator_of_i64: I64,
    every_operator_of_u64: U64, every_operator_of_f16: F16, every_operator_of_bf16: BF16, every_operator_of_f32: F32,
    every_operator_of_f64: F64
}

#[test]
fn bits_are_kept_by_bitcasts() {
    let x = [0x7fc0_1234u32, 0x8000_0000, 0x3f80_0000, 0xff80_0000];
    check(
        &[("x", vector(&x))],
        &|b, v| {
            let float = b.add(Bitcast(DType::F32), v).unwrap();
            b.output("float", float);
            let back = b.add(Bitcast(DType::I32), &[float]).unwrap();
            b.output("back", back);
        },
        &[("float", vector(&x.map(f32::from_bits))), ("back", vector(&x.map(|v| v as i32)))],
    );
}

#[test]
fn a_dot_is_one_ascending_chain() {
    // Each order of this sum has its own value: only the ascending one gives 1.
    let a = Tensor::from_slice(&[1e8f32, 1.0, -1e8, 1.0], &[1, 4]).unwrap();
    let ones = Tensor::from_slice(&[1.0f32; 4], &[4, 1]).unwrap();
    check(
        &[("a", a)],
        &|b, v| {
            let ones = b.constant("ones", ones.as_literal());
            let dot = DotGeneral { batch: vec![], contract: vec![(1, 0)] };
            let r = b.add(dot, &[v[0], ones]).unwrap();
            b.output("r", r);
        },
        &[("r", Tensor::from_slice(&[1.0f32], &[1, 1]).unwrap())],
    );
}
