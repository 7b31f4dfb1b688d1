//! The `taper` program.

// A reader may be gone: see `cli::voice`.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

mod api;
mod cli;
mod datasets;
mod jobs;
mod names;
mod preflight;
mod scratch;
mod signals;
mod store;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    cli::run(cli::Cli::parse()).unwrap_or_else(|error| cli::report(&error))
}
