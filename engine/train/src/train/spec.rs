//! What a member is, and what it ends with.

use std::path::PathBuf;

use super::{checkpoint::Position, context::Teacher, measure::Worth};
use crate::{
    config::Method,
    formats::{MergeReport, folder::Architecture},
    nn::{Network, Weights},
    win::algorithm::Stage,
};

/// Folder of a student's model in that of its member, and of the one that a run kept in that of the run.
pub const ARTIFACTS: &str = "artifacts";

/// What a member is.
pub(super) struct MemberSpec<'a> {
    pub(super) name: String,
    pub(super) method: Option<Method>,
    pub(super) seed: u64,
    /// Its folder in the run directory.
    pub(super) folder: PathBuf,
    pub(super) stages: Vec<Stage>,
    /// The network that is wanted.
    pub(super) network: &'a Network,
    pub(super) teacher: Option<&'a Teacher>,
    /// Trained weights that it begins with.
    pub(super) begins: Option<&'a Weights>,
    /// What its architecture is called, where the configuration does not say it.
    pub(super) form: Option<&'a Architecture>,
}

/// What a member ended with.
pub(super) struct Finished {
    pub(super) weights: Weights,
    pub(super) worth: Worth,
    pub(super) merge: Option<MergeReport>,
    pub(super) place: Position,
}
