//! Matrix products beside the machine's roof, as the benchmark of kernels measures both.

use super::{Bar, Report, bench_lines};

/// A line of the benchmark: a case on some threads.
struct Measured<'a> {
    name: &'a str,
    threads: u32,
    gflops: f64,
    /// Of the roof on as many threads, percent.
    share: f64,
}

/// `NAME  N threads  T ms  F GFLOP/s  B GB/s  P % of the roof`.
fn measured(line: &str) -> Option<Measured<'_>> {
    let number = |before: &str| line.split(before).next()?.split_whitespace().last()?.parse::<f64>().ok();
    let share = number("% of the roof").filter(|_| line.contains("% of the roof"))?;
    let (head, _) = line.split_once(" threads ")?;
    let (name, threads) = head.rsplit_once(' ')?;
    Some(Measured { name: name.trim(), threads: threads.parse().ok()?, gflops: number("GFLOP/s")?, share })
}

/// Products with constant weights, and of two inputs: how near they come to the roof on one thread, and what a second
/// thread gives them.
pub fn bars(report: &mut Report) {
    let lines = bench_lines("fornax", "kernels");
    lines.iter().for_each(|line| println!("  {line}"));
    let all: Vec<Measured<'_>> = lines.iter().filter_map(|l| measured(l)).collect();
    for (kind, least) in [(", weights", 92.0), (", two inputs", 88.0)] {
        for one in all.iter().filter(|m| m.threads == 1 && m.name.ends_with(kind)) {
            report.line(&format!("{}, one thread", one.name), one.share, "% of roof", Bar::AtLeast(least));
            let two = all.iter().find(|m| m.threads == 2 && m.name == one.name);
            let gain = two.map_or(f64::NAN, |two| two.gflops / one.gflops);
            report.line(&format!("{}, two threads to one", one.name), gain, "", Bar::AtLeast(1.9));
        }
    }
}
