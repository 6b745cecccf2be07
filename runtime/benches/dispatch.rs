//! What a parallel loop costs: the thread pool as it is, with other waiting, and a pool made of a
//! mutex and condition variables. Prints nanoseconds per loop, median / 90th percentile.
//!
//! `empty`: a loop of two empty bodies, back to back. `meet`: both bodies wait for each other, so
//! that both threads must take part. `idle`: the same after half a millisecond without work.
//! The second table is a loop of 64 units of which the last eight cost four times as much, on an
//! otherwise idle machine, by the number of chunks per thread. The last lines say what the default pool
//! costs a loop whose two bodies must run on two threads, and how many system calls that took.
#![allow(unsafe_code, reason = "the condition-variable pool shares a closure between threads")]
#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use std::hint::{black_box, spin_loop};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use fornax_runtime::{PoolOptions, ThreadPool};

/// Runs `0..2` on two threads.
trait Pair {
    fn run(&self, body: &(dyn Fn(i64) + Sync));
}

impl Pair for ThreadPool {
    fn run(&self, body: &(dyn Fn(i64) + Sync)) {
        ThreadPool::run(self, 2, &|part: Range<i64>, _| part.for_each(body))
            .expect("the body does not panic");
    }
}

type Task = &'static (dyn Fn(i64) + Sync);

#[derive(Default)]
struct Slot {
    task: Option<Task>,
    done: bool,
    stop: bool,
}

/// One worker that waits on a condition variable; the classic form, for comparison.
struct CondvarPair {
    slot: Arc<(Mutex<Slot>, Condvar, Condvar)>,
    worker: Option<std::thread::JoinHandle<()>>,
}

impl CondvarPair {
    fn new() -> Self {
        let slot = Arc::new((Mutex::new(Slot::default()), Condvar::new(), Condvar::new()));
        let shared = Arc::clone(&slot);
        let worker = std::thread::spawn(move || {
            let (slot, work, finished) = &*shared;
            loop {
                let mut guard = slot.lock().unwrap();
                while guard.task.is_none() && !guard.stop {
                    guard = work.wait(guard).unwrap();
                }
                let Some(task) = guard.task.take() else {
                    return;
                };
                drop(guard);
                task(1);
                slot.lock().unwrap().done = true;
                finished.notify_one();
            }
        });
        Self { slot, worker: Some(worker) }
    }
}

impl Pair for CondvarPair {
    fn run(&self, body: &(dyn Fn(i64) + Sync)) {
        let (slot, work, finished) = &*self.slot;
        // SAFETY: the worker is done with the body before this call returns.
        let task = unsafe { std::mem::transmute::<&(dyn Fn(i64) + Sync), Task>(body) };
        *slot.lock().unwrap() = Slot { task: Some(task), ..Slot::default() };
        work.notify_one();
        body(0);
        let mut guard = slot.lock().unwrap();
        while !guard.done {
            guard = finished.wait(guard).unwrap();
        }
    }
}

impl Drop for CondvarPair {
    fn drop(&mut self) {
        self.slot.0.lock().unwrap().stop = true;
        self.slot.1.notify_one();
        if let Some(worker) = self.worker.take() {
            worker.join().unwrap();
        }
    }
}

/// Times `f` `count` times after `gap` each and formats median and 90th percentile.
fn measure(count: usize, gap: Duration, f: impl FnMut()) -> String {
    let times = sorted(count, gap, f);
    format!("{:>7} / {:>6}", times[times.len() / 2], times[times.len() * 9 / 10])
}

/// Nanoseconds of `count` calls of `f` after `gap` each, in order.
fn sorted(count: usize, gap: Duration, mut f: impl FnMut()) -> Vec<u128> {
    let mut times: Vec<_> = (0..count + count / 10)
        .map(|_| {
            if !gap.is_zero() {
                std::thread::sleep(gap);
            }
            let start = Instant::now();
            f();
            start.elapsed().as_nanos()
        })
        .skip(count / 10)
        .collect();
    times.sort_unstable();
    times
}

/// A loop whose two bodies wait for each other.
fn meet(pair: &dyn Pair) {
    let met = AtomicU32::new(0);
    pair.run(&|_| {
        met.fetch_add(1, Ordering::AcqRel);
        while met.load(Ordering::Acquire) < 2 {
            spin_loop();
        }
    });
}

fn row(name: &str, pair: &dyn Pair) {
    let meet = || meet(pair);
    let nothing = || {
        pair.run(&|index| {
            black_box(index);
        });
    };
    let gap = Duration::from_micros(500);
    let empty = measure(20_000, Duration::ZERO, nothing);
    let empty_idle = measure(500, gap, nothing);
    let busy = measure(20_000, Duration::ZERO, meet);
    let idle = measure(500, gap, meet);
    println!("| {name:<35} | {empty} | {empty_idle} | {busy} | {idle} |");
}

fn pool(spin: Duration, chunks_per_thread: u32) -> ThreadPool {
    let options = PoolOptions { threads: 2, spin, chunks_per_thread };
    ThreadPool::with_options(&options).expect("two threads")
}

fn skewed(chunks: u32) -> String {
    let pool = pool(Duration::from_micros(50), chunks);
    measure(3000, Duration::ZERO, || {
        let body = |part: Range<i64>, _| {
            for unit in part {
                let steps = if unit >= 56 { 800 } else { 200 };
                let mut x = 1.0f32;
                for _ in 0..steps {
                    x = black_box(x * 1.000_1 + 0.5);
                }
            }
        };
        pool.run(64, &body).expect("the body does not panic");
    })
}

fn main() {
    println!(
        "| {:<35} | {:>16} | {:>16} | {:>16} | {:>16} |",
        "waiting", "empty", "empty idle", "meet", "meet idle"
    );
    row("spin 50 us, then park (the default)", &pool(Duration::from_micros(50), 8));
    row("spin 5 us, then park", &pool(Duration::from_micros(5), 8));
    row("spin without end", &pool(Duration::from_secs(3600), 8));
    row("park at once", &pool(Duration::ZERO, 8));
    row("mutex and condition variables", &CondvarPair::new());
    println!("\n| chunks per thread |     skewed loop |");
    for chunks in [1, 2, 4, 8, 16] {
        println!("| {chunks:>17} | {} |", skewed(chunks));
    }
    let pool = ThreadPool::new(2).expect("two threads");
    let times = sorted(50_000, Duration::ZERO, || meet(&pool));
    println!("\ndispatch to two threads, median: {} ns", times[times.len() / 2]);
    println!("dispatch to two threads, 99 of 100: {} ns", times[times.len() * 99 / 100]);
    println!("system calls for {} loops: {}", times.len(), pool.wakes());
}
