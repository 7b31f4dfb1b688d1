//! How one stage is trained: its length, batch, optimiser and learning-rate schedule.
//!
//! Every stage section of a configuration (`[wide]`, `[tune]`, …) has the same keys, and serde's `flatten` cannot be joined with
//! `deny_unknown_fields`; so the [`stage!`] macro writes the keys once into each section, and [`Recipe`] is the plain value read from it.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The rule that turns gradients into new weights; formulas are PyTorch's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// `torch.optim.SGD` with `momentum`, `nesterov` and L2 weight decay.
    Sgd,
    /// `torch.optim.Adam`: weight decay is added to the gradient.
    Adam,
    /// `torch.optim.AdamW`: weight decay is taken off the weights.
    #[serde(rename = "adamw")]
    AdamW,
}

/// How the learning rate moves after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// It stays at `lr`.
    Constant,
    /// It is multiplied by `gamma` at each of `milestones`.
    Step,
    /// Half a cosine from `lr` to 0 at the end of the stage.
    Cosine,
    /// A straight line from `lr` to 0 at the end of the stage.
    Linear,
}

/// How long a stage lasts; `warmup` and `milestones` are counted in the same unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// Passes over the training data; fractions are allowed.
    Epochs(f64),
    /// Optimiser steps.
    Steps(u64),
}

/// A number of steps as a whole one, halves up. A half that a sum of decimals misses by a hair is one: methods whose epochs add up to the same
/// have the same steps, however they are added.
pub fn whole(steps: f64) -> u64 {
    (steps + 0.5 + 1e-6).floor() as u64
}

impl Length {
    /// Optimiser steps, at least one, when an epoch has `steps_per_epoch` of them.
    pub fn steps(self, steps_per_epoch: u64) -> u64 {
        match self {
            Length::Epochs(epochs) => whole(epochs * steps_per_epoch as f64).max(1),
            Length::Steps(steps) => steps.max(1),
        }
    }

    /// Passes over the data, for tables of equal student epochs.
    pub fn epochs(self, steps_per_epoch: u64) -> f64 {
        match self {
            Length::Epochs(epochs) => epochs,
            Length::Steps(steps) => steps as f64 / steps_per_epoch.max(1) as f64,
        }
    }
}

/// Everything a training loop needs to know of a stage, as a plain value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// How long the stage lasts.
    pub length: Length,
    /// Inputs of one step.
    pub batch: u32,
    /// The update rule.
    pub optimizer: Optimizer,
    /// Peak learning rate.
    pub lr: f64,
    /// SGD's momentum.
    pub momentum: f64,
    /// SGD with Nesterov's momentum.
    pub nesterov: bool,
    /// Adam's decay of the first moment.
    pub beta1: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
    /// Adam's term in the denominator.
    pub eps: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// How the learning rate moves after the warm-up.
    pub schedule: Schedule,
    /// Where `Schedule::Step` multiplies by `gamma`, counted from the start of the stage, in the unit of `length`.
    pub milestones: Vec<f64>,
    /// Factor of `Schedule::Step`.
    pub gamma: f64,
    /// Length of the linear warm-up from 0, in the unit of `length`.
    pub warmup: f64,
    /// Greatest global norm of the gradient; `None` leaves it alone.
    pub clip_norm: Option<f64>,
    /// Label smoothing of a cross-entropy loss.
    pub label_smoothing: f64,
}

impl Recipe {
    /// Full batches in one pass over `train_count` inputs (the short last batch is dropped), at least one.
    pub fn steps_per_epoch(&self, train_count: u64) -> u64 {
        (train_count / u64::from(self.batch.max(1))).max(1)
    }

    /// Optimiser steps of the stage by itself; among others the last one takes what their rounding leaves
    /// ([`Stage::steps`](crate::win::algorithm::Stage)).
    pub fn steps(&self, steps_per_epoch: u64) -> u64 {
        self.length.steps(steps_per_epoch)
    }

    /// The recipe in two parts, one after the other: its warm-up, or one epoch where it has none, and half of it at most, which ends at its peak;
    /// and the rest, which begins there.
    pub fn parted(&self, train_count: u64) -> (Recipe, Recipe) {
        let one = match self.length {
            Length::Epochs(_) => 1.0,
            Length::Steps(_) => self.steps_per_epoch(train_count) as f64,
        };
        let wanted = if self.warmup > 0.0 { self.warmup } else { one };
        let (first, rest) = match self.length {
            Length::Epochs(all) => {
                let first = wanted.min(all / 2.0);
                (Length::Epochs(first), Length::Epochs(all - first))
            }
            Length::Steps(all) => {
                let first = whole(wanted).min(all / 2).max(1);
                (Length::Steps(first), Length::Steps(all.saturating_sub(first).max(1)))
            }
        };
        let warmup = match first {
            Length::Epochs(epochs) => epochs,
            Length::Steps(steps) => steps as f64,
        };
        let milestones = self.milestones.iter().map(|at| at - warmup).filter(|at| *at > 0.0);
        let rest =
            Recipe { length: rest, warmup: 0.0, milestones: milestones.collect(), ..self.clone() };
        let schedule = Schedule::Constant;
        (Recipe { length: first, warmup, schedule, milestones: Vec::new(), ..self.clone() }, rest)
    }

    /// Learning rate of the 0-based `step` of a restart that has `total` of them.
    ///
    /// Warm-up is `lr · step / warmup`, as Hugging Face's `get_*_schedule_with_warmup`; cosine and linear then run over the steps that are
    /// left, as `CosineAnnealingLR(T_max)` and `LinearLR(1, 0)` do; milestones count from the start, as `MultiStepLR`.
    pub fn lr_at(&self, step: u64, total: u64, steps_per_epoch: u64) -> f64 {
        let unit = match self.length {
            Length::Epochs(_) => steps_per_epoch as f64,
            Length::Steps(_) => 1.0,
        };
        let (step, total) = (step as f64, total as f64);
        let warmup = (self.warmup * unit).min(total);
        if step < warmup {
            return self.lr * step / warmup;
        }
        let done = if total > warmup { ((step - warmup) / (total - warmup)).min(1.0) } else { 1.0 };
        match self.schedule {
            Schedule::Constant => self.lr,
            Schedule::Step => {
                let passed =
                    self.milestones.iter().filter(|&&at| step >= (at * unit).round()).count();
                self.lr * self.gamma.powi(passed as i32)
            }
            Schedule::Cosine => self.lr * 0.5 * (1.0 + (PI * done).cos()),
            Schedule::Linear => self.lr * (1.0 - done),
        }
    }
}

/// Declares a stage section: the keys that every stage has, then the section's own.
///
/// `defaults` overrides single values of the common keys. `epochs` and `steps` are both optional in a file; [`Config`](super::Config)
/// fills in the section's default epochs where neither stands.
macro_rules! stage {
    (
        $(#[$meta:meta])*
        $name:ident, epochs = $epochs:literal, defaults { $($common:ident = $value:expr),* $(,)? }
        $(, own { $( $(#[$field_meta:meta])* $field:ident: $type:ty = $default:expr, )* } )?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            /// Length in passes over the training data; fractions are allowed. Give this or `steps`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(range(max = 1e6), extend("exclusiveMinimum" = 0.0, "x-unit" = "epochs"))]
            pub epochs: Option<f64>,
            /// Length in optimiser steps. Give this or `epochs`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(range(min = 1, max = 1000000000u32), extend("x-unit" = "steps"))]
            pub steps: Option<u64>,
            /// Inputs of one step. The paper: 256 for ResNet, 512 for BERT.
            #[schemars(range(min = 1, max = 1048576), extend("x-unit" = "inputs"))]
            pub batch: u32,
            /// Update rule. The paper: `sgd` for ResNet, `adam` for BERT.
            pub optimizer: Optimizer,
            /// Peak learning rate. The paper: 0.1 for ResNet (0.01 in tune), 1e-4 for BERT.
            #[schemars(range(min = 0.0))]
            pub lr: f64,
            /// How the learning rate moves after the warm-up. The paper: `step` for a vanilla ResNet, `cosine` in narrow and tune.
            pub schedule: Schedule,
            /// Linear warm-up from 0, in the unit of the stage's length (epochs or steps); fractions are allowed. The paper: 5 epochs.
            #[schemars(range(min = 0.0))]
            pub warmup: f64,
            /// Where `schedule = "step"` multiplies the learning rate by `gamma`, in the unit of the stage's length. The paper: 30, 60, 80.
            #[schemars(length(max = 1000))]
            pub milestones: Vec<f64>,
            /// Factor of `schedule = "step"`. The paper: 0.1.
            #[schemars(range(min = 0.0, max = 1.0))]
            pub gamma: f64,
            /// Weight decay. The paper: 1e-4 for a vanilla ResNet, none in narrow and tune.
            #[schemars(range(min = 0.0))]
            pub weight_decay: f64,
            /// SGD's momentum. The paper: 0.9.
            #[schemars(range(min = 0.0, max = 1.0))]
            pub momentum: f64,
            /// Nesterov's form of the momentum (SGD).
            pub nesterov: bool,
            /// Adam's decay of the mean of the gradient. The paper: 0.9.
            #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
            pub beta1: f64,
            /// Adam's decay of the mean of the squared gradient. The paper: 0.999.
            #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
            pub beta2: f64,
            /// Adam's term in the denominator.
            #[schemars(extend("exclusiveMinimum" = 0.0))]
            pub eps: f64,
            /// Greatest global norm of the gradient; absent: not clipped.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(extend("exclusiveMinimum" = 0.0))]
            pub clip_norm: Option<f64>,
            /// Share of the label spread over all classes in a cross-entropy loss.
            #[schemars(range(min = 0.0, max = 1.0))]
            pub label_smoothing: f64,
            $($( $(#[$field_meta])* pub $field: $type, )*)?
        }

        impl Default for $name {
            #[allow(clippy::needless_update, reason = "a section may have no keys of its own and no override")]
            fn default() -> Self {
                #[allow(unused_mut, reason = "a section may have no override")]
                let mut stage = $name {
                    epochs: Some($epochs),
                    steps: None,
                    batch: 64,
                    optimizer: Optimizer::Adam,
                    lr: 3e-3,
                    schedule: Schedule::Cosine,
                    warmup: 0.0,
                    milestones: Vec::new(),
                    gamma: 0.1,
                    weight_decay: 0.0,
                    momentum: 0.9,
                    nesterov: false,
                    beta1: 0.9,
                    beta2: 0.999,
                    eps: 1e-8,
                    clip_norm: None,
                    label_smoothing: 0.0,
                    $($( $field: $default, )*)?
                };
                $( stage.$common = $value; )*
                stage
            }
        }

        impl $name {
            /// Epochs of the section when it gives neither `epochs` nor `steps`.
            pub const EPOCHS: f64 = $epochs;

            /// The common keys as a value.
            pub fn recipe(&self) -> Recipe {
                Recipe {
                    length: match (self.steps, self.epochs) {
                        (Some(steps), _) => Length::Steps(steps),
                        (None, epochs) => Length::Epochs(epochs.unwrap_or(Self::EPOCHS)),
                    },
                    batch: self.batch,
                    optimizer: self.optimizer,
                    lr: self.lr,
                    momentum: self.momentum,
                    nesterov: self.nesterov,
                    beta1: self.beta1,
                    beta2: self.beta2,
                    eps: self.eps,
                    weight_decay: self.weight_decay,
                    schedule: self.schedule,
                    milestones: self.milestones.clone(),
                    gamma: self.gamma,
                    warmup: self.warmup,
                    clip_norm: self.clip_norm,
                    label_smoothing: self.label_smoothing,
                }
            }

            /// Writes the default epochs where neither `epochs` nor `steps` stands.
            pub(super) fn complete(&mut self) {
                if self.epochs.is_none() && self.steps.is_none() {
                    self.epochs = Some(Self::EPOCHS);
                }
            }
        }
    };
}
pub(super) use stage;
