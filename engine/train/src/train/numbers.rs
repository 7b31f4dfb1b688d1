//! Trained networks with other numbers, half precision or whole ones, and what these are worth: measured on the graph that is written.

use super::TrainError;
use super::model::Trained;
use crate::batch::Numbers;
use crate::data::{Dataset, Split};
use crate::formats::{
    FormatError,
    onnx::{self, About, Cpu, Ranges},
};
use crate::nn::{Folded, IMAGES, NetworkError};
use crate::step::LABELS;
use crate::threads;

/// Training pictures by which the ranges of whole numbers are found, at most.
const CALIBRATION: usize = 200;
/// Test pictures on which graphs are compared, at most.
const TESTED: usize = 1000;

/// What other numbers are worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Worth {
    /// Training pictures by which ranges were found; none where none are needed.
    pub calibrated: usize,
    /// Test pictures.
    pub tested: usize,
    /// Accuracy on them in percent, with the weights as they are.
    pub before: f64,
    /// The same with the other numbers.
    pub after: f64,
}

/// The file of a network in whole numbers, whose ranges are those of training pictures; and what it is worth on test pictures. Class k of the data is the
/// output `outputs[k]`.
///
/// # Errors
/// The network is none that ONNX has on images, or a picture cannot be read.
pub fn int8(
    model: &Trained,
    about: &About<'_>,
    data: &Dataset,
    outputs: &[u32],
) -> Result<(Vec<u8>, Worth), TrainError> {
    let folded = Folded::of(&model.network)?;
    let weights = folded.to_file(&model.weights)?;
    let graph = onnx::message(&folded.network, &weights, about)?;
    let cpu = Cpu::new(&graph)?;
    let whole = onnx::flowing(graph.graph.as_ref().ok_or_else(none)?);
    let channels = model.folder.config.images()?.input.channels as usize;
    let pictures = samples(&data.train, channels, CALIBRATION)?;
    let seen = on_all_cores(&pictures, |(picture, _)| {
        let mut ranges = Ranges::new();
        cpu.scores(picture.clone(), &mut |name, values| {
            if whole.contains(name) {
                let [least, most] = ranges.entry(name.into()).or_insert([0.0; 2]);
                for &value in values {
                    (*least, *most) = (least.min(value), most.max(value));
                }
            }
        })?;
        Ok(ranges)
    })?;
    let mut ranges = Ranges::new();
    for (name, [low, high]) in seen.into_iter().flatten() {
        let [least, most] = ranges.entry(name).or_insert([0.0; 2]);
        (*least, *most) = (least.min(low), most.max(high));
    }
    let quantized = onnx::quantized(&graph, &ranges)?;
    let tested = samples(&data.test, channels, TESTED)?;
    let worth = Worth {
        calibrated: pictures.len(),
        tested: tested.len(),
        before: accuracy(&cpu, &tested, outputs)?,
        after: accuracy(&Cpu::new(&quantized)?, &tested, outputs)?,
    };
    Ok((onnx::file(quantized, folded.network.input), worth))
}

/// What a network's weights are worth in half precision.
///
/// # Errors
/// As [`int8`].
pub fn half(
    model: &Trained,
    about: &About<'_>,
    data: &Dataset,
    outputs: &[u32],
) -> Result<Worth, TrainError> {
    let weights = model.network.to_file(&model.weights);
    let of = |half| {
        let about = About { half, ..about.clone() };
        Cpu::new(&onnx::message(&model.network, &weights, &about)?)
    };
    let channels = model.folder.config.images()?.input.channels as usize;
    let tested = samples(&data.test, channels, TESTED)?;
    Ok(Worth {
        calibrated: 0,
        tested: tested.len(),
        before: accuracy(&of(false)?, &tested, outputs)?,
        after: accuracy(&of(true)?, &tested, outputs)?,
    })
}

fn none() -> NetworkError {
    NetworkError::Unsupported("a network without a graph".into())
}

/// A picture (C, H, W) with its label.
type Sample = (Vec<f32>, u32);

/// So many samples of pictures with `channels` at most, spread evenly.
fn samples(split: &Split, channels: usize, most: usize) -> Result<Vec<Sample>, TrainError> {
    let count = split.len().min(most);
    let picks: Vec<usize> = (0..count).map(|k| k * split.len() / count).collect();
    let mut samples = Vec::with_capacity(count);
    for batch in split.some(&picks, 1) {
        let batch = batch?;
        let fields = (batch.field(IMAGES), batch.field(LABELS));
        let (Some(Numbers::F32(pixels)), Some(Numbers::U32(labels))) = fields else {
            return Err(FormatError::Kind { reads: "text", wanted: "images" }.into());
        };
        let of_channel = |c| pixels.iter().skip(c).step_by(channels).copied();
        samples.push(((0..channels).flat_map(of_channel).collect(), labels[0]));
    }
    Ok(samples)
}

/// Percent of samples whose class has the greatest score.
fn accuracy(cpu: &Cpu, samples: &[Sample], outputs: &[u32]) -> Result<f64, TrainError> {
    let hits = on_all_cores(samples, |(picture, label)| {
        let scores = cpu.scores(picture.clone(), &mut |_, _| {})?;
        let best = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        let wanted = outputs.get(*label as usize).map(|&output| output as usize);
        Ok(best.map(|(place, _)| place) == wanted)
    })?;
    let right = hits.iter().filter(|&&hit| hit).count();
    Ok(100.0 * right as f64 / samples.len().max(1) as f64)
}

/// `of` each sample, in order.
fn on_all_cores<T: Send>(
    samples: &[Sample],
    of: impl Fn(&Sample) -> Result<T, NetworkError> + Sync,
) -> Result<Vec<T>, TrainError> {
    let made = threads::parallel(samples.len(), |k| Ok(Some(of(&samples[k]))))?;
    Ok(made.into_iter().flatten().collect::<Result<_, _>>()?)
}
