//! What a tuner has measured on an adapter, and the file in which that outlives the process.
//!
//! The file is a cache: whatever is wrong with it, a run goes on without it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::LazyLock,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::AdapterDescription;
use crate::{
    formats::{atomic, folder, sums::hex},
    plan::{Class, shaders::FILES},
};

/// Version of the file.
const VERSION: u32 = 1;
/// Bytes that a file has at most; a class takes some 300.
const MOST: u64 = 4 << 20;

/// The times of a class of products.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Which products.
    #[serde(flatten)]
    pub of: Class,
    /// The table's tile.
    pub table: String,
    /// The tile that is taken: another only if it was clearly faster.
    pub tile: String,
    /// Nanoseconds of a dispatch by each tile.
    pub ns: BTreeMap<String, u64>,
}

impl Timing {
    /// Whether the tile that is taken is not the table's.
    pub fn differs(&self) -> bool {
        self.tile != self.table
    }

    /// Nanoseconds of a dispatch by the table's tile, and by the one that is taken.
    pub fn before_and_after(&self) -> [u64; 2] {
        [&self.table, &self.tile].map(|tile| self.ns.get(tile).copied().unwrap_or(0))
    }
}

/// What times depend on. Another adapter, driver or Taper, or other shaders, is another key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Key {
    adapter: String,
    vendor_device: [u32; 2],
    backend: String,
    driver: String,
    taper: String,
    /// SHA-256 of every shader's text.
    shaders: String,
}

impl Key {
    fn of(adapter: &AdapterDescription) -> Self {
        static SHADERS: LazyLock<String> = LazyLock::new(|| {
            let mut hash = Sha256::new();
            for part in FILES.iter().flat_map(|(name, text)| [name, text]) {
                hash.update(part.len().to_le_bytes());
                hash.update(part);
            }
            hex(&hash.finalize())
        });
        Self {
            adapter: adapter.name.clone(),
            vendor_device: adapter.vendor_device,
            backend: adapter.backend.clone(),
            driver: adapter.driver.clone(),
            taper: env!("CARGO_PKG_VERSION").into(),
            shaders: SHADERS.clone(),
        }
    }

    /// The name of its file.
    fn file(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        format!("tiles-{}.json", &hex(&Sha256::digest(text))[..16])
    }
}

#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    #[serde(flatten)]
    key: Key,
    timings: Vec<Timing>,
}

/// The times that are known of an adapter.
#[derive(Debug)]
pub(super) struct Timings {
    key: Key,
    file: Option<PathBuf>,
    known: Vec<Timing>,
}

impl Timings {
    /// Those of the file in `folder`, if there is one; and what is wrong with it.
    pub(super) fn open(
        adapter: &AdapterDescription,
        folder: Option<&Path>,
    ) -> (Self, Option<String>) {
        let key = Key::of(adapter);
        let file = folder.map(|folder| folder.join(key.file()));
        let read = file.as_deref().map_or(Ok(Vec::new()), |file| read(file, &key));
        let (known, problem) = match read {
            Ok(known) => (known, None),
            Err(problem) => (Vec::new(), Some(problem)),
        };
        (Self { key, file, known }, problem)
    }

    /// The times of a class.
    pub(super) fn of(&self, class: &Class) -> Option<&Timing> {
        self.known.iter().find(|timing| timing.of == *class)
    }

    pub(super) fn add(&mut self, timing: Timing) {
        self.known.push(timing);
    }

    /// Writes the file, with what another process has put there meanwhile; what is wrong, if it cannot be written.
    pub(super) fn save(&self) -> Option<String> {
        let file = self.file.as_ref()?;
        let mut timings = self.known.clone();
        let theirs = read(file, &self.key).unwrap_or_default();
        timings.extend(theirs.into_iter().filter(|timing| self.of(&timing.of).is_none()));
        let content = Content { version: VERSION, key: self.key.clone(), timings };
        let made = file.parent().map_or(Ok(()), fs::create_dir_all);
        let written = match made {
            Ok(()) => folder::write_json(file, &content).map_err(|error| error.to_string()),
            Err(error) => Err(format!("cannot make the folder of `{}`: {error}", file.display())),
        };
        if let Some(folder) = file.parent() {
            // What a killed process left; that it stays harms nobody.
            drop(atomic::remove_leftovers(folder));
        }
        written.err().map(|error| format!("{error}; tiles will be timed anew"))
    }
}

/// The times in a file, none if it is not there.
fn read(path: &Path, key: &Key) -> Result<Vec<Timing>, String> {
    let ignored = |problem: String| format!("`{}` is ignored: {problem}", path.display());
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => {
            let read = file.take(MOST + 1).read_to_end(&mut bytes);
            read.map_err(|error| ignored(format!("it cannot be read: {error}")))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ignored(format!("it cannot be read: {error}"))),
    };
    if bytes.len() as u64 > MOST {
        return Err(ignored(format!("it has more than {MOST} bytes")));
    }
    let content: Content = serde_json::from_slice(&bytes)
        .map_err(|error| ignored(format!("it is no list of timings: {error}")))?;
    if content.version != VERSION {
        let version = content.version;
        return Err(ignored(format!("its version is {version}, this program writes {VERSION}")));
    }
    if content.key != *key {
        return Err(ignored("it is another adapter's".into()));
    }
    let plausible = |timing: &Timing| {
        timing.before_and_after().iter().chain(timing.ns.values()).all(|&ns| ns > 0)
    };
    match content.timings.iter().find(|timing| !plausible(timing)) {
        Some(timing) => Err(ignored(format!("the times of {} are no times", timing.of))),
        None => Ok(content.timings),
    }
}
