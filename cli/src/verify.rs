//! `fornax verify`.

use crate::args::FileArgs;
use crate::failure::Failure;
use crate::{loading, output};

/// Imports a model and verifies its graph; nothing is compiled or run.
pub fn verify(args: &FileArgs) -> Result<(), Failure> {
    let verified = fornax::verify(&args.file)?;
    for warning in &verified.warnings {
        output::note(format_args!("{warning}"));
    }
    let (name, values) = (loading::name(&args.file), verified.values);
    output::line(format_args!("{name}: ok, {} operators, {values} values in the graph", verified.operators))
}
