//! What the members of a run say of its test pictures, these pictures, and how long an answer takes.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use engine::config::Config;
use engine::disk::SystemDisk;
use engine::formats::verdicts;
use engine::verdicts::{Review, Verdicts, Versus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::app::{App, blocking, helped, helped_while};
use super::artifacts::member_folder;
use super::error::ApiError;
use super::extract::{self, Asked, Body, Nothing};
use crate::run::pictures::{self, Picture};
use crate::store::Run;

/// Pictures that are asked for at once, at most.
const PICTURES: usize = 64;

/// Whose answers.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ReviewQuery {
    /// Name of a member or teacher.
    member: String,
}

/// What a member or a teacher said in its last test; 404 as long as that is to come, for runs on text, and for those of earlier versions.
fn verdicts(app: &App, run: &Run, member: &str) -> Result<Verdicts, ApiError> {
    let folder: PathBuf = member_folder(app, run, member)?;
    let read = verdicts::read_on(&SystemDisk, &folder);
    let read = read.map_err(|error| ApiError::internal(format!("{member}: {error}")))?;
    read.ok_or_else(|| {
        ApiError::not_found(format!("{member} has no answers to test pictures"))
            .hint("they are there once it is done, if it reads pictures; `taper eval` has those of earlier runs")
    })
}

pub(super) async fn review(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Asked(ReviewQuery { member }): Asked<ReviewQuery>,
) -> Result<Json<Review>, ApiError> {
    blocking(&app, move |app| Ok(Json(verdicts(app, &app.run(&id)?, &member)?.review()))).await
}

/// Which two.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct VersusQuery {
    /// Name of a member or teacher.
    first: String,
    /// Another one.
    second: String,
    /// Id of the run that the second is of; absent: the same one.
    of: Option<String>,
}

pub(super) async fn versus(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Asked(query): Asked<VersusQuery>,
) -> Result<Json<Versus>, ApiError> {
    blocking(&app, move |app| {
        let VersusQuery { first, second, of } = query;
        let run = app.run(&id)?;
        let other = of.map(|of| app.run(&of)).transpose()?;
        let one = verdicts(app, &run, &first)?;
        let other = verdicts(app, other.as_ref().unwrap_or(&run), &second)?;
        one.versus(&other).map(Json).ok_or_else(|| {
            let message = format!("{first} and {second} were not tested on the same pictures");
            ApiError::unprocessable("other_pictures", message).field("second")
        })
    })
    .await
}

/// Which pictures.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct PicturesQuery {
    /// At most 64 places in the test part, with commas.
    places: String,
}

/// Test pictures of a run.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Pictures {
    pictures: Vec<Shown>,
}

/// A test picture that can be shown.
#[derive(Debug, Serialize, JsonSchema)]
struct Shown {
    #[serde(flatten)]
    picture: Picture,
    /// A PNG of at most 512 pixels.
    url: String,
}

pub(super) async fn pictures(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Asked(query): Asked<PicturesQuery>,
) -> Result<Json<Pictures>, ApiError> {
    helped_while(&app, move |app, awaited| {
        let places = extract::names(Some(&query.places)).unwrap_or_default();
        if places.is_empty() || places.len() > PICTURES {
            let message = format!("name 1 to {PICTURES} pictures, as `?places=0,7`");
            return Err(ApiError::bad_request(message).field("places"));
        }
        let number = |place: &String| {
            place.parse().map_err(|_| {
                ApiError::bad_request("places are whole numbers with commas").field("places")
            })
        };
        let picks: Vec<usize> = places.iter().map(number).collect::<Result<_, _>>()?;
        let run = app.run(&id)?;
        let found = app
            .examiner
            .pictures(&app.jobs.directory(&run), &picks, awaited)
            .map_err(|error| ApiError::unprocessable("no_pictures", error))?;
        let shown = |picture: Picture| {
            let url = format!("/api/runs/{id}/pictures/{}", picture.index);
            Shown { picture, url }
        };
        Ok(Json(Pictures { pictures: found.into_iter().map(shown).collect() }))
    })
    .await
}

pub(super) async fn picture(
    State(app): State<Arc<App>>,
    Path((id, index)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    blocking(&app, move |app| {
        let run = app.run(&id)?;
        let none = || {
            ApiError::not_found("there is no such picture")
                .hint("ask for it at /pictures?places=… first")
        };
        let index: usize = index.parse().map_err(|_| none())?;
        let file = pictures::file(&app.jobs.directory(&run), index);
        let bytes = std::fs::read(file).map_err(|_| none())?;
        let headers =
            [(header::CONTENT_TYPE, "image/png"), (header::CACHE_CONTROL, "private, no-cache")];
        Ok((headers, bytes).into_response())
    })
    .await
}

/// What came of timing.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Timed {
    /// What could not be timed, in sentences.
    said: Vec<String>,
}

/// The times are in `/api/compare`.
pub(super) async fn time(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<Timed>, ApiError> {
    helped(&app, move |app| {
        let run = app.run(&id)?;
        let config = Config::from_toml(&run.config, "configuration")?;
        let directory = app.jobs.directory(&run);
        let said = app.examiner.time(&directory, &config.device);
        Ok(Json(Timed { said: said.map_err(ApiError::unavailable)? }))
    })
    .await
}
