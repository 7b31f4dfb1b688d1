//! Which run gets which devices.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use engine::event::{Event, EventLog, RunStatus, StagePlan};

use super::{Host, Supervisor};
use crate::jobs::{Adapters, Jobs, described};
use crate::run::{Facts, Input, State, View, Want};
use crate::store::{New, Run};

/// A run that has a process, with the adapter that it was told to take.
type Launched = (String, Option<usize>);

/// Runs that have a process, with the adapter that each was told to take.
#[derive(Debug, Clone, Default)]
struct Processes(Arc<Mutex<Vec<Launched>>>);

impl Processes {
    fn list(&self) -> Vec<Launched> {
        self.0.lock().expect("whole").clone()
    }

    fn end(&self, id: &str) {
        self.0.lock().expect("whole").retain(|(run, _)| run != id);
    }
}

impl Host for Processes {
    fn launch(&mut self, run: &Run, adapter: Option<usize>) -> io::Result<()> {
        self.0.lock().expect("whole").push((run.id.clone(), adapter));
        Ok(())
    }

    fn alive(&mut self, run: &Run) -> bool {
        self.list().iter().any(|(id, _)| *id == run.id)
    }

    fn want(&mut self, _run: &Run, _want: Want) -> io::Result<()> {
        Ok(())
    }

    fn kill(&mut self, run: &Run) {
        self.end(&run.id);
    }
}

/// A server on a machine with two equal GPUs and a smaller one.
struct Machine {
    jobs: Arc<Jobs>,
    supervisor: Supervisor<Processes>,
    processes: Processes,
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Machine {
        let folder = tempfile::tempdir().expect("folder");
        let (jobs, _woken) = Jobs::open(folder.path()).expect("opened");
        let found = vec![
            described(0, "RTX 4090", "discrete"),
            described(1, "RTX 4090", "discrete"),
            described(2, "Radeon 780M", "integrated"),
            described(3, "llvmpipe", "cpu"),
        ];
        let processes = Processes::default();
        let adapters = Arc::new(Adapters::fixed(found));
        let supervisor = Supervisor::new(Arc::clone(&jobs), adapters, processes.clone());
        Machine { jobs, supervisor, processes, folder }
    }

    /// Queues a run.
    fn queue(&self, id: &str, device: &str) {
        std::fs::create_dir_all(self.log(id).parent().expect("a folder")).expect("made");
        let new = New {
            id: id.into(),
            name: id.into(),
            config: format!("device = \"{device}\"\n"),
            config_hash: String::new(),
            preset: None,
            facts: Facts::default(),
            view: View::default(),
        };
        self.jobs.store.write(|db| Run::insert(db, &new)).expect("inserted");
        self.jobs.tell(id, Input::Start, "start").expect("a draft");
    }

    fn log(&self, id: &str) -> std::path::PathBuf {
        Path::new(self.folder.path()).join("runs").join(id).join("events.jsonl")
    }

    /// Ends the process of a run by these last words.
    fn end(&mut self, id: &str, words: impl IntoIterator<Item = Event>) {
        let mut log = EventLog::open(&self.log(id)).expect("a log");
        for event in words {
            log.append(event).expect("written");
        }
        self.processes.end(id);
        self.supervisor.tick().expect("ticked");
    }

    /// Who has a process, and the index of its adapter.
    fn launched(&mut self) -> Vec<Launched> {
        self.supervisor.tick().expect("ticked");
        self.processes.list()
    }

    fn find(&self, id: &str) -> Run {
        self.jobs.store.read(|db| Run::find(db, id)).expect("read").expect("there")
    }
}

fn on(id: &str, adapter: usize) -> Launched {
    (id.into(), Some(adapter))
}

fn finished(status: RunStatus, error: Option<&str>) -> Event {
    Event::RunFinished { status, error: error.map(str::to_owned), seconds: 1.0 }
}

/// What a process says that has taken a step on an adapter.
fn trained(adapter: &str) -> [Event; 2] {
    let (member, stage) = ("win-0".into(), "tune".into());
    let stage = StagePlan { member, stage, steps: 9, step_macs: 1, facts: None };
    [
        Event::RunStarted {
            version: String::new(),
            adapter: adapter.into(),
            adapter_kind: "discrete".into(),
            config_hash: String::new(),
            stages: vec![stage],
        },
        Event::StageStarted {
            member: "win-0".into(),
            stage: "tune".into(),
            restart: 1,
            step: 0,
            steps: 9,
            done: 0,
            memory: 1,
            micro_batches: 1,
            flops: None,
        },
    ]
}

#[test]
fn each_of_several_equal_devices_gets_a_run_and_no_other_sort_does() {
    let mut machine = Machine::new();
    for (id, device) in [("a", "auto"), ("b", "auto"), ("c", "auto"), ("d", "radeon")] {
        machine.queue(id, device);
    }
    assert_eq!(machine.launched(), [on("a", 0), on("b", 1), on("d", 2)]);
    machine.end("b", [finished(RunStatus::Done, None)]);
    assert_eq!(machine.launched(), [on("a", 0), on("d", 2), on("c", 1)]);
}

#[test]
fn a_run_that_has_begun_waits_for_an_adapter_of_the_same_name() {
    let mut machine = Machine::new();
    machine.queue("a", "vulkan");
    assert_eq!(machine.launched(), [on("a", 0)]);
    let words = trained("Radeon 780M").into_iter().chain([finished(RunStatus::Stopped, None)]);
    machine.end("a", words);
    assert_eq!(machine.launched(), [on("a", 2)]);
}

#[test]
fn a_run_on_all_devices_waits_for_them_and_is_not_overtaken() {
    let mut machine = Machine::new();
    machine.queue("a", "1");
    assert_eq!(machine.launched(), [on("a", 1)]);
    machine.queue("b", "all");
    machine.queue("c", "auto");
    machine.queue("d", "cpu");
    machine.queue("e", "llvmpipe");
    // No GPU is given to `c` before `b` has had them all; a software adapter is none of these. `cpu` is no name at all.
    assert_eq!(machine.launched(), [on("a", 1), on("e", 3)]);
    assert_eq!(machine.find("d").state, State::Failed);
    machine.end("a", [finished(RunStatus::Done, None)]);
    assert_eq!(machine.launched(), [on("e", 3), ("b".into(), None)]);
    assert_eq!(machine.find("b").slots, ["bus 0", "bus 1", "bus 2"]);
    machine.end("b", [finished(RunStatus::Done, None)]);
    assert_eq!(machine.launched(), [on("e", 3), on("c", 0)]);
}

#[test]
fn a_full_disk_pauses_a_run() {
    let mut machine = Machine::new();
    machine.queue("a", "auto");
    machine.launched();
    let full = "cannot write `checkpoint`: No space left on device (os error 28)";
    machine.end("a", [finished(RunStatus::Stopped, Some(full))]);
    let run = machine.find("a");
    assert_eq!((run.state, run.attempts), (State::Paused, 0));
    let error = run.error.expect("a sentence");
    assert_eq!(error, format!("the disk is full: {full}; free some space and resume the run"));
    machine.jobs.tell("a", Input::Resume, "be resumed").expect("paused");
    assert_eq!(machine.launched(), [on("a", 0)]);
    assert_eq!(machine.find("a").error, None);
}
