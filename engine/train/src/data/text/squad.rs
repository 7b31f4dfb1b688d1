//! Questions about paragraphs, as SQuAD 1.1 and 2.0 have them, and the windows in which a network reads them.
//!
//! Windows are those of transformers' `run_qa`: `[CLS] question [SEP] part of the context [SEP]`, where neighbouring parts
//! *overlap* by `doc_stride` pieces; blanks before a question are taken off, and all offsets count code points. The
//! first answer is learnt; a window that does not hold all of it, and a question without an answer, point at `[CLS]`.
//! Where `run_qa` runs past the context (an answer of the window's last piece gets a start in the padding), a start
//! here is the piece itself. A question is cut to what leaves the context one piece more than the overlap, where
//! `run_qa` would stop; [`Windows::cut`] counts them.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Tokenizer;
use crate::data::DataError;
use crate::data::source::HeldOut;
use crate::random;
use crate::text::{escape, hex};
use crate::threads::parallel;

/// A key that keeps the split of articles apart from other random numbers.
pub(super) const ARTICLES: u64 = 0x7371_7561_6400;
/// The largest file that is read.
const MOST_BYTES: u64 = 1 << 30;

/// Questions and the paragraphs that they are about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Questions {
    /// Whether there may be questions without an answer (SQuAD 2.0).
    pub unanswerable: bool,
    /// The paragraphs.
    pub contexts: Vec<Context>,
    /// In the order of the file.
    pub questions: Vec<Question>,
}

/// A paragraph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The number of its article, which splits keep whole.
    pub article: usize,
    /// Its text.
    pub text: String,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its name, which predictions go by.
    pub id: String,
    /// Its text.
    pub text: String,
    /// The number of its context.
    pub context: usize,
    /// Right answers; none where the context has none.
    pub answers: Vec<Answer>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Answer {
    /// Its words.
    pub text: String,
    /// Its first code point in the context.
    #[serde(rename = "answer_start")]
    pub start: u32,
}

impl Answer {
    /// The code point behind its last.
    fn end(&self) -> u32 {
        self.start.saturating_add(self.text.chars().count() as u32)
    }
}

#[derive(Deserialize)]
struct FileOf {
    #[serde(default)]
    version: String,
    data: Vec<Article>,
}

#[derive(Deserialize)]
struct Article {
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    id: String,
    question: String,
    #[serde(default)]
    answers: Vec<Answer>,
    is_impossible: Option<bool>,
}

impl Questions {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It cannot be read or is no SQuAD; two questions of one name; an answer that does not stand where it says.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        Self::open_summed(path).map(|(all, _)| all)
    }

    /// [`Self::open`], and the SHA-256 of the file in hexadecimal digits.
    pub(super) fn open_summed(path: &Path) -> Result<(Self, String), DataError> {
        let mut text = Vec::new();
        let file = std::fs::File::open(path).map_err(DataError::read(path))?;
        file.take(MOST_BYTES + 1).read_to_end(&mut text).map_err(DataError::read(path))?;
        if text.len() as u64 > MOST_BYTES {
            let problem = format!("has more than the {MOST_BYTES} bytes that are read");
            return Err(DataError::malformed(path, problem));
        }
        let all = Self::parse(&text).map_err(|problem| DataError::malformed(path, problem))?;
        Ok((all, hex(&Sha256::digest(&text))))
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// As [`Self::open`], as the end of a sentence.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let file: FileOf =
            serde_json::from_slice(json).map_err(|error| format!("is no SQuAD: {error}"))?;
        let mut all = Self::default();
        let asked =
            || file.data.iter().flat_map(|article| &article.paragraphs).flat_map(|p| &p.qas);
        let version = file.version.trim_start_matches('v');
        all.unanswerable =
            version.starts_with('2') || asked().any(|asked| asked.is_impossible.is_some());
        let mut names = HashSet::new();
        for (article, paragraphs) in
            file.data.into_iter().map(|article| article.paragraphs).enumerate()
        {
            for Paragraph { context, qas } in paragraphs {
                for asked in qas {
                    if !names.insert(asked.id.clone()) {
                        return Err(format!(
                            "has two questions with the id \"{}\"",
                            escape(&asked.id)
                        ));
                    }
                    let question = Question::new(asked, &context, all.contexts.len());
                    all.questions.push(question.and_then(|question| {
                        if question.answers.is_empty() && !all.unanswerable {
                            return Err(format!(
                                "question \"{}\" has no answer, which only SQuAD 2.0 allows",
                                escape(&question.id)
                            ));
                        }
                        Ok(question)
                    })?);
                }
                all.contexts.push(Context { article, text: context });
            }
        }
        match all.questions.is_empty() {
            true => Err("has no questions".into()),
            false => Ok(all),
        }
    }

    /// Two sets, the second with the articles that are held out.
    ///
    /// # Errors
    /// The share is not between 0 and 1, or there is one article only.
    pub(in crate::data) fn split(&self, held_out: HeldOut) -> Result<(Self, Self), DataError> {
        held_out.fraction()?;
        let mut articles: Vec<usize> =
            self.contexts.iter().map(|context| context.article).collect();
        articles.dedup();
        let all = articles.len();
        if all < 2 {
            let problem = "the questions are about one article, which is not split";
            return Err(DataError::setting(held_out.key, problem));
        }
        let count = held_out.count(all as u64)? as usize;
        let order = random::permutation(all, &held_out.draw);
        let test: HashSet<usize> = order[all - count..].iter().map(|at| articles[*at]).collect();
        Ok((
            self.of(|article| !test.contains(&article)),
            self.of(|article| test.contains(&article)),
        ))
    }

    /// The questions about the articles that `wanted` names.
    fn of(&self, wanted: impl Fn(usize) -> bool) -> Self {
        let mut part = Self { unanswerable: self.unanswerable, ..Self::default() };
        let mut places = vec![None; self.contexts.len()];
        for (at, context) in self.contexts.iter().enumerate().filter(|(_, c)| wanted(c.article)) {
            places[at] = Some(part.contexts.len());
            part.contexts.push(context.clone());
        }
        let moved = |question: &Question| {
            Some(Question { context: places[question.context]?, ..question.clone() })
        };
        part.questions = self.questions.iter().filter_map(moved).collect();
        part
    }

    /// The context of a question.
    pub fn context(&self, question: &Question) -> &str {
        &self.contexts[question.context].text
    }
}

impl Question {
    fn new(asked: Asked, context: &str, number: usize) -> Result<Self, String> {
        let Asked { id, question: text, answers, is_impossible } = asked;
        let answers = if is_impossible == Some(true) { Vec::new() } else { answers };
        for answer in &answers {
            let end = answer.end();
            if answer.text.is_empty() || part(context, answer.start, end) != answer.text {
                let (id, words) = (escape(&id), escape(&answer.text));
                let at = answer.start;
                return Err(format!(
                    "question \"{id}\" has the answer \"{words}\", which is not at code point {at} of its context"
                ));
            }
        }
        Ok(Self { id, text, context: number, answers })
    }
}

/// The code points of `text` from `start` until `end`, as far as there are some.
pub(super) fn part(text: &str, start: u32, end: u32) -> &str {
    let mut bounds = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    let from = bounds.nth(start as usize).unwrap_or(text.len());
    let until = match end.saturating_sub(start).checked_sub(1) {
        Some(more) => bounds.nth(more as usize).unwrap_or(text.len()),
        None => from,
    };
    &text[from..until]
}

/// How contexts are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cutting {
    /// Pieces of a window, marks among them.
    pub length: u32,
    /// Pieces that neighbouring windows share.
    pub doc_stride: u32,
}

/// What a network reads at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The number of its question.
    pub question: usize,
    /// Pieces, filled up with `[PAD]`.
    pub input_ids: Vec<u32>,
    /// 0 in the question and behind the end, 1 in the context.
    pub token_type_ids: Vec<u32>,
    /// Pieces before the end.
    pub length: u32,
    /// The place of the first piece of the context.
    pub context: u32,
    /// Where each piece of the context lies in it, in code points.
    pub offsets: Vec<(u32, u32)>,
    /// The places of the answer's first and last pieces; 0 where there is none in the window.
    pub answer: (u32, u32),
}

/// The windows of all questions, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Windows {
    /// The windows.
    pub windows: Vec<Window>,
    /// Questions that were cut because they leave too little room.
    pub cut: u64,
}

/// Cuts the contexts of all questions into windows.
///
/// # Errors
/// The length leaves no room for `doc_stride` and a question of one piece.
pub fn windows(
    questions: &Questions,
    tokenizer: &Tokenizer,
    cutting: Cutting,
) -> Result<Windows, DataError> {
    let Cutting { length, doc_stride } = cutting;
    // Three marks, a piece of the question, and one of the context behind the overlap.
    let Some(spare) = length.checked_sub(5).and_then(|room| room.checked_sub(doc_stride)) else {
        let problem = format!(
            "{doc_stride} leaves no room in windows of {length}; at most {} does",
            length.saturating_sub(5)
        );
        return Err(DataError::setting("finetune.doc_stride", problem));
    };
    let longest = spare as usize + 1;
    let made = parallel(questions.questions.len(), |number| {
        let question = &questions.questions[number];
        let mut asked = tokenizer.encode_marked(question.text.trim_start()).ids;
        let cut = asked.len() > longest;
        asked.truncate(longest);
        let context = tokenizer.encode_marked(questions.context(question));
        let room = length as usize - 3 - asked.len();
        let step = room - doc_stride as usize;
        let mut windows = Vec::new();
        let mut first = 0;
        loop {
            let end = context.ids.len().min(first + room);
            let offsets = context.offsets[first..end].to_vec();
            let ids = [&asked[..], &context.ids[first..end]];
            windows.push(window(number, question, ids, offsets, tokenizer, length as usize));
            if end == context.ids.len() {
                break;
            }
            first += step;
        }
        Ok(Some((windows, cut)))
    })?;
    let mut all = Windows::default();
    for (windows, cut) in made.into_iter().flatten() {
        all.windows.extend(windows);
        all.cut += u64::from(cut);
    }
    Ok(all)
}

fn window(
    number: usize,
    question: &Question,
    [asked, context]: [&[u32]; 2],
    offsets: Vec<(u32, u32)>,
    tokenizer: &Tokenizer,
    length: usize,
) -> Window {
    let specials = tokenizer.specials();
    let (cls, sep) = ([specials.cls], [specials.sep]);
    let mut ids = [&cls[..], asked, &sep, context, &sep].concat();
    let (first, count) = (asked.len() + 2, ids.len());
    let mut kinds = vec![0; first];
    kinds.resize(count, 1);
    kinds.resize(length, 0);
    ids.resize(length, specials.pad);
    let answer = question.answers.first().and_then(|answer| {
        let end = answer.end();
        let (begins, ends) = (offsets.first()?.0 <= answer.start, offsets.last()?.1 >= end);
        let start = offsets.iter().rposition(|(from, _)| *from <= answer.start)?;
        let last = offsets.iter().position(|(_, until)| *until >= end)?;
        (begins && ends).then_some(((first + start) as u32, (first + last) as u32))
    });
    Window {
        question: number,
        input_ids: ids,
        token_type_ids: kinds,
        length: count as u32,
        context: first as u32,
        offsets,
        answer: answer.unwrap_or_default(),
    }
}
