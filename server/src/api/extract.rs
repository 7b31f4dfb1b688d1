//! What handlers take from a request, with refusals in our own words.

use std::collections::HashSet;

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use http_body_util::BodyExt as _;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use super::guard::{BODY, Cap};
use super::pace;

/// Nothing to say.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let cap = request.extensions().get().map_or(BODY, |Cap(cap)| *cap);
        let body = request.into_body().collect().await;
        let bytes = body.map_err(|error| pace::refusal(&error, "the body", cap))?.to_bytes();
        // Verbs without anything to say may be sent without a body.
        let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        let parsed = serde_json::from_slice(bytes);
        parsed
            .map(Body)
            .map_err(|error| ApiError::bad_request(format!("the body is not understood: {error}")))
    }
}

/// The parameters of a query.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let parsed = Query::<T>::try_from_uri(&parts.uri);
        parsed.map(|Query(asked)| Asked(asked)).map_err(|error| {
            ApiError::bad_request(format!("the query is not understood: {}", error.body_text()))
        })
    }
}

/// Names in a list with commas, each once; none where there is no list.
pub(super) fn names(list: Option<&str>) -> Option<Vec<String>> {
    let split = |list: &str| {
        let mut known = HashSet::new();
        let new = list.split(',').filter(|name| !name.is_empty() && known.insert(*name));
        new.map(str::to_owned).collect()
    };
    list.map(split)
}
