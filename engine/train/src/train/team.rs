//! One member over ranks: each batch is cut into shares, which the ranks run at the same time (`ranks/shares.rs` says what they come to).
//!
//! The first rank trains as it does alone, from the start of a block to the merge, and asks the others for their shares of each step. These wait
//! otherwise ([`follow`]), and keep nothing. Whatever carries the messages, a step is one to each rank and one back: the parameters, the running
//! statistics and the state of loss scaling go there, gradients, metrics and running statistics of each share come back, with how much counts in the
//! rank's part of the *next* batch, so that all know what the means of that are over before they begin it.

mod follow;
mod orders;
mod work;

use std::{ops::Range, sync::Arc, time::Duration};

pub use follow::{Follower, follow};

use self::{
    orders::{ANSWERS, Answer, Course, Message, ORDERS, Order, Slice, StageOrder, cut, slices},
    work::{Summed, Work},
};
use super::{
    TrainError,
    session::{Common, Session, Sums},
};
use crate::{
    clock::Clock,
    data::{Account, Split},
    device::{Device, StepParameters},
    nn::{NetworkError, Weights},
    plan::Choices,
    ranks::{
        Link, Pulse, RankError,
        shares::{self, Share},
    },
    step::Training,
};

/// Samples that batch norm normalises by at least, where a part for each rank is not smaller anyway: shares that fit the ranks better are not worth noisier
/// statistics.
const NORMALISED: u32 = 16;

/// The ranks that train a member together, as the first of them sees them.
#[derive(Debug)]
pub(super) struct Team<'r> {
    ranks: Ranks<'r>,
    /// The stage under way.
    stage: Option<Stage>,
}

/// What orders go to and answers come from.
#[derive(Debug)]
struct Ranks<'r> {
    link: &'r dyn Link,
    clock: &'r Arc<dyn Clock>,
    /// Of each rank.
    adapters: Vec<String>,
    /// Of the last order.
    number: u64,
    pulse: Pulse,
}

/// A stage whose batches are shared.
#[derive(Debug)]
struct Stage {
    order: StageOrder,
    /// Parts of each share.
    parts: Vec<u32>,
    /// The rank that runs each share.
    by: Vec<usize>,
    /// Those of them that are not the first.
    workers: Vec<usize>,
    /// The restart under way.
    restart: Option<Restart>,
}

#[derive(Debug)]
struct Restart {
    /// The first rank's own shares.
    own: Work,
    /// What the next step begins with.
    common: Common,
    /// How much counts in its batch.
    counted: u64,
}

/// What a shared step took on the first rank.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Took {
    /// Bytes sent and received.
    pub(super) bytes: u64,
    /// Its own shares.
    pub(super) own: Duration,
    /// Waiting for its slices of the next batch.
    pub(super) loader: Duration,
    /// Waiting for the others.
    pub(super) wait: Duration,
    /// All of it.
    pub(super) all: Duration,
}

impl Ranks<'_> {
    /// How many ranks there are.
    fn count(&self) -> usize {
        self.adapters.len()
    }

    /// Gives an order to a rank.
    fn tell(&self, rank: usize, says: Order, floats: &[&[f32]]) -> Result<(), TrainError> {
        self.tell_all(&[rank], says, floats).map(drop)
    }

    /// Gives an order to ranks; how many bytes are sent.
    fn tell_all(&self, ranks: &[usize], says: Order, floats: &[&[f32]]) -> Result<u64, TrainError> {
        let bytes = Message { number: self.number, says }.bytes(floats);
        ranks.iter().try_for_each(|&rank| self.link.send(rank, ORDERS, &bytes))?;
        Ok((ranks.len() * bytes.len()) as u64)
    }

    /// The answer of a rank to the last order, its floats, and how many bytes it has. Answers to earlier orders are those of a stage that was given up,
    /// as its device was lost.
    fn answer(&self, rank: usize) -> Result<(Answer, Vec<f32>, u64), TrainError> {
        let Pulse { patience, .. } = self.pulse;
        loop {
            let clock = &**self.clock;
            let bytes = self.pulse.receive(self.link, clock, rank, ANSWERS, Some(patience))?;
            let (says, floats, number) = read(rank, &bytes)?;
            if number >= self.number {
                return Ok((says, floats, bytes.len() as u64));
            }
        }
    }
}

/// The answer of a rank, its floats, and the number of the order that it answers.
fn read(rank: usize, bytes: &[u8]) -> Result<(Answer, Vec<f32>, u64), TrainError> {
    let read = Message::<Answer>::read(bytes);
    let (Message { number, says }, floats) =
        read.ok_or_else(|| wrong(rank, "says what is no answer"))?;
    match says {
        Answer::Failed(why) => Err(wrong(rank, &format!("has failed: {why}"))),
        says => Ok((says, floats, number)),
    }
}

impl<'r> Team<'r> {
    /// Works as the first of the ranks of a link, once all are there, on such data as the first rank's.
    ///
    /// # Errors
    /// One is not there, is another Taper, or has other data; and what `work` fails with.
    pub(super) fn lead<T>(
        link: &'r dyn Link,
        clock: &'r Arc<dyn Clock>,
        adapter: &str,
        account: &Account,
        work: impl FnOnce(Self) -> Result<T, TrainError>,
    ) -> Result<T, TrainError> {
        let others: Vec<usize> = (1..link.count()).collect();
        Pulse::default().during(link, &others, || work(Self::meet(link, clock, adapter, account)?))
    }

    fn meet(
        link: &'r dyn Link,
        clock: &'r Arc<dyn Clock>,
        adapter: &str,
        account: &Account,
    ) -> Result<Self, TrainError> {
        let (adapters, pulse) = (vec![adapter.into()], Pulse::default());
        let mut ranks = Ranks { link, clock, adapters, number: 0, pulse };
        let others: Vec<usize> = (1..link.count()).collect();
        ranks.tell_all(&others, Order::Hello, &[])?;
        for rank in others {
            // It may still read its data.
            let bytes = link.receive(rank, ANSWERS, pulse.patience)?;
            let Answer::Here { version, adapter, account: theirs } = read(rank, &bytes)?.0 else {
                return Err(wrong(rank, "does not say who it is"));
            };
            if version != env!("CARGO_PKG_VERSION") {
                let ours = env!("CARGO_PKG_VERSION");
                return Err(wrong(rank, &format!("is Taper {version}, and rank 0 is {ours}")));
            }
            if let Some(how) = theirs.differs(account) {
                return Err(wrong(rank, &format!("has other data than rank 0, as {how}")));
            }
            ranks.adapters.push(adapter);
        }
        Ok(Self { ranks, stage: None })
    }

    /// How many ranks there are.
    pub(super) fn count(&self) -> usize {
        self.ranks.count()
    }

    /// Chooses the shares of a stage: `given`, if they are, else by the time that the ranks take.
    ///
    /// # Errors
    /// A batch that cannot be cut so, or not into parts that fit all devices.
    pub(super) fn choose(
        &mut self,
        of: &Training<'_>,
        recompute: bool,
        given: Option<&[u32]>,
        gpu: &Arc<dyn Device>,
        train: &Arc<Split>,
    ) -> Result<Vec<Share>, TrainError> {
        let (batch, cuts) = (of.recipe.batch, of.equal_parts()?);
        let parts = match given {
            Some(given) => {
                let parts = given.iter().sum();
                if !cuts.contains(&parts) {
                    let message = format!(
                        "shares of {given:?} parts are {parts} parts, and a batch of {batch} is not cut into as many equal ones"
                    );
                    return Err(NetworkError::Unsupported(message).into());
                }
                given.to_vec()
            }
            None => self.timed(of, recompute, &cuts, gpu, train)?,
        };
        let of_rank =
            |rank: usize| self.ranks.adapters.get(rank).unwrap_or(&self.ranks.adapters[0]).clone();
        let share = |(rank, parts): (usize, u32)| Share { parts, adapter: of_rank(rank) };
        Ok(parts.into_iter().enumerate().filter(|(_, parts)| *parts > 0).map(share).collect())
    }

    /// The parts that each rank is to run, by the time that it takes for one.
    fn timed(
        &mut self,
        of: &Training<'_>,
        recompute: bool,
        cuts: &[u32],
        gpu: &Arc<dyn Device>,
        train: &Arc<Split>,
    ) -> Result<Vec<u32>, TrainError> {
        // A part for each rank, or smaller ones where these do not fit a device; where the batch has not so many parts, as many as it has.
        let batch = of.recipe.batch;
        let most = cuts.last().copied().unwrap_or(1);
        let enough = (self.ranks.count() as u32).min(most);
        for (k, &parts) in cuts.iter().enumerate().filter(|(_, parts)| **parts >= enough) {
            let order = StageOrder::new(of, recompute, parts, Choices::default());
            self.ranks.number += 1;
            for rank in 1..self.ranks.count() {
                self.ranks.tell(rank, Order::Time(Box::new(order.clone())), &[])?;
            }
            let mut seconds = vec![work::time(&order, gpu, train, &**self.ranks.clock)?];
            for rank in 1..self.ranks.count() {
                match self.ranks.answer(rank)?.0 {
                    Answer::Timed(time) => seconds.push(time),
                    _ => return Err(wrong(rank, "was asked for a time and says none")),
                }
            }
            if let Some(seconds) = seconds.into_iter().collect::<Option<Vec<f64>>>() {
                let fine = |other: u32| !of.normalises_by_batch() || batch / other >= NORMALISED;
                let mut cuts = cuts[k..].to_vec();
                cuts.retain(|&other| other == parts || fine(other));
                return Ok(shares::apportion(&cuts, &seconds));
            }
        }
        let message =
            format!("no equal parts of a batch of {batch} fit all {} devices", self.ranks.count());
        Err(NetworkError::Unsupported(message).into())
    }

    /// Has the ranks make a stage ready, of which the first rank has `session`. Says which shares go on on another adapter than they began on, and
    /// about how many bytes a step is for the first rank.
    ///
    /// # Errors
    /// A rank cannot hold it, or plans another step on an adapter of the first rank's name.
    pub(super) fn begin(
        &mut self,
        of: &Training<'_>,
        recompute: bool,
        shares: &[Share],
        choices: &Choices,
        session: &Session,
        teacher: Option<&Weights>,
    ) -> Result<(Vec<String>, u64), TrainError> {
        let by = shares::assign(shares, &self.ranks.adapters);
        let order = StageOrder::new(of, recompute, shares::parts(shares), choices.clone());
        let floats = match teacher {
            Some(weights) => session.packed_teacher(weights)?,
            None => Default::default(),
        };
        self.ranks.number += 1;
        let workers: Vec<usize> =
            (1..self.ranks.count()).filter(|rank| by.contains(rank)).collect();
        for &rank in &workers {
            // Tiles were timed where the first share began.
            let timed = [&shares[0].adapter, &self.ranks.adapters[0]];
            let choices = match timed.contains(&&self.ranks.adapters[rank]) {
                true => choices.clone(),
                false => Choices::default(),
            };
            let order = Box::new(StageOrder { choices, ..order.clone() });
            let teacher = floats.each_ref().map(Vec::len);
            let floats = floats.each_ref().map(Vec::as_slice);
            self.ranks.tell(rank, Order::Stage { order, teacher }, &floats)?;
        }
        for &rank in &workers {
            let Answer::Ready(plan) = self.ranks.answer(rank)?.0 else {
                return Err(wrong(rank, "was told a stage and is not ready"));
            };
            if self.ranks.adapters[rank] == self.ranks.adapters[0] && plan != session.fingerprint()
            {
                return Err(wrong(
                    rank,
                    "plans another step than rank 0 on an adapter of its name",
                ));
            }
        }
        let moved = |(k, share): (usize, &Share)| {
            let now = &self.ranks.adapters[by[k]];
            (*now != share.adapter).then(|| {
                let Share { parts, adapter } = share;
                let (n, all) = (k + 1, shares.len());
                format!("share {n} of {all} ({parts} parts) began on {adapter} and goes on on {now}; bits may differ")
            })
        };
        let moved = shares.iter().enumerate().filter_map(moved).collect();
        let parts = shares.iter().map(|share| share.parts).collect();
        // Parameters and running statistics go to each rank, gradients and running statistics of each of its shares come back.
        let theirs = by.iter().filter(|&&rank| rank != 0).count();
        let bytes = 4 * session.floats() * (workers.len() + theirs) as u64;
        self.stage = Some(Stage { order, parts, by, workers, restart: None });
        Ok((moved, bytes))
    }

    /// Has the ranks make a restart of the stage ready, of which these steps are left. Its batches are drawn by the seed, and it begins with what `session`
    /// has.
    ///
    /// # Errors
    /// A batch cannot be made.
    pub(super) fn set_out(
        &mut self,
        order_seed: u64,
        steps: Range<u64>,
        session: &Session,
        train: &Arc<Split>,
    ) -> Result<(), TrainError> {
        let course = Course { order_seed, first: steps.start, end: steps.end };
        let Self { ranks, stage } = self;
        let stage = stage.as_mut().ok_or_else(no_stage)?;
        ranks.number += 1;
        for &rank in &stage.workers {
            let slices = slices(&stage.parts, &stage.by, rank);
            ranks.tell(rank, Order::Course { course: course.clone(), slices }, &[])?;
        }
        let slices = slices(&stage.parts, &stage.by, 0);
        let mut own = Work::new(&stage.order, &course, &slices, train, session.counts())?;
        let mut counted = own.advance()?;
        for &rank in &stage.workers {
            match ranks.answer(rank)?.0 {
                Answer::Counted(more) => counted += more,
                _ => return Err(wrong(rank, "was told a restart and does not say what counts")),
            }
        }
        let common = session.common(session.state()?)?;
        stage.restart = Some(Restart { own, common, counted });
        Ok(())
    }

    /// A step: each rank runs its shares, and the optimiser acts on what they come to.
    ///
    /// # Errors
    /// A device or a rank fails.
    pub(super) fn step(
        &mut self,
        session: &mut Session,
        live: &StepParameters,
        tag: u64,
    ) -> Result<Took, TrainError> {
        let Self { ranks, stage } = self;
        let Stage { parts, by, workers, restart, .. } = stage.as_mut().ok_or_else(no_stage)?;
        let Restart { own, common, counted } = restart.as_mut().ok_or_else(no_stage)?;
        let clock = ranks.clock;
        let begun = clock.now();
        ranks.number += 1;
        let total = *counted as f32;
        let live = StepParameters { counted: total, total, ..*live };
        let mut took = Took::default();
        let floats = [&common.params[..], &common.state, &common.scaler];
        let order = Order::Step { live: bytemuck::cast(live), floats: floats.map(<[f32]>::len) };
        took.bytes += ranks.tell_all(workers, order, &floats)?;
        let from = clock.now();
        let mut all = own.run(session, &common.state, &live)?;
        took.own = clock.now() - from;
        let from = clock.now();
        *counted = own.advance()?;
        took.loader = clock.now() - from;
        let from = clock.now();
        for &rank in &*workers {
            let (answer, floats, bytes) = ranks.answer(rank)?;
            let Answer::Summed { floats: lengths, next } = answer else {
                return Err(wrong(rank, "was told a step and sends no sums"));
            };
            took.bytes += bytes;
            *counted += next;
            let each = lengths.iter().sum::<usize>().max(1);
            let slices = slices(parts, by, rank);
            if floats.len() != each * slices.len() {
                return Err(wrong(rank, "sends half of its shares"));
            }
            for (Slice { share, .. }, floats) in slices.into_iter().zip(floats.chunks(each)) {
                let runs = cut(floats, lengths).ok_or_else(|| wrong(rank, "sends half a share"))?;
                let [gradients, metrics, state] = runs.map(<[f32]>::to_vec);
                all.push(Summed { share, sums: Sums { gradients, metrics }, state });
            }
        }
        took.wait = clock.now() - from;
        let (sums, state) = fold(parts, &common.state, all)?;
        session.set_sums(&sums)?;
        session.set_state(&state)?;
        session.apply(&live, tag)?;
        *common = session.common(state)?;
        took.all = clock.now() - begun;
        Ok(took)
    }
}

impl Drop for Ranks<'_> {
    /// Nobody waits for what does not come. Who is gone already has no need of it.
    fn drop(&mut self) {
        for rank in 1..self.count() {
            let _ = self.tell(rank, Order::End, &[]);
        }
    }
}

fn no_stage() -> TrainError {
    NetworkError::Mismatch("no stage, or no restart of it, is shared".into()).into()
}

/// A rank said something that it should not.
fn wrong(rank: usize, problem: &str) -> TrainError {
    RankError::Wrong { rank, problem: problem.into() }.into()
}

/// What all shares of a step come to, in their order: the sums, and the running statistics from where they began.
fn fold(
    parts: &[u32],
    began: &[f32],
    mut all: Vec<Summed>,
) -> Result<(Sums, Vec<f32>), TrainError> {
    all.sort_by_key(|summed| summed.share);
    let mut all = all.into_iter();
    let none = || NetworkError::Mismatch("a step has no shares".into());
    let Summed { share, sums: mut sum, mut state } = all.next().ok_or_else(none)?;
    let mut places = vec![share];
    for Summed { share, sums, state: left } in all {
        let lengths = |sums: &Sums| [sums.gradients.len(), sums.metrics.len()];
        if lengths(&sums) != lengths(&sum) || left.len() != state.len() {
            let message = format!("share {} is of another network than the first", share + 1);
            return Err(NetworkError::Mismatch(message).into());
        }
        shares::add(&mut sum.gradients, &sums.gradients);
        shares::add(&mut sum.metrics, &sums.metrics);
        shares::move_running(&mut state, began, &left, parts[share]);
        places.push(share);
    }
    if !places.iter().copied().eq(0..parts.len()) {
        let message = format!("a step has shares {places:?} of {}", parts.len());
        return Err(NetworkError::Mismatch(message).into());
    }
    Ok((sum, state))
}
