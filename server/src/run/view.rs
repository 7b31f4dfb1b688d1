//! What a run's events say of it: a snapshot that grows entry by entry and is kept in the store, so that no log is read twice.

use engine::config::{Config, Method};
use engine::data::Account;
use engine::event::{AnswerScores, Entry, Event, StagePlan};
use engine::formats::MergeReport;
use engine::train::{self, Planned};
use engine::win::algorithm;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Warnings that are kept of a run.
const WARNINGS: usize = 50;

/// Whether a stage is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Not begun.
    #[default]
    Waiting,
    /// Under way, or where a process left it.
    Running,
    /// Over.
    Done,
}

/// A stage of a member.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct StageState {
    /// Who.
    pub(crate) member: String,
    /// `wide`, `narrow 1`, `tune`, `merge`, …
    pub(crate) stage: String,
    /// Optimiser steps over all its restarts.
    pub(crate) steps: u64,
    /// Steps taken of them.
    pub(crate) done: u64,
    /// Which restart, from 1; 0 before the first.
    pub(crate) restart: u32,
    /// Whether it is over.
    pub(crate) state: Phase,
    /// Inputs of a step.
    #[serde(default)]
    pub(crate) batch: u64,
    /// Multiply-adds of one step, of the whole batch.
    pub(crate) step_macs: u64,
    /// Places of the stages that it waits for; absent for runs of older logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) depends_on: Option<Vec<usize>>,
    /// Steps of the member before this stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_step: Option<u64>,
    /// Steps of the member at its last word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_step: Option<u64>,
    /// Seconds so far, of the process that works on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seconds: Option<f64>,
    /// Seconds that are left, by the rate so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) eta_seconds: Option<f64>,
    /// Bytes of device memory of its plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<u64>,
    /// Micro-batches of a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) micro_batches: Option<u32>,
    /// Steps of the restarts before the current one.
    #[serde(default)]
    pub(crate) earlier: u64,
    /// When it began, and how many steps were done then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) began: Option<(f64, u64)>,
}

/// A member, or a teacher.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MemberState {
    /// Its name: `win-0`, `teacher-0`.
    pub(crate) member: String,
    /// Its method; none for a teacher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<Method>,
    /// Its seed.
    pub(crate) seed: u64,
    /// Whether it is trained.
    pub(crate) finished: bool,
    /// Test accuracy in percent, the last that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) accuracy: Option<f64>,
    /// Mean test loss, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) loss: Option<f64>,
    /// Final error on the training data in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) train_error: Option<f64>,
    /// What its answers to the test questions score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answers: Option<AnswerScores>,
    /// `D[S, B]`: the root mean square difference between its outputs and its teacher's on the test data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) discrepancy: Option<f64>,
    /// Passes over the training data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) epochs: Option<f64>,
    /// Seconds of training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seconds: Option<f64>,
    /// Trainable parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) params: Option<u64>,
    /// Multiply-adds of one input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) macs: Option<u64>,
    /// The adapter that trained it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) adapter: Option<String>,
    /// The proof of its merge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) merge: Option<MergeReport>,
}

/// A block's imitation of its teacher's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BlockState {
    /// Who.
    pub(crate) member: String,
    /// The block, from 1.
    pub(crate) block: u32,
    /// Width of what leaves it.
    pub(crate) student_width: u32,
    /// Width of what leaves the teacher's block.
    pub(crate) teacher_width: u32,
    /// Discrepancy on fixed inputs after its narrow step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) discrepancy: Option<f64>,
    /// Restarts of its narrow step so far.
    pub(crate) restarts: u32,
    /// Share of units that hardly move.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dead: Option<f64>,
    /// Units for which the teacher had none, drawn afresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fresh: Option<u64>,
    /// Test accuracy in percent of the teacher with its first blocks replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) accuracy: Option<f64>,
    /// Steps of the member when it was last spoken of.
    #[serde(default)]
    pub(crate) step: u64,
}

/// What is known of a run by its events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct View {
    /// Name of the adapter of the last process.
    pub(crate) adapter: Option<String>,
    /// Its kind.
    pub(crate) adapter_kind: Option<String>,
    /// Everything that is trained, in order.
    pub(crate) stages: Vec<StageState>,
    /// Members and teachers, in order.
    pub(crate) members: Vec<MemberState>,
    /// Blocks of the members that narrow.
    pub(crate) blocks: Vec<BlockState>,
    /// What was read of the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<Account>,
    /// What the user should know.
    pub(crate) warnings: Vec<String>,
    /// When the process took its first step and the share that was done then.
    pub(crate) begun: Option<(f64, f64)>,
    /// Time of the last entry.
    pub(crate) last: f64,
}

impl View {
    /// A run before its first event: `widths` are those of each block, of student and teacher.
    pub(crate) fn new(config: &Config, stages: &[StagePlan], widths: &[(u32, u32)]) -> View {
        let mut view = View::default();
        view.plan(stages);
        for state in view.stages.iter_mut().filter(|state| state.depends_on.is_none()) {
            state.batch = older_batch(config, &state.member, &state.stage);
        }
        for Planned { name, method, seed } in train::planned(config) {
            if method == Some(Method::Win) {
                let blocks =
                    widths.iter().zip(1..).map(|(&(student_width, teacher_width), block)| {
                        BlockState {
                            member: name.clone(),
                            block,
                            student_width,
                            teacher_width,
                            ..BlockState::default()
                        }
                    });
                view.blocks.extend(blocks);
            }
            view.members.push(MemberState { member: name, method, seed, ..MemberState::default() });
        }
        view
    }

    fn plan(&mut self, stages: &[StagePlan]) {
        let same = self.stages.len() == stages.len()
            && self
                .stages
                .iter()
                .zip(stages)
                .all(|(a, b)| a.member == b.member && a.stage == b.stage);
        if same {
            return;
        }
        let state = |plan: &StagePlan| StageState {
            member: plan.member.clone(),
            stage: plan.stage.clone(),
            steps: plan.steps,
            step_macs: plan.step_macs,
            batch: plan.facts.as_ref().map_or(0, |facts| facts.batch),
            depends_on: plan.facts.as_ref().map(|facts| facts.depends_on.clone()),
            ..StageState::default()
        };
        self.stages = stages.iter().map(state).collect();
    }

    /// Takes an entry in.
    pub(crate) fn apply(&mut self, entry: &Entry) {
        self.last = entry.time;
        match &entry.event {
            Event::RunStarted { adapter, adapter_kind, stages, .. } => {
                (self.adapter, self.adapter_kind) =
                    (Some(adapter.clone()), Some(adapter_kind.clone()));
                self.begun = None;
                self.plan(stages);
            }
            Event::MemberStarted { member, method, seed, params, macs, adapter } => {
                if self.member(member).is_none() {
                    // A teacher from elsewhere, which is only tested.
                    let (member, method, seed) = (member.clone(), *method, *seed);
                    let state = MemberState { member, method, seed, ..MemberState::default() };
                    self.members.insert(0, state);
                }
                let adapter = adapter.clone().or_else(|| self.adapter.clone());
                if let Some(state) = self.member(member) {
                    (state.params, state.macs, state.adapter) =
                        (Some(*params), Some(*macs), adapter);
                }
            }
            Event::StageStarted {
                member,
                stage,
                restart,
                step,
                steps,
                done,
                memory,
                micro_batches,
                ..
            } => {
                let now = entry.time;
                if let Some(state) = self.enter(member, stage) {
                    state.earlier = u64::from(restart.saturating_sub(1)) * steps;
                    state.done = state.earlier + done;
                    state.restart = *restart;
                    state.first_step.get_or_insert(*step);
                    state.last_step = Some(step + done);
                    (state.memory, state.micro_batches) = (Some(*memory), Some(*micro_batches));
                    if *restart <= 1 || state.began.is_none() {
                        state.began = Some((now, state.done));
                    }
                }
                self.begun = self.begun.or(Some((now, self.share())));
            }
            Event::Step { member, stage, step, stage_step, .. } => {
                let now = entry.time;
                if let Some(state) = self.stage(member, stage) {
                    state.done = (state.earlier + stage_step).min(state.steps);
                    state.last_step = Some(*step);
                    state.time(now);
                }
            }
            Event::Epoch { member, accuracy, loss, .. } => {
                if let Some(state) = self.member(member) {
                    state.accuracy = accuracy.or(state.accuracy);
                    state.loss = loss.is_finite().then_some(*loss);
                }
            }
            Event::BlockInitialised { member, block, step, fresh } => {
                if let Some(state) = self.block(member, *block) {
                    state.restarts += 1;
                    (state.fresh, state.step) = (Some(*fresh), *step);
                }
            }
            Event::BlockNarrowed { member, block, step, discrepancy, accuracy, dead } => {
                if let Some(state) = self.block(member, *block) {
                    state.discrepancy = discrepancy.is_finite().then_some(*discrepancy);
                    (state.accuracy, state.dead, state.step) = (*accuracy, Some(*dead), *step);
                }
            }
            Event::Merge { member, report, .. } => {
                self.enter(member, "merge");
                if let Some(state) = self.member(member) {
                    state.merge = Some(*report);
                }
            }
            Event::MemberFinished {
                member,
                accuracy,
                loss,
                train_error,
                answers,
                discrepancy,
                epochs,
                seconds,
                params,
                macs,
                ..
            } => {
                if let Some(state) = self.member(member) {
                    state.finished = true;
                    state.accuracy = Some(*accuracy);
                    state.loss = loss.is_finite().then_some(*loss);
                    (state.train_error, state.answers) = (Some(*train_error), *answers);
                    (state.epochs, state.seconds) = (*epochs, *seconds);
                    state.discrepancy = *discrepancy;
                    (state.params, state.macs) = (Some(*params), Some(*macs));
                }
                for state in self.stages.iter_mut().filter(|state| state.member == *member) {
                    state.end();
                }
            }
            Event::Resumed { member, step } => self.take_back(member.as_deref(), *step),
            Event::DataRead { account } => self.account = Some(account.clone()),
            Event::Warning { message } => {
                if self.warnings.len() < WARNINGS && !self.warnings.contains(message) {
                    self.warnings.push(message.clone());
                }
            }
            Event::Checkpoint { .. }
            | Event::Autotuned { .. }
            | Event::Log { .. }
            | Event::RunFinished { .. } => {}
        }
    }

    /// What happened after `step` did not happen.
    fn take_back(&mut self, member: Option<&str>, step: u64) {
        let meant = |name: &str| member.is_none_or(|member| member == name);
        for state in self.stages.iter_mut().filter(|state| meant(&state.member)) {
            if state.first_step.is_some_and(|first| first > step) {
                let StageState { member, stage, steps, step_macs, batch, depends_on, .. } =
                    std::mem::take(state);
                let planned = StageState { member, stage, steps, ..StageState::default() };
                *state = StageState { step_macs, batch, depends_on, ..planned };
            }
        }
        for state in
            self.blocks.iter_mut().filter(|state| meant(&state.member) && state.step > step)
        {
            (state.discrepancy, state.accuracy, state.dead) = (None, None, None);
        }
    }

    /// Goes on to a stage; what it waits for is done.
    fn enter(&mut self, member: &str, stage: &str) -> Option<&mut StageState> {
        let place = self.stages.iter().position(|s| s.member == member && s.stage == stage)?;
        let mut over = vec![false; place];
        self.before(place).into_iter().for_each(|before| over[before] = true);
        for before in (0..place).rev() {
            if over[before] {
                self.before(before).into_iter().for_each(|before| over[before] = true);
                self.stages[before].end();
            }
        }
        let state = &mut self.stages[place];
        state.state = Phase::Running;
        Some(state)
    }

    /// Places of the stages that one waits for, all of them before it. An older log does not say it: there it is the one before of the same member.
    fn before(&self, place: usize) -> Vec<usize> {
        let StageState { member, depends_on, .. } = &self.stages[place];
        match depends_on {
            Some(places) => places.iter().copied().filter(|before| *before < place).collect(),
            None => {
                self.stages[..place].iter().rposition(|s| s.member == *member).into_iter().collect()
            }
        }
    }

    fn stage(&mut self, member: &str, stage: &str) -> Option<&mut StageState> {
        self.stages.iter_mut().find(|state| state.member == member && state.stage == stage)
    }

    fn member(&mut self, member: &str) -> Option<&mut MemberState> {
        self.members.iter_mut().find(|state| state.member == member)
    }

    fn block(&mut self, member: &str, block: u32) -> Option<&mut BlockState> {
        self.blocks.iter_mut().find(|state| state.member == member && state.block == block)
    }

    /// Steps taken and steps in all.
    pub(crate) fn steps(&self) -> (u64, u64) {
        self.stages
            .iter()
            .fold((0, 0), |(done, all), s| (done + s.done.min(s.steps), all + s.steps))
    }

    /// A stage of a member.
    pub(crate) fn find(&self, member: &str, stage: &str) -> Option<&StageState> {
        self.stages.iter().find(|state| state.member == member && state.stage == stage)
    }

    /// Inputs of a step of a stage.
    pub(crate) fn batch(&self, member: &str, stage: &str) -> u64 {
        self.find(member, stage).map_or(0, |state| state.batch)
    }

    /// Whether any stage has begun, in any process.
    pub(crate) fn has_begun(&self) -> bool {
        self.stages.iter().any(|state| state.first_step.is_some())
    }

    /// Share that is done, from 0 to 1, weighed by multiply-adds.
    pub(crate) fn share(&self) -> f64 {
        let weight = |steps: u64, state: &StageState| steps as f64 * state.step_macs.max(1) as f64;
        let all: f64 = self.stages.iter().map(|s| weight(s.steps, s)).sum();
        let done: f64 = self.stages.iter().map(|s| weight(s.done.min(s.steps), s)).sum();
        if all > 0.0 { done / all } else { 0.0 }
    }

    /// Seconds that are left, by the rate since the process began.
    pub(crate) fn eta(&self) -> Option<f64> {
        let (time, share) = self.begun?;
        let (now, passed) = (self.share(), self.last - time);
        (now > share && passed > 0.0).then(|| (1.0 - now) * passed / (now - share))
    }

    /// The student with the best test accuracy so far, and that.
    pub(crate) fn best(&self) -> Option<(&str, f64)> {
        let students = self.members.iter().filter(|member| member.method.is_some());
        let scored = students.filter_map(|member| Some((member.member.as_str(), member.accuracy?)));
        scored.max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Members and stages that are under way, in order: as many as there are devices at work.
    pub(crate) fn now(&self) -> impl Iterator<Item = (&str, &str)> {
        let running = self.stages.iter().filter(|state| state.state == Phase::Running);
        running.map(|state| (state.member.as_str(), state.stage.as_str()))
    }
}

/// Inputs of a step of a stage, where an older log does not say it: as the configuration plans a member of this name.
fn older_batch(config: &Config, member: &str, stage: &str) -> u64 {
    let planned = train::planned(config).into_iter().find(|planned| planned.name == member);
    let stages = planned.map(|planned| algorithm::of(config, planned.method, 1));
    let stage = stages.into_iter().flatten().find(|known| known.name == stage);
    stage.map_or(0, |stage| stage.batch())
}

impl StageState {
    fn time(&mut self, now: f64) {
        let Some((began, done)) = self.began else { return };
        let passed = (now - began).max(0.0);
        self.seconds = Some(passed);
        let (taken, left) = (self.done.saturating_sub(done), self.steps.saturating_sub(self.done));
        self.eta_seconds = (taken > 0).then(|| left as f64 * passed / taken as f64);
    }

    fn end(&mut self) {
        (self.state, self.done, self.eta_seconds) = (Phase::Done, self.steps, None);
    }
}

#[cfg(test)]
mod tests {
    use engine::event::StageFacts;

    use super::*;

    fn plan(member: &str, stage: &str, step_macs: u64) -> StagePlan {
        let (member, stage) = (member.into(), stage.into());
        StagePlan { member, stage, steps: 100, step_macs, facts: None }
    }

    fn apply(view: &mut View, time: f64, event: Event) {
        view.apply(&Entry { seq: 0, time, event });
    }

    fn started(member: &str, stage: &str, restart: u32, done: u64) -> Event {
        Event::StageStarted {
            member: member.into(),
            stage: stage.into(),
            restart,
            step: 0,
            steps: 100,
            done,
            memory: 1,
            micro_batches: 1,
            flops: None,
        }
    }

    fn step(member: &str, stage: &str, step: u64) -> Event {
        Event::Step {
            member: member.into(),
            stage: stage.into(),
            step,
            stage_step: step,
            loss: 1.0,
            lr: 0.1,
            samples_per_s: 1.0,
            loader_wait: None,
            exchange: None,
            scaling: None,
        }
    }

    #[test]
    fn members_side_by_side_count_as_far_as_each_is() {
        let mut view = View::default();
        let stages = vec![
            plan("teacher-0", "wide", 3),
            plan("vanilla-0", "vanilla", 1),
            plan("win-0", "narrow 1", 1),
            plan("win-0", "tune", 1),
        ];
        let begin = Event::RunStarted {
            version: String::new(),
            adapter: "a, b".into(),
            adapter_kind: "discrete".into(),
            config_hash: String::new(),
            stages,
        };
        apply(&mut view, 0.0, begin.clone());
        assert!(!view.has_begun() && view.now().next().is_none());
        apply(&mut view, 0.0, started("teacher-0", "wide", 1, 0));
        apply(&mut view, 0.0, started("vanilla-0", "vanilla", 1, 0));
        apply(&mut view, 10.0, step("vanilla-0", "vanilla", 50));
        apply(&mut view, 10.0, step("teacher-0", "wide", 50));
        assert!(view.now().eq([("teacher-0", "wide"), ("vanilla-0", "vanilla")]));
        // 3·50 and 1·50 of 3·100 and three times 1·100, in ten seconds.
        assert_eq!(view.share(), 200.0 / 600.0);
        assert!((view.eta().expect("a rate") - 20.0).abs() < 1e-9);
        assert_eq!(view.find("vanilla-0", "vanilla").and_then(|s| s.eta_seconds), Some(10.0));
        // A later stage of a member says that those before it are over.
        apply(&mut view, 11.0, started("win-0", "tune", 1, 0));
        assert_eq!(view.find("win-0", "narrow 1").map(|s| s.state), Some(Phase::Done));
        assert_eq!(view.share(), 300.0 / 600.0);
        // By what each says that it waits for, where it does.
        let waits = |mut plan: StagePlan, depends_on: Vec<usize>| {
            plan.facts = Some(StageFacts { batch: 8, depends_on, ..StageFacts::default() });
            plan
        };
        let mut said = View::default();
        said.plan(&[
            waits(plan("teacher-0", "wide", 3), vec![]),
            waits(plan("kd-0", "kd", 1), vec![0]),
            waits(plan("win-0", "narrow 1", 1), vec![0]),
            waits(plan("win-0", "tune", 1), vec![2]),
        ]);
        apply(&mut said, 0.0, started("win-0", "tune", 1, 0));
        let phases: Vec<Phase> = said.stages.iter().map(|stage| stage.state).collect();
        assert_eq!(phases, [Phase::Done, Phase::Waiting, Phase::Done, Phase::Running]);
        assert_eq!(said.batch("kd-0", "kd"), 8);
        // A process that goes on has a rate of its own.
        apply(&mut view, 100.0, begin);
        apply(&mut view, 100.0, started("teacher-0", "wide", 1, 40));
        assert_eq!((view.eta(), view.share()), (None, 270.0 / 600.0));
        apply(&mut view, 101.0, step("teacher-0", "wide", 60));
        assert!((view.eta().expect("a rate") - 4.5).abs() < 1e-9, "{:?}", view.eta());
    }
}
