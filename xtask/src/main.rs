//! `cargo xtask VERB`: one runner for what a person or the CI does with the repository.
//!
//! It depends on next to nothing, so that it is built in seconds; everything else is done by `cargo` and `taper`, whose commands are
//! printed before they run.

mod adapters;
mod apt;
mod browser;
mod checks;
#[cfg(test)]
mod circles;
mod clock;
mod demo;
mod dist;
mod fuzz;
mod gpu;
mod growth;
mod json;
mod load;
mod measured;
mod page;
mod peer;
mod plot;
mod python;
mod reach;
mod same;
mod schema;
mod serve;
mod setup;
mod shell;
#[cfg(test)]
mod sources;
mod study;
mod tab;
mod wasm;
mod web;
mod wheel;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
cargo xtask VERB

  setup                 build taper; install a software Vulkan driver if there is no adapter, or OpenGL alone (Linux),
                        Python with ONNX Runtime in target/python, the packages of web/, and Chromium
  demo [-- FLAG…]       setup, then train the `demo` preset; FLAGs go to `taper run`
  serve [-- FLAG…]      build the page and taper, and start `taper serve`; FLAGs go to it
  schema [--check]      write web/src/generated/ by the server's own account, or only see whether it is up to date
  page                  build the page of `taper serve` into web/dist; needs Node
  tab [FOLDER]          the page that trains in a browser's tab, for any web server, into FOLDER or web/dist-tab;
                        needs Node and Rust's target wasm32-unknown-unknown
  dist [--check [FILE]] an archive with the program and a Python wheel that carries it, in target/dist-files; or only try that wheel,
                        FILE, or a program FILE as a wheel, in an empty environment with neither Rust nor Node
  test                  everything that the CI runs, on the adapters that are there and on OpenGL alone
  fuzz [--seed S] [--inputs N] [--input K] [KIND…]
                        have Taper read mutated data, archives, pictures, models, checkpoints, configurations and runs;
                        inputs that fail are kept in target/fuzz/failed
  measured RUN…         write the results of finished runs into README.md
  peer [--rounds N] [WORK…]
                        time Taper, Burn and PyTorch in turn (builds Burn) and write benches/README.md
  gpu [WORK…]           time, tune and profile every work on a GPU, and PyTorch on the same one, and write benches/README.md
  growth                time steps of growing networks and write benches/README.md and benches/growth.svg
  reach [ranks] [tab]   time members over processes, shared batches and a browser's tab beside one process, and write benches/README.md
  study [TABLE…]        train what shows what imitation adds, or go on with it, and write benches/STUDY.md;
                        tables: demo, idx=FOLDER, cifar=FOLDER, paper=FOLDER
  same COMMIT           train by the program of a commit and by this one, and compare the bits of all that they leave
  load                  time a server's answers with many runs, a long curve and many tabs, and write benches/README.md
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    std::env::set_current_dir(shell::root())?;
    let (verb, rest) = match arguments {
        [] => ("help", &[][..]),
        [verb, dashes, rest @ ..] if dashes == "--" => (verb.as_str(), rest),
        [verb, rest @ ..] => (verb.as_str(), rest),
    };
    match (verb, rest) {
        ("setup", []) => setup::run(),
        ("demo", flags) => demo::run(flags),
        ("serve", flags) => serve::run(flags),
        ("schema", []) => shell::build().and_then(|()| schema::write()),
        ("schema", [check]) if check == "--check" => shell::build().and_then(|()| schema::check()),
        ("page", []) => web::build(),
        ("tab", []) => tab::run(None),
        ("tab", [folder]) => tab::run(Some(folder)),
        ("dist", []) => dist::run(),
        ("dist", [check]) if check == "--check" => dist::check(None),
        ("dist", [check, file]) if check == "--check" => dist::check(Some(file)),
        ("test", []) => checks::run(),
        ("fuzz", arguments) => fuzz::run(arguments),
        ("measured", runs @ [_, ..]) => measured::run(runs),
        ("peer", arguments) => peer::run(arguments),
        ("gpu", works) => gpu::run(works),
        ("growth", []) => growth::run(),
        ("load", []) => load::run(),
        ("reach", parts) => reach::run(parts),
        ("study", tables) => study::run(tables),
        ("same", [commit]) => same::run(commit),
        ("help" | "--help" | "-h", _) => {
            print!("{USAGE}");
            Ok(())
        }
        _ => bail!("`{}` is not understood\n\n{USAGE}", arguments.join(" ")),
    }
}
