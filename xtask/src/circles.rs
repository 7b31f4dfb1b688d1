//! Circles among the files of a crate: two that name each other, straight or by way of others, can only be understood together.
//!
//! A file names another by a path in `use` or in its code that begins with `crate`, `self` or `super`. What a module hands on with `pub use`
//! is followed to where it stands, so that a `mod.rs` is no part of a circle for what it only hands on. Tests are left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::sources::{self, code};

/// A module's path from its crate, `["train", "member"]`.
type Module = Vec<String>;

/// The modules of a crate.
struct House {
    /// The text of each, without its tests and comments.
    texts: BTreeMap<Module, String>,
    files: BTreeMap<Module, PathBuf>,
}

/// A path as it stands in the code, of names alone.
type Name = Vec<String>;

impl House {
    /// Reads the crate whose sources are below `root`.
    fn read(root: &Path) -> Self {
        let (mut texts, mut files) = (BTreeMap::new(), BTreeMap::new());
        for path in sources::files(root) {
            let inner = path.strip_prefix(root).expect("below the root").with_extension("");
            let mut module: Module =
                inner.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            let last = module.last().map_or("", String::as_str);
            if last == "tests" {
                continue;
            }
            if last == "mod" || (module.len() == 1 && ["lib", "main"].contains(&last)) {
                module.pop();
            }
            texts.insert(module.clone(), plain(&fs::read_to_string(&path).expect("UTF-8")));
            files.insert(module, path);
        }
        Self { texts, files }
    }

    /// The module that `name`, written in `module`, stands in; none if it is of another crate.
    fn home(&self, module: &Module, name: &[String], depth: usize) -> Option<Module> {
        let (first, mut rest) = name.split_first()?;
        let mut at: Module = match first.as_str() {
            "crate" => Vec::new(),
            "self" => module.clone(),
            "super" => module[..module.len().checked_sub(1)?].to_vec(),
            child => {
                let mut path = module.clone();
                path.push(child.into());
                self.texts.contains_key(&path).then_some(path)?
            }
        };
        while let Some((next, behind)) = rest.split_first() {
            if next == "super" {
                at.pop()?;
            } else {
                let mut deeper = at.clone();
                deeper.push(next.clone());
                if !self.texts.contains_key(&deeper) {
                    break;
                }
                at = deeper;
            }
            rest = behind;
        }
        // What is only handed on stands elsewhere.
        if let (Some(item), true) = (rest.first(), depth < 8) {
            let (handed, _) = uses(&self.texts[&at]);
            let on = handed
                .iter()
                .find(|(public, path)| *public && path.last() == Some(item) && path.len() > 1);
            if let Some((_, path)) = on
                && let Some(home) = self.home(&at, path, depth + 1)
            {
                return Some(home);
            }
        }
        Some(at)
    }

    /// Which modules each module names.
    fn named(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let of = |module: &Module, text: &str| {
            let (uses, rest) = uses(text);
            let used = uses.into_iter().filter(|(public, _)| !public).map(|(_, path)| path);
            let homes = used.chain(inline(&rest)).filter_map(|name| self.home(module, &name, 0));
            homes.filter(|home| home != module).collect::<BTreeSet<_>>()
        };
        self.texts.iter().map(|(module, text)| (module, of(module, text))).collect()
    }

    /// The circles, each as the files in it.
    fn circles(&self) -> Vec<BTreeSet<&Path>> {
        let named = self.named();
        let reach = |from: &Module| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
            while let Some(at) = next.pop() {
                for to in &named[at] {
                    if seen.insert(to) {
                        next.push(to);
                    }
                }
            }
            seen
        };
        let reached: BTreeMap<&Module, BTreeSet<&Module>> =
            named.keys().map(|&module| (module, reach(module))).collect();
        let mut circles: Vec<BTreeSet<&Path>> = Vec::new();
        for (module, there) in &reached {
            let circle: BTreeSet<&Path> = there
                .iter()
                .filter(|other| reached[*other].contains(module))
                .map(|other| self.files[*other].as_path())
                .collect();
            if circle.len() > 1 && !circles.contains(&circle) {
                circles.push(circle);
            }
        }
        circles
    }
}

/// The code of a text, without comments.
fn plain(text: &str) -> String {
    let lines = code(text).into_iter();
    lines.map(|(_, line)| line.split("//").next().unwrap_or("").to_owned() + "\n").collect()
}

/// The characters of which paths are made.
fn is_path(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == ':'
}

/// Every path that a `use` brings, and whether it is handed on to others; and the text without them.
fn uses(text: &str) -> (Vec<(bool, Name)>, String) {
    let (mut found, mut others) = (Vec::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        let public = trimmed.starts_with("pub");
        // `pub(crate) use a;` and `pub(in crate::a) use b;` as well.
        let behind = match (public, trimmed.find("use ")) {
            (false, Some(0)) => Some(4),
            (true, Some(at)) if trimmed[..at].ends_with(") ") || at == 4 => Some(at + 4),
            _ => None,
        };
        let Some(behind) = behind else {
            others.push_str(line);
            others.push('\n');
            continue;
        };
        let mut tree = trimmed[behind..].to_owned();
        while !tree.trim_end().ends_with(';') {
            let Some(line) = lines.next() else { break };
            tree.push_str(line.trim());
        }
        let mut names = Vec::new();
        branches(tree.trim_end().trim_end_matches(';'), &mut Vec::new(), &mut names);
        found.extend(names.into_iter().map(|name| (public, name)));
    }
    (found, others)
}

/// The leaves of a tree of imports, `a::{b, c::{self, d as e}}`.
fn branches(tree: &str, before: &mut Name, found: &mut Vec<Name>) {
    let (mut depth, mut start) = (0, 0);
    let mut parts = Vec::new();
    for (at, c) in tree.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&tree[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tree[start..]);
    for part in parts.into_iter().map(str::trim).filter(|part| !part.is_empty()) {
        let length = before.len();
        let (head, inner) = match part.find('{') {
            Some(at) => (&part[..at], part.rfind('}').map(|end| &part[at + 1..end])),
            None => (part.split(" as ").next().unwrap_or(part), None),
        };
        before.extend(head.split("::").map(str::trim).filter(|n| !n.is_empty()).map(String::from));
        match inner {
            Some(inner) => branches(inner, before, found),
            None => {
                if before.len() > length + 1
                    || length == 0
                    || before.last().is_some_and(|n| n != "self")
                {
                    found.push(before.clone());
                } else {
                    found.push(before[..before.len() - 1].to_vec());
                }
            }
        }
        before.truncate(length);
    }
}

/// Every path in the code that begins with `crate` or `super`.
fn inline(text: &str) -> Vec<Name> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in text.match_indices(start) {
            let before = &text[..at];
            if before.ends_with(is_path) || before.ends_with("pub(in ") {
                continue;
            }
            let path: String = text[at..].chars().take_while(|c| is_path(*c)).collect();
            let name: Name = path.split("::").filter(|n| !n.is_empty()).map(String::from).collect();
            if name.len() > 1 {
                found.push(name);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::root;

    #[test]
    fn trees_of_imports_are_read() {
        let text =
            "use a::{b, c::{self, d as e}};\npub use self::f::G;\nfn h() { crate::i::j() }\n";
        let names = |of: Vec<(bool, Name)>| -> Vec<String> {
            of.into_iter().map(|(public, name)| format!("{public} {}", name.join("::"))).collect()
        };
        let wanted = ["false a::b", "false a::c", "false a::c::d", "true self::f::G"];
        let (found, rest) = uses(text);
        assert_eq!(names(found), wanted);
        assert_eq!(inline(&rest), [["crate", "i", "j"].map(String::from).to_vec()]);
    }

    #[test]
    fn a_circle_is_found_and_what_is_handed_on_is_none() {
        let folder = std::env::temp_dir().join(format!("circles-{}", std::process::id()));
        fs::create_dir_all(folder.join("a")).expect("made");
        for (name, text) in [
            ("lib.rs", "mod a;\nmod b;\n"),
            ("a/mod.rs", "mod one;\nmod two;\npub use one::One;\n"),
            ("a/one.rs", "pub struct One;"),
            ("a/two.rs", "use super::One;\nuse crate::b::B;\n"),
            ("b.rs", "pub struct B; fn f() { crate::a::two::g() }"),
        ] {
            fs::write(folder.join(name), text).expect("written");
        }
        let house = House::read(&folder);
        let circles = house.circles();
        fs::remove_dir_all(&folder).expect("removed");
        let names: Vec<&Path> =
            circles[0].iter().map(|path| path.strip_prefix(&folder).expect("below")).collect();
        assert_eq!((circles.len(), names), (1, vec![Path::new("a/two.rs"), Path::new("b.rs")]));
    }

    /// Operations add nodes to the graph that holds them, and a kind of layer gives layers back, and may hold some: one value each, over files.
    const ALLOWED: [&str; 2] = ["engine/core/src/graph/mod.rs", "engine/core/src/nn/layers/mod.rs"];

    #[test]
    fn there_are_no_circles_but_those_of_one_value() {
        let crates = ["engine/core", "engine/gpu", "engine/train", "server", "benches", "xtask"];
        let mut seen = Vec::new();
        for name in crates {
            let house = House::read(&root().join(name).join("src"));
            for circle in house.circles() {
                let files: Vec<&Path> =
                    circle.iter().map(|path| path.strip_prefix(root()).expect("ours")).collect();
                let one = ALLOWED.into_iter().find(|one| files.contains(&Path::new(one)));
                let one = one.unwrap_or_else(|| panic!("a circle: {files:?}"));
                let (graph, inner) =
                    (one == ALLOWED[0], Path::new(ALLOWED[1]).parent().expect("a folder"));
                match graph {
                    true => assert_eq!(files, [one, "engine/core/src/ops/mod.rs"].map(Path::new)),
                    false => assert!(files.iter().all(|file| file.starts_with(inner)), "{files:?}"),
                }
                seen.push(one);
            }
        }
        assert_eq!(seen, ALLOWED);
    }
}
