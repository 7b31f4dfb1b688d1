//! Tests of the text library against goldens of `tests/golden/text.py` and against texts made here.

mod corpora;
mod examples;
mod questions;
mod real;
mod refusals;
mod tokenizers;

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::corpus::{Documents, Outline, Text, part};
use super::masks::Masking;
use super::pairs::Pairing;
use super::*;
use crate::data::source::HeldOut;

fn golden(name: &str) -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/text/");
    let text = std::fs::read_to_string(Path::new(path).join(name)).expect("the golden");
    serde_json::from_str(&text).expect("JSON")
}

fn strings(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).expect("strings")
}

fn list<T: serde::de::DeserializeOwned>(value: &Value) -> Vec<T> {
    serde_json::from_value(value.clone()).expect("a list")
}

/// A folder with one text file.
fn folder_with(name: &str, text: impl AsRef<[u8]>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(name), text).expect("written");
    folder
}

/// The whole text at `path`, and its outline.
fn whole(path: &Path, documents: Option<Documents>) -> (Text, Outline) {
    let corpus = Corpus::open(path, documents).expect("a corpus");
    let outline = corpus.train.outline().expect("an outline");
    (corpus.train, outline)
}

/// Text of `documents` documents of invented words: frequent ones, and some that are rare.
fn invented(documents: usize) -> String {
    let mut stream = crate::random::Stream::new(&[11]);
    let mut text = String::new();
    for _ in 0..documents {
        for _ in 0..2 + stream.below(8) {
            for _ in 0..3 + stream.below(12) {
                let rank = (1.0 / (stream.unit() + 0.01)) as usize + stream.below(5);
                let (a, b) = (b"bdfgklmnprst"[rank % 12] as char, b"aeiou"[rank % 5] as char);
                text += &format!("{a}{b}{}{a} ", "nal".repeat(rank % 3));
            }
            text += ".\n";
        }
        text.push('\n');
    }
    text
}

/// A tokenizer trained on all of a text.
fn trained(text: &Text, outline: &Outline, size: usize) -> Tokenizer {
    let how = Normalizer::bert(true);
    let counts = text.count_words(how, &outline.documents).expect("words");
    vocabulary::train(&counts, size, how).expect("a vocabulary")
}

const PAIRING: Pairing = Pairing { length: 32, short_probability: 0.1, nsp: true, copies: 1 };
const MASKING: Masking =
    Masking { max_predictions: 5, whole_word: false, fixed: false, only_masked: false };

/// Examples of an invented text.
fn masked_text(pairing: &Pairing, masking: Masking) -> (MaskedText, Tokenizer) {
    let folder = folder_with("a.txt", invented(60));
    let (text, outline) = whole(&folder.path().join("a.txt"), None);
    let tokenizer = trained(&text, &outline, 120);
    let cache =
        TokenCache::open(Some(folder.path()), &text, &outline, &tokenizer).expect("a cache");
    let cache = Arc::new(cache);
    let made = MaskedText::new(cache, &outline.documents, &tokenizer, pairing, masking, 5);
    (made.expect("examples"), tokenizer)
}
