//! What composite operators compute, on numbers worked out by hand.

use crate::build::*;
use fornax_ir::Literal;
use fornax_onnx::proto::NodeProto;
use std::slice::from_ref;

fn seq(shape: &[usize]) -> Literal {
    let n = shape.iter().product();
    lit(shape, &(0..n).map(|i: usize| i as f32).collect::<Vec<_>>())
}

#[test]
fn batch_and_layer_norm() {
    let x = lit(&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let stored = vec![
        f32s("s", &[2], &[1.0, 2.0]),
        f32s("b", &[2], &[0.0, 1.0]),
        f32s("m", &[2], &[1.0, 2.0]),
        f32s("v", &[2], &[4.0, 0.25]),
    ];
    let n = node("BatchNormalization", &["a", "s", "b", "m", "v"], &[], vec![float("epsilon", 0.0)]);
    check(9, n, from_ref(&x), stored, &lit(&[1, 2, 2], &[0.0, 0.5, 5.0, 9.0]));
    let layer = node("LayerNormalization", &["a", "s", "b"], &[], vec![float("epsilon", 0.0)]);
    let stored = vec![f32s("s", &[2], &[1.0, 2.0]), f32s("b", &[2], &[0.0, 1.0])];
    check(17, layer, &[x], stored, &lit(&[1, 2, 2], &[-1.0, 3.0, -1.0, 3.0]));
}

#[test]
fn products_broadcast_their_batches() {
    let a = seq(&[2, 1, 2]);
    let b = lit(&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let want = lit(&[2, 1, 2], &[3.0, 4.0, 11.0, 16.0]);
    check(13, node("MatMul", &["a", "b"], &[], vec![]), &[a.clone(), b.clone()], vec![], &want);
    let wide = lit(&[2, 2, 1], &[1.0, 1.0, 2.0, 2.0]);
    let n = || node("MatMul", &["a", "b"], &[], vec![]);
    check(13, n(), &[a, wide.clone()], vec![], &lit(&[2, 1, 1], &[1.0, 10.0]));
    let vector = lit(&[2], &[1.0, 10.0]);
    check(13, n(), &[vector.clone(), wide], vec![], &lit(&[2, 1], &[11.0, 22.0]));
    check(13, n(), &[vector.clone(), vector.clone()], vec![], &lit(&[], &[101.0]));
    check(13, n(), &[b, vector], vec![], &lit(&[1, 2], &[21.0, 43.0]));
}

#[test]
fn gemm_with_all_its_attributes() {
    let a = lit(&[2, 1], &[1.0, 2.0]);
    let b = lit(&[3, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    let attrs = vec![int("transA", 1), int("transB", 1), float("alpha", 2.0), float("beta", 10.0)];
    let n = node("Gemm", &["a", "b", "c"], &[], attrs);
    // A'B' is [1, 2, 3].
    check(11, n, &[a, b, lit(&[1], &[1.0])], vec![], &lit(&[1, 3], &[12.0, 14.0, 16.0]));
}

#[test]
fn einsum_sums_what_the_result_leaves_out() {
    let (a, b) = (seq(&[2, 2]), lit(&[2, 2], &[1.0, 2.0, 3.0, 4.0]));
    let n = |e: &str| node("Einsum", &["a", "b"], &[], vec![text("equation", e)]);
    check(12, n("ij,jk->ki"), &[a.clone(), b.clone()], vec![], &lit(&[2, 2], &[3.0, 11.0, 4.0, 16.0]));
    check(12, n("ij,ij"), &[a.clone(), b.clone()], vec![], &lit(&[], &[20.0]));
    check(
        12,
        n("i...,j...->ij..."),
        &[a.clone(), b],
        vec![],
        &lit(&[2, 2, 2], &[0.0, 2.0, 0.0, 4.0, 2.0, 6.0, 6.0, 12.0]),
    );
    let trace = node("Einsum", &["a"], &[], vec![text("equation", "ii->i")]);
    check(12, trace, &[a], vec![], &lit(&[2], &[0.0, 3.0]));
}

/// Both ways of writing a transposed convolution agree with its definition: every input element adds
/// its multiple of the kernel.
#[test]
fn transposed_convolution_adds_kernels() {
    let x = lit(&[1, 1, 2], &[1.0, 10.0]);
    let w = || f32s("w", &[1, 1, 2], &[1.0, 2.0]);
    let n = |attrs| node("ConvTranspose", &["a", "w"], &[], attrs);
    check(
        11,
        n(vec![ints("strides", &[2])]),
        from_ref(&x),
        vec![w()],
        &lit(&[1, 1, 4], &[1.0, 2.0, 10.0, 20.0]),
    );
    check(11, n(vec![]), from_ref(&x), vec![w()], &lit(&[1, 1, 3], &[1.0, 12.0, 20.0]));
    let wide = vec![ints("strides", &[3]), ints("output_padding", &[1])];
    check(11, n(wide), from_ref(&x), vec![w()], &lit(&[1, 1, 6], &[1.0, 2.0, 0.0, 10.0, 20.0, 0.0]));
    let cut = vec![ints("strides", &[2]), ints("pads", &[1, 1])];
    check(11, n(cut), from_ref(&x), vec![w()], &lit(&[1, 1, 2], &[2.0, 10.0]));
    let spread = vec![ints("dilations", &[2])];
    check(11, n(spread), from_ref(&x), vec![w()], &lit(&[1, 1, 4], &[1.0, 10.0, 2.0, 20.0]));
    // Two groups: each channel has its own kernel.
    let two = lit(&[1, 2, 1], &[1.0, 10.0]);
    let w = f32s("w", &[2, 1, 2], &[1.0, 2.0, 3.0, 4.0]);
    check(11, n(vec![int("group", 2)]), &[two], vec![w], &lit(&[1, 2, 2], &[1.0, 2.0, 30.0, 40.0]));
}

#[test]
fn convolution_pads_by_itself() {
    let x = lit(&[1, 1, 4], &[1.0, 2.0, 3.0, 4.0]);
    let w = || vec![f32s("w", &[1, 1, 2], &[1.0, 1.0]), f32s("bias", &[1], &[100.0])];
    let n = |auto: &str| node("Conv", &["a", "w", "bias"], &[], vec![text("auto_pad", auto)]);
    check(11, n("SAME_UPPER"), from_ref(&x), w(), &lit(&[1, 1, 4], &[103.0, 105.0, 107.0, 104.0]));
    check(11, n("SAME_LOWER"), from_ref(&x), w(), &lit(&[1, 1, 4], &[101.0, 103.0, 105.0, 107.0]));
    check(11, n("VALID"), &[x], w(), &lit(&[1, 1, 3], &[103.0, 105.0, 107.0]));
}

#[test]
fn pooling_counts_what_takes_part() {
    let x = lit(&[1, 1, 4], &[1.0, 2.0, 3.0, 4.0]);
    let n = |op: &str, more: Vec<_>| {
        let base = vec![ints("kernel_shape", &[3]), ints("strides", &[2])];
        node(op, &["a"], &[], base.into_iter().chain(more).collect())
    };
    let ceil = || int("ceil_mode", 1);
    let pads = || ints("pads", &[1, 1]);
    check(13, n("MaxPool", vec![]), from_ref(&x), vec![], &lit(&[1, 1, 1], &[3.0]));
    check(13, n("MaxPool", vec![ceil()]), from_ref(&x), vec![], &lit(&[1, 1, 2], &[3.0, 4.0]));
    check(13, n("AveragePool", vec![ceil()]), from_ref(&x), vec![], &lit(&[1, 1, 2], &[2.0, 3.5]));
    check(13, n("AveragePool", vec![pads()]), from_ref(&x), vec![], &lit(&[1, 1, 2], &[1.5, 3.0]));
    let include = vec![pads(), int("count_include_pad", 1)];
    check(13, n("AveragePool", include), from_ref(&x), vec![], &lit(&[1, 1, 2], &[1.0, 3.0]));
    // The last window would begin in the padding at the end: it does not count.
    let ones = node(
        "MaxPool",
        &["a"],
        &[],
        vec![ints("kernel_shape", &[1]), ints("strides", &[4]), ints("pads", &[0, 1]), ceil()],
    );
    check(13, ones, &[x], vec![], &lit(&[1, 1, 1], &[1.0]));
}

#[test]
fn gathering() {
    let x = seq(&[2, 3]);
    let i = |shape: &[usize], v: &[i64]| lit64(shape, v);
    let n = |op: &str, attrs| node(op, &["a", "b"], &[], attrs);
    check(
        13,
        n("Gather", vec![int("axis", 1)]),
        &[x.clone(), i(&[2], &[-1, 0])],
        vec![],
        &lit(&[2, 2], &[2.0, 0.0, 5.0, 3.0]),
    );
    check(
        13,
        n("GatherElements", vec![int("axis", 1)]),
        &[x.clone(), i(&[2, 1], &[2, 0])],
        vec![],
        &lit(&[2, 1], &[2.0, 3.0]),
    );
    check(
        13,
        n("GatherND", vec![]),
        &[x.clone(), i(&[2, 2], &[0, 1, 1, -1])],
        vec![],
        &lit(&[2], &[1.0, 5.0]),
    );
    check(13, n("GatherND", vec![]), &[x.clone(), i(&[1, 1], &[1])], vec![], &lit(&[1, 3], &[3.0, 4.0, 5.0]));
    check(
        13,
        n("GatherND", vec![int("batch_dims", 1)]),
        &[x, i(&[2, 1], &[2, 0])],
        vec![],
        &lit(&[2], &[2.0, 3.0]),
    );
    let hot = node("OneHot", &["a", "d", "v"], &[], vec![]);
    let stored = vec![i64s("d", &[], &[3]), f32s("v", &[2], &[0.0, 9.0])];
    check(13, hot, &[i(&[2], &[-1, 1])], stored, &lit(&[2, 3], &[0.0, 0.0, 9.0, 0.0, 9.0, 0.0]));
}

#[test]
fn extremes_by_place() {
    let x = lit(&[2, 3], &[1.0, 3.0, 3.0, 2.0, 1.0, 1.0]);
    let n = |op: &str, attrs| node(op, &["a"], &[], attrs);
    check(13, n("ArgMax", vec![int("axis", 1)]), from_ref(&x), vec![], &lit64(&[2, 1], &[1, 0]));
    let last = vec![int("axis", -1), int("select_last_index", 1), int("keepdims", 0)];
    check(13, n("ArgMax", last), from_ref(&x), vec![], &lit64(&[2], &[2, 0]));
    check(13, n("ArgMin", vec![int("axis", 1)]), &[x], vec![], &lit64(&[2, 1], &[0, 1]));
}

#[test]
fn remainders_take_the_sign_of_the_divisor() {
    let (a, b) = (lit64(&[4], &[7, -7, 7, -7]), lit64(&[4], &[3, 3, -3, -3]));
    let n = |attrs| node("Mod", &["a", "b"], &[], attrs);
    check(13, n(vec![]), &[a.clone(), b.clone()], vec![], &lit64(&[4], &[1, 2, -2, -1]));
    check(13, n(vec![int("fmod", 1)]), &[a, b], vec![], &lit64(&[4], &[1, -1, 1, -1]));
}

#[test]
fn functions_hold_near_zero_and_far_out() {
    let x = [-30.0f32, -2.0, -1e-4, 1e-4, 0.5, 2.0, 30.0];
    let f = |op: &str, f: fn(f64) -> f64, opset: i64, range: std::ops::Range<usize>| {
        let part = &x[range];
        let want: Vec<f32> = part.iter().map(|&v| f(v.into()) as f32).collect();
        let n = node(op, &["a"], &["y"], vec![]);
        let m = Model::new(opset, vec![n]).input("a", 1, &["N"]).output("y");
        let got = m.run(&[lit(&[part.len()], part)]).remove(0);
        for (i, &w) in want.iter().enumerate() {
            let g = got.get_f64(i) as f32;
            assert!((g - w).abs() <= 2e-6 * w.abs(), "{op}({}) = {g}, not {w}", part[i]);
        }
    };
    f("Sinh", f64::sinh, 13, 0..7);
    f("Cosh", f64::cosh, 13, 0..7);
    f("Asinh", f64::asinh, 13, 0..7);
    f("Atanh", f64::atanh, 13, 2..5);
    f("Acosh", f64::acosh, 13, 5..7);
    f("Asin", f64::asin, 13, 2..5);
    f("Acos", f64::acos, 13, 2..5);
    f("Tan", f64::tan, 13, 1..6);
    f("Softplus", |v| v.exp().ln_1p(), 13, 0..7);
    f("Mish", |v| v * v.exp().ln_1p().tanh(), 18, 1..7);
    f("Sigmoid", |v| 1.0 / (1.0 + (-v).exp()), 13, 0..7);
    f("HardSwish", |v| v * (v / 6.0 + 0.5).clamp(0.0, 1.0), 14, 0..7);
}

#[test]
fn rearranging_blocks() {
    let x = seq(&[1, 4, 1, 1]);
    let n = |op: &str| node(op, &["a"], &[], vec![int("blocksize", 2)]);
    check(13, n("DepthToSpace"), from_ref(&x), vec![], &lit(&[1, 1, 2, 2], &[0.0, 1.0, 2.0, 3.0]));
    check(13, n("SpaceToDepth"), &[seq(&[1, 1, 2, 2])], vec![], &x);
    let tile = node("Tile", &["a", "r"], &[], vec![]);
    let want = lit(&[2, 4], &[0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
    check(13, tile, &[seq(&[1, 2])], vec![i64s("r", &[2], &[2, 2])], &want);
    let lower = node("Trilu", &["a"], &[], vec![int("upper", 0)]);
    check(14, lower, &[lit(&[2, 2], &[1.0, 2.0, 3.0, 4.0])], vec![], &lit(&[2, 2], &[1.0, 0.0, 3.0, 4.0]));
}

#[test]
fn quantization_rounds_and_saturates() {
    let x = lit(&[4], &[-1000.0, 2.5, 3.5, 1000.0]);
    let zero = fornax_onnx::proto::TensorProto { data_type: 3, int32_data: vec![10], ..f32s("z", &[], &[]) };
    let stored = || vec![f32s("s", &[], &[1.0]), zero.clone()];
    let nodes = vec![
        node("QuantizeLinear", &["a", "s", "z"], &["q"], vec![]),
        node("DequantizeLinear", &["q", "s", "z"], &["y"], vec![]),
    ];
    let mut m = Model::new(13, nodes).input("a", 1, &["4"]).output("y");
    m.graph().initializer = stored();
    close(&m.run(&[x])[0], &lit(&[4], &[-138.0, 2.0, 4.0, 117.0]));
}

#[test]
fn ranges_follow_extents() {
    let nodes = vec![
        node("Shape", &["x"], &["s"], vec![]),
        node("Squeeze", &["s"], &["n"], vec![]),
        node("Range", &["start", "n", "step"], &["y"], vec![]),
    ];
    let m = Model::new(13, nodes)
        .input("x", 1, &["N"])
        .stored(i64s("start", &[], &[1]))
        .stored(i64s("step", &[], &[2]))
        .output("y");
    close(&m.run(&[lit(&[6], &[0.0; 6])])[0], &lit64(&[3], &[1, 3, 5]));
    close(&m.run(&[lit(&[1], &[0.0])])[0], &lit64(&[0], &[]));
}

/// Where all scores of a row are equal, its result is the mean of the values that it sees.
#[test]
fn attention_sees_what_masks_leave() {
    let n = |attrs| node("Attention", &["a", "k", "v"], &[], attrs);
    let q = lit(&[1, 2, 3, 1], &[0.0; 6]);
    let stored = |heads: usize, v: &[f32]| {
        let shape = [1, heads as i64, (v.len() / heads) as i64, 1];
        vec![f32s("k", &shape, &vec![7.0; v.len()]), f32s("v", &shape, v)]
    };
    let means = lit(&[1, 2, 3, 1], &[2.0, 2.0, 2.0, 20.0, 20.0, 20.0]);
    check(23, n(vec![]), from_ref(&q), stored(2, &[1.0, 2.0, 3.0, 10.0, 20.0, 30.0]), &means);
    let causal = lit(&[1, 2, 3, 1], &[1.0, 1.5, 2.0, 1.0, 1.5, 2.0]);
    // Both heads share keys and values.
    check(23, n(vec![int("is_causal", 1)]), from_ref(&q), stored(1, &[1.0, 2.0, 3.0]), &causal);
    let seen = Literal::from_bytes(fornax_ir::DType::Bool, &[3, 3], vec![1, 0, 1, 0, 0, 0, 0, 1, 0].into());
    let n = node("Attention", &["a", "k", "v", "b"], &[], vec![]);
    let want = lit(&[1, 2, 3, 1], &[2.0, 0.0, 2.0, 2.0, 0.0, 2.0]);
    check(23, n, &[q, seen.unwrap()], stored(1, &[1.0, 2.0, 3.0]), &want);
}

#[test]
fn attention_of_heads_side_by_side_and_with_a_past() {
    let heads = || vec![int("q_num_heads", 2), int("kv_num_heads", 2), float("scale", 1.0)];
    let n = node("Attention", &["a", "k", "v"], &[], heads());
    let stored = |shape: &[i64]| {
        vec![
            f32s("k", shape, &[0.0, 1.0, std::f32::consts::LN_2, 1.0]),
            f32s("v", shape, &[0.0, 4.0, 3.0, 8.0]),
        ]
    };
    // Weights of the first head are 1/3 and 2/3, those of the second 1/2.
    let q = lit(&[1, 1, 2], &[1.0, 5.0]);
    check(23, n, from_ref(&q), stored(&[1, 2, 2]), &lit(&[1, 1, 2], &[2.0, 6.0]));
    let n = node("Attention", &["a", "k", "v"], &[], vec![int("q_num_heads", 2)]);
    let mut model = Model::new(23, vec![NodeProto { output: vec!["y".into()], ..n }]).output("y");
    model = model.input("a", 1, &["1", "1", "2"]).stored(f32s("k", &[1, 1, 2], &[0.0; 2]));
    assert!(model.stored(f32s("v", &[1, 1, 2], &[0.0; 2])).error().contains("numbers of heads"));
    // A row behind one of the past sees both.
    let n = node("Attention", &["a", "k", "v", "", "pk", "pv"], &[], vec![int("is_causal", 1)]);
    let one = |name: &str, x: f32| f32s(name, &[1, 1, 1, 1], &[x]);
    let stored = vec![one("k", 2.0), one("v", 4.0), one("pk", 2.0), one("pv", 8.0)];
    check(24, n, &[lit(&[1, 1, 1, 1], &[3.0])], stored, &lit(&[1, 1, 1, 1], &[6.0]));
}
