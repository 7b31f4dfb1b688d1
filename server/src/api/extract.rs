//! What handlers take from a request, with refusals in our own words.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|_| ApiError::too_large("the body is too large, or was cut off"))?;
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

/// Names in a list with commas; none where there is no list.
pub(super) fn names(list: Option<&str>) -> Option<Vec<String>> {
    let split =
        |list: &str| list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    list.map(split)
}
