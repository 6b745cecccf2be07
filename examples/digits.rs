//! Recognises the handwritten digits beside this file: `cargo run --release --example digits`.

use std::path::Path;
use std::time::Instant;

use fornax::{Model, io};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data");
    let images = io::read_npz(data.join("digits.images.npz"))?.remove(0).1;
    let labels = io::read_npz(data.join("digits.labels.npz"))?.remove(0).1;

    let model = Model::load(data.join("digits.onnx"))?;
    let stats = model.stats();
    let [import, optimize, codegen] =
        [stats.import_time, stats.optimize_time, stats.codegen_time].map(|t| t.as_secs_f64() * 1e3);
    report(format_args!("import {import:.1} ms, optimize {optimize:.1} ms, codegen {codegen:.1} ms"));
    report(format_args!("{} operators became {} kernels for {}", stats.operators, stats.kernels, stats.isa));

    let start = Instant::now();
    let outputs = model.run(&[("images", &images)])?;
    let elapsed = start.elapsed();

    let rows = outputs["probabilities"].as_slice::<f32>()?.chunks(10);
    let answers = rows.map(|row| (0..10).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0));
    let labels = labels.as_slice::<u8>()?;
    let right = answers.zip(labels).filter(|(answer, label)| *answer == usize::from(**label)).count();
    let n = labels.len();
    report(format_args!("{right} of {n} digits recognised in {:.2} ms", elapsed.as_secs_f64() * 1e3));
    Ok(())
}

#[allow(clippy::print_stdout, reason = "an example talks to its user")]
fn report(text: std::fmt::Arguments<'_>) {
    println!("{text}");
}
