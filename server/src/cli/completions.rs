//! `taper completions` and `taper manual`: what a shell and `man` know of the command line, made from what clap knows.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Command;
use clap_complete::Shell;

use super::out::print;

/// The arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The shell that shall complete Taper's words.
    shell: Shell,
}

/// The arguments of `manual`.
#[derive(Debug, clap::Args)]
pub(super) struct Manual {
    /// Directory for the pages, one a verb; it is made if it is not there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Prints the completions of a shell.
pub(super) fn run(arguments: &Arguments, mut command: Command) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "taper", &mut text);
    print(&String::from_utf8(text).context("the completions are no UTF-8")?)
}

/// Writes the manual pages.
pub(super) fn manual(arguments: &Manual, command: Command) -> Result<()> {
    let Manual { out } = arguments;
    std::fs::create_dir_all(out)
        .and_then(|()| clap_mangen::generate_to(command, out))
        .with_context(|| format!("`{}` cannot be written", out.display()))
}
