//! Library functions on one thread: the least time of many runs, and how fast that moves what must be read and written.
//!
//! `cargo bench -p fornax-runtime --bench library`

#![allow(unsafe_code, reason = "calls functions as programs do, through a block of words")]

use fornax_runtime::library::TABLE;
use std::ffi::c_void;
use std::time::{Duration, Instant};

const F32: i64 = 11;
const I64: i64 = 7;

/// Runs a function over all items until half a second has passed.
fn measure(
    name: &str,
    function: &str,
    buffers: &[*mut c_void],
    scalars: &[i64],
    scratch: usize,
    bytes: usize,
) {
    let function = TABLE.iter().find(|f| f.0 == function).expect("a library function").1;
    let mut memory = vec![0u128; scratch.div_ceil(2) + 4];
    let start = memory.as_mut_ptr() as usize;
    let mut flag = 0i64;
    let mut words: Vec<u64> = buffers.iter().map(|b| *b as usize as u64).collect();
    words.extend(scalars.iter().map(|s| s.cast_unsigned()));
    words.extend([start.next_multiple_of(64) as u64, 0, (&raw mut flag) as usize as u64]);
    let items = if function as usize == sort() { scalars[8] } else { scalars[scalars.len() - 1] };
    let (begin, mut best) = (Instant::now(), Duration::MAX);
    while begin.elapsed() < Duration::from_millis(700) {
        let now = Instant::now();
        // SAFETY: the block has the buffers and scalars that the function reads, as large as these say.
        unsafe { function(words.as_mut_ptr().cast(), 0, items, 0) };
        best = best.min(now.elapsed());
    }
    let seconds = best.as_secs_f64();
    eprintln!("{name:44} {:9.3} ms {:7.1} GB/s", seconds * 1e3, bytes as f64 / seconds / 1e9);
}

fn sort() -> usize {
    TABLE.iter().find(|f| f.0 == "fnx_sort_2").map_or(0, |f| f.1 as usize)
}

fn numbers(n: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 - 8e6
    };
    (0..n).map(|_| next()).collect()
}

fn data<T>(v: &[T]) -> *mut c_void {
    v.as_ptr().cast_mut().cast()
}

fn main() {
    let n = 2048;
    let (x, y) = (numbers(n * n), vec![0f32; n * n]);
    let pair = [data(&x), data(&y)];
    let wide = n as i64;
    for (name, [outer, extent, inner]) in [
        ("running sums, neighbours, 2048 x 2048", [wide, wide, 1]),
        ("running sums, columns, 2048 x 2048", [1, wide, wide]),
    ] {
        let items = outer * ((inner + 511) / 512);
        measure(name, "fnx_cumulative", &pair, &[F32, 0, 0, 0, outer, extent, inner, items], 0, 8 * n * n);
    }
    let rows: Vec<i64> = numbers(8192).iter().map(|v| (*v as i64).rem_euclid(wide)).collect();
    let table = [data(&y), data(&x), data(&rows), data(&y)];
    let scalars = [F32, 1, I64, 0, 1, 2048, wide, wide, 1, 0, 1];
    measure("rows added in place, 2048 of 2048", "fnx_scatter_1", &table, &scalars, 0, 12 * n * n);
    let each: Vec<i64> = x.iter().map(|v| (*v as i64).rem_euclid(wide)).collect();
    let table = [data(&y), data(&x), data(&each), data(&y)];
    let scalars = [F32, 1, I64, 1, wide, wide, 1, wide, 1, 0, wide];
    measure("elements added in place, 2048 x 2048", "fnx_scatter_1", &table, &scalars, 0, 20 * n * n);
    let places = vec![0i64; n * n];
    let results = [data(&x), data(&y), data(&places)];
    let all = 2 * n;
    let scalars = [F32, 0, 0, wide, wide, 1, wide, all as i64, wide, all as i64];
    measure("sort, 2048 x 2048", "fnx_sort_2", &results, &scalars, all, 20 * n * n);
    let (few, long) = (32, 65536);
    let scalars = [F32, 0, 0, 64, long, 1, long, 2 * long, 64, 2 * long];
    measure("sort, 64 x 65536", "fnx_sort_2", &results, &scalars, 2 * long as usize, 20 * n * n);
    let room = 4 * few + 256;
    let scalars = [F32, 0, 1, 64, long, 1, few, room, 64, room];
    measure("largest 32 of 65536, 64 rows", "fnx_sort_2", &results, &scalars, room as usize, 4 * n * n);
}
