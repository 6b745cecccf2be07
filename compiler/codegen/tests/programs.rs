//! Whole programs of real kernels, compiled and run by an instance of the runtime.

use fornax_codegen::{
    Call, Compiled, Cpu, Error, Guard, GuardKind, Options, Place, Program, Step, SymbolRange, Target,
    TensorSpec, WeightsLayout, compilations, compile,
};
use fornax_ir::kernel::{
    Access, Affine, Axis, AxisKind, Buf, BufferDecl, IndexVar, Inst, Kernel, LocalDecl, Mask, Op, Size,
    Stage, StageSchedule,
};
use fornax_ir::scalar::{BinaryOp, CompareOp, Scalar};
use fornax_ir::{DType, Dim};
use fornax_runtime::abi::{FNX_INDEX, FNX_SHAPE};
use fornax_runtime::program::RunError;
use fornax_runtime::{AlignedBuffer, CancelToken, Instance, InstanceOptions, ThreadPool};
use std::sync::Arc;

const F32: DType = DType::F32;

fn buffer(access: Access) -> BufferDecl {
    BufferDecl { dtype: F32, access }
}

fn op(inst: Inst, dtype: DType) -> Op {
    Op { inst, dtype }
}

fn along(axis: u32) -> Affine {
    Affine::new(Size::ZERO, [(IndexVar::Axis(axis), Size::ONE)])
}

fn load(src: Buf, at: Affine) -> Op {
    op(Inst::Load { src, at, mask: Mask::new() }, F32)
}

fn store(dst: Buf, at: Affine, value: u32) -> Op {
    op(Inst::Store { dst, at, value, mask: Mask::new() }, F32)
}

fn parallel(extent: Size) -> Axis {
    Axis { extent, kind: AxisKind::Parallel }
}

fn vector(axis: u32) -> StageSchedule {
    StageSchedule { vector: Some((axis, 1)), ..StageSchedule::default() }
}

/// `b2[i] = op(b0[i], b1[i])` for `i < $0`, in chunks of 100.
fn binary(name: &str, operator: BinaryOp) -> Kernel {
    let body = vec![
        load(Buf::Arg(0), along(0)),
        load(Buf::Arg(1), along(0)),
        op(Inst::Binary(operator, 0, 1), F32),
        store(Buf::Arg(2), along(0), 2),
    ];
    let mut kernel = Kernel {
        name: name.into(),
        buffers: vec![buffer(Access::Read), buffer(Access::Read), buffer(Access::Write)],
        scalars: 1,
        stages: vec![Stage { axes: vec![parallel(Size::Arg(0))], body }],
        ..Kernel::default()
    };
    kernel.schedule.parallel = vec![(0, 100)];
    kernel.schedule.stages = vec![vector(0)];
    kernel
}

/// For each row `i < $0`: `l[j] = x[i,j] * x[i,j]`, then `y[i,j] = l[j] + x[i,j]`, for `j < $1`.
fn rows() -> Kernel {
    let at = || {
        let terms = [(IndexVar::Axis(0), Size::Arg(1)), (IndexVar::Axis(1), Size::ONE)];
        Affine::new(Size::ZERO, terms)
    };
    let square = vec![
        load(Buf::Arg(0), at()),
        op(Inst::Binary(BinaryOp::Mul, 0, 0), F32),
        store(Buf::Local(0), along(1), 1),
    ];
    let add = vec![
        load(Buf::Local(0), along(1)),
        load(Buf::Arg(0), at()),
        op(Inst::Binary(BinaryOp::Add, 0, 1), F32),
        store(Buf::Arg(1), at(), 2),
    ];
    let stage = |body| Stage { axes: vec![parallel(Size::Arg(1))], body };
    let mut kernel = Kernel {
        name: "rows".into(),
        buffers: vec![buffer(Access::Read), buffer(Access::Write)],
        scalars: 2,
        locals: vec![LocalDecl { dtype: F32, len: Size::Arg(1) }],
        outer: vec![parallel(Size::Arg(0))],
        stages: vec![stage(square), stage(add)],
        ..Kernel::default()
    };
    kernel.schedule.parallel = vec![(0, 3)];
    kernel.schedule.stages = vec![vector(1), vector(1)];
    kernel
}

/// Raises message `$1` where an element of `b0[..$0]` is negative.
fn check() -> Kernel {
    let body = vec![
        load(Buf::Arg(0), along(0)),
        op(Inst::Const(Scalar::from_f64(F32, 0.0)), F32),
        op(Inst::Compare(CompareOp::Lt, 0, 1), DType::Bool),
        op(Inst::Raise { cond: 2, detail: Size::Arg(1) }, DType::Bool),
    ];
    let mut kernel = Kernel {
        name: "check".into(),
        buffers: vec![buffer(Access::Read)],
        scalars: 2,
        stages: vec![Stage { axes: vec![parallel(Size::Arg(0))], body }],
        ..Kernel::default()
    };
    kernel.schedule.stages = vec![StageSchedule::default()];
    kernel
}

fn n() -> Dim {
    Dim::symbol("n")
}

fn call(kernel: usize, buffers: &[Place], scalars: &[Dim], work: Dim) -> Call {
    let (buffers, scalars) = (buffers.to_vec(), scalars.to_vec());
    Call { kernel, buffers, scalars, work, label: format!("kernel {kernel}"), bytes: Dim::ZERO }
}

fn tensor(name: &str, shape: &[Dim]) -> TensorSpec {
    TensorSpec { name: name.into(), dtype: F32, shape: shape.to_vec() }
}

/// `y = rows((x + w) * x)` over `n` rows of 40, with `w` in the weights for up to 200 rows and a
/// check of `x`; kernels 0 and 2 are equal.
fn example() -> Program {
    let size = || n() * 40;
    let (x, y) = (Place::Input(0), Place::Output(0));
    Program {
        name: "example".into(),
        symbols: vec![SymbolRange { name: "n".into(), lo: 0, hi: Some(200) }],
        inputs: vec![tensor("x", &[n(), Dim::from(40)])],
        outputs: vec![tensor("y", &[n(), Dim::from(40)])],
        guards: vec![Guard { kind: GuardKind::Le, lhs: n(), rhs: Dim::from(150), message: 0 }],
        messages: vec!["at most 150 rows".into(), "x must not be negative".into()],
        kernels: vec![
            binary("add", BinaryOp::Add),
            binary("mul", BinaryOp::Mul),
            binary("add again", BinaryOp::Add),
            rows(),
            check(),
        ],
        calls: vec![
            call(0, &[x, Place::Weights(64), Place::Slot(0)], &[size()], size() * 100),
            call(1, &[Place::Slot(0), x, Place::Slot(1)], &[size()], size() * 100),
            call(3, &[Place::Slot(1), y], &[n(), Dim::from(40)], size() * 100),
            call(4, &[x], &[size(), Dim::ONE], size()),
        ],
        steps: Step::calls(4),
        slots: vec![size() * 4, size() * 4],
        weights: WeightsLayout { bytes: 64 + 200 * 40 * 4 },
        ..Program::default()
    }
}

/// Not `native`, so that these tests also run where AVX-512 is not emulated.
fn target() -> Target {
    Target::host(Cpu::V3).or_else(|_| Target::host(Cpu::Baseline)).unwrap()
}

fn compiled(program: &Program) -> Compiled {
    compile(program, &target(), "clif", &Options::default()).unwrap()
}

fn weight(i: usize) -> f32 {
    (i % 17) as f32 * 0.25
}

fn instance(compiled: &Compiled, threads: usize) -> Instance {
    let mut weights = AlignedBuffer::zeroed(64 + 200 * 40 * 4).unwrap();
    for (i, bytes) in weights.as_mut_slice()[64..].chunks_exact_mut(4).enumerate() {
        bytes.copy_from_slice(&weight(i).to_le_bytes());
    }
    let options = InstanceOptions {
        pool: Arc::new(ThreadPool::new(threads).unwrap()),
        weights: Some(Arc::new(weights)),
        memory_limit: None,
        byte_lengths: None,
    };
    compiled.instance(options).unwrap()
}

fn input(rows: usize) -> Vec<f32> {
    (0..rows * 40).map(|i| (i % 101) as f32 / 7.0).collect()
}

fn bytes(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn run(instance: &Instance, x: &[f32], cancel: Option<&CancelToken>) -> (Result<(), RunError>, Vec<f32>) {
    let rows = x.len() as i64 / 40;
    let mut y = vec![0xaa; 4 * x.len()];
    let result = instance.run_with(&[rows], &[&bytes(x)], &mut [&mut y], None, cancel);
    let y = y.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    (result, y)
}

/// No operation of the program is contracted: each one rounds.
fn expected(x: &[f32]) -> Vec<f32> {
    let product = x.iter().enumerate().map(|(i, &v)| (v + weight(i)) * v);
    product.map(|p| p * p + p).collect()
}

#[test]
fn a_chain_of_kernels_gives_the_exact_result_at_every_size() {
    let instance = instance(&compiled(&example()), 1);
    for rows in [0, 1, 2, 3, 7, 64, 150] {
        let x = input(rows);
        let (result, y) = run(&instance, &x, None);
        assert_eq!(result, Ok(()));
        assert_eq!(y, expected(&x), "{rows} rows");
    }
}

#[test]
fn two_threads_give_the_same_bits_as_one() {
    let compiled = compiled(&example());
    let (one, two) = (instance(&compiled, 1), instance(&compiled, 2));
    drop(compiled);
    let x = input(150);
    let reference = run(&one, &x, None);
    for _ in 0..100 {
        assert_eq!(run(&two, &x, None), reference);
    }
}

#[test]
fn equal_kernels_are_compiled_once_and_nothing_outside_is_needed() {
    let before = compilations();
    let program = example();
    let compiled = compiled(&program);
    assert!(compilations() > before);
    assert_eq!((compiled.stats.kernels, compiled.stats.distinct_kernels), (5, 4));
    assert_eq!(compiled.stats.calls, 4);
    assert!(compiled.stats.code_bytes > 0);
    assert!(compiled.external_symbols.is_empty(), "{:?}", compiled.external_symbols);
    assert_eq!(compiled.messages.len(), 2 + 1 + 1);
}

#[test]
fn code_for_every_level_of_the_machine_gives_the_same_bits() {
    // Without reductions and products of sums there is nothing that a level may contract.
    let x = input(33);
    for cpu in Cpu::ALL {
        let Ok(target) = Target::host(cpu) else { continue };
        for leaf in ["clif", "auto"] {
            let compiled = compile(&example(), &target, leaf, &Options::default()).unwrap();
            assert!(compiled.external_symbols.is_empty(), "{cpu}: {:?}", compiled.external_symbols);
            assert_eq!(run(&instance(&compiled, 2), &x, None), (Ok(()), expected(&x)), "{cpu}, {leaf}");
        }
    }
}

#[test]
fn errors_at_run_time_name_their_message() {
    let compiled = compiled(&example());
    let instance = instance(&compiled, 2);
    let (result, _) = run(&instance, &input(151), None);
    assert_eq!(result, Err(RunError::Program { code: FNX_SHAPE, detail: Some(0) }));
    assert!(matches!(run(&instance, &input(201), None).0, Err(RunError::DimRange { .. })));
    let mut x = input(5);
    x[77] = -1.0;
    let (result, y) = run(&instance, &x, None);
    assert_eq!(result, Err(RunError::Program { code: FNX_INDEX, detail: Some(1) }));
    assert_eq!(y, expected(&x));
    assert_eq!(compiled.messages[1], "x must not be negative");
}

#[test]
fn a_cancelled_run_stops() {
    let instance = instance(&compiled(&example()), 2);
    let token = CancelToken::new();
    assert_eq!(run(&instance, &input(4), Some(&token)).0, Ok(()));
    token.cancel();
    assert_eq!(run(&instance, &input(4), Some(&token)).0, Err(RunError::Cancelled));
}

#[test]
fn too_few_weights_are_refused() {
    let compiled = compiled(&example());
    let pool = Arc::new(ThreadPool::new(1).unwrap());
    let options = InstanceOptions { pool, weights: None, memory_limit: None, byte_lengths: None };
    let error = compiled.instance(options).unwrap_err();
    assert!(matches!(error, Error::Weights { expected: 32_064, found: 0 }), "{error}");
}

#[test]
fn malformed_programs_and_unknown_names_are_errors() {
    let error = compile(&example(), &target(), "llvm", &Options::default()).unwrap_err();
    assert!(error.to_string().contains("clif"), "{error}");
    let baseline = Target::host(Cpu::Baseline).unwrap();
    let error = compile(&example(), &baseline, "x64", &Options::default()).unwrap_err();
    assert!(matches!(error, Error::LeafLacking { .. }) && error.to_string().contains("AVX2"), "{error}");
    let mut program = example();
    program.calls[0].buffers.pop();
    let error = compile(&program, &target(), "clif", &Options::default()).unwrap_err();
    assert!(matches!(error, Error::Program { .. }), "{error}");
}

#[test]
fn dumps_hold_every_function_and_no_trap() {
    let options = Options { dump_leaves: true, dump_clif: true, dump_asm: true, ..Options::default() };
    let compiled = compile(&example(), &target(), "clif", &options).unwrap();
    let dumps = &compiled.dumps;
    for name in ["add", "mul", "rows", "check", "m_run", "m_scratch_bytes", "prepare", "dispatch"] {
        let line = format!("; function {name}\n");
        assert!(dumps.clif.contains(&line) && dumps.asm.contains(&line), "{name}");
    }
    assert!(dumps.leaves.contains("rows"));
    for trap in ["trap", "ud2", "udf", "idiv"] {
        assert!(!dumps.asm.contains(trap), "{trap}");
    }
    assert!(compiled_without_dumps().is_empty());
}

fn compiled_without_dumps() -> String {
    let dumps = compiled(&example()).dumps;
    dumps.leaves + &dumps.clif + &dumps.asm
}

#[test]
fn compiling_is_reproducible_and_does_not_depend_on_threads() {
    let text = |threads| {
        let options = Options { threads, dump_clif: true, dump_asm: true, ..Options::default() };
        let compiled = compile(&example(), &target(), "clif", &options).unwrap();
        (compiled.dumps, compiled.stats.code_bytes)
    };
    let one = text(1);
    assert!(text(1) == one && text(3) == one);
}

/// A program with `calls` calls that alternate between two slots.
fn long(calls: usize) -> Program {
    let mut program = example();
    program.calls.clear();
    for i in 0..calls {
        let (from, to) = (Place::Slot(i as u32 % 2), Place::Slot((i as u32 + 1) % 2));
        let from = if i == 0 { Place::Input(0) } else { from };
        let to = if i + 1 == calls { Place::Output(0) } else { to };
        program.calls.push(call(i % 2, &[from, Place::Weights(64), to], &[n() * 40], n() * 40));
    }
    program.steps = Step::calls(calls);
    program
}

#[test]
fn code_grows_linearly_with_the_number_of_calls() {
    let size = |calls| compiled(&long(calls)).stats.code_bytes;
    let (few, many) = (size(100), size(600));
    let per_call = (many - few) as f64 / 500.0;
    assert!(per_call < 200.0, "{per_call} bytes a call");
    let x = input(3);
    let y = run(&instance(&compiled(&long(6)), 1), &x, None).1;
    let mut expect = x;
    for i in 0..6 {
        for (k, v) in expect.iter_mut().enumerate() {
            *v = if i % 2 == 0 { *v + weight(k) } else { *v * weight(k) };
        }
    }
    assert_eq!(y, expect);
}

#[test]
#[ignore = "a measurement"]
fn time_of_compiling_many_calls() {
    for calls in [10, 100, 1000] {
        let stats = compiled(&long(calls)).stats;
        eprintln!("{calls} calls: {:?}, {} bytes", stats.duration, stats.code_bytes);
    }
}
