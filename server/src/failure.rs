//! What a user did wrong that no part of the engine can say, with what to do instead.

/// What a user did wrong that no part of the engine can say, with what to do instead.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    pub(crate) hint: Option<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// An error with what to do about it.
pub(crate) fn failure(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Failure { message: message.into(), hint: Some(hint.into()) }.into()
}
