//! `taper compare`: members of runs, grouped by method and configuration.

use std::path::PathBuf;

use anyhow::Result;
use engine::data::account::{Yardstick, Yardsticks};

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
        let spread = |std: Option<f64>, digits| {
            std.map_or(String::new(), |std| format!(" ± {std:.digits$}"))
        };
        let accuracy = format!("{:.2}{}", row.accuracy_mean, spread(row.accuracy_std, 2));
        let loss = row.loss_mean.map(|loss| format!("{loss:.3}{}", spread(row.loss_std, 3)));
        let mut cells = vec![row.method.clone()];
        cells.extend(loss);
        cells.extend(row.em_mean.map(|em| format!("{em:.2}")));
        cells.extend(row.f1_mean.map(|f1| format!("{f1:.2}")));
        cells.extend([
            accuracy,
            row.seeds.to_string(),
            count(row.params),
            count(row.macs),
            row.epochs.map_or("unknown".into(), |epochs| format!("{epochs:.2}")),
            row.seconds.map_or("unknown".into(), duration),
        ]);
        cells.extend(row.label.clone());
        cells
    };
    let rows: Vec<Vec<String>> =
        comparison.teachers.iter().chain(&comparison.rows).map(line).collect();
    let mut head = vec!["method", "accuracy %", "seeds", "params", "MACs", "epochs", "time"];
    let of = || comparison.rows.iter().chain(&comparison.teachers);
    if of().any(|row| row.f1_mean.is_some()) {
        head.splice(1..1, ["EM", "F1"]);
    }
    if of().any(|row| row.loss_mean.is_some()) {
        head.insert(1, "loss");
    }
    if rows.iter().any(|row| row.len() > head.len()) {
        head.push("configuration");
    }
    let mut text = table(&head, &rows);
    if let Some(yardsticks) = &comparison.yardsticks {
        text.push_str(&measured(yardsticks, &comparison.teachers));
    }
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

/// What counting alone reaches, and whether the teachers know more: students of a teacher that does not are no result.
fn measured(yardsticks: &Yardsticks, teachers: &[Row]) -> String {
    let one = |(name, of): (&str, Yardstick)| {
        vec![name.to_owned(), format!("{:.3}", of.loss), format!("{:.2}", 100.0 * of.accuracy)]
    };
    let rows: Vec<Vec<String>> = yardsticks.named().into_iter().map(one).collect();
    let mut text = format!("\n{}", table(&["by counting", "loss", "accuracy %"], &rows));
    text.extend(yardsticks.line().map(|line| line + "\n"));
    let left = yardsticks.left.loss;
    // A loss that is no number is no better either.
    let knows = |loss: &f64| *loss < left;
    for loss in teachers.iter().filter_map(|row| row.loss_mean).filter(|loss| !knows(loss)) {
        text.push_str(&format!(
            "no result: the teacher's loss of {loss:.3} is not below the {left:.3} of the word before, so there is nothing to imitate yet\n"
        ));
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
            loss_mean: None,
            loss_std: None,
            em_mean: None,
            f1_mean: None,
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
