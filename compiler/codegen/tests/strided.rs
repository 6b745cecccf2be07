//! Accesses that no single vector instruction makes: strides, computed indices, mixed widths.

mod support;

use fornax_ir::dtype::DType;
use fornax_ir::kernel::{Affine, Buf, IndexVar, Inst, Order};
use fornax_ir::scalar::{BinaryOp, CompareOp, ReduceOp, Scalar};
use support::build::*;
use support::check;

/// Every lane of a strided load is its own element, and no byte beyond the outermost is touched.
#[test]
fn loads_and_stores_of_every_stride() {
    let mut rng = Rng::new(41);
    let n = 23i64;
    for dtype in [DType::F32, DType::I32, DType::F64, DType::U8] {
        for by in [1i64, 2, 3, 4, 7, -1, -2, -3, -5] {
            for store_by in [1i64, 3] {
                let reach = by.abs() * (n - 1) + 1;
                let start = if by < 0 { reach - 1 } else { 0 };
                let mut b = Body::default();
                let x = b.load(0, dtype, at(start, &[(0, reach), (1, by)]));
                let y = b.bin(BinaryOp::Add, x, x);
                b.store(1, at(0, &[(0, n * store_by), (1, store_by)]), y);
                let kernel = kernel(
                    "strided",
                    vec![read(dtype), write(dtype)],
                    0,
                    b.stage(vec![par(c(5)), par(c(n))]),
                    schedule(Some((1, 2)), Some((0, 3)), 1),
                );
                let width = dtype.bytes();
                let input = elements(&mut rng, dtype, (5 * reach) as usize, true);
                let bufs = vec![input, vec![0x5a; (5 * n * store_by) as usize * width]];
                let vectors = check(&kernel, &bufs, &[]);
                assert!(vectors || dtype == DType::U8 || store_by != 1, "{dtype} every {by}");
            }
        }
    }
}

/// Squares of a transposed copy are turned in registers; what they leave over is stored element by element.
#[test]
fn transposed_copies_of_whole_squares_and_what_is_left() {
    let mut rng = Rng::new(47);
    for (n, m, lanes) in [(16i64, 16i64, 16u32), (35, 50, 16), (24, 8, 8), (19, 33, 8)] {
        for dtype in [DType::F32, DType::I32, DType::F64] {
            let mut b = Body::default();
            let x = b.load(0, dtype, at(0, &[(0, m), (1, 1)]));
            let row = b.load(1, dtype, at(0, &[(0, 1)]));
            let y = b.bin(BinaryOp::Sub, x, row);
            b.store(2, at(0, &[(0, 1), (1, n)]), y);
            let kernel = kernel(
                "transposed",
                vec![read(dtype), read(dtype), write(dtype)],
                0,
                b.stage(vec![par(c(n)), par(c(m))]),
                schedule(Some((1, 1)), Some((0, lanes)), 1),
            );
            let width = dtype.bytes();
            let input = elements(&mut rng, dtype, (n * m) as usize, true);
            let rows = elements(&mut rng, dtype, n as usize, false);
            check(&kernel, &[input, rows, vec![0; (n * m) as usize * width]].to_vec(), &[]);
        }
    }
}

/// A convolution that steps by its stride, with padding on both sides and rows that share its loads.
#[test]
fn reductions_over_strided_windows() {
    let mut rng = Rng::new(42);
    for (by, width) in [(2i64, 40i64), (3, 47), (4, 40), (2, 9)] {
        let (out, taps, channels) = ((width + 2) / by, 5i64, 6i64);
        let m = mask(&[within(at(-2, &[(1, by), (3, 1)]), width)]);
        let mut b = Body::default();
        let x = b.load_if(Buf::Arg(0), DType::F32, at(-2, &[(1, by), (2, width), (3, 1)]), m.clone());
        let w = b.load(1, DType::F32, at(0, &[(0, 3 * taps), (2, taps), (3, 1)]));
        let product = b.bin(BinaryOp::Mul, x, w);
        let sum = b.acc(ReduceOp::Sum, Order::Chain, product, m);
        b.store(2, at(0, &[(0, out), (1, 1)]), sum);
        let kernel = kernel(
            "conv",
            vec![read(DType::F32), read(DType::F32), write(DType::F32)],
            0,
            b.stage(vec![par(c(channels)), par(c(out)), red(c(3)), red(c(taps))]),
            schedule(Some((1, 2)), Some((0, 4)), 2),
        );
        let bufs = vec![
            elements(&mut rng, DType::F32, (3 * width) as usize, false),
            elements(&mut rng, DType::F32, (channels * 3 * taps) as usize, false),
            vec![0; (channels * out * 4) as usize],
        ];
        check(&kernel, &bufs, &[]);
    }
}

/// Nearest-neighbour resizing: the index of a load is a quotient of the axis the vectors run along.
#[test]
fn quotients_of_the_vector_axis_as_indices() {
    let mut rng = Rng::new(43);
    for (factor, pad) in [(2i64, 0i64), (3, 0), (2, 3)] {
        let (h, w) = (3i64, 9i64);
        let wide = w * factor;
        let mut b = Body::default();
        let x = b.load(0, DType::F32, at(0, &[(0, wide), (1, 1)]));
        let column = b.push(Inst::Axis(1), DType::I64);
        let by = b.scalar(Scalar::i64(factor));
        let source = b.bin(BinaryOp::Div, column, by);
        let place = |offset: i64| {
            let terms = [(IndexVar::Axis(0), c(w)), (IndexVar::Value(source), c(1))];
            Affine::new(c(offset), terms)
        };
        let m = if pad == 0 {
            mask(&[])
        } else {
            let index = Affine::new(c(-pad), [(IndexVar::Value(source), c(1))]);
            mask(&[within(index, w - pad)])
        };
        let y = b.load_if(Buf::Arg(1), DType::F32, place(-pad), m);
        let sum = b.bin(BinaryOp::Add, x, y);
        b.store(2, at(0, &[(0, wide), (1, 1)]), sum);
        let kernel = kernel(
            "resize",
            vec![read(DType::F32), read(DType::F32), write(DType::F32)],
            0,
            b.stage(vec![par(c(h)), par(c(wide))]),
            schedule(Some((1, 2)), Some((0, 2)), 1),
        );
        let bufs = vec![
            elements(&mut rng, DType::F32, (h * wide) as usize, true),
            elements(&mut rng, DType::F32, (h * w) as usize, true),
            vec![0; (h * wide * 4) as usize],
        ];
        assert!(check(&kernel, &bufs, &[]), "the sum is of vectors");
    }
}

/// Comparisons of one width that become numbers of another, and bools in memory.
#[test]
fn truth_values_of_other_widths() {
    let mut rng = Rng::new(44);
    for from in [DType::I32, DType::I64, DType::F32, DType::U8] {
        for to in [DType::F32, DType::I64, DType::U8, DType::Bool] {
            let (rows, n) = (3i64, 21i64);
            let mut b = Body::default();
            let x = b.load(0, from, at(0, &[(0, 1)]));
            let y = b.load(1, from, at(0, &[(1, 1)]));
            let equal = b.cmp(CompareOp::Le, x, y);
            let number = b.cast(equal, to);
            b.store(2, at(0, &[(0, n), (1, 1)]), number);
            let kernel = kernel(
                "one-hot",
                vec![read(from), read(from), write(to)],
                0,
                b.stage(vec![par(c(rows)), par(c(n))]),
                schedule(Some((1, 2)), None, 1),
            );
            let bufs = vec![
                elements(&mut rng, from, rows as usize, true),
                elements(&mut rng, from, n as usize, true),
                vec![0x5a; (rows * n) as usize * to.bytes()],
            ];
            let vectors = check(&kernel, &bufs, &[]);
            assert!(vectors || from != DType::I32 || to != DType::F32, "{from} to {to}");
        }
    }
}

/// Four parts side by side, along an axis outside the vectors and along their own: each part is
/// copied by code that only reads that part.
#[test]
fn parts_of_a_concatenation_are_decided_around_the_loops() {
    let mut rng = Rng::new(45);
    for axis in [0, 1] {
        let (parts, len, other) = (4i64, 9i64, 13i64);
        let pitch = if axis == 0 { [(0, other), (1, 1)] } else { [(0, len), (1, 1)] };
        let mut b = Body::default();
        let mut chosen = None;
        for p in 0..parts {
            let m = mask(&[within(at(-p * len, &[(axis, 1)]), len)]);
            let start = if axis == 0 { -p * len * other } else { -p * len };
            let x = b.load_if(Buf::Arg(p as u32), DType::F32, at(start, &pitch), m.clone());
            let here = b.push(Inst::InRange(m), DType::Bool);
            chosen = Some(chosen.map_or(x, |before| b.select(here, x, before)));
        }
        let (rows, columns) = if axis == 0 { (parts * len, other) } else { (other, parts * len) };
        b.store(parts as u32, at(0, &[(0, columns), (1, 1)]), chosen.unwrap());
        let mut buffers = vec![read(DType::F32); parts as usize];
        buffers.push(write(DType::F32));
        let kernel = kernel(
            "concat",
            buffers,
            0,
            b.stage(vec![par(c(rows)), par(c(columns))]),
            schedule(Some((1, 1)), None, 1),
        );
        let mut bufs: Vec<Vec<u8>> =
            (0..parts).map(|_| elements(&mut rng, DType::F32, (len * other) as usize, true)).collect();
        bufs.push(vec![0; (rows * columns * 4) as usize]);
        assert!(check(&kernel, &bufs, &[]));
    }
}
