//! SQuAD: windows, answers and scores.

use std::collections::HashMap;

use super::super::answers::{Choosing, answer, prediction_file};
use super::super::metrics::{Best, best_thresholds, f1, normalized, score};
use super::super::squad::{Answer, Context, Cutting, Question, Window, windows};
use super::super::{procedural, squad};
use super::*;

fn read(json: &Value) -> Questions {
    Questions::parse(json.to_string().as_bytes()).expect("questions")
}

#[test]
fn windows_and_answers_are_those_of_run_qa() {
    let golden = golden("squad.json");
    let tokenizer = Tokenizer::new(strings(&golden["vocabulary"]), Normalizer::bert(true))
        .expect("a tokenizer");
    let all = read(&golden["questions"]);
    for setting in golden["settings"].as_array().expect("settings") {
        let number = |key: &str| setting[key].as_u64().expect("a number") as u32;
        let cutting = Cutting { length: number("length"), doc_stride: number("doc_stride") };
        let wanted = setting["windows"].as_array().expect("windows");
        let mut questions = all.clone();
        // The shortest windows are too short for one question there.
        questions
            .questions
            .retain(|question| wanted.iter().any(|window| window["id"] == question.id));
        let made = windows(&questions, &tokenizer, cutting).expect("windows");
        assert_eq!((made.windows.len(), made.cut), (wanted.len(), 0));
        for (window, wanted) in made.windows.iter().zip(wanted) {
            let id = &questions.questions[window.question].id;
            assert_eq!(wanted["id"], *id);
            assert_eq!(window.input_ids, list::<u32>(&wanted["ids"]), "{id}");
            assert_eq!(window.token_type_ids, list::<u32>(&wanted["kinds"]), "{id}");
            assert_eq!(wanted["length"], window.length, "{id}");
            assert_eq!(wanted["context"], window.context, "{id}");
            assert_eq!(window.offsets, list::<(u32, u32)>(&wanted["offsets"]), "{id}");
            assert_eq!(
                [window.answer.0, window.answer.1],
                list::<u32>(&wanted["answer"])[..],
                "{id}"
            );
        }
        let scores = ["starts", "ends"].map(|key| list::<Vec<f32>>(&setting[key]));
        for (name, chosen) in setting["chosen"].as_object().expect("a map") {
            let (version, threshold) = name.split_once(' ').expect("two words");
            questions.unanswerable = version == "2";
            let how = Choosing {
                n_best: number("n_best") as usize,
                max_answer_length: number("max_answer_length"),
                null_threshold: threshold.parse().expect("a number"),
            };
            check_answers(&questions, &made.windows, &scores, &how, chosen);
        }
    }
}

fn check_answers(
    questions: &Questions,
    windows: &[Window],
    [starts, ends]: &[Vec<Vec<f32>>; 2],
    how: &Choosing,
    wanted: &Value,
) {
    let mut all = Vec::new();
    for (number, question) in questions.questions.iter().enumerate() {
        let of = (0..windows.len()).filter(|at| windows[*at].question == number);
        let of: Vec<_> = of.map(|at| (&windows[at], &starts[at][..], &ends[at][..])).collect();
        let found = answer(questions, question, &of, how);
        let id = &question.id;
        assert_eq!(wanted["answers"][id], found.text, "{id}");
        if let Some(odds) = wanted["odds"][id].as_f64() {
            assert_eq!(found.null_odds.map(f64::from), Some(odds), "{id}");
        }
        if let Some(best) = wanted["n_best"][id].as_array() {
            assert_eq!(found.candidates.len(), best.len(), "{id}");
            for (candidate, best) in found.candidates.iter().zip(best) {
                assert_eq!(best[0], candidate.text, "{id}");
                let probability = best[1].as_f64().expect("a number");
                assert!((f64::from(candidate.probability) - probability).abs() < 1e-6, "{id}");
            }
        }
        all.push(found);
    }
    let file: Value = serde_json::from_str(&prediction_file(questions, &all)).expect("JSON");
    assert_eq!(file, wanted["answers"]);
}

/// An f64 of its bits in hexadecimal.
fn bits(value: &Value) -> f64 {
    f64::from_bits(u64::from_str_radix(value.as_str().expect("digits"), 16).expect("hexadecimal"))
}

/// The questions of `metrics.json` that `wanted` takes.
fn asked(truth: &[Vec<String>], unanswerable: bool, wanted: impl Fn(usize) -> bool) -> Questions {
    let question = |(at, right): (usize, &Vec<String>)| Question {
        id: format!("q{at}"),
        text: String::new(),
        context: 0,
        answers: right.iter().map(|text| Answer { text: text.clone(), start: 0 }).collect(),
    };
    let questions = truth.iter().enumerate().filter(|(at, _)| wanted(*at)).map(question).collect();
    Questions {
        unanswerable,
        contexts: vec![Context { article: 0, text: String::new() }],
        questions,
    }
}

#[test]
fn scores_are_the_bits_of_public_implementations() {
    let golden = golden("metrics.json");
    let truth: Vec<Vec<String>> = list(&golden["truth"]);
    let predictions: HashMap<String, String> =
        serde_json::from_value(golden["predictions"].clone()).expect("a map");
    let odds: HashMap<String, f64> = golden["odds"]
        .as_object()
        .expect("a map")
        .iter()
        .map(|(id, odds)| (id.clone(), bits(odds)))
        .collect();
    let two = asked(&truth, true, |_| true);
    for (name, odds) in [("two", None), ("withheld", Some((&odds, 1.0)))] {
        let (found, wanted) = (score(&two, &predictions, odds), &golden[name]);
        let part = |part: Option<metrics::Scores>| part.expect("a part");
        for (prefix, scores) in [
            ("", found.all),
            ("HasAns_", part(found.answerable)),
            ("NoAns_", part(found.unanswerable)),
        ] {
            assert_eq!(scores.exact, bits(&wanted[format!("{prefix}exact")]), "{name} {prefix}");
            assert_eq!(scores.f1, bits(&wanted[format!("{prefix}f1")]), "{name} {prefix}");
            assert_eq!(scores.total as f64, bits(&wanted[format!("{prefix}total")]));
        }
    }
    let best = |score: &str, threshold: &str| Best {
        score: bits(&golden["withheld"][score]),
        threshold: bits(&golden["withheld"][threshold]),
    };
    let (exact, f1) = best_thresholds(&two, &predictions, &odds);
    assert_eq!(exact, best("best_exact", "best_exact_thresh"));
    assert_eq!(f1, best("best_f1", "best_f1_thresh"));
    let one = asked(&truth, false, |at| !truth[at].is_empty() && at != 19);
    let found = score(&one, &predictions, None);
    assert_eq!(
        (found.all.exact, found.all.f1),
        (bits(&golden["one"]["exact"]), bits(&golden["one"]["f1"]))
    );
    assert!(found.answerable.is_none());
    let near =
        |value: f64, wanted: &Value| (value - wanted.as_f64().expect("a number")).abs() < 1e-4;
    assert!(near(found.all.exact, &golden["torchmetrics"]["exact_match"]), "{found:?}");
    assert!(near(found.all.f1, &golden["torchmetrics"]["f1"]), "{found:?}");
}

#[test]
fn answers_are_compared_without_what_does_not_matter() {
    assert_eq!(normalized("The  Cat's,\u{a0}an_apple a"), "cats anapple");
    assert_eq!(f1("the", "a", 1.0), 1.0);
    assert_eq!(f1("the", "a", 0.0), 0.0);
    let questions = asked(&[vec!["x".into()], vec!["y".into()]], false, |_| true);
    let predictions = HashMap::from([("q0".to_owned(), "x".to_owned())]);
    let found = score(&questions, &predictions, None);
    assert_eq!((found.all.exact, found.all.total, found.missing), (50.0, 2, 1));
}

#[test]
fn questions_are_split_by_article() {
    let questions = procedural::keys_and_values(0, 20);
    let (train, test) = questions.split(HeldOut::test(0.25, 3)).expect("a split");
    assert_eq!((train.questions.len(), test.questions.len()), (15, 5));
    for part in [&train, &test] {
        for question in &part.questions {
            let answer = &question.answers[0];
            assert!(part.context(question)[answer.start as usize..].starts_with(&answer.text));
        }
    }
}

#[test]
fn a_long_question_is_cut_and_counted() {
    let tokenizer = procedural::tokenizer(procedural::SYMBOLS).expect("a tokenizer");
    let mut questions = procedural::keys_and_values(0, 2);
    questions.questions[0].text = "k1 ".repeat(50);
    let made =
        windows(&questions, &tokenizer, Cutting { length: 20, doc_stride: 8 }).expect("windows");
    assert_eq!(made.cut, 1);
    let first: Vec<&squad::Window> =
        made.windows.iter().filter(|window| window.question == 0).collect();
    assert!(first.iter().all(|window| window.input_ids.len() == 20 && window.context == 10));
    // Each window begins a piece later, and the last one ends with the context.
    assert!(first.windows(2).all(|two| two[0].offsets[1] == two[1].offsets[0]));
}
