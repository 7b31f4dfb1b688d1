//! `/api/datasets`, and names of data sets in configurations.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::config::{Bert, Config, Data, DataKind, ImageKind, Model};
use engine::data::text::Token;
use engine::train::ARTIFACTS;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_stream::StreamExt;

use super::app::{App, blocking, helped, helped_while};
use super::error::ApiError;
use super::extract::Asked;
use super::pace;
use crate::datasets::{
    BUILT_IN, Changes, Dataset, LARGEST, NAMES, Origin, PREFIX, Part, RESERVE, is_name,
};
use crate::jobs::Refusal;
use crate::run::RUN;
use crate::scratch;
use crate::store::Run;
use crate::teachers::TEACHER;

/// What an upload may be.
pub(super) const TYPES: &[&str] = &["application/zip", "application/x-tar", "application/gzip"];
/// Most bytes of an upload.
pub(super) const CAP: u64 = 4 << 30;
/// How long a list waits for data sets that nobody has looked at before, and a preview for its own.
const LISTED: Duration = Duration::from_secs(20);
const SHOWN: Duration = Duration::from_secs(600);
/// How often they ask whether that was done.
const POLL: Duration = Duration::from_millis(50);
/// Bytes of an upload between two looks at the free space.
const LOOK: usize = 64 << 20;
/// Uploads that are received or unpacked at the same time.
pub(super) static UPLOADS: Semaphore = Semaphore::const_new(2);
/// Samples of a preview, if the client does not say.
const SAMPLES: usize = 16;

impl App {
    /// A configuration with paths in the place of names. Paths of a client's are refused: they would tell what lies on the server.
    pub(super) fn resolved(&self, config: &Config) -> Result<Config, ApiError> {
        let mut resolved = config.clone();
        let bad = |message: String, field: &str| {
            ApiError::unprocessable("bad_config", message).field(field.to_owned())
        };
        if let (Data::Text(_), Some(_)) = (&config.data, config.examples().vocab) {
            let message = "`text.vocab` names a file of the server, which no client may";
            return Err(
                bad(message.into(), "text.vocab").hint("leave it out: a vocabulary is trained")
            );
        }
        match (config.data.path(), config.data.kind()) {
            (None, _) if config.data.is_built_in() => {}
            (None, _) => {
                return Err(ApiError::unprocessable("bad_config", "`data.path` is missing")
                    .field("data.path")
                    .hint(format!(
                        "name a data set, as {PREFIX}NAME; GET /api/datasets lists them"
                    )));
            }
            (Some(given), kind) => {
                let name = given.strip_prefix(PREFIX).unwrap_or(given);
                let Some((_, is, path)) = self.datasets.find(name) else {
                    let message = format!("there is no data set `{}`", name.escape_debug());
                    return Err(ApiError::unprocessable("bad_config", message)
                        .field("data.path")
                        .hint(format!(
                            "write {PREFIX}NAME; `taper serve --data NAME=PATH` registers one"
                        )));
                };
                // CIFAR may also lie in folders of pictures.
                let pictures = is == DataKind::Images(ImageKind::Folder)
                    && matches!(kind, DataKind::Images(ImageKind::Cifar10 | ImageKind::Cifar100));
                if kind != is && !pictures {
                    let is = serde_json::to_value(is).unwrap_or_default();
                    let message = format!("`data.kind` of data set `{name}` is {is}");
                    return Err(ApiError::unprocessable("bad_config", message).field("data.kind"));
                }
                resolved.data.set_path(path.map(|path| path.to_string_lossy().into_owned()));
            }
        }
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        if let Some(from) = &mut resolved.teacher.from {
            *from = text(match from.strip_prefix(TEACHER) {
                Some(name) => self.teacher_named(name)?,
                None => self.run_named(from, "teacher.from")?,
            });
        }
        if let Model::Bert(Bert { from: Some(from), .. }) = &mut resolved.model {
            // The student that the run kept, not a teacher of it.
            *from = text(self.run_named(from, "model.from")?.join(ARTIFACTS));
        }
        Ok(resolved)
    }

    /// The folder of a teacher that was sent.
    fn teacher_named(&self, name: &str) -> Result<PathBuf, ApiError> {
        self.teachers.find(name).ok_or_else(|| {
            let message = format!("there is no teacher `{}`", name.escape_debug());
            ApiError::unprocessable("bad_config", message)
                .field("teacher.from")
                .hint("GET /api/teachers lists those that were sent")
        })
    }

    /// The directory of the run that a key of a configuration names.
    fn run_named(&self, from: &str, field: &'static str) -> Result<PathBuf, ApiError> {
        let Some(id) = from.strip_prefix(RUN) else {
            let message = format!("`{field}` must name a run of the server");
            let hint = match field {
                "teacher.from" => {
                    format!("write {RUN}ID, or {TEACHER}NAME of a teacher that was sent")
                }
                _ => format!("write {RUN}ID"),
            };
            return Err(ApiError::unprocessable("bad_config", message).field(field).hint(hint));
        };
        let run = self.jobs.store.read(|db| Run::find(db, id))?;
        let run = run.ok_or_else(|| Refusal::NoRun { id: id.into(), field })?;
        Ok(self.jobs.directory(&run))
    }

    /// The name of a configuration's data set.
    pub(super) fn dataset_name(&self, config: &Config) -> String {
        let path = config.data.path();
        path.map_or(BUILT_IN, |path| path.strip_prefix(PREFIX).unwrap_or(path)).to_owned()
    }
}

/// The data sets.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct List {
    datasets: Vec<Dataset>,
}

pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<List>, ApiError> {
    let names = app.datasets.names();
    let begun = Instant::now();
    for (name, _) in &names {
        look(&app, name, LISTED.saturating_sub(begun.elapsed())).await?;
    }
    blocking(&app, move |app| {
        let set = |name: &str| app.datasets.known(name).or_else(|| app.datasets.unseen(name));
        Ok(Json(List { datasets: names.iter().filter_map(|(name, _)| set(name)).collect() }))
    })
    .await
}

/// Sees to it that a data set is looked at, and waits for that as long as `patience` allows. What was looked at before needs neither a
/// process nor a permit; what is not is looked at once, however many ask for it and whether or not they wait.
async fn look(app: &Arc<App>, name: &str, patience: Duration) -> Result<(), ApiError> {
    let begun = Instant::now();
    loop {
        let set = name.to_owned();
        let is_known = move |app: &App| {
            Ok(app.datasets.find(&set).is_none() || app.datasets.known(&set).is_some())
        };
        if blocking(app, is_known).await? || begun.elapsed() >= patience {
            return Ok(());
        }
        if let Some(looking) = app.datasets.begin(name) {
            let (app, set) = (Arc::clone(app), name.to_owned());
            tokio::spawn(async move {
                let look = move |app: &App| {
                    let _looking = looking;
                    Ok(app.datasets.describe(&set))
                };
                // What is wrong with it, it is remembered with.
                drop(helped(&app, look).await);
            });
        }
        sleep(POLL).await;
    }
}

fn unknown(name: &str) -> ApiError {
    ApiError::not_found(format!("there is no data set `{}`", name.escape_debug()))
}

/// What an upload is called.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct UploadQuery {
    /// At most 64 of a-z, 0-9, `-`, `_` and `.`, of which one of the first two begins it and no dot ends it; not that of a device, as
    /// `con` or `nul`.
    pub(super) name: String,
}

pub(super) async fn upload(
    State(app): State<Arc<App>>,
    Asked(UploadQuery { name }): Asked<UploadQuery>,
    body: Body,
) -> Result<Response, ApiError> {
    if !is_name(&name) || app.datasets.find(&name).is_some() {
        let message = match is_name(&name) {
            true => format!("there is a data set `{name}` already"),
            false => NAMES.into(),
        };
        return Err(ApiError::conflict(message).field("name"));
    }
    let receiving = UPLOADS.try_acquire().map_err(|_| {
        ApiError::unavailable("other uploads are being received; try again when they are done")
    })?;
    // Removed when it is dropped, however this ends.
    let file = scratch::file(app.datasets.reception(), "").map_err(full)?;
    receive(body, file.reopen().map_err(full)?, app.datasets.reception()).await?;
    blocking(&app, move |app| {
        // Held until it is unpacked, whether or not the client waits for it.
        let _receiving = receiving;
        let dataset = app
            .datasets
            .admit(&name, file.path())
            .map_err(|error| ApiError::unprocessable("bad_archive", error))?;
        let location = [(header::LOCATION, format!("/api/datasets/{name}/preview"))];
        Ok((StatusCode::CREATED, location, Json(dataset)).into_response())
    })
    .await
}

/// Writes a body to `file`, as long as it comes and the disk has room.
pub(super) async fn receive(
    body: Body,
    file: std::fs::File,
    folder: &std::path::Path,
) -> Result<(), ApiError> {
    let mut writer = tokio::fs::File::from_std(file);
    let mut stream = body.into_data_stream();
    let mut until_look = 0;
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| pace::refusal(&error, "the upload", CAP))?;
        if until_look < piece.len() {
            if fs4::available_space(folder).is_ok_and(|free| free < RESERVE) {
                return Err(full(std::io::ErrorKind::StorageFull.into()));
            }
            until_look = LOOK;
        }
        until_look = until_look.saturating_sub(piece.len());
        writer.write_all(&piece).await.map_err(full)?;
    }
    writer.flush().await.map_err(full)
}

/// The disk does not take an upload.
pub(super) fn full(error: std::io::Error) -> ApiError {
    let message = format!("the upload cannot be kept: {error}");
    match error.kind() {
        std::io::ErrorKind::StorageFull => ApiError::full(message),
        _ => ApiError::internal(message),
    }
}

pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    blocking(&app, move |app| {
        match app.datasets.find(&name) {
            None => return Err(unknown(&name)),
            Some((Origin::Uploaded, ..)) => {}
            Some(_) => return Err(ApiError::conflict("only an uploaded data set can be deleted")),
        }
        let runs = app.jobs.store.read(Run::all)?;
        if let Some(run) =
            runs.iter().find(|run| run.facts.dataset == name && run.state.needs_inputs())
        {
            return Err(ApiError::conflict(format!("run `{}` still uses it", run.id)));
        }
        app.datasets.remove(&name).map_err(|error| {
            ApiError::internal(format!("the data set cannot be removed: {error}"))
        })?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Which samples.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct PreviewQuery {
    #[serde(default)]
    split: Part,
    /// At most so many; 16 if absent.
    count: Option<usize>,
}

/// Some samples, evenly over the part.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Preview {
    /// Of pictures.
    samples: Vec<Sample>,
    /// Of a text: the tokens of each example.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    texts: Vec<Vec<Token>>,
}

/// A sample.
#[derive(Debug, Serialize, JsonSchema)]
struct Sample {
    /// Name of its class.
    label: String,
    /// Its place in the part.
    index: usize,
    /// A PNG of at most 96 pixels.
    url: String,
}

pub(super) async fn preview(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Asked(query): Asked<PreviewQuery>,
) -> Result<Json<Preview>, ApiError> {
    look(&app, &name, SHOWN).await?;
    blocking(&app, move |app| {
        let surveyed = app.datasets.survey(&name).ok_or_else(|| unknown(&name))?;
        let surveyed = surveyed.map_err(|error| ApiError::unprocessable("bad_data", error))?;
        let samples = &surveyed.part(query.split).samples;
        let count = query.count.unwrap_or(SAMPLES).min(samples.len());
        let sample = |k: usize| {
            let (index, label) = samples[k * samples.len() / count];
            let label = surveyed.classes.get(label as usize).cloned().unwrap_or_default();
            let split = query.split.name();
            Sample { label, index, url: format!("/api/datasets/{name}/preview/{split}/{index}") }
        };
        let texts = &surveyed.part(query.split).texts;
        let some = query.count.unwrap_or(SAMPLES).min(texts.len());
        let texts = (0..some).map(|k| texts[k * texts.len() / some].clone()).collect();
        Ok(Json(Preview { samples: (0..count).map(sample).collect(), texts }))
    })
    .await
}

/// Training pictures, a row each: as a test sees them, and as some epochs do.
pub(super) async fn augmented(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Asked(changes): Asked<Changes>,
) -> Result<Response, ApiError> {
    let bounds = [("size", changes.size.unwrap_or(1), 1), ("pad_crop", changes.pad_crop, 0)];
    for (field, value, least) in bounds {
        if !(least..=LARGEST).contains(&value) {
            let message = format!("`{field}` must be {least} to {LARGEST}");
            return Err(ApiError::bad_request(message).field(field));
        }
    }
    helped_while(&app, move |app, awaited| {
        let drawn = app.datasets.augmented(&name, &changes, awaited);
        let drawn = drawn.ok_or_else(|| unknown(&name))?;
        let bytes = drawn.map_err(|error| ApiError::unprocessable("bad_data", error))?;
        Ok(([(header::CONTENT_TYPE, "image/png")], bytes).into_response())
    })
    .await
}

pub(super) async fn thumbnail(
    State(app): State<Arc<App>>,
    Path((name, split, index)): Path<(String, String, String)>,
) -> Result<Response, ApiError> {
    look(&app, &name, SHOWN).await?;
    blocking(&app, move |app| {
        let part = [Part::Train, Part::Test].into_iter().find(|part| part.name() == split);
        let found = part
            .zip(index.parse().ok())
            .and_then(|(part, index)| app.datasets.thumbnail(&name, part, index));
        let path = found.ok_or_else(|| ApiError::not_found("there is no such thumbnail"))?;
        let bytes =
            std::fs::read(path).map_err(|_| ApiError::not_found("there is no such thumbnail"))?;
        Ok(([(header::CONTENT_TYPE, "image/png")], bytes).into_response())
    })
    .await
}
