//! What a member does otherwise where ranks share its batches.

use super::{Member, ORDER};
use crate::{
    event::Event,
    nn::Weights,
    ranks::shares::{self, Share},
    step::Training,
    train::{TrainError, session::Session},
    win::algorithm::Stage,
};

impl Member<'_, '_> {
    /// The parts that the batches of a stage are cut into, if ranks share them. The shares are chosen when the stage begins; `begun`: its micro-batches, if
    /// it has begun.
    pub(super) fn share(
        &mut self,
        of: &Training<'_>,
        begun: Option<u32>,
    ) -> Result<Option<u32>, TrainError> {
        let Some(team) = &mut self.run.team else { return Ok(None) };
        let shares = &mut self.at.place.shares;
        match begun {
            None => {
                let (recompute, given) = (self.run.config.recompute, &self.run.options.shares);
                let (gpu, train) = (&self.run.gpu, &self.run.data.train);
                *shares = team.choose(of, recompute, given.as_deref(), gpu, train)?;
            }
            // It was begun by one rank alone.
            Some(parts) if shares.is_empty() => {
                *shares = vec![Share { parts, adapter: self.run.gpu.adapter().name.clone() }];
            }
            Some(_) => {}
        }
        Ok(Some(shares::parts(shares)))
    }

    /// Has the ranks make a stage ready, and says how its batches are shared.
    pub(super) fn gather(
        &mut self,
        stage: &Stage,
        of: &Training<'_>,
        session: &Session,
    ) -> Result<(), TrainError> {
        let Some(team) = &mut self.run.team else { return Ok(()) };
        let (shares, choices) = (&self.at.place.shares, &self.at.place.kernel_choices);
        let teacher: Option<&Weights> = self.who.teacher.map(|teacher| &teacher.weights);
        let recompute = self.run.config.recompute;
        let (moved, bytes) = team.begin(of, recompute, shares, choices, session, teacher)?;
        let (ranks, parts) = (team.count(), shares::parts(shares));
        let each: Vec<String> = shares.iter().map(|share| share.parts.to_string()).collect();
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let mut message = format!(
            "{} {}: each batch of {} is {parts} part{} of {}, in shares of {} on {ranks} rank{}",
            self.who.name,
            stage.name,
            of.recipe.batch,
            plural(parts as usize),
            session.part(),
            each.join(", "),
            plural(ranks)
        );
        if bytes > 0 {
            let (size, unit) = if bytes < 1_000_000 { (1e3, "kB") } else { (1e6, "MB") };
            let bytes = bytes as f64 / size;
            message += &format!(", with {bytes:.1} {unit} a step to and from others");
        }
        if parts > 1 && of.normalises_by_batch() {
            message += "; batch norm's statistics are those of a part";
        }
        self.run.emit(Event::Log { message })?;
        moved.into_iter().try_for_each(|message| self.run.emit(Event::Warning { message }))
    }

    /// Has the ranks make a restart ready, of whose `end` steps those are left that are not done.
    pub(super) fn set_out(&mut self, end: u64, session: &Session) -> Result<(), TrainError> {
        let order_seed = self.seed(ORDER, self.at.place.restart);
        let steps = self.at.place.step..end;
        match &mut self.run.team {
            Some(team) => team.set_out(order_seed, steps, session, &self.run.data.train),
            None => Ok(()),
        }
    }
}
