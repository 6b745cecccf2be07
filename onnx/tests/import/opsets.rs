//! Operators whose meaning or form depends on the opset.

use crate::build::*;

#[test]
fn softmax_was_over_all_further_axes() {
    let x = lit(&[1, 2, 2], &[0.0, 0.0, 0.0, 0.0]);
    check(
        12,
        node("Softmax", &["a"], &[], vec![]),
        std::slice::from_ref(&x),
        vec![],
        &lit(&[1, 2, 2], &[0.25; 4]),
    );
    check(
        13,
        node("Softmax", &["a"], &[], vec![]),
        std::slice::from_ref(&x),
        vec![],
        &lit(&[1, 2, 2], &[0.5; 4]),
    );
    let log = lit(&[1, 2, 2], &[0.5f32.ln(); 4]);
    check(13, node("LogSoftmax", &["a"], &[], vec![int("axis", 1)]), &[x], vec![], &log);
}

#[test]
fn axes_were_attributes() {
    let x = lit(&[1, 2, 1], &[1.0, 2.0]);
    let axes = || vec![i64s("axes", &[1], &[-1])];
    let old = |op: &str| node(op, &["a"], &[], vec![ints("axes", &[-1])]);
    let new = |op: &str| node(op, &["a", "axes"], &[], vec![]);
    for (op, shape) in [("Squeeze", vec![1, 2]), ("Unsqueeze", vec![1, 2, 1, 1])] {
        let want = lit(&shape, &[1.0, 2.0]);
        check(11, old(op), std::slice::from_ref(&x), vec![], &want);
        check(13, new(op), std::slice::from_ref(&x), axes(), &want);
    }
    let rows = lit(&[2, 2], &[1.0, 2.0, 3.0, 5.0]);
    let sums = lit(&[2, 1], &[3.0, 8.0]);
    check(11, old("ReduceSum"), std::slice::from_ref(&rows), vec![], &sums);
    check(13, new("ReduceSum"), std::slice::from_ref(&rows), axes(), &sums);
    let means = lit(&[2, 1], &[1.5, 4.0]);
    check(13, old("ReduceMean"), std::slice::from_ref(&rows), vec![], &means);
    check(18, new("ReduceMean"), std::slice::from_ref(&rows), axes(), &means);
    let nothing = node("ReduceSum", &["a"], &[], vec![int("noop_with_empty_axes", 1)]);
    check(13, nothing, std::slice::from_ref(&rows), vec![], &rows);
    let all = node("ReduceProd", &["a"], &[], vec![int("keepdims", 0)]);
    check(13, all, &[rows], vec![], &lit(&[], &[30.0]));
}

#[test]
fn bounds_were_attributes() {
    let x = lit(&[3], &[-5.0, 0.5, 5.0]);
    let want = lit(&[3], &[-1.0, 0.5, 2.0]);
    let old = node("Clip", &["a"], &[], vec![float("min", -1.0), float("max", 2.0)]);
    check(7, old, std::slice::from_ref(&x), vec![], &want);
    let stored = || vec![f32s("lo", &[], &[-1.0]), f32s("hi", &[1], &[2.0])];
    check(11, node("Clip", &["a", "lo", "hi"], &[], vec![]), std::slice::from_ref(&x), stored(), &want);
    let half = lit(&[3], &[-5.0, 0.5, 2.0]);
    check(13, node("Clip", &["a", "", "hi"], &[], vec![]), &[x], stored(), &half);
}

#[test]
fn slices_were_attributes() {
    let x = lit(&[2, 4], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let want = lit(&[2, 2], &[1.0, 2.0, 5.0, 6.0]);
    let old = vec![ints("starts", &[1]), ints("ends", &[-1]), ints("axes", &[1])];
    check(9, node("Slice", &["a"], &[], old), std::slice::from_ref(&x), vec![], &want);
    let new = |s: i64, e: i64, step: i64| {
        vec![i64s("s", &[1], &[s]), i64s("e", &[1], &[e]), i64s("ax", &[1], &[-1]), i64s("st", &[1], &[step])]
    };
    let n = || node("Slice", &["a", "s", "e", "ax", "st"], &[], vec![]);
    check(10, n(), std::slice::from_ref(&x), new(1, -1, 1), &want);
    let backwards = lit(&[2, 2], &[3.0, 1.0, 7.0, 5.0]);
    check(13, n(), std::slice::from_ref(&x), new(-1, i64::MIN, -2), &backwards);
    check(13, n(), std::slice::from_ref(&x), new(2, i64::MAX, 1), &lit(&[2, 2], &[2.0, 3.0, 6.0, 7.0]));
    check(13, n(), std::slice::from_ref(&x), new(3, 1, 1), &lit(&[2, 0], &[]));
    check(13, n(), &[x], new(-100, 1, 1), &lit(&[2, 1], &[0.0, 4.0]));
}

#[test]
fn pads_were_attributes() {
    let x = lit(&[3], &[1.0, 2.0, 3.0]);
    let want = lit(&[6], &[9.0, 9.0, 1.0, 2.0, 3.0, 9.0]);
    let old = vec![ints("pads", &[2, 1]), float("value", 9.0)];
    check(10, node("Pad", &["a"], &[], old), std::slice::from_ref(&x), vec![], &want);
    let stored = || vec![i64s("p", &[2], &[2, 1]), f32s("v", &[], &[9.0]), i64s("n", &[2], &[-1, 1])];
    check(11, node("Pad", &["a", "p", "v"], &[], vec![]), std::slice::from_ref(&x), stored(), &want);
    for (mode, want) in [
        ("reflect", [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]),
        ("edge", [1.0, 1.0, 1.0, 2.0, 3.0, 3.0]),
        ("wrap", [2.0, 3.0, 1.0, 2.0, 3.0, 1.0]),
    ] {
        let n = node("Pad", &["a", "p"], &[], vec![text("mode", mode)]);
        check(19, n, std::slice::from_ref(&x), stored(), &lit(&[6], &want));
    }
    let cut = node("Pad", &["a", "n"], &[], vec![]);
    check(13, cut, &[x], stored(), &lit(&[3], &[2.0, 3.0, 0.0]));
}

#[test]
fn upsample_became_resize() {
    let x = lit(&[1, 1, 2], &[1.0, 3.0]);
    let twice = lit(&[1, 1, 4], &[1.0, 1.0, 3.0, 3.0]);
    let scales = || f32s("s", &[3], &[1.0, 1.0, 2.0]);
    let seven = node("Upsample", &["a"], &[], vec![floats("scales", &[1.0, 1.0, 2.0])]);
    check(7, seven, std::slice::from_ref(&x), vec![], &twice);
    check(9, node("Upsample", &["a", "s"], &[], vec![]), std::slice::from_ref(&x), vec![scales()], &twice);
    check(10, node("Resize", &["a", "s"], &[], vec![]), std::slice::from_ref(&x), vec![scales()], &twice);
    let n = |attrs| node("Resize", &["a", "", "s"], &[], attrs);
    check(11, n(vec![]), std::slice::from_ref(&x), vec![scales()], &twice);
    let linear = n(vec![text("mode", "linear")]);
    check(13, linear, std::slice::from_ref(&x), vec![scales()], &lit(&[1, 1, 4], &[1.0, 1.5, 2.5, 3.0]));
    let corners = vec![text("mode", "linear"), text("coordinate_transformation_mode", "align_corners")];
    let want = lit(&[1, 1, 4], &[1.0, 5.0 / 3.0, 7.0 / 3.0, 3.0]);
    check(13, n(corners), std::slice::from_ref(&x), vec![scales()], &want);
    let sizes = node("Resize", &["a", "", "", "z"], &[], vec![]);
    check(13, sizes, &[x], vec![i64s("z", &[3], &[1, 1, 3])], &lit(&[1, 1, 3], &[1.0, 1.0, 3.0]));
}

#[test]
fn dropout_passes_through() {
    let x = lit(&[2], &[1.0, 2.0]);
    check(7, node("Dropout", &["a"], &[], vec![float("ratio", 0.9)]), std::slice::from_ref(&x), vec![], &x);
    check(13, node("Dropout", &["a"], &[], vec![]), std::slice::from_ref(&x), vec![], &x);
    let m =
        Model::new(13, vec![node("Dropout", &["x"], &["d", "m"], vec![])]).input("x", 1, &["2"]).output("m");
    assert_eq!(m.run(&[x])[0].dtype(), fornax_ir::DType::Bool);
}

#[test]
fn splits_take_sizes_from_three_places() {
    let x = lit(&[5], &[0.0, 1.0, 2.0, 3.0, 4.0]);
    let run = |opset: i64, n, stored| {
        let mut m = Model::new(opset, vec![n]).input("a", 1, &["5"]).output("p").output("q");
        m.graph().initializer = stored;
        m.run(std::slice::from_ref(&x))
    };
    let by_attribute = node("Split", &["a"], &["p", "q"], vec![ints("split", &[2, 3])]);
    assert_eq!(run(11, by_attribute, vec![])[1].shape(), [3]);
    let by_operand = node("Split", &["a", "s"], &["p", "q"], vec![]);
    assert_eq!(run(13, by_operand, vec![i64s("s", &[2], &[1, 4])])[1].get_f64(0), 1.0);
    let by_count = node("Split", &["a"], &["p", "q"], vec![int("num_outputs", 2)]);
    let parts = run(18, by_count, vec![]);
    assert_eq!((parts[0].shape(), parts[1].shape()), (&[3][..], &[2][..]));
}

#[test]
fn group_norm_scales_by_group_then_by_channel() {
    let x = lit(&[1, 2, 2], &[1.0, 3.0, 5.0, 9.0]);
    let n = || {
        node("GroupNormalization", &["a", "s", "b"], &[], vec![int("num_groups", 1), float("epsilon", 0.0)])
    };
    // Mean 4.5, variance 8.75.
    let z: Vec<f32> = [1.0, 3.0, 5.0, 9.0].iter().map(|v| (v - 4.5) / 8.75f32.sqrt()).collect();
    let per_group = vec![f32s("s", &[1], &[2.0]), f32s("b", &[1], &[1.0])];
    let want: Vec<f32> = z.iter().map(|v| v * 2.0 + 1.0).collect();
    check(18, n(), std::slice::from_ref(&x), per_group, &lit(&[1, 2, 2], &want));
    let per_channel = vec![f32s("s", &[2], &[2.0, 3.0]), f32s("b", &[2], &[1.0, 0.0])];
    let want = [z[0] * 2.0 + 1.0, z[1] * 2.0 + 1.0, z[2] * 3.0, z[3] * 3.0];
    check(21, n(), &[x], per_channel, &lit(&[1, 2, 2], &want));
}
