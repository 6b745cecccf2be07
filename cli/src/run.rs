//! `fornax run`.

use std::time::Instant;

use fornax::{Backend, KernelTime, Model, io};

use crate::args::RunArgs;
use crate::failure::Failure;
use crate::{compare, inputs, loading, output};

/// Runs a model once; reports, compares and stores its outputs.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    if args.profile && args.backend == Backend::Interp {
        return Err(Failure::input("--profile measures kernels, and --backend interp has none"));
    }
    let model = loading::load(&args.model, args.backend)?;
    let inputs = inputs::inputs(&args.model, &model)?;
    let borrowed = inputs::borrowed(&inputs);
    let expected = match &args.expect {
        Some(path) => Some((path, compare::references(&model, path)?)),
        None => None,
    };
    let bar = loading::spinner("running".into());
    let start = Instant::now();
    let (outputs, kernels) = if args.profile {
        let (outputs, kernels) = model.profile(&borrowed)?;
        (outputs, Some(kernels))
    } else {
        (model.run(&borrowed)?, None)
    };
    let elapsed = start.elapsed();
    bar.finish_and_clear();
    summary(args, &model, elapsed.as_secs_f64() * 1e3)?;
    if let Some(kernels) = kernels {
        profile(&kernels)?;
    }
    if let Some(path) = &args.outputs {
        let safetensors = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors"));
        let written = match safetensors {
            true => io::save_safetensors(path, outputs.iter()),
            false => io::write_npz(path, outputs.iter()),
        };
        written.map_err(|e| Failure::input(format_args!("cannot write {}: {e}", path.display())))?;
    }
    match expected {
        Some((path, expected)) => compare::report(&outputs, &expected, path, args.tolerance()),
        None => outputs.iter().try_for_each(|(name, tensor)| {
            output::line(format_args!("{name}: {}\n{tensor}", output::type_of(tensor)))
        }),
    }
}

/// What was done, in two lines.
fn summary(args: &RunArgs, model: &Model, run_ms: f64) -> Result<(), Failure> {
    let (name, s) = (loading::name(&args.model.model), model.stats());
    let ms = |d: std::time::Duration| d.as_secs_f64() * 1e3;
    if args.backend == Backend::Interp {
        output::line(format_args!("{name}: {}, interpreted", output::count(s.operators, "operator")))?;
        return output::line(format_args!("import {:.1} ms, run {run_ms:.1} ms", ms(s.import_time)));
    }
    output::line(format_args!(
        "{name}: {} in {} for {}, {}, {} of weights",
        output::count(s.operators, "operator"),
        output::count(s.kernels, "kernel"),
        s.isa,
        output::count(model.threads(), "thread"),
        output::bytes(s.weights_bytes)
    ))?;
    output::line(format_args!(
        "import {:.1} ms, optimize {:.1} ms, codegen {:.1} ms, first run {run_ms:.1} ms",
        ms(s.import_time),
        ms(s.optimize_time),
        ms(s.codegen_time)
    ))
}

/// The kernels by their share of the run, slowest first.
fn profile(kernels: &[KernelTime]) -> Result<(), Failure> {
    let total: f64 = kernels.iter().map(|k| k.time.as_secs_f64()).sum();
    let mut sorted: Vec<&KernelTime> = kernels.iter().collect();
    sorted.sort_by_key(|k| std::cmp::Reverse(k.time));
    output::line(format_args!("{:>10} {:>6} {:>8}  kernel", "us", "%", "GB/s"))?;
    for k in sorted {
        let seconds = k.time.as_secs_f64();
        let rate = if seconds > 0.0 { (k.bytes * k.calls) as f64 / seconds / 1e9 } else { 0.0 };
        let share = if total > 0.0 { 100.0 * seconds / total } else { 0.0 };
        output::line(format_args!("{:>10.1} {share:>6.1} {rate:>8.2}  {}", seconds * 1e6, k.label))?;
    }
    Ok(())
}
