//! A look at a text without training on it: what there is of it, and some examples with their masks.

use serde::{Deserialize, Serialize};

use super::{Tokenizer, open, questions};
use crate::batch::{Batch, Numbers};
use crate::config::{Examples, Finetune, Text};
use crate::data::DataError;
use crate::data::account::Account;
use crate::data::dataset::{Contents, Dataset};
use crate::data::source::Split;
use crate::nn::{LENGTHS, PLACES, TOKENS};
use crate::step::{ENDS, LABELS, NO_LABEL, STARTS};

/// Pieces of the vocabulary that a survey trains.
const VOCABULARY: u32 = 8192;

/// How a token of an example is shown to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// As it is; nothing is asked.
    Plain,
    /// As `[MASK]`.
    Masked,
    /// As it is, and asked for all the same.
    Kept,
    /// As another one.
    Other,
    /// In the answer to the question.
    Answer,
}

/// A token of an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Token {
    /// The piece that stands there.
    pub text: String,
    /// How it is shown.
    pub shown: Shown,
}

/// What a text holds.
#[derive(Debug, Clone)]
pub struct Survey {
    /// Some training and test examples.
    pub samples: [Vec<Vec<Token>>; 2],
    /// What was found.
    pub account: Account,
}

/// Looks at the text that `config` names, with a vocabulary of its own, and shows at most `samples` examples of each part.
///
/// # Errors
/// As a run on it.
pub fn survey(config: &Text, samples: usize) -> Result<Survey, DataError> {
    let how =
        Examples { vocab_size: VOCABULARY, length: 64, max_predictions: 10, ..Examples::default() };
    let finetune = Finetune { doc_stride: 16, ..Finetune::default() };
    let Dataset { train, test, contents, account } = match config.kind.asks() {
        true => questions::open(config, &Examples { length: 128, ..how }, &finetune, None)?,
        false => open(config, &how, None, None)?,
    };
    let shown = |split: &Split| -> Result<Vec<Vec<Token>>, DataError> {
        let samples = samples.min(split.len());
        let picks: Vec<usize> = (0..samples).map(|k| k * split.len() / samples).collect();
        match &contents {
            Contents::Text(text) => masked(split, &picks, &text.tokenizer),
            Contents::Questions(of) => answered(split, &picks, &of.tokenizer),
            Contents::Images(_) => Ok(Vec::new()),
        }
    };
    Ok(Survey { samples: [shown(&train)?, shown(&test)?], account })
}

/// Examples of masked words.
fn masked(
    split: &Split,
    picks: &[usize],
    tokenizer: &Tokenizer,
) -> Result<Vec<Vec<Token>>, DataError> {
    let mut all = Vec::new();
    for &pick in picks {
        let batch = split.gather(&[pick])?;
        let of = |name: &str| numbers(&batch, name);
        let length = of(LENGTHS).first().copied().unwrap_or(0) as usize;
        let mut tokens: Vec<(u32, Shown)> =
            of(TOKENS).iter().take(length).map(|&id| (id, Shown::Plain)).collect();
        for (&place, &label) in of(PLACES).iter().zip(of(LABELS)) {
            if let Some((id, how)) = tokens.get_mut(place as usize)
                && place > 0
            {
                let mask = tokenizer.specials().mask;
                let unasked = label == NO_LABEL;
                *how = match *id {
                    id if id == mask => Shown::Masked,
                    _ if unasked => Shown::Plain,
                    id if id == label => Shown::Kept,
                    _ => Shown::Other,
                };
                *id = if unasked { *id } else { label };
            }
        }
        let token = |(id, shown): (u32, Shown)| Token {
            text: tokenizer.pieces()[id as usize].clone(),
            shown,
        };
        all.push(tokens.into_iter().map(token).collect());
    }
    Ok(all)
}

/// Windows of questions, with their answers.
fn answered(
    split: &Split,
    picks: &[usize],
    tokenizer: &Tokenizer,
) -> Result<Vec<Vec<Token>>, DataError> {
    let window = |&pick: &usize| {
        let batch = split.gather(&[pick])?;
        let first = |name: &str| numbers(&batch, name).first().map_or(0, |n| *n as usize);
        let (start, end) = (first(STARTS), first(ENDS));
        let token = |(at, &id): (usize, &u32)| Token {
            text: tokenizer.pieces()[id as usize].clone(),
            shown: match (start..=end).contains(&at) && start > 0 {
                true => Shown::Answer,
                false => Shown::Plain,
            },
        };
        Ok(numbers(&batch, TOKENS).iter().take(first(LENGTHS)).enumerate().map(token).collect())
    };
    picks.iter().map(window).collect()
}

/// A field of whole numbers; none where it is not there.
fn numbers<'b>(batch: &'b Batch, name: &str) -> &'b [u32] {
    match batch.field(name) {
        Some(Numbers::U32(numbers)) => numbers,
        Some(Numbers::F32(_)) | None => &[],
    }
}
