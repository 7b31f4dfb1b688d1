//! Pages with a part that is written by a program: what stands between two comments.

use std::fs;

use anyhow::{Context, Result};

/// Replaces what stands between `<!-- PART:begin -->` and `<!-- PART:end -->` on a page by `text`, which ends a line.
pub(crate) fn write(page: &str, part: &str, text: &str) -> Result<()> {
    let old = fs::read_to_string(page).with_context(|| format!("cannot read {page}"))?;
    let new =
        replaced(&old, part, text).with_context(|| format!("{page} is not as it should be"))?;
    fs::write(page, new).with_context(|| format!("cannot write {page}"))
}

fn replaced(page: &str, part: &str, text: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- {part}:begin -->"), format!("<!-- {part}:end -->"));
    let parts =
        page.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let (before, after) =
        parts.with_context(|| format!("there is no `{begin}` followed by `{end}`"))?;
    Ok(format!("{before}{begin}\n{text}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::root;

    #[test]
    fn only_what_stands_between_the_comments_is_replaced() {
        let page = "# A\n\n<!-- a:begin -->\nold\n<!-- a:end -->\n\nmore\n";
        let new = replaced(page, "a", "new\n").expect("there");
        assert_eq!(new, "# A\n\n<!-- a:begin -->\nnew\n<!-- a:end -->\n\nmore\n");
        assert_eq!(replaced(&new, "a", "new\n").expect("there"), new);
        assert!(replaced(page, "b", "new\n").is_err());
        assert!(replaced("<!-- a:end --><!-- a:begin -->", "a", "new\n").is_err());
    }

    #[test]
    fn the_pages_have_places_for_what_is_written_into_them() {
        for (page, part) in [
            ("README.md", "measured"),
            ("README.md", "measured-text"),
            ("benches/README.md", "peer"),
            ("benches/README.md", "gpu"),
            ("benches/README.md", "growth"),
            ("benches/README.md", "load"),
            ("benches/README.md", "ranks"),
            ("benches/README.md", "tab"),
            ("benches/STUDY.md", "demo"),
            ("benches/STUDY.md", "idx"),
            ("benches/STUDY.md", "cifar"),
            ("benches/STUDY.md", "paper"),
        ] {
            let text = fs::read_to_string(root().join(page)).expect("there");
            replaced(&text, part, "").unwrap_or_else(|error| panic!("{page}: {error}"));
        }
    }
}
