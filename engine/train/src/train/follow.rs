//! A run over ranks, as the ranks see it that have no run directory: they do what rank 0 calls them to.

use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::{
    TrainError,
    context::{Options, Stops},
    crew::{Crew, Members, devices},
    far::{Far, Request},
    host::Host,
    journal::Journal,
    members::{self, Call, LOOK, Ready, Reply, STOP, Sums},
    outline::{self, Prepared},
};
use crate::{
    config::{Config, Split},
    data::{self, Dataset, text::Tokenizer},
    device::Device,
    ranks::{Link, RankError},
};

/// Ends all other ranks with this exit status. Rank 0 calls it when nothing is left to train.
///
/// # Errors
/// A message cannot be made.
pub fn dismiss(link: &dyn Link, status: u8) -> Result<(), TrainError> {
    Ok(members::call(link, &Call::End(status))?)
}

/// Trains members of the runs that rank 0 executes, until it ends; the exit status that it asks for. `options` are those of this rank, but
/// for the run directory, which rank 0 has. What this rank cannot do, rank 0 says. Setting `stop` stops the whole run at a checkpoint.
///
/// # Errors
/// Rank 0 is gone, or the link is.
pub fn follow(
    link: &Arc<dyn Link>,
    host: &Host,
    options: &Options,
    stop: &AtomicBool,
) -> Result<u8, TrainError> {
    let mut call = members::called(&**link)?;
    loop {
        call = match call {
            Call::End(status) => return Ok(status),
            Call::Go => {
                let problem = "begins a run that it has not called anybody to".into();
                return Err(RankError::Wrong { rank: 0, problem }.into());
            }
            Call::Run { config, out, tokenizer } => {
                let options = Options { out, ..options.clone() };
                match Follower::new(&**link, host, options, &config, tokenizer) {
                    Ok(follower) => {
                        members::reply(&**link, &Reply::Ready(Box::new(follower.ready()?)))?;
                        match members::called(&**link)? {
                            Call::Go => {
                                follower.work(link, stop)?;
                                members::called(&**link)?
                            }
                            other => other,
                        }
                    }
                    Err(error) => {
                        let (host, problem) = (link.host().to_owned(), error.to_string());
                        members::reply(&**link, &Reply::Refused { host, problem })?;
                        members::called(&**link)?
                    }
                }
            }
        };
    }
}

/// A rank that is ready for a run.
struct Follower<'r> {
    host: &'r Host,
    options: Options,
    config: Config,
    data: Dataset,
    prepared: Prepared,
    gpus: Vec<Arc<dyn Device>>,
    /// Names of their adapters.
    names: Vec<String>,
}

impl<'r> Follower<'r> {
    fn new(
        link: &dyn Link,
        host: &'r Host,
        options: Options,
        config: &str,
        tokenizer: Option<String>,
    ) -> Result<Self, TrainError> {
        let config = Config::from_toml(config, "the configuration of rank 0")?;
        let kept = tokenizer.map(Tokenizer::from_json).transpose()?;
        let data = data::open_on(&host.disk, &config, options.cache.as_deref(), kept.as_ref())?;
        let prepared = outline::prepare(&config, &data)?;
        let gpus = devices(&config, host, &options, &prepared.outline)?;
        let name = |gpu: &Arc<dyn Device>| members::adapter_on(link.host(), &gpu.adapter().name);
        let names = gpus.iter().map(name).collect();
        Ok(Self { host, options, config, data, prepared, gpus, names })
    }

    fn ready(&self) -> Result<Ready, TrainError> {
        Ok(Ready {
            version: env!("CARGO_PKG_VERSION").into(),
            adapters: self.names.clone(),
            account: self.data.account.clone(),
            sums: Sums::of(&self.data, &self.prepared)?,
        })
    }

    /// Trains members until none is left for this rank, or runs its shares of batches.
    fn work(&self, link: &Arc<dyn Link>, stop: &AtomicBool) -> Result<(), TrainError> {
        let stops = Stops { user: stop, failure: AtomicBool::new(false) };
        let left = AtomicBool::new(false);
        let crew = Crew {
            config: &self.config,
            host: self.host,
            options: &self.options,
            data: &self.data,
            prepared: &self.prepared,
            stops: &stops,
        };
        if let (Split::Batch, [gpu, ..]) = (self.config.split, &self.gpus[..]) {
            return crew.follow(&**link, Arc::clone(gpu));
        }
        thread::scope(|scope| {
            let crew = &crew;
            let device = |(device, gpu): (usize, &Arc<dyn Device>)| {
                let (gpu, name) = (Arc::clone(gpu), &self.names[device]);
                scope.spawn(move || {
                    let far = Far::new(Arc::clone(link), device);
                    let journal = Journal::of_rank_0(&far);
                    let done = crew.work(gpu, name, &Members::Far(&far), &journal, &far, None);
                    // Rank 0 says what went wrong, unless it cannot be told.
                    let problem = match &done {
                        Ok(()) | Err(TrainError::Stopped(_)) => None,
                        Err(error) => Some(error.to_string()),
                    };
                    far.ask(&Request::Leave(problem), &[]).map(drop)
                })
            };
            let devices: Vec<_> = self.gpus.iter().enumerate().map(device).collect();
            scope.spawn(|| pass_stops(&**link, &stops, &left));
            let join = |device: thread::ScopedJoinHandle<'_, Result<(), RankError>>| {
                device.join().unwrap_or_else(|panic| resume_unwind(panic))
            };
            let ends: Vec<Result<(), RankError>> = devices.into_iter().map(join).collect();
            left.store(true, Ordering::SeqCst);
            Ok(ends.into_iter().collect::<Result<(), RankError>>()?)
        })
    }
}

/// Tells rank 0 of a stop that this rank is told of, and the other way round, until all devices of this rank have `left`.
fn pass_stops(link: &dyn Link, stops: &Stops<'_>, left: &AtomicBool) {
    let mut told = false;
    while !left.load(Ordering::SeqCst) {
        // If rank 0 is gone, there is nobody to train for.
        if !matches!(link.poll(STOP), Ok(None)) {
            stops.failure.store(true, Ordering::Relaxed);
        }
        if !told && stops.user.load(Ordering::Relaxed) {
            told = true;
            // If it cannot be told, the devices will notice.
            drop(link.send(0, STOP, &[]));
        }
        thread::sleep(LOOK);
    }
}
