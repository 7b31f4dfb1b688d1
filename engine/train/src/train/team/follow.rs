//! A rank that runs its shares of what the first rank trains, and keeps nothing.

use std::sync::Arc;

use super::{
    orders::{ANSWERS, Answer, Message, ORDERS, Order, StageOrder, cut},
    work::{self, Work},
};
use crate::{
    clock::Clock,
    data::Dataset,
    device::{Device, StepParameters},
    nn::NetworkError,
    ranks::{Link, Pulse, RankError},
    train::{
        TrainError,
        session::{Common, Session},
    },
};

/// What a rank needs to run its shares.
#[derive(Debug, Clone)]
pub struct Follower<'a> {
    /// Its device.
    pub gpu: Arc<dyn Device>,
    /// The data of the run, as this rank has read them.
    pub data: &'a Dataset,
    /// The machine's clock.
    pub clock: &'a Arc<dyn Clock>,
}

/// A stage that is ready, and the shares of a restart.
struct Ready {
    order: StageOrder,
    session: Session,
    work: Option<Work>,
}

/// Runs the shares of a rank, until the first rank says that nothing is left to do.
///
/// # Errors
/// The first rank is gone or says what is no order; whatever a step may fail with, which the first rank is told.
pub fn follow(link: &dyn Link, of: &Follower<'_>) -> Result<(), TrainError> {
    let pulse = Pulse::default();
    // The ranks read their data first, which may take long.
    let hello = link.receive(0, ORDERS, pulse.patience)?;
    pulse.during(link, &[0], || {
        let (mut bytes, mut ready) = (hello, None);
        while of.obey(link, &bytes, &mut ready)? {
            // The first rank may test, start blocks and merge for as long as it takes meanwhile.
            bytes = pulse.receive(link, &**of.clock, 0, ORDERS, None)?;
        }
        Ok(())
    })
}

/// The first rank said something that it should not.
fn wrong(problem: &str) -> TrainError {
    RankError::Wrong { rank: 0, problem: problem.into() }.into()
}

impl Follower<'_> {
    /// Carries an order out and answers it; whether there may be another.
    fn obey(
        &self,
        link: &dyn Link,
        bytes: &[u8],
        ready: &mut Option<Ready>,
    ) -> Result<bool, TrainError> {
        let read = Message::<Order>::read(bytes);
        let (Message { number, says }, floats) = read.ok_or_else(|| wrong("says no order"))?;
        if says == Order::End {
            return Ok(false);
        }
        let say = |says: Answer, floats: &[&[f32]]| {
            link.send(0, ANSWERS, &Message { number, says }.bytes(floats))
        };
        match self.carry_out(says, &floats, ready) {
            Ok((answer, floats)) => {
                let floats: Vec<&[f32]> = floats.iter().map(Vec::as_slice).collect();
                say(answer, &floats)?;
                Ok(true)
            }
            Err(error) => {
                // If the first rank is gone as well, this error is the one that counts here.
                let _ = say(Answer::Failed(error.to_string()), &[]);
                Err(error)
            }
        }
    }

    fn carry_out(
        &self,
        order: Order,
        floats: &[f32],
        ready: &mut Option<Ready>,
    ) -> Result<(Answer, Vec<Vec<f32>>), TrainError> {
        let train = &self.data.train;
        let answer = match order {
            Order::Hello => Answer::Here {
                version: env!("CARGO_PKG_VERSION").into(),
                adapter: self.gpu.adapter().name.clone(),
                account: Box::new(self.data.account.clone()),
            },
            Order::Time(order) => {
                // Two stages at once may be more than the device holds.
                *ready = None;
                Answer::Timed(work::time(&order, &self.gpu, train, &**self.clock)?)
            }
            Order::Stage { order, teacher } => {
                *ready = None;
                let program = work::plan(&order, &self.gpu)??;
                let session = Session::new(&self.gpu, program)?;
                let runs = cut(floats, teacher).ok_or_else(|| wrong("sends half a teacher"))?;
                session.set_teacher(&runs.map(<[f32]>::to_vec))?;
                let fingerprint = session.fingerprint();
                *ready = Some(Ready { order: *order, session, work: None });
                Answer::Ready(fingerprint)
            }
            Order::Course { course, slices } => {
                let Ready { order, session, work } = ready.as_mut().ok_or_else(no_stage)?;
                let new = Work::new(order, &course, &slices, train, session.counts())?;
                Answer::Counted(work.insert(new).advance()?)
            }
            Order::Step { live, floats: lengths } => {
                let Ready { session, work, .. } = ready.as_mut().ok_or_else(no_stage)?;
                let work = work.as_mut().ok_or_else(no_stage)?;
                let runs = cut(floats, lengths).ok_or_else(|| wrong("sends half a step"))?;
                let [params, state, scaler] = runs.map(<[f32]>::to_vec);
                let common = Common { params, state, scaler };
                session.set_common(&common)?;
                let live: StepParameters = bytemuck::cast(live);
                let mut floats = Vec::new();
                let mut lengths = [0; 3];
                for summed in work.run(session, &common.state, &live)? {
                    let share = [summed.sums.gradients, summed.sums.metrics, summed.state];
                    lengths = share.each_ref().map(Vec::len);
                    floats.extend(share);
                }
                return Ok((Answer::Summed { floats: lengths, next: work.advance()? }, floats));
            }
            Order::End => return Err(wrong("ends twice")),
        };
        Ok((answer, Vec::new()))
    }
}

fn no_stage() -> TrainError {
    NetworkError::Mismatch("a rank was told to go on with a stage that it was not told of".into())
        .into()
}
