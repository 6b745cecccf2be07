//! What the machine can do at most: fused multiply-adds on registers alone, and reads of memory. Measured by loops of the
//! widest vectors there are, as many at once as threads.

#![allow(unsafe_code, reason = "instructions beyond the baseline, behind a test for them")]

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

/// The roofs of some number of threads.
#[derive(Clone, Copy)]
pub struct Roof {
    /// f32 multiplications and additions, 10^9 a second.
    pub gflops: f64,
    /// Reads of memory that no cache holds, 10^9 bytes a second.
    pub gbytes: f64,
}

impl Roof {
    /// The larger of both, each measured anew: whatever else the machine does only lowers it.
    pub fn better(self, other: Roof) -> Roof {
        Roof { gflops: self.gflops.max(other.gflops), gbytes: self.gbytes.max(other.gbytes) }
    }
}

/// A loop of `rounds`, and the operations of one round.
struct Loop {
    run: fn(u64) -> f32,
    flops_per_round: f64,
}

/// The sum of f32s.
type Sum = fn(&[f32]) -> f32;

/// Copies as many f32s as both have.
type Copy = fn(&[f32], &mut [f32]);

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// Independent chains: more than latency (4) times pipes (2) of any core so far.
    pub const CHAINS: usize = 12;

    /// 2 operations for each of 16 lanes in each chain.
    #[target_feature(enable = "avx512f")]
    fn fma_512(rounds: u64) -> f32 {
        let (a, b) = (_mm512_set1_ps(1.000_000_1), _mm512_set1_ps(1e-9));
        let mut chains = [_mm512_set1_ps(0.5); CHAINS];
        for _ in 0..rounds {
            for c in &mut chains {
                *c = _mm512_fmadd_ps(*c, a, b);
            }
        }
        _mm512_reduce_add_ps(chains.into_iter().fold(a, |s, c| _mm512_add_ps(s, c)))
    }

    /// 2 operations for each of 8 lanes in each chain.
    #[target_feature(enable = "avx2,fma")]
    fn fma_256(rounds: u64) -> f32 {
        let (a, b) = (_mm256_set1_ps(1.000_000_1), _mm256_set1_ps(1e-9));
        let mut chains = [_mm256_set1_ps(0.5); CHAINS];
        for _ in 0..rounds {
            for c in &mut chains {
                *c = _mm256_fmadd_ps(*c, a, b);
            }
        }
        let sum = chains.into_iter().fold(a, |s, c| _mm256_add_ps(s, c));
        _mm_cvtss_f32(_mm256_castps256_ps128(sum))
    }

    #[target_feature(enable = "avx512f")]
    fn sum_512(data: &[f32]) -> f32 {
        let mut sums = [_mm512_setzero_ps(); 8];
        for part in data.as_chunks::<128>().0 {
            for (k, s) in sums.iter_mut().enumerate() {
                // SAFETY: 16 floats from 16 k on, with k < 8, lie within the 128 of the part.
                *s = _mm512_add_ps(*s, unsafe { _mm512_loadu_ps(part.as_ptr().add(16 * k)) });
            }
        }
        _mm512_reduce_add_ps(sums.into_iter().fold(_mm512_setzero_ps(), |a, b| _mm512_add_ps(a, b)))
    }

    #[target_feature(enable = "avx512f")]
    fn copy_512(from: &[f32], to: &mut [f32]) {
        for (from, to) in from.as_chunks::<64>().0.iter().zip(to.as_chunks_mut::<64>().0) {
            for k in 0..4 {
                // SAFETY: 16 floats from 16 k on, with k < 4, lie within the 64 of both parts.
                unsafe {
                    _mm512_storeu_ps(to.as_mut_ptr().add(16 * k), _mm512_loadu_ps(from.as_ptr().add(16 * k)))
                };
            }
        }
    }

    /// A loop of loads and stores, where there are registers as wide.
    pub fn copy() -> Option<super::Copy> {
        // SAFETY: the machine has AVX-512 F.
        is_x86_feature_detected!("avx512f").then_some(|from, to| unsafe { copy_512(from, to) })
    }

    /// As [`fma_512`] and [`sum_512`].
    pub fn wide() -> Option<(super::Loop, super::Sum)> {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the machine has AVX-512 F.
            let run = |rounds| unsafe { fma_512(rounds) };
            // SAFETY: as above.
            let sum: super::Sum = |data| unsafe { sum_512(data) };
            return Some((super::Loop { run, flops_per_round: (CHAINS * 32) as f64 }, sum));
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the machine has AVX2 and FMA.
            let run = |rounds| unsafe { fma_256(rounds) };
            return Some((super::Loop { run, flops_per_round: (CHAINS * 16) as f64 }, super::portable_sum));
        }
        None
    }
}

fn portable_sum(data: &[f32]) -> f32 {
    let mut sums = [0f32; 64];
    for part in data.as_chunks::<64>().0 {
        sums.iter_mut().zip(part).for_each(|(s, x)| *s += x);
    }
    sums.iter().sum()
}

/// Chains of multiplications and additions that the compiler makes vectors of.
fn portable(rounds: u64) -> f32 {
    let mut chains = [0.5f32; 64];
    for _ in 0..rounds {
        chains.iter_mut().for_each(|c| *c = *c * 1.000_000_1 + 1e-9);
    }
    chains.iter().sum()
}

fn loops() -> (Loop, Sum) {
    #[cfg(target_arch = "x86_64")]
    if let Some(wide) = x86::wide() {
        return wide;
    }
    (Loop { run: portable, flops_per_round: 128.0 }, portable_sum)
}

/// Seconds that `threads` threads take for the same work at once, in the fastest of some rounds.
fn together(threads: usize, work: &(dyn Fn(usize) -> f32 + Sync)) -> f64 {
    const ROUNDS: usize = 12;
    let start = Barrier::new(threads);
    let times = std::thread::scope(|scope| {
        let each = |k: usize| {
            let start = &start;
            scope.spawn(move || {
                let mut times = [0.0; ROUNDS];
                for time in &mut times {
                    start.wait();
                    let begin = Instant::now();
                    black_box(work(k));
                    *time = begin.elapsed().as_secs_f64();
                }
                times
            })
        };
        let spawned: Vec<_> = (0..threads).map(each).collect();
        spawned.into_iter().map(|t| t.join().expect("the loop ends")).collect::<Vec<_>>()
    });
    // A round ends with its slowest thread.
    let rounds = (0..ROUNDS).map(|r| times.iter().map(|t| t[r]).fold(0.0, f64::max));
    rounds.fold(f64::INFINITY, f64::min)
}

/// Measures both roofs of that many threads.
pub fn roof(threads: usize) -> Roof {
    const FMA_ROUNDS: u64 = 1_000_000;
    const FLOATS: usize = 32 << 20;
    let (fma, sum) = loops();
    let time = together(threads, &|_| (fma.run)(black_box(FMA_ROUNDS)));
    let gflops = threads as f64 * FMA_ROUNDS as f64 * fma.flops_per_round / time / 1e9;
    let data = vec![1f32; FLOATS];
    let part = FLOATS / threads;
    let time = together(threads, &|k| sum(black_box(&data[k * part..(k + 1) * part])));
    let gbytes = (part * threads * 4) as f64 / time / 1e9;
    Roof { gflops, gbytes }
}

/// Copies where no wider registers are known.
fn portable_copy(from: &[f32], to: &mut [f32]) {
    from.iter().zip(to).for_each(|(x, y)| *y = *x);
}

/// Seconds in which that many threads read and write so many bytes at once, which were read and written before: what
/// is written is copied, the rest summed. Each byte counts once, and what is written beyond what is read is a copy as well.
pub fn touch(read: usize, written: usize, threads: usize) -> f64 {
    let (_, sum) = loops();
    #[cfg(target_arch = "x86_64")]
    let copy = x86::copy().unwrap_or(portable_copy);
    #[cfg(not(target_arch = "x86_64"))]
    let copy: Copy = portable_copy;
    let part = |bytes: usize| bytes.div_ceil(4 * threads).next_multiple_of(128);
    let (reads, writes) = (part(read), part(written));
    let buffers: Vec<_> =
        (0..threads).map(|_| (vec![1f32; reads.max(1)], std::sync::Mutex::new(vec![1f32; writes]))).collect();
    together(threads, &|k| {
        let (from, to) = &buffers[k];
        let mut to = to.lock().expect("no thread panics");
        let once = reads.min(writes);
        for to in to.chunks_mut(once.max(128)) {
            copy(black_box(&from[..once]), black_box(to));
        }
        sum(black_box(&from[once..]))
    })
}
