//! One member over ranks: each batch is cut into shares, and the bits are a function of the shares, not of who runs them.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use engine::{
    config::Config,
    device::{AdapterDescription, Device, DeviceError, Devices, Executor},
    disk::SystemDisk,
    event::{Entry, Event, Scaling},
    formats::safetensors,
    nn::Weights,
    plan::{Plan, Target},
    profile::Peaks,
    train::{Host, Options, Run, TrainError},
};
use support::{
    RESNET, TEXT, checkpoints, config, curve, files, folder, model, models_in, on, train, warnings,
};
use taper_tests::{Feature, gpu, gpu_that_has, host};

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
        same_bits(&["win.restarts=2"], shares, &[2, 3, 4]);
    }
}

/// Batch norm's running statistics are among the bits.
#[test]
fn ranks_come_to_the_same_bits_with_batch_norm() {
    let methods = [r#"methods=["vanilla","kd"]"#, "wide.steps=6", "vanilla.steps=6", "kd.steps=3"];
    same_bits(&[&RESNET[..], &methods].concat(), &[5, 2, 1], &[2, 3]);
}

/// Each part of a batch draws its own random numbers.
#[test]
fn ranks_come_to_the_same_bits_on_text() {
    let drawn = ["text.nsp=true", "model.dropout=0.1", "model.attention_dropout=0.1"];
    same_bits(&[&TEXT[..], &drawn].concat(), &[1, 2, 1], &[3]);
}

/// A run on one rank has the bits of runs on so many.
fn same_bits(changes: &[&str], shares: &[u32], others: &[usize]) {
    let config = split(changes);
    let (one, heard) = trained(&config, (1, Some(shares)));
    assert_eq!(warnings(&heard), Vec::<String>::new());
    let one = bits(one.path());
    for &ranks in others {
        let (out, heard) = trained(&config, (ranks, Some(shares)));
        assert!(bits(out.path()) == one, "{changes:?}: {shares:?} on {ranks} ranks");
        assert_eq!(warnings(&heard), Vec::<String>::new());
    }
}

/// A batch in one share of one part is the batch.
#[test]
fn one_share_of_one_part_is_a_run_that_is_not_split() {
    let changes = [&RESNET[..], &[r#"methods=["vanilla"]"#, "vanilla.steps=4"]].concat();
    let whole = folder();
    train(&config(&changes), whole.path());
    let (out, _) = trained(&split(&changes), (1, Some(&[1])));
    assert_eq!(models_in(out.path()), models_in(whole.path()));
}

/// The trained student of a baseline.
fn student(out: &Path) -> Weights {
    model(&out.join("members/vanilla-0/artifacts")).weights
}

/// ‖a − b‖ / ‖b‖ over all tensors.
fn apart(a: &Weights, b: &Weights) -> f64 {
    let (mut off, mut norm) = (0.0, 0.0);
    for (name, b) in b {
        for (a, b) in a[name].data.iter().zip(&b.data) {
            off += f64::from(a - b).powi(2);
            norm += f64::from(*b).powi(2);
        }
    }
    (off / norm).sqrt()
}

/// Losses and weights of a run in several shares are those of one share, which [`one_share_of_one_part_is_a_run_that_is_not_split`] is about, but for
/// roundings.
fn close(changes: &[&str], ranks: Ranks<'_>, reference: &[u32]) {
    let sgd = [r#"methods=["vanilla"]"#, "vanilla.optimizer=sgd", "vanilla.lr=0.05"];
    let changes = [changes, &sgd, &["vanilla.steps=4"]].concat();
    let (whole, heard) = trained(&split(&changes), (1, Some(reference)));
    let (out, told) = trained(&split(&changes), ranks);
    let losses = |heard: &[Entry]| curve(heard).into_iter().map(|(.., loss)| loss).collect();
    let (wanted, found): (Vec<f64>, Vec<f64>) = (losses(&heard), losses(&told));
    assert_eq!((wanted.len(), found.len()), (4, 4));
    let off = wanted.iter().zip(&found).map(|(a, b)| (b / a - 1.0).abs()).fold(0.0, f64::max);
    let weights = apart(&student(out.path()), &student(whole.path()));
    println!("{changes:?}: losses off by {off:.1e}, weights by {weights:.1e}");
    assert!(off <= 1e-6, "{changes:?}: {found:?}, of the whole {wanted:?}");
    assert!(weights <= 1e-6, "{changes:?}: weights off by {weights:.1e}");
}

/// What slices of a batch come to is the batch's: losses and weights of a network without batch norm, also where the folded gradients are clipped.
#[test]
fn shares_add_up_to_the_batch() {
    for clip in [None, Some("vanilla.clip_norm=0.05")] {
        let changes: Vec<&str> = clip.into_iter().collect();
        close(&changes, (3, Some(&[5, 2, 1])), &[1]);
    }
}

/// The means of a text are over the labels of the whole batch, of which slices have more and fewer.
#[test]
fn labels_are_counted_over_the_whole_batch() {
    close(&[&TEXT[..], &["text.nsp=true"]].concat(), (3, Some(&[5, 2, 1])), &[1]);
    close(&TEXT, (2, Some(&[3, 1])), &[1]);
}

/// Batch norm normalises by a part and moves its statistics once for each, in their order, whoever runs them: as in one share of all parts, which are
/// PyTorch's micro-batches (`batch_norm_in_micro_batches` in `training.rs`).
#[test]
fn batch_norm_goes_through_the_shares_in_their_order() {
    close(&RESNET, (3, Some(&[5, 2, 1])), &[8]);
}

/// Trains a run to its end with stops, by another number of ranks each time; how many stops there were.
fn with_stops(config: &Config, out: &Path, shares: &[u32], lines: usize) -> usize {
    let mut run = Run::create(config.clone(), out, &host()).expect("an empty folder");
    for stops in 0..40 {
        let (_, done) = execute(&run, out, (1 + (stops + 2) % 4, Some(shares)), lines);
        match done {
            Ok(()) => return stops,
            Err(TrainError::Stopped(_)) => {}
            Err(error) => panic!("{error}"),
        }
        drop(run);
        run = Run::resume(out, &host()).expect("a run");
    }
    panic!("it never ends")
}

#[test]
fn stopped_and_taken_up_by_other_ranks_it_comes_to_the_same_bits() {
    let resnet = [&RESNET[..], &[r#"methods=["vanilla"]"#]].concat();
    for (changes, lines) in [(&["win.restarts=2"][..], 13), (&resnet, 5)] {
        let config = split(changes);
        let (whole, _) = trained(&config, (2, Some(&[5, 2, 1])));
        let out = folder();
        let stops = with_stops(&config, out.path(), &[5, 2, 1], lines);
        assert!(stops >= 2, "{changes:?}: stopped {stops} times");
        assert!(bits(out.path()) == bits(whole.path()), "{changes:?} after {stops} stops");
    }
}

/// The shares of each stage as the log has them.
fn told(heard: &[Entry]) -> Vec<(String, String)> {
    let shares = |message: &str| {
        let (stage, rest) = message.split_once(": each batch")?;
        let (_, shares) = rest.split_once("in shares of ")?;
        Some((stage.to_owned(), shares.split(" on ").next()?.to_owned()))
    };
    let of = |entry: &Entry| match &entry.event {
        Event::Log { message } => shares(message),
        _ => None,
    };
    heard.iter().filter_map(of).collect()
}

/// Shares are timed once a stage: fewer ranks go on with them.
#[test]
fn shares_that_were_timed_are_kept() {
    let config = split(&[r#"methods=["vanilla"]"#]);
    let out = folder();
    let run = Run::create(config, out.path(), &host()).expect("an empty folder");
    let (heard, done) = execute(&run, out.path(), (3, None), 3);
    assert!(matches!(done, Err(TrainError::Stopped(_))));
    let [(stage, shares)] = &told(&heard)[..] else { panic!("{heard:?}") };
    assert_eq!(stage, "vanilla-0 vanilla");
    drop(run);
    let run = Run::resume(out.path(), &host()).expect("a run");
    let (heard, done) = execute(&run, out.path(), (1, None), usize::MAX);
    done.expect("trained");
    assert_eq!(told(&heard), [(stage.clone(), shares.clone())]);
    let exchange = heard.iter().find_map(|entry| match entry.event {
        Event::Step { exchange, .. } => exchange,
        _ => None,
    });
    assert_eq!(exchange.expect("it is said").bytes, 0, "there is no other rank");
}

/// Copies a folder.
fn copied(from: &Path) -> tempfile::TempDir {
    let to = folder();
    for file in files(from) {
        let path = to.path().join(file.strip_prefix(from).expect("below"));
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::copy(&file, path).expect("copied");
    }
    to
}

/// Gradients of a loss that is scaled too much overflow: then no rank takes the step, and the scale is halved for all.
#[test]
fn an_infinity_in_any_share_skips_the_step_everywhere() {
    let Some(gpu) = gpu_that_has(Feature::F16) else { return };
    let on = on(&gpu);
    let mixed = ["precision=mixed", &on, r#"methods=["vanilla"]"#, "vanilla.clip_norm=0.5"];
    let config = split(&[&RESNET[..], &mixed, &["vanilla.epochs=4"]].concat());
    let (begun, shares) = (folder(), Some(&[1, 1, 2][..]));
    let run = Run::create(config, begun.path(), &host()).expect("an empty folder");
    let (_, done) = execute(&run, begun.path(), (1, shares), 2);
    assert!(matches!(done, Err(TrainError::Stopped(_))));
    drop(run);
    let newest = checkpoints(&begun.path().join("members/vanilla-0")).pop().expect("a checkpoint");
    let (tensors, mut metadata) = safetensors::read(&newest).expect("whole");
    let mut place: serde_json::Value = serde_json::from_str(&metadata["taper"]).expect("JSON");
    place["loss_scale"]["scale"] = 2f64.powi(28).into();
    metadata.insert("taper".into(), place.to_string());
    safetensors::write_with_sum(&SystemDisk, &newest, &tensors, &metadata).expect("written");
    let ended = |ranks: usize| {
        let out = copied(begun.path());
        let run = Run::resume(out.path(), &host()).expect("a run");
        let (heard, done) = execute(&run, out.path(), (ranks, shares), usize::MAX);
        done.expect("trained");
        let last = heard.iter().rev().find_map(|entry| match entry.event {
            Event::Step { scaling, .. } => scaling,
            _ => None,
        });
        (last.expect("it is scaled"), bits(out.path()))
    };
    let (scaling, one) = ended(1);
    let Scaling { scale, skipped } = scaling;
    println!("{skipped} steps skipped, down to {scale}");
    assert!(skipped > 0 && scale == 2f64.powi(28 - skipped as i32));
    for ranks in [2, 3] {
        let (told, found) = ended(ranks);
        assert_eq!(told, scaling, "{ranks} ranks");
        assert!(found == one, "other bits on {ranks} ranks");
    }
}

/// A device that is pulled out once it is opened for the second time.
#[derive(Debug)]
struct Frail {
    device: Arc<dyn Device>,
    works: bool,
}

impl Device for Frail {
    fn adapter(&self) -> &AdapterDescription {
        self.device.adapter()
    }

    fn target(&self) -> Target {
        self.device.target()
    }

    fn prepare(self: Arc<Self>, plan: Plan) -> Result<Box<dyn Executor>, DeviceError> {
        match self.works {
            true => Arc::clone(&self.device).prepare(plan),
            false => Err(DeviceError::Lost("it was pulled out".into())),
        }
    }

    fn reopen(&self) -> Result<Arc<dyn Device>, DeviceError> {
        Ok(Arc::new(Self { device: Arc::clone(&self.device), works: false }))
    }

    fn peaks(self: Arc<Self>) -> Result<Peaks, DeviceError> {
        Arc::clone(&self.device).peaks()
    }

    fn check_timestamps(&self) -> Result<(), DeviceError> {
        self.device.check_timestamps()
    }
}

#[derive(Debug)]
struct Pulled(Arc<dyn Device>);

impl Devices for Pulled {
    fn open(&self, _: &str, _: Option<u64>) -> Result<Vec<Arc<dyn Device>>, DeviceError> {
        Ok(vec![Arc::new(Frail { device: Arc::clone(&self.0), works: true })])
    }
}

/// The error of a rank ends the run in a sentence; fewer ranks go on with it.
#[test]
fn a_rank_that_fails_ends_the_run_and_it_goes_on_without() {
    let Some(gpu) = gpu() else { return };
    let config = split(&[r#"methods=["vanilla"]"#]);
    let out = folder();
    let run = Run::create(config.clone(), out.path(), &Host::native(Pulled(gpu)));
    let run = run.expect("an empty folder");
    let (heard, done) = execute(&run, out.path(), (2, Some(&[1, 1])), usize::MAX);
    let error = done.expect_err("the second device is lost").to_string();
    assert_eq!(error, "rank 1 has failed: the device was lost: it was pulled out");
    let last = heard.last().map(|entry| entry.event.clone());
    let said = Some(error);
    assert!(matches!(last, Some(Event::RunFinished { error, .. }) if error == said));
    drop(run);
    let run = Run::resume(out.path(), &host()).expect("a run");
    execute(&run, out.path(), (1, Some(&[1, 1])), usize::MAX).1.expect("trained");
    let (whole, _) = trained(&config, (2, Some(&[1, 1])));
    assert!(bits(out.path()) == bits(whole.path()));
}

#[test]
fn shares_that_are_no_equal_parts_are_refused() {
    let out = folder();
    let run = Run::create(split(&[]), out.path(), &host()).expect("an empty folder");
    let error = execute(&run, out.path(), (2, Some(&[2, 1])), usize::MAX).1.expect_err("a third");
    assert_eq!(
        error.to_string(),
        "shares of [2, 1] parts are 3 parts, and a batch of 32 is not cut into as many equal ones"
    );
}

/// A configuration says that batches are split only where they are.
#[test]
fn the_key_stands_where_it_was_written() {
    assert!(!config(&["split=members"]).to_toml().contains("split = "));
    assert_eq!(config(&["split=members"]).hash(), config(&[]).hash());
    assert!(split(&[]).to_toml().contains("split = \"batch\"\n"));
}
