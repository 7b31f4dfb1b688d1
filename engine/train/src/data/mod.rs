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
mod kind;
mod ledger;
mod listing;
mod loader;
mod place;
mod root;
mod source;
mod stored;
pub mod text;
mod unpack;

pub use crate::account::{self, Account, Reason};
pub use crate::batch::{Batch, Field, Numbers};
pub use batches::Batches;
pub use dataset::{Contents, Dataset, Subject};
pub use error::DataError;
pub use kind::kind_of;
pub use loader::{Loader, LoaderOptions};
pub use source::{Draw, Source, Split};
pub use unpack::{unpack, unpack_model};

use std::path::Path;
use std::sync::Arc;

use crate::classes;
use crate::config::{Config, Data};
use crate::disk::{Disk, SystemDisk};
use crate::models::Output;
use crate::nn::Extent;
use text::Tokenizer;

/// Opens the data set that `config` names; subsets and splits are drawn by `split_seed`. The tokens of a text are kept in `cache`, a folder;
/// without one, in memory. `kept` makes them, where a run has frozen that; else the vocabulary that `config` says.
///
/// # Errors
/// Whatever is wrong with the files or the settings, as one sentence. A count larger than what is there names both.
pub fn open(
    config: &Config,
    cache: Option<&Path>,
    kept: Option<&Tokenizer>,
) -> Result<Dataset, DataError> {
    let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
    open_on(&disk, config, cache, kept)
}

/// [`open`] on a disk; text is read from the operating system's.
///
/// # Errors
/// As [`open`].
pub fn open_on(
    disk: &Arc<dyn Disk>,
    config: &Config,
    cache: Option<&Path>,
    kept: Option<&Tokenizer>,
) -> Result<Dataset, DataError> {
    match &config.data {
        Data::Images(images) => images::open_on(disk, images),
        Data::Text(text) if text.kind.asks() => {
            let finetune = config.finetune.clone().unwrap_or_default();
            text::questions::open(text, &config.examples(), &finetune, kept)
        }
        Data::Text(text) => text::open(text, &config.examples(), cache, kept),
    }
}

/// What networks are made for, as `config` promises before any file of data is read: for a look at a network without its data.
pub fn promised(config: &Config) -> Subject {
    match &config.data {
        Data::Images(images) => {
            let (shape, classes) = images::promised(images);
            Subject {
                input: shape.extent(),
                output: Output::Classes(classes as u32),
                classes: classes::numbers(classes),
                tokenizer: None,
            }
        }
        Data::Text(text) => {
            let examples = config.examples();
            let vocabulary = text::promised(text, &examples);
            Subject {
                input: Extent::Tokens(examples.length),
                output: Output::of_text(text, &examples, vocabulary),
                classes: Vec::new(),
                tokenizer: None,
            }
        }
    }
}
