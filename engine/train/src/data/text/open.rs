//! Opens texts as data sets of masked words.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::cache::TokenCache;
use super::corpus::part;
use super::masks::{MaskedText, Masking};
use super::pairs::Pairing;
use super::set::{Masked, Part, TextSet};
use super::vocabulary::{self, WordCounts};
use super::{Corpus, Normalizer, Tokenizer, procedural};
use crate::config::{Examples, Text, TextKind};
use crate::data::DataError;
use crate::data::account::{Account, TextAccount, TextPart};
use crate::data::dataset::{Contents, Dataset};
use crate::data::source::{HeldOut, Source, Split, validation_note};
use crate::text::hex;

/// Examples of `procedural_text` unless counts are given: for training and for testing.
const PROCEDURAL: [u64; 2] = [20_000, 2_000];

/// Opens the text that `config` names, whose examples are made as `how` says. Its tokens are kept in `cache`, a folder; without one, in memory.
/// Where `kept` is given, it makes them, and not the vocabulary that `how` says.
///
/// # Errors
/// Whatever is wrong with the files or the settings, as one sentence.
pub fn open(
    config: &Text,
    how: &Examples,
    cache: Option<&Path>,
    kept: Option<&Tokenizer>,
) -> Result<Dataset, DataError> {
    let (asked, (tokenizer, [train, test], mut account)) = match config.kind {
        TextKind::ProceduralText => {
            let counts = procedural::counts(config, PROCEDURAL)?;
            (counts.map(Some), built_in(config, counts, how)?)
        }
        // `test_count` is that of the test part.
        _ if config.validation_fraction.is_some() => {
            ([config.train_count, None], read(config, how, cache, kept)?)
        }
        _ => ([config.train_count, config.test_count], read(config, how, cache, kept)?),
    };
    let pairing = pairing(how, how.dupe_factor.unwrap_or(1));
    let masking = masking(how, how.dupe_factor.is_some(), false);
    let (of_test, held_out) = held_out_examples(how);
    let seed = config.split_seed;
    let masked = |part: &Part, pairing, masking| {
        MaskedText::new(part.cache.clone(), &part.documents, &tokenizer, pairing, masking, seed)
    };
    let [train_text, test_text] =
        [masked(&train, &pairing, masking)?, masked(&test, &of_test, held_out)?];
    let train_source = Masked::new(train_text, "data.train_count", asked[0], seed)?;
    let test_source = Masked::new(test_text, "data.test_count", asked[1], seed)?;
    let [train_source, test_source] = [train_source, test_source].map(Arc::new);
    account.text = Some(Box::new(TextAccount {
        vocabulary: tokenizer.size() as u64,
        asks: false,
        train: train.account(Source::len(&train_source))?,
        test: test.account(Source::len(&test_source))?,
        yardsticks: None,
    }));
    let contents = Contents::Text(TextSet {
        tokenizer: Arc::new(tokenizer),
        length: how.length,
        places: how.max_predictions,
        next: how.nsp,
        train: Arc::new(train),
        test: test_source.clone(),
    });
    let (train, test) = (Arc::new(Split::new(train_source)), Arc::new(Split::new(test_source)));
    Ok(Dataset { train, test, contents, account })
}

/// Opens all text at `path` to score a trained model on it: its test part, or the only part that there is.
///
/// # Errors
/// As [`open`].
pub fn open_to_score(
    path: &Path,
    tokenizer: &Tokenizer,
    how: &Examples,
    seed: u64,
) -> Result<Dataset, DataError> {
    let Corpus { train, held_out, mut account } = Corpus::open(path, None)?;
    let name = if held_out.is_some() { &account.test.name } else { &account.train.name }.clone();
    let text = held_out.unwrap_or(train);
    let outline = text.outline()?;
    let cache = Arc::new(TokenCache::open(None, &text, &outline, tokenizer)?);
    let part = Part { cache, documents: outline.documents, name, sha256: hex(&outline.hash) };
    let (pairing, masking) = held_out_examples(how);
    let cache = part.cache.clone();
    let text = MaskedText::new(cache, &part.documents, tokenizer, &pairing, masking, seed)?;
    let source = Arc::new(Masked { text, picks: None });
    account.text = Some(Box::new(TextAccount {
        vocabulary: tokenizer.size() as u64,
        asks: false,
        train: TextPart::default(),
        test: part.account(Source::len(&source))?,
        yardsticks: None,
    }));
    let contents = Contents::Text(TextSet {
        tokenizer: Arc::new(tokenizer.clone()),
        length: how.length,
        places: how.max_predictions,
        next: how.nsp,
        train: Arc::new(part),
        test: source.clone(),
    });
    let split = Arc::new(Split::new(source));
    Ok(Dataset { train: split.clone(), test: split, contents, account })
}

/// How each text is cut into `copies` rows of examples.
fn pairing(how: &Examples, copies: u32) -> Pairing {
    let &Examples { length, short_probability, nsp, .. } = how;
    Pairing { length, short_probability, nsp, copies }
}

/// How pieces are masked: the same in every epoch where `fixed`.
fn masking(how: &Examples, fixed: bool, only_masked: bool) -> Masking {
    let &Examples { max_predictions, whole_word, .. } = how;
    Masking { max_predictions, whole_word, fixed, only_masked }
}

/// Held-out text is cut once, masked once and for all, and counts where `[MASK]` is shown.
fn held_out_examples(how: &Examples) -> (Pairing, Masking) {
    (pairing(how, 1), masking(how, true, true))
}

/// How many words `config` promises before the text is read.
pub fn promised(config: &Text, how: &Examples) -> u32 {
    let tokenizer = match (config.kind, &how.vocab) {
        (TextKind::ProceduralText | TextKind::ProceduralQuestions, _) => {
            procedural::tokenizer(procedural::symbols(config)).ok()
        }
        (TextKind::Text | TextKind::Squad, Some(vocab)) => {
            Tokenizer::open(Path::new(vocab), how.lowercase).ok()
        }
        (TextKind::Text | TextKind::Squad, None) => None,
    };
    tokenizer.map_or(how.vocab_size, |tokenizer| tokenizer.size() as u32)
}

type Opened = (Tokenizer, [Part; 2], Account);

fn built_in(config: &Text, [train, test]: [u64; 2], how: &Examples) -> Result<Opened, DataError> {
    let symbols = procedural::symbols(config);
    let tokenizer = procedural::tokenizer(symbols)?;
    let documents = |examples| procedural::documents(examples, how.length, how.nsp);
    let part = |first, examples: u64| -> Result<Part, DataError> {
        let cache = Arc::new(procedural::chain(symbols, first, documents(examples)));
        let (documents, [name, sha256]) = (cache.documents()?, [const { String::new() }; 2]);
        Ok(Part { documents, cache, name, sha256 })
    };
    let mut account = Account::default();
    let second = match config.validation_fraction {
        Some(_) => {
            account.note(validation_note(test, train + test, "training examples"));
            documents(train) as u64
        }
        None => procedural::MOST,
    };
    Ok((tokenizer, [part(0, train)?, part(second, test)?], account))
}

fn read(
    config: &Text,
    how: &Examples,
    folder: Option<&Path>,
    kept: Option<&Tokenizer>,
) -> Result<Opened, DataError> {
    let path = config.path.as_deref().ok_or_else(|| {
        DataError::setting(
            "data.path",
            "is absent, and `data.kind` is \"text\"; give a text file or a folder of them",
        )
    })?;
    let Corpus { train, held_out, mut account } = Corpus::open(Path::new(path), None)?;
    let outline = train.outline()?;
    let mut of_test = held_out.as_ref().map(|text| text.outline()).transpose()?;
    let parts = [(Some(&outline), "training"), (of_test.as_ref(), "test")];
    for (outline, part) in parts.into_iter().filter_map(|(of, part)| Some((of?, part))) {
        if outline.headings > 0 {
            account.note(format!("{} headings of the {part} text are left out", outline.headings));
        }
        if let [first, ..] = &outline.empty[..] {
            let count = outline.empty.len();
            account.note(format!(
                "{count} of the {part} files have no sentence, the first is \"{first}\""
            ));
        }
    }
    let [mut documents, mut held] = match &of_test {
        Some(held_out) => [&outline.documents, &held_out.documents].map(Clone::clone),
        None => {
            let held_out = HeldOut::test(config.test_fraction, config.split_seed);
            part(&outline.documents, held_out)?
        }
    };
    let (train_name, mut test_name) = (account.train.name.clone(), account.test.name.clone());
    if let Some(fraction) = config.validation_fraction {
        let held_out = HeldOut::validation(fraction, config.split_seed);
        [documents, held] = validation(&documents, held_out, &mut account)?;
        // What is tested are documents of the training text from here on.
        (of_test, test_name) = (None, String::new());
    }
    let tokenizer = match kept {
        Some(kept) => kept.clone(),
        None => vocabulary_of(how, "text", &mut account, |normalizer| {
            train.count_words(normalizer, &documents)
        })?,
    };
    let cache = Arc::new(TokenCache::open(folder, &train, &outline, &tokenizer)?);
    let test_cache = match (&held_out, &of_test) {
        (Some(text), Some(outline)) => {
            Arc::new(TokenCache::open(folder, text, outline, &tokenizer)?)
        }
        _ => cache.clone(),
    };
    let sha256 = hex(&outline.hash);
    let test_sha256 = of_test.map_or_else(|| sha256.clone(), |outline| hex(&outline.hash));
    let parts = [
        Part { cache, documents, name: train_name, sha256 },
        Part { cache: test_cache, documents: held, name: test_name, sha256: test_sha256 },
    ];
    Ok((tokenizer, parts, account))
}

/// Training documents without those for validation, and these.
fn validation(
    all: &[Range<u64>],
    held_out: HeldOut,
    account: &mut Account,
) -> Result<[Vec<Range<u64>>; 2], DataError> {
    let [documents, validation] = part(all, held_out)?;
    let note = match all {
        // Of one document, the last sentences.
        [only] => {
            let sentences = |part: &Range<u64>| part.end - part.start;
            let count = validation.iter().map(sentences).sum();
            validation_note(count, sentences(only), "training sentences")
        }
        _ => validation_note(validation.len() as u64, all.len() as u64, "training documents"),
    };
    account.note(note);
    Ok([documents, validation])
}

/// The vocabulary that `how` names, else one trained on the words that `count` counts in the training `part`, which the account tells.
pub(super) fn vocabulary_of(
    how: &Examples,
    part: &str,
    account: &mut Account,
    count: impl FnOnce(Normalizer) -> Result<WordCounts, DataError>,
) -> Result<Tokenizer, DataError> {
    if let Some(vocab) = &how.vocab {
        return Tokenizer::open(Path::new(vocab), how.lowercase);
    }
    let normalizer = Normalizer::bert(how.lowercase.unwrap_or(true));
    let tokenizer = vocabulary::train(&count(normalizer)?, how.vocab_size as usize, normalizer)?;
    let pieces = tokenizer.size();
    account.note(format!("a vocabulary of {pieces} pieces was trained on the training {part}"));
    Ok(tokenizer)
}
