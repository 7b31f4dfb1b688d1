//! What has happened in a run: one union of events, one JSON line each.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::account::Account;
use crate::config::Method;

/// One thing that happened. `member` is the name of its folder, as `win-0`, or `teacher-0`; `step` counts the optimiser steps that the
/// member has taken so far, over all its stages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The process knows what it will do.
    RunStarted {
        /// Version of Taper.
        version: String,
        /// Name of the adapter; with `device = "all"` of each, with commas between.
        adapter: String,
        /// Kind of adapter: `discrete_gpu`, `integrated_gpu`, `cpu`, …
        adapter_kind: String,
        /// SHA-256 of the configuration.
        config_hash: String,
        /// Everything that will be trained, in order.
        stages: Vec<StagePlan>,
    },
    /// The data were read; so again by each process that goes on with the run.
    DataRead {
        /// What was found, what is used, what was left out and why.
        account: Account,
    },
    /// A member or a teacher begins.
    MemberStarted {
        /// Its name.
        member: String,
        /// Its method; none for a teacher.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        method: Option<Method>,
        /// Its seed.
        seed: u64,
        /// Trainable parameters of the network that is kept.
        params: u64,
        /// Multiply-adds of one input.
        macs: u64,
        /// The adapter that trains it from here on; absent in older logs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        adapter: Option<String>,
    },
    /// A stage begins (or goes on after a resume, then `done` is not 0).
    StageStarted {
        /// Who.
        member: String,
        /// Name of the stage: `wide`, `narrow 2`, `tune`, …
        stage: String,
        /// Which restart of the stage, from 1.
        restart: u32,
        /// Steps of the member before this one.
        step: u64,
        /// Steps of the stage.
        steps: u64,
        /// Steps of the stage already taken.
        done: u64,
        /// Bytes of device memory of the plan.
        memory: u64,
        /// Micro-batches of a step, whose gradients are added up; batch norm's statistics are those of a micro-batch.
        #[serde(default = "one")]
        micro_batches: u32,
        /// Floating-point operations of a step, as the plan counts them: of student and teacher, forward and backward, and of the optimiser.
        /// Absent in older logs, and where ranks share the batches.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        flops: Option<u64>,
    },
    /// The tiles of a stage's products were chosen by timing them; the stage keeps them for good.
    #[serde(alias = "tuned")]
    Autotuned {
        /// Who.
        member: String,
        /// Name of the stage.
        stage: String,
        /// Steps of the member.
        step: u64,
        /// Classes of products in the stage's plan.
        classes: u64,
        /// How many of them were timed, now or by an earlier run; the others keep the table's tile.
        timed: u64,
        /// Seconds that this took.
        seconds: f64,
        /// The products that do not take the table's tile.
        changed: Vec<AutotunedProduct>,
    },
    /// Training went on; a line stands for the steps since the last one.
    Step {
        /// Who.
        member: String,
        /// Name of the stage.
        stage: String,
        /// Steps of the member.
        step: u64,
        /// Steps of the stage.
        stage_step: u64,
        /// Mean loss since the last line; null when it is not finite.
        #[serde(deserialize_with = "null_is_nan")]
        #[schemars(with = "Option<f64>")]
        loss: f64,
        /// Learning rate.
        lr: f64,
        /// Training inputs a second since the last line.
        samples_per_s: f64,
        /// How long the steps since the last line waited for their inputs to be read, augmented and normalised.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        loader_wait: Option<LoaderWait>,
        /// Where each batch is split among ranks: what that takes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exchange: Option<Exchange>,
        /// In mixed precision, how the loss is scaled.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scaling: Option<Scaling>,
    },
    /// The test set was run.
    Epoch {
        /// Who.
        member: String,
        /// Name of the stage.
        stage: String,
        /// Steps of the member.
        step: u64,
        /// Epochs of the stage so far.
        epoch: f64,
        /// Accuracy in percent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        accuracy: Option<f64>,
        /// Mean test loss; null when it is not finite.
        #[serde(deserialize_with = "null_is_nan")]
        #[schemars(with = "Option<f64>")]
        loss: f64,
    },
    /// A block got its starting weights.
    #[serde(rename = "block_started")]
    BlockInitialised {
        /// Who.
        member: String,
        /// The block, from 1.
        block: u32,
        /// Steps of the member.
        step: u64,
        /// Units for which the teacher had none, drawn afresh.
        fresh: u64,
    },
    /// A narrow step is done.
    BlockNarrowed {
        /// Who.
        member: String,
        /// The block, from 1.
        block: u32,
        /// Steps of the member.
        step: u64,
        /// Discrepancy on the fixed inputs, of the restart that was kept.
        #[serde(deserialize_with = "null_is_nan")]
        #[schemars(with = "Option<f64>")]
        discrepancy: f64,
        /// Test accuracy in percent of the teacher with its first blocks replaced.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        accuracy: Option<f64>,
        /// Share of units that hardly move over a batch (standard deviation under 1e-5).
        dead: f64,
    },
    /// A checkpoint was written; the run can go on from `step`.
    Checkpoint {
        /// Who.
        member: String,
        /// Steps of the member.
        step: u64,
        /// The file, from the run directory.
        path: String,
    },
    /// The linear pairs were folded, and nothing changed by it.
    Merge {
        /// Who.
        member: String,
        /// Steps of the member.
        step: u64,
        /// The proof.
        #[serde(flatten)]
        report: MergeReport,
    },
    /// A member or a teacher is done.
    MemberFinished {
        /// Who.
        member: String,
        /// Its method; none for a teacher.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        method: Option<Method>,
        /// Its seed.
        seed: u64,
        /// Steps of the member.
        step: u64,
        /// Test accuracy in percent, of the last weights.
        accuracy: f64,
        /// Mean test loss.
        #[serde(deserialize_with = "null_is_nan")]
        #[schemars(with = "Option<f64>")]
        loss: f64,
        /// Final error on the training data in percent.
        train_error: f64,
        /// Of questions: what the answers score.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answers: Option<AnswerScores>,
        /// `D[S, B]`: the root mean square difference between its outputs and those of its seed's teacher on the test data, over all numbers that
        /// the loss reads; absent of a teacher, where there is none, and in older logs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        discrepancy: Option<f64>,
        /// Passes over the training data, restarts included; absent where nobody knows, as of a teacher from elsewhere.
        epochs: Option<f64>,
        /// Seconds of training, restarts included; likewise.
        seconds: Option<f64>,
        /// Trainable parameters of the network that is kept.
        params: u64,
        /// Multiply-adds of one input.
        macs: u64,
        /// Epochs of the teacher it used; 0 if it used none, absent where nobody knows.
        teacher_epochs: Option<f64>,
        /// Seconds of the teacher it used; likewise.
        teacher_seconds: Option<f64>,
    },
    /// The run goes on from a checkpoint: what was said above of `member`'s steps after `step` did not happen.
    Resumed {
        /// Who; absent: everybody.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        member: Option<String>,
        /// Steps of the member at the checkpoint.
        step: u64,
    },
    /// Something a user should know, though the run goes on.
    Warning {
        /// Words.
        message: String,
    },
    /// Something that may help to understand a run.
    Log {
        /// Words.
        message: String,
    },
    /// The process is done with the run, for now or for good.
    RunFinished {
        /// How.
        status: RunStatus,
        /// The sentence of the error, if one ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// Seconds since the process started.
        seconds: f64,
    },
}

/// Products that take another tile than the table's, as it is faster on this adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AutotunedProduct {
    /// Which products: `matmul.linear 2048×128×512`.
    pub product: String,
    /// The table's tile.
    pub table: String,
    /// Microseconds by it.
    pub table_us: f64,
    /// The tile that is taken.
    pub tile: String,
    /// Microseconds by that.
    pub tile_us: f64,
}

/// What training steps waited for the loader: near 0 where it keeps ahead of the device.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoaderWait {
    /// Milliseconds a step.
    pub mean_ms: f64,
    /// Milliseconds of the step that waited longest.
    pub max_ms: f64,
}

/// What a step takes whose batch is split among ranks, as the first of them sees it: means since the last line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Exchange {
    /// Bytes that the first rank sends and receives.
    pub bytes: u64,
    /// Milliseconds of its own shares.
    pub own_ms: f64,
    /// Milliseconds for which it then waits for the others' shares.
    pub wait_ms: f64,
    /// Milliseconds of all else: sending, adding up, the optimiser, reading the parameters back.
    pub rest_ms: f64,
}

/// How the loss of a restart of a stage is scaled, in mixed precision.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scaling {
    /// What the next step's loss is multiplied by.
    pub scale: f64,
    /// Steps of the restart that were skipped so far, because a gradient was not finite.
    pub skipped: u64,
}

/// A stage that a run is going to train.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StagePlan {
    /// Who.
    pub member: String,
    /// Name of the stage.
    pub stage: String,
    /// Its optimiser steps, over all its restarts.
    pub steps: u64,
    /// What one step costs, in multiply-adds of the whole batch; weighs the stage in the time left.
    pub step_macs: u64,
    /// What it is; absent in older logs.
    #[serde(flatten)]
    pub facts: Option<StageFacts>,
}

/// What a stage is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StageFacts {
    /// The method that it is a stage of; null for a teacher's own training.
    pub method: Option<Method>,
    /// The section of the configuration in which its recipe stands; null where nothing is trained.
    pub section: Option<String>,
    /// Inputs of a step; 0 where nothing is trained.
    pub batch: u64,
    /// Whether the teacher runs in each step.
    pub reads_teacher: bool,
    /// Places in the list of all stages of those that it waits for.
    pub depends_on: Vec<usize>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Every member is trained.
    Done,
    /// Stopped by the user after a checkpoint, or by a full disk, which `error` then says; it can be resumed.
    Stopped,
    /// An error; it can be resumed from the last checkpoint.
    Failed,
}

impl Event {
    /// The member and the step that a resume before it takes back; none for what stays true.
    pub fn moment(&self) -> Option<(&str, u64)> {
        match self {
            Event::StageStarted { member, step, .. }
            | Event::Autotuned { member, step, .. }
            | Event::Step { member, step, .. }
            | Event::Epoch { member, step, .. }
            | Event::BlockInitialised { member, step, .. }
            | Event::BlockNarrowed { member, step, .. }
            | Event::Checkpoint { member, step, .. }
            | Event::Merge { member, step, .. }
            | Event::MemberFinished { member, step, .. } => Some((member, *step)),
            _ => None,
        }
    }
}

/// What answers to questions score, in percent, as SQuAD's official script counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnswerScores {
    /// Answers that are right word for word.
    pub em: f64,
    /// Mean overlap of words, F1.
    pub f1: f64,
}

/// The micro-batches of a log from before there were any.
fn one() -> u32 {
    1
}

/// JSON has no NaN: serde_json writes null, and this reads it back.
fn null_is_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// An event with its place in the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Grows by one with each line, over all processes of the run.
    pub seq: u64,
    /// Seconds since 1970-01-01 UTC.
    pub time: f64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

impl Entry {
    /// The line of the log, with its end.
    ///
    /// # Errors
    /// None in practice: events have only strings, numbers and lists.
    pub fn to_line(&self) -> serde_json::Result<String> {
        serde_json::to_string(self).map(|line| line + "\n")
    }
}

/// `merge.json`: that folding the linear pairs changed nothing, on held-out inputs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MergeReport {
    /// Greatest difference of a logit.
    pub max_abs_error: f64,
    /// ‖S̄(x) − S(x)‖₂ / ‖S̄(x)‖₂ over the logits of all inputs.
    pub relative_error: f64,
    /// Held-out inputs compared.
    pub inputs: u64,
    /// Parameters with the pairs.
    pub params_before: u64,
    /// Parameters without them.
    pub params_after: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of a log.
    const STEP: &str = concat!(
        r#"{"seq":0,"time":0.5,"type":"step","member":"win-0","stage":"tune","step":1,"stage_step":1,"loss":0.5,"#,
        r#""lr":0.1,"samples_per_s":1000.0,"loader_wait":{"mean_ms":0.25,"max_ms":2.0}}"#
    );

    fn read(line: &str) -> Entry {
        serde_json::from_str(line).expect("read")
    }

    #[test]
    fn a_loss_that_is_not_a_number_is_read_back_as_one() {
        let line = STEP.replace("\"loss\":0.5", "\"loss\":null");
        let entry = read(&line);
        assert_eq!(entry.to_line().expect("written"), line + "\n");
        let Event::Step { loss, .. } = entry.event else { panic!("a step") };
        assert!(loss.is_nan());
    }

    #[test]
    fn a_stage_of_an_older_log_says_less() {
        let older = r#"{"member":"kd-0","stage":"kd","steps":9,"step_macs":3}"#;
        let older: StagePlan = serde_json::from_str(older).expect("read");
        assert_eq!((older.facts.as_ref(), older.steps), (None, 9));
        let facts = StageFacts { batch: 32, depends_on: vec![0], ..StageFacts::default() };
        let plan = StagePlan { facts: Some(facts), ..older };
        let line = serde_json::to_string(&plan).expect("written");
        assert!(line.contains("\"batch\":32,\"reads_teacher\":false,\"depends_on\":[0]"), "{line}");
        assert_eq!(serde_json::from_str::<StagePlan>(&line).expect("read"), plan);
    }

    #[test]
    fn a_step_of_an_older_log_has_no_wait() {
        assert_eq!(read(STEP).to_line().expect("written"), STEP.to_owned() + "\n");
        let older = STEP.replace(",\"loader_wait\":{\"mean_ms\":0.25,\"max_ms\":2.0}", "");
        let Event::Step { loader_wait, .. } = read(&older).event else { panic!("a step") };
        assert_eq!(loader_wait, None);
    }
}
