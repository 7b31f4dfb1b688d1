//! A run as lists show it.

use engine::config::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::run::State;
use crate::store::Run;

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RunSummary {
    /// Made by the server.
    pub(crate) id: String,
    /// For people.
    pub(crate) name: String,
    /// Words that people put on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    /// What people note of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) notes: String,
    /// Where it stands.
    pub(crate) state: State,
    /// Seconds since 1970.
    pub(crate) created: f64,
    /// When its first process was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) started: Option<f64>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finished: Option<f64>,
    /// SHA-256 of the configuration that it is trained by.
    pub(crate) config_hash: String,
    /// The preset it was made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) preset: Option<String>,
    /// `model.arch`.
    pub(crate) arch: String,
    /// Name of the data set.
    pub(crate) dataset: String,
    /// What is trained.
    pub(crate) methods: Vec<Method>,
    /// For each of these.
    pub(crate) seeds: Vec<u64>,
    /// The adapter that trains it, or did last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) adapter: Option<String>,
    /// `discrete`, `integrated`, `virtual`, `cpu`, `other`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) adapter_kind: Option<String>,
    /// The stage under way; the first, where devices train several members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stage: Option<String>,
    /// Whose stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) member: Option<String>,
    /// Optimiser steps taken.
    pub(crate) done_steps: u64,
    /// Optimiser steps in all.
    pub(crate) total_steps: u64,
    /// Share that is done, from 0 to 1, weighed by multiply-adds.
    pub(crate) progress: f64,
    /// Seconds that are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) eta_seconds: Option<f64>,
    /// Best test accuracy of a student so far, in percent. It chooses nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) best_accuracy: Option<f64>,
    /// The student that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) best_member: Option<String>,
    /// Why it failed, or is paused where nobody asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// Place in the queue, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) position: Option<usize>,
    /// Processes since its last checkpoint.
    pub(crate) attempts: u32,
}

impl RunSummary {
    /// Of a row; `position` is that in the queue.
    pub(crate) fn of(run: &Run, position: Option<usize>) -> RunSummary {
        let (view, facts) = (&run.view, &run.facts);
        let (done_steps, total_steps) = view.steps();
        let alive = !run.slots.is_empty();
        let now = view.now().next().filter(|_| alive);
        let best = view.best();
        RunSummary {
            id: run.id.clone(),
            name: run.name.clone(),
            tags: run.labels.tags.clone(),
            notes: run.labels.notes.clone(),
            state: run.state,
            created: run.created,
            started: run.started,
            finished: run.finished,
            config_hash: run.config_hash.clone(),
            preset: run.preset.clone(),
            arch: facts.arch.clone(),
            dataset: facts.dataset.clone(),
            methods: facts.methods.clone(),
            seeds: facts.seeds.clone(),
            adapter: view.adapter.clone(),
            adapter_kind: view.adapter_kind.clone(),
            stage: now.map(|(_, stage)| stage.into()),
            member: now.map(|(member, _)| member.into()),
            done_steps,
            total_steps,
            progress: if run.state == State::Done { 1.0 } else { view.share() },
            eta_seconds: if alive { view.eta() } else { None },
            best_accuracy: best.map(|(_, accuracy)| accuracy),
            best_member: best.map(|(member, _)| member.into()),
            error: run.error.clone(),
            position,
            attempts: run.attempts,
        }
    }
}
