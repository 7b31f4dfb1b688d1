//! Algorithm 1 and the baselines, as lists of stages that one can print before anything runs.

use serde::{Deserialize, Serialize};

use crate::config::{Config, Head, Length, Merge, Method, Recipe, Target, Tune, whole};

/// What a stage does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    /// Trains on the labels.
    Labels,
    /// Trains the head alone on the labels.
    Head,
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
    /// Gives every block its start, or the embeddings and the head, and trains nothing.
    Start,
    /// Fine-tunes on the labels, or on (1 − α) CE + α T² KL(teacher ‖ student at T).
    Tune {
        /// Which.
        target: Target,
        /// α.
        alpha: f64,
        /// T.
        temperature: f64,
    },
    /// Folds the pairs and proves it.
    Merge,
}

impl StageKind {
    /// Whether the teacher runs in each step.
    pub fn reads_teacher(self) -> bool {
        match self {
            StageKind::Distill { .. } | StageKind::Hint { .. } | StageKind::Narrow { .. } => true,
            StageKind::Tune { target, .. } => target == Target::Teacher,
            StageKind::Labels | StageKind::Head | StageKind::Start | StageKind::Merge => false,
        }
    }
}

/// What has to be there before a stage begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependency {
    /// The teacher of the member's seed, trained.
    Teacher,
    /// What the stage at this place in the same method's list leaves.
    Stage(usize),
}

/// A stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// `wide`, `narrow 2`, `tune`, `merge`, …
    pub name: String,
    /// The method that it is a stage of; none for the teacher's own training.
    pub method: Option<Method>,
    /// What it does.
    pub kind: StageKind,
    /// The section of the configuration in which its recipe stands; `None` where nothing is trained.
    pub section: Option<&'static str>,
    /// How it is trained; `None` where nothing is.
    pub recipe: Option<Recipe>,
    /// What it waits for.
    pub depends_on: Vec<Dependency>,
    /// Restarts; the best is kept.
    pub restarts: u32,
    /// Optimiser steps of all restarts.
    pub steps: u64,
}

impl Stage {
    fn plain(name: impl Into<String>, kind: StageKind) -> Self {
        Self {
            name: name.into(),
            method: None,
            kind,
            section: None,
            recipe: None,
            depends_on: Vec::new(),
            restarts: 1,
            steps: 0,
        }
    }

    /// A stage that trains by the recipe of a section.
    fn train(
        name: impl Into<String>,
        kind: StageKind,
        section: &'static str,
        recipe: Recipe,
    ) -> Self {
        Self { section: Some(section), recipe: Some(recipe), ..Self::plain(name, kind) }
    }

    fn restarts(self, restarts: u32) -> Self {
        Self { restarts, ..self }
    }

    /// Inputs of a step; 0 where nothing is trained.
    pub fn batch(&self) -> u64 {
        self.recipe.as_ref().map_or(0, |recipe| u64::from(recipe.batch))
    }

    /// Optimiser steps of a restart, counted from 0. The restarts share the stage's steps evenly, so two of them differ by one step at most.
    pub fn steps_of(&self, restart: u32) -> u64 {
        let [restart, restarts] = [restart, self.restarts].map(u64::from);
        self.steps * (restart + 1) / restarts - self.steps * restart / restarts
    }
}

/// Gives the stages of a method their steps. Each stage but the last takes its own epochs, rounded to steps. The last one takes what is left of the
/// whole method's epochs, so that methods of equal epochs have equal steps; if its length is given in steps, it keeps that.
fn share_steps(stages: &mut [Stage], train_count: u64) {
    let Some(last) = stages.iter().rposition(|stage| stage.recipe.is_some()) else { return };
    // In epochs of the last stage's batch.
    let (mut wanted, mut taken) = (0.0, 0.0);
    for (place, stage) in stages.iter_mut().enumerate() {
        let Some(recipe) = &stage.recipe else { continue };
        let (restarts, epoch) = (u64::from(stage.restarts), recipe.steps_per_epoch(train_count));
        stage.steps = recipe.steps(epoch) * restarts;
        wanted += recipe.length.epochs(epoch) * restarts as f64;
        if place != last {
            taken += stage.steps as f64 / epoch as f64;
        }
    }
    let stage = &mut stages[last];
    if let Some(recipe) = stage.recipe.as_ref().filter(|r| matches!(r.length, Length::Epochs(_))) {
        let left = (wanted - taken) * recipe.steps_per_epoch(train_count) as f64;
        stage.steps = whole(left.max(0.0)).max(stage.restarts.into());
    }
}

/// The stages of a method, or of the teacher's own training.
pub fn of(config: &Config, method: Option<Method>, train_count: u64) -> Vec<Stage> {
    match method {
        Some(method) => stages(config, method, train_count),
        None => wide(config, train_count),
    }
}

/// Stage 1: the teacher, trained on the labels. Where it has a new head, this is trained alone at first, by a part of the same recipe in which
/// the learning rate rises from 0: `wide.warmup`, else one epoch, and half of the length at most.
pub fn wide(config: &Config, train_count: u64) -> Vec<Stage> {
    let recipe = config.wide.recipe();
    let train = |name, kind, recipe| Stage::train(name, kind, "wide", recipe);
    let mut stages = match config.teacher.head {
        Head::Same => vec![train("wide", StageKind::Labels, recipe)],
        Head::New => {
            let (first, rest) = recipe.parted(train_count);
            let wide = train("wide", StageKind::Labels, rest);
            let head = train("head", StageKind::Head, first);
            vec![head, Stage { depends_on: vec![Dependency::Stage(0)], ..wide }]
        }
    };
    share_steps(&mut stages, train_count);
    stages
}

/// Blocks of a student of `blocks` that the hint of FitNets trains: the first half.
pub fn hinted(blocks: usize) -> usize {
    blocks.div_ceil(2)
}

/// The stages of a method after the teacher is there.
///
/// `win` is Algorithm 1: narrow 1 … n, tune, merge; under MAP the merge comes before tuning. Bottlenecks have nothing to merge, and no such stage.
pub fn stages(config: &Config, method: Method, train_count: u64) -> Vec<Stage> {
    let mut stages = listed(config, method, train_count);
    for (place, stage) in stages.iter_mut().enumerate() {
        stage.method = Some(method);
        stage.depends_on = match place.checked_sub(1) {
            Some(before) => vec![Dependency::Stage(before)],
            None if method.needs_teacher() => vec![Dependency::Teacher],
            None => Vec::new(),
        };
    }
    share_steps(&mut stages, train_count);
    let tune = stages.iter_mut().rfind(|stage| stage.recipe.is_some());
    if let (Method::StartOnly | Method::EmbeddingsOnly, Some(tune)) = (method, tune) {
        // As long as all of WIN's stages together, with their rounding.
        let win = self::stages(config, Method::Win, train_count);
        let epochs = |stage: &Stage| {
            let recipe = stage.recipe.as_ref()?;
            Some(stage.steps as f64 / recipe.steps_per_epoch(train_count) as f64)
        };
        let epochs: f64 = win.iter().filter_map(epochs).sum();
        let per_epoch = config.tune.recipe().steps_per_epoch(train_count);
        tune.steps = whole(epochs * per_epoch as f64).max(1);
    }
    stages
}

fn listed(config: &Config, method: Method, train_count: u64) -> Vec<Stage> {
    let blocks = config.model.block_count();
    let Tune { target, alpha, temperature, .. } = config.tune;
    let kind = StageKind::Tune { target, alpha, temperature };
    let tune =
        Stage::train("tune", kind, "tune", config.tune.recipe()).restarts(config.win.tune_restarts);
    let merge = Stage::plain("merge", StageKind::Merge);
    let end = |tune: Stage| match (config.model.bottleneck(), config.win.merge) {
        (Some(_), _) => vec![tune],
        (None, Merge::Maf) => vec![tune, merge],
        (None, Merge::Map) => vec![merge, tune],
    };
    // For the whole student budget.
    let whole = |tune: Stage| Stage {
        recipe: Some(config.start_only_recipe(blocks, train_count)),
        restarts: 1,
        ..tune
    };
    match method {
        Method::Vanilla => {
            vec![Stage::train("vanilla", StageKind::Labels, "vanilla", config.vanilla.recipe())]
        }
        Method::Kd => {
            let kind =
                StageKind::Distill { alpha: config.kd.alpha, temperature: config.kd.temperature };
            vec![Stage::train("kd", kind, "kd", config.kd.recipe())]
        }
        Method::Fitnets => {
            let fitnets = &config.fitnets;
            let kind =
                StageKind::Distill { alpha: fitnets.alpha, temperature: fitnets.temperature };
            let hint = StageKind::Hint { blocks: hinted(blocks) };
            vec![
                Stage::train("hint", hint, "fitnets", fitnets.hint_recipe()),
                Stage::train("kd", kind, "fitnets", fitnets.recipe()),
            ]
        }
        Method::EmbeddingsOnly => vec![Stage::plain("start", StageKind::Start), whole(tune)],
        Method::StartOnly => {
            let tune = whole(tune);
            [Stage::plain("start", StageKind::Start)].into_iter().chain(end(tune)).collect()
        }
        Method::Win => {
            let narrow = (1..=blocks).map(|block| {
                Stage::train(
                    format!("narrow {block}"),
                    StageKind::Narrow { block },
                    "narrow",
                    config.narrow.recipe_of(block),
                )
                .restarts(config.win.restarts)
            });
            narrow.chain(end(tune)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Bert, Mlp, Model};

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

    /// Their linear maps stay, and the other methods have as many steps as WIN all the same.
    #[test]
    fn bottlenecks_are_narrowed_and_tuned_and_not_merged() {
        let bert = Bert { hidden: 8, bottleneck: Some(16), layers: 2, ..Bert::default() };
        let mut config = Config { model: Model::Bert(bert), ..Config::default() };
        let all = stages(&config, Method::Win, 8000);
        let names = all.iter().map(|stage| stage.name.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["narrow 1", "narrow 2", "tune"]);
        let total = |method| steps(&config, method, 8000);
        assert_eq!(total(Method::EmbeddingsOnly), total(Method::Win));
        config.win.merge = Merge::Map;
        assert_eq!(stages(&config, Method::Win, 8000), all);
    }

    #[test]
    fn a_stage_says_what_it_is() {
        let config = Config::default();
        let toml: toml::Table = config.to_toml().parse().expect("TOML");
        for method in Method::ALL {
            let stages = stages(&config, method, 8000);
            for (place, stage) in stages.iter().enumerate() {
                assert_eq!(stage.method, Some(method));
                // The section is there, and has the batch of the stage.
                assert_eq!(stage.section.is_some(), stage.recipe.is_some());
                if let Some(section) = stage.section {
                    let batch = toml[section]["batch"].as_integer();
                    assert_eq!(batch, i64::try_from(stage.batch()).ok(), "{method} {}", stage.name);
                }
                // Whoever reads the teacher in a step waits for it, at the latest by the first stage.
                assert!(!stage.kind.reads_teacher() || method.needs_teacher());
                let before = match place {
                    0 if method == Method::Vanilla => None,
                    0 => Some(Dependency::Teacher),
                    _ => Some(Dependency::Stage(place - 1)),
                };
                assert_eq!(stage.depends_on, Vec::from_iter(before));
            }
        }
        let of = self::wide;
        let [wide] = &of(&config, 8000)[..] else { panic!("one stage") };
        assert_eq!((wide.method, wide.section, &*wide.depends_on), (None, Some("wide"), &[][..]));
    }

    /// Twenty epochs of 125 steps: as many with a new head, whose part is the warm-up.
    #[test]
    fn a_new_head_is_warmed_up_alone() {
        let mut config = Config::default();
        config.teacher.from = Some("elsewhere".into());
        config.teacher.head = Head::New;
        let of = |config: &Config| {
            let stages = wide(config, 8000);
            let [head, wide] = &stages[..] else { panic!("{stages:?}") };
            assert_eq!((head.kind, wide.kind), (StageKind::Head, StageKind::Labels));
            assert_eq!(wide.depends_on, [Dependency::Stage(0)]);
            let recipe = head.recipe.as_ref().expect("trained");
            for step in 0..head.steps {
                let risen = recipe.lr * step as f64 / head.steps as f64;
                assert!((recipe.lr_at(step, head.steps, 125) - risen).abs() < 1e-12, "{step}");
            }
            let wide_recipe = wide.recipe.as_ref().expect("trained");
            assert_eq!(wide_recipe.lr_at(0, wide.steps, 125), wide_recipe.lr);
            (head.steps, wide.steps)
        };
        assert_eq!(of(&config), (125, 2375));
        config.wide.warmup = 3.0;
        assert_eq!(of(&config), (375, 2125));
        (config.wide.epochs, config.wide.steps, config.wide.warmup) = (None, Some(10), 0.0);
        assert_eq!(of(&config), (5, 5));
    }

    fn steps(config: &Config, method: Method, train_count: u64) -> u64 {
        stages(config, method, train_count).iter().map(|stage| stage.steps).sum()
    }

    /// Four blocks of 0.75 epochs and nine of tuning, 78 steps an epoch: 4 · 59 + 702 = 938, where twelve epochs are 936.
    #[test]
    fn rounding_gives_nobody_a_step() {
        let config = Config::preset("cifar10-resnet-thin").expect("a preset");
        for method in Method::ALL {
            assert_eq!(steps(&config, method, 10_000), 936, "{method}");
        }
        let win = stages(&config, Method::Win, 10_000);
        assert_eq!((win[0].steps, win[4].steps), (59, 700));
    }

    #[test]
    fn tries_share_the_steps_of_their_stage() {
        let mut config = Config::default();
        (config.win.restarts, config.win.tune_restarts) = (2, 3);
        (config.narrow.epochs, config.tune.epochs) = (Some(0.3), Some(0.7));
        let win = stages(&config, Method::Win, 640);
        // 8 · 0.3 + 3 · 0.7 = 4.5 epochs of ten steps.
        assert_eq!((win[0].steps, win[0].steps_of(0), win[0].steps_of(1)), (6, 3, 3));
        assert_eq!([0, 1, 2].map(|k| win[4].steps_of(k)), [7, 7, 7]);
        config.tune.epochs = Some(0.75);
        let win = stages(&config, Method::Win, 640);
        // 46.5 steps, of which 24 are taken.
        assert_eq!([0, 1, 2].map(|k| win[4].steps_of(k)), [7, 8, 8]);
        assert_eq!(steps(&config, Method::StartOnly, 640), 47);
    }

    #[test]
    fn a_length_in_steps_is_kept() {
        let mut config = Config::default();
        (config.tune.epochs, config.tune.steps) = (None, Some(100));
        config.narrow.epochs = Some(0.33);
        let win = stages(&config, Method::Win, 640);
        assert_eq!((win[0].steps, win[4].steps), (3, 100));
        assert_eq!(steps(&config, Method::StartOnly, 640), 112);
    }

    proptest! {
        /// Methods of the same epochs have the same steps, however their stages and restarts share them.
        #[test]
        fn equal_epochs_are_equal_steps(
            blocks in 1..7usize,
            restarts in (1..4u32, 1..4u32),
            narrow in 1..200u32,
            tune in 200..2000u32,
            share in 0.1..0.9f64,
            batch in 1..200u32,
            per_epoch in 11..800u64,
            rest in 0..200u64,
            map: bool,
        ) {
            let mlp = Mlp { hidden: vec![5; blocks], blocks: vec![1; blocks], ..Mlp::default() };
            let mut config = Config { model: Model::Mlp(mlp), ..Config::default() };
            config.win.merge = if map { Merge::Map } else { Merge::Maf };
            (config.win.restarts, config.win.tune_restarts) = restarts;
            // In hundredths, whose sums are not what is written in decimals.
            let [narrow, tune] = [narrow, tune].map(|n| f64::from(n) / 100.0);
            let narrows = blocks as u32 * restarts.0;
            let all = f64::from(narrows) * narrow + f64::from(restarts.1) * tune;
            config.narrow.epochs = Some(narrow);
            config.tune.epochs = Some(tune);
            config.vanilla.epochs = Some(all);
            config.kd.epochs = Some(all);
            config.fitnets.hint_epochs = all * share;
            config.fitnets.epochs = Some(all - all * share);
            config.narrow.batch = batch;
            config.tune.batch = batch;
            config.vanilla.batch = batch;
            config.kd.batch = batch;
            config.fitnets.batch = batch;
            let train_count = per_epoch * u64::from(batch) + rest % u64::from(batch);
            for method in Method::ALL {
                prop_assert_eq!(steps(&config, method, train_count), whole(all * per_epoch as f64));
                for stage in stages(&config, method, train_count) {
                    let of: Vec<u64> = (0..stage.restarts).map(|k| stage.steps_of(k)).collect();
                    prop_assert_eq!(of.iter().sum::<u64>(), stage.steps);
                    let (least, most) = (of.iter().min(), of.iter().max());
                    prop_assert!(least.zip(most).is_some_and(|(least, most)| most - least <= 1));
                }
            }
            // What the rounding of each restart moves, to at least one step, and half a step of the whole.
            let of_a_try = narrow * per_epoch as f64;
            let moved = (whole(of_a_try).max(1) as f64 - of_a_try).abs();
            let win = stages(&config, Method::Win, train_count);
            let tuned = win.iter().find(|stage| stage.name == "tune").map_or(0, |tune| tune.steps);
            let said = f64::from(restarts.1) * tune * per_epoch as f64;
            prop_assert!((tuned as f64 - said).abs() <= f64::from(narrows) * moved + 0.6);
        }
    }
}
