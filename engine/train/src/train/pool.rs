//! Which member is trained next, and on which device: members are independent of each other, but for the teacher of their seed.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{journal::Journal, outline::Planned, past::Past};

/// How often a device that waits for a teacher looks whether the run was stopped.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Running,
    Done,
}

#[derive(Debug)]
struct Slot {
    planned: Planned,
    /// Index of the teacher that it needs.
    teacher: Option<usize>,
    /// The adapter that began it, if the run still has it. Only that one goes on with it, so that it ends with the bits of an uninterrupted run.
    adapter: Option<String>,
    phase: Phase,
}

/// The members and teachers of a run.
#[derive(Debug)]
pub(super) struct Pool {
    slots: Mutex<Vec<Slot>>,
    changed: Condvar,
}

impl Pool {
    /// Of what is `planned`, a teacher before those that need it; `adapters` are the names of the run's.
    pub(super) fn new(planned: Vec<Planned>, adapters: &[&str], journal: &Journal<'_>) -> Pool {
        let mut slots: Vec<Slot> = Vec::new();
        for planned in planned {
            let Past { begun, finished, .. } = journal.past(&planned.name);
            let needs = planned.method.is_some_and(|method| method.needs_teacher());
            let is_teacher =
                |of: &Slot| of.planned.method.is_none() && of.planned.seed == planned.seed;
            slots.push(Slot {
                // Imported teachers are not members: then there is none to wait for.
                teacher: if needs { slots.iter().position(is_teacher) } else { None },
                adapter: begun.filter(|name| adapters.contains(&name.as_str())),
                phase: if finished.is_some() { Phase::Done } else { Phase::Waiting },
                planned,
            });
        }
        Pool { slots: Mutex::new(slots), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first member that an adapter of this name can train; waits while others train what it needs. None once there is nothing left for
    /// the adapter, or `stopped` says so.
    pub(super) fn take(&self, adapter: &str, stopped: impl Fn() -> bool) -> Option<Planned> {
        let mut slots = self.lock();
        while !stopped() {
            let mine = |slot: &Slot| {
                slot.phase == Phase::Waiting
                    && slot.adapter.as_ref().is_none_or(|name| name == adapter)
            };
            let taught = |slot: &Slot| {
                slot.teacher.is_none_or(|teacher| slots[teacher].phase == Phase::Done)
            };
            if let Some(found) = slots.iter().position(|slot| mine(slot) && taught(slot)) {
                let slot = &mut slots[found];
                (slot.phase, slot.adapter) = (Phase::Running, Some(adapter.into()));
                return Some(slot.planned.clone());
            }
            if !slots.iter().any(mine) {
                return None;
            }
            let waited = self.changed.wait_timeout(slots, LOOK);
            slots = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        None
    }

    /// Says what became of a member that was taken: it is trained, or waits to be taken again.
    pub(super) fn put(&self, name: &str, trained: bool) {
        let mut slots = self.lock();
        if let Some(slot) = slots.iter_mut().find(|slot| slot.planned.name == name) {
            slot.phase = if trained { Phase::Done } else { Phase::Waiting };
        }
        self.changed.notify_all();
    }

    /// Whether all are trained.
    pub(super) fn is_done(&self) -> bool {
        self.lock().iter().all(|slot| slot.phase == Phase::Done)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        clock::{Clock, SystemClock},
        config::{Config, Method},
        disk::SystemDisk,
        event::Event,
        train::outline::planned,
    };

    fn pool(log: &[Event], adapters: &[&str]) -> Pool {
        let folder = tempfile::tempdir().expect("folder");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let path = folder.path().join("events.jsonl");
        let journal = Journal::open(&path, &SystemDisk, &clock, &|_| ()).expect("a log");
        for event in log {
            journal.append(event.clone()).expect("written");
        }
        let methods = vec![Method::Vanilla, Method::Kd];
        let config = Config { methods, seeds: vec![0, 1], ..Config::default() };
        Pool::new(planned(&config), adapters, &journal)
    }

    fn started(member: &str, adapter: &str) -> Event {
        Event::MemberStarted {
            member: member.into(),
            method: None,
            seed: 0,
            params: 1,
            macs: 1,
            adapter: Some(adapter.into()),
        }
    }

    fn take(pool: &Pool, adapter: &str) -> Option<String> {
        pool.take(adapter, || false).map(|planned| planned.name)
    }

    #[test]
    fn members_wait_for_their_teacher_only() {
        let pool = pool(&[], &["a", "b"]);
        let order = ["teacher-0", "vanilla-0", "teacher-1", "vanilla-1"];
        for (name, adapter) in order.into_iter().zip(["a", "b", "b", "a"]) {
            assert_eq!(take(&pool, adapter).as_deref(), Some(name));
        }
        pool.put("teacher-1", true);
        assert_eq!(take(&pool, "a").as_deref(), Some("kd-1"));
        // What is given back is taken up where it was begun.
        pool.put("teacher-0", false);
        assert_eq!(take(&pool, "a").as_deref(), Some("teacher-0"));
        assert!(pool.take("b", || true).is_none());
        for name in ["teacher-0", "vanilla-0", "vanilla-1", "kd-1"] {
            assert!(!pool.is_done());
            pool.put(name, true);
        }
        assert_eq!(take(&pool, "b").as_deref(), Some("kd-0"));
        pool.put("kd-0", true);
        assert!(pool.is_done() && take(&pool, "a").is_none());
    }

    #[test]
    fn a_device_waits_for_a_teacher_that_another_trains() {
        let pool = pool(&[], &["a"]);
        let order: Vec<_> = (0..4).filter_map(|_| take(&pool, "a")).collect();
        assert_eq!(order.len(), 4);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| take(&pool, "a"));
            pool.put("teacher-0", true);
            assert_eq!(waiting.join().expect("no panic").as_deref(), Some("kd-0"));
        });
    }

    #[test]
    fn what_was_begun_goes_on_where_it_was() {
        let log = [started("teacher-0", "a"), started("vanilla-0", "gone")];
        let pool = pool(&log, &["a", "b"]);
        assert_eq!(take(&pool, "b").as_deref(), Some("vanilla-0"));
        assert_eq!(take(&pool, "a").as_deref(), Some("teacher-0"));
    }
}
