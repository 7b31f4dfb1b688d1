//! Points of a grid that train the same teacher: it is trained once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use engine::config::Config;
use engine::event::{self, Event, EventLog};
use engine::formats::{FormatError, ModelFolder};
use engine::train::Run;

/// Sections and keys on which a teacher depends, beside its seed.
const OF_A_TEACHER: [&str; 6] = ["data", "model", "teacher", "wide", "precision", "device"];

/// Gives the run in `folder` the finished teachers of the first earlier run that trained the same ones: the files, and the lines of its
/// log that say so. Bits are the same as if they were trained again.
pub(super) fn adopt(earlier: &[(PathBuf, Run)], folder: &Path, config: &Config) -> Result<()> {
    if config.teacher.from.is_some() {
        // Its teachers are trained already.
        return Ok(());
    }
    let wanted = depends(config);
    let Some((from, _)) = earlier.iter().find(|(_, run)| depends(run.config()) == wanted) else {
        return Ok(());
    };
    let (theirs, ours) = (finished(from)?, finished(folder)?);
    let mut log = EventLog::open(&log_of(folder))?;
    for (member, event) in theirs {
        let Event::MemberFinished { seed, .. } = event else { continue };
        let place = |run: &Path| run.join("teachers").join(seed.to_string());
        let begun = place(folder).exists();
        if ours.contains_key(&member) || begun || !config.seeds.contains(&seed) {
            continue;
        }
        ModelFolder::read(&place(from))?.write(&place(folder))?;
        log.append(event)?;
    }
    Ok(())
}

fn log_of(run: &Path) -> PathBuf {
    run.join("events.jsonl")
}

/// What a teacher is a function of.
fn depends(config: &Config) -> BTreeMap<String, String> {
    let mut flat = config.flat();
    flat.retain(|key, _| OF_A_TEACHER.contains(&key.split('.').next().unwrap_or(key)));
    flat
}

/// The teachers that a run has finished, by name.
fn finished(run: &Path) -> Result<BTreeMap<String, Event>, FormatError> {
    let log = log_of(run);
    let entries = if log.exists() { event::read(&log)? } else { Vec::new() };
    let teacher = |event: Event| match &event {
        Event::MemberFinished { member, method: None, .. } => Some((member.clone(), event)),
        _ => None,
    };
    Ok(entries.into_iter().filter_map(|entry| teacher(entry.event)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_teacher_depends_on_what_it_is_trained_on_and_not_on_win() {
        let demo = Config::open("demo").expect("valid");
        let with = |set| depends(&demo.with_set(set).expect("valid"));
        assert_eq!(with("win.merge=map"), depends(&demo));
        assert_eq!(with("tune.lr=0.1"), depends(&demo));
        for set in ["teacher.factor=2", "wide.lr=0.1", "data.split_seed=1", "model.activation=gelu"]
        {
            assert_ne!(with(set), depends(&demo), "{set}");
        }
    }
}
