//! Text: from plain files to examples of masked words, of sentence pairs and of questions.
//!
//! A [`Corpus`] finds documents and sentences, a [`Tokenizer`] (read from files, or [trained](vocabulary::train) on the
//! corpus) makes pieces of them, [`TokenCache`] keeps these on the disk, and [`MaskedText`] makes example number `index`
//! of epoch `epoch` out of it: a function of these two and a seed, never of a thread. [`Questions`] are SQuAD's, and
//! [`squad::windows`] cuts their contexts, [`answers`] chooses; [`metrics`] scores answers. [`yardsticks()`] says what counting alone reaches on a
//! corpus, and [`procedural`] has texts of which the best values are known.
//!
//! Ids, offsets and lengths are `u32`; an offset counts code points, never bytes.

#![allow(
    clippy::single_range_in_vec_init,
    reason = "a document is a range of sentences, and a corpus may have one document"
)]

pub mod answers;
pub mod asked;
pub mod cache;
pub mod corpus;
mod files;
pub(in crate::data) mod kind;
pub mod masks;
pub mod metrics;
mod open;
pub mod pairs;
pub mod procedural;
pub mod questions;
mod reading;
mod set;
pub mod squad;
mod survey;
pub mod vocabulary;
pub mod wordpiece;
mod words;
pub mod yardsticks;

pub use cache::TokenCache;
pub use corpus::Corpus;
pub use files::TOKENIZER;
pub use kind::kind_of;
pub use masks::{Example, MaskedText, Masking};
pub use open::{open, open_to_score, promised};
pub use set::TextSet;
pub use squad::Questions;
pub use survey::{Shown, Survey, Token, survey};
pub use wordpiece::{Encoding, Tokenizer};
pub use words::Normalizer;
pub use yardsticks::yardsticks;

#[cfg(test)]
mod tests;
