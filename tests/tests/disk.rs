//! A run keeps its files on the disk that its host has, and nowhere else.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use engine::{
    config::{ImageKind, Images},
    data::{Dataset, images},
    disk::{Append, Disk, Fill, Held, Kind},
    event::{self, Event},
    formats::FormatError,
    train::{Host, Options, Run, TrainError},
};
use support::{config, files, folder, kinds, train};
use taper_tests::host;

/// A disk in memory: what is at a path, bytes of a file or nothing of a folder; and the locks that are held.
#[derive(Debug, Default)]
struct Contents {
    at: BTreeMap<PathBuf, Option<Vec<u8>>>,
    locks: BTreeSet<PathBuf>,
}

#[derive(Debug, Default, Clone)]
struct Memory(Arc<Mutex<Contents>>);

impl Memory {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().expect("whole")
    }
}

impl Contents {
    fn file(&mut self, path: &Path) -> io::Result<&mut Vec<u8>> {
        match self.at.get_mut(path) {
            Some(Some(bytes)) => Ok(bytes),
            Some(None) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    /// The file at a path, made if it is not there; its folder has to be.
    fn made(&mut self, path: &Path) -> io::Result<&mut Vec<u8>> {
        if path.parent().is_none_or(|folder| self.at.get(folder) != Some(&None)) {
            return Err(ErrorKind::NotFound.into());
        }
        self.at.entry(path.into()).or_insert(Some(Vec::new()));
        self.file(path)
    }
}

impl Disk for Memory {
    fn read(&self, path: &Path) -> Result<Vec<u8>, FormatError> {
        let mut contents = self.contents();
        contents.file(path).cloned().map_err(|source| FormatError::read(path, source))
    }

    fn write(&self, path: &Path, fill: Fill<'_>) -> Result<(), FormatError> {
        let mut bytes = Vec::new();
        let filled = fill(&mut bytes);
        let written = filled.and_then(|()| {
            *self.contents().made(path)? = bytes;
            Ok(())
        });
        written.map_err(|source| FormatError::write(path, source))
    }

    fn append(&self, path: &Path) -> Result<Box<dyn Append>, FormatError> {
        let made = self.contents().made(path).map(drop);
        made.map_err(|source| FormatError::write(path, source))?;
        Ok(Box::new(Log { disk: self.clone(), path: path.into() }))
    }

    fn list(&self, folder: &Path) -> Result<Vec<(PathBuf, Kind)>, FormatError> {
        let contents = self.contents();
        if contents.at.get(folder) != Some(&None) {
            return Err(FormatError::read(folder, ErrorKind::NotFound.into()));
        }
        let inside = contents.at.iter().filter(|(path, _)| path.parent() == Some(folder));
        Ok(inside.map(|(path, bytes)| (path.clone(), kind(bytes))).collect())
    }

    fn kind(&self, path: &Path) -> Option<Kind> {
        self.contents().at.get(path).map(kind)
    }

    fn make_folder(&self, folder: &Path) -> Result<(), FormatError> {
        let mut contents = self.contents();
        for folder in folder.ancestors() {
            contents.at.entry(folder.into()).or_insert(None);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), FormatError> {
        let mut contents = self.contents();
        let removed = contents.file(path).map(drop);
        removed.map_err(|source| FormatError::write(path, source))?;
        contents.at.remove(path);
        Ok(())
    }

    /// What a file is filled with is nowhere else before it is whole.
    fn remove_leftovers(&self, folder: &Path) -> Result<(), FormatError> {
        self.list(folder).map(drop)
    }

    fn lock(&self, path: &Path) -> Result<Option<Held>, FormatError> {
        let free = self.contents().locks.insert(path.into());
        Ok(free.then(|| Box::new(Lock { disk: self.clone(), path: path.into() }) as Held))
    }
}

fn kind(bytes: &Option<Vec<u8>>) -> Kind {
    if bytes.is_some() { Kind::File } else { Kind::Folder }
}

#[derive(Debug)]
struct Log {
    disk: Memory,
    path: PathBuf,
}

impl Append for Log {
    fn append(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        let mut contents = self.disk.contents();
        let file = contents.file(&self.path);
        file.map_err(|source| FormatError::write(&self.path, source))?.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> Result<(), FormatError> {
        Ok(())
    }
}

#[derive(Debug)]
struct Lock {
    disk: Memory,
    path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.disk.contents().locks.remove(&self.path);
    }
}

/// What a run is worth, by path: all of its files but those that say when something was, or where it was given up.
fn lasting(files: impl Iterator<Item = (PathBuf, Vec<u8>)>) -> BTreeMap<PathBuf, Vec<u8>> {
    let timed = |path: &Path| {
        path.ends_with("events.jsonl") || path.ends_with("run.lock") || {
            path.parent().is_some_and(|folder| folder.ends_with("checkpoints"))
        }
    };
    files.filter(|(path, _)| !timed(path)).collect()
}

fn here() -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(".").expect("the working directory");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn a_run_is_wholly_on_the_disk_of_its_host() {
    let (before, out, memory) = (here(), Path::new("run"), Memory::default());
    let host = Host { disk: Arc::new(memory.clone()), threads: false, ..host() };
    let options = Options::new(out);

    // It is stopped after the student's first checkpoint.
    let run = Run::create(config(&[]), out, &host).expect("nothing is there");
    let busy = Run::resume(out, &host).expect_err("it is held").to_string();
    assert!(busy.contains("another process works on `run`"), "{busy}");
    let stop = AtomicBool::new(false);
    let ended = run.execute(&options, &stop, &mut |entry| {
        let kept = matches!(&entry.event, Event::Checkpoint { member, .. } if member == "win-0");
        stop.fetch_or(kept, Ordering::Relaxed);
    });
    assert!(matches!(ended, Err(TrainError::Stopped(_))), "{ended:?}");
    drop(run);
    let taken = Run::create(config(&[]), out, &host).expect_err("it is there").to_string();
    assert!(taken.contains("`run` is not empty"), "{taken}");

    let mut heard = Vec::new();
    let run = Run::resume(out, &host).expect("a run");
    run.execute(&options, &AtomicBool::new(false), &mut |entry| heard.push(entry.clone()))
        .unwrap_or_else(|error| panic!("{error}"));
    let resumed = |event: &Event| matches!(event, Event::Resumed { member: Some(member), step } if member == "win-0" && *step > 0);
    assert!(heard.iter().any(|entry| resumed(&entry.event)), "{:?}", kinds(&heard));
    let log = memory.read(&out.join("events.jsonl")).expect("a log");
    assert_eq!(kinds(&event::entries(&log)).last().map(String::as_str), Some("run_finished"));

    let native = folder();
    train(&config(&[]), native.path());
    let below = |path: &Path, out: &Path| path.strip_prefix(out).expect("below it").to_path_buf();
    let wanted = files(native.path()).into_iter().map(|path| {
        let bytes = fs::read(&path).expect("a file");
        (below(&path, native.path()), bytes)
    });
    let contents = memory.contents();
    let found = contents.at.iter().filter_map(|(path, bytes)| {
        let bytes = bytes.clone()?;
        Some((below(path, out), bytes))
    });
    let (found, wanted) = (lasting(found), lasting(wanted));
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (path, bytes) in &wanted {
        assert!(found[path] == *bytes, "{} has other bytes", path.display());
    }
    assert!(wanted.contains_key(Path::new("artifacts/model.safetensors")));
    assert_eq!(here(), before, "something was written beside it");
}

/// Pictures of two classes, in a folder and in archives of it, on a disk of memory: the same samples as from the system's.
#[test]
fn pictures_are_read_from_the_disk_of_the_host() {
    let (native, memory) = (folder(), Memory::default());
    let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    let mut tar = tar::Builder::new(Vec::new());
    for (class, shade) in [("rose", 40u8), ("tulip", 180)] {
        for k in 0..5 {
            let name = format!("{class}/{k}.png");
            let picture = image::RgbImage::from_fn(6, 6, |x, y| {
                image::Rgb([shade + k, (10 * x) as u8, (7 * y) as u8])
            });
            let file = native.path().join("flowers").join(&name);
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            picture.save(&file).expect("saved");
            let bytes = fs::read(&file).expect("read");
            zip.start_file(&name, zip::write::SimpleFileOptions::default()).expect("begun");
            io::Write::write_all(&mut zip, &bytes).expect("written");
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, &name, &*bytes).expect("written");
            let there = Path::new("/data/flowers").join(&name);
            memory.make_folder(there.parent().expect("a folder")).expect("made");
            memory.write_bytes(&there, &bytes).expect("written");
        }
    }
    let archives = [
        ("/data/flowers.zip", zip.finish().expect("whole").into_inner()),
        ("/data/flowers.tar", tar.into_inner().expect("whole")),
    ];
    for (path, bytes) in archives {
        memory.write_bytes(Path::new(path), &bytes).expect("written");
    }
    let of = |path: &Path| Images {
        kind: ImageKind::Folder,
        path: Some(path.to_string_lossy().into_owned()),
        size: Some(6),
        ..Images::default()
    };
    let samples = |set: Dataset| -> Vec<_> {
        let batches = [&set.train, &set.test].map(|part| part.batches(3).collect::<Vec<_>>());
        batches.into_iter().flatten().map(|batch| batch.expect("read")).collect()
    };
    let wanted = samples(images::open(&of(&native.path().join("flowers"))).expect("opened"));
    assert_eq!(wanted.iter().map(|batch| batch.rows).sum::<usize>(), 10);
    let disk: Arc<dyn Disk> = Arc::new(memory);
    for path in ["/data/flowers", "/data/flowers.zip", "/data/flowers.tar"] {
        let found = images::open_on(&disk, &of(Path::new(path))).expect(path);
        assert_eq!(samples(found), wanted, "{path}");
    }
    let said = images::open_on(&disk, &of(Path::new("/data/none"))).expect_err("nothing there");
    assert!(said.to_string().starts_with("cannot read /data/none: "), "{said}");
}
