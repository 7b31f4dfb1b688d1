//! `/api/runs`: list, show, make, and tell what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::config::Config;
use engine::data::Account;
use engine::data::account::Yardsticks;
use engine::nn::NetworkSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::app::{App, blocking, helped};
use super::configs::{NewRun, changed};
use super::error::ApiError;
use super::extract::{self, Asked, Body, Nothing};
use super::{artifacts, files, preflight};
use crate::jobs::RunSummary;
use crate::names;
use crate::run::{BlockState, Facts, Input, MemberState, StageState, View, compare};
use crate::store::{self, Run};

/// Most runs that are compared.
const COMPARED: usize = 100;

/// All runs.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RunList {
    /// Newest first.
    runs: Vec<RunSummary>,
    /// Ids, next one first.
    queue: Vec<String>,
}

/// A run with everything that is known of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RunDetail {
    #[serde(flatten)]
    summary: RunSummary,
    /// As its maker gave it, with every default.
    config: Config,
    stages: Vec<StageState>,
    members: Vec<MemberState>,
    blocks: Vec<BlockState>,
    /// What was found in the data, what is used, what was left out and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Account>,
    /// The same in sentences.
    read: Vec<String>,
    teacher: NetworkSize,
    student: NetworkSize,
    /// Whether a trained model can be downloaded.
    artifacts: bool,
    /// Whether `resume` takes it up.
    resumable: bool,
    /// What the user should know.
    warnings: Vec<String>,
    command: Command,
}

/// The same run by other ways.
#[derive(Debug, Serialize, JsonSchema)]
struct Command {
    /// In a terminal on a machine with the program.
    cli: String,
    /// From any machine, by this server.
    curl: String,
}

/// A copy with changes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Changes {
    /// As `{"tune.lr": 0.01}`.
    set: Map<String, Value>,
    /// For people; absent: made of the old one.
    name: Option<String>,
    /// Whether it is queued at once.
    start: bool,
}

/// What people call a run and write on it; what is absent stays.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Label {
    /// One line, at most 200 letters.
    name: Option<String>,
    /// At most 12, of at most 40 letters each.
    tags: Option<Vec<String>>,
    /// At most 4,000 letters.
    notes: Option<String>,
}

/// A place in the queue.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QueuePlace {
    /// Id of a queued run; null: the end.
    before: Option<String>,
}

/// The queue.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Queue {
    /// Ids, next one first.
    queue: Vec<String>,
}

pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<RunList>, ApiError> {
    blocking(&app, |app| {
        let (runs, queue) = app
            .jobs
            .store
            .read(|db| -> rusqlite::Result<_> { Ok((Run::all(db)?, Run::queued_ids(db)?)) })?;
        let summary = |run: &Run| app.jobs.summary(run, queue.iter().position(|id| *id == run.id));
        Ok(Json(RunList { runs: runs.iter().map(summary).collect(), queue: queue.clone() }))
    })
    .await
}

pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<RunDetail>, ApiError> {
    blocking(&app, move |app| {
        let run = app.run(&id)?;
        let position = app.jobs.store.read(|db| run.position(db))?;
        let config = Config::from_toml(&run.config, "configuration")?;
        let cli = format!("taper run {}.toml --out runs/{}", run.id, run.id);
        let set = serde_json::json!({ "config": &config, "name": run.name }).to_string();
        let curl = format!(
            "curl -H 'Content-Type: application/json' -d '{}' http://HOST/api/runs",
            set.replace('\'', "'\\''")
        );
        Ok(Json(RunDetail {
            summary: app.jobs.summary(&run, position),
            config,
            artifacts: artifacts::is_there(app, &run),
            resumable: run.state.is_resumable(),
            stages: run.view.stages,
            members: run.view.members,
            blocks: run.view.blocks,
            read: run.view.account.iter().flat_map(Account::lines).collect(),
            account: run.view.account,
            teacher: run.facts.teacher,
            student: run.facts.student,
            warnings: run.view.warnings,
            command: Command { cli, curl },
        }))
    })
    .await
}

pub(super) async fn config(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    blocking(&app, move |app| {
        let run = app.run(&id)?;
        let name = format!("{}.toml", names::file_stem(&run.name, &run.id));
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("application/toml")),
            (header::CONTENT_DISPOSITION, files::attachment(&name)),
        ];
        Ok((headers, run.config).into_response())
    })
    .await
}

/// An id: short, and safe in a path and in an address.
fn new_id() -> Result<String, ApiError> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0u8; 10];
    getrandom::fill(&mut bytes)
        .map_err(|error| ApiError::internal(format!("no random numbers: {error}")))?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

/// A name for people: one line, not too long.
fn name(given: Option<String>, otherwise: impl FnOnce() -> String) -> Result<String, ApiError> {
    let name = given.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(otherwise);
    match names::trouble_of_title(&name) {
        Some(problem) => {
            let message = format!("the name {problem}");
            Err(ApiError::unprocessable("bad_name", message).field("name"))
        }
        None => Ok(name),
    }
}

/// Makes a run, once it was looked at.
fn make(
    app: &App,
    config: &Config,
    preset: Option<String>,
    name: String,
    start: bool,
) -> Result<Run, ApiError> {
    let resolved = app.resolved(config)?;
    let findings =
        app.examiner.examine(&resolved, false, &|| true).map_err(ApiError::unavailable)?;
    let shown = preflight::Preflight::of(app, config, findings.clone());
    if let Some(problem) = shown.problems.into_iter().next() {
        return Err(problem.into());
    }
    let (config, resolved) = (&findings.settled(config), findings.settled(&resolved));
    let id = new_id()?;
    let widths = findings.widths();
    let new = store::New {
        id: id.clone(),
        name,
        config: config.to_toml(),
        config_hash: resolved.hash(),
        preset,
        view: View { account: findings.account, ..View::new(config, &findings.plans, &widths) },
        facts: Facts {
            arch: config.model.arch().into(),
            dataset: app.dataset_name(config),
            methods: config.methods.clone(),
            seeds: config.seeds.clone(),
            student: findings.student,
            teacher: findings.teacher.unwrap_or_default(),
        },
    };
    let run = app.jobs.create(&new, &resolved.to_toml())?;
    if start { Ok(app.jobs.tell(&id, Input::Start, "start")?) } else { Ok(run) }
}

/// 201, with where it is.
fn made(app: &App, run: &Run) -> Result<Response, ApiError> {
    let position = app.jobs.store.read(|db| run.position(db))?;
    let location = [(header::LOCATION, format!("/api/runs/{}", run.id))];
    Ok((StatusCode::CREATED, location, Json(app.jobs.summary(run, position))).into_response())
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Body(new): Body<NewRun>,
) -> Result<Response, ApiError> {
    helped(&app, move |app| {
        let config = new.config(app)?;
        let otherwise = || match &new.preset {
            Some(preset) => preset.clone(),
            None => format!("{} on {}", config.model.arch(), app.dataset_name(&config)),
        };
        let name = name(new.name.clone(), otherwise)?;
        let run = make(app, &config, new.preset.clone(), name, new.start.unwrap_or(true))?;
        made(app, &run)
    })
    .await
}

pub(super) async fn clone(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Body(changes): Body<Changes>,
) -> Result<Response, ApiError> {
    helped(&app, move |app| {
        let old = app.run(&id)?;
        let config = Config::from_toml(&old.config, "configuration")?;
        let config = changed(config.draft(), &changes.set)?;
        let name = name(changes.name, || format!("{} (copy)", old.name))?;
        let run = make(app, &config, old.preset, name, changes.start)?;
        made(app, &run)
    })
    .await
}

pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    blocking(&app, move |app| {
        app.jobs.delete(&id)?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

pub(super) async fn label(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Body(label): Body<Label>,
) -> Result<Json<RunSummary>, ApiError> {
    blocking(&app, move |app| {
        let refused = |field: &str, problem: String| {
            let message = format!("the {field} {problem}");
            ApiError::unprocessable(&format!("bad_{field}"), message).field(field)
        };
        let old = app.run(&id)?;
        let name = name(label.name, || old.name.clone())?;
        let tags = label.tags.unwrap_or(old.labels.tags);
        if let Some(problem) = names::trouble_of_tags(&tags) {
            return Err(refused("tags", problem));
        }
        let notes = label.notes.unwrap_or(old.labels.notes);
        if let Some(problem) = names::trouble_of_notes(&notes) {
            return Err(refused("notes", problem));
        }
        let labels = store::Labels { tags, notes };
        let run = app.jobs.label(&id, |run| (run.name, run.labels) = (name, labels))?;
        let position = app.jobs.store.read(|db| run.position(db))?;
        Ok(Json(app.jobs.summary(&run, position)))
    })
    .await
}

async fn tell(
    app: &Arc<App>,
    id: String,
    input: Input,
    verb: &'static str,
) -> Result<Json<RunSummary>, ApiError> {
    blocking(app, move |app| {
        let run = app.jobs.tell(&id, input, verb)?;
        let position = app.jobs.store.read(|db| run.position(db))?;
        Ok(Json(app.jobs.summary(&run, position)))
    })
    .await
}

macro_rules! verbs {
    ($($verb:ident $input:ident $words:literal),*) => {$(
        pub(super) async fn $verb(
            State(app): State<Arc<App>>,
            Path(id): Path<String>,
            Body(Nothing {}): Body<Nothing>,
        ) -> Result<Json<RunSummary>, ApiError> {
            tell(&app, id, Input::$input, $words).await
        }
    )*};
}

verbs!(
    start Start "be started",
    pause Pause "be paused",
    resume Resume "be resumed",
    stop Stop "be stopped",
    cancel Cancel "be cancelled"
);

pub(super) async fn reorder(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Body(place): Body<QueuePlace>,
) -> Result<Json<Queue>, ApiError> {
    blocking(&app, move |app| {
        app.run(&id)?;
        let store = &app.jobs.store;
        let moved = store.write(|db| Run::reorder(db, &id, place.before.as_deref()))?;
        if !moved {
            return Err(ApiError::conflict("both runs must be in the queue").field("before"));
        }
        app.jobs.note_queue();
        app.jobs.say_queue();
        app.jobs.wake();
        Ok(Json(Queue { queue: store.read(Run::queued_ids)? }))
    })
    .await
}

/// Which runs.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct CompareQuery {
    /// At most 100 ids, with commas; what is named twice counts once.
    runs: String,
}

/// Runs side by side.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Compared {
    /// A method and configuration, over its seeds.
    rows: Vec<compare::Row>,
    /// Their teachers.
    teachers: Vec<compare::Row>,
    /// Every two methods of a configuration, over the seeds that both have.
    paired: Vec<compare::Paired>,
    /// What counting alone reaches on the held-out text that all of them have; none for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    yardsticks: Option<Yardsticks>,
    /// Pairs of runs that trained the same members, of one configuration and seed.
    repeated: Vec<Repeated>,
    /// Keys in which the configurations differ.
    differences: Vec<Difference>,
}

/// Two runs that trained the same members.
#[derive(Debug, Serialize, JsonSchema)]
struct Repeated {
    /// Id of the run that counts, which was named first.
    taken: String,
    /// Id of the run whose members are left out.
    left: String,
    /// These members and teachers.
    members: Vec<String>,
}

impl From<compare::Repeated> for Repeated {
    fn from(repeated: compare::Repeated) -> Self {
        // Directories of runs have their ids for names.
        let id = |path: &std::path::Path| {
            path.file_name().unwrap_or_default().to_string_lossy().into_owned()
        };
        let compare::Repeated { taken, left, members } = repeated;
        Repeated { taken: id(&taken), left: id(&left), members }
    }
}

/// A key in which configurations differ.
#[derive(Debug, Serialize, JsonSchema)]
struct Difference {
    key: String,
    /// TOML by the run's id; absent where the run has none.
    values: BTreeMap<String, String>,
}

pub(super) async fn compare(
    State(app): State<Arc<App>>,
    Asked(query): Asked<CompareQuery>,
) -> Result<Json<Compared>, ApiError> {
    blocking(&app, move |app| {
        let ids = extract::names(Some(&query.runs)).unwrap_or_default();
        if ids.is_empty() {
            return Err(ApiError::bad_request("name runs, as `?runs=a,b`").field("runs"));
        }
        if ids.len() > COMPARED {
            let message =
                format!("{} runs are too many to compare; at most {COMPARED} are", ids.len());
            return Err(ApiError::unprocessable("too_many", message).field("runs"));
        }
        let runs: Vec<Run> = ids.iter().map(|id| app.run(id)).collect::<Result<_, _>>()?;
        let folders: Vec<_> = runs.iter().map(|run| app.jobs.directory(run)).collect();
        let compared = compare::compare(&folders)
            .map_err(|error| ApiError::internal(format!("the runs cannot be compared: {error}")))?;
        let mut flat = BTreeMap::new();
        for run in &runs {
            let config = Config::from_toml(&run.config, "configuration")?;
            flat.insert(run.id.clone(), config.flat());
        }
        let keys: BTreeSet<&String> = flat.values().flat_map(BTreeMap::keys).collect();
        let difference = |key: &String| {
            let value = |(id, of): (&String, &BTreeMap<String, String>)| {
                of.get(key).map(|value| (id.clone(), value.clone()))
            };
            let values: BTreeMap<String, String> = flat.iter().filter_map(value).collect();
            let distinct: BTreeSet<&String> = values.values().collect();
            (distinct.len() > 1 || values.len() < flat.len())
                .then(|| Difference { key: key.clone(), values })
        };
        let differences = keys.into_iter().filter_map(difference).collect();
        let repeated = compared.repeated.into_iter().map(Repeated::from).collect();
        let compare::Comparison { rows, teachers, paired, yardsticks, .. } = compared;
        Ok(Json(Compared { rows, teachers, paired, yardsticks, repeated, differences }))
    })
    .await
}
