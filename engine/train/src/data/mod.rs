//! Data sets: from files, or from nothing, to batches of named numbers.
//!
//! [`open`] reads what the configuration names into a [`Dataset`] of two [`Split`]s, whose samples come from a [`Source`]: [`images`] has
//! those of pictures. A [`Loader`] gives shuffled, augmented training batches for ever, [`Split::batches`] all samples once in order; both are
//! made ahead by threads, and neither order nor augmentation depends on which.
//!
//! Files are not trusted: sizes are checked against what is really there before memory follows, archives are read as
//! they are. Only [`unpack`], for archives that others send, writes what is data in them to the disk.

mod archive;
mod batches;
mod dataset;
mod error;
pub mod images;
mod ledger;
mod listing;
mod loader;
mod root;
mod source;
mod stored;
pub mod text;
mod unpack;

pub use crate::account::{self, Account, Reason};
pub use crate::batch::{Batch, Field, Numbers};
pub use batches::Batches;
pub use dataset::{Contents, Dataset};
pub use error::DataError;
pub use loader::{Loader, LoaderOptions};
pub use source::{Draw, Source, Split};
pub use unpack::unpack;

use crate::config::Data;
use crate::nn::Extent;

/// Opens the data set that `config` names; subsets and splits are drawn by `split_seed`.
///
/// # Errors
/// Whatever is wrong with the files or the settings, as one sentence. A count larger than what is there names both.
pub fn open(config: &Data) -> Result<Dataset, DataError> {
    match config {
        Data::Images(config) => images::open(config),
    }
}

/// What a network reads of one sample, and how many numbers it answers, as `config` promises before any file is read: for a look at a network
/// without its data.
pub fn promised(config: &Data) -> (Extent, usize) {
    match config {
        Data::Images(config) => {
            let (shape, classes) = images::promised(config);
            (shape.extent(), classes)
        }
    }
}
