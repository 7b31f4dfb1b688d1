//! `cargo xtask peer`: Taper beside Burn's wgpu backend and PyTorch on the CPU, written into benches/README.md.

use std::{
    env,
    ffi::OsString,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    clock::Moment,
    json::{number, string},
    page,
    shell::{self, at, cargo, executable, loud, read, works},
};

const PAGE: &str = "benches/README.md";
/// A workspace of its own, see its manifest.
const BURN: &str = "benches/peer/Cargo.toml";
const BURN_LOCK: &str = "benches/peer/Cargo.lock";
/// Its works in PyTorch.
pub(crate) const PYTORCH: &str = "benches/peer/pytorch.py";
const ROUNDS: usize = 3;

/// What a process says of one work.
#[derive(Debug, Clone, PartialEq)]
struct Timing {
    median_ms: f64,
    first_step_ms: f64,
    launches: Option<f64>,
    adapter: String,
}

/// All that was timed of one work: a list a program, of one timing a round unless it failed.
#[derive(Debug, Default)]
struct Row {
    work: String,
    taper: Vec<Timing>,
    burn: Vec<Timing>,
    pytorch: Vec<Timing>,
}

/// Builds Taper and its peers, runs each work in each of them in turn, `--rounds` times, and writes the table.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (rounds, named) = parsed(arguments)?;
    let programs = Programs::build()?;
    let works = programs.works(named)?;
    let mut rows: Vec<Row> = works.into_iter().map(|work| Row { work, ..Row::default() }).collect();
    ensure!(!rows.is_empty(), "nothing is left to compare");

    let load = load();
    let mut failed = 0;
    for round in 1..=rounds {
        for row in &mut rows {
            eprintln!("\nround {round} of {rounds}: {}", row.work);
            let mut add = |name: &str, command: Result<Command>, timings: &mut Vec<Timing>| {
                match command.and_then(|mut command| timing(&read(&mut command)?)) {
                    Ok(timing) => {
                        eprintln!("  {name}: {} ms", short(timing.median_ms));
                        timings.push(timing);
                    }
                    // An hour of other timings is not lost for one that failed.
                    Err(error) => {
                        eprintln!("  {name}: {error:#}");
                        failed += 1;
                    }
                }
            };
            add("Taper", programs.taper(&row.work), &mut row.taper);
            add("Burn", programs.burn(&row.work), &mut row.burn);
            if let Some(python) = &programs.python {
                add("PyTorch", Programs::pytorch(python, &row.work), &mut row.pytorch);
            }
        }
    }

    let text = heading(rounds, load, &programs, &rows)? + "\n" + &table(&rows);
    println!("\n{text}");
    page::write(PAGE, "peer", &text)?;
    println!("{PAGE}: the comparison is written");
    ensure!(failed == 0, "{failed} processes failed; what they were to say is missing");
    Ok(())
}

/// `--rounds N` and the works that are named.
fn parsed(arguments: &[String]) -> Result<(usize, &[String])> {
    let (rounds, named) = match arguments {
        [flag, rounds, named @ ..] if flag == "--rounds" => {
            (rounds.parse().with_context(|| format!("`{rounds}` is no number of rounds"))?, named)
        }
        named => (ROUNDS, named),
    };
    ensure!(rounds > 0, "there is no comparison without a round");
    if let Some(flag) = named.iter().find(|name| name.starts_with('-')) {
        bail!("`{flag}` is not understood; `--rounds N` comes first, then works");
    }
    Ok((rounds, named))
}

/// What is compared, as built.
struct Programs {
    taper: PathBuf,
    burn: PathBuf,
    /// Emptied before each process of Burn, so that its first step is a cold one; `taper bench` does the same by itself.
    cache: PathBuf,
    /// A Python that has PyTorch.
    python: Option<OsString>,
}

impl Programs {
    fn build() -> Result<Self> {
        let apart = shell::target()?.join("peer");
        let taper = shell::build_release()?;
        loud(
            cargo()?
                .args(["build", "--release", "--locked", "--manifest-path", BURN, "--target-dir"])
                .arg(&apart),
        )?;
        Ok(Self {
            taper,
            burn: executable(&apart.join("release"), "taper-peer"),
            cache: apart.join("cache"),
            python: python(Enough::PyTorch)?,
        })
    }

    /// The works that both Taper and Burn know, of those that are named.
    fn works(&self, named: &[String]) -> Result<Vec<String>> {
        let list = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let ours = list(read(at(&self.taper)?.args(["bench", "--list"]))?);
        let mut works = list(read(at(&self.burn)?.arg("--list"))?);
        known(named, &works)?;
        works.retain(|work| named.is_empty() || named.contains(work));
        works.retain(|work| {
            let known = ours.contains(work);
            if !known {
                eprintln!("{work} is skipped: `taper bench` does not know it");
            }
            known
        });
        Ok(works)
    }

    fn taper(&self, work: &str) -> Result<Command> {
        let mut command = at(&self.taper)?;
        command.args(["bench", work, "--json"]);
        Ok(command)
    }

    fn burn(&self, work: &str) -> Result<Command> {
        if self.cache.exists() {
            fs::remove_dir_all(&self.cache)
                .with_context(|| format!("cannot empty `{}`", self.cache.display()))?;
        }
        fs::create_dir_all(&self.cache)
            .with_context(|| format!("cannot make `{}`", self.cache.display()))?;
        let mut command = at(&self.burn)?;
        for variable in ["MESA_SHADER_CACHE_DIR", "__GL_SHADER_DISK_CACHE_PATH"] {
            command.env(variable, &self.cache);
        }
        command.arg(work);
        Ok(command)
    }

    fn pytorch(python: &OsString, work: &str) -> Result<Command> {
        let mut command = Command::new(python);
        command.args([PYTORCH, work]);
        Ok(command)
    }
}

/// That all works that are named exist.
pub(crate) fn known(named: &[String], works: &[String]) -> Result<()> {
    match named.iter().find(|name| !works.contains(name)) {
        Some(unknown) => bail!("unknown work `{unknown}`; there are {}", works.join(", ")),
        None => Ok(()),
    }
}

/// The Python that `TAPER_PYTHON` names, else `python3`, if what it has of PyTorch is enough.
pub(crate) fn python(enough: Enough) -> Result<Option<OsString>> {
    let named = env::var_os("TAPER_PYTHON");
    let python = named.clone().unwrap_or_else(|| "python3".into());
    let (check, lacks) = match enough {
        Enough::PyTorch => ("import torch", "has no PyTorch"),
        Enough::Gpu => {
            ("import torch; torch.zeros(1, device='cuda')", "has no PyTorch that finds a GPU")
        }
    };
    if works(&python, &["-c", check]) {
        return Ok(Some(python));
    }
    ensure!(named.is_none(), "`{}` of TAPER_PYTHON {lacks}", python.display());
    eprintln!("PyTorch is left out: python3 {lacks}, and TAPER_PYTHON names no other");
    Ok(None)
}

/// What is asked of a Python.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Enough {
    /// PyTorch.
    PyTorch,
    /// PyTorch that computes on a GPU.
    Gpu,
}

/// Reads the line that a process printed.
fn timing(line: &str) -> Result<Timing> {
    let found = || {
        Some(Timing {
            median_ms: number(line, "median_ms")?,
            first_step_ms: number(line, "first_step_ms")?,
            launches: number(line, "launches"),
            adapter: string(line, "adapter")?.into(),
        })
    };
    found().with_context(|| format!("`{}` is no timing", line.trim()))
}

/// What the table has to be read with.
fn heading(
    rounds: usize,
    load: Option<String>,
    programs: &Programs,
    rows: &[Row],
) -> Result<String> {
    let taper = read(at(&programs.taper)?.arg("--version"))?;
    let lock = fs::read_to_string(BURN_LOCK).with_context(|| format!("cannot read {BURN_LOCK}"))?;
    let burn = locked(&lock, "burn").with_context(|| format!("{BURN_LOCK} has no Burn"))?;
    let of = |timings: fn(&Row) -> &Vec<Timing>| {
        rows.iter().find_map(|row| Some(timings(row).first()?.adapter.as_str()))
    };
    let on = of(|row| &row.taper).unwrap_or("no adapter");
    let mut text = format!(
        "Written by `cargo xtask peer` on {}: medians of {rounds} rounds of the steps' medians, each work and program in turn, a process each.\n\
         {} and Burn {burn} (wgpu, fusion, autotune) on {on}{}",
        Moment::now().date(),
        taper.trim(),
        machine()
    );
    if let (Some(python), Some(on)) = (&programs.python, of(|row| &row.pytorch)) {
        let version = "import torch; print(torch.__version__)";
        let version = read(Command::new(python).args(["-c", version]))?;
        let on = on.strip_prefix("PyTorch ").unwrap_or(on);
        write!(text, "; PyTorch {} ({on})", version.trim())?;
    }
    text.push_str(".\n");
    if let Some(load) = load {
        write!(text, "Load of the machine in the minute before: {load}.")?;
        text.push('\n');
    }
    Ok(text)
}

/// Version of a package in a lock file.
fn locked<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let (_, rest) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    Some(rest.split_once('"')?.0)
}

/// `, 2 cores of NAME`, where the system says it.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name =
        info.lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1));
    name.map_or_else(String::new, |name| format!(", {cores} cores of {}", name.trim()))
}

/// Mean number of processes that wanted a core in the last minute, on Linux.
fn load() -> Option<String> {
    let text = fs::read_to_string(Path::new("/proc/loadavg")).ok()?;
    Some(text.split_whitespace().next()?.into())
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| work | Taper ms | Burn ms | Burn ÷ Taper | PyTorch ms | first step s, Taper / Burn | launches, Taper / Burn |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
    );
    for row in rows {
        let [taper, burn, pytorch] =
            [&row.taper, &row.burn, &row.pytorch].map(|of| median(of, |t| Some(t.median_ms)));
        let ratio = taper.zip(burn).map(|(taper, burn)| format!("{:.1}", burn / taper));
        let pair = |of: fn(&Timing) -> Option<f64>, shown: fn(f64) -> String| {
            let [taper, burn] = [&row.taper, &row.burn].map(|t| cell(median(t, of).map(shown)));
            format!("{taper} / {burn}")
        };
        let cells = [
            format!("`{}`", row.work),
            cell(taper.map(short)),
            cell(burn.map(short)),
            cell(ratio),
            cell(pytorch.map(short)),
            pair(|t| Some(t.first_step_ms / 1e3), short),
            pair(|t| t.launches, |launches| format!("{launches:.0}")),
        ];
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

/// A cell of a table; a dash where there is nothing.
pub(crate) fn cell(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".into())
}

/// The median of what the timings say, the upper one of two; none if none says it.
fn median(timings: &[Timing], of: impl Fn(&Timing) -> Option<f64>) -> Option<f64> {
    let mut values: Vec<f64> = timings.iter().filter_map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// A number with three digits or more.
pub(crate) fn short(number: f64) -> String {
    match number {
        100.0.. => format!("{number:.0}"),
        10.0.. => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(median_ms: f64, launches: Option<f64>) -> Timing {
        Timing { median_ms, first_step_ms: 1e3 * median_ms, launches, adapter: "a".into() }
    }

    #[test]
    fn a_line_of_any_of_the_programs_is_a_timing() {
        let line = r#"{"work":"w","median_ms":2.5,"min_ms":2.0,"runs":10,"gflops":1.0,"launches":null,"first_step_ms":9.0,"peak_bytes":null,"adapter":"cpu"}"#;
        let expected =
            Timing { median_ms: 2.5, first_step_ms: 9.0, launches: None, adapter: "cpu".into() };
        assert_eq!(timing(line).expect("a timing"), expected);
        assert!(timing("error").is_err());
    }

    #[test]
    fn rows_have_medians_of_rounds_and_dashes_for_what_is_missing() {
        let row = Row {
            work: "w".into(),
            taper: vec![of(3.0, Some(7.0)), of(1.0, Some(7.0)), of(2.0, Some(7.0))],
            burn: vec![of(250.0, None), of(50.0, None), of(60.0, None)],
            pytorch: Vec::new(),
        };
        let text = table(&[row]);
        let last = text.lines().last().expect("a row");
        assert_eq!(last, "| `w` | 2.00 | 60.0 | 30.0 | – | 2.00 / 60.0 | 7 / – |");
    }

    #[test]
    fn rounds_come_before_works() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(parsed(&words("--rounds 5 a")).expect("fine"), (5, &words("a")[..]));
        assert_eq!(parsed(&words("a b")).expect("fine"), (ROUNDS, &words("a b")[..]));
        assert!(parsed(&words("--rounds 0")).is_err());
        assert!(parsed(&words("a --rounds 5")).is_err());
    }

    #[test]
    fn the_lock_file_says_which_burn_is_meant() {
        let lock = fs::read_to_string(shell::root().join(BURN_LOCK)).expect("there");
        assert!(locked(&lock, "burn").expect("Burn").starts_with("0.22."));
    }
}
