//! What a network is trained for, and the loss that says so.

use serde::{Deserialize, Serialize};

use crate::{
    config::Discrepancy,
    graph::{Graph, Value},
    nn::{Inputs, NetworkError},
    ops::{
        elementwise::{Add, Scale},
        kl::Kl,
    },
};

use super::{
    error::ProgramError,
    task::{Counts, Task},
};

/// What a network is trained for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Objective {
    /// The loss of the task, by the targets of the data.
    Labels,
    /// The same, for the head alone.
    Head,
    /// (1 − α) CE + α T² KL(teacher ‖ student at T).
    Distill {
        /// α.
        alpha: f64,
        /// T.
        temperature: f64,
    },
    /// Imitation of the teacher's output after its first blocks; the student is a prefix that ends as wide, in a lift or a bottleneck.
    Imitate {
        /// How far the two are apart.
        discrepancy: Discrepancy,
        /// Factor of the squared error: 1 / variance of the target for `relative_mse`.
        scale: f32,
        /// Weight of the outputs beside the squared error, for `relative_mse+output`.
        output: f32,
        /// What of the student is trained.
        trained: Trained,
    },
}

/// What the teacher of a step says.
pub(super) struct Taught {
    /// What its last block puts out that is imitated; none where it has fewer blocks.
    pub(super) state: Option<Value>,
    /// The outputs of its heads; of a prefix that of its last block.
    pub(super) outputs: Vec<Value>,
}

/// What of a student is trained; the rest runs in eval mode and no optimiser touches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trained {
    /// All of it.
    All,
    /// All but its embeddings, where it has any: a student that has taken its teacher's keeps them.
    Layers,
    /// Its last block, and of that as above.
    LastBlock,
    /// What stands behind its blocks.
    Head,
}

impl Objective {
    /// Whether a teacher runs in each step.
    pub fn needs_teacher(self) -> bool {
        matches!(self, Objective::Distill { .. } | Objective::Imitate { .. })
    }

    /// Whether the teacher runs to its end: whether its outputs are followed.
    pub(super) fn follows_outputs(self) -> bool {
        match self {
            Objective::Imitate { discrepancy, .. } => discrepancy.reads_outputs(),
            Objective::Distill { .. } => true,
            Objective::Labels | Objective::Head => false,
        }
    }

    /// What the means of the parts of its loss are over.
    pub(super) fn parts(self, task: Task) -> Vec<Counts> {
        match self {
            Objective::Imitate { .. } if !self.follows_outputs() => vec![task.states()],
            _ => task.parts(),
        }
    }

    /// What of the student is trained.
    pub(super) fn trained(self) -> Trained {
        match self {
            Objective::Imitate { trained, .. } => trained,
            Objective::Head => Trained::Head,
            Objective::Labels | Objective::Distill { .. } => Trained::All,
        }
    }

    /// How many of a student's `blocks`, from the first on, are not trained.
    pub(super) fn frozen(self, blocks: usize) -> usize {
        match self.trained() {
            Trained::All | Trained::Layers => 0,
            Trained::LastBlock => blocks - 1,
            Trained::Head => blocks,
        }
    }

    /// The loss of the student's `outputs`, \[1\] for each part of it; `teacher` is what the objective follows, and `through` what the rest of the
    /// teacher makes of a student that imitates its outputs.
    pub(super) fn losses(
        self,
        g: &mut Graph,
        task: Task,
        [outputs, through]: [&[Value]; 2],
        teacher: Option<&Taught>,
        inputs: &Inputs,
        smoothing: f32,
    ) -> Result<Vec<Value>, ProgramError> {
        let missing = || NetworkError::Mismatch("this stage needs a teacher".into());
        g.scoped("loss", |g| match self {
            Objective::Labels | Objective::Head => Ok(task.losses(g, outputs, inputs, smoothing)?),
            Objective::Distill { alpha, temperature } => {
                let teacher = &teacher.ok_or_else(missing)?.outputs;
                let factor = (alpha * temperature * temperature) as f32;
                let of = Kl { temperature: temperature as f32, factor, by_count: false };
                let mut parts = task.divergences(g, [outputs, teacher], inputs, of)?;
                if alpha < 1.0 {
                    let hard = task.losses(g, outputs, inputs, smoothing)?;
                    for (part, hard) in parts.iter_mut().zip(hard) {
                        let hard = g.add(Scale((1.0 - alpha) as f32), &[hard])?;
                        *part = if alpha <= 0.0 { hard } else { g.add(Add, &[hard, *part])? };
                    }
                }
                Ok(parts)
            }
            Objective::Imitate { discrepancy, scale, output, .. } => {
                let Taught { state, outputs: wanted } = teacher.ok_or_else(missing)?;
                let both = [outputs[0], state.ok_or_else(missing)?];
                // KL(B ‖ B with its first blocks replaced by S̄⁽ⁱ⁾).
                let beyond = |g: &mut Graph, factor| {
                    let of = Kl { temperature: 1.0, factor, by_count: false };
                    task.divergences(g, [through, wanted], inputs, of)
                };
                match discrepancy {
                    Discrepancy::Output => Ok(beyond(g, 1.0)?),
                    Discrepancy::RelativeMseOutput => {
                        let here = task.apart(g, both, inputs, Discrepancy::RelativeMse, scale)?;
                        let [there] = beyond(g, output)?[..] else { return Err(apart_counts()) };
                        if task.states() != task.counts() {
                            return Err(apart_counts());
                        }
                        Ok(vec![g.add(Add, &[here, there])?])
                    }
                    Discrepancy::RelativeMse | Discrepancy::Mse | Discrepancy::Kl => {
                        Ok(vec![task.apart(g, both, inputs, discrepancy, scale)?])
                    }
                }
            }
        })
    }
}

/// Why two discrepancies have no sum: they are means over different things.
fn apart_counts() -> ProgramError {
    let message = "relative_mse+output adds means over samples, and this task counts states and outputs otherwise";
    NetworkError::Unsupported(message.into()).into()
}
