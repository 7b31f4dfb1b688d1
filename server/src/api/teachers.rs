//! `/api/teachers`: teachers that clients send.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::config::Config;
use schemars::JsonSchema;
use serde::Serialize;

use super::app::{App, blocking};
use super::datasets::{UPLOADS, UploadQuery, full, receive};
use super::error::ApiError;
use super::extract::Asked;
use crate::datasets::{NAMES, is_name};
use crate::scratch;
use crate::store::Run;
use crate::teachers::{SentTeacher, TEACHER};

/// What an upload may be.
pub(super) const TYPES: &[&str] =
    &["application/octet-stream", "application/zip", "application/x-tar", "application/gzip"];

/// The teachers that were sent.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TeacherList {
    teachers: Vec<SentTeacher>,
}

pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<TeacherList>, ApiError> {
    blocking(&app, |app| Ok(Json(TeacherList { teachers: app.teachers.list() }))).await
}

pub(super) async fn upload(
    State(app): State<Arc<App>>,
    Asked(UploadQuery { name }): Asked<UploadQuery>,
    body: Body,
) -> Result<Response, ApiError> {
    if !is_name(&name) || app.teachers.find(&name).is_some() {
        let message = match is_name(&name) {
            true => format!("there is a teacher `{name}` already"),
            false => NAMES.into(),
        };
        return Err(ApiError::conflict(message).field("name"));
    }
    let receiving = UPLOADS.try_acquire().map_err(|_| {
        ApiError::unavailable("other uploads are being received; try again when they are done")
    })?;
    // Removed when it is dropped, however this ends.
    let file = scratch::file(app.teachers.reception(), "").map_err(full)?;
    receive(body, file.reopen().map_err(full)?, app.teachers.reception()).await?;
    blocking(&app, move |app| {
        // Held until it is read, whether or not the client waits for it.
        let _receiving = receiving;
        let teacher = app
            .teachers
            .admit(&name, file.path())
            .map_err(|error| ApiError::unprocessable("bad_teacher", error))?;
        Ok((StatusCode::CREATED, Json(teacher)).into_response())
    })
    .await
}

pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    blocking(&app, move |app| {
        if app.teachers.find(&name).is_none() {
            let message = format!("there is no teacher `{}`", name.escape_debug());
            return Err(ApiError::not_found(message));
        }
        let named = Some(format!("{TEACHER}{name}"));
        let uses = |run: &&Run| {
            let config = Config::from_toml(&run.config, "configuration");
            run.state.needs_inputs() && config.is_ok_and(|config| config.teacher.from == named)
        };
        if let Some(run) = app.jobs.store.read(Run::all)?.iter().find(uses) {
            return Err(ApiError::conflict(format!("run `{}` still uses it", run.id)));
        }
        app.teachers.remove(&name).map_err(|error| {
            ApiError::internal(format!("the teacher cannot be removed: {error}"))
        })?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}
