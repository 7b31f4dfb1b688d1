//! What to do, see [`taper_core::config`], and its files.

use std::path::Path;

pub use taper_core::config::*;

use crate::{
    disk::{Disk, SystemDisk},
    formats::FormatError,
};

/// A preset by name, or a file that ends in `.toml`.
///
/// # Errors
/// The name is no preset, or the file cannot be read or is no TOML.
pub fn open(name: &str) -> Result<Draft, ConfigError> {
    if name.ends_with(".toml") { draft(&SystemDisk, Path::new(name)) } else { Draft::preset(name) }
}

/// A configuration's file, checked.
///
/// # Errors
/// The file cannot be read, is no TOML, or says what is not allowed.
pub fn read(path: &Path) -> Result<Config, ConfigError> {
    read_on(&SystemDisk, path)
}

/// [`read`] on a disk.
///
/// # Errors
/// As [`read`].
pub fn read_on(disk: &dyn Disk, path: &Path) -> Result<Config, ConfigError> {
    draft(disk, path)?.finish()
}

fn draft(disk: &dyn Disk, path: &Path) -> Result<Draft, ConfigError> {
    let name = path.to_string_lossy();
    let text = disk.read_text(path).map_err(|error| ConfigError::Unreadable {
        path: name.clone().into_owned(),
        message: match error {
            FormatError::Io { source, .. } => source.to_string(),
            error => error.to_string(),
        },
    })?;
    Draft::from_toml(&text, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_from_a_preset_by_its_end() {
        let said = open("nowhere.toml").expect_err("no such file").to_string();
        assert!(said.starts_with("cannot read the configuration `nowhere.toml`"), "{said}");
        let said = open("dmeo").expect_err("no such preset").to_string();
        assert_eq!(said, "unknown preset or file `dmeo`; did you mean `demo`?");
    }
}
