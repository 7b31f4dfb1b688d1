//! Opens texts as data sets of masked words.

use std::path::Path;
use std::sync::Arc;

use super::cache::TokenCache;
use super::masks::{MaskedText, Masking};
use super::pairs::Pairing;
use super::set::{Masked, Part, TextSet};
use super::{Corpus, Normalizer, Tokenizer, procedural, vocabulary};
use crate::config::{Examples, Text, TextKind};
use crate::data::DataError;
use crate::data::account::{Account, TextAccount, TextPart};
use crate::data::dataset::{Contents, Dataset};
use crate::data::source::{Source, Split};

/// Examples of `procedural_text` unless counts are given: for training and for testing.
const PROCEDURAL: [u64; 2] = [20_000, 2_000];

/// Opens the text that `config` names, whose examples are made as `how` says. Its tokens are kept in `cache`, a folder; without one, in memory.
///
/// # Errors
/// Whatever is wrong with the files or the settings, as one sentence.
pub fn open(config: &Text, how: &Examples, cache: Option<&Path>) -> Result<Dataset, DataError> {
    let (tokenizer, [train, test], mut account) = match config.kind {
        TextKind::ProceduralText => built_in(config, how)?,
        _ => read(config, how, cache)?,
    };
    let pairing = Pairing {
        length: how.length,
        short_probability: how.short_probability,
        nsp: how.nsp,
        copies: how.dupe_factor.unwrap_or(1),
    };
    let masking = Masking {
        max_predictions: how.max_predictions,
        whole_word: how.whole_word,
        fixed: how.dupe_factor.is_some(),
        only_masked: false,
    };
    // Held-out text is masked once and for all, and counts where `[MASK]` is shown.
    let (of_test, held_out) =
        (Pairing { copies: 1, ..pairing }, Masking { fixed: true, only_masked: true, ..masking });
    let seed = config.split_seed;
    let masked = |part: &Part, pairing, masking| {
        MaskedText::new(part.cache.clone(), &part.documents, &tokenizer, pairing, masking, seed)
    };
    let [train_text, test_text] =
        [masked(&train, &pairing, masking)?, masked(&test, &of_test, held_out)?];
    let asked = match config.kind {
        TextKind::ProceduralText => {
            let [train, test] = PROCEDURAL;
            [config.train_count.or(Some(train)), config.test_count.or(Some(test))]
        }
        _ => [config.train_count, config.test_count],
    };
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
    let part = Part { cache, documents: outline.documents, name };
    let pairing = Pairing {
        length: how.length,
        short_probability: how.short_probability,
        nsp: how.nsp,
        copies: 1,
    };
    let masking = Masking {
        max_predictions: how.max_predictions,
        whole_word: how.whole_word,
        fixed: true,
        only_masked: true,
    };
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

/// How many words `config` promises before the text is read.
pub fn promised(config: &Text, how: &Examples) -> u32 {
    let tokenizer = match (config.kind, &how.vocab) {
        (TextKind::ProceduralText | TextKind::ProceduralQuestions, _) => {
            procedural::tokenizer().ok()
        }
        (TextKind::Text | TextKind::Squad, Some(vocab)) => {
            Tokenizer::open(Path::new(vocab), how.lowercase).ok()
        }
        (TextKind::Text | TextKind::Squad, None) => None,
    };
    tokenizer.map_or(how.vocab_size, |tokenizer| tokenizer.size() as u32)
}

type Opened = (Tokenizer, [Part; 2], Account);

fn built_in(config: &Text, how: &Examples) -> Result<Opened, DataError> {
    let tokenizer = procedural::tokenizer()?;
    let [train, test] = PROCEDURAL;
    let part = |first, examples: u64| -> Result<Part, DataError> {
        let cache = Arc::new(procedural::chain(
            first,
            procedural::documents(examples, how.length, how.nsp),
        ));
        Ok(Part { documents: cache.documents()?, cache, name: String::new() })
    };
    let parts = [
        part(0, config.train_count.unwrap_or(train))?,
        part(procedural::MOST, config.test_count.unwrap_or(test))?,
    ];
    Ok((tokenizer, parts, Account::default()))
}

fn read(config: &Text, how: &Examples, folder: Option<&Path>) -> Result<Opened, DataError> {
    let path = config.path.as_deref().ok_or_else(|| {
        DataError::setting(
            "data.path",
            "is absent, and `data.kind` is \"text\"; give a text file or a folder of them",
        )
    })?;
    let Corpus { train, held_out, mut account } = Corpus::open(Path::new(path), None)?;
    let outline = train.outline()?;
    let of_test = held_out.as_ref().map(|text| text.outline()).transpose()?;
    let parts = [(Some(&outline), "training"), (of_test.as_ref(), "test")];
    for (outline, part) in parts.into_iter().filter_map(|(of, part)| Some((of?, part))) {
        if outline.headings > 0 {
            account.note(format!("{} headings of the {part} text are left out", outline.headings));
        }
        if let [first, ..] = &outline.empty[..] {
            let count = outline.empty.len();
            account
                .note(format!("{count} {part} files have no sentence, the first is \"{first}\""));
        }
    }
    let [documents, held] = match &of_test {
        Some(held_out) => [&outline.documents, &held_out.documents].map(Clone::clone),
        None => outline.split(config.test_fraction, config.split_seed)?,
    };
    let tokenizer = match &how.vocab {
        Some(vocab) => Tokenizer::open(Path::new(vocab), how.lowercase)?,
        None => {
            let normalizer = Normalizer::bert(how.lowercase.unwrap_or(true));
            let counts = train.count_words(normalizer, &documents)?;
            let tokenizer = vocabulary::train(&counts, how.vocab_size as usize, normalizer)?;
            account.note(format!(
                "a vocabulary of {} pieces was trained on the training text",
                tokenizer.size()
            ));
            tokenizer
        }
    };
    let names = [&account.train.name, &account.test.name].map(Clone::clone);
    let cache = Arc::new(TokenCache::open(folder, &train, &outline, &tokenizer)?);
    let of_test = match (&held_out, &of_test) {
        (Some(text), Some(outline)) => {
            Arc::new(TokenCache::open(folder, text, outline, &tokenizer)?)
        }
        _ => cache.clone(),
    };
    let [train_name, test_name] = names;
    let parts = [
        Part { cache, documents, name: train_name },
        Part { cache: of_test, documents: held, name: test_name },
    ];
    Ok((tokenizer, parts, account))
}
