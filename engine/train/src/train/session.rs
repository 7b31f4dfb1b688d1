//! A stage's plan on a device, with its networks loaded.

use std::sync::Arc;

use bytemuck::Pod;
use serde::{Deserialize, Serialize};

use super::TrainError;
use crate::{
    data::{Batch, DataError, Split},
    event::Scaling,
    gpu::{Executor, Gpu, Metrics, StepParameters},
    nn::{Network, Weights},
    ops::scaler,
    profile::{Job, Window},
    random,
    step::{
        self, ACCUMULATE, APPLY, DISCREPANCY, EVALUATE, HITS, LOSS, LOSS_SCALE, Program, SCALER,
        SKIPPED, STEP,
    },
};

/// Loss and accuracy on a split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Test {
    /// Mean loss.
    pub loss: f64,
    /// Percent.
    pub accuracy: f64,
    /// Inputs.
    pub count: u64,
}

/// The state of dynamic loss scaling, between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// What the loss is multiplied by.
    pub scale: f32,
    /// Steps taken since the scale changed.
    pub taken: u32,
    /// Steps skipped since the restart began.
    pub skipped: u32,
}

impl Default for LossScale {
    /// Before the first step.
    fn default() -> Self {
        Self { scale: scaler::FIRST_SCALE, taken: 0, skipped: 0 }
    }
}

/// A stage's plan on a device.
#[derive(Debug)]
pub struct Session {
    executor: Executor,
    program: Program,
    scaling: Option<Scaling>,
}

impl Session {
    /// Puts a program on the device.
    ///
    /// # Errors
    /// If the device cannot hold or compile it.
    pub fn new(gpu: &Arc<Gpu>, program: Program) -> Result<Self, TrainError> {
        let executor = Executor::new(gpu, program.plan.clone())?;
        let session = Self { executor, program, scaling: None };
        for (k, &words) in session.program.decay_words.iter().enumerate() {
            // Weight decay acts on every parameter, as PyTorch's optimisers do when they are given all in one group.
            session.executor.write(&format!("student.decay{k}"), &vec![1u32; words as usize])?;
        }
        Ok(session)
    }

    /// A trained network by itself, to test it on at most `batch` inputs at once, or to ask it.
    ///
    /// # Errors
    /// As [`Self::new`]; if the weights are not the network's.
    pub fn evaluating(
        gpu: &Arc<Gpu>,
        network: &Network,
        weights: &Weights,
        batch: u32,
    ) -> Result<Self, TrainError> {
        let session = Self::new(gpu, step::evaluation(network, batch, &gpu.target())?)?;
        session.load_student(weights)?;
        Ok(session)
    }

    /// The plan's memory in bytes.
    pub fn memory(&self) -> u64 {
        self.program.plan.memory()
    }

    /// Inputs that a test takes at once.
    pub fn rows(&self) -> usize {
        self.program.test_rows as usize
    }

    /// Micro-batches of a training step.
    pub fn micro_batches(&self) -> u32 {
        self.program.micro_batches
    }

    /// A number that is equal for equal plans.
    pub fn fingerprint(&self) -> u64 {
        random::name(&self.program.plan.listing())
    }

    /// Loads the student's weights.
    ///
    /// # Errors
    /// If one is missing or of another shape.
    pub fn load_student(&self, weights: &Weights) -> Result<(), TrainError> {
        let (params, state) = self.program.student.pack(weights)?;
        self.load("student", &params, &state)
    }

    /// Loads the teacher's weights, if the plan has a teacher.
    ///
    /// # Errors
    /// If one is missing or of another shape.
    pub fn load_teacher(&self, weights: &Weights) -> Result<(), TrainError> {
        let Some(teacher) = &self.program.teacher else { return Ok(()) };
        let (params, state) = teacher.pack(weights)?;
        self.load("teacher", &params, &state)
    }

    fn load(&self, owner: &str, params: &[f32], state: &[f32]) -> Result<(), TrainError> {
        self.write(&format!("{owner}.params"), params)?;
        self.write(&format!("{owner}.state"), state)
    }

    /// Writes into a named buffer, if the plan has it.
    fn write<T: Pod>(&self, label: &str, data: &[T]) -> Result<(), TrainError> {
        if self.executor.has(label) && !data.is_empty() {
            self.executor.write(label, data)?;
        }
        Ok(())
    }

    fn read(&self, label: &str) -> Result<Vec<f32>, TrainError> {
        Ok(if self.executor.has(label) { self.executor.read(label)? } else { Vec::new() })
    }

    /// The student's weights as they are on the device.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn student(&self) -> Result<Weights, TrainError> {
        let (mut params, mut state) = (self.read("student.params")?, self.read("student.state")?);
        params.resize(self.program.student.param_floats as usize, 0.0);
        state.resize(self.program.student.state_floats as usize, 0.0);
        Ok(self.program.student.unpack(&params, &state))
    }

    /// The optimiser's moments m and v, empty where it has none.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn moments(&self) -> Result<[Vec<f32>; 2], TrainError> {
        Ok([self.read("student.m")?, self.read("student.v")?])
    }

    /// Sets the optimiser's moments, or zeros.
    ///
    /// # Errors
    /// If they are longer than the plan's.
    pub fn set_moments(&self, moments: Option<&[Vec<f32>; 2]>) -> Result<(), TrainError> {
        let floats = self.program.student.param_floats as usize;
        for (k, label) in ["student.m", "student.v"].into_iter().enumerate() {
            match moments {
                Some(moments) => self.write(label, &moments[k])?,
                None => self.write(label, &vec![0.0f32; floats])?,
            }
        }
        Ok(())
    }

    /// The state of loss scaling; none where steps are f32.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn loss_scale(&self) -> Result<Option<LossScale>, TrainError> {
        let words = self.read(SCALER)?;
        Ok(match words[..] {
            // The counts are whole numbers below 2^24.
            [scale, taken, skipped, _] => {
                Some(LossScale { scale, taken: taken as u32, skipped: skipped as u32 })
            }
            _ => None,
        })
    }

    /// Sets the state of loss scaling, or resets it; has no effect where steps are f32.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn set_loss_scale(&mut self, state: Option<LossScale>) -> Result<(), TrainError> {
        let LossScale { scale, taken, skipped } = state.unwrap_or_default();
        self.scaling = None;
        self.write(SCALER, &[scale, taken as f32, skipped as f32, 0.0])
    }

    /// How the loss was scaled after the last step that [`Self::losses`] told of; none where steps are f32.
    pub fn scaling(&self) -> Option<Scaling> {
        self.scaling
    }

    /// Submits a training step: one submit, or one a micro-batch and one for the optimiser. Nothing is read back in between.
    ///
    /// # Errors
    /// If the device reports an error.
    pub fn step(
        &mut self,
        batch: &Batch,
        live: &StepParameters,
        tag: u64,
    ) -> Result<(), TrainError> {
        if self.program.micro_batches == 1 {
            self.write("images", &batch.images)?;
            self.write("labels", &batch.labels)?;
            return Ok(self.executor.run(STEP, live, tag)?);
        }
        let rows = self.program.rows as usize;
        let input = batch.images.len() / batch.labels.len().max(1);
        for part in 0..self.program.micro_batches {
            let first = part as usize * rows;
            let here = batch.rows.saturating_sub(first).min(rows);
            let (mut images, mut labels) = (Vec::new(), Vec::new());
            images.extend_from_slice(&batch.images[first * input..(first + here) * input]);
            labels.extend_from_slice(&batch.labels[first..first + here]);
            images.resize(rows * input, 0.0);
            labels.resize(rows, 0);
            self.write("images", &images)?;
            self.write("labels", &labels)?;
            // Each micro-batch has random numbers of its own.
            let drawn = random::key(&[live.seed.into(), part.into()]) as u32;
            let seed = if part == 0 { live.seed } else { drawn };
            let live = StepParameters { seed, part, rows: here as u32, ..*live };
            self.executor.run_part(ACCUMULATE, &live)?;
        }
        Ok(self.executor.run(APPLY, live, tag)?)
    }

    /// From now on every dispatch is timed: [`Self::stop_profile`] has the times.
    ///
    /// # Errors
    /// If the device has no timestamps.
    pub fn start_profile(&mut self) -> Result<(), TrainError> {
        Ok(self.executor.start_profile()?)
    }

    /// Waits for the steps under way and returns the training steps (or their micro-batches) since [`Self::start_profile`], as `owner`'s in `stage`.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn stop_profile(&mut self, owner: &str, stage: &str) -> Result<Window, TrainError> {
        let (mut passes, seconds) = self.executor.stop_profile()?;
        let program = if self.program.micro_batches == 1 { STEP } else { ACCUMULATE };
        passes.retain(|pass| pass.program == program);
        Ok(Window {
            owner: owner.into(),
            stage: stage.into(),
            program: program.into(),
            jobs: Job::of(&self.program.plan, program),
            passes,
            seconds,
        })
    }

    /// Losses that have arrived, with their steps; all of them if `wait`.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn losses(&mut self, wait: bool) -> Result<Vec<(u64, f32)>, TrainError> {
        let metrics = if wait { self.executor.finish()? } else { self.executor.metrics()? };
        if let Some(last) = metrics.last().filter(|_| self.executor.has(SCALER)) {
            let (scale, skipped) = (last.values[LOSS_SCALE].into(), last.values[SKIPPED] as u64);
            self.scaling = Some(Scaling { scale, skipped });
        }
        Ok(metrics.into_iter().map(|m| (m.tag, m.values[LOSS])).collect())
    }

    /// Runs an evaluation over batches; all training metrics must have been taken.
    fn sweep(
        &mut self,
        program: &str,
        batches: impl Iterator<Item = Result<Batch, TrainError>>,
    ) -> Result<(f64, f64, u64), TrainError> {
        let (mut loss, mut hits, mut count) = (0.0, 0.0, 0u64);
        let mut add = |metrics: Vec<Metrics>| {
            for m in metrics {
                loss += f64::from(m.values[LOSS]) * m.tag as f64;
                hits += f64::from(m.values.get(HITS).copied().unwrap_or(0.0));
                count += m.tag;
            }
        };
        for batch in batches {
            let batch = batch?;
            self.executor.write("eval.images", &batch.images)?;
            if self.executor.has("eval.labels") {
                self.executor.write("eval.labels", &batch.labels)?;
            }
            self.executor.run(
                program,
                &StepParameters::rows(batch.rows as u32),
                batch.rows as u64,
            )?;
            add(self.executor.metrics()?);
        }
        add(self.executor.finish()?);
        Ok((loss / count.max(1) as f64, 100.0 * hits / count.max(1) as f64, count))
    }

    /// Whether there is something to test.
    pub fn tests(&self) -> bool {
        self.program.plan.launches(EVALUATE) > 0
    }

    /// Tests on all samples of a split.
    ///
    /// # Errors
    /// If a picture cannot be read or the device is lost.
    pub fn test(&mut self, split: &Arc<Split>) -> Result<Test, TrainError> {
        let batches = split.batches(self.rows()).map(|batch| batch.map_err(TrainError::from));
        let (loss, accuracy, count) = self.sweep(EVALUATE, batches)?;
        Ok(Test { loss, accuracy, count })
    }

    /// Tests on all samples of a split whose class k is the network's output `outputs[k]`.
    ///
    /// # Errors
    /// As [`Self::test`].
    ///
    /// # Panics
    /// `outputs` lacks a class of the split.
    pub fn test_as(&mut self, split: &Arc<Split>, outputs: &[u32]) -> Result<Test, TrainError> {
        let named = |batch: Result<Batch, DataError>| {
            let mut batch = batch?;
            for label in &mut batch.labels {
                *label = outputs[*label as usize];
            }
            Ok(batch)
        };
        let batches = split.batches(self.rows()).map(named);
        let (loss, accuracy, count) = self.sweep(EVALUATE, batches)?;
        Ok(Test { loss, accuracy, count })
    }

    /// Tests on some samples of a split.
    ///
    /// # Errors
    /// As [`Self::test`].
    pub fn test_on(&mut self, split: &Arc<Split>, picks: &[usize]) -> Result<Test, TrainError> {
        let (loss, accuracy, count) = self.sweep(EVALUATE, some(split, picks, self.rows()))?;
        Ok(Test { loss, accuracy, count })
    }

    /// The mean discrepancy of an imitation on some samples, in eval mode.
    ///
    /// # Errors
    /// As [`Self::test`].
    pub fn discrepancy_on(
        &mut self,
        split: &Arc<Split>,
        picks: &[usize],
    ) -> Result<f64, TrainError> {
        Ok(self.sweep(DISCREPANCY, some(split, picks, self.rows()))?.0)
    }

    /// Logits of some samples, row by row; the program must be an evaluation.
    ///
    /// # Errors
    /// As [`Self::test`].
    pub fn logits(
        &mut self,
        batches: impl Iterator<Item = Result<Batch, TrainError>>,
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        let mut rows = Vec::new();
        for batch in batches {
            let batch = batch?;
            self.executor.write("eval.images", &batch.images)?;
            self.executor.run(EVALUATE, &StepParameters::rows(batch.rows as u32), 0)?;
            let flat = self.executor.read("logits")?;
            let classes = flat.len() / self.rows();
            rows.extend(flat.chunks_exact(classes).take(batch.rows).map(<[f32]>::to_vec));
        }
        self.executor.finish()?;
        Ok(rows)
    }
}

/// Some samples in batches, the last one padded with zeros.
pub(super) fn some<'a>(
    split: &'a Arc<Split>,
    picks: &'a [usize],
    batch: usize,
) -> impl Iterator<Item = Result<Batch, TrainError>> + 'a {
    picks.chunks(batch).map(move |picks| {
        let mut part = split.gather(picks)?;
        let input = part.images.len() / picks.len();
        part.images.resize(input * batch, 0.0);
        part.labels.resize(batch, 0);
        Ok(part)
    })
}
