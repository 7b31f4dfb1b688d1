//! Exact match and F1 of answers, by SQuAD's rules, in f64 and in the order of the official arithmetic, so that they are
//! the same bits.
//!
//! Answers are compared in lower case, without ASCII punctuation, without the words *a*, *an*, *the*, and with single
//! spaces. A question counts by its best right answer.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use unicode_categories::UnicodeCategories;

use super::squad::{Question, Questions};

/// Scores in percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Answers that are a right one.
    pub exact: f64,
    /// Mean F1 over words.
    pub f1: f64,
    /// Questions.
    pub total: usize,
}

/// Scores of a set of answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Of all questions.
    pub all: Scores,
    /// Of those with an answer, in SQuAD 2.0.
    pub answerable: Option<Scores>,
    /// Of those without one, in SQuAD 2.0.
    pub unanswerable: Option<Scores>,
    /// Questions without a prediction: in SQuAD 1.1 they count as wrong, in 2.0 they do not count.
    pub missing: usize,
}

/// The threshold at which withheld answers score best, and the score.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// In percent.
    pub score: f64,
    /// Answers are withheld where the odds of none are above it.
    pub threshold: f64,
}

/// An answer as it is compared.
pub fn normalized(answer: &str) -> String {
    let lower = answer.to_lowercase();
    let plain: String = lower.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let mut kept = String::with_capacity(plain.len());
    let mut rest = &plain[..];
    while let Some(first) = rest.chars().next() {
        let inside = is_word(first);
        let end = rest.find(|c| is_word(c) != inside).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        kept += if matches!(run, "a" | "an" | "the") { " " } else { run };
        rest = after;
    }
    kept.split(is_blank).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// What Python's `\w` is: letters and numbers (of the ASCII ones alone the underscore is neither, and it is gone).
fn is_word(c: char) -> bool {
    let mark = c.is_mark_nonspacing() || c.is_mark_spacing_combining() || c.is_mark_enclosing();
    c.is_alphanumeric() && !mark && !c.is_symbol() || c.is_number() || c == '_'
}

/// What Python's `split` cuts at.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Whether two answers are the same.
pub fn exact(prediction: &str, truth: &str) -> bool {
    normalized(prediction) == normalized(truth)
}

/// F1 over the words of two answers; `nothing` is what two answers without a word are worth (SQuAD 2.0 says 1).
pub fn f1(prediction: &str, truth: &str, nothing: f64) -> f64 {
    let (prediction, truth) = (normalized(prediction), normalized(truth));
    let words = |text: &'_ str| text.split(' ').filter(|word| !word.is_empty()).count();
    let (predicted, right) = (words(&prediction), words(&truth));
    if predicted == 0 || right == 0 {
        return if predicted == right { nothing } else { 0.0 };
    }
    let mut there: HashMap<&str, usize> = HashMap::new();
    truth.split(' ').for_each(|word| *there.entry(word).or_default() += 1);
    let same = prediction.split(' ').filter(|word| match there.get_mut(word) {
        Some(left @ 1..) => {
            *left -= 1;
            true
        }
        _ => false,
    });
    let same = same.count() as f64;
    if same == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (same / predicted as f64, same / right as f64);
    (2.0 * precision * recall) / (precision + recall)
}

/// Exact match and F1 of an answer to a question.
fn of_question(question: &Question, prediction: &str, unanswerable: bool) -> (f64, f64) {
    let nothing = if unanswerable { 1.0 } else { 0.0 };
    let right = question.answers.iter().map(|answer| answer.text.as_str());
    // SQuAD 2.0 passes right answers over that have no word, and where none is left, no answer is right.
    let mut right: Vec<&str> =
        right.filter(|text| !unanswerable || !normalized(text).is_empty()).collect();
    if right.is_empty() {
        right.push("");
    }
    let best =
        |score: &dyn Fn(&str) -> f64| right.iter().map(|right| score(right)).fold(0.0, f64::max);
    let exact = best(&|right| f64::from(u8::from(exact(prediction, right))));
    (exact, best(&|right| f1(prediction, right, nothing)))
}

/// Scores the predictions for all questions. With `odds` of no answer and a threshold, answers are withheld above it.
pub fn score(
    questions: &Questions,
    predictions: &HashMap<String, String>,
    odds: Option<(&HashMap<String, f64>, f64)>,
) -> Scored {
    let each = scores(questions, predictions);
    let (mut all, mut parts) = (Sum::default(), [Sum::default(); 2]);
    for (question, (exact, f1)) in &each {
        let answerable = !question.answers.is_empty();
        let withheld = odds.is_some_and(|(odds, threshold)| {
            odds.get(&question.id).is_some_and(|odds| *odds > threshold)
        });
        let none = f64::from(u8::from(!answerable));
        let (exact, f1) = if withheld { (none, none) } else { (*exact, *f1) };
        all.add(exact, f1);
        parts[usize::from(!answerable)].add(exact, f1);
    }
    let missing = questions.questions.len() - each.len();
    let two = questions.unanswerable;
    if !two {
        all.total += missing;
    }
    let [answerable, unanswerable] =
        parts.map(|part| (two && part.total > 0).then(|| part.scores()));
    Scored { all: all.scores(), answerable, unanswerable, missing }
}

/// The exact match and F1, from 0 to 1, of each question that has a prediction.
fn scores<'a>(
    questions: &'a Questions,
    predictions: &HashMap<String, String>,
) -> Vec<(&'a Question, (f64, f64))> {
    let scored = |question: &'a Question| {
        let prediction = predictions.get(&question.id)?;
        Some((question, of_question(question, prediction, questions.unanswerable)))
    };
    questions.questions.iter().filter_map(scored).collect()
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    exact: f64,
    f1: f64,
    total: usize,
}

impl Sum {
    fn add(&mut self, exact: f64, f1: f64) {
        self.exact += exact;
        self.f1 += f1;
        self.total += 1;
    }

    fn scores(self) -> Scores {
        let total = self.total.max(1) as f64;
        Scores { exact: 100.0 * self.exact / total, f1: 100.0 * self.f1 / total, total: self.total }
    }
}

/// The best thresholds for exact match and for F1 (SQuAD 2.0): what withholding answers would gain, by the odds of none.
pub fn best_thresholds(
    questions: &Questions,
    predictions: &HashMap<String, String>,
    odds: &HashMap<String, f64>,
) -> (Best, Best) {
    let each = scores(questions, predictions);
    let odds_of = |question: &Question| odds.get(&question.id).copied().unwrap_or(0.0);
    let mut order: Vec<usize> = (0..each.len()).collect();
    order.sort_by(|a, b| odds_of(each[*a].0).total_cmp(&odds_of(each[*b].0)));
    let find = |which: &dyn Fn((f64, f64)) -> f64| {
        let none = each.iter().filter(|(question, _)| question.answers.is_empty()).count();
        let (mut now, mut best, mut threshold) = (none as f64, none as f64, 0.0);
        for &at in &order {
            let (question, scores) = each[at];
            let answers = predictions.get(&question.id).is_some_and(|answer| !answer.is_empty());
            now += match (question.answers.is_empty(), answers) {
                (false, _) => which(scores),
                (true, true) => -1.0,
                (true, false) => 0.0,
            };
            if now > best {
                (best, threshold) = (now, odds_of(question));
            }
        }
        Best { score: 100.0 * best / each.len().max(1) as f64, threshold }
    };
    (find(&|scores| scores.0), find(&|scores| scores.1))
}
