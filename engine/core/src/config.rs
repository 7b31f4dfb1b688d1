//! The one type tree of a run: read from TOML, checked, shown as a form, and written beside the results.
//!
//! Doc comments are the descriptions in the JSON schema, `schemars` ranges its bounds; [`Config::validate`] checks against that same
//! schema, so a bound stands in one place. Reals are `f64`: an `f32` default of 0.9 would be written as 0.8999999761581421.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod check;
mod data;
mod draft;
mod error;
mod framing;
mod model;
pub mod presets;
mod recipe;
mod schema;
#[cfg(test)]
mod tests;
mod text;

pub use crate::ops::activation::Activation;
pub use check::BATCH;
pub use data::{
    Augment, Data, DataKind, ImageKind, Images, Interpolation, OnError, Text, TextKind,
};
pub use draft::Draft;
pub use error::ConfigError;
pub use framing::{Disagreement, Framing};
pub use model::{Bert, Mlp, Model, Resnet, ResnetOfDepth, Stem, Unit};
use recipe::stage;
pub use recipe::{Length, Optimizer, Recipe, Schedule, whole};
pub use text::{Examples, Finetune};

/// How a student is trained.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// On the labels alone.
    Vanilla,
    /// Knowledge distillation: labels and the teacher's softened logits.
    Kd,
    /// A hint stage on the middle block, then knowledge distillation.
    Fitnets,
    /// Of text: the teacher's embeddings and head, and nothing else of it, tuned for the whole student budget.
    EmbeddingsOnly,
    /// WIN's start without any narrow step, tuned for the whole student budget.
    StartOnly,
    /// Go wide, then narrow.
    Win,
}

impl Method {
    /// All methods, in the order of tables.
    pub const ALL: [Method; 6] = [
        Method::Vanilla,
        Method::Kd,
        Method::Fitnets,
        Method::EmbeddingsOnly,
        Method::StartOnly,
        Method::Win,
    ];

    /// Those that pictures can be trained by: they have no embeddings.
    pub const OF_IMAGES: [Method; 5] =
        [Method::Vanilla, Method::Kd, Method::Fitnets, Method::StartOnly, Method::Win];

    /// The name used in configurations, folders and tables.
    pub fn name(self) -> &'static str {
        match self {
            Method::Vanilla => "vanilla",
            Method::Kd => "kd",
            Method::Fitnets => "fitnets",
            Method::EmbeddingsOnly => "embeddings_only",
            Method::StartOnly => "start_only",
            Method::Win => "win",
        }
    }

    /// Whether the method needs a trained teacher.
    pub fn needs_teacher(self) -> bool {
        self != Method::Vanilla
    }

    /// Whether pairs stand in its student while it is trained.
    pub fn bridges(self) -> bool {
        matches!(self, Method::StartOnly | Method::Win)
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Arithmetic of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats everywhere.
    #[default]
    F32,
    /// Training steps store activations, their gradients and a copy of the weights as 16-bit floats: about half the memory. Sums, statistics,
    /// the weights that are kept, tests and merges are 32-bit, and the loss is scaled as by PyTorch's `GradScaler`. The adapter needs
    /// `shader-f16`; `taper devices` says which has it.
    Mixed,
}

/// What several adapters, or ranks, do together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Each takes the next member and trains it by itself.
    #[default]
    Members,
    /// All of them train one member: each batch is cut into equal parts, of which each runs a share, as it is fast. Batch norm's statistics are
    /// those of a part, as PyTorch's are without `SyncBatchNorm`.
    Batch,
}

impl Split {
    /// Whether each trains members by itself.
    pub fn is_members(&self) -> bool {
        *self == Split::Members
    }
}

/// A run: `methods` × `seeds` on one data set, one student and one teacher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Methods to train.
    #[schemars(length(min = 1, max = 16))]
    pub methods: Vec<Method>,
    /// Seeds; each has a teacher of its own, shared by its methods.
    #[schemars(length(min = 1, max = 1000))]
    pub seeds: Vec<u64>,
    /// Adapter: `auto` (the best), a part of its name, its index in `taper devices`, or `all` GPUs, each of which takes the next member, or, with
    /// `split = "batch"`, a share of each batch.
    pub device: String,
    /// Arithmetic.
    pub precision: Precision,
    /// Most device memory a plan may take; absent: what the adapter allows. A step that needs more runs in micro-batches, whose gradients
    /// are added up; batch norm's statistics are then those of a micro-batch, as in PyTorch.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), extend("x-unit" = "bytes"))]
    pub memory_budget: Option<u64>,
    /// Makes the activations inside each block anew in the backward pass instead of keeping them: less memory, about a third more work,
    /// the same bits.
    pub recompute: bool,
    /// What several adapters, or ranks, do together; absent: `members`.
    #[serde(skip_serializing_if = "Split::is_members")]
    pub split: Split,
    /// The training and test samples.
    pub data: Data,
    /// How examples are made of a text; with data of text alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Examples>,
    /// How questions are read and answers chosen; with `data.kind = "squad"` or `"procedural_questions"` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finetune: Option<Finetune>,
    /// The student: the deep thin network that is wanted.
    pub model: Model,
    /// The teacher: the student widened, or a trained network.
    pub teacher: Teacher,
    /// Training of the teacher on the labels.
    pub wide: Wide,
    /// The baseline trained on the labels alone.
    pub vanilla: Vanilla,
    /// The knowledge-distillation baseline.
    pub kd: Kd,
    /// The FitNets baseline: hints, then knowledge distillation.
    pub fitnets: Fitnets,
    /// The narrow steps of WIN; the length is that of one block.
    pub narrow: Narrow,
    /// Fine-tuning of WIN after the narrow steps.
    pub tune: Tune,
    /// The start-only and embeddings-only baselines: `[tune]` over the whole student budget, the restarts of WIN's stages included.
    pub start_only: StartOnly,
    /// The choices of WIN itself.
    pub win: Win,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            methods: Method::OF_IMAGES.to_vec(),
            seeds: vec![0, 1, 2],
            device: "auto".into(),
            precision: Precision::F32,
            memory_budget: None,
            recompute: false,
            split: Split::Members,
            data: Data::default(),
            text: None,
            finetune: None,
            model: Model::default(),
            teacher: Teacher::default(),
            wide: Wide::default(),
            vanilla: Vanilla::default(),
            kd: Kd::default(),
            fitnets: Fitnets::default(),
            narrow: Narrow::default(),
            tune: Tune::default(),
            start_only: StartOnly::default(),
            win: Win::default(),
        }
    }
}

impl Config {
    /// Writes each stage's default epochs where neither `epochs` nor `steps` stands, and `[text]` for a text, so that a written configuration
    /// says everything.
    pub fn complete(&mut self) {
        if let Data::Text(data) = &self.data {
            self.text.get_or_insert_default();
            if data.kind.asks() {
                self.finetune.get_or_insert_default();
            }
        }
        self.wide.complete();
        self.vanilla.complete();
        self.kd.complete();
        self.fitnets.complete();
        if self.narrow.unit.is_none() {
            self.narrow.complete();
        }
        self.tune.complete();
    }

    /// How examples are made of a text.
    pub fn examples(&self) -> Examples {
        self.text.clone().unwrap_or_default()
    }

    /// The recipes that the methods are trained by, with the keys of their batches.
    pub fn recipes(&self) -> Vec<(&'static str, Recipe)> {
        let any = |methods: &[Method]| self.methods.iter().any(|method| methods.contains(method));
        let wide = self.teacher.is_trained() && self.methods.iter().any(|m| m.needs_teacher());
        let of_win = any(&[Method::Win]);
        let all = [
            (wide, "wide.batch", self.wide.recipe()),
            (any(&[Method::Vanilla]), "vanilla.batch", self.vanilla.recipe()),
            (any(&[Method::Kd]), "kd.batch", self.kd.recipe()),
            (any(&[Method::Fitnets]), "fitnets.batch", self.fitnets.recipe()),
            (of_win, "narrow.batch", self.narrow.recipe()),
            (
                of_win || any(&[Method::StartOnly, Method::EmbeddingsOnly]),
                "tune.batch",
                self.tune.recipe(),
            ),
        ];
        all.into_iter().filter(|(used, ..)| *used).map(|(_, key, recipe)| (key, recipe)).collect()
    }

    /// Recipe of the baselines `start_only` and `embeddings_only`: `[tune]`'s, over `blocks` narrow lengths and the tune length, the restarts of each counted, with
    /// `[start_only]`'s overrides.
    ///
    /// Where narrow and tune count in different units (or in steps of different batches), narrow is converted by `train_count`.
    pub fn start_only_recipe(&self, blocks: usize, train_count: u64) -> Recipe {
        let (narrow, mut recipe) = (self.narrow.recipe_of(1), self.tune.recipe());
        let narrows = self.narrow.lengths(blocks as u64) * u64::from(self.win.restarts);
        let tunes = u64::from(self.win.tune_restarts);
        let epochs = narrows as f64 * narrow.length.epochs(narrow.steps_per_epoch(train_count));
        recipe.length = match (narrow.length, recipe.length) {
            (Length::Steps(steps), Length::Steps(tune)) if narrow.batch == recipe.batch => {
                Length::Steps(narrows * steps + tunes * tune)
            }
            (_, Length::Steps(tune)) => Length::Steps(
                recipe::whole(epochs * recipe.steps_per_epoch(train_count) as f64) + tunes * tune,
            ),
            (_, Length::Epochs(tune)) => Length::Epochs(epochs + tunes as f64 * tune),
        };
        recipe.lr = self.start_only.lr.unwrap_or(recipe.lr);
        recipe.weight_decay = self.start_only.weight_decay.unwrap_or(recipe.weight_decay);
        recipe
    }
}

/// Which channels of a residual network the teacher has more of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Widen {
    /// Those inside a unit; what a block puts out keeps its width. The paper's choice.
    #[default]
    Mid,
    /// All of them.
    All,
}

/// What becomes of the head of a trained teacher.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// It stays: the teacher tells the data's classes apart already.
    #[default]
    Same,
    /// A fresh one, for the data's classes, takes its place; the teacher is then trained by `[wide]`, at first its head alone.
    New,
}

impl Head {
    /// Whether it stays.
    pub fn is_same(&self) -> bool {
        *self == Head::Same
    }
}

/// The teacher: the student widened, or a trained network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Teacher {
    /// How many times as wide as the student. The paper: 2 (4 in Table 3).
    #[schemars(range(min = 1, max = 64))]
    pub factor: u32,
    /// Which channels of a residual network are widened; an MLP has all its hidden layers widened.
    pub widen: Widen,
    /// A trained teacher: a model folder, a safetensors file with torchvision's or timm's names, or an earlier run; absent: the teacher is
    /// trained by `[wide]`. It must tell the data's classes apart, unless `head` is new. What its folder says of its pictures (size, interpolation, crop, mean,
    /// deviation) holds where `[data]` does not write it, and must agree where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What becomes of the head of the teacher in `from`. With a new one, `[wide]` trains the teacher on: the part of its length that is
    /// `wide.warmup`, or one epoch, is for the head alone, while the learning rate rises from 0.
    #[serde(skip_serializing_if = "Head::is_same")]
    pub head: Head,
    /// For a teacher of another depth: the 0-based teacher layer (or unit) that each student layer (or unit) copies, over the whole network;
    /// empty: in proportion inside each block.
    #[schemars(length(max = 1000))]
    pub layer_map: Vec<u32>,
}

impl Default for Teacher {
    fn default() -> Self {
        let (widen, head) = (Widen::Mid, Head::Same);
        Teacher { factor: 4, widen, from: None, head, layer_map: Vec::new() }
    }
}

impl Teacher {
    /// Whether the run trains it by `[wide]`.
    pub fn is_trained(&self) -> bool {
        self.from.is_none() || self.head == Head::New
    }
}

stage! {
    /// Training of the teacher on the labels.
    Wide, epochs = 20.0, defaults { lr = 1e-3 }
}

stage! {
    /// The baseline trained on the labels alone.
    Vanilla, epochs = 24.0, defaults { lr = 1e-3 }
}

stage! {
    /// Knowledge distillation: (1−α)·CE + α·T²·KL(teacher‖student at temperature T).
    Kd, epochs = 24.0, defaults {}, own {
        /// Share of the teacher's part of the loss.
        #[schemars(range(min = 0.0, max = 1.0))]
        alpha: f64 = 0.5,
        /// Temperature of the softened logits.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        temperature: f64 = 4.0,
    }
}

stage! {
    /// FitNets: a hint stage on the middle block, then knowledge distillation for `epochs`.
    Fitnets, epochs = 18.0, defaults {}, own {
        /// Length of the hint stage, which counts as student epochs.
        #[schemars(range(max = 1e6), extend("exclusiveMinimum" = 0.0, "x-unit" = "epochs"))]
        hint_epochs: f64 = 6.0,
        /// Peak learning rate of the hint stage; the other settings are those of the stage.
        #[schemars(range(min = 0.0))]
        hint_lr: f64 = 3e-3,
        /// Share of the teacher's part of the loss.
        #[schemars(range(min = 0.0, max = 1.0))]
        alpha: f64 = 0.5,
        /// Temperature of the softened logits.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        temperature: f64 = 4.0,
    }
}

impl Fitnets {
    /// Recipe of the hint stage: the section's, with the hint's length and learning rate, cosine to 0.
    pub fn hint_recipe(&self) -> Recipe {
        Recipe {
            length: Length::Epochs(self.hint_epochs),
            lr: self.hint_lr,
            schedule: Schedule::Cosine,
            warmup: 0.0,
            ..self.recipe()
        }
    }
}

stage! {
    /// A narrow step; the length is that of one block.
    Narrow, epochs = 3.0, defaults {}, own {
        /// Steps of narrow 1; narrow i has i times as many, as i blocks are trained in it. Give this, `epochs` or `steps`. The paper: 10,000 for
        /// BERT.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1, max = 100000000u32), extend("x-unit" = "steps"))]
        unit: Option<u64> = None,
    }
}

impl Narrow {
    /// Recipe of narrow `block`, from 1.
    pub fn recipe_of(&self, block: usize) -> Recipe {
        let recipe = self.recipe();
        match self.unit {
            Some(unit) => Recipe { length: Length::Steps(unit * block as u64), ..recipe },
            None => recipe,
        }
    }

    /// How many times as long as narrow 1 all of `blocks` narrow steps are.
    fn lengths(&self, blocks: u64) -> u64 {
        if self.unit.is_some() { blocks * (blocks + 1) / 2 } else { blocks }
    }
}

/// What fine-tuning follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Cross entropy on the labels. The paper's choice for BERT.
    Labels,
    /// KL divergence from the teacher's logits at temperature 1. The paper's choice for ResNet.
    #[default]
    Teacher,
}

stage! {
    /// Fine-tuning after the narrow steps.
    Tune, epochs = 12.0, defaults {}, own {
        /// What fine-tuning follows.
        target: Target = Target::Teacher,
        /// With `target = "teacher"`, the weight α of the teacher's outputs; the labels have 1 − α.
        #[schemars(range(min = 0.0, max = 1.0))]
        alpha: f64 = 1.0,
        /// With `target = "teacher"`, the temperature T at which outputs are compared.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        temperature: f64 = 1.0,
    }
}

/// What the start-only baseline does differently from `[tune]`; its length is the whole student budget, all restarts of WIN's stages included.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StartOnly {
    /// Peak learning rate; absent: `[tune]`'s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub lr: Option<f64>,
    /// Weight decay; absent: `[tune]`'s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub weight_decay: Option<f64>,
}

/// How a block's weights begin before its narrow step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// The teacher's neurons that span its layers best, joined by ridge regression.
    #[default]
    Greedy,
    /// The same with random neurons of the teacher.
    Sample,
    /// Fresh weights and random pairs: the letter of the paper's section 2.
    Random,
}

/// What a narrow step minimises, between the student's lifted output and the teacher's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Discrepancy {
    /// Mean squared error divided by the variance of the teacher's output.
    #[default]
    RelativeMse,
    /// Mean squared error. The paper's choice.
    Mse,
    /// KL divergence over the features, mean over positions.
    Kl,
    /// KL divergence of the teacher's outputs, as fine-tuning has it, from what the rest of the teacher makes of the student's output: what the
    /// teacher's later blocks ignore costs nothing.
    Output,
    /// `relative_mse`, and `output` times `output_weight`. For pictures.
    #[serde(rename = "relative_mse+output")]
    RelativeMseOutput,
}

impl Discrepancy {
    /// Whether squared errors are divided by the variance of the teacher's output.
    pub fn is_relative(self) -> bool {
        matches!(self, Self::RelativeMse | Self::RelativeMseOutput)
    }

    /// Whether the rest of the teacher runs on what the student puts out.
    pub fn reads_outputs(self) -> bool {
        matches!(self, Self::Output | Self::RelativeMseOutput)
    }
}

/// When the linear pairs are folded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// After fine-tuning.
    #[default]
    Maf,
    /// Before fine-tuning.
    Map,
}

/// The choices of WIN itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Win {
    /// How a block's weights begin before its narrow step.
    pub start: Start,
    /// What a narrow step minimises. The paper: `mse`.
    pub discrepancy: Discrepancy,
    /// Weight of the outputs with `discrepancy = "relative_mse+output"`.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub output_weight: f64,
    /// Restarts of each narrow step, of which the best is kept; 1 trains it once.
    #[schemars(range(min = 1, max = 1000), extend("x-unit" = "restarts"))]
    pub restarts: u32,
    /// Restarts of the fine-tuning, of which the one with the least training error is kept; 1 trains it once.
    #[schemars(range(min = 1, max = 1000), extend("x-unit" = "restarts"))]
    pub tune_restarts: u32,
    /// Train only block i in narrow step i, and leave the earlier ones as they are.
    pub freeze: bool,
    /// When the linear pairs are folded.
    pub merge: Merge,
    /// Training inputs the start is computed on; restarts are compared on 2,000.
    #[schemars(range(min = 1, max = 1000000), extend("x-unit" = "inputs"))]
    pub start_inputs: u32,
}

impl Default for Win {
    fn default() -> Self {
        Win {
            start: Start::Greedy,
            discrepancy: Discrepancy::RelativeMse,
            output_weight: 1.0,
            restarts: 1,
            tune_restarts: 1,
            freeze: false,
            merge: Merge::Maf,
            start_inputs: 2000,
        }
    }
}
