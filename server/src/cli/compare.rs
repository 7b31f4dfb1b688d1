//! `taper compare`: members of runs, grouped by method and configuration.

use std::path::PathBuf;

use anyhow::Result;
use engine::config::Method;
use engine::data::account::{Yardstick, Yardsticks};
use engine::verdicts::Versus;

use super::out::{open, print, print_json};
use crate::failure::failure;
use crate::figures::{bytes, count, duration, table};
use crate::run::compare::{
    Comparison, Paired, Pictures, Repeated, Row, compare, measure, pictures,
};
use crate::run::latency::Latency;
use crate::voice::say;

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Run directories, or folders of them as `run --grid` makes.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Say instead which test pictures one of two members, or teachers, has right and the other wrong: `win-0,kd-0`.
    #[arg(long, value_name = "FIRST,SECOND", value_delimiter = ',', conflicts_with = "latency")]
    pictures: Vec<String>,
    /// Time each model of the first seed on one input, on the adapter and with ONNX Runtime on the CPU, and keep the times beside it.
    #[arg(long)]
    latency: bool,
    /// Adapter for --latency: a part of its name or its index in `taper devices`.
    #[arg(long, value_name = "NAME|INDEX", default_value = "auto")]
    device: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// Whether a device will be opened.
    pub(super) fn measures(&self) -> bool {
        self.latency
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    match arguments.pictures.as_slice() {
        [] => {}
        [first, second] => {
            let pictures = pictures(&arguments.runs, [first, second])?;
            return match arguments.json {
                true => print_json(&pictures),
                false => print(&apart(&pictures)),
            };
        }
        _ => {
            return Err(failure(
                "--pictures compares two, and another number is named",
                "name two members or teachers: --pictures win-0,kd-0",
            ));
        }
    }
    if arguments.latency {
        let gpu = open(&arguments.device)?;
        for line in measure(&arguments.runs, &gpu)? {
            say(&line);
        }
    }
    if arguments.json {
        return print_json(&compare(&arguments.runs)?);
    }
    print(&text(&arguments.runs)?)
}

/// Places that are listed of each kind, at most; `--json` has all.
const PLACES: usize = 40;

/// Which pictures one of two has right and the other wrong, as text.
fn apart(pictures: &Pictures) -> String {
    let Pictures { first, second, versus } = pictures;
    let Versus { count, both_right, both_wrong, only_first, only_second, p } = versus;
    let places = |places: &[u64]| {
        let shown: Vec<String> = places.iter().take(PLACES).map(u64::to_string).collect();
        let more = places.len().saturating_sub(PLACES);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        if shown.is_empty() { String::new() } else { format!(": {}{more}", shown.join(", ")) }
    };
    let (a, b) = (only_first.len(), only_second.len());
    format!(
        "{count} test pictures: both right {both_right}, both wrong {both_wrong}\n\
         only {first} right {a}{}\nonly {second} right {b}{}\n\
         McNemar's exact test: p = {p:.4}\n",
        places(only_first),
        places(only_second)
    )
}

/// The table of these runs.
pub(super) fn text(runs: &[PathBuf]) -> Result<String> {
    compare(runs).map(|comparison| render(&comparison))
}

fn render(comparison: &Comparison) -> String {
    let apart = comparison.rows.iter().any(|row| row.discrepancy_mean.is_some());
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
        cells.push(accuracy);
        if apart {
            let mean = |mean: f64| format!("{mean:.4}{}", spread(row.discrepancy_std, 4));
            cells.push(row.discrepancy_mean.map_or("–".into(), mean));
        }
        cells.extend([
            row.seeds.to_string(),
            count(row.params),
            count(row.macs),
            row.bytes.map_or("–".into(), bytes),
            row.epochs.map_or("unknown".into(), |epochs| format!("{epochs:.2}")),
            row.seconds.map_or("unknown".into(), duration),
            row.flops.map_or("unknown".into(), |flops| count(flops as u64)),
        ]);
        cells.extend(row.label.clone());
        cells
    };
    let rows: Vec<Vec<String>> =
        comparison.teachers.iter().chain(&comparison.rows).map(line).collect();
    let mut head =
        vec!["method", "accuracy %", "seeds", "params", "MACs", "size", "epochs", "time", "FLOPs"];
    if apart {
        // Of the outputs, to the teacher's.
        head.insert(2, "D[S, B]");
    }
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
    text.push_str(&times(comparison));
    text.push_str(&paired(&comparison.paired));
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

/// What one input takes, where it was measured.
fn times(comparison: &Comparison) -> String {
    let line = |row: &Row| {
        let one = |latency: &Latency| {
            let Latency { on, median_ms, min_ms, runs } = latency;
            let mut cells = vec![
                row.method.clone(),
                format!("{median_ms:.3}"),
                format!("{min_ms:.3}"),
                runs.to_string(),
                on.clone(),
            ];
            cells.extend(row.label.clone());
            cells
        };
        row.latencies.iter().map(one).collect::<Vec<_>>()
    };
    let rows: Vec<_> = comparison.teachers.iter().chain(&comparison.rows).flat_map(line).collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut head = vec!["one input at a time", "median ms", "fastest", "runs", "on"];
    if rows.iter().any(|row| row.len() > head.len()) {
        head.push("configuration");
    }
    format!("\n{}", table(&head, &rows))
}

/// Methods by pairs over the seeds of both: those with WIN, where it is there.
fn paired(all: &[Paired]) -> String {
    let win = Method::Win.name();
    let with_win = |pair: &&Paired| pair.first == win || pair.second == win;
    let any = all.iter().any(|pair| with_win(&pair));
    let row = |pair: &Paired| {
        // WIN first, whatever the order of the rows is.
        let turned = pair.second == win;
        let (first, second) =
            if turned { (&pair.second, &pair.first) } else { (&pair.first, &pair.second) };
        // 0 − 0 has no sign, which −0 has.
        let mean = pair.difference_mean;
        let mean = if turned { 0.0 - mean } else { mean };
        let (better, worse) = match turned {
            true => (pair.second_better, pair.first_better),
            false => (pair.first_better, pair.second_better),
        };
        let spread = pair.difference_std.map_or(String::new(), |std| format!(" ± {std:.2}"));
        let mut cells = vec![
            format!("{first} − {second}"),
            format!("{mean:+.2}{spread}"),
            pair.seeds.to_string(),
            format!("{better} : {worse}"),
            format!("{:.3}", pair.sign_test),
        ];
        cells.extend(pair.label.clone());
        cells
    };
    let rows: Vec<_> = all.iter().filter(|pair| !any || with_win(pair)).map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut head = vec!["by seed", "difference", "seeds", "better : worse", "sign test p"];
    if rows.iter().any(|row| row.len() > head.len()) {
        head.push("configuration");
    }
    format!("\n{}", table(&head, &rows))
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
            discrepancy_mean: label.map(|_| 0.5),
            discrepancy_std: None,
            seeds: 2,
            params: 1000,
            macs: 900,
            bytes: Some(4096),
            latencies: Vec::new(),
            epochs: Some(24.0),
            seconds: None,
            teacher_epochs: None,
            teacher_seconds: None,
            flops: Some(3.2e12),
            teacher_flops: None,
        };
        let members = vec!["win-0".into(), "teacher-0".into()];
        let repeated = vec![Repeated { taken: "a".into(), left: "b".into(), members }];
        let unfinished = vec!["r/members/kd-1".into(), "r/members/kd-2".into()];
        let rows = vec![row(None)];
        let text = render(&Comparison { rows, repeated, unfinished, ..Comparison::default() });
        for said in [
            "91.00 ± 1.41",
            "4.0 KiB",
            "unknown",
            "3.20T",
            "win-0, teacher-0 of one configuration and seed: a counts, b does not",
            "not finished: r/members/kd-1 and 1 more",
        ] {
            assert!(text.contains(said), "{said}: {text}");
        }
        // What no row has is no column.
        let head = text.lines().next().unwrap_or_default();
        assert!(!head.contains("configuration") && !head.contains("D[S, B]"), "{head}");
        let rows = vec![row(Some("teacher.factor=2"))];
        let text = render(&Comparison { rows, ..Comparison::default() });
        for said in ["configuration", "D[S, B]", "0.5000"] {
            assert!(text.contains(said), "{said}: {text}");
        }
    }
}
