//! The sidecar, and the commands that people use beside it.
//!
//! It never links a Kubernetes client and holds no development identity
//! provider. [`run`] is what a pod runs; the other commands read the same
//! documents through the same functions, so what they say is what it does.

mod args;
mod check;
mod documents;
mod drain;
mod explain;
mod hold;
mod identity;
mod run;

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wrong usage, or a configuration that cannot be served.
const EXIT_INVALID: u8 = 2;

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::check(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Drain(args) => drain::drain(&args),
        Command::Hold(args) => hold::hold(args),
        Command::Identity(args) => identity::identity(args),
        Command::Version => {
            say(concat!("sidegate ", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
    }
}

/// Writes a line to standard output. A reader that went away is not an error.
fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Writes a line to standard error.
fn complain(line: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
