//! What was found, as the page says it: a function of the outcomes alone.

use std::fmt::Write as _;

use super::{
    statistics::{Paired, mean, spread},
    tables::{Arm, CHOOSING, TESTING, Table},
};
use crate::{
    peer::short,
    plot::{self, Line, Panel},
};

/// What a run came to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    /// Percent.
    pub(super) accuracy: f64,
    /// Of the student's stages, as all but the last two.
    pub(super) epochs: f64,
    pub(super) seconds: f64,
    pub(super) flops: f64,
    /// D[S, B] on the test data.
    pub(super) discrepancy: Option<f64>,
    /// That of the teacher that it read.
    pub(super) teacher: Option<Box<Outcome>>,
}

/// An arm, with what was found on each seed.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) arm: &'static Arm,
    /// The values that were tried, each with its accuracy on validation data.
    pub(super) tried: Vec<(&'static str, f64)>,
    pub(super) chosen: &'static str,
    /// A run a seed of [`TESTING`].
    pub(super) tested: Vec<Outcome>,
}

/// An arm by its share of epochs.
#[derive(Debug)]
pub(super) struct Curve {
    pub(super) name: &'static str,
    /// Shares of its epochs, in their order, each with a run a seed of [`TESTING`].
    pub(super) points: Vec<(f64, Vec<Outcome>)>,
}

/// A cost of a student's training.
type Cost = fn(&Outcome) -> f64;

const COSTS: [(&str, Cost); 2] =
    [("operations", |outcome| outcome.flops), ("seconds", |outcome| outcome.seconds)];

fn accuracies(outcomes: &[Outcome]) -> Vec<f64> {
    outcomes.iter().map(|outcome| outcome.accuracy).collect()
}

/// The part of the page that a table has.
pub(super) fn table(table: &Table, found: &[Found], curves: &[Curve]) -> String {
    written(table, found, curves).expect("a String takes all")
}

fn written(table: &Table, found: &[Found], curves: &[Curve]) -> Result<String, std::fmt::Error> {
    let of = |name: &str| found.iter().find(|found| found.arm.name == name);
    let mut text = format!("## {}\n\n", table.title);
    let [first, second] = table.versus;
    if let (Some(a), Some(b)) = (of(first), of(second)) {
        let pair = Paired::of(&accuracies(&a.tested), &accuracies(&b.tested));
        writeln!(text, "**{first} − {second}: {}.**\n", words(&pair))?;
    }
    writeln!(
        text,
        "Preset `{}`{}, seeds {}; accuracy of the last weights on the test part, mean ± sample deviation. Operations and seconds are of the student's \
         training steps, forward and backward, with what it reads of its teacher; differences are seed by seed, with 95 % intervals of their mean.\n",
        table.preset,
        table.set.iter().map(|set| format!(", `{set}`")).collect::<String>(),
        list(&TESTING),
    )?;
    if let Some(teacher) = found.iter().find_map(|found| {
        found.tested.iter().map(|one| one.teacher.as_deref()).collect::<Option<Vec<_>>>()
    }) {
        let (accuracy, deviation) =
            spread(&teacher.iter().map(|one| one.accuracy).collect::<Vec<_>>());
        writeln!(
            text,
            "The teachers have {accuracy:.2} ± {deviation:.2} % after {:.1} epochs, {} TFLOP and {} s.\n",
            mean(teacher.iter().map(|one| one.epochs)),
            short(mean(teacher.iter().map(|one| one.flops / 1e12))),
            short(mean(teacher.iter().map(|one| one.seconds))),
        )?;
    }
    writeln!(
        text,
        "| arm | accuracy, % | − {second} | 95 % | better : worse | sign test p | epochs | TFLOP | s | D[S, B] |"
    )?;
    writeln!(text, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")?;
    for one in found {
        let (accuracy, deviation) = spread(&accuracies(&one.tested));
        let average = |cost: Cost| mean(one.tested.iter().map(cost));
        let versus = match of(second) {
            Some(base) if base.arm.name != one.arm.name => {
                let pair = Paired::of(&accuracies(&one.tested), &accuracies(&base.tested));
                let Paired { mean, interval: [low, high], better: [up, down], p } = pair;
                format!("{mean:+.2} | {low:+.2} … {high:+.2} | {up} : {down} | {p:.3}")
            }
            _ => "| | |".into(),
        };
        let discrepancy = one.tested.iter().map(|one| one.discrepancy).collect::<Option<Vec<_>>>();
        writeln!(
            text,
            "| {} | {accuracy:.2} ± {deviation:.2} | {versus} | {:.1} | {} | {} | {} |",
            one.arm.name,
            average(|one| one.epochs),
            short(average(|one| one.flops / 1e12)),
            short(average(|one| one.seconds)),
            discrepancy.map_or("–".into(), |all| short(mean(all.into_iter()))),
        )?;
    }
    equal_costs(&mut text, table, curves)?;
    if found.iter().all(|one| one.tried.is_empty()) {
        writeln!(text, "\nSettings are the preset's; none was chosen.")?;
        return Ok(text);
    }
    writeln!(
        text,
        "\nSettings that were tried, by accuracy on a fifth of the training data, mean of the seeds {}; the test part had no say:\n",
        list(&CHOOSING)
    )?;
    writeln!(text, "| arm | tried | taken |\n|---|---|---|")?;
    for one in found {
        let tried = one.tried.iter();
        let tried: Vec<_> = tried
            .map(|(value, accuracy)| format!("`{}` {accuracy:.2}", one.arm.setting(value)))
            .collect();
        let own: String = one.arm.set.iter().map(|set| format!("; `{set}`")).collect();
        writeln!(text, "| {}{own} | {} | `{}` |", one.arm.name, tried.join(", "), one.chosen)?;
    }
    Ok(text)
}

/// Each arm of the curves at what the first arm of the table costs.
fn equal_costs(text: &mut String, table: &Table, curves: &[Curve]) -> std::fmt::Result {
    let [first, _] = table.versus;
    let Some(own) = curves.iter().find(|curve| curve.name == first) else { return Ok(()) };
    let Some((_, budget)) = own.points.iter().find(|(share, _)| *share == 1.0) else {
        return Ok(());
    };
    writeln!(text, "\n![Test error over operations and seconds]({})\n", plot_of(table))?;
    writeln!(
        text,
        "At what {first} costs in one budget, between the points of the curves by straight lines over the logarithm of the cost:\n"
    )?;
    writeln!(
        text,
        "| arm | at equal | accuracy, % | {first} − arm | 95 % |\n|---|---|---:|---:|---:|"
    )?;
    for (name, cost) in COSTS {
        for curve in curves.iter().filter(|curve| curve.name != first) {
            let at: Option<Vec<f64>> = budget
                .iter()
                .enumerate()
                .map(|(seed, one)| curve.at(seed, cost, cost(one)))
                .collect();
            match at {
                Some(at) => {
                    let pair = Paired::of(&accuracies(budget), &at);
                    let ([low, high], (accuracy, deviation)) = (pair.interval, spread(&at));
                    writeln!(
                        text,
                        "| {} | {name} | {accuracy:.2} ± {deviation:.2} | {:+.2} | {low:+.2} … {high:+.2} |",
                        curve.name, pair.mean
                    )?;
                }
                None => writeln!(text, "| {} | {name} | outside of its curve | | |", curve.name)?,
            }
        }
    }
    Ok(())
}

impl Curve {
    /// Accuracy of a seed at a cost, between two points; none where there is one side only.
    fn at(&self, seed: usize, cost: Cost, wanted: f64) -> Option<f64> {
        let points = self.points.iter().map(|(_, outcomes)| &outcomes[seed]);
        let mut points: Vec<(f64, f64)> = points.map(|one| (cost(one), one.accuracy)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.windows(2).find(|pair| (pair[0].0..=pair[1].0).contains(&wanted)).map(|pair| {
            let [(from, a), (to, b)] = [pair[0], pair[1]];
            let share = if to > from { (wanted / from).ln() / (to / from).ln() } else { 0.0 };
            a + share * (b - a)
        })
    }
}

/// The picture of a table, which lies beside the page.
pub(super) fn plot_of(table: &Table) -> String {
    format!("study-{}.svg", table.name)
}

/// Error over each cost, means over the seeds.
pub(super) fn plot(curves: &[Curve]) -> String {
    let panel = |(title, cost): (&str, Cost)| {
        let unit = if title == "operations" { 1e9 } else { 1.0 };
        let line = |curve: &Curve| {
            let point = |(_, outcomes): &(f64, Vec<Outcome>)| {
                let error = mean(outcomes.iter().map(|one| 100.0 - one.accuracy));
                (mean(outcomes.iter().map(cost)) / unit, error)
            };
            Line { name: curve.name.into(), points: curve.points.iter().map(point).collect() }
        };
        let title = if unit == 1.0 { "seconds" } else { "GFLOP" };
        Panel { title: title.into(), lines: curves.iter().map(line).collect() }
    };
    plot::svg(&COSTS.map(panel), "of a student's training", "test error, %", false)
}

fn words(pair: &Paired) -> String {
    let Paired { mean, interval: [low, high], better: [up, down], p } = pair;
    format!(
        "{mean:+.2} points, 95 % {low:+.2} … {high:+.2}, better on {up} seeds and worse on {down}, sign test p = {p:.3}"
    )
}

fn list(seeds: &[u64]) -> String {
    seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::tables::TABLES;

    fn outcome(accuracy: f64, flops: f64) -> Outcome {
        let (epochs, seconds) = (24.0, flops / 1e11);
        Outcome { accuracy, epochs, seconds, flops, discrepancy: None, teacher: None }
    }

    fn found() -> Vec<Found> {
        let demo = &TABLES[0];
        let one = |(name, base): (&str, f64)| {
            let arm = demo.arms().find(|arm| arm.name == name).expect("an arm");
            let tested = (0..5).map(|seed| outcome(base + f64::from(seed), 2e12)).collect();
            let tried = arm.values.iter().map(|value| (*value, base)).collect();
            Found { arm, tried, chosen: arm.values[1], tested }
        };
        [("vanilla", 80.0), ("start_only", 90.0), ("win", 90.5)].map(one).into()
    }

    #[test]
    fn imitation_comes_first_and_every_setting_is_named() {
        let text = table(&TABLES[0], &found(), &[]);
        let first = text.lines().nth(2).expect("a line");
        assert_eq!(
            first,
            "**win − start_only: +0.50 points, 95 % +0.50 … +0.50, better on 5 seeds and worse on 0, sign test p = 0.062.**"
        );
        for said in [
            "| vanilla | 82.00 ± 1.58 | -10.00 | -10.00 … -10.00 | 0 : 5 | 0.062 | 24.0 | 2.00 | 20.0 | – |",
            "| start_only | 92.00 ± 1.58 | | | | | 24.0 |",
            "| win | `tune.lr=1e-3` 90.50, `tune.lr=3e-3` 90.50, `tune.lr=1e-2` 90.50 | `3e-3` |",
        ] {
            assert!(text.contains(said), "{said}\n{text}");
        }
        assert_eq!(text, table(&TABLES[0], &found(), &[]));
    }

    #[test]
    fn costs_are_equal_on_the_curves_and_nothing_is_said_beyond_their_ends() {
        let curve = |name, costs: [f64; 3]| Curve {
            name,
            points: [0.5, 1.0, 2.0]
                .into_iter()
                .zip(costs)
                .map(|(share, flops)| {
                    let accuracy = |seed: u32| 80.0 + 4.0 * share + f64::from(seed * seed);
                    (share, (0..5).map(|seed| outcome(accuracy(seed), flops)).collect())
                })
                .collect(),
        };
        let curves = [
            curve("win", [1e12, 2e12, 4e12]),
            curve("start_only", [2e12, 4e12, 8e12]),
            curve("vanilla", [3e12, 6e12, 9e12]),
        ];
        // Half of the epochs of start_only cost what all of WIN's do.
        let text = table(&TABLES[0], &found(), &curves);
        assert!(text.contains("| start_only | operations | 88.00"), "{text}");
        assert!(text.contains("| +2.00 | +2.00 … +2.00 |"), "{text}");
        assert!(text.contains("| vanilla | seconds | outside of its curve | | |"), "{text}");
        // Between two points, by the logarithm.
        assert_eq!(curves[0].at(0, |one| one.flops, 2e12 * 2f64.sqrt()), Some(86.0));
        assert!(plot(&curves).contains("test error, %"));
    }
}
