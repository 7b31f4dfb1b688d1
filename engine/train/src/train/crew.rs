//! The devices of a run at work, or those of one of its ranks: each takes members and trains them.

use std::{
    collections::BTreeMap,
    panic::resume_unwind,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    thread,
};

use super::{
    TrainError,
    context::{Context, Options, Stops, Teacher, autotuner},
    far::{Far, Request},
    host::Host,
    journal::Journal,
    kept, measure,
    member::Member,
    members::Desk,
    outline::{self, Outline, Planned, Prepared},
    past::Past,
    pool::Pool,
    spec::MemberSpec,
    team::{self, Follower, Team},
};
use crate::{
    config::{Config, Precision, Split},
    data::Dataset,
    device::{Device, DeviceError},
    disk::Disk,
    event::Event,
    formats::ModelFolder,
    nn::{NetworkError, Weights},
    ops::AdapterKind,
    ranks::{Link, Threads},
    win::algorithm,
};

/// Where devices take members.
pub(super) enum Members<'r> {
    /// Here.
    Pool(&'r Pool),
    /// Of rank 0.
    Far(&'r Far),
}

impl Members<'_> {
    /// The next member for an adapter of this name. The log knows then what became of it and of its teacher before.
    fn take(
        &self,
        adapter: &str,
        stops: &Stops<'_>,
        journal: &Journal<'_>,
    ) -> Result<Option<Planned>, TrainError> {
        match self {
            Self::Pool(pool) => Ok(pool.take(adapter, || stops.any())),
            Self::Far(_) if stops.any() => Ok(None),
            Self::Far(far) => Ok(far.take(adapter)?.map(|(planned, pasts)| {
                journal.tell(pasts);
                planned
            })),
        }
    }

    /// Says what became of a member that was taken.
    fn put(&self, name: &str, trained: bool) -> Result<(), TrainError> {
        match self {
            Self::Pool(pool) => pool.put(name, trained),
            Self::Far(far) => {
                far.ask(&Request::Put { name: name.into(), trained }, &[])?;
            }
        }
        Ok(())
    }
}

/// The devices of a run at work, or those of one of its ranks.
pub(super) struct Crew<'r> {
    pub(super) config: &'r Config,
    pub(super) host: &'r Host,
    pub(super) options: &'r Options,
    pub(super) data: &'r Dataset,
    pub(super) prepared: &'r Prepared,
    pub(super) stops: &'r Stops<'r>,
}

impl Crew<'_> {
    /// Trains what is left, on each device in a thread of its own; for each device of another rank a thread answers.
    pub(super) fn train(
        &self,
        mut gpus: Vec<(Arc<dyn Device>, &String)>,
        pool: &Pool,
        journal: &Journal<'_>,
        desk: Option<&Desk<'_>>,
        theirs: &BTreeMap<usize, Vec<String>>,
    ) -> Result<(), TrainError> {
        let disk = &*self.host.disk;
        let work = |(gpu, name): (Arc<dyn Device>, &String), team: Option<Team<'_>>| {
            self.work(gpu, name, &Members::Pool(pool), journal, disk, team)
        };
        // As the first of the ranks that share batches.
        let lead = |link: &dyn Link, own: (Arc<dyn Device>, &String)| {
            let (clock, account) = (&self.host.clock, &self.data.account);
            let adapter = own.0.adapter().name.clone();
            Team::lead(link, clock, &adapter, account, |team| work(own, Some(team)))
        };
        let serve = |desk: &Desk<'_>, rank: usize, device: usize| {
            let mut watch = Watch { stops: self.stops, well: false };
            let done = desk.serve(rank, device);
            watch.well = done.is_ok();
            drop(watch);
            desk.open.fetch_sub(1, Ordering::SeqCst);
            done
        };
        let together = self.config.split == Split::Batch;
        let own = if together { Some(gpus.remove(0)) } else { gpus.pop() };
        let ends: Vec<Result<(), TrainError>> = thread::scope(|scope| {
            let (work, serve) = (&work, &serve);
            let mut others = Vec::with_capacity(gpus.len());
            let own = match (together, desk) {
                (true, Some(desk)) => own.map(|own| lead(&**desk.link, own)),
                (true, None) => {
                    let mut links = Threads::of(1 + gpus.len()).into_iter();
                    let first = links.next();
                    for ((gpu, _), link) in gpus.into_iter().zip(links) {
                        others.push(scope.spawn(move || self.follow(&link, gpu)));
                    }
                    own.zip(first).map(|(own, link)| lead(&link, own))
                }
                (false, desk) => {
                    others.extend(gpus.into_iter().map(|gpu| scope.spawn(move || work(gpu, None))));
                    if let Some(desk) = desk {
                        scope.spawn(|| desk.pass_stops());
                        for (&rank, devices) in theirs {
                            for device in 0..devices.len() {
                                others.push(scope.spawn(move || serve(desk, rank, device)));
                            }
                        }
                    }
                    own.map(|own| work(own, None))
                }
            };
            let join = |other: thread::ScopedJoinHandle<'_, Result<(), TrainError>>| {
                other.join().unwrap_or_else(|panic| resume_unwind(panic))
            };
            own.into_iter().chain(others.into_iter().map(join)).collect()
        });
        let stopped = || TrainError::Stopped(self.options.out.display().to_string());
        // A device that fails makes the others stop: its error is returned, not theirs.
        let failed = |end: Result<(), TrainError>| {
            end.err().filter(|error| !matches!(error, TrainError::Stopped(_)))
        };
        match ends.into_iter().find_map(failed) {
            Some(error) => Err(error),
            None if pool.is_done() => Ok(()),
            None => Err(stopped()),
        }
    }

    /// Runs a device's shares of what another rank trains.
    pub(super) fn follow(&self, link: &dyn Link, gpu: Arc<dyn Device>) -> Result<(), TrainError> {
        let (data, clock) = (self.data, &self.host.clock);
        team::follow(link, &Follower { gpu, data, clock })
    }

    /// Trains members on a device, whose adapter the log calls `adapter`, until none is left for it; with a team, that shares their batches.
    pub(super) fn work(
        &self,
        gpu: Arc<dyn Device>,
        adapter: &str,
        members: &Members<'_>,
        journal: &Journal<'_>,
        disk: &dyn Disk,
        team: Option<Team<'_>>,
    ) -> Result<(), TrainError> {
        // If this function ends by an error or a panic, the drop of `watch` makes the other devices stop as well.
        let mut watch = Watch { stops: self.stops, well: false };
        let clock = &self.host.clock;
        let autotuner = autotuner(gpu.adapter(), self.options, clock);
        let mut context = Context {
            config: self.config,
            options: self.options,
            data: self.data,
            journal,
            clock,
            disk,
            gpu,
            adapter,
            autotuner,
            stops: self.stops,
            team,
        };
        let mut lost = false;
        while let Some(planned) = members.take(adapter, self.stops, journal)? {
            match self.member(&mut context, &planned) {
                Ok(()) => members.put(&planned.name, true)?,
                Err(TrainError::Device(DeviceError::Lost(cause))) if !lost => {
                    lost = true;
                    let message = format!(
                        "the device was lost ({cause}); it is opened anew and the run goes on"
                    );
                    context.emit(Event::Warning { message })?;
                    context.reopen()?;
                    members.put(&planned.name, false)?;
                }
                Err(error) => return Err(error),
            }
        }
        watch.well = true;
        Ok(())
    }

    /// Trains a member or a teacher and writes what is kept of it.
    fn member(&self, context: &mut Context<'_>, planned: &Planned) -> Result<(), TrainError> {
        let Planned { name, method, seed } = planned;
        let (config, outline) = (context.config, &self.prepared.outline);
        let teacher = match method {
            Some(method) if method.needs_teacher() => Some(self.teacher(context, *seed)?),
            _ => None,
        };
        let count = context.data.train.len() as u64;
        // What a teacher with a new head goes on from.
        let elsewhere = self.prepared.begun.get(seed).filter(|_| method.is_none());
        let who = MemberSpec {
            name: name.clone(),
            method: *method,
            seed: *seed,
            folder: match method {
                Some(_) => self.options.out.join("members").join(name),
                None => self.teacher_folder(*seed),
            },
            stages: algorithm::of(config, *method, count),
            network: if method.is_some() { &outline.student } else { &self.prepared.wide },
            teacher: teacher.as_ref(),
            begins: match (method, elsewhere) {
                (Some(_), _) => self.prepared.begins.as_ref(),
                (None, elsewhere) => elsewhere.map(|of| &of.teacher.weights),
            },
            form: elsewhere.and_then(|of| of.form.as_ref()),
        };
        let shapes = who.network.shapes()?;
        let (params, macs) = (shapes.param_count(), shapes.total_macs());
        let (member, method, seed) = (name.clone(), *method, *seed);
        let begun = context.journal.past(name).begun.is_some();
        context.emit(Event::MemberStarted {
            member: member.clone(),
            method,
            seed,
            params,
            macs,
            adapter: Some(context.adapter.into()),
        })?;
        let finished = Member::open(&who, context, begun)?.finish()?;
        let discrepancy = self.discrepancy(context, &who, &finished.weights)?;
        let done = Event::MemberFinished {
            member,
            method,
            seed,
            step: finished.place.member_step,
            accuracy: finished.worth.test.accuracy,
            loss: finished.worth.test.loss,
            train_error: finished.worth.train_error,
            answers: finished.worth.answers,
            discrepancy,
            epochs: Some(finished.place.epochs),
            seconds: Some(finished.place.seconds),
            params,
            macs,
            teacher_epochs: who.teacher.map_or(Some(0.0), |teacher| teacher.epochs),
            teacher_seconds: who.teacher.map_or(Some(0.0), |teacher| teacher.seconds),
        };
        kept::keep(context, &who, finished)?;
        context.journal.sync()?;
        context.emit(done)
    }

    /// `D[S, B]` of a trained student. What is trained without a teacher is measured against that of its seed all the same, where it is there.
    fn discrepancy(
        &self,
        context: &mut Context<'_>,
        who: &MemberSpec<'_>,
        weights: &Weights,
    ) -> Result<Option<f64>, TrainError> {
        let name = format!("teacher-{}", who.seed);
        let is_there = || {
            let imported = self.prepared.imported.as_ref();
            imported.is_some_and(|teachers| teachers.contains_key(&who.seed))
                || context.journal.past(&name).finished.is_some()
        };
        let teacher = match (who.method, who.teacher) {
            (None, _) => return Ok(None),
            (Some(_), Some(teacher)) => teacher.clone(),
            (Some(_), None) if is_there() => self.teacher(context, who.seed)?,
            (Some(_), None) => {
                // A run without such methods has no teacher; else this member was faster on its device than the teacher on another.
                if outline::planned(context.config).iter().any(|planned| planned.name == name) {
                    let message = format!(
                        "{}: how far it is from {name} was not measured, as {name} was not trained by then",
                        who.name
                    );
                    context.emit(Event::Log { message })?;
                }
                return Ok(None);
            }
        };
        let both = [(who.network, weights), (&teacher.network, &teacher.weights)];
        let batch = context.config.vanilla.batch;
        let found = measure::output_discrepancy(both, batch, context.data, &context.gpu)?;
        // A network whose outputs are no numbers has no discrepancy, as JSON has none.
        Ok(Some(found).filter(|found| found.is_finite()))
    }

    fn teacher_folder(&self, seed: u64) -> PathBuf {
        self.options.out.join("teachers").join(seed.to_string())
    }

    /// The teacher of a seed: imported, or trained before.
    fn teacher(&self, context: &Context<'_>, seed: u64) -> Result<Teacher, TrainError> {
        let imported = self.prepared.imported.as_ref();
        if let Some(of) = imported.and_then(|teachers| teachers.get(&seed)) {
            return Ok(of.teacher.clone());
        }
        let Past { finished, .. } = context.journal.past(&format!("teacher-{seed}"));
        let (epochs, seconds) = finished.map_or((None, None), |end| (end.epochs, end.seconds));
        let folder = self.teacher_folder(seed);
        let ModelFolder { weights, .. } = ModelFolder::read_on(context.disk, &folder)?;
        Ok(Teacher { network: self.prepared.wide.clone(), weights, epochs, seconds })
    }
}

/// Opens the devices that the members are trained on; each of them can do what any of the run's stages needs.
pub(super) fn devices(
    config: &Config,
    host: &Host,
    options: &Options,
    outline: &Outline,
) -> Result<Vec<Arc<dyn Device>>, TrainError> {
    let device = options.device.as_deref().unwrap_or(&config.device);
    let mut gpus = host.devices.open(device, config.memory_budget)?;
    if options.profile.is_some() && gpus.len() > 1 {
        let message = format!("a profile is of one device, and `{device}` means {}", gpus.len());
        return Err(NetworkError::Unsupported(message).into());
    }
    if !host.threads && gpus.len() > 1 {
        let message = format!(
            "a run without threads trains on one device, and `{device}` means {}",
            gpus.len()
        );
        return Err(NetworkError::Unsupported(message).into());
    }
    for gpu in &gpus {
        if config.precision == Precision::Mixed {
            gpu.check_half()?;
        }
        outline::refuse_what_does_not_fit(config, outline, &gpu.target())?;
    }
    let together = config.split == Split::Batch;
    if together && options.link.is_some() {
        if gpus.len() > 1 {
            let message = format!(
                "with split = \"batch\" each of several ranks has one device, and `{device}` means {}; start a rank for each of them",
                gpus.len()
            );
            return Err(NetworkError::Unsupported(message).into());
        }
        return Ok(gpus);
    }
    let software = gpus[0].adapter().kind == AdapterKind::Cpu && host.threads;
    // A profile needs the device to itself, and a memory budget holds for all that runs at once.
    if software && options.profile.is_none() && config.memory_budget.is_none() {
        let most = if together { usize::MAX } else { outline::planned(config).len() };
        for _ in 1..options.side_by_side.min(most) {
            gpus.push(gpus[0].reopen()?);
        }
    }
    Ok(gpus)
}

/// Tells the other devices when one of them has failed.
struct Watch<'r> {
    stops: &'r Stops<'r>,
    well: bool,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.well {
            self.stops.failure.store(true, Ordering::Relaxed);
        }
    }
}
