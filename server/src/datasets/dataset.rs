//! The name of a data set, and what answers contain of it.

use engine::config::DataKind;
use engine::data::Account;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names;

/// The set that is always there.
pub(crate) const BUILT_IN: &str = "procedural";
/// What a name of a data set begins with in a configuration.
pub(crate) const PREFIX: &str = "dataset:";
/// Where a data set comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Origin {
    /// Part of the program.
    Builtin,
    /// `--data NAME=PATH`.
    Registered,
    /// Sent by a client.
    Uploaded,
}

/// A data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Dataset {
    pub(crate) name: String,
    /// What `data.kind` must be.
    pub(crate) kind: DataKind,
    /// Of its files; 0 for the built-in set.
    pub(crate) bytes: u64,
    /// Pictures, or sentences or questions of a text.
    pub(crate) train_count: u64,
    /// 0: training splits the other part.
    pub(crate) test_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) classes: Option<Vec<ClassCount>>,
    pub(crate) source: Origin,
    /// What was found in it, what was left out and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<Account>,
    /// The same in sentences.
    pub(crate) read: Vec<String>,
    /// Why it cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// Training images of a class; test images where there are no others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ClassCount {
    pub(crate) label: String,
    pub(crate) count: u64,
}

/// What [`is_name`] says, for people.
pub(crate) const NAMES: &str = "a name has at most 64 of a-z, 0-9, -, _ and ., begins with one of the first two, does not end with a dot, and is not that of a device, as con, nul, aux or com1";

/// A name that is safe as a folder of any system, in an address and in a configuration.
pub(crate) fn is_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=64).contains(&name.len())
        && name.starts_with(first)
        && name.chars().all(|c| first(c) || "-_.".contains(c))
        && names::trouble(name).is_none()
}
