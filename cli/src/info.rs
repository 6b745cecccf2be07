//! `fornax info`.

use crate::args::FileArgs;
use crate::failure::Failure;
use crate::{loading, output};

/// Shows what a model takes, gives and consists of.
pub fn info(args: &FileArgs) -> Result<(), Failure> {
    let info = fornax::inspect(&args.file)?;
    output::line(format_args!("{}", loading::name(&args.file)))?;
    output::text(&info.to_string())
}
