//! Which network a stage trains, and what for.

use super::algorithm::StageKind;
use crate::{
    config::{Discrepancy, Target, Win},
    nn::{Network, NetworkError, Pair},
    step::{Objective, Trained},
};

/// The networks of a method, before they are trained.
#[derive(Debug, Clone, Copy)]
pub struct Networks<'a> {
    /// S.
    pub student: &'a Network,
    /// B, where the method has a teacher.
    pub teacher: Option<&'a Network>,
    /// S̄, while its pairs are inserted; of bottlenecks it has none and is S.
    pub bridged: Option<&'a Network>,
}

/// Name of FitNets' regressor, which is thrown away after the hint stage.
pub const REGRESSOR: &str = "regressor";

impl Networks<'_> {
    /// The network that a stage trains.
    ///
    /// # Errors
    /// If the stage needs a network that is not there.
    pub fn trained(&self, kind: StageKind) -> Result<Network, NetworkError> {
        let missing = |what: &str| NetworkError::Mismatch(format!("this stage needs {what}"));
        Ok(match kind {
            StageKind::Narrow { block } => {
                self.bridged.ok_or_else(|| missing("a bridged network"))?.prefix(block)
            }
            StageKind::Hint { blocks } => {
                let teacher = self.teacher.ok_or_else(|| missing("a teacher"))?;
                let mut network = self.student.prefix(blocks);
                let out = teacher.prefix(blocks).shapes()?.output.width();
                network.blocks[blocks - 1].lift = Some(Pair { name: REGRESSOR.into(), out });
                network
            }
            _ => self.bridged.unwrap_or(self.student).clone(),
        })
    }
}

/// The objective of a stage. `scale` is the factor of an imitation's squared error.
pub fn objective(kind: StageKind, win: &Win, scale: f32) -> Objective {
    match kind {
        StageKind::Head => Objective::Head,
        StageKind::Distill { alpha, temperature } => Objective::Distill { alpha, temperature },
        StageKind::Tune { target: Target::Teacher, alpha, temperature } => {
            Objective::Distill { alpha, temperature }
        }
        StageKind::Narrow { .. } => {
            let trained = if win.freeze { Trained::LastBlock } else { Trained::Layers };
            let (discrepancy, output) = (win.discrepancy, win.output_weight as f32);
            Objective::Imitate { discrepancy, scale, output, trained }
        }
        StageKind::Hint { .. } => {
            let (discrepancy, trained) = (Discrepancy::RelativeMse, Trained::All);
            Objective::Imitate { discrepancy, scale, output: 0.0, trained }
        }
        _ => Objective::Labels,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_steps_train_no_embeddings_and_with_freeze_the_last_block_alone() {
        let trained = |kind, freeze| match objective(kind, &Win { freeze, ..Win::default() }, 1.0) {
            Objective::Imitate { trained, .. } => Some(trained),
            _ => None,
        };
        let narrow = StageKind::Narrow { block: 2 };
        assert_eq!(trained(narrow, false), Some(Trained::Layers));
        assert_eq!(trained(narrow, true), Some(Trained::LastBlock));
        assert_eq!(trained(StageKind::Hint { blocks: 2 }, true), Some(Trained::All));
        let tune = |alpha, temperature| {
            let kind = StageKind::Tune { target: Target::Teacher, alpha, temperature };
            objective(kind, &Win::default(), 1.0)
        };
        assert_eq!(tune(0.5, 4.0), Objective::Distill { alpha: 0.5, temperature: 4.0 });
    }
}
