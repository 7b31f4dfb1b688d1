//! `taper eval`: accuracy and loss of a trained model on a test set.

use std::path::{Path, PathBuf};

use anyhow::Result;
use engine::config::{Config, Data};
use engine::data::{self, Preprocess};
use engine::train::model::Trained;
use serde_json::json;

use super::{failure, model, open, print, print_json};

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A run directory, a member of one, or a model folder.
    model: PathBuf,
    /// Data to test on; else what the model's run was tested on.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Adapter: a part of its name or its index in `taper devices`.
    #[arg(long, value_name = "NAME|INDEX", default_value = "auto")]
    device: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let model = model::open(&arguments.model)?;
    let data = tested_on(&arguments.model, arguments.data.as_deref())?;
    let set = data::open_for(&data, &Preprocess::try_from(&model.config)?)?;
    let (known, found) = (model.config.labels.len(), set.classes.len());
    if found > known {
        return Err(failure(
            format!("the data has {found} classes, the model knows {known}"),
            "name the data it was trained on: --data PATH",
        ));
    }
    let model = Trained::of(model)?;
    let gpu = open(&arguments.device)?;
    let test = model.test(&gpu, &set.test)?;
    if arguments.json {
        return print_json(
            &json!({ "accuracy": test.accuracy, "loss": test.loss, "count": test.count }),
        );
    }
    print(&format!(
        "accuracy {:.2} %, loss {:.4} on {} images\n",
        test.accuracy, test.loss, test.count
    ))
}

/// The data that a model is evaluated on: `path`, or what its run was tested on.
fn tested_on(model: &Path, path: Option<&Path>) -> Result<Data> {
    let trained_on = run_config(model)?.map(|config| config.data);
    match (trained_on, path) {
        (Some(data), None) => Ok(data),
        (data, Some(path)) => {
            let kind = data::kind_of(path);
            // The same kind of data keeps its split; whatever else is there is used whole.
            let kept = data.filter(|data| data.kind == kind).unwrap_or_default();
            Ok(Data { kind, path: Some(path.to_string_lossy().into_owned()), ..kept })
        }
        (None, None) => Err(failure(
            format!("`{}` does not say what it was tested on", model.display()),
            "name the data: --data PATH",
        )),
    }
}

/// The configuration of the run that `model` is, or is inside of.
fn run_config(model: &Path) -> Result<Option<Config>> {
    let model = std::path::absolute(model)?;
    // RUN, RUN/artifacts, RUN/members/NAME, RUN/members/NAME/artifacts.
    let found =
        model.ancestors().take(4).map(|path| path.join("config.toml")).find(|path| path.is_file());
    Ok(found.map(|path| Config::open(&path.to_string_lossy())).transpose()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::config::DataKind;

    #[test]
    fn the_data_is_that_of_the_run_or_what_is_named() {
        let run = std::env::temp_dir().join(format!("taper-eval-{}", std::process::id()));
        let member = run.join("members/win-0/artifacts");
        std::fs::create_dir_all(&member).expect("made");
        let said = tested_on(&member, None).expect_err("no data").to_string();
        assert!(said.contains("does not say"), "{said}");
        let config = Config::open("mnist-mlp-thin").expect("valid");
        std::fs::write(run.join("config.toml"), config.to_toml()).expect("written");
        assert_eq!(tested_on(&member, None).expect("from the run"), config.data);
        let pictures = tested_on(&member, Some(&run)).expect("named");
        assert_eq!((pictures.kind, pictures.train_count), (DataKind::Folder, None));
        std::fs::write(run.join("t10k-labels-idx1-ubyte.gz"), "").expect("written");
        let idx = tested_on(&member, Some(&run)).expect("named");
        assert_eq!((idx.kind, idx.train_count), (DataKind::Idx, config.data.train_count));
        std::fs::remove_dir_all(run).expect("removed");
    }
}
