//! The queue with crashes: the server between any two writes, processes at any step. Whatever is killed, every run ends as it should, no
//! device ever has two processes, and its curve has every step once.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use engine::event::{Event, EventLog, RunStatus};

use super::{Host, Supervisor};
use crate::jobs::{Adapters, Jobs, Refusal, described};
use crate::run::{Facts, Input, State, View, Want};
use crate::store::{Curve, New, Run, Window};

/// Steps of a run, and of its checkpoints.
const STEPS: u64 = 12;
const EVERY: u64 = 3;

/// A process as the operating system sees it; it outlives servers.
#[derive(Debug)]
struct Process {
    log: EventLog,
    step: u64,
    want: Want,
}

/// What is there apart from the server: processes, run directories.
#[derive(Debug, Default)]
struct World {
    processes: HashMap<String, Process>,
    checkpoints: HashMap<String, u64>,
    /// Steps after which a process is killed, one after the other.
    deaths: Vec<u64>,
    taken: u64,
}

impl World {
    /// Every process takes a step.
    fn tick(&mut self) {
        let mut ended = Vec::new();
        for (id, process) in &mut self.processes {
            self.taken += 1;
            if self.deaths.contains(&self.taken) || process.want == Want::Cancel {
                ended.push(id.clone());
                continue;
            }
            let mut say = |event| drop(process.log.append(event).expect("written"));
            if process.want == Want::Stop {
                self.checkpoints.insert(id.clone(), process.step);
                say(checkpoint(process.step));
                say(finished(RunStatus::Stopped));
                ended.push(id.clone());
                continue;
            }
            process.step += 1;
            say(Event::Step {
                member: "win-0".into(),
                stage: "tune".into(),
                step: process.step,
                stage_step: process.step,
                loss: 1.0 / process.step as f64,
                lr: 0.1,
                samples_per_s: 1.0,
                loader_wait: None,
                exchange: None,
                scaling: None,
            });
            if process.step == STEPS {
                say(finished(RunStatus::Done));
                ended.push(id.clone());
            } else if process.step.is_multiple_of(EVERY) {
                self.checkpoints.insert(id.clone(), process.step);
                say(checkpoint(process.step));
            }
        }
        for id in ended {
            self.processes.remove(&id);
        }
    }
}

fn checkpoint(step: u64) -> Event {
    Event::Checkpoint { member: "win-0".into(), step, path: String::new() }
}

fn finished(status: RunStatus) -> Event {
    Event::RunFinished { status, error: None, seconds: 0.0 }
}

/// A server's hands in the world.
struct Hands {
    world: Arc<Mutex<World>>,
    runs: PathBuf,
}

impl Host for Hands {
    fn launch(&mut self, run: &Run, _adapter: Option<usize>) -> io::Result<()> {
        let mut world = self.world.lock().expect("whole");
        assert!(world.processes.is_empty(), "two processes on one device: {run:?}");
        let mut log = EventLog::open(&self.runs.join(&run.id).join("events.jsonl")).expect("a log");
        let step = world.checkpoints.get(&run.id).copied().unwrap_or(0);
        log.append(Event::RunStarted {
            version: String::new(),
            adapter: "a".into(),
            adapter_kind: "cpu".into(),
            config_hash: String::new(),
            stages: Vec::new(),
        })
        .expect("written");
        log.append(Event::Resumed { member: Some("win-0".into()), step }).expect("written");
        world.processes.insert(run.id.clone(), Process { log, step, want: Want::Run });
        Ok(())
    }

    fn alive(&mut self, run: &Run) -> bool {
        self.world.lock().expect("whole").processes.contains_key(&run.id)
    }

    fn want(&mut self, run: &Run, want: Want) -> io::Result<()> {
        if let Some(process) = self.world.lock().expect("whole").processes.get_mut(&run.id) {
            process.want = want;
        }
        Ok(())
    }

    fn kill(&mut self, run: &Run) {
        self.world.lock().expect("whole").processes.remove(&run.id);
    }
}

fn software() -> Adapters {
    Adapters::fixed(vec![described(0, "llvmpipe", "cpu")])
}

fn new(id: &str) -> New {
    New {
        id: id.into(),
        name: id.into(),
        config: "device = \"auto\"\n".into(),
        config_hash: String::new(),
        preset: None,
        facts: Facts::default(),
        view: View::default(),
    }
}

/// What a user does, and after which round; said again until the server has heard it.
const SCRIPT: [(usize, &str, Input); 6] = [
    (0, "a", Input::Start),
    (0, "b", Input::Start),
    (3, "a", Input::Pause),
    (9, "a", Input::Resume),
    (11, "c", Input::Start),
    (13, "c", Input::Cancel),
];

/// Whether the server has heard a command, now or before it crashed.
fn heard(told: Result<Run, Refusal>, input: Input) -> Option<bool> {
    match told {
        Ok(_) => Some(true),
        // Its process has not ended yet.
        Err(Refusal::State { state: State::Pausing, .. }) if input == Input::Resume => Some(false),
        Err(Refusal::State { .. }) => Some(true),
        Err(_) => None,
    }
}

/// A life of the world with a server that crashes after `fuse` moments of writing, and processes that are killed at `deaths`.
fn live(folder: &Path, fuse: i64, deaths: &[u64]) {
    let world = Arc::new(Mutex::new(World { deaths: deaths.to_vec(), ..World::default() }));
    let serve = || {
        let (jobs, woken) = Jobs::open(folder).expect("opened");
        let adapters = Arc::new(software());
        let hands = Hands { world: Arc::clone(&world), runs: folder.join("runs") };
        (Arc::clone(&jobs), Supervisor::new(jobs, adapters, hands), woken)
    };
    let mut server = serve();
    for id in ["a", "b", "c"] {
        std::fs::create_dir_all(folder.join("runs").join(id)).expect("made");
        server.0.store.write(|db| Run::insert(db, &new(id))).expect("inserted");
    }
    server.0.store.fuse.set(fuse);
    let mut script = SCRIPT.iter().peekable();
    for round in 0..100 {
        let mut crashed = false;
        while let Some(&&(at, id, input)) = script.peek() {
            if at > round || crashed {
                break;
            }
            match heard(server.0.tell(id, input, "do that"), input) {
                Some(true) => drop(script.next()),
                Some(false) => break,
                None => crashed = true,
            }
        }
        crashed |= server.1.tick().is_err();
        if crashed {
            // Whatever it held in memory is gone, and it starts again.
            server = serve();
        }
        world.lock().expect("whole").tick();
        let runs = server.0.store.read(Run::all).expect("read");
        if script.peek().is_none()
            && runs.iter().all(|run| run.state.is_ended() && run.slots.is_empty())
        {
            break;
        }
    }
    let find =
        |id: &str| server.0.store.read(|db| Run::find(db, id)).expect("read").expect("there");
    for id in ["a", "b"] {
        let run = find(id);
        assert!(run.slots.is_empty() && run.place.is_none(), "{run:?}");
        assert_eq!(run.state, State::Done, "{run:?}");
        let all = Window { from: 0, to: u64::MAX, points: usize::MAX };
        let curve = server.0.store.read(|db| Curve::read(db, id, "win-0", "loss", all));
        let curve = curve.expect("read");
        assert_eq!(curve.x, (1..=STEPS).collect::<Vec<_>>(), "{id}");
    }
    assert_eq!(find("c").state, State::Cancelled);
    assert!(find("c").slots.is_empty());
    assert!(world.lock().expect("whole").processes.is_empty());
}

#[test]
fn the_queue_ends_as_it_should_without_a_crash() {
    let folder = tempfile::tempdir().expect("folder");
    live(folder.path(), i64::MAX, &[]);
}

#[test]
fn a_server_may_be_killed_between_any_two_writes() {
    // A life without a crash has about 90 commits, each with a moment before it and one after.
    for fuse in 0..200 {
        let folder = tempfile::tempdir().expect("folder");
        live(folder.path(), fuse, &[]);
    }
}

#[test]
fn processes_may_be_killed_at_any_step() {
    for death in 1..=2 * STEPS {
        let folder = tempfile::tempdir().expect("folder");
        live(folder.path(), i64::MAX, &[death]);
    }
}

#[test]
fn both_may_be_killed() {
    for fuse in (0..200).step_by(9) {
        for death in [2, 5, 11] {
            let folder = tempfile::tempdir().expect("folder");
            live(folder.path(), fuse, &[death, death + 2]);
        }
    }
}

#[test]
fn a_process_that_dies_again_and_again_is_given_up() {
    let folder = tempfile::tempdir().expect("folder");
    let world = Arc::new(Mutex::new(World { deaths: (1..100).collect(), ..World::default() }));
    let (jobs, _woken) = Jobs::open(folder.path()).expect("opened");
    std::fs::create_dir_all(folder.path().join("runs/a")).expect("made");
    jobs.store.write(|db| Run::insert(db, &new("a"))).expect("inserted");
    jobs.tell("a", Input::Start, "start").expect("a draft");
    let hands = Hands { world: Arc::clone(&world), runs: folder.path().join("runs") };
    let adapters = Arc::new(software());
    let mut supervisor = Supervisor::new(Arc::clone(&jobs), adapters, hands);
    for _ in 0..20 {
        supervisor.tick().expect("ticked");
        world.lock().expect("whole").tick();
    }
    let run = jobs.store.read(|db| Run::find(db, "a")).expect("read").expect("there");
    assert_eq!((run.state, run.attempts), (State::Failed, super::ATTEMPTS));
    assert!(run.error.is_some_and(|error| error.contains("died 3 times")));
}
