//! The thread pool: coverage of the index range, concurrency, nesting, panics, float mode.
#![allow(unsafe_code, reason = "cells shared between bodies, and the float control register")]

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use fornax_runtime::{PoolError, PoolOptions, ThreadPool};

/// Fewer rounds where every memory access is checked.
fn rounds(usual: usize) -> usize {
    if std::env::var_os("FORNAX_SLOW_MACHINE").is_some() { usual / 20 + 1 } else { usual }
}

fn pool(threads: usize, spin: Duration, chunks_per_thread: u32) -> ThreadPool {
    ThreadPool::with_options(&PoolOptions { threads, spin, chunks_per_thread }).unwrap()
}

#[test]
fn every_index_is_visited_once() {
    for threads in [1, 2, 3, 7] {
        for chunks in [1, 4] {
            let pool = pool(threads, Duration::from_micros(50), chunks);
            for n in [-5, 0, 1, 2, 3, 7, 8, 9, 63, 64, 1000] {
                let visits: Vec<_> = (0..n.max(0)).map(|_| AtomicU32::new(0)).collect();
                pool.run(n, &|part: Range<i64>, worker| {
                    assert!(part.start < part.end && (worker as usize) < threads);
                    part.for_each(|index| {
                        visits[index as usize].fetch_add(1, Ordering::Relaxed);
                    });
                })
                .unwrap();
                assert!(visits.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{n}");
            }
        }
    }
}

#[test]
fn no_more_threads_take_part_than_may() {
    let pool = pool(4, Duration::from_micros(50), 4);
    for most in [0, 1, 2, 3, 4, 9] {
        for n in [1, 2, 100] {
            let visits: Vec<_> = (0..n).map(|_| AtomicU32::new(0)).collect();
            pool.run_on(most, n, &|part: Range<i64>, worker| {
                assert!(worker < most.max(1));
                part.for_each(|index| {
                    visits[index as usize].fetch_add(1, Ordering::Relaxed);
                });
            })
            .unwrap();
            assert!(visits.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{n} on {most}");
        }
    }
}

#[test]
fn even_work_is_split_once_and_ends_in_short_chunks() {
    let pool = pool(2, Duration::from_micros(50), 8);
    let seen = Mutex::new(Vec::new());
    pool.run(128, &|part: Range<i64>, _| seen.lock().unwrap().push(part)).unwrap();
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable_by_key(|part| part.start);
    assert_eq!(seen, [0..32, 32..48, 48..56, 56..64, 64..96, 96..112, 112..120, 120..128]);
}

#[test]
fn spinning_workers_are_not_woken_and_parked_ones_are() {
    let spinning = pool(2, Duration::from_secs(3600), 4);
    let parking = pool(2, Duration::ZERO, 4);
    for pool in [&spinning, &parking] {
        for _ in 0..rounds(100) {
            // Both threads take part, then the worker has time to park if it does.
            let met = AtomicU32::new(0);
            pool.run(2, &|_, _| {
                met.fetch_add(1, Ordering::SeqCst);
                while met.load(Ordering::SeqCst) < 2 {
                    std::thread::yield_now();
                }
            })
            .unwrap();
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    // With more threads than cores every worker parks.
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() >= 2) {
        assert_eq!(spinning.wakes(), 0);
    }
    assert!(parking.wakes() > 0);
}

#[test]
fn huge_ranges_do_not_overflow() {
    for chunks in [1, 4] {
        let pool = pool(3, Duration::ZERO, chunks);
        let total = AtomicI64::new(0);
        pool.run(i64::MAX, &|part: Range<i64>, _| {
            assert!(part.start >= 0 && part.end > part.start);
            total.fetch_add(part.end - part.start, Ordering::Relaxed);
        })
        .unwrap();
        assert_eq!(total.into_inner(), i64::MAX);
    }
}

#[test]
fn many_small_loops_see_each_others_writes() {
    for spin in [Duration::ZERO, Duration::from_micros(50)] {
        for threads in [2, 4] {
            let pool = pool(threads, spin, 4);
            // Plain memory, so that a missing happens-before edge is a data race for the checkers.
            let cells = SharedCells((0..16).map(|_| std::cell::UnsafeCell::new(0u64)).collect());
            let total = rounds(20_000) as u64;
            for round in 0..total {
                pool.run(16, &|part: Range<i64>, _| {
                    for index in part {
                        cells.bump(index as usize, round);
                    }
                })
                .unwrap();
            }
            for index in 0..16 {
                cells.bump(index, total);
            }
        }
    }
}

struct SharedCells(Vec<std::cell::UnsafeCell<u64>>);
// SAFETY: each cell is touched by one body of a loop, and loops follow each other.
unsafe impl Sync for SharedCells {}

impl SharedCells {
    /// Expects `before` in the cell and adds 1.
    fn bump(&self, index: usize, before: u64) {
        // SAFETY: as stated at `Sync`.
        let cell = unsafe { &mut *self.0[index].get() };
        assert_eq!(*cell, before);
        *cell += 1;
    }
}

#[test]
fn workers_take_part_after_parking() {
    let pool = pool(2, Duration::from_micros(50), 1);
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(2));
        let threads = Mutex::new(HashSet::new());
        let met = AtomicU32::new(0);
        pool.run(2, &|_, worker| {
            threads.lock().unwrap().insert((std::thread::current().id(), worker));
            met.fetch_add(1, Ordering::SeqCst);
            // Both chunks are in flight at once only when two threads have one each.
            while met.load(Ordering::SeqCst) < 2 {
                std::thread::yield_now();
            }
        })
        .unwrap();
        let threads = threads.into_inner().unwrap();
        assert_eq!(threads.len(), 2);
        assert!(threads.contains(&(std::thread::current().id(), 0)), "the caller is worker 0");
    }
}

#[test]
fn simultaneous_chunks_have_different_ids() {
    let pool = pool(4, Duration::from_micros(50), 4);
    for _ in 0..rounds(2000) {
        let taken: [AtomicU32; 4] = Default::default();
        pool.run(64, &|_, worker| {
            assert_eq!(taken[worker as usize].swap(1, Ordering::SeqCst), 0);
            std::hint::spin_loop();
            taken[worker as usize].store(0, Ordering::SeqCst);
        })
        .unwrap();
    }
}

#[test]
fn concurrent_callers_share_a_pool() {
    let pool = pool(3, Duration::from_micros(50), 4);
    std::thread::scope(|scope| {
        for caller in 0..6u64 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..rounds(3000) as u64 {
                    let n = (caller * 7 + round) % 50;
                    let sum = AtomicU64::new(0);
                    pool.run(n as i64, &|part: Range<i64>, _| {
                        sum.fetch_add(part.map(|index| index as u64).sum(), Ordering::Relaxed);
                    })
                    .unwrap();
                    assert_eq!(sum.into_inner(), (0..n).sum::<u64>());
                }
            });
        }
    });
}

#[test]
fn a_nested_loop_is_serial_under_the_enclosing_id() {
    let (outer, other) = (pool(3, Duration::ZERO, 4), pool(2, Duration::ZERO, 4));
    let sum = AtomicI64::new(0);
    outer
        .run(12, &|part: Range<i64>, worker| {
            for index in part {
                let thread = std::thread::current().id();
                // Through another pool and back, the id is still that of this pool's body.
                let nested = other.run(1, &|_, _| {
                    let result = outer.run(10, &|inner: Range<i64>, id| {
                        assert_eq!((inner.clone(), id), (0..10, worker));
                        assert_eq!(std::thread::current().id(), thread);
                        sum.fetch_add(inner.sum::<i64>() + index, Ordering::Relaxed);
                    });
                    result.unwrap();
                });
                nested.unwrap();
            }
        })
        .unwrap();
    assert_eq!(sum.into_inner(), 12 * 45 + (0..12).sum::<i64>());
}

#[test]
fn a_panic_is_reported_after_every_other_chunk() {
    for threads in [1, 2, 4] {
        let pool = pool(threads, Duration::from_micros(50), 4);
        for round in 0..rounds(200) as i64 {
            let done = AtomicI64::new(0);
            let result = pool.run(64, &|part: Range<i64>, _| {
                let length = part.end - part.start;
                if part.contains(&(round % 64)) {
                    done.fetch_add(length, Ordering::Relaxed);
                    // `resume_unwind` with a String: a panic without the report on stderr.
                    std::panic::resume_unwind(Box::new(format!("index {}", round % 64)));
                }
                done.fetch_add(length, Ordering::Relaxed);
            });
            let error = result.unwrap_err();
            assert!(matches!(&error, PoolError::BodyPanicked { message }
                if *message == format!("index {}", round % 64)));
            assert_eq!(done.into_inner(), 64);
        }
        pool.run(4, &|_, _| {}).unwrap();
    }
}

#[test]
fn unusable_thread_counts_are_errors() {
    for threads in [0, 1025, usize::MAX] {
        let error = ThreadPool::new(threads).unwrap_err();
        assert!(error.to_string().contains("1 to 1024"), "{error}");
    }
}

#[test]
fn dropping_joins_spinning_and_parked_workers() {
    for spin in [Duration::ZERO, Duration::from_secs(60)] {
        for used in [false, true] {
            for _ in 0..rounds(100) {
                let pool = pool(2, spin, 4);
                if used {
                    pool.run(8, &|_, _| {}).unwrap();
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod float_mode {
    use super::*;

    /// Rounding up, flush-to-zero and denormals-are-zero in MXCSR.
    const UNUSUAL: u32 = 0b10 << 13 | 1 << 15 | 1 << 6;
    const ROUNDING: u32 = 0b11 << 13;

    /// MXCSR without its six status flags.
    fn mode() -> u32 {
        let mut mxcsr = 0u32;
        // SAFETY: stores 32 bits to a local.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr) };
        mxcsr & !0x3f
    }

    fn with_mode<R>(mode: u32, f: impl FnOnce() -> R) -> R {
        // SAFETY: loads from a local, with defined bits only.
        let load = |mxcsr: u32| unsafe {
            std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const mxcsr);
        };
        let saved = self::mode();
        load(mode);
        let result = f();
        load(saved);
        result
    }

    /// The mode that each of two workers runs in.
    fn modes_on(pool: &ThreadPool) -> [u32; 2] {
        let met = AtomicU32::new(0);
        let seen: [AtomicU32; 2] = Default::default();
        pool.run(2, &|_, worker| {
            met.fetch_add(1, Ordering::SeqCst);
            while met.load(Ordering::SeqCst) < 2 {
                std::thread::yield_now();
            }
            seen[worker as usize].store(mode(), Ordering::SeqCst);
        })
        .unwrap();
        seen.map(AtomicU32::into_inner)
    }

    #[test]
    fn workers_run_in_the_callers_mode() {
        let pool = pool(2, Duration::from_micros(50), 1);
        let usual = mode();
        for _ in 0..10 {
            assert_eq!(modes_on(&pool), [usual; 2]);
            with_mode(usual | UNUSUAL, || {
                let unusual = mode();
                assert_ne!(unusual & ROUNDING, usual & ROUNDING);
                assert_eq!(modes_on(&pool), [unusual; 2]);
            });
        }
        assert_eq!(modes_on(&pool), [usual; 2]);
    }
}
