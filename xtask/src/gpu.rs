//! `cargo xtask gpu`: what a GPU does with the works of `taper bench`, beside PyTorch on the same GPU, written into benches/README.md.

use std::{ffi::OsStr, path::PathBuf, process::Command};

use anyhow::{Result, ensure};

use crate::{
    clock::Moment,
    json::{number, string},
    page,
    peer::{self, Enough, cell, short},
    shell::{self, at, read},
};

const PAGE: &str = "benches/README.md";

/// What was measured of one work; what failed is missing.
#[derive(Debug, Default, PartialEq)]
struct Row {
    work: String,
    timing: Option<Timing>,
    /// Milliseconds of a step with the tiles that the autotuner found.
    tuned_ms: Option<f64>,
    profile: Option<Profile>,
    pytorch_ms: Option<f64>,
}

/// The line of a timing.
#[derive(Debug, PartialEq)]
struct Timing {
    adapter: String,
    median_ms: f64,
    gflops: f64,
}

/// The line of a profile.
#[derive(Debug, PartialEq)]
struct Profile {
    /// The adapter's peaks, GFLOP/s and GB/s.
    peaks: [f64; 2],
    roofline_ms: f64,
    busy: f64,
}

/// Builds `taper`, then times, autotunes and profiles each work, those for GPUs first; `named` chooses some.
pub(crate) fn run(named: &[String]) -> Result<()> {
    let taper = Taper(shell::build_release()?);
    let (large, others) = (taper.works(true)?, taper.works(false)?);
    let mut works = [&large[..], &others].concat();
    peer::known(named, &works)?;
    works.retain(|work| named.is_empty() || named.contains(work));
    let python = peer::python(Enough::Gpu)?;
    let trace = shell::target()?.join("gpu-profile.json");

    let mut failed = 0;
    let mut rows = Vec::new();
    for work in works {
        eprintln!("\n{work}");
        let large = large.contains(&work);
        let mut said = |what: &str, line: Result<String>| match line {
            Ok(line) => Some(line),
            // What else was measured is not lost for one that failed.
            Err(error) => {
                eprintln!("  {what}: {error:#}");
                failed += 1;
                None
            }
        };
        let plain = said("timing", taper.bench(&work, large, &["--json"]));
        let tuned = said("with tuned tiles", taper.bench(&work, large, &["--json", "--autotune"]));
        let flag = format!("--profile={}", trace.display());
        let profile = said("profile", taper.bench(&work, large, &["--json", &flag]));
        // Works that PyTorch does not have are no failure.
        let pytorch = python.as_deref().and_then(|python| pytorch(python, &work).ok());
        rows.push(Row {
            timing: plain.as_deref().and_then(timing),
            tuned_ms: tuned.as_deref().and_then(|line| number(line, "median_ms")),
            profile: profile.as_deref().and_then(self::profile),
            pytorch_ms: pytorch.as_deref().and_then(|line| number(line, "median_ms")),
            work,
        });
    }
    let text = heading(&rows) + "\n" + &table(&rows);
    println!("\n{text}");
    page::write(PAGE, "gpu", &text)?;
    println!("{PAGE}: the GPU's figures are written");
    ensure!(failed == 0, "{failed} processes failed; what they were to say is missing");
    Ok(())
}

/// The program.
struct Taper(PathBuf);

impl Taper {
    /// Its large works, or the others.
    fn works(&self, large: bool) -> Result<Vec<String>> {
        let text = read(at(&self.0)?.args(["bench", "--list"]).args(large.then_some("--large")))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn bench(&self, work: &str, large: bool, flags: &[&str]) -> Result<String> {
        read(at(&self.0)?.args(["bench", work]).args(large.then_some("--large")).args(flags))
    }
}

fn pytorch(python: &OsStr, work: &str) -> Result<String> {
    read(Command::new(python).args([peer::PYTORCH, "--cuda", work]))
}

fn timing(line: &str) -> Option<Timing> {
    Some(Timing {
        adapter: string(line, "adapter")?.into(),
        median_ms: number(line, "median_ms")?,
        gflops: number(line, "gflops")?,
    })
}

/// The first `gflops` of the line is the peak; it has one stage.
fn profile(line: &str) -> Option<Profile> {
    Some(Profile {
        peaks: [number(line, "gflops")?, number(line, "gbytes")?],
        roofline_ms: number(line, "floor_ms")?,
        busy: number(line, "busy")?,
    })
}

/// What the table has to be read with; peaks only if the adapter has timestamps, without which nothing is profiled.
fn heading(rows: &[Row]) -> String {
    let on = rows.iter().find_map(|row| Some(row.timing.as_ref()?.adapter.as_str()));
    let peaks = rows.iter().find_map(|row| Some(row.profile.as_ref()?.peaks));
    let peaks = peaks.map_or_else(String::new, |[gflops, gbytes]| {
        format!(", which was seen to do {gflops:.0} GFLOP/s of f32 and {gbytes:.0} GB/s")
    });
    format!(
        "Written by `cargo xtask gpu` on {}, on {}{peaks}.\n\
         The roofline bound is the sum over a step's dispatches of the time that their operations or their bytes take at these rates. PyTorch has TF32 off.\n",
        Moment::now().date(),
        on.unwrap_or("no adapter"),
    )
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| work | Taper ms | tuned ms | GFLOP/s | roofline ms | share of the roofline % | busy % | a second | PyTorch ms | Taper's share of PyTorch's rate % |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for row in rows {
        let ms = row.timing.as_ref().map(|timing| timing.median_ms);
        let best = [ms, row.tuned_ms].into_iter().flatten().min_by(f64::total_cmp);
        let profile = row.profile.as_ref();
        let roofline = profile.map(|profile| profile.roofline_ms);
        let percent = |of: Option<f64>| cell(of.map(|share| format!("{:.0}", 100.0 * share)));
        let cells = [
            format!("`{}`", row.work),
            cell(ms.map(short)),
            cell(row.tuned_ms.map(short)),
            cell(row.timing.as_ref().map(|timing| short(timing.gflops))),
            cell(roofline.map(short)),
            percent(roofline.zip(best).map(|(roofline, best)| roofline / best)),
            cell(profile.map(|profile| format!("{:.1}", 100.0 * profile.busy))),
            cell(batch(&row.work).zip(best).map(|(batch, ms)| short(1e3 * batch / ms))),
            cell(row.pytorch_ms.map(short)),
            percent(row.pytorch_ms.zip(best).map(|(pytorch, best)| pytorch / best)),
        ];
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

/// Images of a step: the number behind `_n` or `_b` in a training step's name.
fn batch(work: &str) -> Option<f64> {
    let parts = || work.split('_');
    let trains = parts().any(|part| matches!(part, "sgdm" | "adam" | "narrow"));
    let number = |part: &str| part.strip_prefix(['n', 'b'])?.parse().ok();
    parts().find_map(number).filter(|_| trains)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_program_are_read() {
        let line = r#"{"work":"w","median_ms":2.5,"gflops":100.0,"launches":1,"adapter":"a"}"#;
        assert_eq!(
            timing(line),
            Some(Timing { adapter: "a".into(), median_ms: 2.5, gflops: 100.0 })
        );
        let line = r#"{"path":"p","adapter":"a","peaks":{"gflops":87.5,"gbytes":15.5},"stages":[{"owner":"w","busy":0.5,"floor_ms":2.0}],"kernels":[{"gflops":1.0,"floor":0.4}]}"#;
        let expected = Profile { peaks: [87.5, 15.5], roofline_ms: 2.0, busy: 0.5 };
        assert_eq!(profile(line), Some(expected));
    }

    #[test]
    fn only_steps_of_a_training_have_images_a_second() {
        assert_eq!(batch("resnet50_n64_hw224_sgdm"), Some(64.0));
        assert_eq!(batch("win_narrow_b64"), Some(64.0));
        assert_eq!(batch("bert_h128_l4_s128_b16_adam"), Some(16.0));
        assert_eq!(batch("mlp_784_32x16_10_b256_sgdm"), Some(256.0));
        assert_eq!(batch("conv_n32_c16_hw32_k3_fb"), None);
        assert_eq!(batch("matmul_4096"), None);
    }

    #[test]
    fn the_faster_tiles_count_and_dashes_stand_for_what_is_missing() {
        let row = Row {
            work: "resnet50_n64_hw224_sgdm".into(),
            timing: Some(Timing { adapter: "a".into(), median_ms: 200.0, gflops: 50.0 }),
            tuned_ms: Some(160.0),
            profile: Some(Profile { peaks: [1.0, 1.0], roofline_ms: 80.0, busy: 0.97 }),
            pytorch_ms: Some(96.0),
        };
        let bare = Row { work: "matmul_4096".into(), ..Row::default() };
        let text = table(&[row, bare]);
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| `resnet50_n64_hw224_sgdm` | 200 | 160 | 50.0 | 80.0 | 50 | 97.0 | 400 | 96.0 | 60 |",
                "| `matmul_4096` | – | – | – | – | – | – | – | – | – |",
            ]
        );
    }
}
