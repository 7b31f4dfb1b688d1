//! `cargo xtask growth`: how the time of a step grows with depth, width and batch, as a table and a plot in benches/.

use std::{fmt::Write as _, fs};

use anyhow::{Context, Result};

use crate::{
    clock::Moment,
    json::{number, string},
    page,
    peer::short,
    plot::{Line, Panel, svg},
    shell::{self, at, read},
};

const PAGE: &str = "benches/README.md";
const PLOT: &str = "benches/growth.svg";

/// The time of a step of one network at one size.
#[derive(Debug, PartialEq)]
struct Point {
    /// `mlp`, `resnet`.
    net: String,
    /// `depth`, `width`, `batch`; none of the base.
    axis: Option<String>,
    /// What the base is multiplied by on that axis.
    times: f64,
    gflop: f64,
    launches: f64,
    ms: f64,
}

/// Builds `taper`, times every size and writes the table and the plot.
pub(crate) fn run() -> Result<()> {
    let taper = shell::build_release()?;
    eprintln!("\n$ taper bench --growth --json");
    let lines = read(at(&taper)?.args(["bench", "--growth", "--json"]))?;
    let point = |line: &str| point(line).with_context(|| format!("`{line}` is no timing"));
    let points = lines.lines().map(point).collect::<Result<Vec<_>>>()?;
    let adapter = lines.lines().find_map(|line| string(line, "adapter"));
    let text = format!(
        "Written by `cargo xtask growth` on {}, on {}. Operations are forward and twice as much backward.\n\n\
         ![Milliseconds a step over depth, width and batch](growth.svg)\n\n{}",
        Moment::now().date(),
        adapter.unwrap_or("no adapter"),
        table(&points)
    );
    let plot = svg(&panels(&points), "times the base", "ms a step", true);
    fs::write(PLOT, plot).with_context(|| format!("cannot write {PLOT}"))?;
    page::write(PAGE, "growth", &text)?;
    println!("{PAGE} and {PLOT} are written");
    Ok(())
}

/// Reads a line of `taper bench --growth --json`: its work is `NET_base` or `NET_AXIS_xTIMES`.
fn point(line: &str) -> Option<Point> {
    let ms = number(line, "median_ms")?;
    let (net, axis, times) = match string(line, "work")?.split('_').collect::<Vec<_>>().as_slice() {
        [net, "base"] => (*net, None, 1.0),
        [net, axis, times] => {
            (*net, Some((*axis).to_owned()), times.strip_prefix('x')?.parse().ok()?)
        }
        _ => return None,
    };
    let gflop = number(line, "gflops")? * ms / 1e3;
    Some(Point { net: net.into(), axis, times, gflop, launches: number(line, "launches")?, ms })
}

/// The networks, in their order.
fn nets(points: &[Point]) -> Vec<&str> {
    let mut nets: Vec<&str> = points.iter().map(|point| point.net.as_str()).collect();
    nets.dedup();
    nets
}

fn base<'a>(points: &'a [Point], net: &str) -> Option<&'a Point> {
    points.iter().find(|point| point.net == net && point.axis.is_none())
}

fn table(points: &[Point]) -> String {
    let mut text = String::from(
        "| network | GFLOP | launches | ms | operations ÷ base | time ÷ base |\n|---|---:|---:|---:|---:|---:|\n",
    );
    for point in points {
        let size = match &point.axis {
            Some(axis) => format!("{axis} × {}", point.times),
            None => "base".into(),
        };
        let over = |of: fn(&Point) -> f64| {
            base(points, &point.net).map_or(f64::NAN, |base| of(point) / of(base))
        };
        writeln!(
            text,
            "| {}, {size} | {:.3} | {} | {} | {:.1} | {:.1} |",
            point.net,
            point.gflop,
            point.launches,
            short(point.ms),
            over(|p| p.gflop),
            over(|p| p.ms)
        )
        .expect("a String takes all");
    }
    text
}

/// A panel a network, a line an axis; each line begins at the base.
fn panels(points: &[Point]) -> Vec<Panel> {
    let line = |net: &str, axis: &str| {
        let on = points.iter().filter(|p| p.net == net && p.axis.as_deref() == Some(axis));
        let all = base(points, net).into_iter().chain(on);
        Line { name: axis.into(), points: all.map(|p| (p.times, p.ms)).collect() }
    };
    let panel = |net: &str| Panel {
        title: net.into(),
        lines: ["depth", "width", "batch"].map(|axis| line(net, axis)).into(),
    };
    nets(points).into_iter().map(panel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(work: &str, ms: f64) -> Point {
        let line = format!(
            r#"{{"work":"{work}","median_ms":{ms:?},"gflops":2.0,"launches":9,"adapter":"a"}}"#
        );
        point(&line).expect("a point")
    }

    #[test]
    fn a_line_says_which_network_at_which_size() {
        let point = of("resnet_depth_x2", 500.0);
        assert_eq!((point.net.as_str(), point.axis.as_deref()), ("resnet", Some("depth")));
        assert_eq!((point.times, point.gflop, point.launches), (2.0, 1.0, 9.0));
        assert_eq!(super::point(r#"{"work":"matmul_256","median_ms":1,"gflops":1}"#), None);
    }

    #[test]
    fn sizes_stand_beside_their_base() {
        let points = [of("a_base", 10.0), of("a_width_x2", 40.0), of("b_base", 5.0)];
        let text = table(&points);
        assert!(text.contains("| a, width × 2 | 0.080 | 9 | 40.0 | 4.0 | 4.0 |\n"), "{text}");
        assert!(text.ends_with("| b, base | 0.010 | 9 | 5.00 | 1.0 | 1.0 |\n"), "{text}");

        let panels = panels(&points);
        assert_eq!(panels.len(), 2);
        assert_eq!(panels[0].lines[1].points, [(1.0, 10.0), (2.0, 40.0)]);
        assert_eq!(panels[0].lines[0].points, [(1.0, 10.0)]);
    }
}
