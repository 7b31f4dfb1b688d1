//! What a run's configuration comes to, and how its processes end.

use engine::config::Method;
use engine::nn::NetworkSize;
use serde::{Deserialize, Serialize};

use super::state::End;

/// What to do about a full disk.
pub(crate) const ROOM: &str = "; free some space and resume the run";

/// What a run's configuration comes to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// `model.arch`.
    pub(crate) arch: String,
    /// Name of the data set.
    pub(crate) dataset: String,
    /// What is trained.
    pub(crate) methods: Vec<Method>,
    /// For each of these.
    pub(crate) seeds: Vec<u64>,
    /// The thin network.
    pub(crate) student: NetworkSize,
    /// The wide one.
    pub(crate) teacher: NetworkSize,
}

/// How the last process of a run says it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// All is trained.
    Done,
    /// At a checkpoint.
    Stopped {
        /// Why, where nobody asked for it.
        #[serde(default)]
        cause: Option<String>,
    },
    /// By an error.
    Failed {
        /// Its sentence.
        error: String,
    },
}

impl Outcome {
    /// How the process ended, and the sentence that belongs to it.
    pub(crate) fn end(&self) -> (End, Option<String>) {
        match self {
            Outcome::Done => (End::Done, None),
            Outcome::Stopped { cause: None } => (End::Stopped, None),
            Outcome::Stopped { cause: Some(cause) } => {
                (End::Full, Some(format!("the disk is full: {cause}{ROOM}")))
            }
            Outcome::Failed { error } => (End::Failed, Some(error.clone())),
        }
    }
}
