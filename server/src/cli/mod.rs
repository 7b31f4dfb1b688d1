//! The verbs of the command line, a file each.

mod bench;
pub(crate) mod compare;
mod devices;
mod driver;
mod eval;
mod export;
mod helper;
mod inspect;
mod model;
mod predict;
mod preflight;
mod presets;
mod profile;
mod progress;
mod run;
mod self_test;
mod serve;
mod source;
mod survey;
mod teachers;
mod voice;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::{Parser, Subcommand};
use engine::{
    config::ConfigError,
    formats::FormatError,
    gpu::{self, Gpu},
    text,
    train::TrainError,
};

pub(crate) use voice::{Unheard, say, tell};

/// Trains deep thin networks by going wide, then narrow, on any GPU that WebGPU reaches.
#[derive(Debug, Parser)]
#[command(name = "taper", version, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the adapters that can train.
    Devices(devices::Arguments),
    /// List the built-in configurations, or print one as TOML.
    Presets(presets::Arguments),
    /// Show what a configuration trains: student and teacher, block by block.
    Inspect(inspect::Arguments),
    /// Train a configuration: all its methods and seeds.
    Run(run::Arguments),
    /// Compare the members of finished runs: mean and sample deviation over seeds.
    Compare(compare::Arguments),
    /// Test a trained model.
    Eval(eval::Arguments),
    /// Name the most probable classes of pictures.
    Predict(predict::Arguments),
    /// Time kernels and whole training steps.
    Bench(bench::Arguments),
    /// Write a trained model as a folder that other programs load.
    Export(export::Arguments),
    /// Serve the page and the API.
    Serve(serve::Arguments),
    /// What a configuration would take, as JSON: the server asks it of a process of its own.
    #[command(hide = true)]
    Preflight(preflight::Arguments),
    /// What a data set holds, as JSON: likewise.
    #[command(hide = true)]
    Survey(survey::Arguments),
    /// Another verb within limits, for as long as standard input stays open.
    #[command(hide = true)]
    Helper(helper::Arguments),
}

/// Sees to it that a verb which opens devices has the environment that suits them.
fn settle(verb: &Verb) {
    match verb {
        Verb::Run(arguments) => driver::settle(arguments.first().as_ref()),
        Verb::Preflight(arguments) => driver::settle(arguments.config().as_ref()),
        Verb::Devices(_) | Verb::Inspect(_) | Verb::Eval(_) | Verb::Predict(_) | Verb::Bench(_) => {
            driver::settle(None);
        }
        Verb::Presets(_)
        | Verb::Compare(_)
        | Verb::Export(_)
        | Verb::Serve(_)
        | Verb::Survey(_)
        | Verb::Helper(_) => {}
    }
}

/// Runs a verb; what it returns is the exit status.
pub(crate) fn run(cli: Cli) -> Result<ExitCode> {
    let cli = match cli.verb {
        Verb::Helper(arguments) => {
            let cli = arguments.begin()?;
            // Before this process has threads.
            settle(&cli.verb);
            arguments.watch()?;
            cli
        }
        _ => {
            settle(&cli.verb);
            cli
        }
    };
    let done = match cli.verb {
        Verb::Devices(arguments) => devices::run(&arguments),
        Verb::Presets(arguments) => presets::run(&arguments),
        Verb::Inspect(arguments) => inspect::run(&arguments),
        Verb::Export(arguments) => export::run(&arguments),
        Verb::Bench(arguments) => return bench::run(&arguments),
        Verb::Run(arguments) => return run::run(&arguments),
        Verb::Eval(arguments) => eval::run(&arguments),
        Verb::Predict(arguments) => predict::run(&arguments),
        Verb::Compare(arguments) => compare::run(&arguments),
        Verb::Serve(arguments) => serve::run(arguments),
        Verb::Preflight(arguments) => preflight::run(&arguments),
        Verb::Survey(arguments) => survey::run(&arguments),
        Verb::Helper(_) => Err(anyhow::anyhow!("a helper has no helpers")),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// What a user did wrong that no part of the engine can say, with what to do instead.
#[derive(Debug)]
struct Failure {
    message: String,
    hint: Option<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// An error with what to do about it.
fn failure(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Failure { message: message.into(), hint: Some(hint.into()) }.into()
}

/// Says on standard error what went wrong and, where something can be done, what; the exit status that belongs to it.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if error.is::<voice::Gone>() {
        return ExitCode::SUCCESS;
    }
    let hint = error.chain().find_map(|cause| {
        let failure = cause.downcast_ref::<Failure>().and_then(|failure| failure.hint.clone());
        let config = || cause.downcast_ref::<ConfigError>().and_then(ConfigError::hint);
        let format = || cause.downcast_ref::<FormatError>().and_then(FormatError::hint);
        let train = || cause.downcast_ref::<TrainError>().and_then(TrainError::hint);
        failure.or_else(config).or_else(format).or_else(train)
    });
    say(&format!("error: {}", sentence(error)));
    if let Some(hint) = hint {
        say(&format!("hint: {hint}"));
    }
    ExitCode::FAILURE
}

/// Opens the adapter that `device` means; what is to be said of it goes to standard error.
fn open(device: &str) -> Result<Arc<Gpu>> {
    let gpu = Gpu::open(device, gpu::Options::default())?;
    if let Some(caveat) = gpu.adapter.caveat() {
        say(&format!("warning: {caveat}"));
    }
    Ok(gpu)
}

/// An error with its causes: what was tried, and what the system said to that. Some say their cause themselves.
fn sentence(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.contains(&cause) {
            said += ": ";
            said += &cause;
        }
    }
    said
}

/// Answers on standard output; where nobody reads that any more, the error ends the verb without a word.
fn print(text: &str) -> Result<()> {
    voice::answer(text)
}

/// Prints a value as one line of JSON.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(&json_line(value)?)
}

/// A value as one line of JSON.
fn json_line(value: &impl serde::Serialize) -> Result<String> {
    Ok(text::printable_json(&(serde_json::to_string(value)? + "\n")).into_owned())
}

/// Prints a value as JSON of many lines.
fn print_json_pretty(value: &impl serde::Serialize) -> Result<()> {
    print(&text::printable_json(&(serde_json::to_string_pretty(value)? + "\n")))
}

/// A text table: the first column to the left, the others to the right as numbers are. A name stays in its cell.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let escaped = |row: &Vec<String>| row.iter().map(|cell| text::escape(cell).into()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(escaped).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        padded.join("  ").trim_end().to_string() + "\n"
    };
    let mut text = line(&mut head.iter().copied());
    text.push_str(&"─".repeat(widths.iter().sum::<usize>() + 2 * head.len().saturating_sub(1)));
    text.push('\n');
    rows.iter().for_each(|row| text.push_str(&line(&mut row.iter().map(String::as_str))));
    text
}

/// A count with its unit, as `25.56M`.
fn count(number: u64) -> String {
    match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => format!("{:.1}k", number as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2}M", number as f64 / 1e6),
        _ => format!("{:.2}G", number as f64 / 1e9),
    }
}

/// Bytes with their unit, as `1.5 GiB`.
pub(crate) fn bytes(number: u64) -> String {
    let (mut value, mut units) = (number as f64, ["B", "KiB", "MiB", "GiB", "TiB"].iter());
    let mut unit = units.next().unwrap_or(&"B");
    while value >= 1024.0 {
        let Some(next) = units.next() else { break };
        (value, unit) = (value / 1024.0, next);
    }
    if *unit == "B" { format!("{number} B") } else { format!("{value:.1} {unit}") }
}

/// A time as `42 s`, `3:07` or `1:02:03`.
fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m}:{s:02}"),
        (h, m, s) => format!("{h}:{m:02}:{s:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn causes_are_said_once() {
        let system = || std::io::Error::from_raw_os_error(2);
        let error = anyhow::Error::from(system()).context("cannot make `a/b`");
        assert_eq!(sentence(&error), format!("cannot make `a/b`: {}", system()));
        let path = "a/b".into();
        let error = anyhow::Error::from(FormatError::Io { action: "read", path, source: system() });
        assert_eq!(sentence(&error), format!("cannot read `a/b`: {}", system()));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!((count(9_999).as_str(), count(25_557_032).as_str()), ("9999", "25.56M"));
        assert_eq!((count(4_100_000_000).as_str(), count(12_345).as_str()), ("4.10G", "12.3k"));
        assert_eq!((bytes(512).as_str(), bytes(1536).as_str()), ("512 B", "1.5 KiB"));
        assert_eq!((duration(59.6).as_str(), duration(3723.0).as_str()), ("1:00", "1:02:03"));
    }

    #[test]
    fn tables_are_aligned() {
        let text =
            table(&["a", "n"], &[vec!["long".into(), "1".into()], vec!["b".into(), "23".into()]]);
        assert_eq!(text, "a      n\n────────\nlong   1\nb     23\n");
        let text = table(&["a", "n"], &[vec!["\u{1b}c\n".into(), "1".into()]]);
        assert_eq!(text, "a          n\n────────────\n\\u{1b}c\\n  1\n");
    }
}
