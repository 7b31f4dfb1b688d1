//! A rank's shares of a stage, on its device.

use std::{sync::Arc, time::Duration};

use super::orders::{Course, Slice, StageOrder};
use crate::{
    clock::Clock,
    data::{Batch, DataError, Loader, LoaderOptions, Split},
    device::{Device, StepParameters},
    step::{self, Counts, Program, ProgramError, Saving},
    train::{
        TrainError,
        session::{Session, Sums},
    },
};

/// How often a part is timed, after it has run once: at least, and at most while all that takes no longer than [`SHORT`]. The shortest time counts, as
/// whatever else a machine does only makes it longer.
const ROUNDS: [u32; 2] = [3, 30];
const SHORT: Duration = Duration::from_millis(100);

/// What a share of a step comes to.
#[derive(Debug)]
pub(super) struct Summed {
    pub(super) share: usize,
    pub(super) sums: Sums,
    /// The running statistics that it leaves.
    pub(super) state: Vec<f32>,
}

/// A share with its batches.
#[derive(Debug)]
struct Own {
    slice: Slice,
    loader: Loader,
    /// Its slice of the next batch.
    next: Option<Batch>,
}

/// The shares that a rank runs of a restart of a stage.
#[derive(Debug)]
pub(super) struct Work {
    shares: Vec<Own>,
    counts: Counts,
    /// Steps of the restart whose batches have not been asked for.
    left: u64,
}

impl Work {
    /// Begins to make the batches of these slices, whose parts have `rows` samples.
    pub(super) fn new(
        order: &StageOrder,
        course: &Course,
        slices: &[Slice],
        train: &Arc<Split>,
        counts: Counts,
    ) -> Result<Self, TrainError> {
        let rows = (order.recipe.batch / order.parts) as usize;
        let own = |&slice: &Slice| -> Result<Own, DataError> {
            let (first, parts) = (slice.first as usize, slice.parts as usize);
            let options = LoaderOptions {
                batch: order.recipe.batch as usize,
                order_seed: course.order_seed,
                augment: true,
                start_batch: course.first,
                threads: 0,
                drop_last: true,
                slice: Some(first * rows..(first + parts) * rows),
            };
            Ok(Own { slice, loader: Loader::new(Arc::clone(train), options)?, next: None })
        };
        let shares: Result<Vec<Own>, DataError> = slices.iter().map(own).collect();
        Ok(Self { shares: shares?, counts, left: course.end - course.first })
    }

    /// Takes the slices of the next batch, and says how much in them counts; nothing behind the last step.
    pub(super) fn advance(&mut self) -> Result<u64, TrainError> {
        if self.left == 0 {
            return Ok(0);
        }
        self.left -= 1;
        let mut counted = 0;
        for own in &mut self.shares {
            let batch = own.loader.next().unwrap_or(Err(DataError::Stopped))?;
            counted += self.counts.of(&batch);
            own.next = Some(batch);
        }
        Ok(counted)
    }

    /// Runs the shares of a step, each from the running statistics `began`; all else lies on the device.
    pub(super) fn run(
        &mut self,
        session: &mut Session,
        began: &[f32],
        live: &StepParameters,
    ) -> Result<Vec<Summed>, TrainError> {
        let mut all = Vec::with_capacity(self.shares.len());
        for own in &mut self.shares {
            let batch = own.next.take().ok_or(DataError::Stopped)?;
            session.set_state(began)?;
            session.accumulate(&batch, live, own.slice.first)?;
            let (share, sums) = (own.slice.share, session.sums()?);
            all.push(Summed { share, sums, state: session.state()? });
        }
        Ok(all)
    }
}

/// Plans a stage for a device; none if a part does not fit it.
pub(super) fn plan(
    order: &StageOrder,
    gpu: &Arc<dyn Device>,
) -> Result<Result<Program, ProgramError>, TrainError> {
    let how = Saving { micro_batches: order.parts, recompute: order.recompute, apart: true };
    match step::saving(&order.training(), &gpu.target(), how) {
        Err(error) if !error.is_size() => Err(error.into()),
        Ok(mut program) => {
            program.plan = program.plan.choose(&order.choices);
            Ok(Ok(program))
        }
        too_large => Ok(too_large),
    }
}

/// Seconds that a part of a stage takes on a device; none if it does not fit.
pub(super) fn time(
    order: &StageOrder,
    gpu: &Arc<dyn Device>,
    train: &Arc<Split>,
    clock: &dyn Clock,
) -> Result<Option<f64>, TrainError> {
    let Ok(program) = plan(order, gpu)? else { return Ok(None) };
    let mut session = Session::new(gpu, program)?;
    let rows = session.part();
    let picks: Vec<usize> = (0..rows.min(train.len())).collect();
    let batch = train.some(&picks, rows).next().unwrap_or(Err(DataError::Stopped))?;
    let total = session.counts().of(&batch) as f32;
    let live = StepParameters { total, ..StepParameters::rows(batch.rows as u32) };
    let mut round = || -> Result<Duration, TrainError> {
        let begun = clock.now();
        session.accumulate(&batch, &live, 0)?;
        session.sums()?;
        Ok(clock.now() - begun)
    };
    // The first time around a driver may still compile.
    round()?;
    let (mut shortest, mut all, mut rounds) = (Duration::MAX, Duration::ZERO, 0);
    while rounds < ROUNDS[0] || (rounds < ROUNDS[1] && all < SHORT) {
        let took = round()?;
        (shortest, all, rounds) = (shortest.min(took), all + took, rounds + 1);
    }
    Ok(Some(shortest.as_secs_f64()))
}
