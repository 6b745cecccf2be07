//! `Instance` with a program written by hand against the C ABI.
#![allow(unsafe_code, reason = "the program under test is on the other side of the ABI")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fornax_runtime::abi::{
    ARGS_SIZE, FNX_ABI, FNX_CANCELLED, FNX_DIMS, FNX_INDEX, FNX_INTERNAL, FNX_OK, FNX_SHAPE,
};
use fornax_runtime::{
    ABI_VERSION, AlignedBuffer, CancelToken, DType, Dim, Entry, FnxArgs, Instance, InstanceError,
    InstanceOptions, ProgramIo, RunError, SymbolInfo, TensorInfo, ThreadPool,
};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: forwards to the system allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A kernel's argument block.
struct Block {
    x: *const f32,
    y: *mut f32,
    columns: i64,
    partial: *mut f32,
    weights: *const f32,
}

/// Row sums through per-worker scratch: partial[worker] = x[row, :] . weights; y[row] = it.
unsafe extern "C" fn rows(arg: *mut c_void, begin: i64, end: i64, worker: u32) {
    // SAFETY: called by `run` with a block that outlives the loop; scratch has a slot per worker.
    unsafe {
        let block = &*arg.cast::<Block>();
        let slot = block.partial.add(worker as usize * 16);
        for row in begin..end {
            *slot = 0.0;
            for column in 0..block.columns {
                let x = *block.x.offset((row * block.columns + column) as isize);
                *slot += x * *block.weights.offset(column as isize);
            }
            *block.y.offset(row as isize) = *slot;
        }
    }
}

/// y[n] = x[n, 3] . weights[3]; a first row of negative numbers selects what goes wrong.
unsafe extern "C" fn run(args: *const FnxArgs) -> i32 {
    // SAFETY: the arguments follow the ABI.
    unsafe {
        let args = &*args;
        if args.size < ARGS_SIZE {
            return FNX_ABI;
        }
        let n = *args.dims;
        let x = (*args.inputs).cast::<f32>();
        let mut block = Block {
            x,
            y: (*args.outputs).cast(),
            columns: 3,
            partial: args.scratch.cast(),
            weights: args.weights.cast(),
        };
        assert_eq!((block.partial.addr() % 64, block.weights.addr() % 64), (0, 0));
        let fault = if n > 0 { -*x } else { 0.0 };
        if fault >= 1.0 {
            if fault < 100.0 {
                *args.error_detail = 40 + fault as i64;
            }
            return fault as i32 % 100;
        }
        let ctx = &*args.ctx;
        assert!(ctx.max_threads >= 1 && ctx.size == fornax_runtime::abi::CTX_SIZE);
        let parallel_for = ctx.parallel_for.unwrap();
        for _ in 0..3 {
            if !ctx.cancel.is_null() && (*ctx.cancel).load(Ordering::Relaxed) != 0 {
                return FNX_CANCELLED;
            }
            parallel_for(ctx, rows, (&raw mut block).cast(), n, ctx.max_threads);
        }
        FNX_OK
    }
}

/// 64 bytes per worker, and 1 KiB per row so that the size depends on dims.
unsafe extern "C" fn scratch(dims: *const i64, max_threads: u32) -> usize {
    // SAFETY: the program has one symbol.
    let n = unsafe { *dims } as usize;
    n.checked_mul(1024).and_then(|rows| rows.checked_add(max_threads as usize * 64)).unwrap_or(usize::MAX)
}

const ENTRY: Entry = Entry { abi_version: ABI_VERSION, run, scratch_bytes: scratch };

fn io() -> ProgramIo {
    let tensor =
        |name: &str, dims: &[Dim]| TensorInfo { name: name.into(), dtype: DType::F32, dims: dims.to_vec() };
    ProgramIo {
        inputs: vec![tensor("x", &[Dim::Symbol(0), Dim::Const(3)])],
        outputs: vec![tensor("y", &[Dim::Symbol(0)])],
        symbols: vec![SymbolInfo { name: "n".into(), min: 0, max: i64::MAX }],
        aliases: vec![],
    }
}

fn options(threads: usize, memory_limit: Option<usize>) -> InstanceOptions {
    let weights: Vec<u8> = [1.0f32, 10.0, 100.0].iter().flat_map(|x| x.to_ne_bytes()).collect();
    InstanceOptions {
        pool: Arc::new(ThreadPool::new(threads).unwrap()),
        weights: Some(Arc::new(AlignedBuffer::copy_of(&weights).unwrap())),
        memory_limit,
        byte_lengths: None,
    }
}

fn make(options: InstanceOptions) -> Instance {
    // SAFETY: `run` and `scratch` are static and follow `io`.
    unsafe { Instance::new(ENTRY, io(), Arc::new(()), options) }.unwrap()
}

/// f32 values as an aligned byte buffer.
fn bytes(values: impl IntoIterator<Item = f32>) -> AlignedBuffer {
    let raw: Vec<u8> = values.into_iter().flat_map(f32::to_ne_bytes).collect();
    AlignedBuffer::copy_of(&raw).unwrap()
}

fn floats(buffer: &AlignedBuffer) -> Vec<f32> {
    let words = buffer.as_slice().chunks_exact(4);
    words.map(|word| f32::from_ne_bytes(word.try_into().unwrap())).collect()
}

fn rows_of(n: usize, seed: f32) -> (AlignedBuffer, Vec<f32>) {
    let x = bytes((0..3 * n).map(|index| index as f32 + seed));
    let y = (0..n).map(|row| {
        let first = (3 * row) as f32 + seed;
        first + (first + 1.0) * 10.0 + (first + 2.0) * 100.0
    });
    (x, y.collect())
}

fn run_rows(instance: &Instance, x: &AlignedBuffer, n: usize) -> Result<Vec<f32>, RunError> {
    let mut y = AlignedBuffer::zeroed(4 * n).unwrap();
    instance.run(&[n as i64], &[x.as_slice()], &mut [y.as_mut_slice()])?;
    Ok(floats(&y))
}

#[test]
fn concurrent_runs_with_different_dims() {
    for threads in [1, 2, 4] {
        let instance = make(options(threads, None));
        std::thread::scope(|scope| {
            for caller in 0..8usize {
                let instance = &instance;
                scope.spawn(move || {
                    for round in 0..100 {
                        let n = (caller * 5 + round) % 33;
                        let (x, expected) = rows_of(n, caller as f32);
                        assert_eq!(run_rows(instance, &x, n).unwrap(), expected);
                    }
                });
            }
        });
        assert!(instance.resident_scratch_bytes() >= 32 * 1024);
        instance.release_idle_scratch();
        assert_eq!(instance.resident_scratch_bytes(), 0);
    }
}

#[test]
fn a_warm_run_allocates_nothing() {
    let instance = make(options(2, None));
    let (x, expected) = rows_of(64, 0.0);
    let mut y = AlignedBuffer::zeroed(256).unwrap();
    let mut once = || instance.run(&[64], &[x.as_slice()], &mut [y.as_mut_slice()]).unwrap();
    once();
    let before = ALLOCATIONS.get();
    (0..100).for_each(|_| once());
    assert_eq!(ALLOCATIONS.get(), before);
    assert_eq!(floats(&y), expected);
}

#[test]
fn the_code_lives_as_long_as_the_instance() {
    static DROPPED: AtomicBool = AtomicBool::new(false);
    struct Code;
    impl Drop for Code {
        fn drop(&mut self) {
            DROPPED.store(true, Ordering::SeqCst);
        }
    }
    // SAFETY: as in `make`.
    let instance = unsafe { Instance::new(ENTRY, io(), Arc::new(Code), options(2, None)) }.unwrap();
    let (x, expected) = rows_of(2, 0.0);
    assert_eq!(run_rows(&instance, &x, 2).unwrap(), expected);
    assert!(!DROPPED.load(Ordering::SeqCst));
    drop(instance);
    assert!(DROPPED.load(Ordering::SeqCst));
}

#[test]
fn codes_of_the_program_become_errors() {
    let instance = make(options(1, None));
    let failing = |fault: f32| run_rows(&instance, &bytes([-fault, 0.0, 0.0]), 1).unwrap_err();
    for code in [FNX_DIMS, FNX_SHAPE, FNX_INDEX, FNX_INTERNAL] {
        let detail = Some(40 + i64::from(code));
        assert_eq!(failing(code as f32), RunError::Program { code, detail });
    }
    assert_eq!(failing(103.0), RunError::Program { code: FNX_SHAPE, detail: None });
    let index = failing(FNX_INDEX as f32);
    assert!(index.is_bad_input());
    assert_eq!(index.to_string(), "FNX_INDEX: an index is out of range (message 44)");
    assert!(!failing(FNX_INTERNAL as f32).is_bad_input());
    assert!(failing(99.0).to_string().starts_with("unknown error code"));
    let (x, expected) = rows_of(1, 0.0);
    assert_eq!(run_rows(&instance, &x, 1).unwrap(), expected, "usable after errors");
}

#[test]
fn cancelling_stops_runs_of_that_token_only() {
    let instance = make(options(2, None));
    let token = CancelToken::new();
    let (x, expected) = rows_of(4, 0.0);
    let mut y = AlignedBuffer::zeroed(16).unwrap();
    let mut with = |cancel: &CancelToken| {
        let outputs = &mut [y.as_mut_slice()];
        instance.run_with(&[4], &[x.as_slice()], outputs, None, Some(cancel))
    };
    assert_eq!(with(&token), Ok(()));
    std::thread::scope(|scope| scope.spawn(|| token.clone().cancel()).join()).unwrap();
    assert!(token.is_cancelled());
    assert_eq!(with(&token), Err(RunError::Cancelled));
    assert_eq!(with(&CancelToken::new()), Ok(()));
    assert_eq!(floats(&y), expected);
}

#[test]
fn wrong_calls_are_refused_before_anything_runs() {
    let instance = make(options(1, None));
    let (x, mut y) = (bytes([1.0; 9]), AlignedBuffer::zeroed(16).unwrap());
    let mut call = |dims: &[i64], inputs: &[&[u8]], start: usize, end: usize| {
        let result = instance.run(dims, inputs, &mut [&mut y.as_mut_slice()[start..end]]);
        result.unwrap_err().to_string()
    };
    let x = x.as_slice();
    assert_eq!(call(&[], &[x], 0, 8), "the program takes 1 symbolic dims, 0 were given");
    assert_eq!(call(&[2], &[], 0, 8), "the program takes 1 inputs, 0 were given");
    assert!(call(&[-1], &[x], 0, 8).contains("'n' is -1"));
    assert!(call(&[2], &[x], 0, 8).contains("'x' needs 24 bytes"));
    assert!(call(&[2], &[&x[..24]], 0, 12).contains("'y' needs 8 bytes"));
    assert!(call(&[2], &[&x[1..25]], 0, 8).contains("'x' must be aligned to 4 bytes"));
    assert!(call(&[2], &[&x[..24]], 1, 9).contains("'y' must be aligned to 4 bytes"));
    assert!(call(&[i64::MAX], &[x], 0, 8).contains("scratch"));
    assert_eq!(floats(&y), [0.0; 4]);

    let mut outputs: [&mut [u8]; 0] = [];
    let missing = instance.run(&[2], &[&x[..24]], &mut outputs).unwrap_err();
    assert_eq!(missing, RunError::Count { what: "outputs", expected: 1, found: 0 });
}

#[test]
fn the_memory_limit_holds() {
    let weights = 12;
    let instance = make(options(1, Some(weights + 64 + 4 * 1024)));
    assert_eq!(instance.scratch_bytes(&[4]), Ok(64 + 4 * 1024));
    let (x, expected) = rows_of(4, 0.0);
    let (small, small_expected) = rows_of(1, 0.0);
    assert_eq!(run_rows(&instance, &small, 1).unwrap(), small_expected);
    assert_eq!(run_rows(&instance, &x, 4).unwrap(), expected);
    let error = run_rows(&instance, &rows_of(5, 0.0).0, 5).unwrap_err();
    let limit = weights + 64 + 4 * 1024;
    assert_eq!(error, RunError::MemoryLimit { needed: 64 + 5 * 1024, in_use: weights, limit });
    assert_eq!(run_rows(&instance, &x, 4).unwrap(), expected);
    assert_eq!(instance.resident_scratch_bytes(), 64 + 4 * 1024);

    // SAFETY: as in `make`.
    let error = unsafe { Instance::new(ENTRY, io(), Arc::new(()), options(1, Some(11))) };
    assert!(matches!(error.unwrap_err(), InstanceError::Weights(_)));
}

#[test]
fn impossible_scratch_is_an_error_and_leaves_the_instance_usable() {
    let instance = make(options(1, None));
    let (x, expected) = rows_of(2, 0.0);
    // 2^55 bytes of scratch: more than any machine maps.
    let error = instance.run(&[1 << 45], &[x.as_slice()], &mut [&mut []]);
    assert!(matches!(error, Err(RunError::Memory(_))), "{error:?}");
    assert_eq!(instance.resident_scratch_bytes(), 0);
    assert_eq!(run_rows(&instance, &x, 2).unwrap(), expected);
}

#[test]
fn another_abi_version_is_refused() {
    let entry = Entry { abi_version: ABI_VERSION + 1, ..ENTRY };
    // SAFETY: as in `make`.
    let error = unsafe { Instance::new(entry, io(), Arc::new(()), options(1, None)) }.unwrap_err();
    assert_eq!(error, InstanceError::AbiVersion { found: ABI_VERSION + 1 });
}

mod computed {
    use super::*;

    /// y = the positive elements of x, their number in out_dims[0].
    unsafe extern "C" fn positive(args: *const FnxArgs) -> i32 {
        // SAFETY: the arguments follow the ABI; y has room for as many elements as x.
        unsafe {
            let args = &*args;
            let (x, y) = ((*args.inputs).cast::<f32>(), (*args.outputs).cast::<f32>());
            let mut found = 0;
            for index in 0..*args.dims as usize {
                let value = x.add(index).read();
                if value > 0.0 {
                    y.add(found).write(value);
                    found += 1;
                }
            }
            *args.out_dims = found as i64;
        }
        FNX_OK
    }

    unsafe extern "C" fn none(_: *const i64, _: u32) -> usize {
        0
    }

    fn instance(lengths: bool) -> Result<Instance, InstanceError> {
        let mut io = io();
        io.inputs[0].dims.pop();
        io.outputs[0].dims = vec![Dim::Computed(0)];
        io.aliases = vec![(0, 0)];
        let mut options = options(1, None);
        if lengths {
            options.byte_lengths = Some(Box::new(|dims, lengths| {
                let bytes = usize::try_from(dims[0]).ok().and_then(|n| n.checked_mul(4));
                lengths.fill(bytes.unwrap_or(0));
                bytes.is_some()
            }));
        }
        let entry = Entry { abi_version: ABI_VERSION, run: positive, scratch_bytes: none };
        // SAFETY: static functions that follow `io` with these lengths.
        unsafe { Instance::new(entry, io, Arc::new(()), options) }
    }

    #[test]
    fn sizes_known_after_the_run_are_reported() {
        let error = instance(false).unwrap_err();
        assert_eq!(error, InstanceError::ByteLengths { output: "y".into() });

        let instance = instance(true).unwrap();
        let (x, mut y) = (bytes([1.0, -2.0, 3.0]), AlignedBuffer::zeroed(12).unwrap());
        let mut out_dims = [0];
        let result =
            instance.run_with(&[3], &[x.as_slice()], &mut [y.as_mut_slice()], Some(&mut out_dims), None);
        assert_eq!((result, out_dims), (Ok(()), [2]));
        assert_eq!(floats(&y), [1.0, 3.0, 0.0]);
        let outputs = &mut [y.as_mut_slice()];
        assert_eq!(instance.run(&[3], &[x.as_slice()], outputs), Ok(()));
        let wrong = instance.run_with(&[3], &[x.as_slice()], outputs, Some(&mut []), None);
        assert_eq!(wrong, Err(RunError::Count { what: "out dims", expected: 1, found: 0 }));
        let overflow = instance.run(&[i64::MAX], &[x.as_slice()], outputs);
        assert_eq!(overflow, Err(RunError::SizeOverflow));
    }

    #[test]
    fn a_donated_input_may_be_the_output() {
        let instance = instance(true).unwrap();
        let mut x = bytes([-1.0, 2.0, 3.0]);
        let start = x.as_mut_ptr();
        // SAFETY: the pair is in the alias table and the buffer has 12 bytes.
        let result = unsafe { instance.run_raw(&[3], &[start], &[start], None, None) };
        assert_eq!(result, Ok(()));
        assert_eq!(floats(&x)[..2], [2.0, 3.0]);
        // SAFETY: refused for its alignment before use.
        let odd = unsafe { instance.run_raw(&[3], &[start.wrapping_add(1)], &[start], None, None) };
        assert!(matches!(odd, Err(RunError::Alignment { alignment: 4, .. })));
    }
}

/// y[n] = x[n, 3] summed by rows, on the caller's thread, without scratch.
unsafe extern "C" fn run_plainly(args: *const FnxArgs) -> i32 {
    // SAFETY: the arguments follow the ABI.
    unsafe {
        let args = &*args;
        let (x, y) = ((*args.inputs).cast::<f32>(), (*args.outputs).cast::<f32>());
        for row in 0..*args.dims as usize {
            *y.add(row) = (0..3).map(|k| *x.add(row * 3 + k)).sum();
        }
        if *args.dims == 2 { FNX_SHAPE } else { FNX_OK }
    }
}

unsafe extern "C" fn no_scratch(_: *const i64, _: u32) -> usize {
    0
}

#[test]
fn a_small_program_runs_without_a_workspace_and_every_check_holds() {
    let entry = Entry { abi_version: ABI_VERSION, run: run_plainly, scratch_bytes: no_scratch };
    // SAFETY: both functions are static and follow `io`.
    let plain = unsafe { Instance::new(entry, io(), Arc::new(()), options(1, None)) }.unwrap();
    let x = bytes([1.0, 2.0, 3.0]);
    let mut y = bytes([0.0]);
    let before = ALLOCATIONS.get();
    plain.run_small(&[1], &[x.as_slice()], &mut [y.as_mut_slice()]).unwrap();
    assert_eq!(ALLOCATIONS.get(), before);
    assert_eq!(y.as_slice(), bytes([6.0]).as_slice());
    // One that needs scratch goes the usual way.
    make(options(1, None)).run_small(&[1], &[x.as_slice()], &mut [y.as_mut_slice()]).unwrap();
    assert_eq!(y.as_slice(), bytes([321.0]).as_slice());

    let (long, mut short) = (bytes([0.0; 6]), bytes([0.0]));
    let wrong = plain.run_small(&[2], &[long.as_slice()], &mut [short.as_mut_slice()]).unwrap_err();
    assert!(matches!(&wrong, RunError::Length { tensor, expected: 8, found: 4 } if tensor == "y"), "{wrong}");
    let wrong = plain.run_small(&[1], &[&x.as_slice()[1..]], &mut [y.as_mut_slice()]).unwrap_err();
    assert!(matches!(wrong, RunError::Length { expected: 12, found: 11, .. }), "{wrong}");
    let odd = &long.as_slice()[2..14];
    let wrong = plain.run_small(&[1], &[odd], &mut [y.as_mut_slice()]).unwrap_err();
    assert!(matches!(wrong, RunError::Alignment { alignment: 4, .. }), "{wrong}");
    assert!(plain.run_small(&[], &[x.as_slice()], &mut [y.as_mut_slice()]).is_err());
    assert!(plain.run_small(&[1], &[], &mut [y.as_mut_slice()]).is_err());
    assert!(plain.run_small(&[-1], &[x.as_slice()], &mut [y.as_mut_slice()]).is_err());
    let mut pair = bytes([0.0; 2]);
    let wrong = plain.run_small(&[2], &[long.as_slice()], &mut [pair.as_mut_slice()]).unwrap_err();
    assert!(matches!(wrong, RunError::Program { code: FNX_SHAPE, .. }), "{wrong}");
}
