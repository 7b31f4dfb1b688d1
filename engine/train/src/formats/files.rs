//! Files that every model folder has, and files of JSON.

use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};

use super::{FormatError, sums};
use crate::disk::{Disk, SystemDisk};

/// File of the architecture and preprocessing in a model folder.
pub const CONFIG: &str = "config.json";
/// File of the weights in a model folder.
pub const WEIGHTS: &str = "model.safetensors";
/// File of the network in ONNX where transformers.js and optimum look for it: that of a model on text, and of folders for transformers.
pub const TEXT_ONNX: &str = "onnx/model.onnx";

/// Writes a value as indented JSON, whole or not at all.
///
/// # Errors
/// What the system refuses.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), FormatError> {
    write_json_on(&SystemDisk, path, value)
}

/// [`write_json`] on a disk.
///
/// # Errors
/// As [`write_json`].
pub fn write_json_on<T: Serialize>(
    disk: &dyn Disk,
    path: &Path,
    value: &T,
) -> Result<(), FormatError> {
    disk.write_bytes(path, &json_bytes(path, value)?)
}

/// A value as indented JSON, for the file at `path`.
pub(super) fn json_bytes<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, FormatError> {
    let mut text =
        serde_json::to_string_pretty(value).map_err(|error| FormatError::content(path, error))?;
    text.push('\n');
    Ok(text.into_bytes())
}

/// Reads a value from JSON.
///
/// # Errors
/// The file cannot be read, is not the one that a `SHA256SUMS` beside it names, or is not such a value.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, FormatError> {
    read_json_on(&SystemDisk, path)
}

/// [`read_json`] on a disk.
///
/// # Errors
/// As [`read_json`].
pub fn read_json_on<T: DeserializeOwned>(disk: &dyn Disk, path: &Path) -> Result<T, FormatError> {
    parse_json(path, &sums::read(disk, path)?)
}

/// A value of the JSON in the file at `path`.
pub(crate) fn parse_json<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, FormatError> {
    serde_json::from_slice(bytes).map_err(|error| FormatError::content(path, error))
}
