//! What the unpacking of an upload leaves beside its files, so that a reader knows what their names do not say.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::DataError;
use super::account::Account;
use super::images::layout::Layout;
use super::place::{Place, refused};

/// Its file.
pub(super) const NAME: &str = ".taper-upload.json";

/// What the names of an unpacked archive do not say.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Ledger {
    /// The class of each class's folder.
    pub(super) classes: BTreeMap<String, String>,
    /// Classes of which no picture is of a kind that is read.
    pub(super) empty: Vec<String>,
    /// What was left out when the archive was taken apart.
    pub(super) account: Account,
}

impl Ledger {
    /// Reads the ledger of a folder, if the folder is an unpacked archive.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub(super) fn read(folder: &Place) -> Result<Option<Self>, DataError> {
        let Place { disk, path } = folder.join(NAME);
        let bytes = match disk.read(&path) {
            Err(error) if error.is_missing() => return Ok(None),
            bytes => bytes.map_err(refused(&path))?,
        };
        let ledger = serde_json::from_slice(&bytes);
        ledger.map(Some).map_err(|error| DataError::malformed(&path, error.to_string()))
    }

    /// Writes it into a folder.
    ///
    /// # Errors
    /// What the system refuses.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        std::fs::write(folder.join(NAME), serde_json::to_vec(self)?)
    }

    /// Gives classes their own names back, and the account what was left out.
    pub(super) fn restore(&self, layout: &mut Layout, account: &mut Account) {
        for part in [&mut layout.train, &mut layout.test] {
            let named = |(folder, pictures)| {
                (self.classes.get(&folder).cloned().unwrap_or(folder), pictures)
            };
            part.classes = std::mem::take(&mut part.classes).into_iter().map(named).collect();
        }
        for class in &self.empty {
            layout.train.classes.entry(class.clone()).or_default();
        }
        account.add(&self.account);
    }

    /// Adds what was left out of a data set that is no pictures.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn account(folder: &Place, account: &mut Account) -> Result<(), DataError> {
        if let Some(ledger) = Self::read(folder)? {
            account.add(&ledger.account);
        }
        Ok(())
    }
}
