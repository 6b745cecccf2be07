//! Comparing outputs with their references, and saying what came out.

use std::path::Path;

use fornax::{Comparison, Model, Outputs, Tolerance, compare};

use crate::failure::Failure;
use crate::inputs::{self, Named};
use crate::output;

/// Reads the references for a model's outputs.
pub fn references(model: &Model, path: &Path) -> Result<Named, Failure> {
    let expected = inputs::read(path, "output", model.outputs())?;
    let known: Vec<&str> = model.outputs().iter().map(|info| info.name.as_str()).collect();
    if let Some((name, _)) = expected.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        let what = format!("'{name}' is no output of the model; its outputs are {}", known.join(", "));
        return Err(Failure::input(format_args!("{}: {what}", path.display())));
    }
    if expected.is_empty() {
        return Err(Failure::input(format_args!("{}: it holds no reference", path.display())));
    }
    Ok(expected)
}

/// Prints the measured error of every output, then a verdict.
pub fn report(outputs: &Outputs, expected: &Named, path: &Path, tolerance: Tolerance) -> Result<(), Failure> {
    let mut failed = 0;
    for (name, tensor) in outputs.iter() {
        let Some((_, reference)) = expected.iter().find(|(known, _)| known == name) else {
            output::line(format_args!("{name}: {}, no reference", output::type_of(tensor)))?;
            continue;
        };
        let found = compare(tensor, reference, tolerance);
        failed += usize::from(!found.passed());
        output::line(format_args!(
            "{name}: {}, {}",
            output::type_of(tensor),
            measured(&found, tensor.dtype())
        ))?;
    }
    let (count, shown) = (expected.len(), path.display());
    let outputs = output::count(count, "output");
    if failed == 0 {
        output::line(format_args!("PASS: {outputs} within {tolerance} of {shown}"))
    } else {
        output::line(format_args!("FAIL: {failed} of {outputs} not within {tolerance} of {shown}"))?;
        Err(Failure::Comparison)
    }
}

fn measured(found: &Comparison, dtype: fornax::DType) -> String {
    let errors = if dtype.is_float() {
        let (error, largest) = (found.max_abs_error, found.max_abs_expected);
        format!("max|a-b| {error:.3e}, max|b| {largest:.3e}, relative {:.3e}", found.relative_error())
    } else {
        format!("{} elements differ", found.mismatches)
    };
    match &found.failure {
        None => format!("{errors}: ok"),
        Some(reason) => format!("{errors}: FAILED, {reason}"),
    }
}
