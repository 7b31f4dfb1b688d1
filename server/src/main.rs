//! The `taper` program.

mod api;
mod cli;
mod datasets;
mod jobs;
mod preflight;
mod scratch;
mod store;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            cli::report(&error);
            ExitCode::FAILURE
        }
    }
}
