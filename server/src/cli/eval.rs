//! `taper eval`: accuracy and loss of a trained model on a test set.

mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use engine::classes::{self, Matched};
use engine::config::{Data, Images, OnError};
use engine::data::account::Skipped;
use engine::data::images::{self, ImageSet, Preprocess, Scored};
use engine::data::{Account, Contents, Dataset, Reason, Split};
use engine::formats::{ModelConfig, atomic};
use engine::step::Test;
use engine::text::escape;
use engine::train::model::Trained;
use engine::verdicts::{self, ClassReview, Mistake, Review};
use serde::Serialize;

use super::model;
use super::out::{open, print, print_json};
use crate::export::run_config;
use crate::failure::failure;
use crate::figures::table;
use crate::matrix;
use crate::voice::say;

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A run directory, a member of one, or a model folder.
    model: PathBuf,
    /// Data to test on, all of them: their test part, or the only part there is; else what the model's run was tested on.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Write the answers to questions to this file, as SQuAD's official script reads them.
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,
    /// Draw which classes are taken for which, as SVG.
    #[arg(long, value_name = "FILE.svg")]
    confusion: Option<PathBuf>,
    /// Adapter: a part of its name or its index in `taper devices`.
    #[arg(long, value_name = "NAME|INDEX", default_value = "auto")]
    device: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Score {
    /// Percent.
    accuracy: f64,
    loss: f64,
    /// Pictures that were scored.
    count: u64,
    /// Pictures that are there, in the part that was scored.
    there: u64,
    /// Files that were left out, by the reason.
    skipped: BTreeMap<Reason, Skipped>,
    /// What can be seen of the answers, by class and picture by picture.
    review: Review,
}

/// What a model is scored on.
struct Subject {
    split: Arc<Split>,
    classes: Vec<String>,
    account: Account,
    /// Pictures of the part that `split` is, or is drawn from.
    there: u64,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let model = model::open(&arguments.model)?;
    if let ModelConfig::Text(of) = &model.config {
        let of = of.clone();
        return text::run(arguments, model, &of);
    }
    if let Some(file) = &arguments.confusion {
        let svg = file.extension().is_some_and(|end| end.eq_ignore_ascii_case("svg"));
        if !svg {
            return Err(failure(
                format!("--confusion draws SVG, and `{}` is called otherwise", file.display()),
                "give a name that ends in .svg; the page saves the same as PNG, under Answers of the run",
            ));
        }
    }
    if arguments.predictions.is_some() {
        return Err(failure(
            "--predictions has the answers to questions, and the model reads images",
            "leave it out",
        ));
    }
    let known = model.config.images()?.clone();
    let preprocess = Preprocess::try_from(&known.input)?;
    let Subject { split, classes, account, there } = match &arguments.data {
        Some(path) => everything(&arguments.model, path, &preprocess)?,
        None => test_part(&arguments.model, &preprocess)?,
    };
    let Matched { outputs, by_position } = outputs(&known.labels, &classes, &split)
        .map_err(|what| unknown(&arguments.model, &what))?;
    if by_position {
        say(&format!("warning: {}", unnamed(&known.labels, &classes)));
    }
    let model = Trained::of(model)?;
    let gpu = open(&arguments.device)?;
    let (Test { accuracy, loss, count }, verdicts) = model.test(&gpu, &split, &outputs)?;
    let review = verdicts.review();
    if let Some(file) = &arguments.confusion {
        atomic::write_bytes(file, matrix::svg(&review).as_bytes())?;
    }
    if arguments.json {
        let skipped = account.skipped;
        return print_json(&Score { accuracy, loss, count, there, skipped, review });
    }
    for line in account.lines() {
        say(&line);
    }
    print(&format!("accuracy {accuracy:.2} %, loss {loss:.4} on {count} of {there} images\n"))?;
    print(&seen(&review))
}

/// Classes that are listed, and mistakes.
const CLASSES: usize = 20;
const MISTAKES: usize = 5;

/// A review as text: its classes, of many those that are known least; how far its confidence is to be trusted; its surest mistakes.
fn seen(review: &Review) -> String {
    let mut classes: Vec<&ClassReview> =
        review.classes.iter().filter(|class| class.count > 0).collect();
    let there = classes.len();
    if there > CLASSES {
        let accuracy = |class: &ClassReview| class.accuracy.unwrap_or(0.0);
        classes.sort_by(|a, b| accuracy(a).total_cmp(&accuracy(b)));
        classes.truncate(CLASSES);
    }
    let name = |class: u64| review.classes[class as usize].name.clone();
    let row = |class: &&ClassReview| {
        // What it is taken for most often, the first of several.
        let others = review
            .confusion
            .iter()
            .filter(|[of, said, _]| review.classes[*of as usize].name == class.name && said != of);
        let most = others.max_by_key(|[_, said, count]| (*count, std::cmp::Reverse(*said)));
        vec![
            class.name.clone(),
            class.accuracy.map_or("–".into(), |accuracy| format!("{accuracy:.2}")),
            class.count.to_string(),
            class.said.to_string(),
            most.map_or("–".into(), |[_, said, count]| format!("{} ({count})", name(*said))),
        ]
    };
    let rows: Vec<Vec<String>> = classes.iter().map(row).collect();
    let head = ["class", "accuracy %", "pictures", "said", "taken most often for"];
    let mut text = table(&head, &rows);
    if there > CLASSES {
        text.push_str(&format!("the {CLASSES} of {there} classes that it knows least\n"));
    }
    let (ece, bins) = (review.ece, verdicts::BINS);
    text.push_str(&format!(
        "calibration error {ece:.2} % (ECE over {bins} bins of equal width, Guo et al. 2017)\n"
    ));
    for mistake in review.mistakes.iter().take(MISTAKES) {
        let Mistake { index, label, said, confidence } = *mistake;
        let line = format!(
            "mistake: picture {index} is {}, said {} with {:.1} %",
            name(label.into()),
            name(said.into()),
            100.0 * confidence
        );
        text.push_str(&(escape(&line) + "\n"));
    }
    text
}

/// All that lies at `path`, whatever the model was trained on: the test part, or the only part. What cannot be decoded is refused or left
/// out as by the model's run.
fn everything(model: &Path, path: &Path, preprocess: &Preprocess) -> Result<Subject> {
    let kind = images::kind_within(path)?;
    let path = Some(path.to_string_lossy().into_owned());
    let on_error = match run_config(model)?.map(|config| config.data) {
        Some(Data::Images(data)) => data.on_error,
        Some(Data::Text(_)) | None => OnError::default(),
    };
    let data = Images { kind, path, on_error, ..Images::default() };
    let Scored { split, classes, mut account } = images::open_to_score(&data, preprocess)?;
    let (train, test) = (account.train.total(), account.test.total());
    if train > 0 && test > 0 {
        account
            .note(format!("the test part was scored, and the {train} training pictures were not"));
    }
    // What could not be decoded was taken out of the counts.
    let part = if test > 0 { &account.test } else { &account.train };
    let there = part.total() + part.unreadable;
    Ok(Subject { split, classes, account, there })
}

/// What the model's own run was tested on.
fn test_part(model: &Path, preprocess: &Preprocess) -> Result<Subject> {
    let Some(config) = run_config(model)? else {
        return Err(failure(
            format!("`{}` does not say what it was tested on", model.display()),
            "name the data: --data PATH",
        ));
    };
    let of_text = || failure("the model's run was on text", "");
    let Data::Images(data) = &config.data else { return Err(of_text()) };
    let Dataset { test, contents, account, .. } = images::open_for(data, preprocess)?;
    let Contents::Images(ImageSet { classes, .. }) = contents else { return Err(of_text()) };
    let found = match account.test.total() {
        0 => account.train.total(),
        found => found,
    };
    let there = found.max(test.len() as u64);
    Ok(Subject { split: test, classes, account, there })
}

/// The model's output for each class of the data; those without a picture need not be known.
fn outputs(known: &[String], classes: &[String], split: &Split) -> Result<Matched, String> {
    let all = classes::some(known, classes);
    let there: BTreeSet<usize> = split.classes().iter().map(|&label| label as usize).collect();
    if all.is_ok() || there.len() == classes.len() {
        return all;
    }
    let named: Vec<String> = there.iter().map(|&class| classes[class].clone()).collect();
    let matched = classes::some(known, &named)?;
    let mut outputs = vec![0; classes.len()];
    for (class, output) in there.into_iter().zip(matched.outputs) {
        outputs[class] = output;
    }
    Ok(Matched { outputs, by_position: matched.by_position })
}

/// The refusal of classes that a model does not have.
fn unknown(model: &Path, what: &str) -> anyhow::Error {
    failure(
        format!("`{}` {what}", model.display()),
        "data to test on may have fewer classes than the model, each by the model's name for it",
    )
}

/// That numbers had to do for names.
fn unnamed(known: &[String], there: &[String]) -> String {
    let (who, names) = match classes::are_numbers(known) {
        true => ("the model has", there),
        false => ("the data have", known),
    };
    format!(
        "{who} no names for the classes, so they are matched by their place, in the order {}",
        classes::shown(names)
    )
}

#[cfg(test)]
mod tests {
    use engine::config::Config;

    use super::run_config;

    #[test]
    fn a_models_data_are_those_of_its_run() {
        let run = std::env::temp_dir().join(format!("taper-eval-{}", std::process::id()));
        let member = run.join("members/win-0/artifacts");
        std::fs::create_dir_all(&member).expect("made");
        assert_eq!(run_config(&member).expect("none"), None);
        let config = Config::preset("mnist-mlp-thin").expect("valid");
        std::fs::write(run.join("config.toml"), config.to_toml()).expect("written");
        assert_eq!(run_config(&member).expect("from the run"), Some(config));
        std::fs::remove_dir_all(run).expect("removed");
    }
}
