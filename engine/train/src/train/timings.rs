//! What an autotuner has measured on an adapter, kept from one process to the next in a cache. If the cache cannot be used, a run goes on without it.

use std::{collections::BTreeMap, fmt, sync::LazyLock};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    device::AdapterDescription,
    plan::{Class, shaders::FILES},
    text::hex,
};

/// Version of what is kept.
const VERSION: u32 = 1;
/// Bytes that it has at most; a class takes some 300.
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

    /// The name under which the cache has its timings.
    fn name(&self) -> String {
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

/// A store that outlives the process: bytes under names.
pub trait Cache: fmt::Debug + Send {
    /// The bytes under `name`; none if there are none.
    ///
    /// # Errors
    /// Why it cannot be read, as a sentence; also where there are more than `most` bytes.
    fn load(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, String>;

    /// Puts bytes under `name`, all of them or none.
    ///
    /// # Errors
    /// Why it cannot be written, as a sentence.
    fn save(&self, name: &str, bytes: &[u8]) -> Result<(), String>;

    /// Where a user finds what lies under `name`, for messages.
    fn place(&self, name: &str) -> String;
}

/// The times that are known of an adapter.
#[derive(Debug)]
pub(super) struct Timings {
    key: Key,
    cache: Option<Box<dyn Cache>>,
    known: Vec<Timing>,
}

impl Timings {
    /// The times that `cache` has, if there is one, and a warning if they cannot be read.
    pub(super) fn open(
        adapter: &AdapterDescription,
        cache: Option<Box<dyn Cache>>,
    ) -> (Self, Option<String>) {
        let key = Key::of(adapter);
        let read = cache.as_deref().map_or(Ok(Vec::new()), |cache| read(cache, &key));
        let (known, problem) = match read {
            Ok(known) => (known, None),
            Err(problem) => (Vec::new(), Some(problem)),
        };
        (Self { key, cache, known }, problem)
    }

    /// The times of a class.
    pub(super) fn of(&self, class: &Class) -> Option<&Timing> {
        self.known.iter().find(|timing| timing.of == *class)
    }

    pub(super) fn add(&mut self, timing: Timing) {
        self.known.push(timing);
    }

    /// Writes them to the cache, together with those that another process has put there meanwhile; returns a warning if that fails.
    pub(super) fn save(&self) -> Option<String> {
        let cache = self.cache.as_deref()?;
        let mut timings = self.known.clone();
        let theirs = read(cache, &self.key).unwrap_or_default();
        timings.extend(theirs.into_iter().filter(|timing| self.of(&timing.of).is_none()));
        let content = Content { version: VERSION, key: self.key.clone(), timings };
        let written = serde_json::to_vec_pretty(&content).map_err(|error| error.to_string());
        let written = written.and_then(|bytes| cache.save(&self.key.name(), &bytes));
        written.err().map(|error| format!("{error}; tiles will be timed anew"))
    }
}

/// The times in a cache, none if nothing is there.
fn read(cache: &dyn Cache, key: &Key) -> Result<Vec<Timing>, String> {
    let name = key.name();
    let ignored = |problem: String| format!("`{}` is ignored: {problem}", cache.place(&name));
    let Some(bytes) = cache.load(&name, MOST).map_err(ignored)? else { return Ok(Vec::new()) };
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
