//! What a parallel loop costs.

use super::{Bar, Report, bench_lines, worst_of};

/// A loop whose two bodies must run on two threads, back to back, by the pool's own benchmark.
pub fn bars(report: &mut Report) {
    let lines = bench_lines("fornax-runtime", "dispatch");
    let median = rates_ns(&lines, "median");
    report.line("dispatch to two threads", median / 1000.0, "us", Bar::AtMost(3.0));
    println!("{:<52} {:>10.3} us", "  99 of 100 of them", rates_ns(&lines, "99 of 100") / 1000.0);
}

fn rates_ns(lines: &[String], word: &str) -> f64 {
    worst_of(lines, word, "ns")
}
