//! Algorithm 1 and the baselines, as lists of stages that one can print before anything runs.

use serde::{Deserialize, Serialize};

use crate::config::{Config, Merge, Method, Recipe, Target};

/// What a stage does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Trains on the labels.
    Labels,
    /// Trains on (1 − α) CE + α T² KL(teacher ‖ student at T).
    Distill {
        /// α.
        alpha: f64,
        /// T.
        temperature: f64,
    },
    /// Trains the first blocks, and a regressor that is thrown away, to give the teacher's output (FitNets).
    Hint {
        /// How many blocks.
        blocks: usize,
    },
    /// Gives block i its start and trains S̄⁽ⁱ⁾ to give B⁽ⁱ⁾'s output.
    Narrow {
        /// i, from 1.
        block: usize,
    },
    /// Gives every block its start, and trains nothing.
    Start,
    /// Fine-tunes on labels or the teacher's logits.
    Tune {
        /// Which.
        target: Target,
    },
    /// Folds the pairs and proves it.
    Merge,
}

/// A stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// `wide`, `narrow 2`, `tune`, `merge`, …
    pub name: String,
    /// What it does.
    pub task: Task,
    /// How it is trained; `None` where nothing is.
    pub recipe: Option<Recipe>,
    /// Tries; the best is kept.
    pub tries: u32,
}

impl Stage {
    fn train(name: impl Into<String>, task: Task, recipe: Recipe) -> Self {
        Self { name: name.into(), task, recipe: Some(recipe), tries: 1 }
    }

    fn plain(name: &str, task: Task) -> Self {
        Self { name: name.into(), task, recipe: None, tries: 1 }
    }

    fn tries(self, tries: u32) -> Self {
        Self { tries, ..self }
    }

    /// Optimiser steps of all tries, for so many training inputs.
    pub fn steps(&self, train_count: u64) -> u64 {
        let recipe = self.recipe.as_ref();
        recipe.map_or(0, |r| r.steps(r.steps_per_epoch(train_count)) * u64::from(self.tries))
    }
}

/// Stage 1: the teacher, trained on the labels.
pub fn wide(config: &Config) -> Vec<Stage> {
    vec![Stage::train("wide", Task::Labels, config.wide.recipe())]
}

/// Blocks of a student of `blocks` that the hint of FitNets trains: the first half.
pub fn hinted(blocks: usize) -> usize {
    blocks.div_ceil(2)
}

/// The stages of a method after the teacher is there.
///
/// `win` is Algorithm 1: narrow 1 … n, tune, merge; under MAP the merge comes before tuning.
pub fn stages(config: &Config, method: Method, train_count: u64) -> Vec<Stage> {
    let blocks = config.model.block_count();
    let tune =
        Stage::train("tune", Task::Tune { target: config.tune.target }, config.tune.recipe())
            .tries(config.win.tune_restarts);
    let merge = Stage::plain("merge", Task::Merge);
    let end = |tune: Stage| match config.win.merge {
        Merge::Maf => [tune, merge],
        Merge::Map => [merge, tune],
    };
    match method {
        Method::Vanilla => vec![Stage::train("vanilla", Task::Labels, config.vanilla.recipe())],
        Method::Kd => {
            let task = Task::Distill { alpha: config.kd.alpha, temperature: config.kd.temperature };
            vec![Stage::train("kd", task, config.kd.recipe())]
        }
        Method::Fitnets => {
            let fitnets = &config.fitnets;
            let task = Task::Distill { alpha: fitnets.alpha, temperature: fitnets.temperature };
            let hint = Task::Hint { blocks: hinted(blocks) };
            vec![
                Stage::train("hint", hint, fitnets.hint_recipe()),
                Stage::train("kd", task, fitnets.recipe()),
            ]
        }
        Method::StartOnly => {
            let tune = Stage {
                recipe: Some(config.start_only_recipe(blocks, train_count)),
                tries: 1,
                ..tune
            };
            [Stage::plain("start", Task::Start)].into_iter().chain(end(tune)).collect()
        }
        Method::Win => {
            let narrow = (1..=blocks).map(|block| {
                Stage::train(
                    format!("narrow {block}"),
                    Task::Narrow { block },
                    config.narrow.recipe(),
                )
                .tries(config.win.restarts)
            });
            narrow.chain(end(tune)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(method: Method, merge: Merge) -> Vec<String> {
        let mut config = Config::default();
        config.win.merge = merge;
        stages(&config, method, 8000).into_iter().map(|s| s.name).collect()
    }

    #[test]
    fn win_is_algorithm_1() {
        let expected = ["narrow 1", "narrow 2", "narrow 3", "narrow 4", "tune", "merge"];
        assert_eq!(names(Method::Win, Merge::Maf), expected);
        assert_eq!(names(Method::Win, Merge::Map)[4..], ["merge", "tune"]);
        assert_eq!(names(Method::StartOnly, Merge::Maf), ["start", "tune", "merge"]);
        assert_eq!(names(Method::Fitnets, Merge::Maf), ["hint", "kd"]);
    }

    #[test]
    fn every_method_gets_the_same_student_epochs() {
        let config = Config::default();
        let steps =
            |method| stages(&config, method, 8000).iter().map(|s| s.steps(8000)).sum::<u64>();
        let vanilla = steps(Method::Vanilla);
        for method in Method::ALL {
            assert_eq!(steps(method), vanilla, "{method}");
        }
    }
}
