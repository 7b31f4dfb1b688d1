//! A stage's plan on a device, with its networks loaded.

use std::{collections::VecDeque, sync::Arc};

use bytemuck::NoUninit;
use serde::{Deserialize, Serialize};

use super::TrainError;
use crate::{
    batch::NumberKind,
    data::{Batch, DataError, Field, Numbers, Split},
    device::{Device, Executor, Metrics, StepParameters},
    event::Scaling,
    nn::{Input, Network, NetworkError, Weights},
    ops::{scaler, to_u32},
    profile::{Job, Window},
    random,
    step::{
        self, ACCUMULATE, APPLY, Counts, DISCREPANCY, EVALUATE, HITS, LABELS, LOSS, LOSS_SCALE,
        LOSSES, Program, SCALER, SKIPPED, STEP, Tally, Task, Test,
    },
    verdicts::Verdicts,
};

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

/// What the micro-batches of a step come to before the optimiser: their shares of the whole batch's means. The sums of slices add up to those of
/// the batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Sums {
    /// Of each trained parameter, where it lies in the flat parameters.
    pub gradients: Vec<f32>,
    /// Of the loss and the hits, in the slots of the buffer `metrics`.
    pub metrics: Vec<f32>,
}

/// What every share of a step begins with, and what the optimiser leaves.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Common {
    /// The flat parameters.
    pub(super) params: Vec<f32>,
    /// The flat running statistics; empty where there are none.
    pub(super) state: Vec<f32>,
    /// The state of loss scaling; empty where steps are f32.
    pub(super) scaler: Vec<f32>,
}

/// The buffers of [`Sums`].
const SUMS: [&str; 2] = ["student.sums", "metrics"];
/// The flat parameters and running statistics of the student.
const PARAMS: &str = "student.params";
const STATE: &str = "student.state";

/// A stage's plan on a device.
#[derive(Debug)]
pub struct Session {
    executor: Box<dyn Executor>,
    program: Program,
    scaling: Option<Scaling>,
}

impl Session {
    /// Puts a program on the device.
    ///
    /// # Errors
    /// If the device cannot hold or compile it.
    pub fn new(gpu: &Arc<dyn Device>, program: Program) -> Result<Self, TrainError> {
        let executor = Arc::clone(gpu).prepare(program.plan.clone())?;
        let session = Self { executor, program, scaling: None };
        for (k, words) in session.program.decay_words.iter().enumerate() {
            session.executor.write(&format!("student.decay{k}"), words)?;
        }
        Ok(session)
    }

    /// A trained network by itself, to test it on at most `batch` inputs at once, or to ask it.
    ///
    /// # Errors
    /// As [`Self::new`]; if the weights are not the network's.
    pub fn evaluating(
        gpu: &Arc<dyn Device>,
        network: &Network,
        task: Task,
        weights: &Weights,
        batch: u32,
    ) -> Result<Self, TrainError> {
        let session = Self::new(gpu, step::evaluation(network, task, batch, &gpu.target())?)?;
        session.load_student(weights)?;
        Ok(session)
    }

    /// The plan's memory in bytes.
    pub fn memory(&self) -> u64 {
        self.program.plan.memory()
    }

    /// Floating-point operations of a training step.
    pub fn flops(&self) -> u64 {
        self.program.flops()
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
        self.set_teacher(&self.packed_teacher(weights)?)
    }

    /// The teacher's flat parameters and running statistics, as they lie on the device; empty if the plan has no teacher.
    pub(super) fn packed_teacher(&self, weights: &Weights) -> Result<[Vec<f32>; 2], TrainError> {
        let Some(teacher) = &self.program.teacher else { return Ok(Default::default()) };
        Ok(teacher.pack(weights)?.into())
    }

    /// Loads what [`Self::packed_teacher`] gives.
    pub(super) fn set_teacher(&self, [params, state]: &[Vec<f32>; 2]) -> Result<(), TrainError> {
        self.load("teacher", params, state)
    }

    fn load(&self, owner: &str, params: &[f32], state: &[f32]) -> Result<(), TrainError> {
        self.write(&format!("{owner}.params"), params)?;
        self.write(&format!("{owner}.state"), state)
    }

    /// Writes into a named buffer, if the plan has it.
    fn write<T: NoUninit>(&self, label: &str, data: &[T]) -> Result<(), TrainError> {
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
        let (mut params, mut state) = (self.read(PARAMS)?, self.read(STATE)?);
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

    /// Submits a training step: one submit, or one a micro-batch and one for the optimiser. Nothing is read back.
    ///
    /// # Errors
    /// If the device reports an error.
    pub fn step(
        &mut self,
        batch: &Batch,
        live: &StepParameters,
        tag: u64,
    ) -> Result<(), TrainError> {
        let counted = self.program.counts.of(batch) as f32;
        let live = StepParameters { counted, total: counted, ..*live };
        if self.program.is_apart() {
            self.accumulate(batch, &live, 0)?;
            return self.apply(&live, tag);
        }
        write(&*self.executor, &self.program.inputs, batch)?;
        Ok(self.executor.run(STEP, &live, tag)?)
    }

    /// The first half of a step: adds up the gradients and metrics of a batch, or of a slice of it whose micro-batches are those from `first` on
    /// of the whole batch's, of which `live.total` labels or tokens count. Then the host may take part by [`Self::sums`] and [`Self::set_sums`],
    /// before [`Self::apply`] ends the step.
    ///
    /// # Errors
    /// If the device reports an error, or the plan has no such half.
    pub fn accumulate(
        &mut self,
        batch: &Batch,
        live: &StepParameters,
        first: u32,
    ) -> Result<(), TrainError> {
        let rows = self.program.rows as usize;
        for part in 0..to_u32(batch.size.div_ceil(rows) as u64) {
            let here = batch.part(part as usize * rows, rows);
            write(&*self.executor, &self.program.inputs, &here)?;
            // Each micro-batch of the whole batch has random numbers of its own.
            let drawn = random::key(&[live.seed.into(), (first + part).into()]) as u32;
            let seed = if first + part == 0 { live.seed } else { drawn };
            let (rows, counted) = (here.rows as u32, self.program.counts.of(&here) as f32);
            let live = StepParameters { seed, part, rows, counted, ..*live };
            self.executor.run_part(ACCUMULATE, &live)?;
        }
        Ok(())
    }

    /// The second half of a step: the optimiser, by the gradients that were added up.
    ///
    /// # Errors
    /// As [`Self::accumulate`].
    pub fn apply(&mut self, live: &StepParameters, tag: u64) -> Result<(), TrainError> {
        Ok(self.executor.run(APPLY, live, tag)?)
    }

    /// What [`Self::accumulate`] has added up.
    ///
    /// # Errors
    /// If the device is lost, or the plan adds nothing up.
    pub fn sums(&self) -> Result<Sums, TrainError> {
        let [gradients, metrics] = SUMS.map(|label| self.executor.read(label));
        Ok(Sums { gradients: gradients?, metrics: metrics? })
    }

    /// Has [`Self::apply`] go by these sums.
    ///
    /// # Errors
    /// If they are longer than the plan's, or the plan adds nothing up.
    pub fn set_sums(&mut self, sums: &Sums) -> Result<(), TrainError> {
        for (label, data) in SUMS.into_iter().zip([&sums.gradients, &sums.metrics]) {
            self.executor.write(label, data)?;
        }
        Ok(())
    }

    /// What the next step begins with, and with these running statistics.
    pub(super) fn common(&self, state: Vec<f32>) -> Result<Common, TrainError> {
        Ok(Common { params: self.read(PARAMS)?, state, scaler: self.read(SCALER)? })
    }

    /// Has the next step begin with this.
    pub(super) fn set_common(&self, of: &Common) -> Result<(), TrainError> {
        self.write(PARAMS, &of.params)?;
        self.write(SCALER, &of.scaler)?;
        self.set_state(&of.state)
    }

    /// The flat running statistics.
    pub(super) fn state(&self) -> Result<Vec<f32>, TrainError> {
        self.read(STATE)
    }

    /// Sets the flat running statistics.
    pub(super) fn set_state(&self, state: &[f32]) -> Result<(), TrainError> {
        self.write(STATE, state)
    }

    /// Floats of the flat parameters and of the running statistics.
    pub(super) fn floats(&self) -> u64 {
        self.program.student.param_floats + self.program.student.state_floats
    }

    /// Inputs that a training step takes at once.
    pub(super) fn part(&self) -> usize {
        self.program.rows as usize
    }

    /// What the means of a step's loss are over.
    pub(super) fn counts(&self) -> Counts {
        self.program.counts
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
        let program = if self.program.is_apart() { ACCUMULATE } else { STEP };
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

    /// Runs an evaluation over batches whose loss has parts that are means over these, and hands the logits of each batch to `take`, if they are
    /// asked for; all training metrics must have been taken.
    fn sweep(
        &mut self,
        program: &str,
        parts: &[Counts],
        batches: impl Iterator<Item = Result<Batch, DataError>>,
        mut take: Option<&mut dyn FnMut(Vec<Vec<f32>>)>,
    ) -> Result<Test, TrainError> {
        let mut tally = Tally::default();
        // What counts in each batch, for each part, whose metrics are still to come.
        let mut awaited: VecDeque<Vec<u64>> = VecDeque::new();
        let mut add = |metrics: Vec<Metrics>, awaited: &mut VecDeque<Vec<u64>>| {
            for m in metrics {
                let counted = awaited.pop_front().unwrap_or_default();
                let losses = LOSSES.into_iter().zip(counted).map(|(slot, n)| (m.values[slot], n));
                tally.add(losses, m.values.get(HITS).copied().unwrap_or(0.0));
            }
        };
        for batch in batches {
            let batch = batch?;
            write(&*self.executor, &self.program.test_inputs, &batch)?;
            let counted: Vec<u64> = parts.iter().map(|counts| counts.of(&batch)).collect();
            let live = StepParameters {
                counted: counted[0] as f32,
                ..StepParameters::rows(batch.rows as u32)
            };
            awaited.push_back(counted);
            self.executor.run(program, &live, 0)?;
            if let Some(take) = &mut take {
                let mut logits = Vec::new();
                self.add_logits(batch.rows, &mut logits)?;
                take(logits);
            }
            add(self.executor.metrics()?, &mut awaited);
        }
        add(self.executor.finish()?, &mut awaited);
        Ok(tally.test())
    }

    /// Tests on batches.
    fn evaluate(
        &mut self,
        batches: impl Iterator<Item = Result<Batch, DataError>>,
    ) -> Result<Test, TrainError> {
        self.sweep(EVALUATE, &self.program.task.parts(), batches, None)
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
        self.evaluate(split.batches(self.rows()))
    }

    /// Tests on all samples of a split and gives their [`Self::logits`], in one pass.
    ///
    /// # Errors
    /// As [`Self::test`].
    pub fn test_with_logits(
        &mut self,
        split: &Arc<Split>,
    ) -> Result<(Test, Vec<Vec<f32>>), TrainError> {
        let (parts, mut logits) = (self.program.task.parts(), Vec::with_capacity(split.len()));
        let batches = split.batches(self.rows());
        let mut take = |rows: Vec<Vec<f32>>| logits.extend(rows);
        let test = self.sweep(EVALUATE, &parts, batches, Some(&mut take))?;
        Ok((test, logits))
    }

    /// Tests on all samples of a split whose class k is the network's output `outputs[k]`, in one pass with what is said of each of them; the outputs
    /// of the network have these names.
    ///
    /// # Errors
    /// As [`Self::test`].
    ///
    /// # Panics
    /// `outputs` lacks a class of the split.
    pub fn test_as(
        &mut self,
        split: &Arc<Split>,
        outputs: &[u32],
        classes: &[String],
    ) -> Result<(Test, Verdicts), TrainError> {
        let named = |batch: Result<Batch, DataError>| {
            let mut batch = batch?;
            for field in batch.targets.iter_mut().filter(|field| field.name == LABELS) {
                if let Numbers::U32(labels) = &mut field.numbers {
                    labels.iter_mut().for_each(|label| *label = outputs[*label as usize]);
                }
            }
            Ok(batch)
        };
        let mut labels = split.classes().iter().map(|&label| outputs[label as usize]);
        let mut verdicts = Verdicts::of(classes);
        let mut take = |rows: Vec<Vec<f32>>| {
            for (row, label) in rows.iter().zip(&mut labels) {
                verdicts.push(label, row);
            }
        };
        let (parts, batches) = (self.program.task.parts(), split.batches(self.rows()).map(named));
        let test = self.sweep(EVALUATE, &parts, batches, Some(&mut take))?;
        Ok((test, verdicts))
    }

    /// Tests on some samples of a split.
    ///
    /// # Errors
    /// As [`Self::test`].
    pub fn test_on(&mut self, split: &Arc<Split>, picks: &[usize]) -> Result<Test, TrainError> {
        self.evaluate(split.some(picks, self.rows()))
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
        let batches = split.some(picks, self.rows());
        let parts = self.program.imitated.clone();
        Ok(self.sweep(DISCREPANCY, &parts, batches, None)?.loss)
    }

    /// A full batch of zeros, without targets, of what [`Self::logits`] reads.
    pub(super) fn blank(&self) -> Batch {
        let targets = self.program.task.targets(0);
        let is_read = |input: &&Input| targets.iter().all(|target| target.name != input.name);
        let field = |input: &Input| match input.kind {
            NumberKind::F32 => Field::f32(input.name, vec![0.0; input.len()]),
            NumberKind::U32 => Field::u32(input.name, vec![0; input.len()]),
        };
        let inputs = self.program.test_inputs.iter().filter(is_read).map(field).collect();
        Batch { inputs, targets: Vec::new(), size: self.rows(), rows: self.rows() }
    }

    /// Logits of some samples, row by row, those of further heads behind those of the first; the program must be an evaluation.
    ///
    /// # Errors
    /// As [`Self::test`].
    pub fn logits(
        &mut self,
        batches: impl Iterator<Item = Result<Batch, DataError>>,
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        // No answer depends on what it is compared with.
        let targets = self.program.task.targets(0);
        let mut inputs = self.program.test_inputs.clone();
        inputs.retain(|input| targets.iter().all(|target| target.name != input.name));
        let mut rows = Vec::new();
        for batch in batches {
            let batch = batch?;
            write(&*self.executor, &inputs, &batch)?;
            self.executor.run(EVALUATE, &StepParameters::rows(batch.rows as u32), 0)?;
            self.add_logits(batch.rows, &mut rows)?;
        }
        self.executor.finish()?;
        Ok(rows)
    }

    /// Adds the logits of the `count` samples that the evaluation ran on last.
    fn add_logits(&self, count: usize, to: &mut Vec<Vec<f32>>) -> Result<(), TrainError> {
        let first = to.len();
        to.resize(first + count, Vec::new());
        for label in (0..).map(step::logits).take_while(|label| self.executor.has(label)) {
            let flat = self.executor.read(&label)?;
            let each = flat.chunks_exact(flat.len() / self.rows());
            to[first..].iter_mut().zip(each).for_each(|(row, more)| row.extend(more));
        }
        Ok(())
    }
}

/// Writes what a program reads of a batch.
///
/// # Errors
/// The batch lacks a field, or has another one under its name; the device is lost.
pub(super) fn write(
    executor: &dyn Executor,
    inputs: &[Input],
    batch: &Batch,
) -> Result<(), TrainError> {
    for input in inputs {
        let numbers = batch
            .field(input.name)
            .filter(|numbers| numbers.len() == input.len() && numbers.kind() == input.kind);
        let numbers = numbers.ok_or_else(|| {
            let Input { name, shape, kind, .. } = input;
            NetworkError::Mismatch(format!("the data give no {name} of {shape:?} {kind:?} numbers"))
        })?;
        executor.write_bytes(&input.buffer, numbers.bytes())?;
    }
    Ok(())
}
