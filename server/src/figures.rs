//! Numbers and tables as people are shown them.

use engine::text;

/// A text table: the first column to the left, the others to the right as numbers are. A name stays in its cell.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let escaped = |row: &Vec<String>| row.iter().map(|cell| text::escape(cell).into()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(escaped).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        padded.join("  ").trim_end().to_string() + "\n"
    };
    let mut text = line(&mut head.iter().copied());
    text.push_str(&"─".repeat(widths.iter().sum::<usize>() + 2 * head.len().saturating_sub(1)));
    text.push('\n');
    rows.iter().for_each(|row| text.push_str(&line(&mut row.iter().map(String::as_str))));
    text
}

/// A count with its unit, as `25.56M`.
pub(crate) fn count(number: u64) -> String {
    match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => format!("{:.1}k", number as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2}M", number as f64 / 1e6),
        1_000_000_000..1_000_000_000_000 => format!("{:.2}G", number as f64 / 1e9),
        _ => format!("{:.2}T", number as f64 / 1e12),
    }
}

/// Bytes with their unit, as `1.5 GiB`.
pub(crate) fn bytes(number: u64) -> String {
    let (mut value, mut units) = (number as f64, ["B", "KiB", "MiB", "GiB", "TiB"].iter());
    let mut unit = units.next().unwrap_or(&"B");
    while value >= 1024.0 {
        let Some(next) = units.next() else { break };
        (value, unit) = (value / 1024.0, next);
    }
    if *unit == "B" { format!("{number} B") } else { format!("{value:.1} {unit}") }
}

/// A time as `42 s`, `3:07` or `1:02:03`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m}:{s:02}"),
        (h, m, s) => format!("{h}:{m:02}:{s:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!((count(9_999).as_str(), count(25_557_032).as_str()), ("9999", "25.56M"));
        assert_eq!((count(4_100_000_000).as_str(), count(12_345).as_str()), ("4.10G", "12.3k"));
        assert_eq!((bytes(512).as_str(), bytes(1536).as_str()), ("512 B", "1.5 KiB"));
        assert_eq!((duration(59.6).as_str(), duration(3723.0).as_str()), ("1:00", "1:02:03"));
    }

    #[test]
    fn tables_are_aligned() {
        let text =
            table(&["a", "n"], &[vec!["long".into(), "1".into()], vec!["b".into(), "23".into()]]);
        assert_eq!(text, "a      n\n────────\nlong   1\nb     23\n");
        let text = table(&["a", "n"], &[vec!["\u{1b}c\n".into(), "1".into()]]);
        assert_eq!(text, "a          n\n────────────\n\\u{1b}c\\n  1\n");
    }
}
