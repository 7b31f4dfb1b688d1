//! Which classes are taken for which, as SVG: a row a class, a column what is said of its pictures.

use engine::verdicts::Review;

/// Side of a cell in pixels, where names and numbers can be read, and the least.
const CELL: f64 = 34.0;
const LEAST: f64 = 2.0;
/// Side of the whole matrix in pixels, where the cells need not be smaller than the least.
const SIDE: f64 = 820.0;
/// Letters of a name that are shown.
const LETTERS: usize = 18;
/// Room for names, in pixels.
const NAMES: f64 = 140.0;
/// Cells below this size have neither names nor numbers.
const READABLE: f64 = 12.0;

/// Readable on light and on dark pages; the share of a class's pictures is the opacity of its cell.
const STYLE: &str = "\
text { font: 11px sans-serif; fill: #24292f }
.right { fill: #0072b2 } .wrong { fill: #d55e00 } .frame { fill: none; stroke: #8c959f }
.full { fill: #ffffff }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.right { fill: #56b4e9 } .wrong { fill: #f0923b }
.full { fill: #0d1117 }
}
";

/// The confusion matrix of a review.
pub(crate) fn svg(review: &Review) -> String {
    let classes = review.classes.len().max(1) as f64;
    let cell = (SIDE / classes).clamp(LEAST, CELL);
    let readable = cell >= READABLE;
    let (left, top) = if readable { (NAMES, NAMES) } else { (28.0, 28.0) };
    let side = cell * classes;
    let (width, height) = (left + side + 12.0, top + side + 12.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\" aria-label=\"Confusion matrix: rows are classes, columns what is said\">\n<style>{STYLE}</style>\n"
    );
    let mut add = |line: String| svg.push_str(&(line + "\n"));
    add("<text x=\"4\" y=\"14\">class ↓ said →</text>".into());
    for [class, said, count] in &review.confusion {
        let of = review.classes[*class as usize].count.max(1);
        let share = *count as f64 / of as f64;
        let (x, y) = (left + *said as f64 * cell, top + *class as f64 * cell);
        let kind = if class == said { "right" } else { "wrong" };
        // A single picture of many can still be seen.
        let opacity = 0.12 + 0.88 * share;
        let title = escaped(&format!(
            "{} said to be {}: {count} of {of}",
            review.classes[*class as usize].name, review.classes[*said as usize].name
        ));
        add(format!(
            "<rect class=\"{kind}\" x=\"{x:.2}\" y=\"{y:.2}\" width=\"{cell:.2}\" height=\"{cell:.2}\" opacity=\"{opacity:.3}\"><title>{title}</title></rect>"
        ));
        if readable {
            let full = if share > 0.6 { " class=\"full\"" } else { "" };
            let (x, y) = (x + cell / 2.0, y + cell / 2.0 + 4.0);
            let size = if cell < 24.0 { " font-size=\"8\"" } else { "" };
            add(format!(
                "<text{full}{size} x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{count}</text>"
            ));
        }
    }
    add(format!(
        "<rect class=\"frame\" x=\"{left}\" y=\"{top}\" width=\"{side:.2}\" height=\"{side:.2}\"/>"
    ));
    for (place, class) in review.classes.iter().enumerate().filter(|_| readable) {
        let name = escaped(&short(&class.name));
        let middle = (place as f64 + 0.5) * cell;
        let (x, y) = (left - 6.0, top + middle + 4.0);
        add(format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{name}</text>"));
        let (x, y) = (left + middle + 4.0, top - 6.0);
        add(format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" transform=\"rotate(-60 {x:.1} {y:.1})\">{name}</text>"
        ));
    }
    svg + "</svg>\n"
}

fn short(name: &str) -> String {
    if name.chars().count() <= LETTERS {
        return name.into();
    }
    name.chars().take(LETTERS - 1).chain(['…']).collect()
}

/// Text of XML: without what would be markup, and without control characters, which it cannot have.
fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            letter if letter.is_control() => safe.push('\u{fffd}'),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::verdicts::Verdicts;

    #[test]
    fn a_cell_is_drawn_for_each_pair_that_occurs_and_names_are_no_markup() {
        let mut verdicts = Verdicts::of(&["<a&b>".into(), "c\u{1}".into()]);
        for (label, outputs) in [(0, [1.0, 0.0]), (0, [0.0, 1.0]), (1, [0.0, 1.0])] {
            verdicts.push(label, &outputs);
        }
        let svg = svg(&verdicts.review());
        assert_eq!(svg.matches("class=\"right\"").count(), 2);
        assert_eq!(svg.matches("class=\"wrong\"").count(), 1);
        assert!(svg.contains("&lt;a&amp;b&gt; said to be c\u{fffd}: 1 of 2"), "{svg}");
        assert!(!svg.contains("<a"));
    }

    #[test]
    fn a_thousand_classes_have_no_letters() {
        let classes: Vec<String> = (0..1000).map(|k| format!("class {k}")).collect();
        let mut verdicts = Verdicts::of(&classes);
        verdicts.push(999, &[0.0; 1000]);
        let svg = svg(&verdicts.review());
        assert!(svg.len() < 4000 && svg.contains("width=\"2040\""), "{svg}");
    }
}
