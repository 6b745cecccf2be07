//! A loaded program and the safe way to run it.

use std::any::Any;
use std::cell::Cell;
use std::ffi::c_void;
use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::abi::{
    ABI_VERSION, ARGS_SIZE, FNX_ABI, FNX_CANCELLED, FNX_CAPACITY, FNX_DIMS, FNX_INDEX, FNX_OK, FNX_SHAPE,
    FnxArgs, FnxCtx, error_string,
};
use crate::buffer::{AlignedBuffer, Arena, BufferError};
use crate::io::{Dim, IoError, ProgramIo, TensorInfo};
use crate::pool::ThreadPool;

/// `m_run`: runs the program; returns 0 or an `FNX_` code.
pub type MRun = unsafe extern "C" fn(args: *const FnxArgs) -> i32;

/// `m_scratch_bytes`: bytes of scratch for these dims and threads; `SIZE_MAX` on overflow.
pub type MScratch = unsafe extern "C" fn(dims: *const i64, max_threads: u32) -> usize;

/// Most inputs, and most outputs, of a program that [`Instance::run_small`] runs without a workspace.
pub const FEW: usize = 8;

/// The functions of a loaded program.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// What the program's `m_abi_version` returns.
    pub abi_version: u32,
    /// `m_run`.
    pub run: MRun,
    /// `m_scratch_bytes`.
    pub scratch_bytes: MScratch,
}

/// Cancels runs it was given to, from any thread: each returns [`RunError::Cancelled`] before its
/// next kernel.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicU32>);

impl CancelToken {
    /// A token that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels every run that has this token, now and later.
    pub fn cancel(&self) {
        self.0.store(1, Ordering::Relaxed);
    }

    /// Whether [`CancelToken::cancel`] was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }
}

/// Given the values of the symbols, writes the byte length of every input, then of every output;
/// false when one overflows `usize`.
///
/// For an output whose size depends on data it gives the room that the program needs at most.
pub type ByteLengths = dyn Fn(&[i64], &mut [usize]) -> bool + Send + Sync;

/// What an [`Instance`] is made of besides its code.
pub struct InstanceOptions {
    /// Threads of its parallel loops; may be shared between instances.
    pub pool: Arc<ThreadPool>,
    /// The program's weights, if it takes any.
    pub weights: Option<Arc<AlignedBuffer>>,
    /// Most bytes of weights and scratch together, over all concurrent runs.
    pub memory_limit: Option<usize>,
    /// Byte lengths of inputs and outputs; needed when an output has a [`Dim::Computed`].
    pub byte_lengths: Option<Box<ByteLengths>>,
}

impl fmt::Debug for InstanceOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstanceOptions")
            .field("threads", &self.pool.threads())
            .field("weights", &self.weights.as_ref().map(|weights| weights.len()))
            .field("memory_limit", &self.memory_limit)
            .finish_non_exhaustive()
    }
}

/// Why an instance could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstanceError {
    /// The program was compiled for another ABI.
    #[error("the program has ABI version {found}, this runtime has {ABI_VERSION}; recompile it")]
    AbiVersion {
        /// The program's version.
        found: u32,
    },
    /// The table of inputs and outputs makes no sense.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Nothing says how large an output with computed dims may get.
    #[error("output '{output}' has computed dims, so `byte_lengths` is needed to size its buffer")]
    ByteLengths {
        /// The output.
        output: String,
    },
    /// The weights alone are above the memory limit.
    #[error("the weights: {0}")]
    Weights(BufferError),
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The number of dims, inputs, outputs or out-dims is wrong.
    #[error("the program takes {expected} {what}, {found} were given")]
    Count {
        /// "symbolic dims", "inputs", "outputs" or "out dims".
        what: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A symbolic dim is outside its range.
    #[error("dim '{symbol}' is {value}; the program was compiled for {min}..={max}")]
    DimRange {
        /// The symbol.
        symbol: String,
        /// Its value.
        value: i64,
        /// Smallest value allowed.
        min: i64,
        /// Largest value allowed.
        max: i64,
    },
    /// A tensor of these dims cannot exist.
    #[error("for these dims the size of an input or output overflows")]
    SizeOverflow,
    /// A buffer has the wrong length.
    #[error("'{tensor}' needs {expected} bytes for these dims, its buffer has {found}")]
    Length {
        /// The tensor.
        tensor: String,
        /// Bytes it should have.
        expected: usize,
        /// Bytes it has.
        found: usize,
    },
    /// A buffer is not aligned to its element's size.
    #[error("the buffer of '{tensor}' must be aligned to {alignment} bytes")]
    Alignment {
        /// The tensor.
        tensor: String,
        /// Bytes it should be aligned to.
        alignment: usize,
    },
    /// The size of scratch overflows for these dims.
    #[error("for these dims the program would need more scratch memory than can be addressed")]
    ScratchOverflow,
    /// The memory limit does not allow the scratch of this run.
    #[error("the run needs {needed} bytes of scratch; {in_use} bytes are in use and the limit is {limit}")]
    MemoryLimit {
        /// Scratch of this run.
        needed: usize,
        /// Weights, and scratch of other runs in progress.
        in_use: usize,
        /// The limit.
        limit: usize,
    },
    /// The system refused the scratch.
    #[error("scratch memory: {0}")]
    Memory(#[from] BufferError),
    /// The run was cancelled; outputs are unspecified.
    #[error("the run was cancelled")]
    Cancelled,
    /// The program returned another code. After [`FNX_INDEX`] outputs are complete, else
    /// unspecified.
    #[error("{}{}", error_string(*code), detail_text(*detail))]
    Program {
        /// An `FNX_` code.
        code: i32,
        /// Index into the program's table of messages, if it gave one.
        detail: Option<i64>,
    },
}

fn detail_text(detail: Option<i64>) -> String {
    detail.map_or_else(String::new, |id| format!(" (message {id})"))
}

impl RunError {
    /// Whether the fault lies in what the run was given (true) or in the program or the machine.
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Memory(_) | Self::Cancelled => false,
            Self::Program { code, .. } => {
                matches!(*code, FNX_DIMS | FNX_SHAPE | FNX_INDEX | FNX_CAPACITY)
            }
            _ => true,
        }
    }

    /// The result of a run that returned `code`; a negative `detail` means that there is none.
    fn from_code(code: i32, detail: i64) -> Result<(), Self> {
        match code {
            FNX_OK => Ok(()),
            FNX_CANCELLED => Err(Self::Cancelled),
            // The structures given are those of this version, so their size is not at fault.
            FNX_ABI => Err(Self::Program { code, detail: None }),
            _ => Err(Self::Program { code, detail: (detail >= 0).then_some(detail) }),
        }
    }
}

/// What a call of a program took in one run of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CallTime {
    /// All of it, forking and joining included.
    pub time: Duration,
    /// How often the call was made: once for each iteration of a loop, never in a branch not taken.
    pub runs: u64,
}

/// A context that measures kernel calls.
#[repr(C)]
struct TimedCtx<'a> {
    ctx: FnxCtx,
    /// When the last call returned, or the run began.
    last: Cell<Instant>,
    times: &'a [Cell<CallTime>],
}

/// [`crate::abi::FnxAfterKernel`] of a [`TimedCtx`].
unsafe extern "C" fn note_time(ctx: *const FnxCtx, call: u32) {
    // SAFETY: `run_timed` passes a whole `TimedCtx`; programs call this on the caller's thread only.
    let timed = unsafe { &*ctx.cast::<TimedCtx<'_>>() };
    let now = Instant::now();
    if let Some(call) = timed.times.get(call as usize) {
        let CallTime { time, runs } = call.get();
        call.set(CallTime { time: time + (now - timed.last.get()), runs: runs + 1 });
    }
    timed.last.set(now);
}

/// Memory of one run, kept for the next.
#[derive(Debug, Default)]
struct Workspace {
    scratch: Arena,
    inputs: Vec<*const c_void>,
    outputs: Vec<*mut c_void>,
    out_dims: Vec<i64>,
    lengths: Vec<usize>,
}

// SAFETY: the pointers in the lists are only used within the run that wrote them.
unsafe impl Send for Workspace {}

/// Idle workspaces, and how much scratch exists.
#[derive(Debug, Default)]
struct Workspaces {
    idle: Vec<Workspace>,
    /// Bytes of scratch of every workspace, idle or in use.
    scratch_bytes: usize,
}

/// A loaded program with its weights and threads.
///
/// It may be run from any number of threads at once; each concurrent run has its own scratch,
/// which is kept for later runs: once warm, a run allocates nothing.
pub struct Instance {
    entry: Entry,
    io: ProgramIo,
    options: InstanceOptions,
    workspaces: Mutex<Workspaces>,
    /// Keeps the code behind `entry` mapped; dropped last.
    _code: Arc<dyn Any + Send + Sync>,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("io", &self.io).field("options", &self.options).finish()
    }
}

/// A workspace taken from an instance; goes back when dropped.
struct Lease<'a> {
    instance: &'a Instance,
    workspace: Workspace,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let workspace = std::mem::take(&mut self.workspace);
        self.instance.lock().idle.push(workspace);
    }
}

/// The length in bytes of a tensor whose dims are constants and symbols.
fn byte_length(tensor: &TensorInfo, dims: &[i64]) -> Option<usize> {
    tensor.dims.iter().try_fold(tensor.dtype.size(), |bytes, dim| {
        let extent = match *dim {
            Dim::Const(extent) => extent,
            Dim::Symbol(index) => *dims.get(index)?,
            Dim::Computed(_) => return None,
        };
        bytes.checked_mul(usize::try_from(extent).ok()?)
    })
}

fn check_count(what: &'static str, expected: usize, found: usize) -> Result<(), RunError> {
    if expected == found { Ok(()) } else { Err(RunError::Count { what, expected, found }) }
}

/// Checks one buffer against the tensor it is for.
fn check_buffer(
    tensor: &TensorInfo,
    expected: usize,
    start: *const u8,
    found: usize,
) -> Result<(), RunError> {
    if expected != found {
        return Err(RunError::Length { tensor: tensor.name.clone(), expected, found });
    }
    let alignment = tensor.dtype.size();
    if expected != 0 && !start.addr().is_multiple_of(alignment) {
        return Err(RunError::Alignment { tensor: tensor.name.clone(), alignment });
    }
    Ok(())
}

impl Instance {
    /// Joins a program's code with its weights and threads. `code` is whatever keeps the functions
    /// of `entry` mapped.
    ///
    /// # Errors
    /// [`InstanceError`]: another ABI version, a senseless table, no rule for computed dims, or
    /// weights above the memory limit.
    ///
    /// # Safety
    /// While `code` lives, the functions of `entry` must follow the ABI of [`crate::abi`] with the
    /// inputs and outputs of `io`: for any dims in range they read and write only within the
    /// byte lengths that `io`, or `options.byte_lengths`, gives for these dims, within the scratch
    /// that `scratch_bytes` asks for, and within `options.weights`; they may run on several threads
    /// at once with different arguments; and they don't unwind. Where both `io` and `options.byte_lengths` tell a
    /// length, they tell the same.
    pub unsafe fn new(
        entry: Entry,
        io: ProgramIo,
        code: Arc<dyn Any + Send + Sync>,
        options: InstanceOptions,
    ) -> Result<Self, InstanceError> {
        if entry.abi_version != ABI_VERSION {
            return Err(InstanceError::AbiVersion { found: entry.abi_version });
        }
        io.validate()?;
        let computed = |tensor: &&TensorInfo| tensor.dims.iter().any(|dim| matches!(dim, Dim::Computed(_)));
        if options.byte_lengths.is_none()
            && let Some(tensor) = io.outputs.iter().find(computed)
        {
            return Err(InstanceError::ByteLengths { output: tensor.name.clone() });
        }
        let weights = options.weights.as_ref().map_or(0, |weights| weights.len());
        crate::buffer::check_limit(weights, options.memory_limit).map_err(InstanceError::Weights)?;
        Ok(Self { entry, io, options, workspaces: Mutex::default(), _code: code })
    }

    /// Inputs, outputs and symbols.
    #[must_use]
    pub fn io(&self) -> &ProgramIo {
        &self.io
    }

    /// The threads of its parallel loops.
    #[must_use]
    pub fn pool(&self) -> &Arc<ThreadPool> {
        &self.options.pool
    }

    /// Bytes of scratch that exist now, idle or in use.
    #[must_use]
    pub fn resident_scratch_bytes(&self) -> usize {
        self.lock().scratch_bytes
    }

    /// Gives idle scratch back to the system.
    pub fn release_idle_scratch(&self) {
        self.lock().release_idle();
    }

    /// Bytes of scratch that one run with these dims takes.
    ///
    /// # Errors
    /// [`RunError::Count`], [`RunError::DimRange`] or [`RunError::ScratchOverflow`].
    pub fn scratch_bytes(&self, dims: &[i64]) -> Result<usize, RunError> {
        self.check_dims(dims)?;
        self.query_scratch(dims)
    }

    /// Runs the program: `dims` are the values of the symbols, `inputs` and `outputs` the bytes of
    /// each tensor, contiguous and in row-major order.
    ///
    /// # Errors
    /// See [`RunError`]. Nothing is run, and nothing written, unless counts, dims, lengths and
    /// alignments are right and scratch could be had.
    pub fn run(&self, dims: &[i64], inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> Result<(), RunError> {
        self.run_with(dims, inputs, outputs, None, None)
    }

    /// As [`Instance::run`], for small programs that run often: takes no lock and allocates nothing where the program
    /// needs no scratch and has at most [`FEW`] inputs and as many outputs, all of constant or symbolic extents.
    /// Elsewhere it is [`Instance::run`].
    ///
    /// # Errors
    /// See [`Instance::run`].
    pub fn run_small(
        &self,
        dims: &[i64],
        inputs: &[&[u8]],
        outputs: &mut [&mut [u8]],
    ) -> Result<(), RunError> {
        check_count("inputs", self.io.inputs.len(), inputs.len())?;
        check_count("outputs", self.io.outputs.len(), outputs.len())?;
        self.check_dims(dims)?;
        if inputs.len().max(outputs.len()) > FEW || self.query_scratch(dims)? != 0 {
            return self.run(dims, inputs, outputs);
        }
        let mut starts = [ptr::null::<c_void>(); FEW];
        let mut out_starts = [ptr::null_mut::<c_void>(); FEW];
        for ((tensor, bytes), start) in self.io.inputs.iter().zip(inputs).zip(&mut starts) {
            let Some(length) = byte_length(tensor, dims) else { return self.run(dims, inputs, outputs) };
            check_buffer(tensor, length, bytes.as_ptr(), bytes.len())?;
            *start = bytes.as_ptr().cast();
        }
        for index in 0..outputs.len() {
            let tensor = &self.io.outputs[index];
            let Some(length) = byte_length(tensor, dims) else { return self.run(dims, inputs, outputs) };
            check_buffer(tensor, length, outputs[index].as_ptr(), outputs[index].len())?;
            out_starts[index] = outputs[index].as_mut_ptr().cast();
        }
        let ctx = self.context(None);
        let mut detail = -1i64;
        let args = FnxArgs {
            size: ARGS_SIZE,
            dims: dims.as_ptr(),
            inputs: starts.as_ptr(),
            outputs: out_starts.as_ptr(),
            out_dims: ptr::null_mut(),
            weights: self.weights(),
            scratch: ptr::null_mut(),
            ctx: &raw const ctx,
            error_detail: &raw mut detail,
        };
        // SAFETY: the program follows the ABI (promise of `new`), dims are in range, it wants no scratch and has no
        // computed extents, and every buffer was checked; slices don't overlap where one of them is written.
        let code = unsafe { (self.entry.run)(&raw const args) };
        RunError::from_code(code, detail)
    }

    /// As [`Instance::run`]. `out_dims`, if wanted, receives the computed sizes (its length must be
    /// [`ProgramIo::out_dims`]); `cancel` can stop the run.
    ///
    /// # Errors
    /// See [`Instance::run`].
    pub fn run_with(
        &self,
        dims: &[i64],
        inputs: &[&[u8]],
        outputs: &mut [&mut [u8]],
        out_dims: Option<&mut [i64]>,
        cancel: Option<&CancelToken>,
    ) -> Result<(), RunError> {
        let workspace = self.prepare_slices(dims, inputs, outputs)?;
        let ctx = self.context(cancel);
        // SAFETY: every buffer was checked; slices don't overlap where one of them is written.
        unsafe { self.call(workspace, dims, out_dims, &ctx) }
    }

    /// As [`Instance::run`], and measures each kernel call: `times` receives as many entries as the
    /// program has calls, in the order of the program (further ones are dropped).
    ///
    /// # Errors
    /// See [`Instance::run`].
    pub fn run_timed(
        &self,
        dims: &[i64],
        inputs: &[&[u8]],
        outputs: &mut [&mut [u8]],
        times: &mut [CallTime],
    ) -> Result<(), RunError> {
        let workspace = self.prepare_slices(dims, inputs, outputs)?;
        times.fill(CallTime::default());
        let ctx = FnxCtx { after_kernel: Some(note_time), ..self.context(None) };
        let timed = TimedCtx {
            ctx,
            last: Cell::new(Instant::now()),
            times: Cell::from_mut(times).as_slice_of_cells(),
        };
        // SAFETY: as in `run_with`; the context begins the structure that `note_time` expects. The
        // program hands on the address it was given, which is the whole structure's.
        unsafe { self.call(workspace, dims, None, (&raw const timed).cast()) }
    }

    /// As [`Instance::prepare`], and puts the addresses of the slices in place once they are checked.
    fn prepare_slices(
        &self,
        dims: &[i64],
        inputs: &[&[u8]],
        outputs: &mut [&mut [u8]],
    ) -> Result<Lease<'_>, RunError> {
        let mut workspace = self.prepare(dims, inputs.len(), outputs.len())?;
        let Workspace { inputs: starts, outputs: out_starts, lengths, .. } = &mut workspace.workspace;
        for ((tensor, bytes), &length) in self.io.inputs.iter().zip(inputs).zip(&*lengths) {
            check_buffer(tensor, length, bytes.as_ptr(), bytes.len())?;
            starts.push(bytes.as_ptr().cast());
        }
        let out_lengths = &lengths[inputs.len()..];
        for ((tensor, bytes), &length) in self.io.outputs.iter().zip(outputs).zip(out_lengths) {
            check_buffer(tensor, length, bytes.as_ptr(), bytes.len())?;
            out_starts.push(bytes.as_mut_ptr().cast());
        }
        Ok(workspace)
    }

    /// The context of a run on this instance's threads.
    fn context(&self, cancel: Option<&CancelToken>) -> FnxCtx {
        self.options.pool.context(cancel.map(|token| &*token.0))
    }

    /// As [`Instance::run_with`] on addresses, so that an output may be the very buffer of the
    /// input it is paired with in the alias table.
    ///
    /// # Errors
    /// As [`Instance::run`]; lengths are not checked.
    ///
    /// # Safety
    /// Each address must be valid for the tensor's byte length at these dims, inputs for reads and
    /// outputs for writes, and outputs overlap nothing except the exact pairs in the alias table.
    pub unsafe fn run_raw(
        &self,
        dims: &[i64],
        inputs: &[*const u8],
        outputs: &[*mut u8],
        out_dims: Option<&mut [i64]>,
        cancel: Option<&CancelToken>,
    ) -> Result<(), RunError> {
        let mut workspace = self.prepare(dims, inputs.len(), outputs.len())?;
        let Workspace { inputs: starts, outputs: out_starts, lengths, .. } = &mut workspace.workspace;
        for ((tensor, &start), &length) in self.io.inputs.iter().zip(inputs).zip(&*lengths) {
            check_buffer(tensor, length, start, length)?;
            starts.push(start.cast());
        }
        let out_lengths = &lengths[inputs.len()..];
        for ((tensor, &start), &length) in self.io.outputs.iter().zip(outputs).zip(out_lengths) {
            check_buffer(tensor, length, start, length)?;
            out_starts.push(start.cast());
        }
        let ctx = self.context(cancel);
        // SAFETY: the buffers are right by the caller's promise.
        unsafe { self.call(workspace, dims, out_dims, &ctx) }
    }

    /// Checks counts and dims, takes a workspace with enough scratch, and computes byte lengths.
    fn prepare(&self, dims: &[i64], inputs: usize, outputs: usize) -> Result<Lease<'_>, RunError> {
        check_count("inputs", self.io.inputs.len(), inputs)?;
        check_count("outputs", self.io.outputs.len(), outputs)?;
        self.check_dims(dims)?;
        let mut lease = self.lease(self.query_scratch(dims)?)?;
        let workspace = &mut lease.workspace;
        workspace.inputs.clear();
        workspace.outputs.clear();
        workspace.out_dims.clear();
        workspace.lengths.clear();
        if let Some(rule) = &self.options.byte_lengths {
            workspace.lengths.resize(inputs + outputs, 0);
            if !rule(dims, &mut workspace.lengths) {
                return Err(RunError::SizeOverflow);
            }
        } else {
            for tensor in self.io.tensors() {
                let bytes = byte_length(tensor, dims).ok_or(RunError::SizeOverflow)?;
                workspace.lengths.push(bytes);
            }
        }
        Ok(lease)
    }

    /// Calls `m_run` on the addresses in the workspace.
    ///
    /// # Safety
    /// The addresses must be right for these dims, as [`Instance::run_raw`] demands; `ctx` is a
    /// context of this instance's threads, followed by what its functions expect.
    unsafe fn call(
        &self,
        mut lease: Lease<'_>,
        dims: &[i64],
        out_dims: Option<&mut [i64]>,
        ctx: *const FnxCtx,
    ) -> Result<(), RunError> {
        let computed = self.io.out_dims();
        let workspace = &mut lease.workspace;
        let out_dims = if let Some(out_dims) = out_dims {
            check_count("out dims", computed, out_dims.len())?;
            out_dims.as_mut_ptr()
        } else {
            workspace.out_dims.resize(computed, 0);
            workspace.out_dims.as_mut_ptr()
        };
        let mut detail = -1i64;
        let args = FnxArgs {
            size: ARGS_SIZE,
            dims: dims.as_ptr(),
            inputs: workspace.inputs.as_ptr(),
            outputs: workspace.outputs.as_ptr(),
            out_dims,
            weights: self.weights(),
            scratch: workspace.scratch.as_mut_ptr().cast(),
            ctx,
            error_detail: &raw mut detail,
        };
        // SAFETY: the program follows the ABI (promise of `new`), dims are in range, scratch is as
        // large as it asked for, the rest is the caller's promise; the context's pool and cancel
        // word live until the call returns.
        let code = unsafe { (self.entry.run)(&raw const args) };
        RunError::from_code(code, detail)
    }

    fn weights(&self) -> *const c_void {
        self.options.weights.as_ref().map_or(ptr::null(), |weights| weights.as_ptr().cast())
    }

    fn check_dims(&self, dims: &[i64]) -> Result<(), RunError> {
        check_count("symbolic dims", self.io.symbols.len(), dims.len())?;
        for (symbol, &value) in self.io.symbols.iter().zip(dims) {
            if !(symbol.min..=symbol.max).contains(&value) {
                return Err(RunError::DimRange {
                    symbol: symbol.name.clone(),
                    value,
                    min: symbol.min,
                    max: symbol.max,
                });
            }
        }
        Ok(())
    }

    /// Asks the program; `dims` were checked.
    fn query_scratch(&self, dims: &[i64]) -> Result<usize, RunError> {
        let threads = self.options.pool.threads() as u32;
        // SAFETY: as many dims as the program has symbols, all in range.
        match unsafe { (self.entry.scratch_bytes)(dims.as_ptr(), threads) } {
            usize::MAX => Err(RunError::ScratchOverflow),
            bytes => Ok(bytes),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Workspaces> {
        self.workspaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a workspace of at least `needed` bytes of scratch.
    fn lease(&self, needed: usize) -> Result<Lease<'_>, RunError> {
        let mut all = self.lock();
        let mut workspace = all.take(needed);
        let old = workspace.scratch.capacity();
        if old >= needed {
            return Ok(Lease { instance: self, workspace });
        }
        let weights = self.options.weights.as_ref().map_or(0, |weights| weights.len());
        let limit = self.options.memory_limit.unwrap_or(usize::MAX);
        let fits = |in_use: usize| in_use.checked_add(needed).is_some_and(|total| total <= limit);
        let in_use = |all: &Workspaces| weights.saturating_add(all.scratch_bytes - old);
        if !fits(in_use(&all)) {
            all.release_idle();
        }
        if !fits(in_use(&all)) {
            let in_use = in_use(&all);
            all.idle.push(workspace);
            return Err(RunError::MemoryLimit { needed, in_use, limit });
        }
        // Counted before it exists, so that the limit holds while the lock is released.
        all.scratch_bytes = all.scratch_bytes - old + needed;
        drop(all);
        if let Err(error) = workspace.scratch.reserve(needed) {
            self.lock().scratch_bytes -= needed;
            return Err(error.into());
        }
        Ok(Lease { instance: self, workspace })
    }
}

impl Workspaces {
    /// Takes the smallest idle workspace that is large enough, else the largest, else a new one.
    fn take(&mut self, needed: usize) -> Workspace {
        let capacity = |index: &usize| self.idle[*index].scratch.capacity();
        let enough = (0..self.idle.len()).filter(|index| capacity(index) >= needed);
        let best = enough.min_by_key(capacity);
        match best.or_else(|| (0..self.idle.len()).max_by_key(capacity)) {
            Some(index) => self.idle.swap_remove(index),
            None => Workspace::default(),
        }
    }

    fn release_idle(&mut self) {
        let idle: usize = self.idle.iter().map(|workspace| workspace.scratch.capacity()).sum();
        self.scratch_bytes -= idle;
        self.idle.clear();
    }
}
