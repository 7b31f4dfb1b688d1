//! Pictures with a class each: from files, or from nothing, to normalised samples.
//!
//! Readers of formats (`cifar`, `folder`, `idx`, `imagenet`, `parquet`, `procedural`, `webdataset`) make `examples`, which `division` parts and `pictures` holds.
//! [`Preprocess`] is what a trained model needs to read any other picture.

pub(super) mod cifar;
pub(super) mod division;
pub(super) mod examples;
pub(super) mod folder;
pub(super) mod idx;
pub(super) mod image;
pub(super) mod imagenet;
mod kind;
pub(super) mod layout;
mod open;
#[cfg(not(target_family = "wasm"))]
mod parquet;
mod pictures;
mod procedural;
mod reading;
mod set;
pub(super) mod shards;
mod survey;
mod synsets;
#[cfg(test)]
pub(super) mod tests;
mod transform;
mod validation;
pub(super) mod webdataset;
mod windows;

pub use image::Image;
pub(crate) use kind::innermost;
pub(super) use kind::tells_classes;
pub use kind::{kind_of, kind_within};
pub use open::{Scored, open, open_for, open_on, open_to_score, promised};
pub use set::{ImageSet, ImageShape};
pub use survey::{Augmented, Sample, Survey, SurveyedPart, augmented, survey, tested, tested_on};
pub use transform::Preprocess;
