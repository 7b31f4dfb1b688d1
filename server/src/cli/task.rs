//! `--task`: the part of a command's work that one process of a scheduler's array does.
//!
//! A task is a seed of a point of the grid, its teacher included. The members of a seed share that teacher, so no task waits for another.

use std::str::FromStr;

use anyhow::Result;
use engine::config::Config;

use super::source::{Source, Wanted};
use crate::failure::failure;

/// Which task is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// The one that a scheduler's variables name.
    Auto,
    /// The one of this number, from 0, of so many.
    Of {
        /// Its number.
        number: usize,
        /// How many there are.
        count: usize,
    },
}

impl FromStr for Task {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let numbers = text
            .split_once('/')
            .and_then(|(number, count)| Some((number.parse().ok()?, count.parse().ok()?)))
            .filter(|(number, count)| number < count);
        let (number, count) =
            numbers.ok_or("give K/N, where K counts from 0 to N - 1, as 0/3; or auto")?;
        Ok(Self::Of { number, count })
    }
}

impl Task {
    /// The number and the configuration that are meant among all tasks.
    pub(super) fn of(self, tasks: Vec<Config>) -> Result<(usize, Config)> {
        let Given { number, count, by } = match self {
            Self::Auto => given(|name| std::env::var(name).ok())?,
            Self::Of { number, count } => Given { number, count: Some(count), by: "--task" },
        };
        let there = tasks.len();
        if let Some(count) = count.filter(|&count| count != there) {
            return Err(failure(
                format!("by {by} there are {count} tasks, and the configuration has {there}"),
                format!(
                    "a task is a seed of a point of the grid; make it {there}, or give --task K/{there}"
                ),
            ));
        }
        let chosen = tasks.into_iter().nth(number);
        chosen.map(|config| (number, config)).ok_or_else(|| {
            failure(
                format!("{by} is {number}, and the configuration has {there} tasks"),
                "a task is a seed of a point of the grid; they count from 0",
            )
        })
    }
}

/// The configuration of each task: point by point of the grid, a seed each.
pub(super) fn tasks(source: &Source) -> Result<Vec<Config>> {
    let points = source.configurations()?.into_iter();
    let of_seed = |Wanted { config, .. }| {
        let seeds = config.seeds.clone().into_iter();
        seeds.map(move |seed| Config { seeds: vec![seed], ..config.clone() })
    };
    Ok(points.flat_map(of_seed).collect())
}

/// A task as a scheduler names it.
#[derive(Debug, PartialEq, Eq)]
struct Given {
    number: usize,
    /// Tasks of the array, where the scheduler tells.
    count: Option<usize>,
    /// The variable that says so.
    by: &'static str,
}

/// The variables that number the tasks of an array, of HyperQueue, Kubernetes, Slurm and PBS. HyperQueue comes first: its workers may run in an array of
/// one of the others.
const VARIABLES: [&str; 4] =
    ["HQ_TASK_ID", "JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID", "PBS_ARRAY_INDEX"];

/// What the scheduler says whose variables `variable` reads. Slurm tells where an array begins, and by which step and how far it goes; arrays of the
/// others are to begin with 0.
fn given(variable: impl Fn(&str) -> Option<String>) -> Result<Given> {
    let number = |name: &str| -> Result<Option<usize>> {
        let Some(text) = variable(name) else { return Ok(None) };
        let wrong = |_| failure(format!("{name} is {text:?}"), "it must be a whole number");
        text.trim().parse().map(Some).map_err(wrong)
    };
    for by in VARIABLES {
        let Some(id) = number(by)? else { continue };
        if by != "SLURM_ARRAY_TASK_ID" {
            return Ok(Given { number: id, count: None, by });
        }
        let first = number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
        let step = number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
        let from = id.checked_sub(first).filter(|from| from.is_multiple_of(step));
        let from = from.ok_or_else(|| {
            failure(
                format!("{by} is {id}, which is not {first} and some steps of {step}"),
                "name the task by --task K/N",
            )
        })?;
        let count = number("SLURM_ARRAY_TASK_COUNT")?;
        return Ok(Given { number: from / step, count, by });
    }
    Err(failure(
        "--task auto finds no scheduler",
        format!("it reads {}; elsewhere give --task K/N", VARIABLES.join(", ")),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Given> {
        given(|name| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_task_is_read_as_it_is_written() {
        assert_eq!("auto".parse(), Ok(Task::Auto));
        assert_eq!("2/3".parse(), Ok(Task::Of { number: 2, count: 3 }));
        for wrong in ["", "3", "3/3", "-1/3", "1/", "0/0", "a/b", "Auto", "1/2/3"] {
            assert!(wrong.parse::<Task>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn schedulers_number_their_tasks() {
        let of = |number, count, by| Given { number, count, by };
        let slurm = [
            ("SLURM_ARRAY_TASK_ID", "7"),
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_STEP", "2"),
            ("SLURM_ARRAY_TASK_COUNT", "5"),
        ];
        assert_eq!(from(&slurm).expect("one"), of(3, Some(5), "SLURM_ARRAY_TASK_ID"));
        assert_eq!(from(&slurm[..1]).expect("one"), of(7, None, "SLURM_ARRAY_TASK_ID"));
        for by in ["JOB_COMPLETION_INDEX", "PBS_ARRAY_INDEX", "HQ_TASK_ID"] {
            assert_eq!(from(&[(by, "4")]).expect("one"), of(4, None, by));
        }
        let inner = from(&[slurm[0], ("HQ_TASK_ID", "2")]).expect("one");
        assert_eq!(inner, of(2, None, "HQ_TASK_ID"));
    }

    #[test]
    fn what_no_scheduler_says_is_refused_in_a_sentence() {
        for (variables, part) in [
            (&[][..], "finds no scheduler"),
            (&[("PBS_ARRAY_INDEX", "x")], "PBS_ARRAY_INDEX is \"x\""),
            (&[("SLURM_ARRAY_TASK_ID", "2"), ("SLURM_ARRAY_TASK_MIN", "3")], "is not 3"),
            (
                &[
                    ("SLURM_ARRAY_TASK_ID", "4"),
                    ("SLURM_ARRAY_TASK_MIN", "1"),
                    ("SLURM_ARRAY_TASK_STEP", "2"),
                ],
                "steps of 2",
            ),
        ] {
            let said = format!("{:#}", from(variables).expect_err("refused"));
            assert!(said.contains(part), "{part} is missing: {said}");
        }
    }

    #[test]
    fn a_task_is_a_seed_of_a_point() {
        let mut source = Source::of("demo");
        source.set.push("seeds=[4, 9]".into());
        source.grid.push("vanilla.lr=0.1,0.2".into());
        let all = tasks(&source).expect("tasks");
        let each: Vec<_> =
            all.iter().map(|of| (of.seeds[0], of.flat()["vanilla.lr"].clone())).collect();
        let wanted = [(4, "0.1"), (9, "0.1"), (4, "0.2"), (9, "0.2")];
        assert_eq!(each, wanted.map(|(seed, lr)| (seed, lr.to_owned())));
        let (number, config) = Task::Of { number: 3, count: 4 }.of(all.clone()).expect("the last");
        assert_eq!((number, &config), (3, &all[3]));
        let said = Task::Of { number: 0, count: 3 }.of(all).expect_err("three").to_string();
        assert!(said.contains("3 tasks") && said.contains("has 4"), "{said}");
    }
}
