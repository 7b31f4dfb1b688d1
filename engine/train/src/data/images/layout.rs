//! Where the training and test pictures are among the names of a folder or an archive.
//!
//! The level at which a training *and* a test part stand decides, wherever it is; else a part that stands alone, which is
//! split; else class folders alone, behind any number of outer folders that are alone. Where two levels will do, both are
//! named and nothing is chosen.

use std::collections::BTreeMap;

use unicode_normalization::UnicodeNormalization;

use super::super::account::{Account, Reason, list};
use super::super::listing::Listing;
use super::image::EXTENSIONS;
use crate::text::escape;

/// What the test part may be called, the first of those that are there is taken. ImageNet's own `test` has no labels, so
/// that its `val` is.
pub(in crate::data) const TEST: [&str; 4] = ["test", "val", "valid", "validation"];
pub(in crate::data) const TRAIN: &str = "train";
/// The most folders that are held: a class has one, and names of archives may lie.
const FOLDERS: usize = 300_000;
/// Extensions of pictures that are not.
const UNREAD: [&str; 20] = [
    "gif", "heic", "heif", "avif", "jp2", "j2k", "jxl", "jfif", "jpe", "svg", "ico", "psd", "raw",
    "cr2", "nef", "dng", "tga", "pbm", "pnm", "dcm",
];

/// The pictures of both parts.
#[derive(Debug, Default)]
pub(in crate::data) struct Layout {
    /// The folder around the parts or the classes; empty for the outermost.
    pub(in crate::data) root: String,
    /// The name of the training part, and its pictures; those of class folders alone are here.
    pub(in crate::data) train: Part,
    /// The same of the test part.
    pub(in crate::data) test: Part,
}

/// The pictures of one part.
#[derive(Debug, Default)]
pub(in crate::data) struct Part {
    /// Its folder; empty for class folders alone.
    pub(in crate::data) name: String,
    /// The pictures of each class: the name behind the class's folder, and the place in the listing. A class of which no
    /// picture is of a kind that is read is there with none.
    pub(in crate::data) classes: BTreeMap<String, Vec<(String, usize)>>,
}

/// A folder with what is below it.
#[derive(Debug, Default)]
struct Node {
    folders: BTreeMap<String, Node>,
    /// Places of the pictures that lie in it itself.
    pictures: Vec<usize>,
    /// Pictures in it and below.
    below: u64,
    /// Pictures in it and below that are of a kind that is not read.
    unread: u64,
}

/// Whether a file is a picture by its name, of a kind that is read or of another one.
pub(in crate::data) fn shows(name: &str) -> bool {
    is_picture(name) || has_extension(name, &UNREAD)
}

/// Whether a file is a picture that is read.
pub(in crate::data) fn is_picture(name: &str) -> bool {
    has_extension(name, &EXTENSIONS)
}

fn has_extension(name: &str, extensions: &[&str]) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    extension.is_some_and(|extension| extensions.contains(&extension.as_str()))
}

/// Finds the pictures in `listing`. What is left out goes into `account`.
///
/// # Errors
/// A sentence: no pictures in any such layout, or two levels that will do.
pub(in crate::data) fn layout(listing: &Listing, account: &mut Account) -> Result<Layout, String> {
    let root = tree(listing, account)?;
    let mut pairs = Vec::new();
    topmost(&root, "", &Node::is_pair, &mut pairs);
    let level = match &pairs[..] {
        [] => lone_part(&root)?,
        [only] => Some(only.clone()),
        [one, two, ..] => return Err(two_levels("train/ with test/", one, two)),
    };
    let found = match &level {
        Some(path) => parts(root.at(path), path, listing, account)?,
        None => class_folders(&root, listing, account)?,
    };
    outside(&root, "", &found.root, listing, account);
    if !found.root.is_empty() {
        account.note(format!("the folder \"{}\" was opened", escape(&found.root)));
    }
    Ok(found)
}

/// All folders with their pictures; what is no picture is skipped.
///
/// # Errors
/// There are more folders than are held.
fn tree(listing: &Listing, account: &mut Account) -> Result<Node, String> {
    let mut root = Node::default();
    let mut made = 0;
    for name in &listing.folders {
        name.split('/').fold(&mut root, |node, part| node.enter(part, &mut made));
        held(made)?;
    }
    for (at, file) in listing.files.iter().enumerate() {
        let read = is_picture(&file.name);
        let unread = !read && has_extension(&file.name, &UNREAD);
        if !read {
            let reason = if unread { Reason::UnreadKind } else { Reason::NoPicture };
            account.skip(reason, &file.name);
        }
        if !read && !unread {
            continue;
        }
        let count = |node: &mut Node| {
            node.below += u64::from(read);
            node.unread += u64::from(unread);
        };
        let mut node = &mut root;
        count(node);
        for part in file.split().0.split('/').filter(|part| !part.is_empty()) {
            node = node.enter(part, &mut made);
            count(node);
        }
        if read {
            node.pictures.push(at);
        }
        held(made)?;
    }
    Ok(root)
}

fn held(folders: usize) -> Result<(), String> {
    if folders > FOLDERS {
        return Err(format!("has more than {FOLDERS} folders, which is the most"));
    }
    Ok(())
}

impl Node {
    /// The folder `name` in it; one more is `made` where there is none yet.
    fn enter(&mut self, name: &str, made: &mut usize) -> &mut Node {
        if !self.folders.contains_key(name) {
            *made += 1;
        }
        self.folders.entry(name.to_owned()).or_default()
    }

    /// The folder of this path.
    fn at(&self, path: &str) -> &Node {
        let parts = path.split('/').filter(|part| !part.is_empty());
        parts.fold(self, |node, part| node.folders.get(part).unwrap_or(node))
    }

    /// The folders with pictures.
    fn children(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.folders.iter().filter(|(_, node)| node.below > 0)
    }

    /// Whether its pictures are in class folders.
    fn has_classes(&self) -> bool {
        self.children().next().is_some()
    }

    /// The folders that are called so, whatever the case, and have classes.
    fn called<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a String, &'a Node)> {
        self.children()
            .filter(move |(folder, node)| folder.eq_ignore_ascii_case(name) && node.has_classes())
    }

    fn tests(&self) -> impl Iterator<Item = (&String, &Node)> {
        TEST.iter().flat_map(|name| self.called(name))
    }

    fn is_pair(&self) -> bool {
        self.called(TRAIN).next().is_some() && self.tests().next().is_some()
    }

    fn has_part(&self) -> bool {
        self.called(TRAIN).next().is_some() || self.tests().next().is_some()
    }
}

fn is_part_name(name: &str) -> bool {
    TEST.iter().chain([&TRAIN]).any(|part| name.eq_ignore_ascii_case(part))
}

/// The paths of the folders that satisfy `wanted`, and are not below one that does.
fn topmost(node: &Node, path: &str, wanted: &dyn Fn(&Node) -> bool, found: &mut Vec<String>) {
    if wanted(node) {
        found.push(path.into());
        return;
    }
    for (name, child) in node.children() {
        topmost(child, &joined(path, name), wanted, found);
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { format!("{path}/{name}") }
}

fn two_levels(what: &str, one: &str, two: &str) -> String {
    let name = |path: &str| match path {
        "" => "the outermost folder".into(),
        path => format!("\"{}\"", escape(path)),
    };
    let (one, two) = (name(one), name(two));
    format!("has {what} in {one} and in {two}; name one of them, or leave only one in it")
}

/// The folder around a part that stands without its other half.
fn lone_part(root: &Node) -> Result<Option<String>, String> {
    let mut found = Vec::new();
    topmost(root, "", &Node::has_part, &mut found);
    let path = match &found[..] {
        [] => return Ok(None),
        [only] => only.clone(),
        [one, two, ..] => return Err(two_levels("train/ or test/", one, two)),
    };
    alone(root, &path)?;
    let node = root.at(&path);
    let others: Vec<String> = node
        .children()
        .filter(|(name, _)| !is_part_name(name))
        .map(|(name, _)| escape(name).into_owned())
        .collect();
    if let (None, Some((test, _)), false) =
        (node.called(TRAIN).next(), node.tests().next(), others.is_empty())
    {
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        return Err(format!(
            "has \"{}\" beside {}; the training pictures must lie in train/CLASS/",
            escape(&joined(&path, test)),
            list(&others)
        ));
    }
    Ok(Some(path))
}

/// Checks that there are no other pictures beside the folders around `path`: a part without its other half does not settle which level counts.
fn alone(root: &Node, path: &str) -> Result<(), String> {
    let mut node = root;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if let Some((other, _)) = node.children().find(|(name, _)| *name != part) {
            return Err(two_levels("pictures", path, other));
        }
        node = node.at(part);
    }
    Ok(())
}

/// The parts in the folder at `path`.
fn parts(
    node: &Node,
    path: &str,
    listing: &Listing,
    account: &mut Account,
) -> Result<Layout, String> {
    let mut layout = Layout { root: path.into(), ..Layout::default() };
    let mut trains = node.called(TRAIN);
    let train = trains.next();
    if let (Some((one, _)), Some((two, _))) = (train, trains.next()) {
        return Err(two_levels("the training part", &joined(path, one), &joined(path, two)));
    }
    let tests: Vec<(&String, &Node)> = node.tests().collect();
    if let [(one, _), (two, _), ..] = tests[..]
        && one.eq_ignore_ascii_case(two)
    {
        return Err(two_levels("the test part", &joined(path, one), &joined(path, two)));
    }
    let test = tests.first().copied();
    for (part, found) in [(&mut layout.train, train), (&mut layout.test, test)] {
        if let Some((name, node)) = found {
            part.name = name.clone();
            part.classes = classes(node, &joined(path, name), listing, account);
        }
    }
    for &at in &node.pictures {
        account.skip(Reason::NoClass, &listing.files[at].name);
    }
    for (name, child) in &node.folders {
        let taken = [&layout.train.name, &layout.test.name].contains(&name);
        if taken || child.below == 0 {
            continue;
        }
        let reason = match test {
            _ if is_part_name(name) && !child.has_classes() => {
                "its pictures are in no class folders".to_owned()
            }
            Some((test, _)) if is_part_name(name) => {
                format!("\"{}\" is the test part", escape(test))
            }
            _ => "it stands beside the parts".to_owned(),
        };
        account.ignore(&joined(path, name), child.below, &reason);
    }
    Ok(layout)
}

/// Class folders alone.
fn class_folders(root: &Node, listing: &Listing, account: &mut Account) -> Result<Layout, String> {
    let (mut node, mut path) = (root, String::new());
    // A single folder that holds nothing but folders stands around the classes: go into it.
    while node.pictures.is_empty()
        && let [(name, child)] = node.children().collect::<Vec<_>>()[..]
        && child.pictures.is_empty()
    {
        (node, path) = (child, joined(&path, name));
    }
    let names: Vec<&String> = node.children().map(|(name, _)| name).collect();
    if names.is_empty() {
        return Err(nothing(root, account));
    }
    if names.iter().all(|name| is_part_name(name)) {
        let names: Vec<String> = names.iter().map(|name| escape(name).into_owned()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        return Err(format!(
            "has pictures in {} without a folder for each class; expected are train/CLASS/NAME.jpg and test/CLASS/NAME.jpg",
            list(&names)
        ));
    }
    for name in names.iter().filter(|name| is_part_name(name)) {
        let name = escape(name);
        account.note(format!(
            "\"{name}\" was taken for a class, as its pictures are in no class folders"
        ));
    }
    if let Some((one, two, both)) = alike(node) {
        let (one, two) = (escape(one), escape(two));
        account.note(format!(
            "\"{one}\" and \"{two}\" were taken for classes; both hold {both}. If they are parts, call them train and test"
        ));
    }
    let classes = classes(node, &path, listing, account);
    let train = Part { name: String::new(), classes };
    Ok(Layout { root: path, train, test: Part::default() })
}

/// Two folders without pictures of their own that hold folders of the same names, as parts with other names do.
fn alike(node: &Node) -> Option<(&String, &String, String)> {
    let mut folders = node.children();
    let (one, first) = folders.next()?;
    let (two, second) = folders.next()?;
    let both: Vec<String> = first
        .children()
        .filter(|(name, _)| second.folders.contains_key(*name))
        .map(|(name, _)| escape(name).into_owned())
        .collect();
    let both: Vec<&str> = both.iter().map(String::as_str).collect();
    let plain = first.pictures.is_empty() && second.pictures.is_empty();
    (plain && both.len() > 1).then(|| (one, two, list(&both)))
}

/// What there is instead of pictures.
fn nothing(root: &Node, account: &Account) -> String {
    let mut text = String::from(match root.below {
        0 => "holds no pictures",
        _ => "has its pictures in no folders; a folder for each class is needed",
    });
    text += "; expected are train/CLASS/NAME.jpg with test/, val/, valid/ or validation/, or CLASS/NAME.jpg: ";
    text += &EXTENSIONS.join(", ");
    if let Some(line) = account.skipped_line() {
        text += &format!(" ({line})");
    }
    text
}

/// The classes in the folder of a part, at `path`.
fn classes(
    part: &Node,
    path: &str,
    listing: &Listing,
    account: &mut Account,
) -> BTreeMap<String, Vec<(String, usize)>> {
    let mut classes: BTreeMap<String, Vec<(String, usize)>> = BTreeMap::new();
    let mut spelt: BTreeMap<String, &String> = BTreeMap::new();
    for &at in &part.pictures {
        account.skip(Reason::NoClass, &listing.files[at].name);
    }
    for (name, node) in &part.folders {
        let folder = joined(path, name);
        if node.below == 0 && node.unread == 0 {
            account.ignore(&folder, 0, "it holds no pictures");
            continue;
        }
        let class: String = name.nfc().collect();
        if let Some(other) = spelt.insert(class.clone(), name) {
            let (name, count) = (escape(&class), (other.len(), name.len()));
            account.note(format!(
                "two folders \"{name}\", whose names are spelt with {} and {} bytes in Unicode, are one class",
                count.0, count.1
            ));
        }
        let pictures = classes.entry(class).or_default();
        gather(node, folder.len() + 1, listing, pictures);
    }
    classes.values_mut().for_each(|pictures| pictures.sort());
    classes
}

/// Every picture in `node` and below; the part of a name behind the class begins at byte `behind`.
fn gather(node: &Node, behind: usize, listing: &Listing, pictures: &mut Vec<(String, usize)>) {
    for &at in &node.pictures {
        pictures.push((listing.files[at].name[behind..].to_owned(), at));
    }
    node.folders.values().for_each(|folder| gather(folder, behind, listing, pictures));
}

/// Accounts for the pictures outside of the folder `root`, which `node` at `path` is around.
fn outside(node: &Node, path: &str, root: &str, listing: &Listing, account: &mut Account) {
    if path == root {
        return;
    }
    for &at in &node.pictures {
        account.skip(Reason::NoClass, &listing.files[at].name);
    }
    for (name, child) in node.children() {
        let folder = joined(path, name);
        if folder == root || root.strip_prefix(&*folder).is_some_and(|rest| rest.starts_with('/')) {
            outside(child, &folder, root, listing, account);
        } else {
            let beside = format!("it stands beside \"{}\"", escape(root));
            account.ignore(&folder, child.below, &beside);
        }
    }
}
