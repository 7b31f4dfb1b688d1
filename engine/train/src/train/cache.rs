//! The folder in which timings outlive a process.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::PathBuf,
};

use super::timings::Cache;
use crate::formats::atomic;

/// A folder with a file for each name.
#[derive(Debug, Clone)]
pub struct TimingsFolder(pub PathBuf);

impl Cache for TimingsFolder {
    fn load(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, String> {
        let mut bytes = Vec::new();
        let read = File::open(self.0.join(name))
            .and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes));
        match read {
            Ok(count) if count as u64 > most => Err(format!("it has more than {most} bytes")),
            Ok(_) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("it cannot be read: {error}")),
        }
    }

    fn save(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let file = self.0.join(name);
        fs::create_dir_all(&self.0)
            .map_err(|error| format!("cannot make the folder of `{}`: {error}", file.display()))?;
        let written = atomic::write_bytes(&file, bytes).map_err(|error| error.to_string());
        // Removes what a killed process left. If that fails, it does no harm.
        drop(atomic::remove_leftovers(&self.0));
        written
    }

    fn place(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}
