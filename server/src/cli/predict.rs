//! `taper predict`: the most probable classes of pictures, words of a text, or answers to questions.

mod text;

use std::path::{Path, PathBuf};

use anyhow::Result;
use engine::data::images::Image;
use engine::formats::{FormatError, ModelConfig};
use engine::text::escape;
use engine::train::model::Trained;
use serde::Serialize;

use super::model;
use super::out::{open, print, print_json};
use crate::failure::failure;

/// Pictures that are held in memory at once.
const PART: usize = 256;

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A run directory, a member of one, or a model folder.
    model: PathBuf,
    /// Pictures; texts with `[MASK]`; or questions.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// What questions are asked of: a text, or the file of one.
    #[arg(long, value_name = "TEXT|FILE")]
    context: Option<String>,
    /// How many classes, words or answers to name.
    #[arg(long, default_value_t = 5, value_name = "N")]
    top: usize,
    /// Adapter: a part of its name or its index in `taper devices`.
    #[arg(long, value_name = "NAME|INDEX", default_value = "auto")]
    device: String,
    /// Print JSON, a line for each input.
    #[arg(long)]
    json: bool,
}

/// The answer to one picture.
#[derive(Debug, Serialize)]
struct Prediction {
    input: PathBuf,
    top: Vec<Class>,
}

/// A class with its probability.
#[derive(Debug, PartialEq, Serialize)]
struct Class {
    label: String,
    index: usize,
    probability: f64,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let model = Trained::of(model::open(&arguments.model)?)?;
    if let ModelConfig::Text(of) = &model.folder.config {
        return text::run(arguments, &model, of);
    }
    if arguments.context.is_some() {
        return Err(failure(
            "--context is for questions, and the model reads images",
            "leave it out",
        ));
    }
    let labels = &model.folder.config.images()?.labels;
    let gpu = open(&arguments.device)?;
    for inputs in arguments.inputs.chunks(PART) {
        let images: Vec<Image> = inputs.iter().map(|path| read(path)).collect::<Result<_>>()?;
        for (input, probabilities) in inputs.iter().zip(model.predict(&gpu, &images)?) {
            let top = top(&probabilities, labels, arguments.top);
            show(Prediction { input: input.clone(), top }, arguments.json)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Image> {
    let io = |source| FormatError::Io { action: "read", path: path.into(), source };
    let bytes = std::fs::read(path).map_err(io)?;
    Ok(Image::decode(&bytes, &path.to_string_lossy())?)
}

fn show(prediction: Prediction, json: bool) -> Result<()> {
    if json {
        return print_json(&prediction);
    }
    let classes: Vec<String> = prediction
        .top
        .iter()
        .map(|class| format!("{} {:.1} %", class.label, 100.0 * class.probability))
        .collect();
    let line = format!("{}: {}", prediction.input.display(), classes.join(", "));
    print(&(escape(&line) + "\n"))
}

/// The `count` most probable classes, ties to the lower index.
fn top(probabilities: &[f64], labels: &[String], count: usize) -> Vec<Class> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    let class = |index: usize| Class {
        label: labels.get(index).cloned().unwrap_or_else(|| index.to_string()),
        index,
        probability: probabilities[index],
    };
    order.into_iter().take(count).map(class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_are_the_most_probable_in_order() {
        let labels = ["a", "b", "c"].map(String::from);
        let top = top(&[0.2, 0.4, 0.4], &labels, 2);
        let names: Vec<&str> = top.iter().map(|class| class.label.as_str()).collect();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(top[1], Class { label: "c".into(), index: 2, probability: 0.4 });
    }
}
