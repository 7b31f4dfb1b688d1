//! Whether what Taper made of an input is right.
//!
//! A refusal is always right, if it is one clean sentence. What is accepted has to be what somebody else reads from the same bytes: a reader
//! written here from the format's description, or Python's ([`super::python`]). What has check sums has to be what it was, or something is
//! said of it.

use std::{collections::BTreeMap, fs, path::Path, sync::atomic::AtomicBool};

use engine::{
    config::{self, Config, ImageKind, Images, Model, OnError},
    data::{
        self,
        images::{self, Image},
    },
    disk::SystemDisk,
    event::{self, Entry, Event, EventLog},
    formats::{ModelFolder, safetensors},
    models,
    nn::Weights,
    ops::AdapterKind,
    plan::Target,
    random,
    train::{Checkpoint, Options, Run},
    win::{needs::needs, surgery},
};
use serde_json::Value;

use super::{
    Case, Files, Kind, Verdict, mutate, put,
    python::{self, Python},
    seeds::Seeds,
    take,
};

/// A verdict, or what is wrong with the answer.
pub type Judged = Result<Verdict, String>;

/// One in so many half-way runs is resumed on the device.
const RESUMED: u64 = 8;
/// Bytes of a sentence.
const SENTENCE: usize = 1000;

/// Who judges, with what it needs.
#[derive(Debug)]
pub struct Judge {
    python: Option<Python>,
    /// What a run comes to that nobody disturbed.
    finished: Files,
}

impl Judge {
    /// A judge by these seeds.
    pub fn new(seeds: &Seeds) -> Self {
        let runs = if seeds.kinds().contains(&Kind::Run) { seeds.of(Kind::Run) } else { &[] };
        Self { python: Python::start(), finished: runs.last().cloned().unwrap_or_default() }
    }

    /// Whether Python judges as well.
    pub fn has_python(&self) -> bool {
        self.python.is_some()
    }

    /// Has Taper read an input, whose files are written below `folder`.
    ///
    /// # Errors
    /// What is wrong with the answer.
    pub fn of(&mut self, case: &Case, number: u64, folder: &Path) -> Judged {
        let input = folder.join("input");
        fs::create_dir_all(&input).map_err(|error| error.to_string())?;
        put(&input, &case.files).map_err(|error| error.to_string())?;
        match case.kind {
            Kind::Idx => data(ImageKind::Idx, &input, idx(&case.files)),
            Kind::Cifar => data(ImageKind::Cifar10, &input, cifar(&case.files)),
            Kind::Picture => self.picture(case, &input),
            Kind::Folder => pictures(&input, &case.files),
            Kind::Tar | Kind::Zip => self.archive(case, folder),
            Kind::Shards => self.tars(ImageKind::Webdataset, case, folder),
            Kind::Imagenet => self.tars(ImageKind::Imagenet, case, folder),
            Kind::Safetensors => weights(case, &input),
            Kind::Model => model(&case.seed, &case.files, folder),
            Kind::Checkpoint => checkpoint(&case.seed, &case.files, folder),
            Kind::Toml => self.configuration(&input.join("run.toml")),
            Kind::Events => log(&case.seed, &input.join("events.jsonl")),
            Kind::Run => self.run(case, number, folder),
        }
    }

    fn picture(&mut self, case: &Case, input: &Path) -> Judged {
        let (name, bytes) = case.files.first_key_value().ok_or("no file")?;
        let image = match Image::decode(bytes, name) {
            Ok(image) => image,
            Err(error) => return refused(&error.to_string()),
        };
        if image.pixels.len() != image.height * image.width * image.channels {
            return Err(format!("{} pixels of {image:?}", image.pixels.len()));
        }
        let original = Image::decode(&case.seed[name], name).map_err(|error| error.to_string())?;
        let verdict = if image == original { Verdict::Same } else { Verdict::Other };
        let Some(python) = &mut self.python else { return Ok(verdict) };
        let theirs = match python.ask("picture", &input.join(name)) {
            Ok(theirs) => theirs,
            // Damage that no pixel depends on may be passed over, and sorts of a format may be read that Pillow does not know.
            Err(why) if verdict == Verdict::Same || why.contains("Unsupported") => {
                return Ok(verdict);
            }
            Err(why) => return Err(format!("Pillow refuses what is read: {why}")),
        };
        match same_picture(&image, &theirs) {
            // Wrong bits of a JPEG's scan give wrong pixels, in each decoder others. One that sees none is wrong if the other does.
            Err(_) if theirs["format"] == "JPEG" && same_picture(&original, &theirs).is_err() => {
                let sees = image != original;
                if sees { Ok(verdict) } else { Err("damage that Pillow sees is not seen".into()) }
            }
            judged => judged.map(|()| verdict),
        }
    }

    fn archive(&mut self, case: &Case, folder: &Path) -> Judged {
        let (name, bytes) = case.files.first_key_value().ok_or("no file")?;
        let path = folder.join("input").join(name);
        let Some(python) = &mut self.python else {
            return match survey(ImageKind::Folder, &path)? {
                Ok(_) if *bytes == case.seed[name] => Ok(Verdict::Same),
                Ok(_) => Ok(Verdict::Other),
                Err(error) => refused(&error),
            };
        };
        // Python stops at damage that others go past, and now and then without a word: then what is read has to be what was there before,
        // and the account to tell the rest.
        let wrong = match python.ask("archive", &path) {
            Ok(listed) => match pictures(&path, &listing(&listed)) {
                Ok(verdict) => return Ok(verdict),
                Err(wrong) => wrong,
            },
            Err(why) => format!("Python refuses it ({why})"),
        };
        let before = folder.join("before").join(name);
        fs::create_dir_all(folder.join("before")).map_err(|error| error.to_string())?;
        fs::write(&before, &case.seed[name]).map_err(|error| error.to_string())?;
        let before = listing(&python.ask("archive", &before)?);
        pictures(&path, &before)
            .map_err(|also| format!("{wrong}; of what was there before: {also}"))
    }

    /// Tars whose files are read where they lie: each picture that is read is one that Python finds in one of them, now or before they were
    /// changed, in the same part and of the class that stands beside it.
    fn tars(&mut self, kind: ImageKind, case: &Case, folder: &Path) -> Judged {
        let (ours, left_out) = match survey(kind, &folder.join("input"))? {
            Ok(read) => read,
            Err(error) => return refused(&error),
        };
        let Some(python) = &mut self.python else { return Ok(Verdict::Other) };
        let before = folder.join("before");
        fs::create_dir_all(&before).map_err(|error| error.to_string())?;
        put(&before, &case.seed).map_err(|error| error.to_string())?;
        let mut there = Vec::new();
        let mut now = 0;
        for (at, files) in [(folder.join("input"), &case.files), (before, &case.seed)] {
            let lists: Vec<String> = files
                .iter()
                .filter(|(name, _)| name.ends_with(".txt"))
                .map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned())
                .collect();
            for name in files.keys().filter(|name| name.ends_with(".tar")) {
                // Python stops at damage that others go past.
                let Ok(listed) = python.ask("archive", &at.join(name)) else { continue };
                let mut found = listing(&listed);
                for (inner, bytes) in
                    found.clone().iter().filter(|(name, _)| name.ends_with(".tar"))
                {
                    let path = folder.join("inner.tar");
                    fs::write(&path, bytes).map_err(|error| error.to_string())?;
                    if let Ok(listed) = python.ask("archive", &path) {
                        let class = inner.trim_end_matches(".tar");
                        let within = |(name, bytes)| (format!("{class}/{name}"), bytes);
                        found.extend(listing(&listed).into_iter().map(within));
                    }
                }
                let part = usize::from(name.contains("val"));
                for (name, bytes) in &found {
                    if let Ok(image) = Image::decode(bytes, name) {
                        there.push((part, beside(name, &found, &lists), image));
                    }
                }
            }
            if now == 0 {
                now = there.len();
            }
        }
        for (part, class, image) in &ours.0 {
            let is_this = |theirs: &&(usize, Option<String>, Image)| {
                theirs.0 == *part
                    && theirs.2 == *image
                    && theirs.1.as_ref().is_none_or(|c| c == class)
            };
            if !there.iter().any(|theirs| is_this(&theirs)) {
                return Err(format!("no file is this picture of {class:?} in part {part}"));
            }
        }
        let read = ours.0.len() as u64 + left_out;
        match now as u64 > read {
            true => Err(format!("{now} pictures are there and {read} are told")),
            false => Ok(Verdict::Other),
        }
    }

    fn configuration(&mut self, path: &Path) -> Judged {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            // Not UTF-8: as the program says it.
            Err(_) => {
                return match config::read(path) {
                    Ok(_) => Err("what is no UTF-8 was read".into()),
                    Err(error) => refused(&error.to_string()),
                };
            }
        };
        let config = match Config::from_toml(&text, "run.toml") {
            Ok(config) => config,
            Err(error) => return refused(&error.to_string()),
        };
        let written = config.to_toml();
        match Config::from_toml(&written, "again") {
            Ok(again) if again == config => {}
            Ok(_) => return Err("it is another configuration when it is written".into()),
            Err(error) => return Err(format!("what it writes is refused: {error}")),
        }
        if let Some(python) = &mut self.python {
            let theirs = python.ask("toml", path);
            let theirs = theirs.map_err(|why| format!("tomllib refuses what is read: {why}"))?;
            let ours: toml::Table = toml::from_str(&written).map_err(|error| error.to_string())?;
            let ours = serde_json::to_value(ours).map_err(|error| error.to_string())?;
            holds(&ours, &theirs["table"], "")?;
        }
        plan(&config)
    }

    fn run(&mut self, case: &Case, number: u64, folder: &Path) -> Judged {
        let out = folder.join("input");
        let mut verdict = Verdict::Same;
        let mut also = |judged: Judged| {
            verdict = match (judged?, verdict) {
                (Verdict::Same, verdict) => verdict,
                (other, _) => other,
            };
            Ok::<(), String>(())
        };
        let run = match Run::resume(&out, &crate::host()) {
            Ok(run) => run,
            Err(error) => return refused(&error.to_string()),
        };
        also(if case.files.contains_key("events.jsonl") {
            log(&case.seed, &out.join("events.jsonl"))
        } else {
            Ok(Verdict::Other)
        })?;
        for place in below(&case.seed, "/checkpoints/") {
            let (seed, files) = (within(&case.seed, &place), within(&case.files, &place));
            also(checkpoint(&seed, &files, &folder.join("checkpoints")))?;
        }
        for place in below(&case.seed, "/model.safetensors") {
            let (seed, files) = (within(&case.seed, &place), within(&case.files, &place));
            also(model(&seed, &files, &folder.join("model")))?;
        }
        let half_way = !below(&case.seed, "artifacts/").iter().any(|place| place == "artifacts");
        if half_way && random::key(&[number]).is_multiple_of(RESUMED) {
            // Its log was written to.
            put(&out, &case.files).map_err(|error| error.to_string())?;
            let ended = self.resume(&run, &out)?;
            also(Ok(ended))?;
        }
        Ok(verdict)
    }

    /// Trains what is left of a run: the models are those of the run that nobody disturbed, or something is said.
    fn resume(&self, run: &Run, out: &Path) -> Judged {
        let mut heard: Vec<Entry> = Vec::new();
        let options = Options::new(out);
        let ended = run.execute(&options, &AtomicBool::new(false), &mut |entry| {
            heard.push(entry.clone());
        });
        if let Err(error) = ended {
            return refused(&error.to_string());
        }
        let ours = take(out).map_err(|error| error.to_string())?;
        let of_a_model = |name: &&String| {
            ["model.safetensors", "config.json", "merge.json"].iter().any(|end| name.ends_with(end))
        };
        // A resume does not read the model of a finished member. Everything that does read it checks its sums, and refuses.
        let is_read = |name: &String| {
            let folder = out.join(name);
            folder.parent().is_some_and(|folder| ModelFolder::read(folder).is_ok())
        };
        let differs = self
            .finished
            .keys()
            .filter(of_a_model)
            .find(|name| ours.get(*name) != self.finished.get(*name) && is_read(name));
        let said = heard.iter().any(|entry| matches!(entry.event, Event::Warning { .. }));
        match differs {
            None if said => Ok(Verdict::Other),
            None => Ok(Verdict::Same),
            Some(_) if said => Ok(Verdict::Other),
            Some(name) => Err(format!("{name} is another one after a resume, and nothing is said")),
        }
    }
}

/// A refusal, which has to be one sentence, as the program shows it.
fn refused(sentence: &str) -> Judged {
    let sentence = &*engine::text::printable(sentence);
    let bad =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if sentence.is_empty() || sentence.len() > SENTENCE || sentence.contains(bad) {
        let start: String = sentence.chars().take(SENTENCE).collect();
        return Err(format!("the refusal is no clean sentence: {start:?}"));
    }
    Ok(Verdict::Refused)
}

/// A labelled picture of a part: training or test.
type Labelled = (usize, String, Image);

/// What a data set holds, in an order of its own.
#[derive(Debug, PartialEq)]
struct Held(Vec<Labelled>);

impl Held {
    fn new(mut all: Vec<Labelled>) -> Self {
        all.sort_by(|a, b| (a.0, &a.1, &a.2.pixels).cmp(&(b.0, &b.1, &b.2.pixels)));
        Self(all)
    }
}

/// Everything in a data set, as Taper reads it, and how many files its account says it left out; or the sentence by which it refuses it.
///
/// # Errors
/// What Taper says of it does not fit together.
fn survey(kind: ImageKind, path: &Path) -> Result<Result<(Held, u64), String>, String> {
    let config = Images { kind, path: Some(path.display().to_string()), ..Images::default() };
    let survey = match images::survey(&config, usize::MAX) {
        Ok(survey) => survey,
        Err(error) => return Ok(Err(error.to_string())),
    };
    // A look goes past damaged pictures with a note each; a run refuses them, or leaves them out where it is told to.
    let set = images::open(&Images { size: Some(4), ..config.clone() });
    let left = images::open(&Images { size: Some(4), on_error: OnError::Skip, ..config });
    let mut all = Vec::new();
    let mut counted = 0;
    for (part, surveyed) in [&survey.train, &survey.test].into_iter().enumerate() {
        counted += surveyed.counts.iter().sum::<u64>() as usize;
        for sample in &surveyed.samples {
            let class = survey.classes.get(sample.label as usize);
            let class = class.ok_or_else(|| format!("no class has label {}", sample.label))?;
            all.push((part, class.clone(), sample.image.clone()));
        }
    }
    let opened = |set: &data::Dataset| set.train.len() + set.test.len();
    if let Ok(set) = &left
        && opened(set) != all.len()
    {
        return Err(format!("{} pictures are shown, {} are left", all.len(), opened(set)));
    }
    match &set {
        Err(error) => return Ok(Err(error.to_string())),
        Ok(set) if opened(set) != all.len() || counted != all.len() => {
            let opened = opened(set);
            return Err(format!(
                "{counted} pictures are counted, {} shown, {opened} opened",
                all.len()
            ));
        }
        Ok(_) => {}
    }
    let account = &survey.account;
    for line in account.lines() {
        refused(&line)?;
    }
    let skipped: u64 = account.skipped.values().map(|skipped| skipped.count).sum();
    let ignored: u64 = account.ignored.iter().map(|ignored| ignored.pictures).sum();
    Ok(Ok((Held::new(all), skipped + ignored)))
}

/// Compares a data set with what is to be in it; `None` if it is to be refused.
fn data(kind: ImageKind, path: &Path, wanted: Option<Held>) -> Judged {
    match (survey(kind, path)?, wanted) {
        (Err(error), _) => refused(&error),
        (Ok((ours, _)), None) => {
            Err(format!("{} pictures of a damaged set are read", ours.0.len()))
        }
        (Ok((ours, _)), Some(wanted)) if ours == wanted => Ok(Verdict::Other),
        (Ok((ours, _)), Some(wanted)) => {
            Err(format!("{} pictures are read where {} others lie", ours.0.len(), wanted.0.len()))
        }
    }
}

/// The files that Python finds in an archive.
fn listing(answer: &Value) -> Files {
    let mut files = Files::new();
    for file in answer["files"].as_array().into_iter().flatten() {
        if let (Some(name), Some(hex)) = (file[0].as_str(), file[1].as_str()) {
            files.insert(name.into(), python::bytes(hex));
        }
    }
    files
}

/// The class of a picture by what is beside it: its folder, the line of a list, or the label of its key; none where nothing tells.
fn beside(name: &str, files: &Files, lists: &[String]) -> Option<String> {
    if let Some((class, _)) = name.split_once('/') {
        return Some(class.into());
    }
    let key = name.split('.').next()?;
    let label = |end: &str| {
        let bytes = files.get(&format!("{key}.{end}"))?;
        let text = String::from_utf8(bytes.clone()).ok()?;
        match end {
            "cls" => text.trim().parse().ok(),
            _ => serde_json::from_str::<Value>(&text).ok()?.get("label")?.as_u64(),
        }
    };
    let mut lines = lists.iter().flat_map(|list| list.lines());
    if let Some(label) = label("cls").or_else(|| label("json")) {
        return lines.nth(label as usize).map(|line| line.trim().to_owned());
    }
    let line = lines.find(|line| line.starts_with(key))?;
    line.split(' ').nth(1).map(str::to_owned)
}

/// Compares what is read as pictures in folders with the files that lie there: each is one of them, of a class that its path names, and of
/// the others the account tells.
fn pictures(path: &Path, files: &Files) -> Judged {
    let (ours, left_out) = match survey(ImageKind::Folder, path)? {
        Ok(read) => read,
        Err(error) => return refused(&error),
    };
    let ends = ["png", "jpg", "jpeg", "bmp", "webp", "tif", "tiff", "ppm", "pgm"];
    let is_picture = |name: &str| {
        let end = name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase());
        end.is_some_and(|end| ends.contains(&end.as_str()))
    };
    let mut there: Vec<(&String, Option<Image>)> = files
        .iter()
        .filter(|(name, _)| is_picture(name))
        .map(|(name, bytes)| (name, Image::decode(bytes, name).ok()))
        .collect();
    for (part, class, image) in &ours.0 {
        let is_this = |(name, theirs): &(&String, Option<Image>)| {
            let mut parts = name.split('/');
            let (train, test) =
                (parts.clone().any(|p| p == "train"), parts.clone().any(|p| p == "test"));
            let right_part = train == test || (*part == 0) == train;
            theirs.as_ref() == Some(image) && parts.any(|p| p == class) && right_part
        };
        match there.iter().position(is_this) {
            Some(at) => drop(there.swap_remove(at)),
            None => return Err(format!("no file is this picture of {class:?} in part {part}")),
        }
    }
    if there.len() as u64 > left_out {
        let names: Vec<&String> = there.iter().map(|(name, _)| *name).collect();
        return Err(format!("{names:?} vanish, and {left_out} files are said to be left out"));
    }
    Ok(Verdict::Other)
}

/// IDX by its description: zeros, type, rank, extents, bytes.
fn array(bytes: &[u8]) -> Option<(Vec<usize>, &[u8])> {
    let rank = match bytes.get(..4)? {
        [0, 0, 8, rank] => usize::from(*rank),
        _ => return None,
    };
    let extents = bytes.get(4..4 + 4 * rank)?.chunks(4);
    let extents: Vec<usize> =
        extents.map(|word| word.iter().fold(0, |n, &byte| n << 8 | usize::from(byte))).collect();
    let rest = &bytes[4 + 4 * rank..];
    let count = extents.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent))?;
    (count == rest.len()).then_some((extents, rest))
}

fn idx(files: &Files) -> Option<Held> {
    let mut all = Vec::new();
    for (part, name) in ["train", "t10k"].into_iter().enumerate() {
        let find = |what: &str, dims: u8| {
            let name = format!("{name}-{what}-idx{dims}-ubyte");
            let plain = files.get(&name).cloned();
            plain.map(Some).or_else(|| files.get(&format!("{name}.gz")).map(|b| mutate::unzip(b)))
        };
        let (images, labels) = match (find("images", 3), find("labels", 1)) {
            (None, None) => continue,
            (images, labels) => (images??, labels??),
        };
        let ((extents, pixels), (count, labels)) = (array(&images)?, array(&labels)?);
        let (height, width, channels) = match extents[1..] {
            [height, width] => (height, width, 1),
            [height, width, channels @ (1 | 3)] => (height, width, channels),
            _ => return None,
        };
        if count != extents[..1] || height * width == 0 {
            return None;
        }
        for (pixels, label) in pixels.chunks(height * width * channels).zip(labels) {
            let image = Image { height, width, channels, pixels: pixels.to_vec() };
            all.push((part, label.to_string(), image));
        }
    }
    Some(Held::new(all))
}

fn cifar(files: &Files) -> Option<Held> {
    let names = files.get("batches.meta.txt").map(|bytes| String::from_utf8_lossy(bytes));
    let names = names.unwrap_or_default();
    let names: Vec<&str> = names.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut all = Vec::new();
    for (part, name) in
        (1..=5).map(|n| (0, format!("data_batch_{n}.bin"))).chain([(1, "test_batch.bin".into())])
    {
        let bytes = files.get(&name).filter(|b| !b.is_empty() && b.len() % 3073 == 0)?;
        for record in bytes.chunks(3073) {
            let label = usize::from(record[0]);
            let class = match names.len() {
                10 => names.get(label)?.to_string(),
                _ => (0..10).nth(label)?.to_string(),
            };
            let pixel = |n: usize| [record[1 + n], record[1025 + n], record[2049 + n]];
            let pixels = (0..1024).flat_map(pixel).collect();
            all.push((part, class, Image { height: 32, width: 32, channels: 3, pixels }));
        }
    }
    Some(Held::new(all))
}

/// Whether a picture is Pillow's.
fn same_picture(ours: &Image, theirs: &Value) -> Result<(), String> {
    let size = (theirs["size"][0].as_u64(), theirs["size"][1].as_u64());
    if size != (Some(ours.height as u64), Some(ours.width as u64)) {
        return Err(format!("{}×{} pixels where Pillow has {size:?}", ours.height, ours.width));
    }
    let (mode, format) = (theirs["mode"].as_str(), theirs["format"].as_str());
    // Of deeper pixels Pillow keeps the low or the high bits, as it comes.
    let plain = matches!(mode, Some("1" | "L" | "P" | "RGB" | "RGBA" | "LA" | "PA"));
    let (Some(hex), true) = (theirs["pixels"].as_str(), plain) else { return Ok(()) };
    let ours = ours.clone().with_channels(3).pixels;
    let theirs = python::bytes(hex);
    let far = ours.iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b));
    let (worst, sum) = far.fold((0, 0u64), |(worst, sum), d| (worst.max(d), sum + u64::from(d)));
    let mean = sum as f64 / ours.len().max(1) as f64;
    // Decoders of JPEG differ in the rounding of their transforms and in how they smooth colours.
    let lossy = matches!(format, Some("JPEG" | "MPO"));
    // Fewer than 8 bits are spread to 8 by other roundings.
    let exact = if matches!(format, Some("BMP" | "DIB" | "PPM")) { 1 } else { 0 };
    if ours.len() != theirs.len() || (!lossy && worst > exact) || mean > 4.0 {
        return Err(format!(
            "pixels differ from Pillow's by {mean:.2}, at most {worst} ({format:?}, {mode:?})"
        ));
    }
    Ok(())
}

/// safetensors by its description.
fn by_description(bytes: &[u8]) -> Option<Weights> {
    let length = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    let start = usize::try_from(length).ok()?.checked_add(8)?;
    let header: Value = serde_json::from_slice(bytes.get(8..start)?).ok()?;
    let data = &bytes[start..];
    let mut weights = Weights::new();
    for (name, tensor) in header.as_object()? {
        if name == "__metadata__" || name.ends_with("num_batches_tracked") {
            continue;
        }
        let number = |value: &Value| value.as_u64().map(|n| n as usize);
        let shape: Vec<usize> =
            tensor["shape"].as_array()?.iter().map(number).collect::<Option<_>>()?;
        let offsets = &tensor["data_offsets"];
        let bytes = data.get(number(&offsets[0])?..number(&offsets[1])?)?;
        let number: fn(&[u8]) -> f32 = match tensor["dtype"].as_str()? {
            "F32" => |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            "F64" => |b| f64::from_le_bytes(b.try_into().unwrap_or_default()) as f32,
            "BF16" => |b| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16),
            "F16" => |b| half(u16::from_le_bytes([b[0], b[1]])),
            _ => return None,
        };
        let count: usize = shape.iter().product();
        if count > 0 && !bytes.len().is_multiple_of(count) {
            return None;
        }
        let width = bytes.len().checked_div(count).unwrap_or(1).max(1);
        let data: Vec<f32> = bytes.chunks(width).map(number).collect();
        weights.insert(name.clone(), engine::nn::Tensor::new(shape, data));
    }
    Some(weights)
}

/// A number of 16 bits by its parts.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    match exponent {
        0 => sign * fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
    }
}

/// Whether two sets of weights are the same, where what is not a number is.
fn alike(a: &Weights, b: &Weights) -> bool {
    let number = |a: &f32, b: &f32| a == b || (a.is_nan() && b.is_nan());
    a.len() == b.len()
        && a.iter().zip(b).all(|((name, one), (other, two))| {
            name == other
                && one.shape == two.shape
                && one.data.iter().zip(&two.data).all(|(a, b)| number(a, b))
        })
}

fn weights(case: &Case, input: &Path) -> Judged {
    let name = "model.safetensors";
    match safetensors::read(&input.join(name)) {
        Err(error) => refused(&error.to_string()),
        Ok((ours, _)) => match by_description(&case.files[name]) {
            Some(theirs) if alike(&ours, &theirs) => Ok(Verdict::Other),
            Some(_) => Err("the weights are others than the file's".into()),
            None => Err("what is no safetensors file is read".into()),
        },
    }
}

/// A model folder with sums is what it was, or is refused.
fn model(seed: &Files, files: &Files, folder: &Path) -> Judged {
    let read = |name: &str, files: &Files| {
        let folder = folder.join(name);
        drop(fs::remove_dir_all(&folder));
        put(&folder, files).map_err(|error| error.to_string())?;
        ModelFolder::read(&folder).map_err(|error| error.to_string())
    };
    let original = read("original", seed)?;
    match read("changed", files) {
        Err(error) => refused(&error),
        Ok(changed) if changed == original => Ok(Verdict::Same),
        // Without sums it is as good as one from elsewhere.
        Ok(_) if !files.contains_key("SHA256SUMS") => Ok(Verdict::Other),
        Ok(_) => Err("another model than the sums are of is read".into()),
    }
}

/// A resume takes one of the checkpoints that were written, and an older one only with a warning.
fn checkpoint(seed: &Files, files: &Files, folder: &Path) -> Judged {
    let read = |name: &str, files: &Files| {
        let folder = folder.join(name);
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        put(&folder, files).map_err(|error| error.to_string())?;
        Checkpoint::newest(&SystemDisk, &folder).map_err(|error| error.to_string())
    };
    let mut written = Vec::new();
    for (name, bytes) in seed.iter().rev() {
        let one = Files::from([(name.clone(), bytes.clone())]);
        written.extend(read("original", &one)?.0);
    }
    match read("changed", files) {
        Err(error) => refused(&error),
        Ok((None, _)) if files.is_empty() => Ok(Verdict::Other),
        Ok((None, _)) => Err("there are checkpoints, and none is taken or refused".into()),
        Ok((Some(taken), said)) => match written.iter().position(|one| *one == taken) {
            Some(0) => Ok(if said.is_empty() { Verdict::Same } else { Verdict::Other }),
            Some(_) if !said.is_empty() || files.len() < seed.len() => Ok(Verdict::Other),
            Some(_) => Err("an older checkpoint is taken, and nothing is said".into()),
            None => Err("a checkpoint is taken that nobody wrote".into()),
        },
    }
}

/// Whether everything that is set in TOML stands in a configuration.
fn holds(ours: &Value, theirs: &Value, key: &str) -> Result<(), String> {
    let differ = || Err(format!("`{key}` is {ours}, but {theirs} stands there"));
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            theirs.iter().try_for_each(|(name, theirs)| {
                let key = format!("{key}.{name}");
                match ours.get(name) {
                    Some(ours) => holds(ours, theirs, &key),
                    None if theirs.as_object().is_some_and(serde_json::Map::is_empty) => Ok(()),
                    None => Err(format!("`{key}` is set to {theirs} and vanishes")),
                }
            })
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            ours.iter().zip(theirs).try_for_each(|(ours, theirs)| holds(ours, theirs, key))
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => Ok(()),
        (ours, theirs) if ours == theirs => Ok(()),
        _ => differ(),
    }
}

/// What a configuration comes to is known, or refused, in short time and little memory.
fn plan(config: &Config) -> Judged {
    let subject = data::promised(config);
    let student = models::network(&config.model, subject.input, subject.output);
    let teacher = surgery::widen(&student, config.teacher.factor, config.teacher.widen);
    for network in [&student, &teacher] {
        if let Err(error) = network.size() {
            return refused(&error.to_string());
        }
    }
    // Plans of deep networks are long.
    if matches!(config.model, Model::Mlp(_))
        && let Err(error) =
            needs(config, &student, &teacher, subject.task(), &Target::web(AdapterKind::Gpu))
    {
        return refused(&error.to_string());
    }
    Ok(Verdict::Other)
}

/// Every entry of a log is a line of it, and the log goes on.
fn log(seed: &Files, path: &Path) -> Judged {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let entries = match event::read(path) {
        Ok(entries) => entries,
        Err(error) => return refused(&error.to_string()),
    };
    let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let lines: Vec<Value> = bytes[..end]
        .split(|&byte| byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    for entry in &entries {
        let ours = serde_json::to_value(entry).map_err(|error| error.to_string())?;
        if !lines.iter().any(|line| of_line(&ours, line)) {
            return Err(format!("no line says {ours}"));
        }
    }
    let before = entries.iter().map(|entry| entry.seq).max();
    let mut log = EventLog::open(path).map_err(|error| error.to_string())?;
    let said = Event::Log { message: "goes on".into() };
    let last = log.append(said).map_err(|error| error.to_string())?;
    if before.is_some_and(|before| last.seq <= before && before < u64::MAX) {
        return Err(format!("seq goes from {before:?} to {}", last.seq));
    }
    let again = event::read(path).map_err(|error| error.to_string())?;
    if again.last() != Some(&last) {
        return Err("what is appended is not read".into());
    }
    Ok(if bytes == seed["events.jsonl"] { Verdict::Same } else { Verdict::Other })
}

/// Whether an entry says what a line does, but for what the line leaves out.
fn of_line(ours: &Value, line: &Value) -> bool {
    match (ours, line) {
        (Value::Object(ours), Value::Object(line)) => {
            ours.iter().all(|(key, ours)| line.get(key).is_none_or(|line| of_line(ours, line)))
        }
        (Value::Array(ours), Value::Array(line)) => {
            ours.len() == line.len() && ours.iter().zip(line).all(|(a, b)| of_line(a, b))
        }
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (ours, line) => ours == line,
    }
}

/// The folders that stand before a part of the paths, each once.
fn below(files: &Files, part: &str) -> Vec<String> {
    let mut found: BTreeMap<String, ()> = BTreeMap::new();
    for name in files.keys() {
        if let Some((folder, _)) = name.split_once(part) {
            let inner = part.trim_matches('/');
            let whole = if inner.contains('.') { folder.into() } else { join(folder, inner) };
            found.insert(whole, ());
        }
    }
    found.into_keys().collect()
}

fn join(folder: &str, inner: &str) -> String {
    if folder.is_empty() { inner.into() } else { format!("{folder}/{inner}") }
}

/// The files of a folder.
fn within(files: &Files, folder: &str) -> Files {
    let inside = |(name, bytes): (&String, &Vec<u8>)| {
        let name = name.strip_prefix(folder)?.strip_prefix('/')?;
        Some((name.to_owned(), bytes.clone()))
    };
    files.iter().filter_map(inside).collect()
}
