//! `/healthz` and `/api/session`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::extract::Body;
use super::token::Verdict;
use super::{App, blocking, guard};
use crate::store::Line;

pub(super) async fn health(State(app): State<Arc<App>>) -> Result<&'static str, ApiError> {
    blocking(&app, |app| Ok(app.jobs.store.read(Line::last)?)).await?;
    Ok("ok\n")
}

/// Whether a request is let in.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Session {
    /// Whether this server asks for a token.
    required: bool,
    /// Whether the request has it.
    ok: bool,
}

/// The token.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    token: String,
}

pub(super) async fn show(State(app): State<Arc<App>>, headers: HeaderMap) -> Json<Session> {
    Json(match &app.guard.token {
        None => Session { required: false, ok: true },
        Some(token) => Session { required: true, ok: token.admits(&headers) == Verdict::Right },
    })
}

pub(super) async fn login(
    State(app): State<Arc<App>>,
    Body(login): Body<Login>,
) -> Result<Response, ApiError> {
    let Some(token) = &app.guard.token else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    match token.check(login.token.trim()) {
        Verdict::Right => {
            Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, token.set_cookie())]).into_response())
        }
        Verdict::Wrong => Err(ApiError::unauthorized("this is not the token").field("token")),
        Verdict::Later => Err(guard::too_often()),
    }
}
