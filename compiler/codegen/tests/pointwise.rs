//! Every operator on every dtype with its corner cases, native against the interpreter.

mod support;

use fornax_ir::dtype::DType;
use fornax_ir::kernel::{Buf, Inst, Kernel, Mask, Order};
use fornax_ir::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp, eval};
use support::build::*;
use support::check;

const DTYPES: [DType; 13] = [
    DType::Bool,
    DType::I8,
    DType::U8,
    DType::I16,
    DType::U16,
    DType::I32,
    DType::U32,
    DType::I64,
    DType::U64,
    DType::F16,
    DType::BF16,
    DType::F32,
    DType::F64,
];
const N: i64 = 45;

/// One store for each result that `body` makes of two loaded operands.
fn run(rng: &mut Rng, dtype: DType, body: impl FnOnce(&mut Body, u32, u32) -> Vec<u32>) {
    let mut b = Body::default();
    let at1 = || at(0, &[(0, 1)]);
    let x = b.load(0, dtype, at1());
    let y = b.load(1, dtype, at1());
    let results = body(&mut b, x, y);
    let mut buffers = vec![read(dtype), read(dtype)];
    let mut bytes = vec![corners(rng, dtype), corners(rng, dtype)];
    for r in results {
        let to = b.dtype(r);
        b.store(buffers.len() as u32, at1(), r);
        buffers.push(write(to));
        bytes.push(vec![0; N as usize * to.bytes()]);
    }
    let stage = b.stage(vec![par(c(N))]);
    let kernel = kernel("pointwise", buffers, 0, stage, schedule(Some((0, 2)), None, 1));
    check(&kernel, &bytes, &[]);
}

fn corners(rng: &mut Rng, dtype: DType) -> Vec<u8> {
    let mut bytes = elements(rng, dtype, N as usize / 2, false);
    // Mostly corner cases in the second half, so that they meet each other.
    while bytes.len() < N as usize * dtype.bytes() {
        bytes.extend(elements(rng, dtype, 1, true));
    }
    bytes
}

#[test]
fn operators_of_one_operand() {
    let mut rng = Rng::new(21);
    for dtype in DTYPES {
        for &op in UnaryOp::ALL {
            if eval::unary_accepts(op, dtype) {
                run(&mut rng, dtype, |b, x, y| vec![b.un(op, x), b.un(op, y)]);
            }
        }
    }
}

#[test]
fn operators_of_two_operands() {
    let mut rng = Rng::new(22);
    for dtype in DTYPES {
        for &op in BinaryOp::ALL {
            if !eval::binary_accepts(op, dtype) {
                continue;
            }
            for _ in 0..2 {
                run(&mut rng, dtype, |b, x, y| vec![b.bin(op, x, y), b.bin(op, y, x)]);
            }
            // Beside constants, some operators have other code.
            for v in [0.0, -0.0, 1.0, 3.0, 70.0, -2.0] {
                run(&mut rng, dtype, |b, x, _| {
                    let k = b.scalar(fornax_ir::scalar::Scalar::from_f64(dtype, v));
                    vec![b.bin(op, x, k), b.bin(op, k, x)]
                });
            }
        }
    }
}

#[test]
fn comparisons_selections_and_multiply_adds() {
    let mut rng = Rng::new(23);
    for dtype in DTYPES {
        for &op in CompareOp::ALL {
            run(&mut rng, dtype, |b, x, y| {
                let less = b.cmp(op, x, y);
                vec![b.select(less, x, y), less]
            });
        }
        run(&mut rng, dtype, |b, x, y| {
            let (less, more) = (b.cmp(CompareOp::Lt, x, y), b.cmp(CompareOp::Gt, x, y));
            let either = b.bin(BinaryOp::Or, less, more);
            let not = b.un(UnaryOp::Not, either);
            vec![b.select(not, x, y), b.select(either, y, x)]
        });
        if dtype.is_float() {
            run(&mut rng, dtype, |b, x, y| vec![b.push(Inst::Fma(x, y, x), dtype)]);
        }
    }
}

#[test]
fn powers_of_two_scale_down_to_denormals() {
    let mut rng = Rng::new(26);
    for (dtype, most) in [(DType::F32, 254.0), (DType::F64, 2046.0)] {
        for step in [1.0, 7.0, most / 200.0] {
            // Significands in 1/4 to 4 of both signs, and every so many exponents.
            run(&mut rng, dtype, |b, x, _| {
                let i = b.push(Inst::Axis(0), DType::I64);
                let i = b.cast(i, dtype);
                let k = |b: &mut Body, v: f64| b.scalar(fornax_ir::scalar::Scalar::from_f64(dtype, v));
                let (step, middle, least) = (k(b, step), k(b, 22.0), k(b, -most));
                let from = b.bin(BinaryOp::Sub, i, middle);
                let n = b.bin(BinaryOp::Mul, from, step);
                let n = b.un(UnaryOp::Round, n);
                let down = b.bin(BinaryOp::Max, n, least);
                let (low, high) = (k(b, 0.25), k(b, 4.0));
                let a = b.un(UnaryOp::Abs, x);
                let a = b.bin(BinaryOp::Max, a, low);
                let a = b.bin(BinaryOp::Min, a, high);
                let minus = b.un(UnaryOp::Neg, a);
                vec![b.push(Inst::Scale(a, down), dtype), b.push(Inst::Scale(minus, down), dtype)]
            });
        }
    }
}

#[test]
fn conversions_between_all_dtypes() {
    let mut rng = Rng::new(24);
    for from in DTYPES {
        for to in DTYPES {
            run(&mut rng, from, |b, x, y| {
                let (there, other) = (b.cast(x, to), b.cast(y, to));
                let back = b.cast(other, from);
                vec![there, back]
            });
        }
        for to in DTYPES
            .into_iter()
            .filter(|t| t.bytes() == from.bytes() && *t != DType::Bool && from != DType::Bool)
        {
            run(&mut rng, from, |b, x, _| vec![b.push(Inst::Bitcast(x), to)]);
        }
    }
}

#[test]
fn narrow_integers_are_widened_into_dots() {
    // out[n] = sum over k of f32(w[k, n]) * x[k], and the same in i32.
    let mut rng = Rng::new(25);
    let (n, k) = (21i64, 13i64);
    for narrow in [DType::I8, DType::U8, DType::I16, DType::U16, DType::F16, DType::BF16] {
        for wide in [DType::F32, DType::I32] {
            let mut b = Body::default();
            let w = b.load(0, narrow, at(0, &[(1, n), (0, 1)]));
            let w = b.cast(w, wide);
            let x = b.load(1, wide, at(0, &[(1, 1)]));
            let wx = b.push(Inst::Binary(BinaryOp::Mul, w, x), wide);
            let sum = b.acc(ReduceOp::Sum, Order::Chain, wx, Mask::new());
            b.store_if(Buf::Arg(2), at(0, &[(0, 1)]), sum, Mask::new());
            let stage = b.stage(vec![par(c(n)), red(c(k))]);
            let kernel: Kernel = kernel(
                "dot",
                vec![read(narrow), read(wide), write(wide)],
                0,
                stage,
                schedule(Some((0, 2)), None, 2),
            );
            let bytes = vec![
                elements(&mut rng, narrow, (n * k) as usize, false),
                elements(&mut rng, wide, k as usize, false),
                vec![0; n as usize * 4],
            ];
            check(&kernel, &bytes, &[]);
        }
    }
}
