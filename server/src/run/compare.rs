//! Members of runs, grouped by method and configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use engine::config::{self, Config, Data, Method};
use engine::data::account::Yardsticks;
use engine::device::Device;
use engine::disk::SystemDisk;
use engine::event::{self, AnswerScores, Event};
use engine::formats::{folder, verdicts};
use engine::statistics::sign_test;
use engine::train::ARTIFACTS;
use engine::verdicts::Versus;
use schemars::JsonSchema;
use serde::Serialize;

use super::latency::{self, Latency};
use crate::failure::failure;

/// Keys that say which members there are or where they ran, not how they were trained.
const NOT_TRAINING: [&str; 3] = ["seeds", "methods", "device"];

/// Members of one method and configuration, over their seeds.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Row {
    /// The method, or `teacher`.
    pub(crate) method: String,
    /// The keys in which the configurations differ; none when there is one configuration.
    pub(crate) label: Option<String>,
    /// Percent, of the last weights.
    pub(crate) accuracy_mean: f64,
    /// Sample deviation; none for one seed.
    pub(crate) accuracy_std: Option<f64>,
    /// Of text: mean loss of held-out words that are masked, in nats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) loss_mean: Option<f64>,
    /// Its sample deviation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) loss_std: Option<f64>,
    /// Of questions: mean exact match in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) em_mean: Option<f64>,
    /// Of questions: mean F1 in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) f1_mean: Option<f64>,
    /// Mean of `D[S, B]`, the root mean square difference between the outputs of a student and of its seed's teacher on the test data, over the
    /// numbers that the loss reads; none of teachers, and where it was not measured of a seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) discrepancy_mean: Option<f64>,
    /// Its sample deviation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) discrepancy_std: Option<f64>,
    pub(crate) seeds: usize,
    pub(crate) params: u64,
    pub(crate) macs: u64,
    /// Of the weights on disk; none where they are not there any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
    /// How long one picture or text takes, as far as that was measured: the first seed's on each place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) latencies: Vec<Latency>,
    /// Of the student, restarts included; mean over seeds, as all that follow. None where nobody knows, as of a teacher from elsewhere.
    pub(crate) epochs: Option<f64>,
    pub(crate) seconds: Option<f64>,
    pub(crate) teacher_epochs: Option<f64>,
    pub(crate) teacher_seconds: Option<f64>,
    /// Floating-point operations of all training steps, restarts included, as plans count them: of the student and of the teacher that it reads,
    /// forward and backward. Tests, starts and merges are not counted. None in runs of earlier versions, and where ranks shared the batches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flops: Option<f64>,
    /// Those of training the teacher that it used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) teacher_flops: Option<f64>,
}

/// Two runs that trained the same members: of one configuration and seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Repeated {
    /// The run that counts, which was named first.
    pub(crate) taken: PathBuf,
    /// The run whose members are left out.
    pub(crate) left: PathBuf,
    /// These members and teachers.
    pub(crate) members: Vec<String>,
}

/// Two methods of one configuration on the seeds that both have: with the teacher and the data of a seed the same, the difference is that of the
/// methods.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Paired {
    /// As that of their rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<String>,
    pub(crate) first: String,
    pub(crate) second: String,
    /// Seeds of both.
    pub(crate) seeds: usize,
    /// Mean of the first's accuracy minus the second's, in points of percent.
    pub(crate) difference_mean: f64,
    /// Its sample deviation; none for one seed.
    pub(crate) difference_std: Option<f64>,
    /// Seeds on which the first is better.
    pub(crate) first_better: u64,
    /// Seeds on which the second is better; on the others both are equal.
    pub(crate) second_better: u64,
    /// Exact two-sided sign test over the seeds on which they differ: how probable so uneven a split is if both are equally good.
    pub(crate) sign_test: f64,
}

/// What `--json` prints.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Comparison {
    pub(crate) rows: Vec<Row>,
    pub(crate) teachers: Vec<Row>,
    /// Every two methods of a configuration that share seeds, in the order of the rows.
    pub(crate) paired: Vec<Paired>,
    /// What counting alone reaches on the held-out text of all runs; none where they have several texts, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) yardsticks: Option<Yardsticks>,
    /// Members that are there twice.
    pub(crate) repeated: Vec<Repeated>,
    /// Members that have not finished, as `RUN/members/NAME`.
    pub(crate) unfinished: Vec<String>,
}

/// A finished member, or a teacher (without a method).
#[derive(Debug, Clone)]
struct Member {
    method: Option<Method>,
    seed: u64,
    accuracy: f64,
    loss: f64,
    answers: Option<AnswerScores>,
    discrepancy: Option<f64>,
    params: u64,
    macs: u64,
    epochs: Option<f64>,
    seconds: Option<f64>,
    teacher_epochs: Option<f64>,
    teacher_seconds: Option<f64>,
    flops: Option<f64>,
    teacher_flops: Option<f64>,
    bytes: Option<u64>,
    latencies: Vec<Latency>,
}

/// A run directory as far as it is done.
struct Run {
    path: PathBuf,
    config: Config,
    members: Vec<Member>,
    yardsticks: Option<Yardsticks>,
}

/// Members of run directories, grouped. A directory that is named twice, or by two ways, counts once.
///
/// # Errors
/// One is no run directory, or its log or configuration cannot be read.
pub(crate) fn compare(paths: &[PathBuf]) -> Result<Comparison> {
    let (mut runs, mut seen) = (Vec::new(), BTreeSet::new());
    for path in paths {
        for path in expand(path)? {
            // A run that is named twice is one run.
            if seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
                runs.push(open(path)?);
            }
        }
    }
    Ok(group(&runs))
}

/// The run directory itself, or those inside a folder that is none.
pub(crate) fn expand(path: &Path) -> Result<Vec<PathBuf>> {
    let is_run = |path: &Path| path.join("config.toml").is_file();
    if is_run(path) {
        return Ok(vec![path.into()]);
    }
    let mut inner: Vec<PathBuf> = std::fs::read_dir(path)
        .map(|entries| {
            entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| is_run(path))
                .collect()
        })
        .unwrap_or_default();
    inner.sort();
    if inner.is_empty() {
        return Err(failure(
            format!("`{}` is no run directory: it has no config.toml", path.display()),
            "`taper run PRESET --out DIR` makes one",
        ));
    }
    Ok(inner)
}

fn open(path: PathBuf) -> Result<Run> {
    let file = path.join("config.toml");
    let config = config::read(&file)?;
    let log = path.join("events.jsonl");
    let entries = if log.exists() { event::read(&log)? } else { Vec::new() };
    // The last word on a member counts: a member may have been taken up again.
    let (mut members, mut yardsticks) = (BTreeMap::new(), None);
    // Of each restart of a stage of a member; what is resumed is the same restart.
    let mut work: BTreeMap<String, BTreeMap<(String, u32), Option<f64>>> = BTreeMap::new();
    for entry in entries {
        if let Event::StageStarted { member, stage, restart, steps, flops, .. } = &entry.event {
            let flops = flops.map(|flops| flops as f64 * *steps as f64);
            work.entry(member.clone()).or_default().insert((stage.clone(), *restart), flops);
        }
        if let Event::DataRead { account } = &entry.event {
            yardsticks = account.text.as_ref().and_then(|text| text.yardsticks);
        }
        if let Event::MemberFinished {
            member,
            method,
            seed,
            accuracy,
            loss,
            answers,
            discrepancy,
            epochs,
            seconds,
            params,
            macs,
            teacher_epochs,
            teacher_seconds,
            ..
        } = entry.event
        {
            let (bytes, latencies) = on_disk(&folder_of(&path, method, seed));
            let of = |member: &str| work.get(member)?.values().copied().sum::<Option<f64>>();
            // What a member was trained by is only known where its teacher was trained in this run, or it has none.
            let teacher_flops = match teacher_epochs {
                Some(0.0) => Some(0.0),
                _ => of(&format!("teacher-{seed}")),
            };
            let done = Member {
                flops: of(&member),
                teacher_flops,
                bytes,
                latencies,
                method,
                seed,
                accuracy,
                loss,
                answers,
                discrepancy,
                params,
                macs,
                epochs,
                seconds,
                teacher_epochs,
                teacher_seconds,
            };
            members.insert(member, done);
        }
    }
    Ok(Run { path, config, members: members.into_values().collect(), yardsticks })
}

/// The folder of a member or a teacher of a run.
pub(crate) fn folder_of(run: &Path, method: Option<Method>, seed: u64) -> PathBuf {
    match method {
        Some(method) => run.join("members").join(format!("{method}-{seed}")),
        None => run.join("teachers").join(seed.to_string()),
    }
}

/// Bytes of the weights in the folder of a member or a teacher, and what was measured of its speed.
pub(crate) fn on_disk(folder: &Path) -> (Option<u64>, Vec<Latency>) {
    let weights = [folder.join(ARTIFACTS), folder.to_path_buf()];
    let size = |folder: &PathBuf| std::fs::metadata(folder.join(folder::WEIGHTS)).ok();
    let bytes = weights.iter().find_map(size).map(|file| file.len());
    // A file that is damaged says no more than one that is not there: it is measured anew.
    (bytes, latency::read(folder).unwrap_or_default())
}

/// Times the model of each method's first seed, and of the first teacher, of each run: [`latency::measure`]. Answers what could not be timed.
///
/// # Errors
/// As those of [`compare`] and [`latency::measure`].
pub(crate) fn measure(paths: &[PathBuf], gpu: &Arc<dyn Device>) -> Result<Vec<String>> {
    let mut said = BTreeSet::new();
    for path in paths {
        for path in expand(path)? {
            let run = open(path)?;
            let mut first: BTreeMap<Option<Method>, u64> = BTreeMap::new();
            for member in &run.members {
                let seed = first.entry(member.method).or_insert(member.seed);
                *seed = member.seed.min(*seed);
            }
            for (method, seed) in first {
                let folder = folder_of(&run.path, method, seed);
                let has = run
                    .members
                    .iter()
                    .any(|of| (of.method, of.seed) == (method, seed) && of.bytes.is_some());
                if !has {
                    // A teacher from elsewhere is not kept in the run.
                    said.insert(format!("`{}` has no model to be timed", folder.display()));
                } else if let Some(why) = latency::measure(&folder, gpu)? {
                    said.insert(why);
                }
            }
        }
    }
    Ok(said.into_iter().collect())
}

/// What two members, or teachers, said of the same test pictures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Pictures {
    pub(crate) first: String,
    pub(crate) second: String,
    #[serde(flatten)]
    pub(crate) versus: Versus,
}

/// Which test pictures one of two has right and the other wrong. Each is the name of a member or a teacher of one of these runs, as `win-0`, the
/// first run's that has it; or its folder.
///
/// # Errors
/// One is not there, has not been tested, reads no pictures, or was tested on others.
pub(crate) fn pictures(runs: &[PathBuf], names: [&str; 2]) -> Result<Pictures> {
    let mut found = Vec::new();
    for name in names {
        let folder = member(runs, name)?;
        let verdicts = verdicts::read_on(&SystemDisk, &folder)?.ok_or_else(|| {
            failure(
                format!("`{}` has no answers to test pictures", folder.display()),
                "members that read pictures have them once they are done; those of earlier versions do not",
            )
        })?;
        found.push(verdicts);
    }
    let versus = found[0].versus(&found[1]).ok_or_else(|| {
        failure(format!("{} and {} were not tested on the same pictures", names[0], names[1]), "")
    })?;
    Ok(Pictures { first: names[0].into(), second: names[1].into(), versus })
}

/// The folder of a member or a teacher by its name or path.
fn member(runs: &[PathBuf], name: &str) -> Result<PathBuf> {
    for path in runs {
        for run in expand(path)? {
            let folder = match name.strip_prefix("teacher-") {
                Some(seed) => run.join("teachers").join(seed),
                None => run.join("members").join(name),
            };
            if folder.is_dir() {
                return Ok(folder);
            }
        }
    }
    let folder = PathBuf::from(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    Err(failure(
        format!("no member or teacher is called `{name}`"),
        "give the name of one, as win-0 or teacher-0, or its folder",
    ))
}

/// A configuration without what says who was trained and where.
fn training(config: &Config) -> BTreeMap<String, String> {
    let mut flat = config.flat();
    NOT_TRAINING.iter().for_each(|key| drop(flat.remove(*key)));
    flat
}

/// Members by the place of their configuration, their method and their seed, with the runs that they are of.
type Groups<'a> = BTreeMap<(usize, Option<Method>), BTreeMap<u64, (&'a Path, &'a Member)>>;

/// Every two methods of one configuration on the seeds that both have.
fn paired(groups: &Groups<'_>, labels: &[Option<String>]) -> Vec<Paired> {
    let mut pairs = Vec::new();
    let students: Vec<_> =
        groups.iter().filter_map(|((place, method), of)| Some((*place, (*method)?, of))).collect();
    for (k, (place, first, one)) in students.iter().enumerate() {
        for (_, second, other) in students[k + 1..].iter().filter(|(at, ..)| at == place) {
            let difference = |(seed, (_, member)): (&u64, &(&Path, &Member))| {
                other.get(seed).map(|(_, of)| member.accuracy - of.accuracy)
            };
            let differences: Vec<f64> = one.iter().filter_map(difference).collect();
            if differences.is_empty() {
                continue;
            }
            let of = |is: fn(f64) -> bool| differences.iter().filter(|d| is(**d)).count() as u64;
            let (first_better, second_better) = (of(|d| d > 0.0), of(|d| d < 0.0));
            let (difference_mean, difference_std) = spread(&differences);
            pairs.push(Paired {
                label: labels[*place].clone(),
                first: first.name().into(),
                second: second.name().into(),
                seeds: differences.len(),
                difference_mean,
                difference_std,
                first_better,
                second_better,
                sign_test: sign_test(first_better, second_better),
            });
        }
    }
    pairs
}

fn group(runs: &[Run]) -> Comparison {
    let configs: Vec<_> = runs.iter().map(|run| training(&run.config)).collect();
    let keys: BTreeSet<&String> = configs.iter().flat_map(BTreeMap::keys).collect();
    let differing: Vec<&String> = keys
        .into_iter()
        .filter(|key| configs.iter().any(|config| config.get(*key) != configs[0].get(*key)))
        .collect();
    let label = |config: &BTreeMap<String, String>| {
        let value =
            |key: &&String| config.get(*key).map_or("absent", |value| value.trim_matches('"'));
        let parts: Vec<String> =
            differing.iter().map(|key| format!("{key}={}", value(key))).collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    };

    // In the order of configurations as given, then of methods, the teacher first; a seed counts once, that of the run that is named first.
    let mut order: Vec<Option<String>> = Vec::new();
    let mut groups: Groups<'_> = BTreeMap::new();
    let of_text = runs.iter().all(|run| matches!(run.config.data, Data::Text(_)));
    let first = runs.first().and_then(|run| run.yardsticks);
    let alike = runs.iter().all(|run| run.yardsticks == first);
    let yardsticks = first.filter(|_| alike);
    let mut comparison = Comparison { yardsticks, ..Comparison::default() };
    for (run, config) in runs.iter().zip(&configs) {
        let label = label(config);
        let place = order.iter().position(|known| *known == label).unwrap_or_else(|| {
            order.push(label);
            order.len() - 1
        });
        for member in &run.members {
            let group = groups.entry((place, member.method)).or_default();
            let (taken, _) = *group.entry(member.seed).or_insert((run.path.as_path(), member));
            if taken != run.path {
                repeat(&mut comparison.repeated, taken, &run.path, member);
            }
        }
        for &method in &run.config.methods {
            for &seed in &run.config.seeds {
                let found = |member: &&Member| member.method == Some(method) && member.seed == seed;
                if run.members.iter().find(found).is_none() {
                    comparison
                        .unfinished
                        .push(format!("{}/members/{method}-{seed}", run.path.display()));
                }
            }
        }
    }
    comparison.paired = paired(&groups, &order);
    for ((place, method), members) in groups {
        let members: Vec<&Member> = members.into_values().map(|(_, member)| member).collect();
        let row = row(method, order[place].clone(), &members, of_text);
        let rows = if method.is_some() { &mut comparison.rows } else { &mut comparison.teachers };
        rows.push(row);
    }
    comparison
}

/// Notes that a member of one run was trained by another as well.
fn repeat(all: &mut Vec<Repeated>, taken: &Path, left: &Path, member: &Member) {
    let name = format!("{}-{}", member.method.map_or("teacher", Method::name), member.seed);
    match all.iter_mut().find(|pair| pair.taken == taken && pair.left == left) {
        Some(pair) => pair.members.push(name),
        None => {
            let (taken, left) = (taken.into(), left.into());
            all.push(Repeated { taken, left, members: vec![name] });
        }
    }
}

fn row(method: Option<Method>, label: Option<String>, members: &[&Member], of_text: bool) -> Row {
    // What is not known of one is not known of all.
    let known = |number: fn(&Member) -> Option<f64>| -> Option<Vec<f64>> {
        members.iter().map(|member| number(member)).collect()
    };
    let of = |number| known(number).map(|numbers| mean(numbers.into_iter()));
    let all = |number: fn(&Member) -> f64| -> Vec<f64> {
        members.iter().map(|member| number(member)).collect()
    };
    let (accuracy_mean, accuracy_std) = spread(&all(|member| member.accuracy));
    let (loss_mean, loss_std) = spread(&all(|member| member.loss));
    let discrepancy = known(|member| member.discrepancy).map(|numbers| spread(&numbers));
    Row {
        method: method.map_or("teacher", Method::name).into(),
        label,
        accuracy_mean,
        accuracy_std,
        loss_mean: of_text.then_some(loss_mean),
        loss_std: loss_std.filter(|_| of_text),
        em_mean: of(|member| member.answers.map(|scores| scores.em)),
        f1_mean: of(|member| member.answers.map(|scores| scores.f1)),
        discrepancy_mean: discrepancy.map(|(mean, _)| mean),
        discrepancy_std: discrepancy.and_then(|(_, std)| std),
        seeds: members.len(),
        params: members[0].params,
        macs: members[0].macs,
        bytes: members[0].bytes,
        latencies: members
            .iter()
            .find(|of| !of.latencies.is_empty())
            .map_or_else(Vec::new, |of| of.latencies.clone()),
        epochs: of(|member| member.epochs),
        seconds: of(|member| member.seconds),
        teacher_epochs: of(|member| member.teacher_epochs),
        teacher_seconds: of(|member| member.teacher_seconds),
        flops: of(|member| member.flops),
        teacher_flops: of(|member| member.teacher_flops),
    }
}

/// Mean of numbers and their sample deviation, which one number does not have.
fn spread(numbers: &[f64]) -> (f64, Option<f64>) {
    let mean = mean(numbers.iter().copied());
    let squares = numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>();
    (mean, (numbers.len() > 1).then(|| (squares / (numbers.len() - 1) as f64).sqrt()))
}

fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = numbers.len();
    let mean = numbers.sum::<f64>() / count as f64;
    // Epochs are sums of steps: 2.0000000000000013 says no more than 2. What is nearly 0 is 0, and not less than it.
    (mean * 1e9).round() / 1e9 + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(method: Option<Method>, seed: u64, accuracy: f64) -> Member {
        Member {
            method,
            seed,
            accuracy,
            loss: 0.5,
            answers: None,
            discrepancy: method.map(|_| seed as f64),
            params: 1000,
            macs: 900,
            epochs: Some(24.0),
            seconds: Some(10.0 + seed as f64),
            teacher_epochs: Some(20.0),
            teacher_seconds: Some(5.0),
            flops: None,
            teacher_flops: None,
            bytes: None,
            latencies: Vec::new(),
        }
    }

    #[test]
    fn methods_are_paired_over_the_seeds_that_both_have() {
        let of = |method, all: &[f64]| {
            let one =
                move |(seed, accuracy): (usize, &f64)| member(Some(method), seed as u64, *accuracy);
            all.iter().enumerate().map(one).collect::<Vec<_>>()
        };
        let (win, kd) = ([91.0, 92.0, 90.0, 91.0], [90.0, 90.0, 90.0]);
        let members = [of(Method::Win, &win), of(Method::Kd, &kd)].concat();
        let comparison =
            group(&[run(&["methods=[\"kd\", \"win\"]", "seeds=[0, 1, 2, 3]"], members)]);
        let [pair] = &comparison.paired[..] else { panic!("a pair: {:?}", comparison.paired) };
        let expected = Paired {
            label: None,
            first: "kd".into(),
            second: "win".into(),
            seeds: 3,
            difference_mean: -1.0,
            difference_std: Some(1.0),
            first_better: 0,
            second_better: 2,
            sign_test: 0.5,
        };
        assert_eq!(*pair, expected);
    }

    #[test]
    fn of_two_runs_of_one_configuration_and_seed_the_first_counts_and_it_is_said() {
        let of = |path: &str, accuracy| {
            let members = vec![
                member(Some(Method::Win), 0, accuracy),
                member(Some(Method::Win), accuracy as u64, accuracy),
                member(None, 0, accuracy),
            ];
            Run { path: path.into(), ..run(&["methods=[\"win\"]", "seeds=[0]"], members) }
        };
        let comparison = group(&[of("a", 90.0), of("b", 80.0)]);
        let [win] = &comparison.rows[..] else { panic!("a row") };
        // Seed 0 of a, and the seeds that only one of them has.
        assert_eq!((win.seeds, win.accuracy_mean), (3, mean([90.0, 90.0, 80.0].into_iter())));
        assert_eq!(comparison.teachers[0].accuracy_mean, 90.0);
        let members = vec!["win-0".into(), "teacher-0".into()];
        let (taken, left) = ("a".into(), "b".into());
        assert_eq!(comparison.repeated, [Repeated { taken, left, members }]);
        let json = serde_json::to_value(&comparison).expect("JSON");
        assert_eq!(json["repeated"][0]["taken"], "a");
        assert_eq!(group(&[of("a", 90.0)]).repeated, []);
    }

    fn run(set: &[&str], members: Vec<Member>) -> Run {
        let demo = Config::preset("demo").expect("valid");
        let config = set.iter().fold(demo, |config, set| config.with_set(set).expect("valid"));
        Run { path: "r".into(), config, members, yardsticks: None }
    }

    #[test]
    fn seeds_are_averaged_with_the_sample_deviation() {
        let members = vec![
            member(Some(Method::Win), 0, 90.0),
            member(Some(Method::Win), 1, 92.0),
            member(Some(Method::Kd), 0, 80.0),
            member(None, 0, 95.0),
        ];
        let comparison = group(&[run(&["methods=[\"kd\", \"win\"]", "seeds=[0, 1]"], members)]);
        let [kd, win] = &comparison.rows[..] else { panic!("two rows") };
        assert_eq!((win.accuracy_mean, win.accuracy_std), (91.0, Some(2f64.sqrt())));
        assert_eq!((win.seconds, win.seeds, &win.label), (Some(10.5), 2, &None));
        assert_eq!((kd.accuracy_mean, kd.accuracy_std), (80.0, None));
        assert_eq!((win.discrepancy_mean, win.discrepancy_std), (Some(0.5), Some(0.5f64.sqrt())));
        assert_eq!((kd.discrepancy_mean, kd.discrepancy_std), (Some(0.0), None));
        assert_eq!(comparison.teachers[0].accuracy_mean, 95.0);
        assert_eq!(comparison.teachers[0].discrepancy_mean, None);
        assert_eq!(comparison.unfinished, ["r/members/kd-1"]);
    }

    #[test]
    fn runs_of_one_configuration_are_joined_and_others_labelled() {
        let win = |seed, accuracy| vec![member(Some(Method::Win), seed, accuracy)];
        let only = ["methods=[\"win\"]"];
        let comparison = group(&[
            run(&[only[0], "seeds=[0]"], win(0, 90.0)),
            run(&[only[0], "seeds=[1]", "device=1"], win(1, 91.0)),
            run(&[only[0], "seeds=[0]", "teacher.factor=2"], win(0, 89.0)),
        ]);
        assert_eq!(comparison.rows.len(), 2);
        assert_eq!(comparison.rows[0].seeds, 2);
        assert_eq!(comparison.rows[0].label.as_deref(), Some("teacher.factor=4"));
        assert_eq!(comparison.rows[1].label.as_deref(), Some("teacher.factor=2"));
    }

    #[test]
    fn the_keys_of_json_are_those_of_the_interface() {
        let comparison = group(&[run(&["seeds=[0]"], vec![member(Some(Method::Win), 0, 90.0)])]);
        let json = serde_json::to_value(&comparison).expect("JSON");
        let keys: Vec<&str> =
            json["rows"][0].as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "method",
                "label",
                "accuracy_mean",
                "accuracy_std",
                "discrepancy_mean",
                "seeds",
                "params",
                "macs",
                "epochs",
                "seconds",
                "teacher_epochs",
                "teacher_seconds"
            ]
        );
        assert!(json["rows"][0]["accuracy_std"].is_null());
    }
}
