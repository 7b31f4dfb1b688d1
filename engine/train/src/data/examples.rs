//! Labelled pictures as a reader of a format found them, before anything is done to them.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Read};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::DataError;
use super::account::{Account, Reason};
use super::image::{self, Image, MAX_BYTES};

/// Pictures whose sizes are looked at to guess what all of them would take.
const PROBES: usize = 64;

/// Where an encoded picture lies.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// A file.
    File(PathBuf),
    /// The bytes of one, read from an archive.
    Bytes {
        /// Archive and entry, for errors.
        name: String,
        /// Encoded.
        bytes: Arc<[u8]>,
    },
}

impl Source {
    /// The file, or archive and entry.
    pub(super) fn name(&self) -> Cow<'_, str> {
        match self {
            Self::File(path) => path.to_string_lossy(),
            Self::Bytes { name, .. } => name.into(),
        }
    }

    fn bytes(&self) -> Result<Cow<'_, [u8]>, DataError> {
        match self {
            Self::File(path) => {
                let mut bytes = Vec::new();
                // One byte above the limit is enough to refuse the file as too long.
                let mut file = open_file(path)?.take(MAX_BYTES + 1);
                file.read_to_end(&mut bytes).map_err(DataError::read(path))?;
                Ok(Cow::Owned(bytes))
            }
            Self::Bytes { bytes, .. } => Ok(Cow::Borrowed(bytes)),
        }
    }

    /// Its bytes as a stream.
    pub(super) fn open(&self) -> Result<Box<dyn Read + '_>, DataError> {
        match self {
            Self::File(path) => Ok(Box::new(BufReader::new(open_file(path)?))),
            Self::Bytes { bytes, .. } => Ok(Box::new(&bytes[..])),
        }
    }

    pub(super) fn decode(&self) -> Result<Image, DataError> {
        Image::decode(&self.bytes()?, &self.name()).map_err(with_a_way_out)
    }

    /// Height and width from its header.
    fn dimensions(&self) -> Result<(u32, u32), DataError> {
        image::dimensions(&self.bytes()?, &self.name()).map_err(with_a_way_out)
    }
}

/// Opens a regular file only: opening a pipe would block until somebody writes to it.
fn open_file(path: &Path) -> Result<File, DataError> {
    let what = std::fs::metadata(path).map_err(DataError::read(path))?;
    if !what.is_file() {
        return Err(DataError::malformed(path, "is a folder, a device or a pipe, and no file"));
    }
    File::open(path).map_err(DataError::read(path))
}

/// What may be done about a picture of a data set that cannot be decoded.
fn with_a_way_out(error: DataError) -> DataError {
    match error {
        DataError::Image { name, problem } => {
            let problem = format!("{problem}; data.on_error = \"skip\" leaves such pictures out");
            DataError::Image { name, problem }
        }
        other => other,
    }
}

/// The pictures of a part.
#[derive(Debug)]
pub(super) enum Store {
    /// As bytes of pixels.
    Decoded(Vec<Image>),
    /// As they lie in their files.
    Encoded(Vec<Source>),
}

/// What a reader of a format found for one part, before anything is done to it.
#[derive(Debug)]
pub(super) struct Examples {
    pub(super) store: Store,
    /// Class of each picture.
    pub(super) labels: Vec<u32>,
    /// Where they lie, for errors.
    pub(super) place: String,
}

/// What a reader of a format found in all; a part may be missing.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) train: Option<Examples>,
    pub(super) test: Option<Examples>,
    /// Name of each class of either part, which labels count.
    pub(super) classes: Vec<String>,
    /// What was left out, and what the parts are called; the numbers are filled in later.
    pub(super) account: Account,
}

impl Parts {
    /// Decodes every picture once and takes out those that cannot be, so that numbers, splits and orders are those of
    /// the others. The account names them. A part stays, even if nothing is left of it.
    ///
    /// # Errors
    /// [`DataError::Stopped`] alone.
    pub(super) fn leave_out_unreadable(&mut self) -> Result<(), DataError> {
        let Self { train, test, account, .. } = self;
        if let Some(part) = train {
            account.train.unreadable = part.leave_out_unreadable(account)?;
        }
        if let Some(part) = test {
            account.test.unreadable = part.leave_out_unreadable(account)?;
        }
        Ok(())
    }
}

impl Examples {
    /// How many they are.
    fn leave_out_unreadable(&mut self, account: &mut Account) -> Result<u64, DataError> {
        let Store::Encoded(sources) = &mut self.store else { return Ok(0) };
        let before = sources.len();
        let readable = parallel(sources.len(), |at| Ok(Some(sources[at].decode().is_ok())))?;
        let is_readable = |at: usize| readable[at] == Some(true);
        for (source, _) in sources.iter().zip(&readable).filter(|(_, good)| **good != Some(true)) {
            account.skip(Reason::Unreadable, &source.name());
        }
        let mut at = 0..;
        sources.retain(|_| at.next().is_some_and(is_readable));
        let mut at = 0..;
        self.labels.retain(|_| at.next().is_some_and(is_readable));
        Ok((before - self.labels.len()) as u64)
    }

    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    /// Those at `picks`, in that order; each at most once.
    pub(super) fn pick(self, picks: &[usize]) -> Self {
        fn take<T>(all: Vec<T>, picks: &[usize]) -> Vec<T> {
            let mut all: Vec<Option<T>> = all.into_iter().map(Some).collect();
            picks.iter().filter_map(|&pick| all[pick].take()).collect()
        }
        let store = match self.store {
            Store::Decoded(images) => Store::Decoded(take(images, picks)),
            Store::Encoded(sources) => Store::Encoded(take(sources, picks)),
        };
        Self {
            store,
            labels: picks.iter().map(|&pick| self.labels[pick]).collect(),
            place: self.place,
        }
    }

    /// The first `count` and the others.
    pub(super) fn halves(self, count: usize) -> (Self, Self) {
        let (store, rest) = match self.store {
            Store::Decoded(mut images) => {
                let rest = images.split_off(count);
                (Store::Decoded(images), Store::Decoded(rest))
            }
            Store::Encoded(mut sources) => {
                let rest = sources.split_off(count);
                (Store::Encoded(sources), Store::Encoded(rest))
            }
        };
        let mut labels = self.labels;
        let others = labels.split_off(count);
        let place = self.place.clone();
        (Self { store, labels, place: self.place }, Self { store: rest, labels: others, place })
    }

    /// Height, width and channels that all decoded pictures share; `None` if they are encoded.
    pub(super) fn shape(&self) -> Option<(usize, usize, usize)> {
        match &self.store {
            Store::Decoded(images) => {
                images.first().map(|image| (image.height, image.width, image.channels))
            }
            Store::Encoded(_) => None,
        }
    }
}

/// Every picture behind `hold`, or nothing if that takes more than `held_bytes`; `frame` is the bytes of each where
/// they are known.
pub(super) fn decode_all(
    sources: &[Source],
    frame: Option<u64>,
    held_bytes: u64,
    hold: impl Fn(Image) -> Image + Sync,
) -> Result<Option<Vec<Image>>, DataError> {
    let count = sources.len() as u64;
    let each = match frame {
        Some(bytes) => bytes,
        None => {
            let probes = sources.iter().step_by(sources.len().div_ceil(PROBES).max(1));
            let sizes = probes.map(|source| {
                let (height, width) = source.dimensions()?;
                Ok(u64::from(height) * u64::from(width) * 3)
            });
            let sizes: Vec<u64> = sizes.collect::<Result<_, DataError>>()?;
            sizes.iter().sum::<u64>() / (sizes.len() as u64).max(1)
        }
    };
    if count * each > held_bytes {
        return Ok(None);
    }
    // The guess may be wrong, so what is really held is counted as well.
    let held = AtomicU64::new(0);
    let images = parallel(sources.len(), |at| {
        if held.load(Ordering::Relaxed) > held_bytes {
            return Ok(None);
        }
        let image = hold(sources[at].decode()?);
        held.fetch_add(image.pixels.len() as u64, Ordering::Relaxed);
        Ok(Some(image))
    })?;
    Ok(images.into_iter().collect())
}

/// Threads that work is shared out to; none where there can be none, as in a browser.
pub(super) fn cores() -> usize {
    if cfg!(target_family = "wasm") {
        return 0;
    }
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// `make(0..count)` on all cores, in order; the error of the lowest index that has one in the first part that fails.
pub(super) fn parallel<T: Send>(
    count: usize,
    make: impl Fn(usize) -> Result<Option<T>, DataError> + Sync,
) -> Result<Vec<Option<T>>, DataError> {
    let make = &make;
    let part = match cores() {
        0 => return (0..count).map(make).collect(),
        cores => count.div_ceil(cores).max(1),
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .step_by(part)
            .map(|first| {
                scope.spawn(move || {
                    (first..(first + part).min(count)).map(make).collect::<Result<Vec<_>, _>>()
                })
            })
            .collect();
        let mut all = Vec::with_capacity(count);
        for thread in threads {
            all.extend(thread.join().map_err(|_| DataError::Stopped)??);
        }
        Ok(all)
    })
}
