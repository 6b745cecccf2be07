//! The thread pool: persistent workers and one operation, a parallel loop.
//!
//! # How a loop is dispatched
//! The caller publishes a job by one store to a state word and works on it at once; a worker that
//! sees the new state *joins* by a compare-and-swap on that word. When the caller finds no chunk
//! left it closes the job and waits for those that joined, and for nobody else: a worker that was
//! parked or not scheduled is never waited for, since its share is taken by others.
//!
//! `0..n` is divided into one contiguous *home range* per participant. A participant works through its
//! own range first and then takes from the others: half of what is left of a range at a time, and never
//! less than a [`PoolOptions::chunks_per_thread`]th of it. So even work is split once, into long chunks;
//! consecutive loops over the same data find it in the same core's cache; and a slow or absent worker
//! does not hold up the loop. What is computed never depends on who computes it.
//!
//! Idle workers spin for [`PoolOptions::spin`] after the last loop, then park; with more threads than
//! cores they park at once. Only a parked worker costs its caller a system call.
//!
//! # Measured
//! `cargo bench -p fornax-runtime --bench dispatch`, two threads on two cores of an AMD EPYC
//! (Zen 5, KVM guest) that other work shared; nanoseconds per loop, the least median of five runs:
//!
//! | waiting                       | empty | empty idle |  meet | meet idle |
//! |-------------------------------|------:|-----------:|------:|----------:|
//! | spin 50 us, then park         |    70 |       3900 |   290 |     23000 |
//! | spin 5 us, then park          |    70 |       9400 |   280 |     19500 |
//! | spin without end              |    70 |         80 |   280 |       460 |
//! | park at once                  |    70 |       7900 |   290 |     18900 |
//! | mutex and condition variables |  4000 |       6300 |   600 |     19900 |
//!
//! `empty` is a loop of two empty bodies, back to back; `meet` one whose bodies wait for each other,
//! so that both threads must take part; `idle` the same after half a millisecond without loops.
//! In some runs `meet` was 1400 for every variant of this pool alike. Back to back, the hand-over costs a cache-line round trip however workers wait, and the default never
//! pays for a worker that is late. Waking a parked worker costs its *caller* 4 to 13 microseconds of
//! system call and the loop about 20: that is what spinning for 50 microseconds between the loops
//! of a program avoids, and why a loop of less than about 20 microseconds gains nothing from
//! threads after a longer serial part.
//!
//! A loop of 64 units whose last eighth costs four times as much: 41 microseconds with 1, 2 or 4
//! chunks per thread, 33.5 (the ideal) with 8 or 16; hence 8.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use crate::abi::{CTX_SIZE, FnxBody, FnxCtx, cpu_features};
use crate::float_mode::FloatMode;

/// The most threads a pool can have.
pub const MAX_THREADS: usize = 1024;

/// Why a pool could not be made, or a loop did not complete.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The number of threads makes no sense.
    #[error("a thread pool needs 1 to {MAX_THREADS} threads, not {threads}")]
    Threads {
        /// Threads asked for.
        threads: usize,
    },
    /// The system refused a thread.
    #[error("could not start thread {index} of the pool: {source}")]
    Spawn {
        /// Which worker, counted from 1 (the caller is worker 0).
        index: usize,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A loop body panicked; every other chunk was done.
    #[error("a parallel loop's body panicked: {message}")]
    BodyPanicked {
        /// The first panic's message.
        message: String,
    },
}

/// How a pool is made.
#[derive(Debug, Clone, Copy)]
pub struct PoolOptions {
    /// Threads that take part in a loop, the caller among them; 1 starts no thread.
    pub threads: usize,
    /// How long an idle worker spins before it parks. Zero when there are more threads than cores,
    /// whatever is asked for.
    pub spin: Duration,
    /// Into how many chunks the home range of a participant is divided at most, at least 1.
    pub chunks_per_thread: u32,
}

impl PoolOptions {
    /// The defaults for `threads` threads: 50 microseconds of spinning, at most 8 chunks per thread.
    #[must_use]
    pub const fn new(threads: usize) -> Self {
        Self { threads, spin: Duration::from_micros(50), chunks_per_thread: 8 }
    }
}

/// A pool of threads for parallel loops.
///
/// It may be shared by any number of host threads. One loop at a time uses the workers; a loop
/// that finds them busy runs serially on its own thread, so that no caller waits for another
/// (several concurrent runs keep the cores busy by themselves). A loop started from within a body
/// of the same pool runs serially under the enclosing worker's id.
#[derive(Debug)]
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

// The state word: epoch (32 bits) | width (12) | flags (4) | workers in the job (16).
const ACTIVE: u64 = 0xffff;
/// Workers may join.
const OPEN: u64 = 1 << 16;
/// The caller is parked until the last worker has left.
const CALLER_PARKED: u64 = 1 << 17;
/// The pool is being dropped.
const SHUTDOWN: u64 = 1 << 18;
const WIDTH_SHIFT: u32 = 20;
const EPOCH_SHIFT: u32 = 32;

const fn epoch(state: u64) -> u64 {
    state >> EPOCH_SHIFT
}

/// Number of participants of the job, the caller included.
const fn width(state: u64) -> usize {
    (state >> WIDTH_SHIFT) as usize & 0xfff
}

/// A value on cache lines of its own (two, for adjacent-line prefetch).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

/// What one thread of the pool has of its own.
#[derive(Debug, Default)]
struct Lane {
    /// The next index of the lane's home range that nobody has taken.
    next: AtomicI64,
    /// The worker is parked or about to park, and nobody has woken it yet.
    parked: AtomicBool,
    /// The worker's handle, set before it first parks; lane 0 is the caller's and has none.
    thread: OnceLock<Thread>,
}

impl Lane {
    /// Wakes the lane's worker if it is parked, and says whether it was.
    fn wake(&self) -> bool {
        if self.parked.load(Ordering::SeqCst)
            && self.parked.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
            return true;
        }
        false
    }
}

/// The loop in progress.
#[derive(Debug, Clone, Copy)]
struct Job {
    body: FnxBody,
    arg: *mut c_void,
    n: i64,
    mode: FloatMode,
}

#[derive(Debug)]
struct Shared {
    state: Padded<AtomicU64>,
    /// Held by the caller of the loop in progress.
    busy: Padded<AtomicBool>,
    lanes: Box<[Padded<Lane>]>,
    /// Written by the holder of `busy` while the job is closed and nobody is in it; read by those
    /// in the job.
    job: UnsafeCell<Job>,
    /// The caller, once it parks.
    caller: Mutex<Option<Thread>>,
    spin: Duration,
    chunks_per_thread: i64,
    /// How often a parked worker was woken.
    wakes: AtomicU64,
}

// SAFETY: `job` is the only field that is not Sync by itself; the protocol of the state word keeps
// its writes apart from its reads (see `Shared::publish` and `Shared::try_join`). The `arg` in it
// is used on other threads by contract of `FnxParallelFor`.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

/// One loop body this thread is inside of; frames form a list from the innermost outwards.
struct Frame {
    pool: *const Shared,
    worker: u32,
    outer: *const Frame,
}

thread_local! {
    static INNERMOST: Cell<*const Frame> = const { Cell::new(ptr::null()) };
}

/// Runs `f` marked as worker `worker` of `pool`.
fn with_frame<R>(pool: *const Shared, worker: u32, f: impl FnOnce() -> R) -> R {
    struct Restore(*const Frame);
    impl Drop for Restore {
        fn drop(&mut self) {
            INNERMOST.set(self.0);
        }
    }
    let outer = INNERMOST.get();
    let frame = Frame { pool, worker, outer };
    let _restore = Restore(outer);
    INNERMOST.set(&raw const frame);
    f()
}

/// The id under which this thread is inside a body of `pool`, if it is.
fn enclosing_worker(pool: *const Shared) -> Option<u32> {
    let mut frame = INNERMOST.get();
    // SAFETY: frames live on this thread's stack, in `with_frame` calls that have not returned.
    while let Some(inside) = unsafe { frame.as_ref() } {
        if inside.pool == pool {
            return Some(inside.worker);
        }
        frame = inside.outer;
    }
    None
}

/// First index of home range `lane` of `width`: ranges differ in length by one at most.
fn home_begin(n: i64, width: usize, lane: usize) -> i64 {
    let (width, lane) = (width as i64, lane as i64);
    lane * (n / width) + lane.min(n % width)
}

unsafe extern "C" fn no_body(_: *mut c_void, _: i64, _: i64, _: u32) {}

impl Shared {
    fn new(options: &PoolOptions) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self {
            state: Padded(AtomicU64::new(0)),
            busy: Padded(AtomicBool::new(false)),
            lanes: (0..options.threads).map(|_| Padded::default()).collect(),
            job: UnsafeCell::new(Job {
                body: no_body,
                arg: ptr::null_mut(),
                n: 0,
                mode: FloatMode::current(),
            }),
            caller: Mutex::new(None),
            spin: if options.threads <= cores { options.spin } else { Duration::ZERO },
            chunks_per_thread: i64::from(options.chunks_per_thread.max(1)),
            wakes: AtomicU64::new(0),
        }
    }

    fn parallel_for(&self, body: FnxBody, arg: *mut c_void, n: i64, most: u32) {
        if n <= 0 {
            return;
        }
        let width = self.lanes.len().min(most as usize).min(usize::try_from(n).unwrap_or(usize::MAX));
        let enclosing = enclosing_worker(self);
        if width <= 1 || enclosing.is_some() || self.busy.0.swap(true, Ordering::Acquire) {
            let worker = enclosing.unwrap_or(0);
            // SAFETY: the body is callable with `arg` for any part of 0..n by the caller's promise.
            with_frame(self, worker, || unsafe { body(arg, 0, n, worker) });
            return;
        }
        let job = Job { body, arg, n, mode: FloatMode::current() };
        self.publish(job, width);
        self.work(&job, width, 0);
        self.close();
        self.busy.0.store(false, Ordering::Release);
    }

    /// Opens a job to workers `1..width`. The caller holds `busy`.
    fn publish(&self, job: Job, width: usize) {
        for (lane, slot) in self.lanes.iter().enumerate().take(width) {
            slot.0.next.store(home_begin(job.n, width, lane), Ordering::Relaxed);
        }
        // SAFETY: the last job is closed and `close` saw every worker leave it, so nobody reads
        // the cell; `busy` keeps other writers away. The store below releases it to those who join.
        unsafe { *self.job.get() = job };
        let last = epoch(self.state.0.load(Ordering::Relaxed));
        let next = (last + 1) & u64::from(u32::MAX);
        let state = next << EPOCH_SHIFT | (width as u64) << WIDTH_SHIFT | OPEN;
        // SeqCst here, at `parked`, and in `idle`: either the worker sees this state before it
        // parks, or it is seen as parked here.
        self.state.0.store(state, Ordering::SeqCst);
        let woken = self.lanes[1..width].iter().filter(|lane| lane.0.wake()).count();
        if woken > 0 {
            self.wakes.fetch_add(woken as u64, Ordering::Relaxed);
        }
    }

    /// Works through home range `worker`, then through what is left of the others.
    fn work(&self, job: &Job, width: usize, worker: usize) {
        let id = worker as u32;
        with_frame(self, id, || {
            for step in 0..width {
                let lane = (worker + step) % width;
                let begin = home_begin(job.n, width, lane);
                let end = home_begin(job.n, width, lane + 1);
                let least = ((end - begin) / self.chunks_per_thread).max(1);
                while let Some(part) = self.claim(lane, end, least) {
                    // SAFETY: by the promise of `parallel_for`'s caller; each index is claimed once.
                    unsafe { (job.body)(job.arg, part.start, part.end, id) };
                }
            }
        });
    }

    /// Takes half of what is left of a home range, but no chunk shorter than `least`. What would remain
    /// shorter goes with it.
    fn claim(&self, lane: usize, end: i64, least: i64) -> Option<Range<i64>> {
        let next = &self.lanes[lane].0.next;
        let mut begin = next.load(Ordering::Relaxed);
        while begin < end {
            let left = end - begin;
            let chunk = (left / 2).max(least);
            let to = if left - chunk.min(left) < least { end } else { begin + chunk };
            match next.compare_exchange_weak(begin, to, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(begin..to),
                Err(now) => begin = now,
            }
        }
        None
    }

    /// Closes the job to workers that have not joined and waits for those that have.
    fn close(&self) {
        let mut state = self.state.0.fetch_and(!OPEN, Ordering::Acquire) & !OPEN;
        let mut since = None;
        while state & ACTIVE != 0 {
            let since = *since.get_or_insert_with(Instant::now);
            if !spin_for(since, self.spin, || self.state.0.load(Ordering::Acquire) & ACTIVE == 0) {
                self.park_caller();
            }
            state = self.state.0.load(Ordering::Acquire);
        }
    }

    /// Parks the caller until the last worker has left the job.
    fn park_caller(&self) {
        *self.caller.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current());
        let mut state = self.state.0.fetch_or(CALLER_PARKED, Ordering::AcqRel);
        while state & ACTIVE != 0 {
            thread::park();
            state = self.state.0.load(Ordering::Acquire);
        }
    }

    /// Enters the open job if this worker has a part in it and has not seen it yet.
    fn try_join(&self, worker: usize, seen: &mut u64) -> Option<(Job, usize)> {
        let mut state = self.state.0.load(Ordering::Acquire);
        while state & OPEN != 0 && epoch(state) != *seen && worker < width(state) {
            let joined =
                self.state.0.compare_exchange_weak(state, state + 1, Ordering::AcqRel, Ordering::Acquire);
            match joined {
                Ok(_) => {
                    *seen = epoch(state);
                    // SAFETY: the exchange acquired what `publish` wrote, and the cell is not
                    // written again before this worker leaves.
                    return Some((unsafe { *self.job.get() }, width(state)));
                }
                Err(now) => state = now,
            }
        }
        None
    }

    /// Leaves a job; the last to leave wakes a parked caller.
    fn leave(&self) {
        let before = self.state.0.fetch_sub(1, Ordering::AcqRel);
        if before & ACTIVE == 1 && before & CALLER_PARKED != 0 {
            let caller = self.caller.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(caller) = caller {
                caller.unpark();
            }
        }
    }

    /// Whether a worker that has seen epoch `seen` has anything to do.
    fn calls(&self, worker: usize, seen: u64) -> bool {
        let state = self.state.0.load(Ordering::SeqCst);
        state & SHUTDOWN != 0 || (state & OPEN != 0 && epoch(state) != seen && worker < width(state))
    }

    /// Waits for something to do: spins until the pool was idle for a whole spin time, then parks.
    fn idle(&self, worker: usize, seen: u64) {
        // Loops that came and went meanwhile, too short to join, mean that more are likely.
        let mut last = None;
        while last != Some(epoch(self.state.0.load(Ordering::Relaxed))) {
            last = Some(epoch(self.state.0.load(Ordering::Relaxed)));
            if spin_for(Instant::now(), self.spin, || self.calls(worker, seen)) {
                return;
            }
        }
        let parked = &self.lanes[worker].0.parked;
        parked.store(true, Ordering::SeqCst);
        while !self.calls(worker, seen) {
            thread::park();
            parked.store(true, Ordering::SeqCst);
        }
        parked.store(false, Ordering::SeqCst);
    }
}

/// Polls `ready` until it holds (true) or `limit` has passed since `since` (false).
fn spin_for(since: Instant, limit: Duration, ready: impl Fn() -> bool) -> bool {
    loop {
        for _ in 0..16 {
            if ready() {
                return true;
            }
            std::hint::spin_loop();
        }
        if since.elapsed() >= limit {
            return false;
        }
    }
}

/// The life of worker `worker`: join, work, leave, wait, until the pool is dropped.
fn work_until_shutdown(shared: &Shared, worker: usize) {
    // The handle is set once, here; a second `set` cannot happen.
    let _ = shared.lanes[worker].0.thread.set(thread::current());
    let mut seen = 0;
    loop {
        if let Some((job, width)) = shared.try_join(worker, &mut seen) {
            if FloatMode::current() != job.mode {
                job.mode.apply();
            }
            shared.work(&job, width, worker);
            shared.leave();
        } else if shared.state.0.load(Ordering::Acquire) & SHUTDOWN != 0 {
            return;
        } else {
            shared.idle(worker, seen);
        }
    }
}

impl ThreadPool {
    /// A pool of `threads` threads with default options.
    ///
    /// # Errors
    /// [`PoolError::Threads`] unless 1 to [`MAX_THREADS`]; [`PoolError::Spawn`] when the system
    /// refuses a thread (those already started are joined).
    pub fn new(threads: usize) -> Result<Self, PoolError> {
        Self::with_options(&PoolOptions::new(threads))
    }

    /// A pool made as `options` say.
    ///
    /// # Errors
    /// As [`ThreadPool::new`].
    pub fn with_options(options: &PoolOptions) -> Result<Self, PoolError> {
        let threads = options.threads;
        if !(1..=MAX_THREADS).contains(&threads) {
            return Err(PoolError::Threads { threads });
        }
        let shared = Arc::new(Shared::new(options));
        let mut pool = Self { shared, workers: Vec::with_capacity(threads - 1) };
        for index in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let worker = thread::Builder::new()
                .name(format!("fornax-{index}"))
                .spawn(move || work_until_shutdown(&shared, index))
                .map_err(|source| PoolError::Spawn { index, source })?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Number of threads that take part in a loop, the caller among them.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.shared.lanes.len()
    }

    /// How often a parked worker was woken so far: each is a system call on the caller's side. Workers
    /// that still spin take up a loop without one.
    #[must_use]
    pub fn wakes(&self) -> u64 {
        self.shared.wakes.load(Ordering::Relaxed)
    }

    /// Calls `body(arg, begin, end, worker)` for contiguous chunks that cover `0..n` exactly once,
    /// and returns after the last one is done. Nothing is called for `n <= 0`. At most `most` threads
    /// take part, the caller among them.
    ///
    /// Worker ids are below [`ThreadPool::threads`] and the caller is worker 0; chunks that run at
    /// the same time have different ids. Workers run with the caller's floating-point mode.
    /// Everything the bodies wrote is visible to the caller afterwards.
    ///
    /// # Safety
    /// `body` must be callable with `arg` for any part of `0..n`, from any thread, for several
    /// disjoint parts at once, and must not unwind.
    pub unsafe fn parallel_for(&self, n: i64, most: u32, body: FnxBody, arg: *mut c_void) {
        self.shared.parallel_for(body, arg, n, most);
    }

    /// Runs the closure `body(indices, worker)` over `0..n` on all threads, as [`ThreadPool::parallel_for`] does.
    ///
    /// # Errors
    /// [`PoolError::BodyPanicked`] with the first panic's message, after every other chunk is done.
    pub fn run<F: Fn(Range<i64>, u32) + Sync>(&self, n: i64, body: &F) -> Result<(), PoolError> {
        self.run_on(u32::MAX, n, body)
    }

    /// As [`ThreadPool::run`], on at most `most` threads.
    ///
    /// # Errors
    /// As [`ThreadPool::run`].
    pub fn run_on<F: Fn(Range<i64>, u32) + Sync>(
        &self,
        most: u32,
        n: i64,
        body: &F,
    ) -> Result<(), PoolError> {
        let call = ClosureCall { body, panic: Mutex::new(None) };
        // SAFETY: `call_closure::<F>` takes a `ClosureCall<F>`, which is shared between threads
        // (F is Sync), outlives the loop, and catches panics.
        unsafe {
            self.parallel_for(n, most, call_closure::<F>, (&raw const call).cast_mut().cast());
        }
        match call.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(payload) => Err(PoolError::BodyPanicked { message: panic_message(&*payload) }),
        }
    }

    /// The context to hand to a program: this pool's threads, and a word that cancels the run.
    ///
    /// It holds raw pointers: use it only while the pool and the word live.
    #[must_use]
    pub fn context(&self, cancel: Option<&AtomicU32>) -> FnxCtx {
        FnxCtx {
            size: CTX_SIZE,
            max_threads: self.threads() as u32,
            parallel_for: Some(parallel_for_of_pool),
            grow: None,
            cpu_features: cpu_features(),
            data: Arc::as_ptr(&self.shared).cast_mut().cast(),
            cancel: cancel.map_or(ptr::null(), ptr::from_ref),
            after_kernel: None,
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.state.0.fetch_or(SHUTDOWN, Ordering::SeqCst);
        self.shared.lanes.iter().for_each(|lane| {
            lane.0.wake();
        });
        for worker in self.workers.drain(..) {
            // Worker threads don't unwind: bodies are `extern "C"`.
            let _ = worker.join();
        }
    }
}

/// [`crate::abi::FnxParallelFor`] of a context made by [`ThreadPool::context`].
unsafe extern "C" fn parallel_for_of_pool(
    ctx: *const FnxCtx,
    body: FnxBody,
    arg: *mut c_void,
    n: i64,
    most: u32,
) {
    // SAFETY: the context is one made by `ThreadPool::context`, whose `data` is the pool's shared
    // state, alive as long as the pool.
    let shared = unsafe { &*(*ctx).data.cast::<Shared>() };
    shared.parallel_for(body, arg, n, most);
}

/// A closure as the argument of a loop body, and the first panic in it.
struct ClosureCall<'a, F> {
    body: &'a F,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

unsafe extern "C" fn call_closure<F: Fn(Range<i64>, u32) + Sync>(
    arg: *mut c_void,
    begin: i64,
    end: i64,
    worker: u32,
) {
    // SAFETY: `ThreadPool::run` passes a `ClosureCall<F>` that outlives the loop.
    let call = unsafe { &*arg.cast::<ClosureCall<'_, F>>() };
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| (call.body)(begin..end, worker))) {
        let mut first = call.panic.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(payload);
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("(no message)").to_owned()
}
