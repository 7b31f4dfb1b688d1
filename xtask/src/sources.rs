//! The sources of the workspace, as tests read them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every file of Rust or of the page below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("read")) {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| {
                ["rs", "ts", "svelte"].iter().any(|kind| extension == *kind)
            }) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, &mut found);
    assert!(!found.is_empty(), "{} holds no source", folder.display());
    found
}

/// The lines of a file, with their numbers from 1, without its items that are for tests only: each ends by the first line that is
/// indented as it is and closes it.
pub(crate) fn code(text: &str) -> Vec<(usize, &str)> {
    let (mut code, mut inside) = (Vec::new(), None);
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match inside {
            None if line.trim() == "#[cfg(test)]" => inside = Some(indent),
            None => code.push((number + 1, line)),
            Some(at) => {
                let ends = line.ends_with('}') || line.ends_with(';');
                if at == indent && ends && !line.trim().is_empty() {
                    inside = None;
                }
            }
        }
    }
    code
}

mod tests {
    use super::*;

    #[test]
    fn what_is_for_tests_is_left_out_and_no_more() {
        let text = "a\n#[cfg(test)]\nmod tests;\nb\nimpl C {\n    #[cfg(test)]\n    fn d() {\n        e();\n    }\n    f\n}\n#[cfg(test)]\nmod t {\n    g\n}\nh";
        let lines: Vec<&str> = code(text).into_iter().map(|(_, line)| line.trim()).collect();
        assert_eq!(lines, ["a", "b", "impl C {", "f", "}", "h"]);
    }
}
