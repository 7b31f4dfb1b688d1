//! `cargo xtask measured RUN…`: the results of finished runs, written into README.md between two comments.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::{
    clock::Moment,
    json::string,
    page,
    shell::{self, read},
};

const PAGE: &str = "README.md";

/// Writes a table a run, as `taper compare` prints it; a folder of runs is one run. Those on images and those on text have a place each,
/// and a place of which no run is named stays as it is.
pub(crate) fn run(runs: &[String]) -> Result<()> {
    shell::build()?;
    let runs = runs
        .iter()
        .map(|run| Ok((run, name(run)?, facts(Path::new(run))?)))
        .collect::<Result<Vec<_>>>()?;
    for (part, of_text) in [("measured", false), ("measured-text", true)] {
        let these: Vec<_> = runs.iter().filter(|(.., facts)| facts.text == of_text).collect();
        if these.is_empty() {
            continue;
        }
        let names: Vec<String> = these.iter().map(|(_, name, _)| format!("runs/{name}")).collect();
        let numbers = if of_text {
            "Losses (nats) and accuracies are of held-out words that show `[MASK]`, by the last weights"
        } else {
            "Accuracies are of the last weights on the test data"
        };
        let mut text = format!(
            "Written by `cargo xtask measured {}` on {}. {numbers}, mean ± sample deviation over the seeds.\n",
            names.join(" "),
            Moment::now().date()
        );
        for (run, name, facts) in these {
            let table = read(shell::taper()?.args(["compare", run]))?;
            if table.contains("not finished") {
                bail!(
                    "`{run}` has members that are not finished; `taper run --resume --out {run}` goes on"
                );
            }
            write!(
                text,
                "\n**{name}**: seeds {}, on {}, taper {}\n\n```text\n{}\n```\n",
                facts.seeds,
                facts.adapter,
                facts.version,
                table.trim_end()
            )
            .expect("a String takes all");
        }
        page::write(PAGE, part, &text)?;
        let what = if names.len() == 1 { "results" } else { "tables" };
        println!("{PAGE}: {what} of {} written", names.join(", "));
    }
    Ok(())
}

/// The folder's own name: where it lies is nobody's business.
fn name(run: &str) -> Result<&str> {
    let name = Path::new(run).file_name().and_then(|name| name.to_str());
    name.with_context(|| format!("`{run}` does not end in the name of a folder"))
}

/// What a table has to be read with.
#[derive(Debug, PartialEq)]
struct Facts {
    /// Whether it is of text, not of images.
    text: bool,
    seeds: String,
    adapter: String,
    version: String,
}

/// Reads them from a run directory, or from all of a folder of them: the seeds of each, the rest from the first.
fn facts(run: &Path) -> Result<Facts> {
    if !run.join("config.toml").is_file() {
        let mut inner: Vec<_> = fs::read_dir(run)
            .with_context(|| format!("cannot read `{}`", run.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.join("config.toml").is_file())
            .collect();
        inner.sort();
        let all = inner.iter().map(|run| facts(run)).collect::<Result<Vec<_>>>()?;
        let found = joined(all);
        return found.with_context(|| format!("`{}` is no run", run.display()));
    }
    let text = |file: &str| {
        let path = run.join(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))
    };
    let (config, events) = (text("config.toml")?, text("events.jsonl")?);
    let found = facts_of(&config, &events);
    found.with_context(|| format!("the logs of `{}` do not say what ran", run.display()))
}

/// The first, with the seeds of all; a seed of several is named once.
fn joined(all: Vec<Facts>) -> Option<Facts> {
    let mut seeds: Vec<&str> = Vec::new();
    for seed in all.iter().flat_map(|facts| facts.seeds.split(", ")) {
        if !seeds.contains(&seed) {
            seeds.push(seed);
        }
    }
    let seeds = seeds.join(", ");
    Some(Facts { seeds, ..all.into_iter().next()? })
}

/// What a configuration says, and the event with which the run began.
fn facts_of(config: &str, events: &str) -> Option<Facts> {
    let seeds =
        config.lines().find_map(|line| line.strip_prefix("seeds = ["))?.strip_suffix(']')?;
    let begun = events.lines().find(|line| line.contains(r#""type":"run_started""#))?;
    let adapter = string(begun, "adapter")?;
    let kind = string(begun, "adapter_kind")?;
    Some(Facts {
        text: config.lines().any(|line| line == r#"arch = "bert""#),
        seeds: seeds.trim().into(),
        adapter: format!("{adapter} ({kind})"),
        version: string(begun, "version")?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_from_the_logs() {
        let config = "methods = [\"win\"]\nseeds = [0, 1, 2]\n";
        let events = "{\"seq\":0,\"type\":\"run_started\",\"version\":\"0.1.0\",\"adapter\":\"llvmpipe (LLVM 15)\",\"adapter_kind\":\"cpu\"}\n";
        let facts = facts_of(config, events).expect("all there");
        assert_eq!(
            facts,
            Facts {
                text: false,
                seeds: "0, 1, 2".into(),
                adapter: "llvmpipe (LLVM 15) (cpu)".into(),
                version: "0.1.0".into()
            }
        );
        assert_eq!(facts_of(config, "{}\n"), None);
        let other =
            facts_of("seeds = [3, 1]\n[model]\narch = \"bert\"\n", events).expect("all there");
        assert!(other.text);
        assert_eq!(joined(vec![facts, other]).expect("two").seeds, "0, 1, 2, 3");
        assert_eq!(joined(Vec::new()), None);
    }

    #[test]
    fn a_run_goes_by_the_name_of_its_folder() {
        assert_eq!(name("a/b/demo/").expect("a name"), "demo");
        assert!(name("/").is_err());
    }
}
