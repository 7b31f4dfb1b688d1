//! Labelled pictures as a reader of a format found them, before anything is done to them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::DataError;
use super::super::account::{Account, Reason};
use super::super::stored::Stored;
use super::image::{self, Image, MAX_BYTES};
use crate::threads::parallel;

/// Pictures whose sizes are looked at to guess what all of them would take.
const PROBES: usize = 64;

/// A picture from its file.
pub(in crate::data) fn decode(file: &Stored) -> Result<Image, DataError> {
    Image::decode(&file.bytes(MAX_BYTES)?, &file.name()).map_err(with_a_way_out)
}

/// Height and width of a picture, from its file's header.
fn dimensions(file: &Stored) -> Result<(u32, u32), DataError> {
    image::dimensions(&file.bytes(MAX_BYTES)?, &file.name()).map_err(with_a_way_out)
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
pub(in crate::data) enum Store {
    /// As bytes of pixels.
    Decoded(Vec<Image>),
    /// As they lie in their files.
    Encoded(Vec<Stored>),
}

/// What a reader of a format found for one part, before anything is done to it.
#[derive(Debug)]
pub(in crate::data) struct Examples {
    pub(in crate::data) store: Store,
    /// Class of each picture.
    pub(in crate::data) labels: Vec<u32>,
    /// Where they lie, for errors.
    pub(in crate::data) place: String,
}

/// What a reader of a format found in all; a part may be missing.
#[derive(Debug)]
pub(in crate::data) struct Parts {
    pub(in crate::data) train: Option<Examples>,
    pub(in crate::data) test: Option<Examples>,
    /// Name of each class of either part, which labels count.
    pub(in crate::data) classes: Vec<String>,
    /// What was left out, and what the parts are called; the numbers are filled in later.
    pub(in crate::data) account: Account,
}

impl Parts {
    /// Decodes every picture once and takes out those that cannot be, so that numbers, splits and orders are those of
    /// the others. The account names them. A part stays, even if nothing is left of it.
    ///
    /// # Errors
    /// [`DataError::Stopped`] alone.
    pub(in crate::data) fn leave_out_unreadable(&mut self) -> Result<(), DataError> {
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
        let readable = parallel(sources.len(), |at| Ok(Some(decode(&sources[at]).is_ok())))?;
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

    pub(in crate::data) fn len(&self) -> usize {
        self.labels.len()
    }

    /// Puts picks into the order in which pictures lie, where many are read together: who goes through them then reads each group once.
    pub(in crate::data) fn line_up(&self, picks: &mut [usize]) {
        if let Store::Encoded(files) = &self.store
            && matches!(files.first(), Some(Stored::Row { .. }))
        {
            picks.sort_unstable();
        }
    }

    /// Those at `picks`, in that order; each at most once.
    pub(in crate::data) fn pick(self, picks: &[usize]) -> Self {
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
    pub(in crate::data) fn halves(self, count: usize) -> (Self, Self) {
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
    pub(in crate::data) fn shape(&self) -> Option<(usize, usize, usize)> {
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
pub(in crate::data) fn decode_all(
    sources: &[Stored],
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
                let (height, width) = dimensions(source)?;
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
        let image = hold(decode(&sources[at])?);
        held.fetch_add(image.pixels.len() as u64, Ordering::Relaxed);
        Ok(Some(image))
    })?;
    Ok(images.into_iter().collect())
}
