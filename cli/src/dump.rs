//! `fornax dump`.

use crate::args::DumpArgs;
use crate::failure::Failure;
use crate::{loading, output};

/// Prints a model at a stage of compilation.
pub fn dump(args: &DumpArgs) -> Result<(), Failure> {
    let options = loading::options(&args.target)?;
    let bar = loading::spinner(format!("compiling {}", loading::name(&args.model)));
    let text = fornax::dump(&args.model, args.stage, &options);
    bar.finish_and_clear();
    output::text(&text?)
}
