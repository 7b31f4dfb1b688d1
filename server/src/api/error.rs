//! What a client is told when something is refused.

use std::io::ErrorKind;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::config::ConfigError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::jobs::{Refusal, is_of_room};
use crate::run::examine::Problem;

/// Every answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(crate) struct ErrorBody {
    /// For programs: `not_found`, `bad_config`, …
    pub(crate) code: String,
    /// One sentence for people.
    pub(crate) message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// The key of the configuration, or of the body, that is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<String>,
}

/// A refusal with its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    body: ErrorBody,
    /// Of few: a refusal is returned often and should be small.
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> ApiError {
        let (code, message) = (code.into(), message.into());
        ApiError {
            status,
            body: ErrorBody { code, message, hint: None, field: None },
            header: None,
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(super) fn unauthorized(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    pub(super) fn forbidden(code: &str, message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, code, message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(super) fn method(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    pub(super) fn conflict(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::CONFLICT, "conflict", message)
    }

    pub(super) fn too_large(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// A client took too long; what else it has to say is not waited for.
    pub(super) fn timeout(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", message)
            .header(header::CONNECTION, HeaderValue::from_static("close"))
    }

    pub(super) fn media_type(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    }

    pub(super) fn unprocessable(code: &str, message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }

    pub(super) fn too_many(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message)
    }

    pub(super) fn unavailable(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// Something of ours went wrong; the log has it as well.
    pub(super) fn internal(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// The disk has no room for it.
    pub(super) fn full(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", message)
            .hint("free some space where the server keeps its data")
    }

    /// Its sentence.
    pub(super) fn message(&self) -> &str {
        &self.body.message
    }

    #[cfg(test)]
    pub(super) fn code(&self) -> &str {
        &self.body.code
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> ApiError {
        self.body.hint = Some(hint.into());
        self
    }

    /// A header that belongs to the status, as `Retry-After`.
    pub(super) fn header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> ApiError {
        self.header = Some(Box::new((name, value.into())));
        self
    }

    pub(super) fn field(mut self, field: impl Into<String>) -> ApiError {
        self.body.field = Some(field.into());
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::error!(status = self.status.as_u16(), "{}", self.body.message);
        }
        let header = self.header.map(|header| [*header]);
        (self.status, header, Json(self.body)).into_response()
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::Unknown(_) => ApiError::not_found(message),
            Refusal::State { .. } | Refusal::Alive | Refusal::Needed(_) | Refusal::Elsewhere(_) => {
                ApiError::conflict(message)
            }
            Refusal::NoRun { field, .. } => {
                ApiError::unprocessable("bad_config", message).field(field)
            }
            Refusal::Directory { source, .. } if source.kind() == ErrorKind::StorageFull => {
                ApiError::full(message)
            }
            Refusal::Store(error) if is_of_room(&error) => ApiError::full("the disk is full"),
            Refusal::Directory { .. } | Refusal::Store(_) => ApiError::internal(message),
        }
    }
}

impl From<rusqlite::Error> for ApiError {
    fn from(error: rusqlite::Error) -> Self {
        Refusal::from(error).into()
    }
}

impl From<ConfigError> for ApiError {
    fn from(error: ConfigError) -> Self {
        let refused = ApiError::unprocessable("bad_config", error.to_string());
        let refused = match error.hint() {
            Some(hint) => refused.hint(hint),
            None => refused,
        };
        match error {
            ConfigError::UnknownKey { key, .. } | ConfigError::Value { key, .. } => {
                refused.field(key)
            }
            ConfigError::UnknownPreset { .. } => refused.field("preset"),
            ConfigError::Syntax { .. } | ConfigError::Unreadable { .. } => refused,
        }
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        let refused = ApiError::unprocessable("refused", problem.message);
        let refused = match problem.hint {
            Some(hint) => refused.hint(hint),
            None => refused,
        };
        match problem.field {
            Some(field) => refused.field(field),
            None => refused,
        }
    }
}

impl ApiError {
    /// The refusal as something that a pre-flight found.
    pub(super) fn into_problem(self) -> Problem {
        let ErrorBody { message, hint, field, .. } = self.body;
        Problem { field, message, hint }
    }
}
