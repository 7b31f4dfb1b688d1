//! What is measured of networks on data: how good they are, how far apart, how spread.

use std::sync::Arc;

use super::{Session, TrainError, probe::DeviceProbe};
use crate::{
    data::{
        Batch, Contents, Dataset, Split,
        images::ImageSet,
        text::{answers::Answered, asked::Asked, metrics::Scores},
    },
    device::Device,
    event::AnswerScores,
    nn::{Layer, Network, NetworkError, Weights},
    random,
    step::{Task, Test},
    verdicts::Verdicts,
    win::start::{MOST_ROWS, Probe as _, Tap},
};

/// Streams of random numbers, apart from those of a member: they draw the training inputs on which restarts are compared, and those on which
/// errors are measured.
pub(super) const SCORE: u64 = 4;
const TRAIN_ERROR: u64 = 5;

/// Held-out inputs on which a merge is proved, at most.
const PROOF_INPUTS: usize = 2000;
/// Training inputs on which the training error is measured, at most.
const TRAIN_ERROR_INPUTS: usize = 50_000;
/// Training inputs on which restarts are compared.
const SCORE_INPUTS: usize = 2000;
/// Standard deviation over a batch under which a unit is dead.
const DEAD: f64 = 1e-5;

/// What a network is worth on the data of a run.
pub(super) struct Worth {
    /// On all test inputs.
    pub(super) test: Test,
    /// Percent, on training inputs.
    pub(super) train_error: f64,
    /// Of questions: what the answers score.
    pub(super) answers: Option<AnswerScores>,
    /// Of pictures: what is said of each test input.
    pub(super) verdicts: Option<Verdicts>,
}

/// A test on all test samples.
pub(super) struct Tested {
    pub(super) test: Test,
    /// Of questions: the answers to them.
    pub(super) answers: Vec<Answered>,
    /// Of pictures: what is said of each.
    pub(super) verdicts: Option<Verdicts>,
}

/// Tests a network by itself.
pub(super) fn worth(
    network: &Network,
    task: Task,
    weights: &Weights,
    seed: u64,
    batch: u32,
    data: &Dataset,
    gpu: &Arc<dyn Device>,
) -> Result<Worth, TrainError> {
    let mut session = Session::evaluating(gpu, network, task, weights, batch.max(1))?;
    let Tested { test, answers, verdicts } = tested(&mut session, data)?;
    let answers = match &data.contents {
        Contents::Questions(of) => {
            let Scores { exact, f1, .. } = of.test.score(&answers).all;
            Some(AnswerScores { em: exact, f1 })
        }
        Contents::Images(_) | Contents::Text(_) => None,
    };
    Ok(Worth {
        test,
        train_error: train_error(&mut session, &data.train, seed)?,
        answers,
        verdicts,
    })
}

/// Loss and accuracy on all test samples, and what is said of them where that can be looked at.
pub(super) fn tested(session: &mut Session, data: &Dataset) -> Result<Tested, TrainError> {
    Ok(match &data.contents {
        Contents::Questions(of) => {
            let (test, scores) = session.test_with_logits(&data.test)?;
            Tested { test, answers: answers(&of.test, &scores), verdicts: None }
        }
        Contents::Images(ImageSet { classes, .. }) => {
            let outputs: Vec<u32> = (0..classes.len() as u32).collect();
            let (test, verdicts) = session.test_as(&data.test, &outputs, classes)?;
            Tested { test, answers: Vec::new(), verdicts: Some(verdicts) }
        }
        Contents::Text(_) => {
            Tested { test: session.test(&data.test)?, answers: Vec::new(), verdicts: None }
        }
    })
}

/// The answer to each question, whose windows are `split`.
pub(super) fn spans(
    session: &mut Session,
    of: &Asked,
    split: &Split,
) -> Result<Vec<Answered>, TrainError> {
    let all: Vec<usize> = (0..split.len()).collect();
    let rows = session.rows();
    Ok(answers(of, &session.logits(split.some(&all, rows))?))
}

/// The answer to each question by the scores of its windows' tokens, both of a token side by side.
fn answers(of: &Asked, scores: &[Vec<f32>]) -> Vec<Answered> {
    let of_window = |scores: &Vec<f32>| {
        let of = |end: usize| scores.iter().copied().skip(end).step_by(2).collect();
        (of(0), of(1))
    };
    let scores: Vec<(Vec<f32>, Vec<f32>)> = scores.iter().map(of_window).collect();
    of.answers(&scores)
}

/// The training error in percent, on inputs that depend on the seed alone.
pub(super) fn train_error(
    session: &mut Session,
    train: &Arc<Split>,
    seed: u64,
) -> Result<f64, TrainError> {
    let picks = train.subset(random::key(&[seed, TRAIN_ERROR]), TRAIN_ERROR_INPUTS);
    Ok(100.0 - session.test_on(train, &picks)?.accuracy)
}

/// The discrepancy of an imitation, on inputs that depend on the seed alone.
pub(super) fn discrepancy(
    session: &mut Session,
    train: &Arc<Split>,
    seed: u64,
) -> Result<f64, TrainError> {
    session.discrepancy_on(train, &train.subset(random::key(&[seed, SCORE]), SCORE_INPUTS))
}

/// How far two networks' outputs for the same inputs are apart.
pub(super) struct Apart {
    /// max |a − b|.
    pub(super) max_abs_error: f64,
    /// ‖a − b‖₂ / ‖a‖₂.
    pub(super) relative_error: f64,
    /// Inputs.
    pub(super) inputs: u64,
}

/// How far two networks are apart on the first test inputs, as many as prove a merge.
pub(super) fn apart(
    both: [(&Network, &Weights); 2],
    batch: u32,
    data: &Dataset,
    gpu: &Arc<dyn Device>,
) -> Result<Apart, TrainError> {
    let inputs = data.test.len().min(PROOF_INPUTS);
    let (mut square, mut norm, mut worst) = (0.0f64, 0.0f64, 0.0f64);
    side_by_side(both, batch, inputs, data, gpu, |_, [a, b]| {
        for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
            let difference = f64::from(*a) - f64::from(*b);
            square += difference * difference;
            norm += f64::from(*a) * f64::from(*a);
            worst = worst.max(difference.abs());
        }
        Ok(())
    })?;
    let relative_error = (square / norm.max(f64::MIN_POSITIVE)).sqrt();
    Ok(Apart { max_abs_error: worst, relative_error, inputs: inputs as u64 })
}

/// `D[S, B]` = √(mean (S(x) − B(x))²) over the numbers that the loss reads of the outputs for all test inputs x. NaN if it reads none.
pub(super) fn output_discrepancy(
    both: [(&Network, &Weights); 2],
    batch: u32,
    data: &Dataset,
    gpu: &Arc<dyn Device>,
) -> Result<f64, TrainError> {
    let task = data.task();
    let (mut square, mut count) = (0.0f64, 0u64);
    side_by_side(both, batch, data.test.len(), data, gpu, |inputs, [a, b]| {
        for (sample, (a, b)) in a.iter().zip(b).enumerate() {
            if a.len() != b.len() {
                let (a, b) = (a.len(), b.len());
                let problem = format!("a student has {a} outputs and its teacher {b}");
                return Err(NetworkError::Mismatch(problem).into());
            }
            for read in task.read_of(inputs, sample, a.len()) {
                count += read.len() as u64;
                for (a, b) in a[read.clone()].iter().zip(&b[read]) {
                    square += (f64::from(*a) - f64::from(*b)).powi(2);
                }
            }
        }
        Ok(())
    })?;
    Ok((square / count as f64).sqrt())
}

/// Hands the outputs of two networks for the same first test inputs to `look`, with the samples: those of a batch before the next is run, as
/// those of all may not fit in memory.
fn side_by_side(
    both: [(&Network, &Weights); 2],
    batch: u32,
    inputs: usize,
    data: &Dataset,
    gpu: &Arc<dyn Device>,
    mut look: impl FnMut(&Batch, [&[Vec<f32>]; 2]) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    let open = |(network, weights): (&Network, &Weights)| {
        Session::evaluating(gpu, network, data.task(), weights, batch.max(1))
    };
    let [first, second] = both.map(open);
    let (mut first, mut second) = (first?, second?);
    let picks: Vec<usize> = (0..inputs).collect();
    for picks in picks.chunks(first.rows().min(second.rows())) {
        let samples = data.test.gather(picks)?;
        let outputs = [&mut first, &mut second].map(|session| {
            let padded = samples.part(0, session.rows());
            session.logits([Ok(padded)].into_iter())
        });
        let [a, b] = outputs;
        look(&samples, [&a?, &b?])?;
    }
    Ok(())
}

/// The variance of all numbers.
pub(super) fn variance(data: &[f32]) -> f64 {
    let mean = data.iter().map(|&x| f64::from(x)).sum::<f64>() / data.len() as f64;
    data.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / data.len() as f64
}

/// The share of dead units in a block (1-based): those whose output is the same for every input.
pub(super) fn dead(
    probe: &mut DeviceProbe,
    network: &Network,
    weights: &Weights,
    block: usize,
) -> Result<f64, TrainError> {
    let units = live_units(&network.blocks[block - 1].layers).into_iter();
    let taps: Vec<Tap> = units.map(|name| Tap { name, stride: 1 }).collect();
    let (mut dead, mut units) = (0usize, 0usize);
    for rows in probe.rows(network, weights, block, &taps, MOST_ROWS)? {
        let count = (rows.data.len() / rows.width).max(1) as f64;
        for unit in 0..rows.width {
            let column = || rows.data.iter().skip(unit).step_by(rows.width).map(|&x| f64::from(x));
            let mean = column().sum::<f64>() / count;
            let std = (column().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt();
            dead += usize::from(std < DEAD);
            units += 1;
        }
    }
    Ok(dead as f64 / units.max(1) as f64)
}

/// The name of the layer whose output is the output of block `blocks`.
pub(super) fn last_tap(network: &Network, blocks: usize) -> Result<String, NetworkError> {
    let name = network.blocks[blocks - 1].layers.iter().rev().find_map(Layer::name);
    name.map(str::to_owned).ok_or_else(|| {
        NetworkError::Unsupported(format!(
            "block {blocks} has no layer whose output could be followed"
        ))
    })
}

/// The layers of a block whose units can be dead, those inside of units as well.
fn live_units(layers: &[Layer]) -> Vec<String> {
    let mut names = Vec::new();
    for facts in layers.iter().map(Layer::facts) {
        names.extend(facts.inside.into_iter().flat_map(live_units));
        names.extend(facts.name.filter(|_| facts.can_die).map(str::to_owned));
    }
    names
}
