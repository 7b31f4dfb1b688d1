//! The verbs of the command line, a file each.

mod augmented;
mod bench;
mod compare;
mod completions;
mod devices;
mod driver;
mod eval;
mod export;
mod helper;
mod inspect;
mod latency;
mod model;
mod out;
mod pictures;
mod predict;
mod preflight;
mod presets;
mod profile;
mod progress;
mod ranks;
mod receive;
mod run;
mod self_test;
mod serve;
mod source;
mod survey;
mod task;
mod teachers;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand};

pub(crate) use out::report;

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
    /// Print what a shell needs to complete Taper's words.
    Completions(completions::Arguments),
    /// Write the manual pages, as who packs the program does.
    #[command(hide = true)]
    Manual(completions::Manual),
    /// What a configuration would take, as JSON: the server asks it of a process of its own.
    #[command(hide = true)]
    Preflight(preflight::Arguments),
    /// What a data set holds, as JSON: likewise.
    #[command(hide = true)]
    Survey(survey::Arguments),
    /// Draws training pictures as training changes them, as PNG: likewise.
    #[command(hide = true)]
    Augmented(augmented::Arguments),
    /// Takes a teacher that was sent apart and says what it is, as JSON: likewise.
    #[command(hide = true)]
    Receive(receive::Arguments),
    /// Test pictures of a run as PNG, and their classes as JSON: likewise.
    #[command(hide = true)]
    Pictures(pictures::Arguments),
    /// Times the models of a run, and says as JSON what could not be timed: likewise.
    #[command(hide = true)]
    Latency(latency::Arguments),
    /// Another verb within limits, for as long as standard input stays open.
    #[command(hide = true)]
    Helper(helper::Arguments),
}

/// Sees to it that a verb which opens devices has the environment that suits them.
fn settle(verb: &Verb) {
    match verb {
        Verb::Run(arguments) => driver::settle(arguments.first().as_ref()),
        Verb::Preflight(arguments) => driver::settle(arguments.config().as_ref()),
        Verb::Latency(_)
        | Verb::Devices(_)
        | Verb::Inspect(_)
        | Verb::Eval(_)
        | Verb::Predict(_)
        | Verb::Bench(_) => {
            driver::settle(None);
        }
        Verb::Compare(arguments) if arguments.measures() => driver::settle(None),
        Verb::Presets(_)
        | Verb::Compare(_)
        | Verb::Export(_)
        | Verb::Serve(_)
        | Verb::Completions(_)
        | Verb::Manual(_)
        | Verb::Survey(_)
        | Verb::Augmented(_)
        | Verb::Receive(_)
        | Verb::Pictures(_)
        | Verb::Helper(_) => {}
    }
}

/// Runs a verb; what it returns is the exit status.
pub(crate) fn run(cli: Cli) -> Result<ExitCode> {
    let cli = match cli.verb {
        Verb::Helper(arguments) => {
            let cli = Cli::try_parse_from(arguments.begin()?)?;
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
        Verb::Completions(arguments) => completions::run(&arguments, Cli::command()),
        Verb::Manual(arguments) => completions::manual(&arguments, Cli::command()),
        Verb::Preflight(arguments) => preflight::run(&arguments),
        Verb::Survey(arguments) => survey::run(&arguments),
        Verb::Augmented(arguments) => augmented::run(&arguments),
        Verb::Receive(arguments) => receive::run(&arguments),
        Verb::Pictures(arguments) => pictures::run(&arguments),
        Verb::Latency(arguments) => latency::run(&arguments),
        Verb::Helper(_) => Err(anyhow::anyhow!("a helper has no helpers")),
    };
    done.map(|()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
