//! What is written for other programs, and read from them: safetensors, ONNX, model folders, check sums; each file whole or not at all.

pub mod atomic;
pub mod card;
pub mod export;
mod files;
pub mod folder;
mod for_pytorch;
mod for_timm;
mod for_transformers;
pub mod form;
mod image;
pub mod onnx;
mod pytorch;
mod resnet;
pub mod safetensors;
pub mod sums;
pub mod timm;
pub mod transformers;
pub mod verdicts;
pub mod vision;

use std::path::{Path, PathBuf};

pub use crate::event::MergeReport;
pub use folder::{ImageInput, ImageModel, ModelConfig, ModelFolder};
pub use transformers::TextModel;

/// A file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The system refuses.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The content is not what it should be.
    #[error("`{}` is damaged or of another format: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A file is not the one whose check sum stands beside it.
    #[error("`{}` {problem}", path.display())]
    Sum {
        /// The file.
        path: PathBuf,
        /// What is wrong, as the end of a sentence.
        problem: &'static str,
    },
    /// A model of another kind than what is asked of it.
    #[error("the model reads {reads}, where one that reads {wanted} is wanted")]
    Kind {
        /// What it reads.
        reads: &'static str,
        /// What it would have to read.
        wanted: &'static str,
    },
    /// A model that a form cannot say.
    #[error("{} has no such network: {problem}", form.name())]
    Form {
        /// The form.
        form: form::Form,
        /// What it has not.
        problem: String,
        /// A form that has it.
        instead: form::Form,
    },
}

impl FormatError {
    /// Whether the disk has no room left, or its owner no quota.
    pub fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match self {
            FormatError::Io { source, .. } => matches!(source.kind(), StorageFull | QuotaExceeded),
            FormatError::Content { .. }
            | FormatError::Sum { .. }
            | FormatError::Kind { .. }
            | FormatError::Form { .. } => false,
        }
    }

    /// Whether there is no such file or folder.
    pub fn is_missing(&self) -> bool {
        use std::io::ErrorKind::NotFound;
        matches!(self, FormatError::Io { source, .. } if source.kind() == NotFound)
    }

    /// What to do about it, if something can be done.
    pub fn hint(&self) -> Option<String> {
        match self {
            FormatError::Sum { .. } => Some(format!(
                "if it was changed on purpose, remove {0}, or write it anew: `sha256sum * > {0}`",
                sums::NAME
            )),
            FormatError::Form { form, instead, .. } if form != instead => {
                Some(format!("`--format {}` writes it", instead.name()))
            }
            _ if self.is_full() => {
                Some("the disk is full; free some space and resume the run".into())
            }
            _ => None,
        }
    }

    /// That `path` cannot be read.
    pub fn read(path: &Path, source: std::io::Error) -> Self {
        FormatError::Io { action: "read", path: path.into(), source }
    }

    /// That `path` cannot be written.
    pub fn write(path: &Path, source: std::io::Error) -> Self {
        FormatError::Io { action: "write", path: path.into(), source }
    }

    pub(crate) fn content(path: &Path, message: impl ToString) -> Self {
        FormatError::Content { path: path.into(), message: message.to_string() }
    }
}
