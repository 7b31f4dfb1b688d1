//! Opens questions about texts, as SQuAD has them, as data sets of spans.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::answers::Choosing;
use super::asked::{Asked, QuestionSet};
use super::open::vocabulary_of;
use super::squad::{self, Cutting, Questions, Windows, windows};
use super::vocabulary::WordCounts;
use super::{Tokenizer, procedural};
use crate::config::{Examples, Finetune, Text, TextKind};
use crate::data::DataError;
use crate::data::account::{Account, TextAccount, TextPart};
use crate::data::dataset::{Contents, Dataset};
use crate::data::ledger::Ledger;
use crate::data::listing;
use crate::data::source::{HeldOut, Split, subset, validation_note};
use crate::text::escape;

/// Questions of the built-in set unless counts are given: for training and for testing.
const PROCEDURAL: [u64; 2] = [4_000, 500];

/// Opens the questions that `config` names. Where `kept` is given, it makes their tokens, and not the vocabulary that `how` says.
///
/// # Errors
/// Whatever is wrong with the files or the settings, as one sentence.
pub fn open(
    config: &Text,
    how: &Examples,
    finetune: &Finetune,
    kept: Option<&Tokenizer>,
) -> Result<Dataset, DataError> {
    let mut account = Account::default();
    let ([train, test], sums) = match config.kind {
        TextKind::ProceduralQuestions => {
            let [train, test] = procedural::counts(config, PROCEDURAL)?;
            let second = match config.validation_fraction {
                Some(_) => {
                    account.note(validation_note(test, train + test, "training questions"));
                    train
                }
                None => procedural::MOST,
            };
            let parts = [(0, train), (second, test)];
            let parts =
                parts.map(|(first, count)| procedural::keys_and_values(first, count as usize));
            (parts, [const { String::new() }; 2])
        }
        _ => read(config, &mut account)?,
    };
    let tokenizer = match kept {
        Some(kept) => kept.clone(),
        None => tokenizer(config, how, &train, &mut account)?,
    };
    let mut train = asked(train, "training", &tokenizer, how, finetune, &mut account)?;
    let test = asked(test, "test", &tokenizer, how, finetune, &mut account)?;
    let built_in = config.kind == TextKind::ProceduralQuestions;
    if let Some(count) = config.train_count.filter(|_| !built_in) {
        let there = train.windows.len();
        if count > there as u64 {
            let problem = format!("{count} is more than the {there} windows of the questions");
            return Err(DataError::setting("data.train_count", problem));
        }
        train.picks = Some(subset(there, config.split_seed, count as usize));
    }
    let [train_sum, test_sum] = sums;
    account.text = Some(Box::new(TextAccount {
        vocabulary: tokenizer.size() as u64,
        asks: true,
        train: TextPart { sha256: train_sum, ..train.account() },
        test: TextPart { sha256: test_sum, ..test.account() },
        yardsticks: None,
    }));
    let [train, test] = [train, test].map(Arc::new);
    let contents = Contents::Questions(QuestionSet {
        tokenizer: Arc::new(tokenizer),
        length: how.length,
        test: test.clone(),
    });
    let [train, test] = [train, test].map(|asked| Arc::new(Split::new(asked)));
    Ok(Dataset { train, test, contents, account })
}

/// Opens all questions at `path`, a file or the test file of a folder, to score a trained model on them.
///
/// # Errors
/// As [`open`].
pub fn open_to_score(
    path: &Path,
    tokenizer: &Tokenizer,
    how: &Examples,
    finetune: &Finetune,
) -> Result<Dataset, DataError> {
    let mut account = Account::default();
    let questions = match path.is_dir() {
        true => match &files(path)?[..] {
            [only] => Questions::open(only)?,
            files => Questions::open(part(path, files, &TESTS)?.ok_or_else(|| none(path))?)?,
        },
        false => Questions::open(path)?,
    };
    let asked = Arc::new(asked(questions, "test", tokenizer, how, finetune, &mut account)?);
    account.text = Some(Box::new(TextAccount {
        vocabulary: tokenizer.size() as u64,
        asks: true,
        train: TextPart::default(),
        test: asked.account(),
        yardsticks: None,
    }));
    let contents = Contents::Questions(QuestionSet {
        tokenizer: Arc::new(tokenizer.clone()),
        length: how.length,
        test: asked.clone(),
    });
    let split = Arc::new(Split::new(asked));
    Ok(Dataset { train: split.clone(), test: split, contents, account })
}

/// Questions with their windows.
fn asked(
    questions: Questions,
    part: &str,
    tokenizer: &Tokenizer,
    how: &Examples,
    finetune: &Finetune,
    account: &mut Account,
) -> Result<Asked, DataError> {
    let cutting = Cutting { length: how.length, doc_stride: finetune.doc_stride };
    let choosing = Choosing {
        n_best: finetune.n_best as usize,
        max_answer_length: finetune.max_answer_length,
        null_threshold: finetune.null_threshold as f32,
    };
    let Windows { windows, cut } = windows(&questions, tokenizer, cutting)?;
    if cut > 0 {
        account.note(format!(
            "{cut} {part} questions are cut, as they leave too little room in windows of {}",
            how.length
        ));
    }
    Ok(Asked::new(questions, windows, choosing))
}

/// How the names of test files begin.
const TESTS: [&str; 3] = ["dev", "test", "valid"];

/// The JSON files in a folder, in the order of their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(DataError::read(folder))? {
        let file = entry.map_err(DataError::read(folder))?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let is_json = file.extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
        if is_json && listing::out_of_sight(&name).is_none() {
            found.push(file);
        }
    }
    found.sort();
    Ok(found)
}

/// The file of those in `folder` whose name begins so.
fn part<'f>(
    folder: &Path,
    files: &'f [PathBuf],
    names: &[&str],
) -> Result<Option<&'f PathBuf>, DataError> {
    let is_named_so = |file: &&PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        names.iter().any(|of| name.starts_with(of))
    };
    let found: Vec<&PathBuf> = files.iter().filter(is_named_so).collect();
    match found[..] {
        [first, second, ..] => {
            let [first, second] =
                [first, second].map(|file| escape(&file.display().to_string()).into_owned());
            let problem = format!(
                "has two files of one part, {first} and {second}; name one file, or a folder with one of each"
            );
            Err(DataError::malformed(folder, problem))
        }
        _ => Ok(found.first().copied()),
    }
}

/// That a folder lacks a part.
fn none(folder: &Path) -> DataError {
    let problem =
        "is no folder of SQuAD: it has a file train….json and a file dev….json, or one file alone";
    DataError::malformed(folder, problem)
}

/// Questions for training and for testing, and the SHA-256 of the files that they are from.
type Parts = ([Questions; 2], [String; 2]);

fn read(config: &Text, account: &mut Account) -> Result<Parts, DataError> {
    let path = config.path.as_deref().ok_or_else(|| {
        let problem = "is absent, and `data.kind` is \"squad\"; give a JSON file of SQuAD, or a folder with train and dev files";
        DataError::setting("data.path", problem)
    })?;
    let path = Path::new(path);
    let files = match path.is_dir() {
        true => {
            Ledger::account(&path.into(), account)?;
            files(path)?
        }
        false => vec![path.to_owned()],
    };
    if let [only] = &files[..] {
        let (all, sum) = Questions::open_summed(only)?;
        let draw = [config.split_seed, squad::ARTICLES];
        let held_out = HeldOut { draw, ..HeldOut::test(config.test_fraction, config.split_seed) };
        let (train, test) = all.split(held_out)?;
        account.note("testing has articles of its own, which were parted from the file");
        return match config.validation_fraction {
            Some(fraction) => {
                Ok((validation(config, fraction, &train, account)?, [sum.clone(), sum]))
            }
            None => Ok((limited(config, train, test)?, [sum.clone(), sum])),
        };
    }
    match (part(path, &files, &["train"])?, part(path, &files, &TESTS)?) {
        (Some(train), Some(test)) => {
            let (train, train_sum) = Questions::open_summed(train)?;
            if let Some(fraction) = config.validation_fraction {
                let parts = validation(config, fraction, &train, account)?;
                return Ok((parts, [train_sum.clone(), train_sum]));
            }
            let (test, test_sum) = Questions::open_summed(test)?;
            Ok((limited(config, train, test)?, [train_sum, test_sum]))
        }
        _ => Err(none(path)),
    }
}

/// The training questions without those for validation, and these.
fn validation(
    config: &Text,
    fraction: f64,
    all: &Questions,
    account: &mut Account,
) -> Result<[Questions; 2], DataError> {
    let (train, test) = all.split(HeldOut::validation(fraction, config.split_seed))?;
    let [count, all] = [&test, all].map(|part| part.questions.len() as u64);
    account.note(validation_note(count, all, "training questions"));
    Ok([train, test])
}

/// As many test questions as are asked for: the first ones, as their windows stay together.
fn limited(
    config: &Text,
    train: Questions,
    mut test: Questions,
) -> Result<[Questions; 2], DataError> {
    if let Some(count) = config.test_count {
        let there = test.questions.len();
        if count > there as u64 {
            let problem = format!("{count} is more than the {there} test questions");
            return Err(DataError::setting("data.test_count", problem));
        }
        test.questions.truncate(count as usize);
    }
    Ok([train, test])
}

fn tokenizer(
    config: &Text,
    how: &Examples,
    train: &Questions,
    account: &mut Account,
) -> Result<Tokenizer, DataError> {
    if config.kind == TextKind::ProceduralQuestions {
        return procedural::tokenizer(procedural::symbols(config));
    }
    vocabulary_of(how, "questions", account, |normalizer| {
        let mut counts = WordCounts::default();
        train.contexts.iter().for_each(|context| counts.add(&context.text, normalizer));
        train.questions.iter().for_each(|question| counts.add(&question.text, normalizer));
        Ok(counts)
    })
}
