//! Entry points around kernels that are functions of this test: what `m_run` hands them is seen
//! directly.

use super::*;
use crate::block::{BlockLayout, work_items};
use crate::driver;
use crate::image::{Image, ImageModule};
use crate::program::{Carried, Guard, Place, Slice, TensorSpec};
use crate::target::{Cpu, Target};
use cranelift_codegen::Context;
use cranelift_module::{Linkage, Module};
use fornax_ir::kernel::{Access, Axis, AxisKind, BufferDecl, LocalDecl};
use fornax_ir::{DType, Dim};
use fornax_runtime::ThreadPool;
use fornax_runtime::abi::*;
use fornax_runtime::program::{MRun, MScratch};
use std::cell::RefCell;
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// What `out[i] = in[i] + scalar` sees of one work item range. Block: in, out; extent, addend.
unsafe extern "C" fn add(block: *mut c_void, begin: i64, end: i64, worker: u32) {
    let words = block.cast::<i64>();
    // SAFETY: the block holds 7 words, the buffers `extent` elements, the worker its 64 bytes.
    unsafe {
        let (input, out) = (*words.cast::<*const i64>(), *words.add(1).cast::<*mut i64>());
        let (addend, base, stride) = (*words.add(3), *words.add(4), *words.add(5));
        let local = (base + stride * i64::from(worker)) as *mut i64;
        assert_eq!(local as usize % 64, 0);
        for i in begin..end {
            *local = *input.add(i as usize) + addend;
            *out.add(i as usize) = *local;
        }
    }
}

/// Raises message 5 where an input element is negative. Block: in.
unsafe extern "C" fn raise(block: *mut c_void, _: i64, _: i64, _: u32) {
    // SAFETY: the block holds 4 words; the flag is the last.
    unsafe {
        let words = block.cast::<*mut i64>();
        if **words < 0 {
            **words.add(3) = 6;
        }
    }
}

/// A kernel over `extent` (argument 0) points in chunks of one.
fn add_kernel() -> Kernel {
    let buffer = |access| BufferDecl { dtype: DType::I64, access };
    let mut kernel = Kernel {
        name: "add".into(),
        buffers: vec![buffer(Access::Read), buffer(Access::Write)],
        scalars: 2,
        locals: vec![LocalDecl { dtype: DType::I64, len: Size::Const(3) }],
        outer: vec![Axis { extent: Size::Arg(0), kind: AxisKind::Parallel }],
        ..Kernel::default()
    };
    kernel.schedule.parallel = vec![(0, 1)];
    kernel
}

fn raise_kernel() -> Kernel {
    let buffers = vec![BufferDecl { dtype: DType::I64, access: Access::Read }];
    Kernel { name: "raise".into(), buffers, ..Kernel::default() }
}

fn n() -> Dim {
    Dim::symbol("n")
}

fn add_call(from: Place, to: Place, extent: Dim, addend: Dim) -> Call {
    let work = &extent * 1000;
    let label = "add".into();
    Call { kernel: 0, buffers: vec![from, to], scalars: vec![extent, addend], work, label, bytes: Dim::ZERO }
}

/// `out = in + 1 + n + 1` over n elements in three calls with two slots, then a check of in[0].
fn chain() -> Program {
    let tensor = |name: &str| TensorSpec { name: name.into(), dtype: DType::I64, shape: vec![n()] };
    Program {
        name: "chain".into(),
        symbols: vec![SymbolRange { name: "n".into(), lo: 1, hi: Some(1 << 40) }],
        inputs: vec![tensor("x")],
        outputs: vec![tensor("y")],
        guards: vec![Guard { kind: GuardKind::Divides, lhs: Dim::from(2), rhs: n(), message: 1 }],
        messages: (0..6).map(|i| format!("message {i}")).collect(),
        kernels: vec![add_kernel(), raise_kernel()],
        calls: vec![
            add_call(Place::Input(0), Place::Slot(0), n(), Dim::ONE),
            add_call(Place::Slot(0), Place::Slot(1), n(), n()),
            add_call(Place::Slot(1), Place::Output(0), n(), Dim::ONE),
            Call {
                kernel: 1,
                buffers: vec![Place::Input(0)],
                scalars: vec![],
                work: Dim::ONE,
                label: "check".into(),
                bytes: Dim::ZERO,
            },
        ],
        steps: Step::calls(4),
        slots: vec![n() * 8, n() * 8],
        ..Program::default()
    }
}

/// Entry points of a program over the kernels above.
struct Loaded {
    _image: Arc<Image>,
    run: MRun,
    scratch: MScratch,
}

fn load(program: &Program) -> Loaded {
    let target = Target::host(Cpu::Native).unwrap();
    let imports = [("add", add as FnxBody as usize), ("raise", raise as FnxBody as usize)];
    let mut module = ImageModule::new(target.isa.clone(), imports.map(|(n, a)| (n.to_owned(), a)));
    let declare =
        |k: &Kernel| module.declare_function(&k.name, Linkage::Import, &driver::signature()).unwrap();
    let ids: Vec<_> = program.kernels.iter().map(declare).collect();
    let scratch: Vec<_> = program.kernels.iter().map(ScratchLayout::of).collect();
    let (entry, units) = define(program, &ids, &scratch.iter().collect::<Vec<_>>(), &mut module).unwrap();
    for unit in units {
        assert_eq!(crate::traps::trapping_instruction(&unit.func), None, "{}", unit.name);
        module.define_function(unit.id, &mut Context::for_function(unit.func)).unwrap();
    }
    let image = module.finish().unwrap();
    let address = |id| image.address(id).unwrap();
    // SAFETY: the functions have these signatures, and the image is kept beside them.
    let (run, scratch) = unsafe {
        (
            std::mem::transmute::<*const u8, MRun>(address(entry.run)),
            std::mem::transmute::<*const u8, MScratch>(address(entry.scratch_bytes)),
        )
    };
    Loaded { _image: image, run, scratch }
}

impl Loaded {
    fn scratch_bytes(&self, dims: &[i64], threads: u32) -> usize {
        // SAFETY: the tests give as many dims as the program has symbols.
        unsafe { (self.scratch)(dims.as_ptr(), threads) }
    }

    /// Runs on one input and one output; returns the code, the detail, and what `out_dims` got.
    fn run(&self, dims: &[i64], x: &[i64], y: &mut [i64], ctx: Option<&FnxCtx>) -> (i32, i64, i64) {
        let threads = ctx.map_or(1, |c| c.max_threads);
        let bytes = self.scratch_bytes(dims, threads);
        // Dims that need more than this are refused before scratch is touched.
        let bytes = if bytes > 1 << 20 { 0 } else { bytes };
        let mut scratch = fornax_runtime::AlignedBuffer::zeroed(bytes + 64).unwrap();
        let (inputs, outputs) = ([x.as_ptr().cast::<c_void>()], [y.as_mut_ptr().cast::<c_void>()]);
        let (mut detail, mut out_dims) = (-1, -1);
        let args = FnxArgs {
            size: ARGS_SIZE,
            dims: dims.as_ptr(),
            inputs: inputs.as_ptr(),
            outputs: outputs.as_ptr(),
            out_dims: &raw mut out_dims,
            weights: ptr::null(),
            scratch: scratch.as_mut_ptr().cast(),
            ctx: ctx.map_or(ptr::null(), ptr::from_ref),
            error_detail: &raw mut detail,
        };
        // SAFETY: buffers have the sizes the program asks for at these dims.
        let code = unsafe { (self.run)(&raw const args) };
        (code, detail, out_dims)
    }
}

fn expected(x: &[i64]) -> Vec<i64> {
    x.iter().map(|v| v + 2 + x.len() as i64).collect()
}

#[test]
fn calls_run_in_order_on_the_right_memory() {
    let loaded = load(&chain());
    for len in [2, 10, 64, 1000] {
        let x: Vec<i64> = (0..len).collect();
        let mut y = vec![0; x.len()];
        assert_eq!(loaded.run(&[len], &x, &mut y, None), (FNX_OK, -1, -1));
        assert_eq!(y, expected(&x));
    }
}

#[test]
fn two_threads_compute_the_same_in_scratch_of_their_own() {
    let loaded = load(&chain());
    let pool = ThreadPool::new(2).unwrap();
    let ctx = pool.context(None);
    let x: Vec<i64> = (0..5000).collect();
    for _ in 0..50 {
        let mut y = vec![0; x.len()];
        assert_eq!(loaded.run(&[5000], &x, &mut y, Some(&ctx)).0, FNX_OK);
        assert_eq!(y, expected(&x));
    }
}

#[test]
fn scratch_holds_values_slots_and_workers() {
    let loaded = load(&chain());
    let layout = |n: i64, threads: i64| {
        let slot = (8 * n + 63) / 64 * 64;
        // Three sizes depend on n: n itself, its work, and the second slot's offset; the arena's
        // size is a fourth.
        64 + 2 * slot + 64 * threads
    };
    for (n, threads) in [(2, 1), (8, 1), (10, 2), (1000, 7)] {
        assert_eq!(loaded.scratch_bytes(&[n], threads as u32), layout(n, threads) as usize);
    }
    assert_eq!(loaded.scratch_bytes(&[10], 0), loaded.scratch_bytes(&[10], 1));
    assert_eq!(loaded.scratch_bytes(&[i64::MAX], 1), usize::MAX);
    assert_eq!(loaded.scratch_bytes(&[-1], 1), usize::MAX);
}

#[test]
fn dims_out_of_range_and_failed_guards_name_their_message() {
    let program = chain();
    let loaded = load(&program);
    let texts = messages(&program);
    let (x, mut y) = ([1, 2, 3], [0; 3]);
    let (code, detail, _) = loaded.run(&[0], &x, &mut y, None);
    assert_eq!(
        (code, texts[detail as usize].as_str()),
        (FNX_DIMS, "the dim `n` must lie in 1..=1099511627776")
    );
    assert_eq!(loaded.run(&[(1 << 40) + 1], &x, &mut y, None).0, FNX_DIMS);
    assert_eq!(loaded.run(&[3], &x, &mut y, None), (FNX_SHAPE, 1, -1));
    assert_eq!(y, [0; 3]);
}

#[test]
fn guards_of_every_kind_are_checked() {
    let check = |kind, lhs: Dim, rhs: Dim, holds: &dyn Fn(i64) -> bool| {
        let mut program = chain();
        program.guards = vec![Guard { kind, lhs, rhs, message: 2 }];
        let loaded = load(&program);
        for len in 1..12 {
            let (x, mut y) = (vec![0; len as usize], vec![0; len as usize]);
            let code = if holds(len) { FNX_OK } else { FNX_SHAPE };
            assert_eq!(loaded.run(&[len], &x, &mut y, None).0, code, "{kind:?} at {len}");
        }
    };
    check(GuardKind::Eq, n() * 2, n() + 4, &|n| n == 4);
    check(GuardKind::Le, n() * 2, n() + 4, &|n| n <= 4);
    check(GuardKind::Divides, n(), Dim::from(12), &|n| 12 % n == 0);
    check(GuardKind::Divides, n() - 3, n() * 2, &|n| n > 3 && (2 * n) % (n - 3) == 0);
}

#[test]
fn an_overflow_is_an_error_of_the_dims() {
    let mut program = chain();
    program.symbols[0].hi = None;
    program.guards.clear();
    let loaded = load(&program);
    let (code, detail, _) = loaded.run(&[1 << 61], &[1], &mut [0], None);
    assert_eq!((code, detail as usize), (FNX_DIMS, messages(&program).len() - 1));
}

#[test]
fn old_structures_are_refused() {
    let loaded = load(&chain());
    let args = FnxArgs { size: ARGS_SIZE - 1, ..zero_args() };
    // SAFETY: only the size is read.
    assert_eq!(unsafe { (loaded.run)(&raw const args) }, FNX_ABI);
    let pool = ThreadPool::new(1).unwrap();
    let ctx = FnxCtx { size: CTX_SIZE - 8, ..pool.context(None) };
    assert_eq!(loaded.run(&[2], &[1, 2], &mut [0; 2], Some(&ctx)).0, FNX_ABI);
}

fn zero_args() -> FnxArgs {
    FnxArgs {
        size: 0,
        dims: ptr::null(),
        inputs: ptr::null(),
        outputs: ptr::null(),
        out_dims: ptr::null_mut(),
        weights: ptr::null(),
        scratch: ptr::null_mut(),
        ctx: ptr::null(),
        error_detail: ptr::null_mut(),
    }
}

#[test]
fn a_raised_index_error_comes_with_complete_outputs() {
    let loaded = load(&chain());
    let (x, mut y) = ([-5, 3], [0; 2]);
    assert_eq!(loaded.run(&[2], &x, &mut y, None), (FNX_INDEX, 5, -1));
    assert_eq!(y.to_vec(), expected(&x));
}

thread_local! {
    static TOLD: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

unsafe extern "C" fn tell(_: *const FnxCtx, call: u32) {
    TOLD.with_borrow_mut(|told| told.push(call));
}

unsafe extern "C" fn tell_and_cancel(ctx: *const FnxCtx, call: u32) {
    TOLD.with_borrow_mut(|told| told.push(call));
    if call == 1 {
        // SAFETY: the test's context has a cancel word.
        unsafe { (*(*ctx).cancel).store(1, std::sync::atomic::Ordering::Relaxed) };
    }
}

#[test]
fn the_context_is_told_of_calls_and_cancels_between_them() {
    let loaded = load(&chain());
    let word = AtomicU32::new(0);
    let pool = ThreadPool::new(2).unwrap();
    let ctx = FnxCtx { after_kernel: Some(tell), ..pool.context(Some(&word)) };
    let (x, mut y) = ([1; 100], [0; 100]);
    assert_eq!(loaded.run(&[100], &x, &mut y, Some(&ctx)).0, FNX_OK);
    assert_eq!(TOLD.take(), [0, 1, 2, 3]);
    let ctx = FnxCtx { after_kernel: Some(tell_and_cancel), ..ctx };
    let mut y = [0; 100];
    assert_eq!(loaded.run(&[100], &x, &mut y, Some(&ctx)).0, FNX_CANCELLED);
    assert_eq!((TOLD.take(), y), (vec![0, 1], [0; 100]));
    assert_eq!(loaded.run(&[100], &x, &mut y, Some(&ctx)).0, FNX_CANCELLED);
    assert!(TOLD.take().is_empty());
}

thread_local! {
    static LOOPS: RefCell<Vec<(i64, u32)>> = const { RefCell::new(Vec::new()) };
}

unsafe extern "C" fn serial_loop(_: *const FnxCtx, body: FnxBody, arg: *mut c_void, n: i64, most: u32) {
    LOOPS.with_borrow_mut(|loops| loops.push((n, most)));
    // SAFETY: the arguments are those of a parallel loop over 0..n.
    unsafe { body(arg, 0, n, 0) };
}

#[test]
fn only_calls_with_work_for_several_threads_fork() {
    let loaded = load(&chain());
    let pool = ThreadPool::new(2).unwrap();
    let ctx = FnxCtx { parallel_for: Some(serial_loop), ..pool.context(None) };
    let run = |len: i64, ctx: &FnxCtx| {
        let (x, mut y) = (vec![1; len as usize], vec![0; len as usize]);
        assert_eq!(loaded.run(&[len], &x, &mut y, Some(ctx)).0, FNX_OK);
        assert_eq!(y, expected(&x));
        LOOPS.take()
    };
    // The work of a call is 1000 n.
    let two = 2 * (SHARE / 1000 + 1);
    assert!(run(SHARE / 1000, &ctx).is_empty());
    assert_eq!(run(two, &ctx), [(two, 2); 3]);
    assert!(run(two, &FnxCtx { max_threads: 1, ..ctx }).is_empty());
    assert!(run(two, &FnxCtx { parallel_for: None, ..ctx }).is_empty());
    // As many threads as have work enough, and no more than there are.
    let ctx = FnxCtx { max_threads: 8, ..ctx };
    for (shares, most) in [(2, 2), (3, 3), (7, 7), (8, 8), (100, 8)] {
        let n = shares * SHARE / 1000 / 2 * 2 + 2;
        assert_eq!(run(n, &ctx), [(n, most); 3]);
    }
}

#[test]
fn static_programs_need_no_preparation_and_expressions_reach_out_dims() {
    let mut program = chain();
    program.symbols.clear();
    program.guards.clear();
    let eight = || Dim::from(8);
    program.inputs[0].shape = vec![eight()];
    program.outputs[0].shape = vec![eight()];
    program.calls.truncate(1);
    program.steps.truncate(1);
    program.calls[0] = add_call(Place::Input(0), Place::Output(0), eight(), Dim::from(-3));
    program.slots = vec![Dim::from(100)];
    let loaded = load(&program);
    assert_eq!(loaded.scratch_bytes(&[], 2), 128 + 2 * 64);
    let (x, mut y) = ([5; 8], [0; 8]);
    assert_eq!(loaded.run(&[], &x, &mut y, None), (FNX_OK, -1, -1));
    assert_eq!(y, [2; 8]);

    let mut program = chain();
    program.outputs[0].shape = vec![n() * 2 - n().floor_div(&Dim::from(2))];
    let loaded = load(&program);
    let (x, mut y) = ([1; 10], [0; 15]);
    assert_eq!(loaded.run(&[10], &x, &mut y, None), (FNX_OK, -1, 15));
}

#[test]
fn a_program_that_can_never_run_is_refused() {
    let mut program = chain();
    program.guards[0] = Guard { kind: GuardKind::Le, lhs: Dim::from(3), rhs: Dim::from(2), message: 4 };
    let scratch = ScratchLayout::default();
    let text = Layout::of(&program, &[&scratch, &scratch]).err().unwrap().to_string();
    assert!(text.contains("3 <= 2") && text.contains("message 4"), "{text}");
    program.guards.clear();
    program.slots[0] = Dim::from(i64::MAX);
    assert!(Layout::of(&program, &[&scratch, &scratch]).is_err());
}

#[test]
fn items_and_block_agree_with_the_block_module() {
    let kernel = add_kernel();
    let scratch = ScratchLayout::of(&kernel);
    let layout = Layout::of(&chain(), &[&scratch, &ScratchLayout::default()]).unwrap();
    assert_eq!(layout.sizes.as_const(layout.stride), scratch.bytes(&[10, 0]));
    let mut kernel = kernel;
    for (extent, chunk) in [(10, 1), (10, 3), (12, 3), (0, 4)] {
        kernel.schedule.parallel[0].1 = chunk;
        let mut program = chain();
        program.kernels[0] = kernel.clone();
        program.calls = vec![add_call(Place::Input(0), Place::Output(0), Dim::from(extent), Dim::ONE)];
        program.steps = Step::calls(1);
        let layout = Layout::of(&program, &[&scratch, &scratch]).unwrap();
        let items = layout.sizes.as_const(layout.calls[0].items);
        assert_eq!(items, work_items(&kernel, &[extent, 1]));
    }
    assert_eq!(BlockLayout::of(&kernel).words(), 7);
}

#[test]
fn a_loop_without_calls_ends_when_it_is_cancelled() {
    let mut program = chain();
    program.guards.clear();
    (program.calls, program.steps) = (vec![], vec![]);
    let forever = Step::While { cond: vec![], pred: Place::Input(0), body: vec![], carried: vec![] };
    let long = Step::Scan { length: n(), reverse: false, counter: 0, body: vec![], carried: vec![] };
    let word = AtomicU32::new(1);
    let pool = ThreadPool::new(1).unwrap();
    let ctx = pool.context(Some(&word));
    for (step, dims, x) in [(forever.clone(), 1, 1), (long, 1 << 40, 0)] {
        program.counters = 1;
        program.steps = vec![step];
        program.slots.clear();
        let loaded = load(&program);
        assert_eq!(loaded.run(&[dims], &[x], &mut [0], Some(&ctx)).0, FNX_CANCELLED);
    }
    program.steps = vec![forever];
    assert_eq!(load(&program).run(&[1], &[0], &mut [0], None).0, FNX_OK);
}

/// `y = in` with `n` added `times` over, by a loop that carries what it adds to.
#[test]
fn what_a_scan_carries_changes_buffers() {
    let carried = || vec![Carried { now: 0, next: 1, first: Place::Input(0), buffers: [0, 1] }];
    let mut program = chain();
    program.guards.clear();
    program.calls = vec![
        add_call(Place::Variable(0), Place::Variable(1), n(), n()),
        add_call(Place::Variable(0), Place::Output(0), n(), Dim::ZERO),
    ];
    program.variables = 2;
    program.counters = 1;
    for times in 0..5 {
        let body = vec![Step::Call(0)];
        let length = Dim::from(times);
        let scan = Step::Scan { length, reverse: true, counter: 0, body, carried: carried() };
        program.steps = vec![scan, Step::Call(1)];
        assert_eq!(program.verify(), Ok(()));
        let (x, mut y) = ([7, 8, 9], [0; 3]);
        assert_eq!(load(&program).run(&[3], &x, &mut y, None).0, FNX_OK);
        assert_eq!(y, x.map(|v| v + 3 * times), "{times}");
    }
}

#[test]
fn branches_go_by_a_byte_and_slices_by_the_counter() {
    let mut program = chain();
    program.guards.clear();
    let element = || Dim::from(8);
    let slice = |of| Slice { of, counter: 0, stride: element() };
    program.slices = vec![slice(Place::Input(0)), slice(Place::Output(0))];
    program.calls = vec![
        add_call(Place::Slice(0), Place::Slice(1), Dim::ONE, Dim::from(10)),
        add_call(Place::Slice(0), Place::Slice(1), Dim::ONE, Dim::from(20)),
    ];
    program.counters = 1;
    let (then, otherwise) = (vec![Step::Call(0)], vec![Step::Call(1)]);
    let body = vec![Step::Cond { pred: Place::Slice(0), then, otherwise }];
    program.steps = vec![Step::Scan { length: n(), reverse: false, counter: 0, body, carried: vec![] }];
    assert_eq!(program.verify(), Ok(()));
    let (x, mut y) = ([1, 0, 0, 1], [0; 4]);
    assert_eq!(load(&program).run(&[4], &x, &mut y, None).0, FNX_OK);
    assert_eq!(y, [11, 20, 20, 11]);
}
