//! A mutation fuzz of everything that Taper reads: `cargo xtask fuzz`.
//!
//! [`seeds`] makes small files of each [`Kind`], [`mutate`] changes them, [`judge`] has Taper read what came of it and asks whether the
//! answer is right. An input is a function of a seed and a number. Inputs are read in processes of their own ([`work`]), which [`drive`]
//! starts, watches and starts again, so that a panic, an abort, a hang and a flood of memory are seen, and who is guilty of them.

pub mod drive;
pub mod judge;
pub mod mutate;
pub mod python;
pub mod seeds;
pub mod work;

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use engine::random::Stream;

use seeds::Seeds;

/// Files of an input, by their path below its folder.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Image and label files in MNIST's naming, plain and gzip.
    Idx,
    /// CIFAR's binary batches.
    Cifar,
    /// One picture.
    Picture,
    /// A folder of pictures, a folder a class.
    Folder,
    /// A tar of pictures, plain and gzip.
    Tar,
    /// A zip of pictures.
    Zip,
    /// Shards of WebDataset.
    Shards,
    /// ILSVRC's tar of tars with a list of classes.
    Imagenet,
    /// Weights from elsewhere.
    Safetensors,
    /// A model folder with its sums.
    Model,
    /// The checkpoints of a member.
    Checkpoint,
    /// A configuration.
    Toml,
    /// A run's log.
    Events,
    /// A run directory, finished or half-way.
    Run,
}

impl Kind {
    /// All kinds; inputs go through them in turn.
    pub const ALL: [Kind; 14] = [
        Kind::Idx,
        Kind::Cifar,
        Kind::Picture,
        Kind::Folder,
        Kind::Tar,
        Kind::Zip,
        Kind::Shards,
        Kind::Imagenet,
        Kind::Safetensors,
        Kind::Model,
        Kind::Checkpoint,
        Kind::Toml,
        Kind::Events,
        Kind::Run,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Idx => "idx",
            Kind::Cifar => "cifar",
            Kind::Picture => "picture",
            Kind::Folder => "folder",
            Kind::Tar => "tar",
            Kind::Zip => "zip",
            Kind::Shards => "shards",
            Kind::Imagenet => "imagenet",
            Kind::Safetensors => "safetensors",
            Kind::Model => "model",
            Kind::Checkpoint => "checkpoint",
            Kind::Toml => "toml",
            Kind::Events => "events",
            Kind::Run => "run",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Kind::ALL.map(Kind::name).join(", ");
        let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| format!("`{name}` is no kind of input; there are {}", names()))
    }
}

/// What Taper made of an input, where that was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was refused, in one sentence.
    Refused,
    /// The answer is that to the unchanged files.
    Same,
    /// Another answer, and the right one for these bytes; or one with a line that says what is wrong with them.
    Other,
}

/// An input.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What it is.
    pub kind: Kind,
    /// The files before they were changed.
    pub seed: Files,
    /// The files.
    pub files: Files,
}

impl Case {
    /// Input `number` of those that belong to `seed`; the kinds take turns.
    pub fn new(seeds: &Seeds, kinds: &[Kind], seed: u64, number: u64) -> Self {
        let kind = kinds[(number % kinds.len() as u64) as usize];
        let mut draw = Stream::new(&[seed, engine::random::name(kind.name()), number]);
        let all = seeds.of(kind);
        let original = &all[draw.below(all.len())];
        let other = &all[draw.below(all.len())];
        let mut files = original.clone();
        mutate::files(&mut files, other, &mut draw);
        Self { kind, seed: original.clone(), files }
    }
}

/// Writes files below a folder.
///
/// # Errors
/// What the system refuses.
pub fn put(folder: &Path, files: &Files) -> io::Result<()> {
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(path, bytes)?;
    }
    Ok(())
}

/// All files below a folder.
///
/// # Errors
/// What the system refuses.
pub fn take(folder: &Path) -> io::Result<Files> {
    fn walk(root: &Path, folder: PathBuf, files: &mut Files) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                walk(root, path, files)?;
            } else {
                let name = path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
                files.insert(name, fs::read(path)?);
            }
        }
        Ok(())
    }
    let mut files = Files::new();
    walk(folder, folder.into(), &mut files)?;
    Ok(files)
}
