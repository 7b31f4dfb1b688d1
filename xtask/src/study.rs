//! `cargo xtask study`: what imitation itself adds, seed by seed, at equal epochs, operations and seconds, written into benches/STUDY.md.
//!
//! Settings are chosen on a part of the training data (`data.validation_fraction`), on seeds of their own; every arm has as many to choose from.
//! Each setting of an arm and each seed is a run of its own below `runs/study`, so what is interrupted goes on, and what is done stays.

mod statistics;
mod tables;
mod text;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    json::{number, objects, string},
    page,
    shell::{self, at, read, root},
};
use tables::{Arm, CHOOSING, TABLES, TESTING, Table};
use text::{Curve, Found, Outcome};

const PAGE: &str = "benches/STUDY.md";
const RUNS: &str = "runs/study";
/// How much of the training data chooses settings.
const VALIDATION: &str = "data.validation_fraction=0.2";
/// Of its epochs, what each arm of the curves gets; the table has all of them.
const BUDGETS: [f64; 4] = [0.25, 0.5, 1.0, 2.0];
/// The folders of the runs that choose, and of those that are tested.
const CHOOSE: &str = "choose";
const TEST: &str = "test";

/// Runs what is not done of these tables (of all that need no data of one's own if none is named), and writes them.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let named: Vec<_> = arguments.iter().map(|argument| wanted(argument)).collect::<Result<_>>()?;
    let all = || TABLES.iter().filter(|table| !table.needs_data).map(|table| (table, None));
    let wanted = if named.is_empty() { all().collect() } else { named };
    let taper = shell::build_release()?;
    for (table, data) in wanted {
        let study = Study { taper: &taper, table, data };
        let found = study.found()?;
        let curves = study.curves(&found)?;
        page::write(PAGE, table.name, &text::table(table, &found, &curves))?;
        if !curves.is_empty() {
            let file = format!("benches/{}", text::plot_of(table));
            fs::write(root().join(&file), text::plot(&curves))
                .with_context(|| format!("cannot write {file}"))?;
        }
        println!("{PAGE}: {} is written", table.name);
    }
    Ok(())
}

/// A table by its name, with the place of its data where it has some: `demo`, `idx=FOLDER`.
fn wanted(argument: &str) -> Result<(&'static Table, Option<&str>)> {
    let (name, data) = match argument.split_once('=') {
        Some((name, data)) => (name, Some(data)),
        None => (argument, None),
    };
    let Some(table) = TABLES.iter().find(|table| table.name == name) else {
        let names: Vec<_> = TABLES.iter().map(|table| table.name).collect();
        bail!("`{name}` is no table; there are {}", names.join(", "));
    };
    match table.needs_data {
        true => ensure!(data.is_some(), "give the place of the data of {name}: {name}=FOLDER"),
        false => ensure!(data.is_none(), "the data of {name} are built in"),
    }
    Ok((table, data))
}

/// A table while it is run.
struct Study<'a> {
    taper: &'a Path,
    table: &'static Table,
    data: Option<&'a str>,
}

impl Study<'_> {
    /// The arms, each by the setting that is best on validation data, tested on each seed.
    fn found(&self) -> Result<Vec<Found>> {
        let mut all: Vec<Found> = Vec::new();
        for arm in self.table.arms() {
            let mut tried = Vec::new();
            // Where there is one setting, nothing is chosen.
            let values = if arm.values.len() > 1 { arm.values } else { &[] };
            for value in values {
                let outcomes = CHOOSING.map(|seed| {
                    let settings = [arm.setting(value), VALIDATION.to_owned()];
                    self.train(&format!("{CHOOSE}/{}-{value}", arm.name), arm, &settings, seed)
                });
                let outcomes: Vec<Outcome> = outcomes.into_iter().collect::<Result<_>>()?;
                tried.push((*value, statistics::mean(outcomes.iter().map(|o| o.accuracy))));
            }
            // The first of those that are equally good.
            let first = (arm.values[0], f64::NEG_INFINITY);
            let best = tried.iter().fold(first, |best, of| if of.1 > best.1 { *of } else { best });
            let tested = TESTING.map(|seed| {
                let name = format!("{TEST}/{}-{}", arm.name, best.0);
                self.train(&name, arm, &[arm.setting(best.0)], seed)
            });
            let tested = tested.into_iter().collect::<Result<_>>()?;
            all.push(Found { arm, tried, chosen: best.0, tested });
        }
        Ok(all)
    }

    /// The arms of the curves with fewer and more epochs, by the settings that were chosen.
    fn curves(&self, found: &[Found]) -> Result<Vec<Curve>> {
        let drawn = found.iter().filter(|found| self.table.curves.contains(&found.arm.name));
        let curve = |found: &Found| {
            let mut points = Vec::new();
            for budget in BUDGETS {
                if budget == 1.0 {
                    points.push((budget, found.tested.clone()));
                    continue;
                }
                let mut settings = vec![found.arm.setting(found.chosen)];
                settings.extend(self.table.lengths(budget));
                let name = format!("{TEST}/{}-{}-x{budget}", found.arm.name, found.chosen);
                let tested = TESTING.map(|seed| self.train(&name, found.arm, &settings, seed));
                points.push((budget, tested.into_iter().collect::<Result<_>>()?));
            }
            Ok(Curve { name: found.arm.name, points })
        };
        drawn.map(curve).collect()
    }

    /// A run of an arm on a seed, unless it is done. All of a seed have one teacher.
    fn train(&self, name: &str, arm: &Arm, settings: &[String], seed: u64) -> Result<Outcome> {
        let chooses = name.starts_with(CHOOSE);
        let mut all = self.settings(arm.method, seed);
        all.extend(arm.set.iter().map(|set| (*set).to_owned()));
        all.extend_from_slice(settings);
        let mut teacher = None;
        if arm.method != "vanilla" {
            let run = self.teacher(chooses, seed)?;
            all.push(format!("teacher.from=\"{}\"", run.display()));
            teacher = Some(run);
        }
        let run = self.run(name, seed, &all)?;
        let mut outcome = self.outcome(&run, arm.method)?;
        if let Some(teacher) = teacher {
            outcome.teacher = Some(Box::new(self.outcome(&teacher, "teacher")?));
        }
        Ok(outcome)
    }

    /// A run whose teacher all arms of a seed have: of a student that is hardly trained.
    fn teacher(&self, chooses: bool, seed: u64) -> Result<PathBuf> {
        let mut all = self.settings("kd", seed);
        // No warm-up fits into so little.
        all.extend(["kd.epochs=0.01", "kd.warmup=0"].map(str::to_owned));
        all.extend(chooses.then(|| VALIDATION.to_owned()));
        self.run(&format!("{}/teacher", if chooses { CHOOSE } else { TEST }), seed, &all)
    }

    /// What all runs of a method on a seed are told.
    fn settings(&self, method: &str, seed: u64) -> Vec<String> {
        let mut all = vec![format!("methods=[\"{method}\"]"), format!("seeds=[{seed}]")];
        all.extend(self.data.map(|data| format!("data.path=\"{data}\"")));
        all.extend(self.table.set.iter().map(|set| (*set).to_owned()));
        all
    }

    /// A run directory with these settings, which is done; `--task` goes on with one that is not, and refuses one of other settings.
    fn run(&self, name: &str, seed: u64, settings: &[String]) -> Result<PathBuf> {
        let out = root().join(RUNS).join(self.table.name).join(format!("{name}-{seed}"));
        let mut run = at(self.taper)?;
        run.args(["run", self.table.preset, "--task", "0/1", "--out"]).arg(&out);
        run.args(settings.iter().flat_map(|set| ["--set", set]));
        eprintln!("{}: {name}-{seed}", self.table.name);
        let output = run.stdin(Stdio::null()).output().context("cannot run taper")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{}: {}", out.display(), said.lines().last().unwrap_or("failed"));
        }
        Ok(out.join("task-0"))
    }

    /// What `taper compare` says of a method, or of the teacher, of a run.
    fn outcome(&self, run: &Path, method: &str) -> Result<Outcome> {
        let json = read(at(self.taper)?.args(["compare", "--json"]).arg(run))?;
        let list = if method == "teacher" { "teachers" } else { "rows" };
        let rows = objects(&json, list).unwrap_or_default();
        let row = rows.into_iter().find(|row| string(row, "method") == Some(method));
        let read = |row| {
            Some(Outcome {
                accuracy: number(row, "accuracy_mean")?,
                epochs: number(row, "epochs")?,
                seconds: number(row, "seconds")?,
                flops: number(row, "flops")?,
                discrepancy: number(row, "discrepancy_mean"),
                teacher: None,
            })
        };
        let found = row.and_then(read);
        found.with_context(|| format!("`{}` does not say what {method} came to", run.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_named_with_their_data_or_without() {
        let name = |argument| wanted(argument).map(|(table, data)| (table.name, data));
        assert_eq!(name("demo").expect("a table"), ("demo", None));
        assert_eq!(name("idx=a=b").expect("a table"), ("idx", Some("a=b")));
        let refused = |argument| name(argument).expect_err("refused").to_string();
        assert_eq!(refused("idx"), "give the place of the data of idx: idx=FOLDER");
        assert_eq!(refused("demo=a"), "the data of demo are built in");
        assert!(refused("none").starts_with("`none` is no table; there are demo, "));
    }
}
