//! `taper eval` of a model on text: held-out masked words, or answers to questions.

use std::path::Path;

use anyhow::Result;
use engine::config::{Config, Data, Examples, Finetune, TextKind};
use engine::data::{
    Contents, Dataset, kind_of,
    text::{self, answers::prediction_file, metrics::Scores, questions},
};
use engine::formats::{ModelFolder, TextModel, atomic};
use engine::step::Test;
use engine::train::model::Trained;
use serde::Serialize;

use super::super::out::{open, print, print_json};
use super::{Arguments, run_config};
use crate::failure::failure;
use crate::folders;
use crate::voice::say;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Score {
    /// Percent.
    accuracy: f64,
    /// Mean, in nats.
    loss: f64,
    /// Words or windows that were scored.
    count: u64,
    /// Of questions: exact match in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    em: Option<f64>,
    /// Of questions: F1 in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    f1: Option<f64>,
    /// Questions.
    #[serde(skip_serializing_if = "Option::is_none")]
    questions: Option<usize>,
}

pub(super) fn run(arguments: &Arguments, model: ModelFolder, of: &TextModel) -> Result<()> {
    let data = data(arguments, of)?;
    let trained = Trained::of(model)?;
    if trained.folder.config.task() != data.task() {
        return Err(failure(
            "the model is asked for something else than such data have",
            "masked words are scored on text, answers on questions",
        ));
    }
    let gpu = open(&arguments.device)?;
    let (Test { accuracy, loss, count }, answers) = trained.test_on_text(&gpu, &data)?;
    let mut score = Score { accuracy, loss, count, em: None, f1: None, questions: None };
    match (&data.contents, &arguments.predictions) {
        (Contents::Questions(of), file) => {
            let Scores { exact, f1, total } = of.test.score(&answers).all;
            (score.em, score.f1, score.questions) = (Some(exact), Some(f1), Some(total));
            if let Some(file) = file {
                let text = prediction_file(&of.test.questions, &answers);
                atomic::write_bytes(file, text.as_bytes())?;
            }
        }
        (_, Some(_)) => {
            return Err(failure(
                "--predictions has the answers to questions, and the data have none",
                "leave it out",
            ));
        }
        (_, None) => {}
    }
    if arguments.json {
        return print_json(&score);
    }
    for line in data.account.lines() {
        say(&line);
    }
    let of = match (score.em, score.f1, score.questions) {
        (Some(em), Some(f1), Some(questions)) => {
            format!("exact match {em:.2}, F1 {f1:.2} on {questions} questions")
        }
        _ => format!("accuracy {accuracy:.2} %, loss {loss:.4} on {count} masked words"),
    };
    print(&format!("{of}\n"))
}

/// What is scored: the data that are named, all of them, or what the model's run was tested on.
fn data(arguments: &Arguments, of: &TextModel) -> Result<Dataset> {
    let config = run_config(&arguments.model)?;
    let (mut how, finetune, seed) = match &config {
        Some(config) => {
            let seed = match &config.data {
                Data::Text(text) => text.split_seed,
                Data::Images(_) => 0,
            };
            (config.examples(), config.finetune.clone().unwrap_or_default(), seed)
        }
        None => (Examples::default(), Finetune::default(), 0),
    };
    (how.length, how.max_predictions) = (of.sizes.length, of.sizes.places.max(1));
    if let Some(path) = &arguments.data {
        return on(path, of, &how, &finetune, seed);
    }
    let Some(mut config) = config else {
        return Err(failure(
            format!("`{}` does not say what it was tested on", arguments.model.display()),
            "name the data: --data PATH",
        ));
    };
    with_tokenizer(&mut config, &arguments.model)?;
    Ok(engine::data::open(&config, folders::cache().as_deref(), None)?)
}

fn on(
    path: &Path,
    of: &TextModel,
    how: &Examples,
    finetune: &Finetune,
    seed: u64,
) -> Result<Dataset> {
    Ok(match kind_of(path) {
        engine::config::DataKind::Text(TextKind::Squad) => {
            questions::open_to_score(path, &of.tokenizer, how, finetune)?
        }
        _ => text::open_to_score(path, &of.tokenizer, how, seed)?,
    })
}

/// Reads text as the run of `model` did.
fn with_tokenizer(config: &mut Config, model: &Path) -> Result<()> {
    let model = std::path::absolute(model)?;
    let kept = model
        .ancestors()
        .take(4)
        .map(|path| path.join(text::TOKENIZER))
        .find(|path| path.is_file());
    if let (Some(kept), false) = (kept, config.data.is_built_in()) {
        let examples = config.text.get_or_insert_default();
        (examples.vocab, examples.lowercase) = (Some(kept.display().to_string()), None);
    }
    Ok(())
}
