//! That the fuzz notices what it is there to notice. `cargo xtask fuzz` runs it.

use std::{fs, path::Path, time::Duration};

use taper_tests::fuzz::{
    Case, Kind,
    drive::{self, Count, Plan},
    seeds::Seeds,
    work::{Trip, Work},
};

fn plan(folder: &Path, trips: Vec<(u64, Trip)>) -> Plan {
    let kinds = vec![Kind::Idx, Kind::Safetensors];
    Plan {
        worker: env!("CARGO_BIN_EXE_fuzz").into(),
        work: Work { seeds: folder.join("seeds"), seed: 5, kinds, trips },
        inputs: 0..24,
        processes: 2,
        patience: Duration::from_secs(20),
        memory: 1 << 30,
        kept: folder.join("failed"),
        most: 100,
    }
}

#[test]
fn every_way_to_fail_is_seen_and_its_input_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let trips = vec![
        (2, Trip::Panic),
        (5, Trip::Thread),
        (7, Trip::Abort),
        (11, Trip::Flood),
        (13, Trip::Differ),
    ];
    let report = drive::run(&plan(folder.path(), trips)).expect("run");
    let failed: Vec<(u64, &str)> =
        report.failures.iter().map(|failure| (failure.number, failure.how.as_str())).collect();
    let numbers: Vec<u64> = failed.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [2, 5, 7, 11, 13], "{failed:?}");
    for ((_, how), word) in failed.iter().zip(["tripped", "tripped", "signal", "memory", "wrong"]) {
        assert!(how.contains(word), "{how}");
    }
    let tried = |count: &Count| count.refused + count.same + count.other + count.failed;
    assert_eq!(report.counts.values().map(tried).sum::<u64>(), 24);
    let seeds = Seeds::open(&folder.path().join("seeds"));
    let case = Case::new(&seeds, &[Kind::Idx, Kind::Safetensors], 5, 7);
    for (name, bytes) in &case.files {
        let kept = folder.path().join("failed/5-7/input").join(name);
        assert_eq!(fs::read(kept).expect("kept"), *bytes, "{name}");
    }
}

#[test]
fn a_worker_that_hangs_is_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let plan = Plan {
        patience: Duration::from_secs(5),
        processes: 1,
        inputs: 0..4,
        ..plan(folder.path(), vec![(1, Trip::Hang)])
    };
    let report = drive::run(&plan).expect("run");
    let hung = report.failures.iter().find(|failure| failure.number == 1).expect("it hangs");
    assert!(hung.how.starts_with("hung for"), "{}", hung.how);
    assert!(report.counts.values().map(|count| count.failed).sum::<u64>() < 4);
}

#[test]
fn an_input_is_a_function_of_seed_and_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = (Seeds::open(folder.path()), Seeds::open(folder.path()));
    let kinds = one.kinds();
    assert!(kinds.len() >= 9, "{kinds:?}");
    let mut changed = 0;
    for number in 0..100 {
        let case = Case::new(&one, &kinds, 3, number);
        assert_eq!(case, Case::new(&two, &kinds, 3, number));
        changed += usize::from(case.files != case.seed);
    }
    assert!(changed > 80, "{changed}");
}
