//! Kernels of known kinds, native against the interpreter.

mod support;

use fornax_ir::dtype::DType;
use fornax_ir::kernel::{Affine, Buf, IndexVar, Inst, Kernel, Mask, Order, Schedule, Size};
use fornax_ir::scalar::{BinaryOp, CompareOp, ReduceOp, Scalar, UnaryOp};
use support::build::*;
use support::check;

const F32: DType = DType::F32;

/// `out[m, n] = sum over k of a[m, k] * b[k, n] + bias[n]`.
fn matmul(m: i64, n: i64, k: i64, vecs: u32, rows: u32, unroll: u32) -> Kernel {
    let mut b = Body::default();
    let x = b.load(0, F32, at(0, &[(0, k), (2, 1)]));
    let y = b.load(1, F32, at(0, &[(2, n), (1, 1)]));
    let xy = b.bin(BinaryOp::Mul, x, y);
    let sum = b.acc(ReduceOp::Sum, Order::Chain, xy, Mask::new());
    let bias = b.load(2, F32, at(0, &[(1, 1)]));
    let out = b.bin(BinaryOp::Add, sum, bias);
    b.store(3, at(0, &[(0, n), (1, 1)]), out);
    let stage = b.stage(vec![par(c(m)), par(c(n)), red(c(k))]);
    let buffers = vec![read(F32), read(F32), read(F32), write(F32)];
    kernel("matmul", buffers, 0, stage, schedule(Some((1, vecs)), Some((0, rows)), unroll))
}

fn floats(rng: &mut Rng, n: i64) -> Vec<u8> {
    elements(rng, F32, n as usize, false)
}

#[test]
fn matmul_of_any_size_and_tile() {
    let mut rng = Rng::new(1);
    for (m, n, k) in [(1, 1, 1), (7, 5, 3), (6, 12, 9), (13, 29, 31), (4, 8, 0), (0, 3, 2), (5, 0, 2)] {
        for (vecs, rows, unroll) in [(1, 1, 1), (2, 6, 4), (3, 4, 2), (3, 6, 3)] {
            let mut kernel = matmul(m, n, k, vecs, rows, unroll);
            let bufs = vec![
                floats(&mut rng, m * k),
                floats(&mut rng, k * n),
                floats(&mut rng, n),
                vec![0; (m * n * 4) as usize],
            ];
            assert!(check(&kernel, &bufs, &[]) || n < 4 || m == 0);
            kernel.schedule.parallel = vec![(0, 4), (1, 10)];
            kernel.schedule.stages[0].order = vec![1, 0, 2];
            check(&kernel, &bufs, &[]);
        }
    }
}

#[test]
fn matmul_with_sizes_and_strides_as_arguments() {
    let mut rng = Rng::new(2);
    // Scalars: m, n, k.
    let (m, n, k) = (Size::Arg(0), Size::Arg(1), Size::Arg(2));
    let mut b = Body::default();
    let x = b.load(0, F32, at_sizes(c(0), &[(0, k), (2, c(1))]));
    let y = b.load(1, F32, at_sizes(c(0), &[(2, n), (1, c(1))]));
    let xy = b.bin(BinaryOp::Mul, x, y);
    let sum = b.acc(ReduceOp::Sum, Order::Chain, xy, Mask::new());
    b.store(2, at_sizes(c(0), &[(0, n), (1, c(1))]), sum);
    let stage = b.stage(vec![par(m), par(n), red(k)]);
    let mut kernel = kernel(
        "matmul",
        vec![read(F32), read(F32), write(F32)],
        3,
        stage,
        schedule(Some((1, 2)), Some((0, 6)), 4),
    );
    kernel.schedule.parallel = vec![(0, 8)];
    for (m, n, k) in [(17, 21, 13), (6, 8, 4), (1, 3, 0), (0, 5, 5), (9, 40, 1)] {
        let bufs = vec![floats(&mut rng, m * k), floats(&mut rng, k * n), vec![0; (m * n * 4) as usize]];
        check(&kernel, &bufs, &[m, n, k]);
    }
}

#[test]
fn blocks_of_rows_are_copied_and_give_the_same() {
    let mut rng = Rng::new(3);
    for (m, n, k) in [(1, 1, 1), (7, 5, 3), (29, 40, 33), (36, 7, 16), (41, 12, 70), (0, 3, 2)] {
        for (rows, block) in [(1, 3), (2, 2), (4, 12), (6, 12), (6, 600)] {
            let mut kernel = matmul(m, n, k, 2, rows, 2);
            kernel.schedule.stages[0].block = vec![(0, block)];
            let bufs = vec![
                floats(&mut rng, m * k),
                floats(&mut rng, k * n),
                floats(&mut rng, n),
                vec![0; (m * n * 4) as usize],
            ];
            check(&kernel, &bufs, &[]);
            for (chunk, order) in [(i64::from(rows), vec![1, 0, 2]), (5, vec![])] {
                kernel.schedule.parallel = vec![(0, chunk)];
                kernel.schedule.stages[0].order = order;
                check(&kernel, &bufs, &[]);
            }
            kernel.schedule.stages[0].block = vec![(1, 9), (0, block)];
            check(&kernel, &bufs, &[]);
            kernel.schedule.parallel = vec![(1, 10), (0, 3)];
            check(&kernel, &bufs, &[]);
        }
    }
}

struct Conv {
    channels: i64,
    filters: i64,
    groups: i64,
    size: (i64, i64),
    window: (i64, i64),
    pad: i64,
    stride: i64,
    dilation: i64,
}

/// Axes: filter, oh, ow; channel within the group, kh, kw. NCHW, vectorised along ow.
fn conv(s: &Conv, vecs: u32, rows: u32, rows_axis: u32, stride_is_unit: bool) -> (Kernel, [i64; 3]) {
    let ((h, w), (kh, kw)) = (s.size, s.window);
    let out = |n: i64, k: i64| (n + 2 * s.pad - s.dilation * (k - 1) - 1) / s.stride + 1;
    let (oh, ow) = (out(h, kh), out(w, kw));
    let (per, each) = (s.channels / s.groups, s.filters / s.groups);
    assert!(s.groups == 1 || each == 1, "an index of the group as an axis needs one filter a group");
    let row = within(at(-s.pad, &[(1, s.stride), (4, s.dilation)]), h);
    let col = within(at(-s.pad, &[(2, s.stride), (5, s.dilation)]), w);
    let m = mask(&[row, col]);
    let mut b = Body::default();
    let group = if s.groups == 1 { 0 } else { per * h * w };
    let terms =
        [(0, group), (3, h * w), (1, s.stride * w), (4, s.dilation * w), (2, s.stride), (5, s.dilation)];
    let x = b.load_if(Buf::Arg(0), F32, at(-s.pad * w - s.pad, &terms), m.clone());
    let y = b.load(1, F32, at(0, &[(0, per * kh * kw), (3, kh * kw), (4, kw), (5, 1)]));
    let xy = b.bin(BinaryOp::Mul, x, y);
    let sum = b.acc(ReduceOp::Sum, Order::Chain, xy, if stride_is_unit { m } else { m.clone() });
    let zero = b.scalar(Scalar::f32(0.0));
    let relu = b.bin(BinaryOp::Max, sum, zero);
    b.store(2, at(0, &[(0, oh * ow), (1, ow), (2, 1)]), relu);
    let axes = vec![par(c(s.filters)), par(c(oh)), par(c(ow)), red(c(per)), red(c(kh)), red(c(kw))];
    let kernel = kernel(
        "conv",
        vec![read(F32), read(F32), write(F32)],
        0,
        b.stage(axes),
        schedule(Some((2, vecs)), Some((rows_axis, rows)), 2),
    );
    (kernel, [s.channels * h * w, s.filters * per * kh * kw, s.filters * oh * ow])
}

#[test]
fn convolutions_with_padding_stride_dilation_and_groups() {
    let mut rng = Rng::new(3);
    let base = Conv {
        channels: 3,
        filters: 5,
        groups: 1,
        size: (9, 17),
        window: (3, 3),
        pad: 1,
        stride: 1,
        dilation: 1,
    };
    let cases = [
        Conv { ..base },
        Conv { stride: 2, ..base },
        Conv { dilation: 2, pad: 2, ..base },
        Conv { window: (1, 1), pad: 0, ..base },
        Conv { window: (5, 3), pad: 2, size: (6, 6), ..base },
        Conv { channels: 4, filters: 4, groups: 4, ..base },
        Conv { size: (2, 2), pad: 3, window: (3, 3), ..base },
        Conv { size: (1, 40), window: (1, 7), pad: 0, ..base },
    ];
    for case in &cases {
        for (vecs, rows, axis) in [(1, 1, 0), (2, 4, 0), (1, 3, 1)] {
            let (kernel, [x, y, out]) = conv(case, vecs, rows, axis, case.stride == 1);
            let bufs = vec![floats(&mut rng, x), floats(&mut rng, y), vec![0; out as usize * 4]];
            check(&kernel, &bufs, &[]);
        }
    }
}

#[test]
fn max_pool_with_padding_leaves_padded_points_out() {
    let mut rng = Rng::new(4);
    let (h, w, k, pad, stride) = (7i64, 19i64, 3i64, 1i64, 1i64);
    let (oh, ow) = ((h + 2 * pad - k) / stride + 1, (w + 2 * pad - k) / stride + 1);
    let m = mask(&[within(at(-pad, &[(1, stride), (3, 1)]), h), within(at(-pad, &[(2, stride), (4, 1)]), w)]);
    let mut b = Body::default();
    let terms = [(0, h * w), (1, stride * w), (3, w), (2, stride), (4, 1)];
    let x = b.load_if(Buf::Arg(0), F32, at(-pad * w - pad, &terms), m.clone());
    let max = b.acc(ReduceOp::Max, Order::Chain, x, m);
    b.store(1, at(0, &[(0, oh * ow), (1, ow), (2, 1)]), max);
    let stage = b.stage(vec![par(c(2)), par(c(oh)), par(c(ow)), red(c(k)), red(c(k))]);
    for (vecs, rows) in [(1, 1), (2, 2), (4, 3)] {
        let stage = stage.clone();
        let kernel = kernel(
            "pool",
            vec![read(F32), write(F32)],
            0,
            stage,
            schedule(Some((2, vecs)), Some((1, rows)), 3),
        );
        let bufs =
            vec![elements(&mut rng, F32, (2 * h * w) as usize, true), vec![0; (2 * oh * ow * 4) as usize]];
        check(&kernel, &bufs, &[]);
    }
}

fn reduce(
    op: ReduceOp,
    order: Order,
    dtype: DType,
    rows: i64,
    n: Size,
    inner: bool,
    vector: Option<(u32, u32)>,
) -> Kernel {
    let mut b = Body::default();
    let x = if inner {
        b.load(0, dtype, at_sizes(c(0), &[(0, n), (1, c(1))]))
    } else {
        b.load(0, dtype, at_sizes(c(0), &[(1, c(rows)), (0, c(1))]))
    };
    let y = b.acc(op, order, x, Mask::new());
    let two = b.bin(BinaryOp::Add, x, x);
    let z = b.acc(op, order, two, Mask::new());
    let yz = b.bin(BinaryOp::Sub, z, y);
    b.store(1, at(0, &[(0, 1)]), yz);
    let stage = b.stage(vec![par(c(rows)), red(n)]);
    let rows_axis = vector.is_none_or(|v| v.0 != 0).then_some((0, 3));
    kernel("reduce", vec![read(dtype), write(dtype)], 1, stage, schedule(vector, rows_axis, 4))
}

#[test]
fn reductions_along_and_across_of_every_length() {
    let mut rng = Rng::new(5);
    for dtype in [F32, DType::F64, DType::I32, DType::I64, DType::U8] {
        for n in [0, 1, 5, 31, 32, 33, 64, 100, 128, 256] {
            for (op, order) in [
                (ReduceOp::Sum, Order::Interleaved),
                (ReduceOp::Sum, Order::Chain),
                (ReduceOp::Max, Order::Interleaved),
                (ReduceOp::Min, Order::Chain),
                (ReduceOp::Prod, Order::Interleaved),
            ] {
                let rows = 9;
                let bytes = elements(&mut rng, dtype, (rows * n) as usize, op == ReduceOp::Max);
                let bufs = vec![bytes, vec![0; rows as usize * dtype.bytes()]];
                let along = order == Order::Interleaved
                    || !matches!(op, ReduceOp::Sum | ReduceOp::Prod)
                    || !dtype.is_float();
                for (inner, vector) in [
                    (true, along.then_some((1, 8))),
                    (false, Some((0, 2))),
                    (true, None),
                    (true, Some((0, 1))),
                ] {
                    let size = if n % 2 == 0 { c(n) } else { Size::Arg(0) };
                    let vectors = check(&reduce(op, order, dtype, rows, size, inner, vector), &bufs, &[n]);
                    let able = dtype.is_float() || dtype == DType::I32;
                    let contiguous = vector.is_some_and(|v| !inner || v.0 == 1);
                    assert!(vectors || !able || !contiguous || n == 0, "{dtype} {op} {order} {inner} {n}");
                }
            }
        }
    }
}

#[test]
fn reduce_axes_that_are_walked_as_one_are_one() {
    // A mean over height and width, and a sum over five axes; the second load keeps its axes apart.
    let mut rng = Rng::new(10);
    for (extents, apart) in
        [(vec![7i64, 7], false), (vec![7, 7], true), (vec![2, 3, 2, 3, 4], false), (vec![5, 0, 2], false)]
    {
        let n: i64 = extents.iter().product();
        let mut b = Body::default();
        let mut terms = vec![(0, n)];
        let mut pitch = 1;
        for (i, e) in extents.iter().enumerate().rev() {
            terms.push((i as u32 + 1, pitch));
            pitch *= e;
        }
        let mut x = b.load(0, F32, at(0, &terms));
        if apart {
            let y = b.load(1, F32, at(0, &[(1, 1)]));
            x = b.bin(BinaryOp::Mul, x, y);
        }
        let sum = b.acc(ReduceOp::Sum, Order::Interleaved, x, Mask::new());
        b.store(2, at(0, &[(0, 1)]), sum);
        let last = extents.len() as u32;
        let axes = std::iter::once(par(c(3))).chain(extents.iter().map(|&e| red(c(e)))).collect();
        let buffers = vec![read(F32), read(F32), write(F32)];
        let kernel = kernel("mean", buffers, 0, b.stage(axes), schedule(Some((last, 8)), None, 1));
        let bufs = vec![floats(&mut rng, 3 * n), floats(&mut rng, 9), vec![0; 12]];
        assert_eq!(check(&kernel, &bufs, &[]), !apart);
    }
}

#[test]
fn softmax_in_four_stages_with_a_local_row() {
    let mut rng = Rng::new(6);
    let stage_load = |b: &mut Body, n: Size| b.load(0, F32, at_sizes(c(0), &[(0, n), (1, c(1))]));
    for (rows, n) in [(5, 7), (3, 32), (2, 197), (0, 4), (4, 1)] {
        for size in [c(n), Size::Arg(0)] {
            let scalar = at(0, &[]);
            let row = at(0, &[(1, 1)]);
            let mut max = Body::default();
            let x = stage_load(&mut max, size);
            let m = max.acc(ReduceOp::Max, Order::Interleaved, x, Mask::new());
            max.store_if(Buf::Local(0), scalar.clone(), m, Mask::new());
            let mut exp = Body::default();
            let x = stage_load(&mut exp, size);
            let m = exp.load_if(Buf::Local(0), F32, scalar.clone(), Mask::new());
            let d = exp.bin(BinaryOp::Sub, x, m);
            let e = exp.un(UnaryOp::Exp, d);
            exp.store_if(Buf::Local(1), row.clone(), e, Mask::new());
            let mut sum = Body::default();
            let e = sum.load_if(Buf::Local(1), F32, row.clone(), Mask::new());
            let s = sum.acc(ReduceOp::Sum, Order::Interleaved, e, Mask::new());
            sum.store_if(Buf::Local(0), at(1, &[]), s, Mask::new());
            let mut out = Body::default();
            let e = out.load_if(Buf::Local(1), F32, row.clone(), Mask::new());
            let s = out.load_if(Buf::Local(0), F32, at(1, &[]), Mask::new());
            let q = out.bin(BinaryOp::Div, e, s);
            out.store(1, at_sizes(c(0), &[(0, size), (1, c(1))]), q);
            let along = schedule(Some((1, 8)), None, 1);
            let mut kernel = Kernel {
                name: "softmax".to_owned(),
                buffers: vec![read(F32), write(F32)],
                scalars: 1,
                locals: vec![local(F32, c(2)), local(F32, size)],
                outer: vec![par(c(rows))],
                stages: vec![
                    max.stage(vec![red(size)]),
                    exp.stage(vec![par(size)]),
                    sum.stage(vec![red(size)]),
                    out.stage(vec![par(size)]),
                ],
                library: None,
                schedule: Schedule {
                    parallel: vec![(0, 2)],
                    stages: vec![
                        along.clone(),
                        schedule(Some((1, 2)), None, 1),
                        along,
                        schedule(Some((1, 1)), None, 2),
                    ],
                    block: None,
                },
            };
            let bufs = vec![floats(&mut rng, rows * n), vec![0; (rows * n * 4) as usize]];
            for (chunk, block) in [(2, None), (2, Some((0, 2))), (4, Some((0, 2))), (3, Some((0, 1)))] {
                (kernel.schedule.parallel, kernel.schedule.block) = (vec![(0, chunk)], block);
                check(&kernel, &bufs, &[n]);
            }
        }
    }
}

#[test]
fn pads_and_concatenations_in_both_directions() {
    let mut rng = Rng::new(7);
    // Concatenation along the inner axis, then along the outer one; a pad on all sides.
    for (inner, vecs) in [(true, 2), (false, 2), (true, 1)] {
        let (a, b_len, other) = (13i64, 22i64, 6i64);
        let (axis, len) = (if inner { 1 } else { 0 }, a + b_len);
        let pitch = |n: i64| if inner { vec![(0, n), (1, 1)] } else { vec![(0, other), (1, 1)] };
        let first = mask(&[within(at(0, &[(axis, 1)]), a)]);
        let second = mask(&[within(at(-a, &[(axis, 1)]), b_len)]);
        let mut b = Body::default();
        let x = b.load_if(Buf::Arg(0), F32, at(0, &pitch(a)), first.clone());
        let start = if inner { -a } else { -a * other };
        let y = b.load_if(Buf::Arg(1), F32, at(start, &pitch(b_len)), second);
        let which = b.push(Inst::InRange(first), DType::Bool);
        let out = b.select(which, x, y);
        b.store(2, at(0, &pitch(len)), out);
        let axes = if inner { vec![par(c(other)), par(c(len))] } else { vec![par(c(len)), par(c(other))] };
        let kernel = kernel(
            "concat",
            vec![read(F32), read(F32), write(F32)],
            0,
            b.stage(axes),
            schedule(Some((1, vecs)), Some((0, 3)), 1),
        );
        let bufs = vec![
            floats(&mut rng, a * other),
            floats(&mut rng, b_len * other),
            vec![0; (len * other * 4) as usize],
        ];
        check(&kernel, &bufs, &[]);
    }
    let (h, w) = (5i64, 11i64);
    let m = mask(&[within(at(-2, &[(0, 1)]), h), within(at(-3, &[(1, 1)]), w)]);
    let mut b = Body::default();
    let x = b.load_if(Buf::Arg(0), F32, at(-2 * w - 3, &[(0, w), (1, 1)]), m);
    b.store(1, at(0, &[(0, w + 7), (1, 1)]), x);
    let kernel = kernel(
        "pad",
        vec![read(F32), write(F32)],
        0,
        b.stage(vec![par(c(h + 3)), par(c(w + 7))]),
        schedule(Some((1, 2)), Some((0, 2)), 1),
    );
    let bufs = vec![floats(&mut rng, h * w), vec![0; ((h + 3) * (w + 7) * 4) as usize]];
    check(&kernel, &bufs, &[]);
}

#[test]
fn gather_wraps_negative_indices_and_flags_the_ones_out_of_range() {
    let mut rng = Rng::new(8);
    let (table, row, count) = (7i64, 19i64, 10i64);
    for bad in [None, Some(7i64), Some(-8)] {
        let mut b = Body::default();
        let i = b.load(1, DType::I64, at(0, &[(0, 1)]));
        let zero = b.scalar(Scalar::i64(0));
        let n = b.scalar(Scalar::i64(table));
        let negative = b.cmp(CompareOp::Lt, i, zero);
        let up = b.bin(BinaryOp::Add, i, n);
        let j = b.select(negative, up, i);
        let index = Affine::new(c(0), [(IndexVar::Value(j), c(1))]);
        let m = mask(&[fornax_ir::kernel::InRange { index, limit: c(table) }]);
        let ok = b.push(Inst::InRange(m.clone()), DType::Bool);
        let wrong = b.un(UnaryOp::Not, ok);
        b.push(Inst::Raise { cond: wrong, detail: Size::Arg(0) }, DType::Bool);
        let place = Affine::new(c(0), [(IndexVar::Axis(1), c(1)), (IndexVar::Value(j), c(row))]);
        let x = b.load_if(Buf::Arg(0), F32, place, m);
        b.store(2, at(0, &[(0, row), (1, 1)]), x);
        let stage = b.stage(vec![par(c(count)), par(c(row))]);
        let kernel = kernel(
            "gather",
            vec![read(F32), read(DType::I64), write(F32)],
            1,
            stage,
            schedule(Some((1, 2)), None, 1),
        );
        let mut index: Vec<i64> = (0..count).map(|k| (k * 5) % (2 * table) - table).collect();
        if let Some(bad) = bad {
            index[3] = bad;
        }
        let index = index.iter().flat_map(|i| i.to_le_bytes()).collect();
        check(
            &kernel,
            &vec![floats(&mut rng, table * row), index, vec![0; (count * row * 4) as usize]],
            &[41],
        );
    }
}

#[test]
fn a_sequential_axis_runs_in_order() {
    // Running sums of columns: out[i, j] = out[i - 1, j] + x[i, j], vectorised along j.
    let mut rng = Rng::new(9);
    let (n, width) = (9i64, 13i64);
    let mut b = Body::default();
    let x = b.load(0, F32, at(0, &[(0, width), (1, 1)]));
    let above =
        b.load_if(Buf::Arg(1), F32, at(-width, &[(0, width), (1, 1)]), mask(&[within(at(-1, &[(0, 1)]), n)]));
    let sum = b.bin(BinaryOp::Add, x, above);
    b.store(1, at(0, &[(0, width), (1, 1)]), sum);
    let both = fornax_ir::kernel::BufferDecl { dtype: F32, access: fornax_ir::kernel::Access::ReadWrite };
    for vector in [None, Some((1, 2))] {
        let stage = fornax_ir::kernel::Stage { axes: vec![seq(c(n)), par(c(width))], body: b.0.clone() };
        let kernel = kernel("scan", vec![read(F32), both], 0, stage, schedule(vector, None, 1));
        check(&kernel, &vec![floats(&mut rng, n * width), vec![0; (n * width * 4) as usize]], &[]);
    }
}

/// Code for other targets cannot be run here, but it can be made.
#[test]
fn kernels_compile_for_foreign_targets() {
    use fornax_codegen::{Cpu, Target, driver::define_kernel, leaf::Clif};
    let dot = matmul(13, 29, 31, 2, 4, 4);
    let (conv, _) = conv(
        &Conv {
            channels: 3,
            filters: 5,
            groups: 1,
            size: (9, 17),
            window: (3, 3),
            pad: 1,
            stride: 1,
            dilation: 1,
        },
        2,
        4,
        0,
        true,
    );
    let sum = reduce(ReduceOp::Sum, Order::Interleaved, F32, 9, c(100), true, Some((1, 8)));
    let across = reduce(ReduceOp::Max, Order::Interleaved, DType::I32, 9, Size::Arg(0), false, Some((0, 2)));
    let mut b = Body::default();
    let x = b.load(0, DType::F16, at(0, &[(0, 1)]));
    let e = b.un(UnaryOp::Exp, x);
    let i = b.cast(e, DType::I32);
    let j = b.bin(BinaryOp::Div, i, i);
    b.store(1, at(0, &[(0, 1)]), j);
    let exp = kernel(
        "exp",
        vec![read(DType::F16), write(DType::I32)],
        0,
        b.stage(vec![par(c(40))]),
        schedule(Some((0, 2)), None, 1),
    );
    for triple in [
        "aarch64-unknown-linux-gnu",
        "riscv64gc-unknown-linux-gnu",
        "s390x-unknown-linux-gnu",
        "x86_64-unknown-linux-gnu",
    ] {
        let target = Target::for_triple(triple.parse().unwrap(), Cpu::Baseline).unwrap();
        for kernel in [&dot, &conv, &sum, &across, &exp] {
            let code = define_kernel(kernel, &target, &Clif::new(&target)).unwrap();
            let mut ctx = cranelift_codegen::Context::for_function(code.function);
            if let Err(e) =
                ctx.compile(&*target.isa, &mut cranelift_codegen::control::ControlPlane::default())
            {
                panic!("{triple}: {}: {e:?}", kernel.name);
            }
        }
    }
}
