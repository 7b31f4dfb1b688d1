//! Plain text as documents and sentences.
//!
//! **A sentence is a line**, as in BERT's own pipeline. A line without anything to read in it is blank.
//!
//! **A document** ends at a blank line, or it is a file: [`Documents`] says which. Unless told, a folder of two files or
//! more (in a part) has a document a file, and one file alone has documents between blank lines.
//!
//! **Wikitext** (`wikitext-2`, `-103`) is told by its first line, ` = Title = `. There titles begin documents, blank lines
//! mean nothing, headings are left out and counted, and since a line is a paragraph, a sentence ends behind a ` . `,
//! ` ? ` or ` ! ` that stands alone. In any text ` @-@ `, ` @,@ ` and ` @.@ ` become the signs that they were, and
//! `<unk>` is no word: it becomes `[UNK]` in a [`TokenCache`](super::TokenCache) and is not counted for a vocabulary.
//!
//! **Parts** are told by names: `train`, `test`, and `valid`, `validation`, `val` or `dev`; as a file (`train.txt`,
//! `wiki.test.tokens`) or as the outermost folder. Held out is `test`, else `valid`. Where neither is there, documents
//! are held out by `part`.

use std::ops::Range;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::Normalizer;
use super::reading::{AT_A_TIME, PIECE, known_parts};
pub use super::reading::{Documents, Text};
use super::vocabulary::WordCounts;
use crate::data::DataError;
use crate::data::account::{Account, Reason};
use crate::data::archive::Caps;
use crate::data::ledger::Ledger;
use crate::data::root::Root;
use crate::data::source::HeldOut;
use crate::data::stored::Stored;
use crate::random;
use crate::text::escape;
use crate::threads::parallel;

/// What ends the names of text files in a folder.
pub(super) const ENDS: [&str; 4] = ["txt", "text", "tokens", "raw"];
/// What ends the names of archives.
const ARCHIVES: [&str; 4] = ["tar", "tgz", "gz", "zip"];
const VALID: [&str; 4] = ["valid", "validation", "val", "dev"];
/// A corpus that was found.
#[derive(Debug)]
pub struct Corpus {
    /// What is trained on.
    pub train: Text,
    /// What is tested on; if there is no such file, documents of `train` are held out.
    pub held_out: Option<Text>,
    /// What was found, what was left out, and how it was understood.
    pub account: Account,
}

impl Corpus {
    /// Looks for the text at `path`: a file, or a folder of files, or a tar or zip of one.
    ///
    /// # Errors
    /// Nothing is there that is read, or there are files of parts and others.
    pub fn open(path: &Path, documents: Option<Documents>) -> Result<Self, DataError> {
        let mut account = Account::default();
        let end = |names: &[&str], path: &Path| {
            path.extension()
                .is_some_and(|end| names.iter().any(|name| end.eq_ignore_ascii_case(name)))
        };
        let there = path.metadata().map_err(DataError::read(path))?;
        if there.is_file() && !end(&ARCHIVES, path) {
            let files = vec![Stored::File(path.into())];
            let documents = documents.unwrap_or(Documents::Blank);
            let train = Text { files, documents, place: path.display().to_string() };
            account.train.name = file_name(path);
            return Ok(Self { train, held_out: None, account });
        }
        let root = Root::open(&path.into(), Caps::default())?;
        if there.is_dir() {
            Ledger::account(&path.into(), &mut account)?;
        }
        let mut files = root.list(&mut account)?.files;
        files.retain(|file| {
            let is_text = end(&ENDS, Path::new(&file.name));
            if !is_text {
                account.skip(Reason::NoPicture, &file.name);
            }
            is_text
        });
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let part = |wanted: &[&str]| -> Vec<_> {
            files
                .iter()
                .filter(|file| part_of(&file.name).is_some_and(|part| wanted.contains(&part)))
                .collect()
        };
        let (mut train, test, valid) = (part(&["train"]), part(&["test"]), part(&VALID));
        let loose: Vec<_> = files.iter().filter(|file| part_of(&file.name).is_none()).collect();
        if let (Some(named), Some(other)) =
            (train.first().or(test.first()).or(valid.first()), loose.first())
        {
            let (named, other) = (escape(&named.name), escape(&other.name));
            let problem =
                format!("has \"{named}\", a part by its name, and \"{other}\", which is none");
            return Err(DataError::malformed(path, problem));
        }
        let (mut held_out, mut left) = if test.is_empty() { (valid, test) } else { (test, valid) };
        if train.is_empty() {
            // Without a file for training, what is not held out is trained on.
            train = if !loose.is_empty() { loose } else { std::mem::take(&mut left) };
            if train.is_empty() {
                train = std::mem::take(&mut held_out);
            } else if !held_out.is_empty() {
                let (names, test) = (names(&train), names(&held_out));
                account.note(format!(
                    "no file is named train: {names} is trained on, {test} tested on"
                ));
            }
        }
        if train.is_empty() {
            let ends = ENDS.join(", .");
            return Err(DataError::malformed(
                path,
                format!("holds no text; its files end in .{ends}"),
            ));
        }
        if !left.is_empty() {
            account.note(format!("{} is not used", names(&left)));
        }
        (account.train.name, account.test.name) = (names(&train), names(&held_out));
        let place = path.display().to_string();
        let text = |files: &[&_]| -> Result<Text, DataError> {
            let several = if files.len() > 1 { Documents::File } else { Documents::Blank };
            let documents = documents.unwrap_or(several);
            Ok(Text { files: root.sources(files)?, documents, place: place.clone() })
        };
        let held_out = (!held_out.is_empty()).then(|| text(&held_out)).transpose()?;
        Ok(Self { train: text(&train)?, held_out, account })
    }
}

fn file_name(path: &Path) -> String {
    escape(&path.file_name().unwrap_or_default().to_string_lossy()).into_owned()
}

fn names(files: &[&crate::data::listing::File]) -> String {
    match files {
        [] => String::new(),
        [only] => escape(&only.name).into_owned(),
        [first, rest @ ..] => format!("{} and {} more", escape(&first.name), rest.len()),
    }
}

/// Whether a file or folder of this name is a part.
pub(in crate::data) fn is_part(word: &str) -> bool {
    known_part(word).is_some()
}

fn known_part(word: &str) -> Option<&'static str> {
    let all = ["train", "test"].into_iter().chain(VALID);
    all.into_iter().find(|part| word.eq_ignore_ascii_case(part))
}

/// The part that a file is of, by its name or that of its outermost folder.
fn part_of(name: &str) -> Option<&'static str> {
    let (folder, file) = (name.split_once('/').map(|(folder, _)| folder), name.rsplit('/').next()?);
    let mut words = file.split('.');
    let (first, second) = (words.next()?, words.next()?);
    // `train.txt`, and `wiki.train.tokens`, where a word still follows.
    let by_file = known_part(first).or_else(|| words.next().and_then(|_| known_part(second)));
    by_file.or_else(|| folder.and_then(known_part))
}

/// What one walk over a text finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// Of the contents and how they are cut into documents.
    pub hash: [u8; 32],
    /// The sentences of each document.
    pub documents: Vec<Range<u64>>,
    /// Headings of wikitext, which are left out.
    pub headings: u64,
    /// Files without a sentence.
    pub empty: Vec<String>,
}

/// Two lists of these documents, the second with those that are held out. Of one document alone, that is its last sentences.
///
/// # Errors
/// The share is not between 0 and 1, or there is one sentence only.
pub(super) fn part(
    all: &[Range<u64>],
    held_out: HeldOut,
) -> Result<[Vec<Range<u64>>; 2], DataError> {
    held_out.fraction()?;
    match all {
        [only] if only.end - only.start < 2 => {
            let problem = "the text has one sentence, which cannot be split; two are needed";
            Err(DataError::setting(held_out.key, problem))
        }
        [only] => {
            let cut = only.end - held_out.count(only.end - only.start)?;
            Ok([vec![only.start..cut], vec![cut..only.end]])
        }
        all => {
            let mut order = random::permutation(all.len(), &held_out.draw);
            let mut test = order.split_off(all.len() - held_out.count(all.len() as u64)? as usize);
            order.sort_unstable();
            test.sort_unstable();
            let pick = |picks: Vec<usize>| picks.into_iter().map(|at| all[at].clone()).collect();
            Ok([pick(order), pick(test)])
        }
    }
}

impl Text {
    /// Walks over all of it once.
    ///
    /// # Errors
    /// What `read` says; there is no sentence.
    pub fn outline(&self) -> Result<Outline, DataError> {
        let mut hash = Sha256::new();
        hash.update([self.documents as u8]);
        let (mut documents, mut sentences, mut full) = (Vec::<Range<u64>>::new(), 0, Vec::new());
        let found = self.read(Some(&mut hash), &mut |sentence| {
            if documents.len() as u64 == sentence.document {
                documents.push(sentences..sentences);
            }
            sentences += 1;
            if let Some(last) = documents.last_mut() {
                last.end = sentences;
            }
            if full.last() != Some(&sentence.file) {
                full.push(sentence.file);
            }
            Ok(())
        })?;
        if documents.is_empty() {
            return Err(DataError::malformed(Path::new(&self.place), "has no text"));
        }
        let empty = (0..self.files.len()).filter(|file| full.binary_search(file).is_err());
        let empty = empty.map(|file| self.files[file].name().into_owned()).collect();
        Ok(Outline { hash: hash.finalize().into(), documents, headings: found, empty })
    }

    /// How often each word is there in the sentences of `documents`; the same for any number of threads.
    ///
    /// # Errors
    /// What `read` says.
    pub fn count_words(
        &self,
        normalizer: Normalizer,
        documents: &[Range<u64>],
    ) -> Result<WordCounts, DataError> {
        let mut all = WordCounts::default();
        let mut number = 0;
        let mut waiting = Vec::with_capacity(AT_A_TIME);
        let mut count = |waiting: &mut Vec<String>| -> Result<(), DataError> {
            let pieces: Vec<&[String]> = waiting.chunks(PIECE).collect();
            let counted = parallel(pieces.len(), |at| {
                let mut counts = WordCounts::default();
                let parts = pieces[at].iter().flat_map(|sentence| known_parts(sentence));
                parts.for_each(|part| counts.add(part, normalizer));
                Ok(Some(counts))
            })?;
            counted.into_iter().flatten().for_each(|counts| all.merge(counts));
            waiting.clear();
            Ok(())
        };
        let mut ranges = documents.iter().peekable();
        self.read(None, &mut |sentence| {
            while ranges.next_if(|range| range.end <= number).is_some() {}
            if ranges.peek().is_some_and(|range| range.contains(&number)) {
                waiting.push(sentence.text.into_owned());
            }
            number += 1;
            if waiting.len() == AT_A_TIME { count(&mut waiting) } else { Ok(()) }
        })?;
        count(&mut waiting)?;
        Ok(all)
    }
}
