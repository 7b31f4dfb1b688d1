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

use super::{error::ProgramError, task::Task};

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
        /// What of the student is trained.
        trained: Trained,
    },
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

    /// The loss of the student's `outputs`, \[1\] for each part of it; `teacher` is what the objective follows.
    pub(super) fn losses(
        self,
        g: &mut Graph,
        task: Task,
        outputs: &[Value],
        teacher: Option<&[Value]>,
        inputs: &Inputs,
        smoothing: f32,
    ) -> Result<Vec<Value>, ProgramError> {
        let missing = || NetworkError::Mismatch("this stage needs a teacher".into());
        g.scoped("loss", |g| match self {
            Objective::Labels | Objective::Head => Ok(task.losses(g, outputs, inputs, smoothing)?),
            Objective::Distill { alpha, temperature } => {
                let teacher = teacher.ok_or_else(missing)?;
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
            Objective::Imitate { discrepancy, scale, .. } => {
                let teacher = teacher.ok_or_else(missing)?;
                Ok(vec![task.apart(g, [outputs[0], teacher[0]], inputs, discrepancy, scale)?])
            }
        })
    }
}
