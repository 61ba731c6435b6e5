//! Generated files and the checks of the repository's own rules.
//!
//! `cargo run -q -p xtask -- COMMAND`. Every check is a pure function over text
//! or a table, so that its tests can show it failing; the rest only collects
//! input.

mod cli_doc;
mod crds;
mod deps;
mod floors;
mod generated;
mod image;
mod metrics_doc;
mod operator;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::workspace::Workspace;

/// Generated files and the checks of the repository's own rules.
#[derive(Debug, Parser)]
#[command(name = "xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the CustomResourceDefinitions to manifests/crds
    Crds(Generate),
    /// Write metrics.md from the definitions of the metrics
    MetricsDoc(Generate),
    /// Write docs/cli.md from the help of the programs
    CliDoc(Generate),
    /// Write manifests/operator/operator.yaml as the operator prints it
    Operator(Generate),
    /// Write a container image with a program that was built on this machine
    Image(image::ImageArgs),
    /// Check which crates depend on which, and what the sidecar must not link
    Deps,
    /// Check that dependencies are free of published advisories
    Floors,
    /// Check for files that nothing compiles, overlong files, TODOs without an
    /// owner, paths of one machine, untested manifests, attacks without a test and
    /// a Containerfile that does not fit the workspace
    Tidy,
}

#[derive(Debug, Clone, Copy, Args)]
struct Generate {
    /// Fail if the file is not current, and do not write it
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(problems) => {
            report(&problems.join("\n"));
            ExitCode::FAILURE
        }
        Err(error) => {
            report(&format!("{error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Returns what is wrong, one line each.
fn run(command: &Command) -> Result<Vec<String>> {
    let workspace = Workspace::here()?;
    match command {
        Command::Crds(generate) => crds::run(&workspace, generate.check),
        Command::MetricsDoc(generate) => metrics_doc::run(&workspace, generate.check),
        Command::CliDoc(generate) => cli_doc::run(&workspace, generate.check),
        Command::Operator(generate) => operator::run(&workspace, generate.check),
        Command::Image(args) => image::run(args),
        Command::Deps => deps::run(&workspace),
        Command::Floors => floors::run(&workspace),
        Command::Tidy => tidy::run(&workspace),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "this is where a program of the command line talks"
)]
fn report(text: &str) {
    eprintln!("{text}");
}
