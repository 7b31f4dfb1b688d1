//! The `taper` program.

// A reader may be gone: see `voice`.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

mod api;
mod cli;
mod datasets;
mod export;
mod failure;
mod figures;
mod folders;
mod helper;
mod hub;
mod jobs;
mod matrix;
mod names;
mod run;
mod scratch;
mod signals;
mod store;
mod teachers;
mod voice;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    cli::run(cli::Cli::parse()).unwrap_or_else(|error| cli::report(&error))
}
