//! Looking at a configuration before it is accepted.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use engine::config::{self, Config};
use engine::data::Account;
use engine::nn::NetworkSize;
use schemars::JsonSchema;
use serde::Serialize;

use super::app::{App, helped_while};
use super::configs::NewRun;
use super::error::ApiError;
use super::extract::Body;
use crate::figures::bytes;
use crate::jobs::Adapter;
use crate::run::Estimate;
use crate::run::examine::{DataFacts, Findings, Pair, Problem, StageNeeds};
use crate::store::Run;

/// What a configuration would take.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Preflight {
    /// Whether it would be accepted.
    pub(super) ok: bool,
    /// Why it would not.
    pub(super) problems: Vec<Problem>,
    student: NetworkSize,
    #[serde(skip_serializing_if = "Option::is_none")]
    teacher: Option<NetworkSize>,
    /// The linear pairs that WIN inserts.
    pairs: Vec<Pair>,
    stages: Vec<StageNeeds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adapter: Option<AdapterFacts>,
    disk: Disk,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<DataFacts>,
    /// What was found in the data, what is used, what was left out and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Account>,
    /// The same in sentences.
    read: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate: Option<Estimate>,
    /// Where it departs from the paper.
    deviations: Vec<String>,
    /// What is taken over from a teacher from elsewhere, and what has to be assumed of it.
    notes: Vec<String>,
}

/// The adapter that it would be trained on.
#[derive(Debug, Serialize, JsonSchema)]
struct AdapterFacts {
    name: String,
    kind: String,
    /// Largest buffer, in bytes.
    limit: u64,
}

impl AdapterFacts {
    /// Of the best adapter that `device` means.
    fn of(app: &App, device: &str) -> Result<AdapterFacts, Problem> {
        let unknown =
            |error| Problem::new("device", format!("the adapters cannot be listed: {error}"));
        let facts = |adapter: Adapter| AdapterFacts {
            name: adapter.name,
            kind: adapter.kind,
            limit: adapter.limits.buffer_bytes,
        };
        if let Some(adapter) = app.adapters.meant(device).map_err(unknown)?.into_iter().next() {
            return Ok(facts(adapter));
        }
        let adapters = app.adapters.list().map_err(unknown)?;
        let line = |adapter: &Adapter| format!("{}: {}", adapter.index, adapter.name);
        let list: Vec<_> = adapters.iter().map(line).collect();
        let list = if list.is_empty() { "none at all".into() } else { list.join(", ") };
        let message = format!("no adapter answers to `{device}`; there is {list}");
        Err(Problem::new("device", message))
    }
}

/// Room for checkpoints and models.
#[derive(Debug, Serialize, JsonSchema)]
struct Disk {
    /// Bytes that the run would take.
    needed: u64,
    /// Bytes that are free where runs are kept.
    free: u64,
}

impl Preflight {
    pub(super) fn of(app: &App, config: &Config, findings: Findings) -> Preflight {
        let stages = findings.stages();
        let mut problems: Vec<Problem> = findings.problem.into_iter().collect();
        let adapter = match AdapterFacts::of(app, &config.device) {
            Ok(facts) => Some(facts),
            Err(problem) => {
                // The process that looked may have said so already.
                if problems.iter().all(|known| known.field != problem.field) {
                    problems.push(problem);
                }
                None
            }
        };
        let disk = Disk {
            needed: findings.disk,
            free: fs4::available_space(&app.data_dir).unwrap_or(u64::MAX),
        };
        if disk.needed > disk.free {
            let message = format!(
                "the run writes {} of checkpoints and models, and {} are free where runs are kept",
                bytes(disk.needed),
                bytes(disk.free)
            );
            problems.push(Problem {
                field: None,
                message,
                hint: Some("free some space, or start the server with another --data-dir".into()),
            });
        }
        Preflight {
            ok: problems.is_empty(),
            problems,
            student: findings.student,
            teacher: findings.teacher,
            pairs: findings.pairs,
            stages,
            adapter,
            disk,
            data: findings.data,
            read: findings.account.iter().flat_map(Account::lines).collect(),
            account: findings.account,
            estimate: findings.estimate,
            deviations: findings.deviations,
            notes: findings.notes,
        }
    }
}

pub(super) async fn show(
    State(app): State<Arc<App>>,
    Body(new): Body<NewRun>,
) -> Result<Json<Preflight>, ApiError> {
    helped_while(&app, move |app, awaited| {
        let refused = |error: ApiError| {
            let findings = Findings { problem: Some(error.into_problem()), ..Findings::default() };
            Preflight::of(app, &Config::default(), findings)
        };
        let config = match new.config(app) {
            Ok(config) => config,
            Err(error) => return Ok(Json(refused(error))),
        };
        let resolved = match app.resolved(&config) {
            Ok(resolved) => resolved,
            Err(error) => return Ok(Json(refused(error))),
        };
        let findings =
            app.examiner.examine(&resolved, true, awaited).map_err(ApiError::unavailable)?;
        Ok(Json(Preflight::of(app, &config, findings)))
    })
    .await
}

/// Finds out what the configurations of runs come to that were taken up from their directories, as their makers did.
pub(super) fn examine_adopted(app: &App, ids: &[String]) {
    for id in ids {
        let looked = || -> Result<(), ApiError> {
            let Some(run) = app.jobs.store.read(|db| Run::find(db, id))? else { return Ok(()) };
            let path = app.jobs.directory(&run).join("config.toml");
            let config = config::read(&path)?;
            let findings =
                app.examiner.examine(&config, false, &|| true).map_err(ApiError::unavailable)?;
            // Without its data the networks are those for what such data usually are.
            if findings.data.is_some() {
                let widths = findings.widths();
                app.jobs.examined(id, findings.student, findings.teacher, &widths)?;
            }
            Ok(())
        };
        if let Err(error) = looked() {
            tracing::warn!(run = %id, error = error.message(), "cannot be looked at");
        }
    }
}
