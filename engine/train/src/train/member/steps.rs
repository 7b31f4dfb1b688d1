//! The steps of a restart of a stage: batches in; losses, tests and checkpoints out.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Member, ORDER};
use crate::{
    clock::Clock,
    config::Recipe,
    data::{Loader, LoaderOptions},
    device::StepParameters,
    event::{Event, Exchange, LoaderWait},
    train::{TrainError, session::Session, team::Took},
    win::algorithm::Stage,
};

/// Lines of the log for each pass over the data.
const LINES_PER_EPOCH: u64 = 20;
/// Steps of a stage before those that are profiled, and how many these are at most: none stands beside a test or a checkpoint.
const WARM_UP: u64 = 3;
const PROFILED: u64 = 10;

impl Member<'_, '_> {
    /// The steps of a restart that are left, with tests, log lines and checkpoints.
    pub(super) fn steps(
        &mut self,
        stage: &Stage,
        recipe: &Recipe,
        session: &mut Session,
    ) -> Result<(), TrainError> {
        let (gpu_batch, restart) = (recipe.batch as usize, self.at.place.restart);
        session.load_student(&self.at.now)?;
        session.set_moments(self.at.moments.as_ref())?;
        session.set_loss_scale(self.at.place.loss_scale)?;
        let order = LoaderOptions {
            batch: gpu_batch,
            order_seed: self.seed(ORDER, restart),
            augment: true,
            start_batch: self.at.place.step,
            threads: 0,
            drop_last: true,
            slice: None,
        };
        let total = stage.steps_of(restart);
        let per_epoch = order.batches_per_epoch(self.run.data.train.len());
        // Where ranks share the batches, each makes its part of them.
        let mut loader = match self.run.team {
            Some(_) => None,
            None => Some(Loader::new(Arc::clone(&self.run.data.train), order)?),
        };
        self.set_out(total, session)?;
        let line = per_epoch.div_ceil(LINES_PER_EPOCH).max(1);
        self.run.emit(Event::StageStarted {
            member: self.who.name.clone(),
            stage: stage.name.clone(),
            restart: restart + 1,
            step: self.at.place.member_step - self.at.place.step,
            steps: total,
            done: self.at.place.step,
            memory: session.memory(),
            micro_batches: session.micro_batches(),
            flops: self.run.team.is_none().then(|| session.flops()),
        })?;

        let first = self.at.place.step;
        let mut profiling = false;
        let mut meter = Meter::new(self.run.clock, first);
        let seed = self.seed(ORDER, restart) as u32;
        while self.at.place.step < total {
            let step = self.at.place.step;
            if step == first + WARM_UP && self.wants_profile(stage) {
                session.start_profile()?;
                profiling = true;
            }
            let lr = recipe.lr_at(step, total, per_epoch);
            let live = StepParameters {
                seed,
                step: step as u32,
                lr: lr as f32,
                t: (step + 1) as f32,
                ..StepParameters::rows(recipe.batch)
            };
            match (&mut loader, &mut self.run.team) {
                (Some(loader), _) => {
                    let asked = meter.clock.now();
                    let Some(batch) = loader.next() else { break };
                    let batch = batch?;
                    meter.waited(meter.clock.now() - asked);
                    session.step(&batch, &live, step)?;
                }
                (None, Some(team)) => meter.shared(team.step(session, &live, step)?),
                (None, None) => break,
            }
            self.at.place.step += 1;
            self.at.place.member_step += 1;
            let done = self.at.place.step;
            self.read(stage, session, &mut meter, false)?;
            let epoch_ends = done.is_multiple_of(per_epoch) || done == total;
            let pauses = epoch_ends || self.pauses();
            if profiling && (pauses || done == first + WARM_UP + PROFILED) {
                self.record(stage, session)?;
                profiling = false;
            }
            if done.is_multiple_of(line) || epoch_ends {
                if epoch_ends {
                    self.read(stage, session, &mut meter, true)?;
                }
                self.say(stage, session, &mut meter, lr, gpu_batch)?;
            }
            if epoch_ends && session.tests() {
                let test = meter.pause(|| session.test(&self.run.data.test))?;
                self.run.emit(Event::Epoch {
                    member: self.who.name.clone(),
                    stage: stage.name.clone(),
                    step: self.at.place.member_step,
                    epoch: done as f64 / per_epoch as f64,
                    accuracy: Some(test.accuracy),
                    loss: test.loss,
                })?;
            }
            if self.pauses() && done < total {
                let stop = self.run.stopped();
                self.read(stage, session, &mut meter, true)?;
                self.at.place.seconds += meter.take();
                self.save(stage, session)?;
                if stop {
                    return Err(TrainError::Stopped(self.run.options.out.display().to_string()));
                }
            }
        }
        self.read(stage, session, &mut meter, true)?;
        self.at.place.seconds += meter.take();
        self.at.place.epochs += total as f64 / per_epoch as f64;
        self.fetch(stage, session)
    }

    /// Whether a checkpoint is due or asked for, or the user wants the run to stop.
    fn pauses(&self) -> bool {
        let options = self.run.options;
        let due = self.run.clock.now() - self.kept >= options.checkpoint_every;
        due || self.run.stopped() || options.checkpoint_soon.load(Ordering::Relaxed)
    }

    /// Whether the steps of a stage are to be profiled.
    fn wants_profile(&self, stage: &Stage) -> bool {
        let recorder = self.run.options.profile.as_ref();
        recorder.is_some_and(|recorder| recorder.wants(self.who.method, &stage.name))
    }

    /// Records the steps that were profiled.
    fn record(&self, stage: &Stage, session: &mut Session) -> Result<(), TrainError> {
        let window = session.stop_profile(&self.who.name, &stage.name)?;
        if let Some(recorder) = &self.run.options.profile {
            recorder.add(window);
        }
        Ok(())
    }

    /// Takes the losses that have been read back; with `wait`, those of all submitted steps.
    fn read(
        &mut self,
        stage: &Stage,
        session: &mut Session,
        meter: &mut Meter,
        wait: bool,
    ) -> Result<(), TrainError> {
        for (step, loss) in session.losses(wait)? {
            if !loss.is_finite() {
                return Err(self.non_finite("the loss".into(), stage, step + 1, loss));
            }
            meter.add(loss);
        }
        Ok(())
    }

    fn say(
        &mut self,
        stage: &Stage,
        session: &Session,
        meter: &mut Meter,
        lr: f64,
        batch: usize,
    ) -> Result<(), TrainError> {
        let exchange = meter.exchange();
        let Some((loss, rate, wait)) = meter.line(self.at.place.step, batch) else {
            return Ok(());
        };
        self.at.place.loss = Some(loss);
        self.run.emit(Event::Step {
            member: self.who.name.clone(),
            stage: stage.name.clone(),
            step: self.at.place.member_step,
            stage_step: self.at.place.step,
            loss,
            lr,
            samples_per_s: rate,
            loader_wait: Some(wait),
            exchange,
            scaling: session.scaling(),
        })
    }
}

/// Mean loss, rate and what was waited for since the last line, and the seconds of a stage without its tests.
struct Meter {
    clock: Arc<dyn Clock>,
    sum: f64,
    count: u64,
    step: u64,
    line: Duration,
    since: Duration,
    paused: Duration,
    line_paused: Duration,
    wait: Duration,
    longest: Duration,
    /// What shared steps took since the last line, and how many they are.
    took: Took,
    shared: u32,
}

impl Meter {
    fn new(clock: &Arc<dyn Clock>, step: u64) -> Self {
        let now = clock.now();
        let zero = Duration::ZERO;
        Self {
            clock: Arc::clone(clock),
            sum: 0.0,
            count: 0,
            step,
            line: now,
            since: now,
            paused: zero,
            line_paused: zero,
            wait: zero,
            longest: zero,
            took: Took::default(),
            shared: 0,
        }
    }

    fn add(&mut self, loss: f32) {
        self.sum += f64::from(loss);
        self.count += 1;
    }

    /// Adds the time that a step waited for its inputs.
    fn waited(&mut self, wait: Duration) {
        self.wait += wait;
        self.longest = self.longest.max(wait);
    }

    /// Adds what a shared step took.
    fn shared(&mut self, step: Took) {
        self.waited(step.loader);
        let Took { bytes, own, loader, wait, all } = &mut self.took;
        *bytes += step.bytes;
        *own += step.own;
        *loader += step.loader;
        *wait += step.wait;
        *all += step.all;
        self.shared += 1;
    }

    /// What a shared step took in the mean since the last line; none if there was none.
    fn exchange(&mut self) -> Option<Exchange> {
        let Took { bytes, own, loader, wait, all } = std::mem::take(&mut self.took);
        let steps = std::mem::take(&mut self.shared);
        let rest = all.saturating_sub(own + loader + wait);
        let mean = |time: Duration| (1e6 * time.as_secs_f64() / f64::from(steps)).round() / 1e3;
        (steps > 0).then(|| Exchange {
            bytes: bytes / u64::from(steps),
            own_ms: mean(own),
            wait_ms: mean(wait),
            rest_ms: mean(rest),
        })
    }

    fn line(&mut self, step: u64, batch: usize) -> Option<(f64, f64, LoaderWait)> {
        if self.count == 0 {
            return None;
        }
        let seconds = (self.clock.now() - self.line).saturating_sub(self.line_paused).as_secs_f64();
        let steps = (step - self.step) as f64;
        let rate = steps * batch as f64 / seconds.max(1e-9);
        let loss = self.sum / self.count as f64;
        let microseconds = |time: Duration, by: f64| (1e6 * time.as_secs_f64() / by).round() / 1e3;
        let wait = LoaderWait {
            mean_ms: microseconds(self.wait, steps.max(1.0)),
            max_ms: microseconds(self.longest, 1.0),
        };
        (self.sum, self.count, self.step, self.line, self.line_paused) =
            (0.0, 0, step, self.clock.now(), Duration::ZERO);
        (self.wait, self.longest) = (Duration::ZERO, Duration::ZERO);
        Some((loss, rate, wait))
    }

    fn pause<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let from = self.clock.now();
        let result = work();
        let took = self.clock.now() - from;
        self.paused += took;
        self.line_paused += took;
        result
    }

    fn take(&mut self) -> f64 {
        let seconds = (self.clock.now() - self.since).saturating_sub(self.paused).as_secs_f64();
        (self.since, self.paused) = (self.clock.now(), Duration::ZERO);
        seconds
    }
}
