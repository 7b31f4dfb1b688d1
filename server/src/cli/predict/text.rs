//! `taper predict` of a model on text.

use anyhow::{Context as _, Result};
use engine::data::text::answers::{Answered, Choosing};
use engine::formats::TextModel;
use engine::models::BertHead;
use engine::text::escape;
use engine::train::model::Trained;
use serde::Serialize;

use super::super::out::{open, print, print_json};
use super::{Arguments, Class, top};
use crate::failure::failure;

/// Words for the masks of a text.
#[derive(Debug, Serialize)]
struct Filled {
    input: String,
    /// For each mask, in their order.
    masks: Vec<Vec<Class>>,
}

/// Answers to a question.
#[derive(Debug, Serialize)]
struct Answer {
    input: String,
    top: Vec<Candidate>,
}

/// A possible answer; an empty one is none.
#[derive(Debug, Serialize)]
struct Candidate {
    text: String,
    probability: f32,
}

/// Stands for no answer.
const NOTHING: &str = "(no answer)";
/// Most tokens of an answer.
const LONGEST: u32 = 30;
/// The best places that are tried for a start and for an end, and the least answers that share a probability of 1.
const TRIED: usize = 20;

pub(super) fn run(arguments: &Arguments, model: &Trained, of: &TextModel) -> Result<()> {
    let inputs: Vec<String> = arguments
        .inputs
        .iter()
        .map(|input| input.to_str().map(str::to_owned).context("an input is no UTF-8"))
        .collect::<Result<_>>()?;
    let gpu = open(&arguments.device)?;
    if of.sizes.head == BertHead::Spans {
        let Some(context) = &arguments.context else {
            return Err(failure(
                "the model answers questions about a text",
                "name it: --context TEXT|FILE",
            ));
        };
        let context = match std::path::Path::new(context).is_file() {
            true => std::fs::read_to_string(context)
                .with_context(|| format!("cannot read `{context}`"))?,
            false => context.clone(),
        };
        let n_best = arguments.top.max(TRIED);
        let choosing = Choosing { n_best, max_answer_length: LONGEST, null_threshold: 0.0 };
        let stride = of.sizes.length / 4;
        let answers = model.ask(&gpu, &context, &inputs, choosing, stride)?;
        return inputs
            .into_iter()
            .zip(answers)
            .try_for_each(|(input, answered)| answer(input, answered, arguments));
    }
    if arguments.context.is_some() {
        return Err(failure(
            "--context is for questions, and the model fills masks",
            "leave it out",
        ));
    }
    inputs.into_iter().try_for_each(|input| {
        let probabilities = model.fill(&gpu, &input)?;
        let pieces = of.tokenizer.pieces();
        let masks: Vec<Vec<Class>> =
            probabilities.iter().map(|of| top(of, pieces, arguments.top)).collect();
        if arguments.json {
            return print_json(&Filled { input, masks });
        }
        let words = |classes: &Vec<Class>| {
            let all: Vec<String> = classes
                .iter()
                .map(|of| format!("{} {:.1} %", of.label, 100.0 * of.probability))
                .collect();
            all.join(", ")
        };
        let all: Vec<String> = masks.iter().map(words).collect();
        print(&(escape(&format!("{input}: {}", all.join("; "))).into_owned() + "\n"))
    })
}

fn answer(input: String, answered: Answered, arguments: &Arguments) -> Result<()> {
    let candidate = |of: &engine::data::text::answers::Candidate| Candidate {
        text: of.text.clone(),
        probability: of.probability,
    };
    let count = if answered.found { arguments.top } else { 0 };
    let top: Vec<Candidate> = answered.candidates.iter().take(count).map(candidate).collect();
    if arguments.json {
        return print_json(&Answer { input, top });
    }
    let words = |of: &Candidate| {
        let text = if of.text.is_empty() { NOTHING } else { &of.text };
        format!("{text} {:.1} %", 100.0 * of.probability)
    };
    let all: Vec<String> = match top.is_empty() {
        true => vec![NOTHING.into()],
        false => top.iter().map(words).collect(),
    };
    print(&(escape(&format!("{input}: {}", all.join("; "))).into_owned() + "\n"))
}
