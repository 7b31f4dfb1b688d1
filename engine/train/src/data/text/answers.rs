//! From scores of places to answers, as transformers' `run_qa` finds them.

use serde_json::{Map, Value};

use super::squad::{Question, Questions, Window, part};

/// How answers are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choosing {
    /// The best places that are tried for a start and for an end, and the candidates that are kept.
    pub n_best: usize,
    /// The most pieces of an answer.
    pub max_answer_length: u32,
    /// No answer is given where its score is above the best answer's by more than this (SQuAD 2.0).
    pub null_threshold: f32,
}

/// A possible answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Its words; empty for no answer.
    pub text: String,
    /// Scores of its first and of its last piece.
    pub scores: (f32, f32),
    /// Among the candidates that are kept.
    pub probability: f32,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// Its words; empty for no answer.
    pub text: String,
    /// The likeliest first.
    pub candidates: Vec<Candidate>,
    /// Whether there are words among them. Where not, `run_qa`'s own word, "empty", stands first.
    pub found: bool,
    /// Score of no answer less that of the best answer (SQuAD 2.0).
    pub null_odds: Option<f32>,
}

/// The answer to question `question` by its windows, each with the scores of its places as a start and as an end.
pub fn answer(
    questions: &Questions,
    question: &Question,
    windows: &[(&Window, &[f32], &[f32])],
    how: &Choosing,
) -> Answered {
    let mut found: Vec<((u32, u32), (f32, f32))> = Vec::new();
    // No answer is as likely as in the window that thinks least of it.
    let mut null: Option<(f32, f32)> = None;
    for (window, starts, ends) in windows {
        let scores = (starts[0], ends[0]);
        if null.is_none_or(|null| null.0 + null.1 > scores.0 + scores.1) {
            null = Some(scores);
        }
        let place =
            |at: usize| window.offsets.get(at.checked_sub(window.context as usize)?).copied();
        let last = best(ends, how.n_best);
        for start in best(starts, how.n_best) {
            for &end in &last {
                let (Some((from, _)), Some((_, until))) = (place(start), place(end)) else {
                    continue;
                };
                if end >= start && end - start < how.max_answer_length as usize {
                    found.push(((from, until), (starts[start], ends[end])));
                }
            }
        }
    }
    let null = null.filter(|_| questions.unanswerable);
    found.extend(null.map(|scores| ((0, 0), scores)));
    found.sort_by(|a, b| descending(a.1.0 + a.1.1, b.1.0 + b.1.1));
    let kept_null = found.iter().take(how.n_best).any(|(offsets, _)| *offsets == (0, 0));
    found.truncate(how.n_best);
    if let (Some(scores), false) = (null, kept_null) {
        found.push(((0, 0), scores));
    }
    let context = questions.context(question);
    let candidate = |((from, until), scores)| Candidate {
        text: part(context, from, until).to_owned(),
        scores,
        probability: 0.0,
    };
    let mut candidates: Vec<Candidate> = found.into_iter().map(candidate).collect();
    let any = candidates.iter().any(|candidate| !candidate.text.is_empty());
    if !any {
        let empty = Candidate { text: "empty".into(), scores: (0.0, 0.0), probability: 0.0 };
        candidates.insert(0, empty);
    }
    weigh(&mut candidates);
    let best = candidates.iter().find(|candidate| !candidate.text.is_empty());
    let best = best.map_or_else(Default::default, |best| (best.text.clone(), best.scores));
    let null_odds = null.map(|null| null.0 + null.1 - best.1.0 - best.1.1);
    let refused = null_odds.is_some_and(|odds| odds > how.null_threshold);
    let text = if refused {
        String::new()
    } else if null.is_some() {
        best.0
    } else {
        candidates[0].text.clone()
    };
    Answered { text, candidates, found: any, null_odds }
}

fn descending(a: f32, b: f32) -> std::cmp::Ordering {
    b.partial_cmp(&a).unwrap_or(std::cmp::Ordering::Equal)
}

/// The `count` best places, the best first; of two that are as good, the later one.
fn best(scores: &[f32], count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..scores.len()).rev().collect();
    places.sort_by(|a, b| descending(scores[*a], scores[*b]));
    places.truncate(count);
    places
}

/// Probabilities of candidates by their scores.
fn weigh(candidates: &mut [Candidate]) {
    let score = |candidate: &Candidate| candidate.scores.0 + candidate.scores.1;
    let most = candidates.iter().map(score).fold(f32::NEG_INFINITY, f32::max);
    let total: f32 = candidates.iter().map(|candidate| (score(candidate) - most).exp()).sum();
    for candidate in candidates {
        candidate.probability = (score(candidate) - most).exp() / total;
    }
}

/// The official file of predictions: an answer for each question's id.
pub fn prediction_file(questions: &Questions, answers: &[Answered]) -> String {
    let all = questions.questions.iter().zip(answers);
    let all: Map<String, Value> =
        all.map(|(question, answer)| (question.id.clone(), answer.text.clone().into())).collect();
    format!("{:#}\n", Value::from(all))
}
