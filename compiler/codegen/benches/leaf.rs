//! Speed of single leaves on one core, in cache: f32 matrix products by the Clif emitter beside a loop
//! of register-only fused multiply-adds of 128 bits. Best of many rounds.
#![allow(
    unsafe_code,
    clippy::print_stdout,
    reason = "calls compiled kernels by address and prints its findings"
)]

use cranelift_codegen::Context;
use cranelift_codegen::ir::UserFuncName;
use cranelift_module::{Linkage, Module};
use fornax_codegen::driver::{define_kernel, signature};
use fornax_codegen::leaf::Clif;
use fornax_codegen::{Cpu, Image, ImageModule, Target};
use fornax_ir::dtype::DType;
use fornax_ir::kernel::{
    Access, Affine, Axis, AxisKind, Buf, BufferDecl, IndexVar, Inst, Kernel, Mask, Op, Order, Schedule, Size,
    Stage, StageSchedule,
};
use fornax_ir::scalar::{BinaryOp, ReduceOp, Scalar, UnaryOp};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

const F32: DType = DType::F32;

fn at(terms: &[(u32, i64)]) -> Affine {
    Affine::new(Size::ZERO, terms.iter().map(|&(a, s)| (IndexVar::Axis(a), Size::Const(s))))
}

/// `out[m, n] = sum over k of a[m, k] * b[k, n]`.
fn matmul(m: i64, n: i64, k: i64, vecs: u32, rows: u32, unroll: u32) -> Kernel {
    let op = |inst| Op { inst, dtype: F32 };
    let load = |buf, at| op(Inst::Load { src: Buf::Arg(buf), at, mask: Mask::new() });
    let body = vec![
        load(0, at(&[(0, k), (2, 1)])),
        load(1, at(&[(2, n), (1, 1)])),
        op(Inst::Binary(BinaryOp::Mul, 0, 1)),
        op(Inst::Accumulate { op: ReduceOp::Sum, order: Order::Chain, value: 2, mask: Mask::new() }),
        op(Inst::Store { dst: Buf::Arg(2), at: at(&[(0, n), (1, 1)]), value: 3, mask: Mask::new() }),
    ];
    let axis = |n, kind| Axis { extent: Size::Const(n), kind };
    let axes = vec![axis(m, AxisKind::Parallel), axis(n, AxisKind::Parallel), axis(k, AxisKind::Reduce)];
    let buffer = |access| BufferDecl { dtype: F32, access };
    let schedule = StageSchedule {
        vector: Some((1, vecs)),
        rows: Some((0, rows)),
        unroll,
        order: vec![1, 0, 2],
        block: vec![],
    };
    Kernel {
        name: format!("{m} x {n} x {k}"),
        buffers: vec![buffer(Access::Read), buffer(Access::Read), buffer(Access::Write)],
        stages: vec![Stage { axes, body }],
        schedule: Schedule { stages: vec![schedule], ..Schedule::default() },
        ..Kernel::default()
    }
}

/// Best time of one run, seconds.
fn best(rounds: u32, each: u32, mut run: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..rounds {
        let start = Instant::now();
        for _ in 0..each {
            run();
        }
        best = best.min(start.elapsed().as_secs_f64() / f64::from(each));
    }
    best
}

/// GFLOP/s of 12 independent chains of f32x4 fused multiply-adds.
#[cfg(target_arch = "x86_64")]
fn roof() -> Option<f64> {
    use std::arch::x86_64::{_mm_add_ps, _mm_cvtss_f32, _mm_fmadd_ps, _mm_set1_ps};
    #[target_feature(enable = "fma,avx")]
    fn chains(rounds: u32, x: f32) -> f32 {
        let (a, b) = (_mm_set1_ps(x), _mm_set1_ps(x * 0.5));
        let mut acc = [_mm_set1_ps(0.0); 12];
        for _ in 0..rounds {
            for c in &mut acc {
                *c = _mm_fmadd_ps(a, b, *c);
            }
        }
        _mm_cvtss_f32(acc.into_iter().fold(a, |s, c| _mm_add_ps(s, c)))
    }
    if !std::arch::is_x86_feature_detected!("fma") {
        return None;
    }
    const ROUNDS: u32 = 10_000;
    // SAFETY: the machine has FMA.
    let time = best(60, 10, || _ = black_box(unsafe { chains(ROUNDS, black_box(1e-3)) }));
    Some(f64::from(ROUNDS) * 12.0 * 8.0 / time / 1e9)
}
#[cfg(not(target_arch = "x86_64"))]
fn roof() -> Option<f64> {
    None
}

/// `out[i] = x[i] / (1 + exp(-1.7 x[i]))`, or the sum of `x` in `out[0]`.
fn stream(n: i64, sum: bool) -> Kernel {
    let op = |inst| Op { inst, dtype: F32 };
    let value = |v| op(Inst::Const(Scalar::f32(v)));
    let mut body = vec![op(Inst::Load { src: Buf::Arg(0), at: at(&[(0, 1)]), mask: Mask::new() })];
    if sum {
        body.push(op(Inst::Accumulate {
            op: ReduceOp::Sum,
            order: Order::Interleaved,
            value: 0,
            mask: Mask::new(),
        }));
        body.push(op(Inst::Store { dst: Buf::Arg(1), at: at(&[]), value: 1, mask: Mask::new() }));
    } else {
        body.extend([
            value(-1.7),
            op(Inst::Binary(BinaryOp::Mul, 0, 1)),
            op(Inst::Unary(UnaryOp::Exp, 2)),
            value(1.0),
        ]);
        body.extend([op(Inst::Binary(BinaryOp::Add, 3, 4)), op(Inst::Binary(BinaryOp::Div, 0, 5))]);
        body.push(op(Inst::Store { dst: Buf::Arg(1), at: at(&[(0, 1)]), value: 6, mask: Mask::new() }));
    }
    let kind = if sum { AxisKind::Reduce } else { AxisKind::Parallel };
    let axes = vec![Axis { extent: Size::Const(n), kind }];
    let buffer = |access| BufferDecl { dtype: F32, access };
    let schedule = StageSchedule { vector: Some((0, 2)), ..StageSchedule::default() };
    Kernel {
        name: "stream".to_owned(),
        buffers: vec![buffer(Access::Read), buffer(Access::Write)],
        stages: vec![Stage { axes, body }],
        schedule: Schedule { stages: vec![schedule], ..Schedule::default() },
        ..Kernel::default()
    }
}

/// A compiled kernel.
struct Entry {
    call: extern "sysv64" fn(*const u64, i64, i64, u32),
    /// Keeps the code alive.
    _image: Arc<Image>,
}

fn compile(kernel: &Kernel, target: &Target, clif: &Clif, show: bool) -> Entry {
    let code = define_kernel(kernel, target, clif).expect("a kernel with a leaf");
    let mut module = ImageModule::new(target.isa.clone(), []);
    let id = module.declare_function("kernel", Linkage::Export, &signature()).expect("a name");
    let mut ctx = Context::for_function(code.function);
    ctx.func.name = UserFuncName::user(0, id.as_u32());
    ctx.set_disasm(show);
    module.define_function(id, &mut ctx).expect("a valid function");
    if let Some(asm) = ctx.compiled_code().and_then(|c| c.vcode.as_ref()).filter(|_| show) {
        println!("{}\n{asm}", kernel.name);
    }
    let image = module.finish().expect("a linked image");
    let address = image.address(id).expect("the kernel") as usize;
    // SAFETY: a function of this signature, kept alive by the image beside it.
    let call =
        unsafe { std::mem::transmute::<usize, extern "sysv64" fn(*const u64, i64, i64, u32)>(address) };
    Entry { call, _image: image }
}

/// Billions of elements a second, in cache.
fn streams(target: &Target, clif: &Clif, show: bool) {
    let n = 4096;
    for (name, sum) in [("x * sigmoid(1.7 x)", false), ("sum", true)] {
        let entry = compile(&stream(n, sum), target, clif, show);
        let x: Vec<f32> = (0..n).map(|i| i as f32 / 512.0 - 4.0).collect();
        let mut out = vec![0f32; n as usize];
        let mut flag = 0i64;
        let block = [x.as_ptr() as u64, out.as_mut_ptr() as u64, 0, 0, &raw mut flag as u64];
        let time = best(200, 50, || (entry.call)(black_box(block.as_ptr()), 0, 1, 0));
        println!("{name:28}  {:7.2} G elements/s", n as f64 / time / 1e9);
    }
}

fn main() {
    let target = Target::host(Cpu::Native).expect("the machine that runs this is a target");
    let clif = Clif::new(&target);
    let show = std::env::args().any(|a| a == "--asm");
    if let Some(roof) = roof() {
        println!("register-only f32x4 fma       {roof:7.1} GFLOP/s");
    }
    streams(&target, &clif, show);
    for k in [256, 512] {
        for (rows, vecs) in [(6, 2), (4, 3), (4, 2), (3, 4), (5, 2)] {
            for unroll in [1, 4] {
                let (m, n) = (i64::from(rows), i64::from(vecs) * 4);
                let kernel = matmul(m, n, k, vecs, rows, unroll);
                let entry = compile(&kernel, &target, &clif, show);
                let a = vec![0.5f32; (m * k) as usize];
                let b = vec![0.25f32; (k * n) as usize];
                let mut out = vec![0f32; (m * n) as usize];
                let mut flag = 0i64;
                let block = [
                    a.as_ptr() as u64,
                    b.as_ptr() as u64,
                    out.as_mut_ptr() as u64,
                    0,
                    0,
                    &raw mut flag as u64,
                ];
                let time = best(200, 200, || (entry.call)(black_box(block.as_ptr()), 0, 1, 0));
                assert_eq!(out[0], 0.125 * k as f32);
                let speed = 2.0 * (m * n * k) as f64 / time / 1e9;
                println!(
                    "matrix product {rows} x {vecs} vectors, k {k}, unroll {unroll}  {speed:7.1} GFLOP/s"
                );
            }
        }
    }
}
