//! Loading a model as the command line asks, with a sign of life on a terminal.

use std::path::Path;
use std::time::Duration;

use fornax::{Backend, Model, Options};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{ModelArgs, TargetArgs};
use crate::failure::Failure;
use crate::output;

/// The options that a command line stands for.
pub fn options(target: &TargetArgs) -> Result<Options, Failure> {
    let mut options = Options::default().cpu(target.cpu).leaf(target.leaf).optimizer(target.optimizer);
    options = options.float(target.float);
    for (i, (name, n)) in target.dims.iter().enumerate() {
        if let Some((_, other)) = target.dims[..i].iter().find(|(known, m)| known == name && m != n) {
            return Err(Failure::input(format_args!("--dim gives `{name}` as {other} and as {n}")));
        }
        options = options.dim(name, *n);
    }
    Ok(options)
}

/// Loads the model; what the import remarked goes to stderr.
pub fn load(args: &ModelArgs, backend: Backend) -> Result<Model, Failure> {
    let mut options = options(&args.target)?.backend(backend).memory_limit(args.memory_limit);
    if let Some(threads) = args.threads {
        options = options.threads(threads as usize);
    }
    let bar = spinner(format!("compiling {}", name(&args.model)));
    let model = Model::load_with(&args.model, options);
    bar.finish_and_clear();
    let model = model?;
    for warning in model.warnings() {
        output::note(format_args!("{warning}"));
    }
    Ok(model)
}

/// The file's name, for reports.
pub fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Shows that something is going on; nothing unless stderr is a terminal.
pub fn spinner(what: String) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(what);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Shows how much of `steps` is done; nothing unless stderr is a terminal.
pub fn progress(what: &'static str, steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}").expect("a valid template");
    ProgressBar::new(steps).with_style(style).with_message(what)
}
