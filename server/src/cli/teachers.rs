//! Points of a grid that train the same teacher: it is trained once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use engine::config::Config;
use engine::event::{self, Entry, Event, EventLog};
use engine::formats::{FormatError, ModelFolder};
use engine::train::{Autotune, Run};

/// Sections and keys on which the bits of a teacher do not depend: who else is trained, and how students are. `seeds` says which teachers there
/// are; every other key counts, a new one as well.
const NOT_OF_A_TEACHER: [&str; 9] =
    ["methods", "seeds", "vanilla", "kd", "fitnets", "narrow", "tune", "start_only", "win"];

/// Gives the run in `folder` the finished teachers of earlier runs of this command that trained the same ones, in the same way: the files, and
/// the lines of their logs that say so. Bits are the same as if they were trained again.
pub(super) fn adopt(
    earlier: &[(PathBuf, Run)],
    folder: &Path,
    config: &Config,
    autotune: Autotune,
) -> Result<()> {
    if !config.teacher.is_trained() {
        // Its teachers are trained already.
        return Ok(());
    }
    let wanted = depends(config);
    let ours = finished(&entries(folder)?);
    let mut log = EventLog::open(&log_of(folder))?;
    let place = |run: &Path, seed: u64| run.join("teachers").join(seed.to_string());
    for (from, _) in earlier.iter().filter(|(_, run)| depends(run.config()) == wanted) {
        let theirs = entries(from)?;
        for (member, event) in finished(&theirs) {
            let Event::MemberFinished { seed, .. } = event else { continue };
            let begun = place(folder, seed).exists();
            if ours.contains_key(&member)
                || begun
                || !config.seeds.contains(&seed)
                || !alike(&theirs, &member, autotune)
            {
                continue;
            }
            ModelFolder::read(&place(from, seed))?.write(&place(folder, seed))?;
            log.append(event)?;
        }
    }
    Ok(())
}

/// Whether a teacher was trained as this command would train it: by this version, on an adapter that it uses, with tiles timed where it times
/// them. The command has taken up the run as well, if only to find it done, so the last start in the log is its own.
fn alike(log: &[Entry], teacher: &str, autotune: Autotune) -> bool {
    let (mut own, mut trained, mut tuned) = (None, None, false);
    for entry in log {
        match &entry.event {
            Event::RunStarted { version, adapter, adapter_kind, .. } => {
                own = Some((version, adapter, adapter_kind));
            }
            Event::MemberStarted { member, adapter, .. } if member == teacher => {
                trained = own.zip(adapter.as_ref()).map(|((version, ..), on)| (version, on));
            }
            Event::Autotuned { member, .. } if member == teacher => tuned = true,
            _ => {}
        }
    }
    let (Some((version, adapters, kind)), Some((then, on))) = (own, trained) else { return false };
    let wanted = match autotune {
        Autotune::Never => false,
        Autotune::OnGpus => kind != "cpu",
        Autotune::Always => true,
    };
    version == then && adapters.split(", ").any(|name| name == on) && tuned == wanted
}

fn log_of(run: &Path) -> PathBuf {
    run.join("events.jsonl")
}

/// What a teacher is a function of.
fn depends(config: &Config) -> BTreeMap<String, String> {
    let mut flat = config.flat();
    flat.retain(|key, _| counts(key));
    flat
}

/// Whether the bits of a teacher depend on a key.
fn counts(key: &str) -> bool {
    !NOT_OF_A_TEACHER.contains(&key.split('.').next().unwrap_or(key))
}

/// What the log of a run says; nothing if it has none yet.
fn entries(run: &Path) -> Result<Vec<Entry>, FormatError> {
    let log = log_of(run);
    if log.exists() { event::read(&log) } else { Ok(Vec::new()) }
}

/// The teachers that a log says are finished, by name.
fn finished(log: &[Entry]) -> BTreeMap<String, Event> {
    let teacher = |entry: &Entry| match &entry.event {
        event @ Event::MemberFinished { member, method: None, .. } => {
            Some((member.clone(), event.clone()))
        }
        _ => None,
    };
    log.iter().filter_map(teacher).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;

    #[test]
    fn a_teacher_depends_on_what_it_is_trained_on_and_not_on_win() {
        let demo = Config::preset("demo").expect("valid");
        let with = |set| depends(&demo.with_set(set).expect("valid"));
        assert_eq!(with("win.merge=map"), depends(&demo));
        assert_eq!(with("tune.lr=0.1"), depends(&demo));
        for set in [
            "teacher.factor=2",
            "wide.lr=0.1",
            "data.split_seed=1",
            "model.activation=gelu",
            "memory_budget=100000000",
            "recompute=true",
            "precision=mixed",
        ] {
            assert_ne!(with(set), depends(&demo), "{set}");
        }
    }

    /// The keys of an object in the schema, those of its sections included, with their paths.
    fn keys(schema: &Json, root: &Json, path: &str, found: &mut Vec<String>) {
        let target = |of: &Json| {
            let reference = of["$ref"].as_str().map(|r| r.trim_start_matches('#').to_owned());
            reference.and_then(|r| root.pointer(&r).cloned())
        };
        if let Some(target) = target(schema) {
            keys(&target, root, path, found);
        }
        for choice in ["oneOf", "anyOf"] {
            for of in schema[choice].as_array().into_iter().flatten() {
                keys(of, root, path, found);
            }
        }
        for (key, of) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            found.push(path.clone());
            keys(of, root, &path, found);
        }
    }

    /// Whoever adds a key need not think of teachers: it counts, unless it belongs to what is trained after them.
    #[test]
    fn every_key_of_a_configuration_counts_but_those_of_students() {
        let schema = Config::schema();
        let mut all = Vec::new();
        keys(&schema, &schema, "", &mut all);
        for key in ["memory_budget", "data.augment.flip", "model.stem", "wide.batch", "win.freeze"]
        {
            assert!(all.iter().any(|known| known == key), "the schema is walked: no {key}");
        }
        let students = ["vanilla", "kd", "fitnets", "narrow", "tune", "start_only", "win"];
        for key in &all {
            let section = key.split('.').next().unwrap_or(key);
            let of_students =
                students.contains(&section) || ["methods", "seeds"].contains(&section);
            assert_eq!(counts(key), !of_students, "{key}");
        }
        assert!(NOT_OF_A_TEACHER.iter().all(|key| all.iter().any(|known| known == key)));
        // And of a configuration that is written out none is lost.
        let flat = Config::preset("demo").expect("valid").flat();
        assert!(flat.keys().all(|key| all.contains(key)), "{flat:?}");
    }

    fn log(events: Vec<Event>) -> Vec<Entry> {
        let entry = |(seq, event)| Entry { seq, time: 0.0, event };
        (0..).zip(events).map(entry).collect()
    }

    fn started(version: &str, adapter: &str) -> Event {
        Event::RunStarted {
            version: version.into(),
            adapter: adapter.into(),
            adapter_kind: "cpu".into(),
            config_hash: String::new(),
            stages: Vec::new(),
        }
    }

    #[test]
    fn a_teacher_of_another_adapter_or_of_other_tiles_is_trained_again() {
        let teacher = |adapter: &str| Event::MemberStarted {
            member: "teacher-0".into(),
            method: None,
            seed: 0,
            params: 1,
            macs: 1,
            adapter: Some(adapter.into()),
        };
        let tuned = Event::Autotuned {
            member: "teacher-0".into(),
            stage: "wide".into(),
            step: 0,
            classes: 1,
            timed: 1,
            seconds: 0.1,
            changed: Vec::new(),
        };
        let one = log(vec![started("1", "a"), teacher("a")]);
        assert!(
            alike(&one, "teacher-0", Autotune::OnGpus) && alike(&one, "teacher-0", Autotune::Never)
        );
        assert!(
            !alike(&one, "teacher-0", Autotune::Always)
                && !alike(&one, "teacher-1", Autotune::Never)
        );
        let timed = log(vec![started("1", "a"), teacher("a"), tuned]);
        assert!(
            alike(&timed, "teacher-0", Autotune::Always)
                && !alike(&timed, "teacher-0", Autotune::Never)
        );
        for (version, adapter, same) in [("1", "b", false), ("2", "a", false), ("1", "b, a", true)]
        {
            let later = log(vec![started("1", "a"), teacher("a"), started(version, adapter)]);
            assert_eq!(alike(&later, "teacher-0", Autotune::Never), same, "{version} on {adapter}");
        }
    }
}
