//! `taper compare`: members of runs, grouped by method and configuration.

use std::path::PathBuf;

use anyhow::Result;

use super::out::{print, print_json};
use crate::figures::{count, duration, table};
use crate::run::compare::{Comparison, Repeated, Row, compare};

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Run directories, or folders of them as `run --grid` makes.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.json {
        return print_json(&compare(&arguments.runs)?);
    }
    print(&text(&arguments.runs)?)
}

/// The table of these runs.
pub(super) fn text(runs: &[PathBuf]) -> Result<String> {
    compare(runs).map(|comparison| render(&comparison))
}

fn render(comparison: &Comparison) -> String {
    let line = |row: &Row| {
        let spread = row.accuracy_std.map_or(String::new(), |std| format!(" ± {std:.2}"));
        let mut cells = vec![
            row.method.clone(),
            format!("{:.2}{spread}", row.accuracy_mean),
            row.seeds.to_string(),
            count(row.params),
            count(row.macs),
            row.epochs.map_or("unknown".into(), |epochs| format!("{epochs:.2}")),
            row.seconds.map_or("unknown".into(), duration),
        ];
        cells.extend(row.label.clone());
        cells
    };
    let rows: Vec<Vec<String>> =
        comparison.teachers.iter().chain(&comparison.rows).map(line).collect();
    let mut head = vec!["method", "accuracy %", "seeds", "params", "MACs", "epochs", "time"];
    if rows.iter().any(|row| row.len() > head.len()) {
        head.push("configuration");
    }
    let mut text = table(&head, &rows);
    for Repeated { taken, left, members } in &comparison.repeated {
        let (taken, left) = (taken.display(), left.display());
        text.push_str(&format!(
            "{} of one configuration and seed: {taken} counts, {left} does not\n",
            members.join(", ")
        ));
    }
    if let [first, rest @ ..] = comparison.unfinished.as_slice() {
        let more =
            if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        text.push_str(&format!("not finished: {first}{more}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_counts_twice_and_what_is_not_finished() {
        let row = |label: Option<&str>| Row {
            method: "win".into(),
            label: label.map(str::to_owned),
            accuracy_mean: 91.0,
            accuracy_std: Some(2f64.sqrt()),
            seeds: 2,
            params: 1000,
            macs: 900,
            epochs: Some(24.0),
            seconds: None,
            teacher_epochs: None,
            teacher_seconds: None,
        };
        let members = vec!["win-0".into(), "teacher-0".into()];
        let repeated = vec![Repeated { taken: "a".into(), left: "b".into(), members }];
        let unfinished = vec!["r/members/kd-1".into(), "r/members/kd-2".into()];
        let rows = vec![row(None)];
        let text = render(&Comparison { rows, repeated, unfinished, ..Comparison::default() });
        for said in [
            "91.00 ± 1.41",
            "unknown",
            "win-0, teacher-0 of one configuration and seed: a counts, b does not",
            "not finished: r/members/kd-1 and 1 more",
        ] {
            assert!(text.contains(said), "{said}: {text}");
        }
        assert!(!text.lines().next().is_some_and(|head| head.contains("configuration")));
        let rows = vec![row(Some("teacher.factor=2"))];
        assert!(render(&Comparison { rows, ..Comparison::default() }).contains("configuration"));
    }
}
