//! One member (or teacher) of a run, from its first stage to its last.

mod shared;
mod steps;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    TrainError,
    checkpoint::{Checkpoint, Position},
    context::{Context, Teacher},
    measure::{self, Apart},
    probe::DeviceProbe,
    session::Session,
    spec::{ARTIFACTS, Finished, MemberSpec},
};
use crate::{
    config::{Method, Start},
    disk::Kind,
    event::{AutotunedProduct, Event},
    formats::{MergeReport, folder},
    nn::{self, Network, NetworkError},
    plan::Plan,
    random,
    step::{self, Objective, Saving, Training},
    win::{
        algorithm::{Stage, StageKind},
        networks::{self, Networks, REGRESSOR},
        start::{self, Choice, MOST_ROWS, Probe as _, Tap},
        surgery,
    },
};

/// Streams of random numbers of a member, apart from each other.
const INIT: u64 = 1;
const ORDER: u64 = 2;
const STARTS: u64 = 3;

/// Folder of a member's checkpoints.
const CHECKPOINTS: &str = "checkpoints";

/// Greatest relative error of a merge.
const MERGE_GATE: f64 = 1e-5;
/// A member under way.
pub(super) struct Member<'a, 'r> {
    who: &'a MemberSpec<'a>,
    run: &'a mut Context<'r>,
    /// S̄, for the methods that bridge; without pairs where blocks are bottlenecks.
    bridged: Option<Network>,
    at: Checkpoint,
    /// When the last checkpoint was written or read.
    kept: Duration,
    kept_step: Option<u64>,
}

impl<'a, 'r> Member<'a, 'r> {
    /// Takes a member up where its newest checkpoint left it; `begun` if an earlier process has worked on it.
    pub(super) fn open(
        who: &'a MemberSpec<'a>,
        run: &'a mut Context<'r>,
        begun: bool,
    ) -> Result<Self, TrainError> {
        let bridged = match (who.method, who.teacher) {
            (Some(method), Some(teacher)) if method.bridges() => {
                let lower = run.config.win.start == Start::Random;
                Some(surgery::bridge(who.network, &teacher.network, lower)?)
            }
            _ => None,
        };
        // Removes what a killed process was writing, or about to remove.
        Checkpoint::prune(run.disk, &who.folder.join(CHECKPOINTS))?;
        for folder in [who.folder.clone(), who.folder.join(CHECKPOINTS), who.folder.join(ARTIFACTS)]
        {
            if run.disk.kind(&folder) == Some(Kind::Folder) {
                run.disk.remove_leftovers(&folder)?;
            }
        }
        let (found, doubts) = Checkpoint::newest(run.disk, &who.folder.join(CHECKPOINTS))?;
        for message in doubts {
            run.emit(Event::Warning { message })?;
        }
        let kept_step = found.as_ref().map(|found| found.place.member_step);
        // A member that was killed before its first checkpoint begins anew; readers of the log have to know that as well.
        if let Some(step) = kept_step.or(begun.then_some(0)) {
            run.emit(Event::Resumed { member: Some(who.name.clone()), step })?;
        }
        let at = match found {
            Some(found) => found,
            None if bridged.is_some() => Checkpoint::default(),
            None => {
                let seed = random::key(&[who.seed, INIT, u64::from(who.method.is_none())]);
                let mut now = nn::fresh(who.network, seed)?;
                now.extend(who.begins.iter().flat_map(|weights| (*weights).clone()));
                Checkpoint { now, ..Checkpoint::default() }
            }
        };
        let kept = run.clock.now();
        Ok(Self { who, run, bridged, at, kept, kept_step })
    }

    /// Walks the stages that are left.
    pub(super) fn finish(mut self) -> Result<Finished, TrainError> {
        while let Some(stage) = self.who.stages.get(self.at.place.stage) {
            let stage = stage.clone();
            match stage.kind {
                StageKind::Merge => self.merge()?,
                StageKind::Start => self.timed(Self::start_all)?,
                _ => self.train(&stage)?,
            }
            let Position { member_step, epochs, seconds, loss, .. } = self.at.place;
            let micro_batches = std::mem::take(&mut self.at.place.micro_batches);
            let stage = self.at.place.stage + 1;
            self.at.place = Position {
                stage,
                member_step,
                epochs,
                seconds,
                loss,
                micro_batches,
                ..Position::default()
            };
            (self.at.base, self.at.best, self.at.moments) = (None, None, None);
            self.checkpoint()?;
        }
        self.results()
    }

    fn results(self) -> Result<Finished, TrainError> {
        let Self { who, run, at, .. } = self;
        let batch = run.config.vanilla.batch;
        let worth = measure::worth(
            who.network,
            run.data.task(),
            &at.now,
            who.seed,
            batch,
            run.data,
            &run.gpu,
        )?;
        // The merge stage, of this process or of an earlier one, left its proof here.
        let proof = who.folder.join(folder::MERGE);
        let merge = match run.disk.kind(&proof) {
            Some(_) => Some(folder::read_json_on(run.disk, &proof)?),
            None => None,
        };
        Ok(Finished { weights: at.now, worth, merge, place: at.place })
    }

    /// The seed of a stream of random numbers, for a restart of the stage that is under way.
    fn seed(&self, stream: u64, restart: u32) -> u64 {
        random::key(&[self.who.seed, stream, self.at.place.stage as u64, u64::from(restart)])
    }

    fn teacher(&self) -> Result<&'a Teacher, TrainError> {
        let missing = || NetworkError::Mismatch(format!("{} needs a teacher", self.who.name));
        Ok(self.who.teacher.ok_or_else(missing)?)
    }

    fn bridged(&self) -> Result<&Network, TrainError> {
        let missing =
            || NetworkError::Mismatch(format!("{} has no bridged network", self.who.name));
        Ok(self.bridged.as_ref().ok_or_else(missing)?)
    }

    /// Whether the pairs are still inserted.
    fn is_bridged(&self) -> bool {
        let merged =
            self.who.stages[..self.at.place.stage].iter().any(|s| s.kind == StageKind::Merge);
        self.bridged.is_some() && !merged
    }

    /// The network that a stage trains.
    fn network(&self, kind: StageKind) -> Result<Network, NetworkError> {
        let bridged = if self.is_bridged() { self.bridged.as_ref() } else { None };
        let teacher = self.who.teacher.map(|t| &t.network);
        Networks { student: self.who.network, teacher, bridged }.trained(kind)
    }

    fn objective(&mut self, kind: StageKind) -> Result<Objective, TrainError> {
        let win = &self.run.config.win;
        let relative = match kind {
            StageKind::Narrow { block } if win.discrepancy.is_relative() => Some(block),
            StageKind::Hint { blocks } => Some(blocks),
            _ => None,
        };
        let scale = match (relative, self.at.place.scale) {
            (Some(_), Some(bits)) => f32::from_bits(bits),
            (Some(blocks), None) => self.scale(blocks)?,
            (None, _) => 1.0,
        };
        self.at.place.scale = Some(scale.to_bits());
        Ok(networks::objective(kind, &self.run.config.win, scale))
    }

    /// 1 / variance of the teacher's output after so many blocks, over the start inputs.
    fn scale(&mut self, blocks: usize) -> Result<f32, TrainError> {
        let teacher = self.teacher()?;
        let tap = measure::last_tap(&teacher.network, blocks)?;
        let mut probe = self.probe(self.seed(STARTS, 0));
        let taps = [Tap { name: tap, stride: 1 }];
        let rows = probe.rows(&teacher.network, &teacher.weights, blocks, &taps, MOST_ROWS)?;
        let variance = measure::variance(&rows[0].data);
        // If the output of the teacher's block is constant there is nothing to imitate, and the error stays unscaled.
        Ok(if variance > 1e-20 { (1.0 / variance) as f32 } else { 1.0 })
    }

    fn probe(&self, seed: u64) -> DeviceProbe {
        let count = self.run.config.win.start_inputs as usize;
        DeviceProbe::new(&self.run.gpu, &self.run.data.train, count, seed)
    }

    /// Gives a block its start. The head has its own, see [`Self::start_head`].
    fn start(&mut self, block: usize, restart: u32) -> Result<(), TrainError> {
        let (bridged, teacher) = (self.bridged()?.clone(), self.teacher()?);
        let seed = self.seed(STARTS, restart);
        let choice = match self.run.config.win.start {
            Start::Greedy if bridged.is_bridged() => Choice::Greedy,
            Start::Sample if bridged.is_bridged() => Choice::Sample,
            _ => {
                let Teacher { network, weights, .. } = teacher;
                let (now, block) = (&mut self.at.now, block - 1);
                start::start_block_random(&bridged, network, weights, now, block, seed)?;
                return self.started(block + 1, 0);
            }
        };
        let mut probe = self.probe(seed);
        let map = &self.run.config.teacher.layer_map;
        let started = start::start_block(
            &mut probe,
            &bridged,
            &teacher.network,
            &teacher.weights,
            &mut self.at.now,
            block - 1,
            choice,
            seed,
            map,
        )?;
        self.started(block, started.fresh)
    }

    fn started(&mut self, block: usize, fresh: u64) -> Result<(), TrainError> {
        let (member, step) = (self.who.name.clone(), self.at.place.member_step);
        self.run.emit(Event::BlockInitialised { member, block: block as u32, step, fresh })
    }

    /// The head of S̄, before the stage that first uses it.
    fn start_head(&mut self) -> Result<(), TrainError> {
        let (bridged, teacher) = (self.bridged()?.clone(), self.teacher()?);
        let Teacher { network, weights, .. } = teacher;
        let seed = self.seed(STARTS, 0);
        let choice = match self.run.config.win.start {
            Start::Random if bridged.is_bridged() => {
                let (head, now) = (bridged.blocks.len(), &mut self.at.now);
                return Ok(start::start_block_random(&bridged, network, weights, now, head, seed)?);
            }
            Start::Sample => Choice::Sample,
            // The head of bottlenecks is the teacher's, whole.
            Start::Greedy | Start::Random => Choice::Greedy,
        };
        let (mut probe, now) = (self.probe(seed), &mut self.at.now);
        start::start_head(&mut probe, &bridged, network, weights, now, choice, seed)
    }

    /// Does `work` and counts its time as training: for whatever a method needs to get its weights, but not for tests.
    fn timed<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, TrainError>,
    ) -> Result<T, TrainError> {
        let from = self.run.clock.now();
        let done = work(self)?;
        self.at.place.seconds += (self.run.clock.now() - from).as_secs_f64();
        Ok(done)
    }

    fn start_all(&mut self) -> Result<(), TrainError> {
        if self.who.method == Some(Method::EmbeddingsOnly) {
            return self.take_embeddings();
        }
        for block in 1..=self.bridged()?.blocks.len() {
            self.start(block, 0)?;
        }
        self.start_head()
    }

    /// Gives a fresh student the teacher's embeddings and head.
    fn take_embeddings(&mut self) -> Result<(), TrainError> {
        let (student, Teacher { network, weights, .. }) = (self.who.network, self.teacher()?);
        let seed = self.seed(STARTS, 0);
        start::start_embeddings(student, network, weights, &mut self.at.now, seed)?;
        Ok(start::take_head(student, network, weights, &mut self.at.now)?)
    }

    fn merge(&mut self) -> Result<(), TrainError> {
        let bridged = self.bridged()?.clone();
        let (merged, weights) = surgery::merge(&bridged, &self.at.now)?;
        let both = [(&bridged, &self.at.now), (&merged, &weights)];
        let Apart { max_abs_error, relative_error, inputs } =
            measure::apart(both, self.run.config.tune.batch, self.run.data, &self.run.gpu)?;
        let report = MergeReport {
            max_abs_error,
            relative_error,
            inputs,
            params_before: bridged.shapes()?.param_count(),
            params_after: merged.shapes()?.param_count(),
        };
        let (member, step) = (self.who.name.clone(), self.at.place.member_step);
        self.run.emit(Event::Merge { member: member.clone(), step, report })?;
        if report.relative_error.is_nan() || report.relative_error > MERGE_GATE {
            return Err(TrainError::Merge {
                member,
                error: report.relative_error,
                gate: MERGE_GATE,
            });
        }
        folder::write_json_on(self.run.disk, &self.who.folder.join(folder::MERGE), &report)?;
        self.at.now = weights;
        Ok(())
    }

    /// Trains a stage: all of its restarts, of which the best is kept.
    fn train(&mut self, stage: &Stage) -> Result<(), TrainError> {
        let Some(recipe) = stage.recipe.clone() else { return Ok(()) };
        let network = self.network(stage.kind)?;
        let objective = self.timed(|member| member.objective(stage.kind))?;
        if let StageKind::Hint { .. } = stage.kind
            && self.at.place.step == 0
        {
            let seed = self.seed(INIT, 0);
            let specs = network.shapes()?.params;
            for spec in specs.iter().filter(|s| s.name == format!("{REGRESSOR}.weight")) {
                self.at.now.insert(spec.name.clone(), nn::fresh_tensor(spec, seed));
            }
        }
        let of = Training {
            student: &network,
            teacher: self.who.teacher.map(|t| &t.network),
            task: self.run.data.task(),
            objective,
            recipe: &recipe,
            precision: self.run.config.precision,
        };
        let (target, recompute) = (self.run.gpu.target(), self.run.config.recompute);
        // Once a stage has begun, neither its micro-batches, nor its shares, nor its tiles are chosen anew.
        let begun = self.at.place.micro_batches.get(&self.at.place.stage).copied();
        let parts = self.share(&of, begun)?;
        let mut program = match parts.or(begun) {
            Some(micro_batches) => {
                let apart = parts.is_some();
                step::saving(&of, &target, Saving { micro_batches, recompute, apart })?
            }
            None => step::fit(&of, &target, recompute)?,
        };
        let tuned = begun.is_none() && self.autotune(stage, &program.plan)?;
        program.plan = program.plan.choose(&self.at.place.kernel_choices);
        let micro_batches = program.micro_batches;
        self.at.place.micro_batches.insert(self.at.place.stage, micro_batches);
        if micro_batches > 1 && parts.is_none() && of.normalises_by_batch() {
            let (member, stage, batch) = (&self.who.name, &stage.name, recipe.batch);
            let rows = program.rows;
            let message = format!(
                "{member} {stage}: a batch of {batch} does not fit at once, so it runs as {micro_batches} micro-batches of {rows}; batch norm's statistics are those of a micro-batch"
            );
            self.run.emit(Event::Warning { message })?;
        }
        let mut session = Session::new(&self.run.gpu, program)?;
        if let Some(teacher) = self.who.teacher {
            session.load_teacher(&teacher.weights)?;
        }
        let plan = session.fingerprint();
        if self.at.place.step > 0 && self.at.place.plan != plan {
            let message = format!(
                "the plan of stage {} is not the one it began with; bits may differ",
                stage.name
            );
            self.run.emit(Event::Warning { message })?;
        }
        self.at.place.plan = plan;
        self.gather(stage, &of, &session)?;
        if stage.restarts > 1 && self.at.base.is_none() {
            self.at.base = Some(self.at.now.clone());
        }
        if tuned || (parts.is_some() && begun.is_none()) {
            // Killed before its first step, the stage would time its tiles and shares again, and might take others.
            self.checkpoint()?;
        }

        for restart in self.at.place.restart..stage.restarts {
            if restart != self.at.place.restart {
                (self.at.place.restart, self.at.place.step) = (restart, 0);
                self.at.now = self.at.base.clone().unwrap_or_default();
                (self.at.moments, self.at.place.loss_scale) = (None, None);
            }
            if self.at.place.step == 0
                && let StageKind::Narrow { block } = stage.kind
            {
                self.timed(|member| member.start(block, restart))?;
            }
            self.steps(stage, &recipe, &mut session)?;
            if stage.restarts > 1 {
                let score = self.timed(|member| member.score(stage.kind, &mut session))?;
                if wins(score, self.at.place.best) {
                    (self.at.place.best, self.at.best) = (Some(score), Some(self.at.now.clone()));
                }
            }
        }
        if stage.restarts > 1 {
            let Some(best) = self.at.best.take() else {
                let (step, what) = (self.at.place.step, "the score of every restart");
                return Err(self.non_finite(what.into(), stage, step, f32::NAN));
            };
            self.at.now = best;
            session.load_student(&self.at.now)?;
        }
        match stage.kind {
            StageKind::Narrow { block } => self.narrowed(block, &network, &mut session)?,
            StageKind::Hint { .. } => drop(self.at.now.remove(&format!("{REGRESSOR}.weight"))),
            _ => {}
        }
        Ok(())
    }

    /// Chooses the tiles of a stage that begins, if the run is to time them; returns whether it did.
    fn autotune(&mut self, stage: &Stage, plan: &Plan) -> Result<bool, TrainError> {
        let Some(autotuner) = &mut self.run.autotuner else { return Ok(false) };
        let tuned = autotuner.tune(&self.run.gpu, plan)?;
        for message in &tuned.warnings {
            self.run.emit(Event::Warning { message: message.clone() })?;
        }
        let changed = tuned.changed().map(|timing| {
            let [table_us, tile_us] = timing.before_and_after().map(|ns| ns as f64 / 1e3);
            let (table, tile) = (timing.table.clone(), timing.tile.clone());
            AutotunedProduct { product: timing.of.to_string(), table, table_us, tile, tile_us }
        });
        self.run.emit(Event::Autotuned {
            member: self.who.name.clone(),
            stage: stage.name.clone(),
            step: self.at.place.member_step,
            classes: tuned.classes as u64,
            timed: tuned.timings.len() as u64,
            seconds: tuned.seconds,
            changed: changed.collect(),
        })?;
        self.at.place.kernel_choices = tuned.choices();
        Ok(true)
    }

    /// Measures a narrow step that is done and writes it to the log. After the last one the head gets its start.
    fn narrowed(
        &mut self,
        block: usize,
        network: &Network,
        session: &mut Session,
    ) -> Result<(), TrainError> {
        let discrepancy = self.score(StageKind::Narrow { block }, session)?;
        let accuracy =
            if session.tests() { Some(session.test(&self.run.data.test)?.accuracy) } else { None };
        let mut probe = DeviceProbe::new(
            &self.run.gpu,
            &self.run.data.train,
            100,
            self.seed(measure::SCORE, 0),
        );
        let dead = measure::dead(&mut probe, network, &self.at.now, block)?;
        let (member, step) = (self.who.name.clone(), self.at.place.member_step);
        self.run.emit(Event::BlockNarrowed {
            member,
            block: block as u32,
            step,
            discrepancy,
            accuracy,
            dead,
        })?;
        if block == self.bridged()?.blocks.len() {
            self.timed(Self::start_head)?;
        }
        Ok(())
    }

    /// Lower is better: the discrepancy of a narrow step, the training error of any other.
    fn score(&mut self, kind: StageKind, session: &mut Session) -> Result<f64, TrainError> {
        let train = Arc::clone(&self.run.data.train);
        match kind {
            StageKind::Narrow { .. } | StageKind::Hint { .. } => {
                measure::discrepancy(session, &train, self.who.seed)
            }
            _ => measure::train_error(session, &train, self.who.seed),
        }
    }

    fn non_finite(&self, what: String, stage: &Stage, step: u64, value: f32) -> TrainError {
        let (member, stage) = (self.who.name.clone(), stage.name.clone());
        TrainError::NonFinite { what, member, stage, step, value, kept: self.kept_step }
    }

    /// Takes the weights from the device; a last step can spoil them after a loss that was still a number.
    fn fetch(&mut self, stage: &Stage, session: &Session) -> Result<(), TrainError> {
        let weights = session.student()?;
        for (name, tensor) in &weights {
            if let Some(&value) = tensor.data.iter().find(|value| !value.is_finite()) {
                let step = self.at.place.step;
                return Err(self.non_finite(format!("parameter {name}"), stage, step, value));
            }
        }
        self.at.now.extend(weights);
        Ok(())
    }

    /// A checkpoint inside a stage.
    fn save(&mut self, stage: &Stage, session: &Session) -> Result<(), TrainError> {
        self.fetch(stage, session)?;
        self.at.moments = Some(session.moments()?);
        self.at.place.loss_scale = session.loss_scale()?;
        self.checkpoint()
    }

    fn checkpoint(&mut self) -> Result<(), TrainError> {
        self.run.journal.sync()?;
        let path = self.at.write(self.run.disk, &self.who.folder.join(CHECKPOINTS))?;
        let path = path.strip_prefix(&self.run.options.out).unwrap_or(&path).display().to_string();
        self.run.options.checkpoint_soon.store(false, Ordering::Relaxed);
        let (member, step) = (self.who.name.clone(), self.at.place.member_step);
        (self.kept, self.kept_step) = (self.run.clock.now(), Some(step));
        self.run.emit(Event::Checkpoint { member, step, path })
    }
}

/// Whether a restart is better than the best so far, if there is one. A score that is not finite never wins, not even as the first.
fn wins(score: f64, best: Option<f64>) -> bool {
    score.is_finite() && best.is_none_or(|best| score < best)
}

#[cfg(test)]
mod tests {
    use super::wins;

    #[test]
    fn a_score_that_is_no_number_never_wins() {
        // The best of these restarts, in every order.
        let scores = [f64::NAN, 3.0, f64::INFINITY, 2.0, f64::NAN, 2.0];
        for first in 0..scores.len() {
            let order = (0..scores.len()).map(|k| (first + k) % scores.len());
            let take =
                |best: Option<(usize, f64)>, k: usize| match wins(scores[k], best.map(|b| b.1)) {
                    true => Some((k, scores[k])),
                    false => best,
                };
            let best = order.fold(None, take).map(|best| best.1);
            assert_eq!(best, Some(2.0), "beginning with {}", scores[first]);
        }
        assert!(!wins(f64::NAN, None) && !wins(f64::INFINITY, None));
        // Of equals the first is kept.
        assert!(wins(2.0, Some(3.0)) && !wins(2.0, Some(2.0)));
    }
}
