//! What an eager operation costs, with everything: finding its program, memory for the result, the call, the drop.
//!
//! `cargo bench --bench eager` prints a line for each operation, on one thread, and torch's number beside it where python3
//! can import torch. Timings depend on the machine and on what else it does.

#![allow(clippy::print_stdout, reason = "a report is what it is for")]

use std::collections::HashMap;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use fornax::{DType, Tensor, eager};

/// The time of one call, in the fastest of many rounds, which are short so that some pass without interruption.
fn measure(f: &dyn Fn() -> Tensor) -> f64 {
    let round = |count: u32| {
        let start = Instant::now();
        for _ in 0..count {
            drop(black_box(f()));
        }
        start.elapsed()
    };
    round(1);
    let mut count = 1;
    while round(count) < Duration::from_micros(200) {
        count *= 2;
    }
    let best = (0..500).map(|_| round(count)).min().unwrap_or_default();
    best.as_secs_f64() * 1e9 / f64::from(count)
}

/// Torch's nanoseconds by name, or why there are none.
fn torch() -> Result<HashMap<String, f64>, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/eager_dispatch.py");
    let output = Command::new("python3").arg(script).output().map_err(|e| format!("python3: {e}"))?;
    if output.status.code() == Some(3) {
        return Err("torch is not installed".into());
    }
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let line = |line: &str| {
        let (name, time) = line.rsplit_once(": ")?;
        Some((name.to_string(), time.strip_suffix(" ns")?.parse().ok()?))
    };
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(line).collect())
}

fn main() {
    let dense = |shape: &[usize]| Tensor::ones(shape, DType::F32).contiguous();
    let (small, rows, thousand) = (dense(&[4]), dense(&[4, 4]), dense(&[1000]));
    let (square, batch) = (dense(&[64, 64]), dense(&[32, 100]));
    let operations: [(&str, &dyn Fn() -> Tensor); 10] = [
        ("add [4] f32", &|| &small + &small),
        ("add [4, 4] + [4] f32", &|| &rows + &small),
        ("scale [4] f32", &|| &small * 0.5),
        ("add [1000] f32", &|| &thousand + &thousand),
        ("exp [1000] f32", &|| thousand.exp()),
        ("sum [1000] f32", &|| thousand.sum(.., false)),
        ("softmax [32, 100] f32", &|| batch.softmax(-1)),
        ("layer_norm [32, 100] f32", &|| batch.layer_norm(None, None, 1e-5)),
        ("matmul [64, 64] f32", &|| square.matmul(&square)),
        ("transpose [64, 64] f32", &|| square.t()),
    ];
    let peer = torch();
    eager::with_threads(1, || {
        for (name, f) in operations {
            let beside = peer.as_ref().ok().and_then(|times| times.get(name));
            let beside = beside.map_or(String::new(), |ns| format!(" (torch {ns:.0} ns)"));
            println!("eager {name}: {:.0} ns{beside}", measure(f));
        }
    });
    println!("on all cores, eager add [4] f32: {:.0} ns", measure(&|| &small + &small));
    if let Err(why) = peer {
        println!("no numbers of torch: {why}");
    }
}
