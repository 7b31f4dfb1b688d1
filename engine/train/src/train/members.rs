//! Members over ranks, as rank 0 sees them: it calls the others to a run, lets each of their devices take members, and does for them what only
//! it can: lines of the log, files of the run directory.

use std::{
    collections::BTreeMap,
    io,
    path::{Component, Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    TrainError,
    context::Stops,
    far::{Answer, Request, channel_of, pack, unpack},
    journal::Journal,
    outline::{Planned, Prepared},
    pool::Pool,
};
use crate::{
    batch::{Field, Numbers},
    config::Config,
    data::{Account, DataError, Dataset, Split, text::Tokenizer},
    disk::Disk,
    formats::FormatError,
    nn::Weights,
    ranks::{Channel, Link, RankError},
};

/// On which rank 0 says what is to be done, and the others that they are ready.
const HELM: Channel = Channel::new(2);
/// On which a rank is told, or tells rank 0, that all shall stop at a checkpoint.
pub(super) const STOP: Channel = Channel::new(3);
/// How often a rank looks there.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// What rank 0 says to all others.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Call {
    /// Get ready for a run.
    Run {
        /// Its configuration, as TOML.
        config: String,
        /// Its directory, where rank 0 has it.
        out: PathBuf,
        /// What makes tokens of text in it since it began, as JSON.
        tokenizer: Option<String>,
    },
    /// Begin.
    Go,
    /// End, with this exit status.
    End(u8),
}

/// What a rank answers to [`Call::Run`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// It can begin.
    Ready(Box<Ready>),
    /// It cannot, and why.
    Refused { host: String, problem: String },
}

/// What a rank has.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    /// The program.
    pub(super) version: String,
    /// The names of its adapters, one a device.
    pub(super) adapters: Vec<String>,
    /// What was read of its data.
    pub(super) account: Account,
    pub(super) sums: Sums,
}

/// What must be the same on all ranks, as SHA-256.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sums {
    /// Of samples, spread over all of the data.
    data: Vec<u8>,
    /// Of the weights of models from elsewhere.
    models: Vec<u8>,
}

/// Samples of each part of the data that are compared between ranks: an epoch of large data takes too long to be read for it.
const COMPARED: usize = 256;

impl Sums {
    /// Of what a rank has read.
    pub(super) fn of(data: &Dataset, prepared: &Prepared) -> Result<Self, DataError> {
        let mut samples = Sha256::new();
        for split in [&data.train, &data.test] {
            add_samples(&mut samples, split)?;
        }
        let mut models = Sha256::new();
        let imported = prepared.imported.iter().chain([&prepared.begun]).flat_map(BTreeMap::values);
        let imported = imported.map(|of| &of.teacher.weights);
        imported.chain(&prepared.begins).for_each(|weights| add_weights(&mut models, weights));
        let [data, models] = [samples, models].map(|sum| sum.finalize().to_vec());
        Ok(Self { data, models })
    }
}

fn add_samples(sum: &mut Sha256, split: &Split) -> Result<(), DataError> {
    sum.update((split.len() as u64).to_le_bytes());
    let count = split.len().min(COMPARED);
    let picks: Vec<usize> = (0..count).map(|k| k * split.len() / count.max(1)).collect();
    let mut add = |Field { name, numbers }: &Field| {
        sum.update(name.as_bytes());
        match numbers {
            Numbers::F32(numbers) => sum.update(bytemuck::cast_slice::<f32, u8>(numbers)),
            Numbers::U32(numbers) => sum.update(bytemuck::cast_slice::<u32, u8>(numbers)),
        }
    };
    for picks in picks.chunks(16) {
        let batch = split.gather(picks)?;
        batch.inputs.iter().chain(&batch.targets).for_each(&mut add);
    }
    Ok(())
}

fn add_weights(sum: &mut Sha256, weights: &Weights) {
    for (name, tensor) in weights {
        sum.update(name.as_bytes());
        sum.update(bytemuck::cast_slice::<f32, u8>(&tensor.data));
    }
}

/// What an adapter is called in a run over several ranks: a member goes on where it was begun.
pub(super) fn adapter_on(host: &str, adapter: &str) -> String {
    format!("{host}: {adapter}")
}

/// Says something to all other ranks. Who is gone is not told; that is noticed where something is expected of it.
pub(super) fn call(link: &dyn Link, call: &Call) -> Result<(), RankError> {
    let message = pack(call, &[])?;
    (1..link.count()).for_each(|rank| drop(link.send(rank, HELM, &message)));
    Ok(())
}

/// What rank 0 says next.
pub(super) fn called(link: &dyn Link) -> Result<Call, RankError> {
    Ok(unpack(0, link.receive(0, HELM, Duration::MAX)?)?.0)
}

/// Answers rank 0.
pub(super) fn reply(link: &dyn Link, reply: &Reply) -> Result<(), RankError> {
    link.send(0, HELM, &pack(reply, &[])?)
}

/// Calls all other ranks to a run.
pub(super) fn call_to(
    link: &dyn Link,
    config: &Config,
    out: &Path,
    tokenizer: Option<&Tokenizer>,
) -> Result<(), RankError> {
    let tokenizer = tokenizer.map(|tokenizer| tokenizer.json().to_string());
    call(link, &Call::Run { config: config.to_toml(), out: out.into(), tokenizer })
}

/// Waits until all others are ready, and has them begin; the names of their adapters, by rank.
///
/// # Errors
/// One of them cannot train this run, or would train another one.
pub(super) fn gather(
    link: &dyn Link,
    data: &Dataset,
    prepared: &Prepared,
) -> Result<BTreeMap<usize, Vec<String>>, TrainError> {
    let sums = Sums::of(data, prepared)?;
    let mut adapters = BTreeMap::new();
    for rank in 1..link.count() {
        let theirs = match unpack(rank, link.receive(rank, HELM, Duration::MAX)?)?.0 {
            Reply::Ready(ready) => *ready,
            Reply::Refused { host, problem } => {
                return Err(RankError::Failed { rank, host, problem }.into());
            }
        };
        let own = env!("CARGO_PKG_VERSION");
        let problem = if theirs.version != own {
            Some(format!("is Taper {}, and rank 0 is {own}: install one version", theirs.version))
        } else if let Some(other) = theirs.account.differs(&data.account) {
            Some(format!("has other data than rank 0: {other} on rank 0"))
        } else if theirs.sums.data != sums.data {
            Some("has other data than rank 0: as many samples, which are not the same".into())
        } else if theirs.sums.models != sums.models {
            Some("has other weights than rank 0 where teacher.from or model.from names them".into())
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(RankError::Wrong { rank, problem }.into());
        }
        adapters.insert(rank, theirs.adapters);
    }
    call(link, &Call::Go)?;
    Ok(adapters)
}

/// What rank 0 has for the others while a run is trained.
pub(super) struct Desk<'r> {
    pub(super) link: &'r Arc<dyn Link>,
    pub(super) out: &'r Path,
    pub(super) disk: &'r dyn Disk,
    pub(super) journal: &'r Journal<'r>,
    pub(super) pool: &'r Pool,
    pub(super) stops: &'r Stops<'r>,
    /// The devices of other ranks that may still ask.
    pub(super) open: AtomicUsize,
}

impl Desk<'_> {
    /// Answers what a device of another rank asks, until it leaves.
    ///
    /// # Errors
    /// It is gone, or has failed.
    pub(super) fn serve(&self, rank: usize, device: usize) -> Result<(), TrainError> {
        let channel = channel_of(device);
        // If it fails after the disk has refused something, that is why.
        let mut refusal = None;
        loop {
            let message = self.link.receive(rank, channel, Duration::MAX)?;
            let (request, bytes) = unpack(rank, message)?;
            if let Request::Leave(problem) = request {
                let left = match (problem, refusal) {
                    (None, _) => Ok(()),
                    (Some(_), Some(refusal)) => Err(TrainError::Format(refusal)),
                    (Some(problem), None) => {
                        Err(RankError::Wrong { rank, problem: format!("has failed: {problem}") }
                            .into())
                    }
                };
                self.link.send(rank, channel, &pack(&Answer::Done, &[])?)?;
                return left;
            }
            refusal = None;
            let (answer, bytes) = match self.answer(request, &bytes) {
                Ok(answer) => answer,
                Err(error) => {
                    let answer = Answer::refusal(&error);
                    refusal = Some(error);
                    (answer, Vec::new())
                }
            };
            self.link.send(rank, channel, &pack(&answer, &bytes)?)?;
        }
    }

    fn answer(&self, request: Request, bytes: &[u8]) -> Result<(Answer, Vec<u8>), FormatError> {
        let done = (Answer::Done, Vec::new());
        Ok(match request {
            Request::Take(adapter) => {
                let taken = self.pool.take(&adapter, || self.stops.any());
                let past = |planned: Planned| {
                    let names = [planned.name.clone(), format!("teacher-{}", planned.seed)];
                    let past = names.map(|name| (name.clone(), self.journal.past(&name)));
                    (planned, BTreeMap::from(past))
                };
                (Answer::Member(taken.map(past)), Vec::new())
            }
            Request::Put { name, trained } => {
                self.pool.put(&name, trained);
                done
            }
            Request::Append(event) => {
                self.journal.append(*event)?;
                done
            }
            Request::Sync => {
                self.journal.sync()?;
                done
            }
            Request::Read(path) => (Answer::Done, self.disk.read(self.own(&path)?)?),
            Request::Write(path) => {
                self.disk.write_bytes(self.own(&path)?, bytes)?;
                done
            }
            Request::Extend(path) => {
                let mut file = self.disk.append(self.own(&path)?)?;
                file.append(bytes)?;
                file.sync()?;
                done
            }
            Request::List(path) => (Answer::Items(self.disk.list(self.own(&path)?)?), Vec::new()),
            Request::Kind(path) => (Answer::Kind(self.disk.kind(self.own(&path)?)), Vec::new()),
            Request::MakeFolder(path) => {
                self.disk.make_folder(self.own(&path)?)?;
                done
            }
            Request::Remove(path) => {
                self.disk.remove(self.own(&path)?)?;
                done
            }
            Request::RemoveLeftovers(path) => {
                self.disk.remove_leftovers(self.own(&path)?)?;
                done
            }
            Request::Leave(_) => done,
        })
    }

    /// A path, if it lies in the run directory: other ranks have no business elsewhere.
    fn own<'p>(&self, path: &'p Path) -> Result<&'p Path, FormatError> {
        let inside = path
            .strip_prefix(self.out)
            .is_ok_and(|rest| rest.components().all(|part| matches!(part, Component::Normal(_))));
        let outside = || io::Error::other("it does not lie in the run directory");
        if inside { Ok(path) } else { Err(FormatError::read(path, outside())) }
    }

    /// Passes a stop on, from this rank to all others and from any other to this one, until all their devices have left.
    pub(super) fn pass_stops(&self) {
        let mut told = false;
        while self.open.load(Ordering::SeqCst) > 0 {
            if let Ok(Some(_)) = self.link.poll(STOP) {
                self.stops.failure.store(true, Ordering::Relaxed);
            }
            if !told && self.stops.any() {
                told = true;
                (1..self.link.count()).for_each(|rank| drop(self.link.send(rank, STOP, &[])));
            }
            thread::sleep(LOOK);
        }
    }
}
