//! The `fornax` command: runs, measures, prints and checks models.

mod args;
mod bench;
mod certify;
mod compare;
mod dump;
mod failure;
mod info;
mod inputs;
mod loading;
mod output;
mod run;
mod verify;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::Parser;

use args::{Command, CommandLine};
use failure::Failure;

fn main() -> ExitCode {
    let command = match CommandLine::try_parse() {
        Ok(line) => line.command,
        Err(error) => {
            // Help and version are no errors; a closed pipe is not worth a word.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(Failure::BAD_INPUT) } else { ExitCode::SUCCESS };
        }
    };
    start_tracing();
    let result = without_panics(|| match command {
        Command::Run(args) => run::run(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Dump(args) => dump::dump(&args),
        Command::Info(args) => info::info(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Certify(args) => certify::certify(&args),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            ExitCode::from(failure.code())
        }
    }
}

/// Prints events that `FORNAX_LOG` asks for (such as `debug` or `fornax_compiler=trace`) to stderr.
fn start_tracing() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("FORNAX_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let plain = !std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(!plain).init();
}

/// Turns a panic, which is a fault of ours, into a failure.
fn without_panics(body: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    static PANIC: Mutex<Option<String>> = Mutex::new(None);
    std::panic::set_hook(Box::new(|info| {
        let mut first = PANIC.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| info.to_string());
    }));
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        let message = PANIC.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err(Failure::Internal(message.unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_internal_error_that_names_its_cause() {
        let failure = without_panics(|| panic!("the sky fell")).unwrap_err();
        assert_eq!(failure.code(), 3);
        assert!(matches!(&failure, Failure::Internal(message) if message.contains("the sky fell")));
        assert!(without_panics(|| Ok(())).is_ok());
    }
}
