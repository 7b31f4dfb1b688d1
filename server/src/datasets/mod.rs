//! Data sets that configurations may name: built in, registered at the start, or uploaded.
//!
//! A client never names a path. `dataset:NAME` in a configuration stands for what is registered under that name, or was uploaded as it.

mod augmented;
mod catalogue;
mod dataset;
mod freshness;
mod survey;
mod unpack;

pub(crate) use augmented::{Changes, LARGEST, augmented};
pub(crate) use catalogue::Datasets;
pub(crate) use dataset::{BUILT_IN, Dataset, NAMES, Origin, PREFIX, is_name};
pub(crate) use survey::{Part, survey};
pub(crate) use unpack::{RESERVE, room, unpack};
