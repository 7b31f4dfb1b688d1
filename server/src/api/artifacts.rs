//! Trained models to take away, and what the processes printed. Clients name files of a fixed list and members that the run has; neither is
//! ever a path.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use engine::disk::SystemDisk;
use engine::formats::{FormatError, ModelConfig, ModelFolder, folder, form::Form, sums};
use engine::step::PlanDocument;
use engine::train::ARTIFACTS;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::app::{App, blocking, helped};
use super::error::ApiError;
use super::extract::Asked;
use super::files::{self, Item};
use crate::export;
use crate::names;
use crate::run::{MemberState, usage};
use crate::scratch;
use crate::store::Run;

/// Bytes of a process's output, if the client does not say, and at most.
const TAIL: u64 = 64 << 10;
const MOST_TAIL: u64 = 4 << 20;

/// Whose model.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct MemberQuery {
    /// Name of a member or teacher; absent: the student that the run kept.
    member: Option<String>,
}

/// Whose model, and in which form.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ZipQuery {
    /// Name of a member or teacher; absent: the student that the run kept.
    member: Option<String>,
    /// Whose form the folder has.
    #[serde(default)]
    form: Form,
    /// Weights in half precision.
    #[serde(default)]
    half: bool,
    /// The network in 8-bit whole numbers as well, by pictures of the run.
    #[serde(default)]
    int8: bool,
}

/// The files of a model.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Artifacts {
    files: Vec<Item>,
    /// The forms that it can be downloaded in; none where no model is there yet.
    forms: Vec<Offer>,
}

/// A form of a model.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Offer {
    form: Form,
    /// Why the form cannot say the model; absent: it can.
    refused: Option<String>,
}

/// The forms of a model whose description is in `folder`.
fn forms(folder: &std::path::Path) -> Vec<Offer> {
    let config = ModelConfig::read_on(&SystemDisk, folder).ok();
    let refused = |form| match &config {
        Some(config) => {
            engine::formats::export::check(config, form).err().map(|error| error.to_string())
        }
        None => Some(format!("its {} cannot be read", folder::CONFIG)),
    };
    Form::ALL.map(|form| Offer { form, refused: refused(form) }).into()
}

/// What a model says of itself.
fn config(folder: &std::path::Path) -> Result<ModelConfig, ApiError> {
    ModelConfig::read_on(&SystemDisk, folder).map_err(|error| match error {
        // A path of the server's is nobody's business.
        FormatError::Sum { problem, .. } => {
            ApiError::internal(format!("{} {problem}", folder::CONFIG))
        }
        error => ApiError::internal(error.to_string()),
    })
}

/// The folder of a model.
fn place(app: &App, run: &Run, member: Option<&str>) -> Result<PathBuf, ApiError> {
    let Some(name) = member else { return Ok(app.jobs.directory(run).join(ARTIFACTS)) };
    let folder = member_folder(app, run, name)?;
    Ok(if known(run, name)?.method.is_some() { folder.join(ARTIFACTS) } else { folder })
}

/// The folder of a member or a teacher.
///
/// # Errors
/// The run has none of this name.
pub(super) fn member_folder(app: &App, run: &Run, name: &str) -> Result<PathBuf, ApiError> {
    let directory = app.jobs.directory(run);
    let known = known(run, name)?;
    Ok(match known.method {
        Some(_) => directory.join("members").join(&known.member),
        None => directory.join("teachers").join(known.seed.to_string()),
    })
}

/// The member or teacher of this name.
fn known<'a>(run: &'a Run, name: &str) -> Result<&'a MemberState, ApiError> {
    let known = run.view.members.iter().find(|member| member.member == name);
    known.ok_or_else(|| {
        ApiError::not_found(format!("the run has no member `{}`", name.escape_debug()))
            .field("member")
    })
}

/// Whether the run has kept a student.
pub(super) fn is_there(app: &App, run: &Run) -> bool {
    app.jobs.directory(run).join(ARTIFACTS).join(sums::NAME).is_file()
}

/// The folder of a model, and its files that are there.
fn model(app: &App, run: &Run, member: Option<&str>) -> Result<(PathBuf, Vec<Item>), ApiError> {
    let folder = place(app, run, member)?;
    match files::list(&folder) {
        Ok(items) => Ok((folder, items)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ApiError::not_found("no model is there yet"))
        }
        Err(error) => Err(ApiError::internal(format!("the model cannot be read: {error}"))),
    }
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Asked(query): Asked<MemberQuery>,
) -> Result<Json<Artifacts>, ApiError> {
    blocking(&app, move |app| {
        let run = app.run(&id)?;
        // A file that has not been written yet is no error.
        match model(app, &run, query.member.as_deref()) {
            Ok((folder, files)) => Ok(Json(Artifacts { files, forms: forms(&folder) })),
            Err(_) if query.member.is_none() => {
                Ok(Json(Artifacts { files: Vec::new(), forms: Vec::new() }))
            }
            Err(error) => Err(error),
        }
    })
    .await
}

pub(super) async fn file(
    State(app): State<Arc<App>>,
    Path((id, name)): Path<(String, String)>,
    Asked(query): Asked<MemberQuery>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if files::NAMES.iter().all(|(known, _)| *known != name) {
        let known: Vec<&str> = files::NAMES.iter().map(|(name, _)| *name).collect();
        return Err(ApiError::not_found("a model has no file of this name")
            .hint(format!("its files are {}", known.join(", "))));
    }
    let (folder, found) =
        blocking(&app, move |app| model(app, &app.run(&id)?, query.member.as_deref())).await?;
    let found = found.into_iter().find(|item| item.name == name);
    let item = found.ok_or_else(|| ApiError::not_found(format!("the model has no {name}")))?;
    files::send(folder, item, &method, &headers).await
}

/// Compiled anew from `config.json`, which is quick; the weights are `artifacts/model.safetensors`.
pub(super) async fn plan(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Asked(query): Asked<MemberQuery>,
) -> Result<Json<PlanDocument>, ApiError> {
    blocking(&app, move |app| {
        let (place, files) = model(app, &app.run(&id)?, query.member.as_deref())?;
        if files.iter().all(|item| item.name != folder::CONFIG) {
            return Err(ApiError::not_found("no model is there yet"));
        }
        config(&place)?.plan().map(Json).map_err(|error| {
            ApiError::unprocessable("too_large", format!("no browser runs this model: {error}"))
        })
    })
    .await
}

pub(super) async fn zip(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Asked(query): Asked<ZipQuery>,
) -> Result<Response, ApiError> {
    let ZipQuery { member, form, half, int8 } = query;
    let kinds = [(form != Form::Taper, form.name()), (half, "half"), (int8, "int8")];
    let asked = kinds.into_iter().filter(|(asked, _)| *asked).map(|(_, kind)| kind.to_owned());
    let parts: Vec<String> = member.clone().into_iter().chain(asked).collect();
    let stem = |run: &Run| [vec![names::file_stem(&run.name, &run.id)], parts].concat().join("-");
    if (form, half, int8) == (Form::Taper, false, false) {
        let found = blocking(&app, move |app| {
            let run = app.run(&id)?;
            let found = model(app, &run, member.as_deref())?;
            Ok((run, found))
        });
        let (run, (folder, items)) = found.await?;
        return files::zip(folder, items, stem(&run)).await;
    }
    let made = helped(&app, move |app| {
        let run = app.run(&id)?;
        let (folder, _) = model(app, &run, member.as_deref())?;
        let made = write(app, &folder, export::Asked { form, half, int8 })?;
        Ok((run, made))
    });
    let (run, (folder, items)) = made.await?;
    files::zip(folder, items, stem(&run)).await
}

/// The model in `folder` in another form, in a folder of its own that goes when it is let fall.
fn write(
    app: &App,
    folder: &std::path::Path,
    asked: export::Asked,
) -> Result<(TempDir, Vec<Item>), ApiError> {
    let config = config(folder)?;
    engine::formats::export::check(&config, asked.form)
        .map_err(|error| ApiError::unprocessable("no_such_form", error.to_string()))?;
    let failed = |error: &dyn std::fmt::Display| {
        ApiError::internal(format!("the model cannot be written: {error}"))
    };
    let place = scratch::folder(&app.jobs.folder).map_err(|error| failed(&error))?;
    let model = ModelFolder::read(folder).map_err(|error| failed(&error))?;
    export::write(folder, model, asked, place.path())
        .map_err(|error| ApiError::unprocessable("no_such_numbers", format!("{error:#}")))?;
    let items = files::list(place.path()).map_err(|error| failed(&error))?;
    Ok((place, items))
}

/// Which output.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct OutputQuery {
    /// `stdout` or `stderr`; the latter if absent.
    #[serde(default)]
    stream: Output,
    /// So many bytes of its end; 64 KiB if absent.
    tail: Option<u64>,
}

/// What a process prints to.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Output {
    Stdout,
    #[default]
    Stderr,
}

pub(super) async fn output(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Asked(query): Asked<OutputQuery>,
) -> Result<Response, ApiError> {
    blocking(&app, move |app| {
        let run = app.run(&id)?;
        let name = match query.stream {
            Output::Stdout => "stdout.log",
            Output::Stderr => "stderr.log",
        };
        let tail = query.tail.unwrap_or(TAIL).min(MOST_TAIL);
        let bytes = usage::end_of(&app.jobs.directory(&run).join(name), tail)
            .map_err(|error| ApiError::internal(format!("the output cannot be read: {error}")))?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
    })
    .await
}
