//! Lines over logarithmic axes as SVG, readable on light and on dark pages.

use std::fmt::Write as _;

/// Points that belong together, in the order in which they are joined. Both coordinates are positive.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Lines over one pair of axes.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) lines: Vec<Line>,
}

/// Size of the area between the axes, in pixels.
const AREA: (f64, f64) = (270.0, 240.0);
/// Left of it are the marks and the name of the axis, right of it the names of the lines.
const MARGIN: (f64, f64) = (64.0, 56.0);
const ABOVE: f64 = 32.0;
const BELOW: f64 = 48.0;
/// Least distance of two names.
const LINE_HEIGHT: f64 = 15.0;

/// Colours that the colour-blind tell apart (Okabe and Ito 2008), the second ones for dark pages.
const STYLE: &str = "\
text { font: 12px sans-serif; fill: #24292f }
.axis { stroke: #57606a }
.grid { stroke: #d0d7de }
.even { stroke: #57606a; stroke-dasharray: 2 4 }
polyline, .axis, .grid, .even { fill: none }
polyline { stroke-width: 2 }
.s0 { stroke: #0072b2 } .t0 { fill: #0072b2 }
.s1 { stroke: #d55e00 } .t1 { fill: #d55e00 }
.s2 { stroke: #00785a } .t2 { fill: #00785a }
.s3 { stroke: #a6467c } .t3 { fill: #a6467c }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.axis { stroke: #9198a1 }
.grid { stroke: #30363d }
.even { stroke: #9198a1 }
.s0 { stroke: #56b4e9 } .t0 { fill: #56b4e9 }
.s1 { stroke: #f0923b } .t1 { fill: #f0923b }
.s2 { stroke: #2fc29a } .t2 { fill: #2fc29a }
.s3 { stroke: #e29ac2 } .t3 { fill: #e29ac2 }
}
";

/// The colours of [`STYLE`].
const COLOURS: usize = 4;

/// An axis: what it shows, and where.
struct Axis {
    low: f64,
    high: f64,
    /// Pixels at `low` and at `high`.
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis with a little room around what it shows.
    fn around(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(0.0, f64::max);
        Self { low: low / 1.15, high: high * 1.15, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value / self.low).ln() / (self.high / self.low).ln();
        self.from + share * (self.to - self.from)
    }

    /// The marks that it shows of 1, 2, 5 and their tenfolds, or of the powers of two.
    fn marks(&self, tens: bool) -> Vec<f64> {
        let all: Vec<f64> = if tens {
            (-6..9).flat_map(|k| [1.0, 2.0, 5.0].map(|n| n * 10f64.powi(k))).collect()
        } else {
            (0..31).map(|k| f64::from(1 << k)).collect()
        };
        all.into_iter().filter(|mark| (self.low..=self.high).contains(mark)).collect()
    }
}

/// Panels side by side. With `even`, a dotted line from the first point of each shows what grows in proportion.
pub(crate) fn svg(panels: &[Panel], x: &str, y: &str, even: bool) -> String {
    let step = MARGIN.0 + AREA.0 + MARGIN.1;
    let (width, height) = (step * panels.len() as f64, ABOVE + AREA.1 + BELOW);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
         <title>{y} over {x}</title>\n<style>\n{STYLE}</style>\n"
    );
    for (k, panel) in panels.iter().enumerate() {
        draw(&mut text, panel, step * k as f64, [x, y], even).expect("a String takes all");
    }
    text + "</svg>\n"
}

fn draw(
    text: &mut String,
    panel: &Panel,
    left: f64,
    [x, y]: [&str; 2],
    even: bool,
) -> std::fmt::Result {
    let all = || panel.lines.iter().flat_map(|line| line.points.iter().copied());
    let (left, right) = (left + MARGIN.0, left + MARGIN.0 + AREA.0);
    let (top, bottom) = (ABOVE, ABOVE + AREA.1);
    let across = Axis::around(all().map(|(x, _)| x), left, right);
    let up = Axis::around(all().map(|(_, y)| y), bottom, top);
    let middle = (left + right) / 2.0;

    writeln!(text, "<text x=\"{middle}\" y=\"18\" text-anchor=\"middle\">{}</text>", panel.title)?;
    for mark in up.marks(true) {
        let at = up.at(mark);
        writeln!(text, "<path class=\"grid\" d=\"M{left} {at:.1}H{right}\"/>")?;
        let (x, y) = (left - 6.0, at + 4.0);
        writeln!(text, "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{mark}</text>")?;
    }
    for mark in across.marks(false) {
        let at = across.at(mark);
        writeln!(text, "<path class=\"grid\" d=\"M{at:.1} {top}V{bottom}\"/>")?;
        let y = bottom + 16.0;
        writeln!(text, "<text x=\"{at:.1}\" y=\"{y}\" text-anchor=\"middle\">{mark}</text>")?;
    }
    writeln!(text, "<path class=\"axis\" d=\"M{left} {top}V{bottom}H{right}\"/>")?;
    let below = bottom + 36.0;
    writeln!(text, "<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{x}</text>")?;
    let (beside, half) = (left - 48.0, (top + bottom) / 2.0);
    writeln!(
        text,
        "<text transform=\"translate({beside} {half}) rotate(-90)\" text-anchor=\"middle\">{y}</text>"
    )?;

    if let Some((x, y)) = all().next().filter(|_| even) {
        let most = (across.high / x).min(up.high / y);
        let [x1, y1] = [across.at(x), up.at(y)];
        let [x2, y2] = [across.at(x * most), up.at(y * most)];
        writeln!(text, "<path class=\"even\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/>")?;
    }
    let mut names: Vec<(f64, usize)> = Vec::new();
    for (k, line) in panel.lines.iter().enumerate() {
        let points: Vec<_> = line.points.iter().map(|&(x, y)| (across.at(x), up.at(y))).collect();
        let joined: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let colour = k % COLOURS;
        writeln!(text, "<polyline class=\"s{colour}\" points=\"{}\"/>", joined.join(" "))?;
        for (x, y) in &points {
            writeln!(text, "<circle class=\"t{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>")?;
        }
        names.extend(points.last().map(|&(_, y)| (y, k)));
    }
    // Names that would lie over each other move down.
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free = f64::NEG_INFINITY;
    for (y, k) in names {
        let y = (y + 4.0).max(free);
        free = y + LINE_HEIGHT;
        let (x, colour, name) = (right + 4.0, k % COLOURS, &panel.lines[k].name);
        writeln!(text, "<text class=\"t{colour}\" x=\"{x}\" y=\"{y:.1}\">{name}</text>")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_factors_are_equal_distances() {
        let axis = Axis::around([1.0, 100.0].into_iter(), 0.0, 90.0);
        let [a, b, c] = [1.0, 10.0, 100.0].map(|value| axis.at(value));
        assert!(((b - a) - (c - b)).abs() < 1e-9);
        assert!(0.0 < a && c < 90.0);
        assert_eq!(axis.marks(true), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(axis.marks(false), [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]);
    }

    #[test]
    fn every_point_is_drawn_and_no_name_lies_over_another() {
        let line = |name: &str, y| Line { name: name.into(), points: vec![(1.0, 1.0), (4.0, y)] };
        let lines = vec![line("depth", 4.0), line("width", 4.01), line("batch", 3.99)];
        let text = svg(&[Panel { title: "mlp".into(), lines }], "times", "ms", true);
        assert_eq!(text.matches("<circle").count(), 6);
        assert_eq!(text.matches("<polyline").count(), 3);
        let place = |name: &str| {
            let line =
                text.lines().find(|line| line.contains(&format!(">{name}<"))).expect("a name");
            let y = line.split_once(" y=\"").expect("a place").1;
            y.split_once('"').expect("a number").0.parse::<f64>().expect("a number")
        };
        let mut places = ["depth", "width", "batch"].map(place);
        places.sort_by(f64::total_cmp);
        assert!(
            places.windows(2).all(|pair| pair[1] - pair[0] >= LINE_HEIGHT - 0.11),
            "{places:?}"
        );
    }
}
