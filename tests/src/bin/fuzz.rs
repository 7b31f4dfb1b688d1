//! `cargo xtask fuzz`: the fuzz's program, which drives itself as its workers.

use std::{env, path::PathBuf, process::ExitCode, thread, time::Duration};

use taper_tests::{
    REQUIRE,
    fuzz::{
        Kind,
        drive::{self, Plan},
        seeds::{self, Seeds},
        work::{self, Trip, Work},
    },
};

const USAGE: &str = "\
fuzz [--seed S] [--inputs N] [--input K] [KIND…]

  --seed S     seed of all inputs (1)
  --inputs N   how many (10000)
  --input K    only this one
  KIND         idx cifar picture folder tar zip safetensors model checkpoint toml events run; all, if none is named
";

/// Limits of time and memory for one input.
const PATIENCE: Duration = Duration::from_secs(20);
const MEMORY: u64 = 2 << 30;
/// Failures after which there are enough.
const MOST: usize = 100;

struct Arguments {
    seeds: PathBuf,
    seed: u64,
    inputs: u64,
    input: Option<u64>,
    kinds: Vec<Kind>,
    trips: Vec<(u64, Trip)>,
}

fn arguments(given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let target = env::current_exe().map_err(|error| error.to_string())?;
    // target/debug/fuzz
    let target = target.ancestors().nth(2).unwrap_or(&target).join("fuzz");
    let (seed, inputs, input) = (1, 10_000, None);
    let (seeds, kinds, trips) = (target, Vec::new(), Vec::new());
    let mut found = Arguments { seeds, seed, inputs, input, kinds, trips };
    let mut given = given;
    while let Some(word) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: String| {
            text.parse::<u64>().map_err(|_| format!("{word}: `{text}` is no number"))
        };
        match word.as_str() {
            "--seed" => found.seed = number(value()?)?,
            "--inputs" => found.inputs = number(value()?)?,
            "--input" => found.input = Some(number(value()?)?),
            "--seeds" => found.seeds = value()?.into(),
            "--trip" => {
                let text = value()?;
                let trip = text
                    .split_once('=')
                    .and_then(|(at, name)| Some((at.parse().ok()?, Trip::of(name)?)));
                found.trips.push(trip.ok_or_else(|| format!("--trip: `{text}` is none"))?);
            }
            "--help" | "-h" => return Err(String::new()),
            word if word.starts_with('-') => return Err(format!("unknown option {word}")),
            kind => found.kinds.push(kind.parse()?),
        }
    }
    Ok(found)
}

fn main() -> ExitCode {
    let mut given = env::args().skip(1).peekable();
    let works = given.next_if(|word| word == "work").is_some();
    let ended = arguments(given).and_then(|arguments| match works {
        true => serve(arguments),
        false => drive(arguments),
    });
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.is_empty() => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: Arguments) -> Result<bool, String> {
    let Arguments { seeds, seed, kinds, trips, .. } = arguments;
    let served = work::run(&Work { seeds, seed, kinds, trips });
    served.map(|()| true).map_err(|error| error.to_string())
}

fn drive(arguments: Arguments) -> Result<bool, String> {
    let Arguments { seeds, seed, inputs, input, kinds, trips } = arguments;
    match seeds::adapter() {
        Ok(()) => seeds::train(&seeds).map_err(|error| error.to_string())?,
        Err(error) if env::var(REQUIRE).is_ok_and(|value| value == "1") => return Err(error),
        Err(error) => eprintln!("no events, checkpoints and runs are tried: {error}"),
    }
    let there = Seeds::open(&seeds).kinds();
    let kinds = if kinds.is_empty() { there.clone() } else { kinds };
    if let Some(kind) = kinds.iter().find(|kind| !there.contains(kind)) {
        return Err(format!("there is no seed of the kind {kind}"));
    }
    let plan = Plan {
        worker: env::current_exe().map_err(|error| error.to_string())?,
        kept: seeds.join("failed"),
        work: Work { seeds, seed, kinds, trips },
        inputs: input.map_or(0..inputs, |input| input..input + 1),
        processes: thread::available_parallelism().map_or(1, |count| count.get()),
        patience: PATIENCE,
        memory: MEMORY,
        most: MOST,
    };
    let report = drive::run(&plan).map_err(|error| error.to_string())?;
    if !report.python {
        eprintln!(
            "there is no Python with Pillow: pictures, archives and TOML are held against nobody; `cargo xtask setup` brings it"
        );
    }
    println!("{report}");
    for failure in &report.failures {
        let how: String = failure.how.chars().take(400).collect();
        println!("input {} ({}): {how}", failure.number, failure.kind);
    }
    if !report.is_good() {
        let kinds: Vec<&str> = plan.work.kinds.iter().map(|kind| kind.name()).collect();
        println!(
            "they are kept in {}; again: cargo xtask fuzz --seed {seed} --input NUMBER {}",
            plan.kept.display(),
            if kinds.len() < there.len() { kinds.join(" ") } else { String::new() }
        );
    }
    Ok(report.is_good())
}
