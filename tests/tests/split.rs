//! One member over ranks: each batch is cut into shares, and the bits are a function of the shares, not of who runs them.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use engine::{
    config::Config,
    event::{Entry, Event},
    train::{Options, Run, TrainError},
};
use support::{
    RESNET, TEXT, checkpoints, config, curve, folder, model, models_in, train, warnings,
};
use taper_tests::{Feature, gpu_that_has, host};

/// The small configuration, whose batches ranks share, with changes.
fn split(changes: &[&str]) -> Config {
    config(&[&["split=batch"], changes].concat())
}

/// How many ranks there are, and the shares; none: they are timed.
type Ranks<'a> = (usize, Option<&'a [u32]>);

/// Trains what is left of a run; it stops behind so many lines of learning curve.
fn execute(
    run: &Run,
    out: &Path,
    (ranks, shares): Ranks<'_>,
    lines: usize,
) -> (Vec<Entry>, Result<(), TrainError>) {
    let options = Options {
        side_by_side: ranks,
        shares: shares.map(<[u32]>::to_vec),
        checkpoint_every: Duration::from_secs(3600),
        ..Options::new(out)
    };
    let (stop, mut curve, mut heard) = (AtomicBool::new(false), 0, Vec::new());
    let done = run.execute(&options, &stop, &mut |entry| {
        curve += usize::from(matches!(entry.event, Event::Step { .. }));
        stop.store(curve >= lines, Ordering::Relaxed);
        heard.push(entry.clone());
    });
    (heard, done)
}

/// Trains a whole run.
#[track_caller]
fn trained(config: &Config, ranks: Ranks<'_>) -> (tempfile::TempDir, Vec<Entry>) {
    let out = folder();
    let run = Run::create(config.clone(), out.path(), &host()).expect("an empty folder");
    let (heard, done) = execute(&run, out.path(), ranks, usize::MAX);
    done.unwrap_or_else(|error| panic!("{ranks:?}: {error}"));
    (out, heard)
}

/// The tensors of the newest checkpoint of each member and teacher, which stands behind its last stage.
fn ends(out: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let folders = ["members", "teachers"].map(|part| out.join(part));
    let members = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten());
    let end = |member: PathBuf| {
        let newest = checkpoints(&member).pop().expect("a checkpoint");
        let bytes = fs::read(&newest).expect("a file");
        // Seconds stand in the header, behind whose length the tensors lie.
        let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
        let name = newest.strip_prefix(out).expect("below").to_path_buf();
        (name, bytes[8 + header..].to_vec())
    };
    members.map(|member| end(member.expect("a folder").path())).collect()
}

/// What a run came to.
fn bits(out: &Path) -> [BTreeMap<PathBuf, Vec<u8>>; 2] {
    [models_in(out), ends(out)]
}

/// Every stage of a run: the teacher's training, narrow steps with restarts, tuning; on one to four ranks, with shares that are equal and some that are not.
#[test]
fn ranks_of_any_number_come_to_the_same_bits() {
    for shares in [&[1, 1, 1, 1][..], &[5, 2, 1]] {
        let config = split(&["win.restarts=2"]);
        let (one, heard) = trained(&config, (1, Some(shares)));
        assert_eq!(warnings(&heard), Vec::<String>::new());
        let one = bits(one.path());
        assert_eq!((one[0].len(), one[1].len()), (3, 2));
        for ranks in 2..=4 {
            let (out, heard) = trained(&config, (ranks, Some(shares)));
            assert!(bits(out.path()) == one, "{shares:?} on {ranks} ranks");
            assert_eq!(warnings(&heard), Vec::<String>::new());
        }
    }
}
