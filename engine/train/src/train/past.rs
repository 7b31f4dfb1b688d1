//! What the log of a run says of a member.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the log says of a member or a teacher.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Past {
    /// The adapter on which it began, empty if an older log does not say; none if it has not begun.
    pub(super) begun: Option<String>,
    /// Its results; none if it is not trained yet.
    pub(super) finished: Option<End>,
    /// The result of each stage, in words.
    pub(super) ends: BTreeMap<String, String>,
}

/// The results of a trained member.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) train_error: f64,
    pub(super) epochs: Option<f64>,
    pub(super) seconds: Option<f64>,
}
