//! `/healthz` and `/api/session`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::app::{App, blocking};
use super::error::ApiError;
use super::extract::Body;
use super::guard::{self, Peer};
use super::token::{Token, Verdict};
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

pub(super) async fn show(
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Json<Session>, ApiError> {
    let ok = match app.guard.token.as_ref().map(|token| token.admits(&headers, peer)) {
        None | Some(Verdict::Right) => true,
        Some(Verdict::Wrong) => false,
        Some(Verdict::Later(wait)) => return Err(guard::too_often(wait)),
    };
    Ok(Json(Session { required: app.guard.token.is_some(), ok }))
}

pub(super) async fn login(
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    Body(login): Body<Login>,
) -> Result<Response, ApiError> {
    let Some(token) = &app.guard.token else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let text = login.token.trim();
    match token.check(text, peer) {
        Verdict::Right => {
            let cookie = [(header::SET_COOKIE, Token::set_cookie(text))];
            Ok((StatusCode::NO_CONTENT, cookie).into_response())
        }
        Verdict::Wrong => Err(ApiError::unauthorized("this is not the token").field("token")),
        Verdict::Later(wait) => Err(guard::too_often(wait)),
    }
}
