//! How long a trained network takes for one input, measured where it would be used: beside a model, as what a clock says belongs to no model's
//! files.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use engine::device::Device;
use engine::formats::{FormatError, ModelFolder, folder};
use engine::train::model::Trained;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::failure::failure;

/// The file in the folder of a member or a teacher, beside its verdicts.
const FILE: &str = "test/latency.json";
/// Runs that are not counted: the first ones compile and fill caches.
const WARM: usize = 5;
/// Runs that are counted, at most, and seconds after which no further one is begun.
const RUNS: usize = 200;
const SECONDS: f64 = 2.0;
/// Times a model with ONNX Runtime as the constants above say; its answer is one line of JSON.
const ONNX_RUNTIME: &str = include_str!("latency.py");

/// How long one input takes from the host and back: input written, network run, outputs read; one input at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Latency {
    /// What it ran on: the adapter's name, or ONNX Runtime's with its version.
    pub(crate) on: String,
    /// Median of all runs in milliseconds.
    pub(crate) median_ms: f64,
    /// Fastest of them.
    pub(crate) min_ms: f64,
    /// Runs that were counted.
    pub(crate) runs: usize,
}

impl Latency {
    /// Of the seconds of each run, of which there is one.
    fn of(on: String, mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let runs = seconds.len();
        let median = (seconds[(runs - 1) / 2] + seconds[runs / 2]) / 2.0;
        Self { on, median_ms: 1e3 * median, min_ms: 1e3 * seconds[0], runs }
    }
}

/// What was measured of the model of a member or a teacher, in its folder; nothing where nothing was.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn read(folder: &Path) -> Result<Vec<Latency>, FormatError> {
    let path = folder.join(FILE);
    if path.is_file() { folder::read_json(&path) } else { Ok(Vec::new()) }
}

/// Measures the model of a member or a teacher on a device and, if a Python has it, with ONNX Runtime on the CPU; keeps the times in its folder.
/// If ONNX Runtime cannot be asked, the sentence says why.
///
/// # Errors
/// The model cannot be read, the device fails, or the system refuses.
pub(crate) fn measure(folder: &Path, gpu: &Arc<dyn Device>) -> Result<Option<String>> {
    let model = model(folder).ok_or_else(|| {
        failure(format!("`{}` has no model to be timed", folder.display()), "finish the run first")
    })?;
    let trained = Trained::of(ModelFolder::read(&model)?)?;
    let mut one = trained.one(gpu)?;
    let mut seconds = Vec::new();
    let begun = Instant::now();
    for run in 0..WARM + RUNS {
        let from = Instant::now();
        one.run()?;
        if run >= WARM {
            seconds.push(from.elapsed().as_secs_f64());
            if begun.elapsed().as_secs_f64() > SECONDS {
                break;
            }
        }
    }
    let mut all = vec![Latency::of(gpu.adapter().name.clone(), seconds)];
    let missing = match onnx_runtime(&model) {
        Ok(latency) => {
            all.push(latency);
            None
        }
        Err(why) => Some(why),
    };
    let path = folder.join(FILE);
    std::fs::create_dir_all(path.parent().unwrap_or(folder))
        .map_err(|source| FormatError::write(&path, source))?;
    folder::write_json(&path, &all)?;
    Ok(missing)
}

/// The model folder of a member or a teacher, if there is one.
fn model(member: &Path) -> Option<PathBuf> {
    let is_there = |path: &PathBuf| path.join(folder::WEIGHTS).is_file();
    [member.join(engine::train::ARTIFACTS), member.into()].into_iter().find(is_there)
}

/// What [`ONNX_RUNTIME`] answers.
#[derive(Deserialize)]
struct Timed {
    version: String,
    seconds: Vec<f64>,
}

/// The same by ONNX Runtime on the CPU.
fn onnx_runtime(model: &Path) -> Result<Latency, String> {
    let names = [folder::ONNX, folder::TEXT_ONNX];
    let file = names.iter().map(|name| model.join(name)).find(|path| path.is_file());
    let file = file.ok_or("the model has no ONNX file")?;
    let numbers = [WARM.to_string(), RUNS.to_string(), SECONDS.to_string()];
    let output = Command::new("python3")
        .args(["-c", ONNX_RUNTIME])
        .arg(file)
        .args(numbers)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("no Python was found for ONNX Runtime ({error})"))?;
    let timed: Option<Timed> = serde_json::from_slice(&output.stdout).ok();
    let timed = timed.filter(|timed| output.status.success() && !timed.seconds.is_empty());
    let timed = timed.ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or("it said nothing").trim().to_owned();
        format!("the Python that was found does not run ONNX Runtime: {last}")
    })?;
    Ok(Latency::of(format!("ONNX Runtime {}, CPU", timed.version), timed.seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        let of = |seconds: &[f64]| Latency::of("x".into(), seconds.to_vec());
        let latency = of(&[0.004, 0.001, 0.003, 0.002]);
        assert!((latency.median_ms - 2.5).abs() < 1e-9);
        assert_eq!((latency.min_ms, latency.runs), (1.0, 4));
        assert!((of(&[0.003, 0.001, 0.002]).median_ms - 2.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_was_measured_of_a_folder_without_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(read(folder.path()).expect("nothing"), []);
        std::fs::create_dir(folder.path().join("test")).expect("made");
        let known = vec![Latency::of("llvmpipe".into(), vec![0.5])];
        folder::write_json(&folder.path().join(FILE), &known).expect("written");
        assert_eq!(read(folder.path()).expect("read"), known);
    }
}
