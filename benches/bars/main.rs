//! Every measured promise of the project in one run: value, bar and verdict.
//!
//! `cargo bench --bench bars` builds the command in release mode and measures it in processes of its
//! own, on the real models where their files are there. Timings depend on the machine and on what
//! else it does: run it on a quiet one. Exits with 1 if a bar is missed.

#![allow(clippy::print_stdout, reason = "a report is what it is for")]

use std::path::PathBuf;
use std::process::{Command, ExitCode};

#[path = "../../tests/common/mod.rs"]
mod common;
mod kernels;
mod models;
mod optimizer;
mod threads;

/// A limit on a measured value.
enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Default)]
struct Report {
    missed: usize,
}

impl Report {
    fn line(&mut self, what: &str, value: f64, unit: &str, bar: Bar) {
        let (holds, relation, limit) = match bar {
            Bar::AtMost(limit) => (value <= limit, "<=", limit),
            Bar::AtLeast(limit) => (value >= limit, ">=", limit),
        };
        self.missed += usize::from(!holds);
        let verdict = if holds { "ok" } else { "MISSED" };
        println!("{what:<52} {value:>10.3} {relation} {limit:>10.3} {unit:<10} {verdict}");
    }
}

fn cargo() -> Command {
    let mut c = Command::new(env!("CARGO"));
    c.current_dir(env!("CARGO_MANIFEST_DIR"));
    c
}

/// The `fornax` command, built in release mode beside this benchmark.
fn build_command() -> PathBuf {
    let built = cargo().args(["build", "--release", "-q", "-p", "fornax-cli"]).status();
    assert!(built.is_ok_and(|s| s.success()), "the command does not build");
    let own = std::env::current_exe().expect("this benchmark has a path");
    own.ancestors().nth(2).expect("it lies in target/release/deps").join("fornax")
}

/// Lines of another benchmark's output.
fn bench_lines(package: &str, bench: &str) -> Vec<String> {
    let out = cargo().args(["bench", "-q", "-p", package, "--bench", bench]).output().expect("cargo runs");
    assert!(out.status.success(), "{bench}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).lines().map(str::to_string).collect()
}

/// The numbers before `unit` in the lines that contain `word`.
fn rates(lines: &[String], word: &str, unit: &str) -> Vec<f64> {
    let number = |line: &String| line.split(unit).next()?.split_whitespace().last()?.parse::<f64>().ok();
    lines.iter().filter(|l| l.contains(word)).filter_map(number).collect()
}

fn best_of(lines: &[String], word: &str, unit: &str) -> f64 {
    rates(lines, word, unit).into_iter().fold(f64::NAN, f64::max)
}

fn worst_of(lines: &[String], word: &str, unit: &str) -> f64 {
    rates(lines, word, unit).into_iter().fold(f64::NAN, f64::min)
}

fn main() -> ExitCode {
    let mut report = Report::default();
    let fornax = build_command();
    let leaf = bench_lines("fornax-codegen", "leaf");
    let gflops = best_of(&leaf, "matrix product", "GFLOP/s");
    report.line("clif matmul leaf, one core", gflops, "GFLOP/s", Bar::AtLeast(45.0));
    println!(
        "{:<52} {:>10.3} GFLOP/s",
        "  its roof: register-only f32x4 FMA",
        best_of(&leaf, "register-only", "GFLOP/s")
    );
    let interp = bench_lines("fornax-ir", "interp");
    for word in ["dot", "conv"] {
        let rate = worst_of(&interp, word, "GMAC/s");
        report.line(&format!("reference interpreter, slowest {word}"), rate, "GMAC/s", Bar::AtLeast(1.0));
    }
    threads::bars(&mut report);
    kernels::bars(&mut report);
    optimizer::bars(&mut report);
    let eager = bench_lines("fornax", "eager");
    eager.iter().for_each(|line| println!("  {line}"));
    let slowest = rates(&eager, "eager add [4] f32", "ns").into_iter().fold(f64::NAN, f64::max);
    report.line("eager addition of four numbers, all costs", slowest / 1000.0, "us", Bar::AtMost(2.0));
    models::bars(&mut report, &fornax);
    println!("{} bars missed", report.missed);
    ExitCode::from(u8::from(report.missed > 0))
}
