//! Teachers from elsewhere: where they lie, what they and the run both know, and what they are worth on the run's data.
//!
//! What two sides know is compared: the classes by name, how pictures are framed, the shapes. What only the teacher knows is taken over.

mod text;

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use super::{TrainError, context::Teacher};
use crate::{
    classes,
    config::{Activation, Config, Data, Disagreement, Framing, Head, ImageKind, Model},
    data::{
        self, DataError, Subject,
        images::{self, Preprocess},
    },
    disk::SystemDisk,
    event::{self, Event},
    formats::{
        FormatError, ImageModel, ModelFolder,
        folder::{self, Architecture},
        safetensors, sums, timm, transformers, vision,
    },
    models::{self, Output},
    nn::{Extent, FileLayout, Layer, Network, NetworkError, Tensor, Weights},
};

pub(super) use text::begin;
pub use text::{TextTeacher, text_teacher};

/// A teacher's files.
#[derive(Debug)]
struct Found {
    /// `model.safetensors` of a folder, or the file that was named.
    weights: PathBuf,
    /// What the folder says of them; none for weights alone.
    described: Option<Described>,
    /// What was chosen without being asked for.
    warning: Option<String>,
}

/// What a folder says of the weights in it.
#[derive(Debug)]
enum Described {
    /// A folder as runs write it.
    Taper(ImageModel),
    /// A folder as timm or transformers writes it.
    Elsewhere(timm::Described),
}

impl Described {
    /// Channels of the pictures.
    fn channels(&self) -> Option<u32> {
        match self {
            Described::Taper(model) => Some(model.input.channels),
            Described::Elsewhere(of) => of.channels,
        }
    }

    /// Names of the classes, in the order of the outputs.
    fn labels(self) -> Option<Vec<String>> {
        match self {
            Described::Taper(model) => Some(model.labels),
            Described::Elsewhere(of) => of.labels,
        }
    }

    /// What is done to the pictures.
    fn framing(&self, from: &str) -> Result<Framing, TrainError> {
        let model = match self {
            Described::Taper(model) => model,
            Described::Elsewhere(of) => return Ok(of.framing.clone()),
        };
        let bad = |error: DataError| refused(from, format!("its {}: {error}", folder::CONFIG));
        let of = Preprocess::try_from(&model.input).map_err(bad)?;
        Ok(Framing {
            size: Some(model.input.size),
            interpolation: Some(of.interpolation()),
            crop: Some(of.crop()),
            mean: Some(of.mean().to_vec()),
            std: Some(of.std().to_vec()),
        })
    }
}

/// A teacher from elsewhere that fits the data.
#[derive(Debug, Clone)]
pub(super) struct Imported {
    /// Its outputs in the order of the data's classes.
    pub(super) teacher: Teacher,
    /// The file of its weights: one file is one teacher, whatever the seed.
    pub(super) file: PathBuf,
    /// What had to be assumed.
    pub(super) warnings: Vec<String>,
    /// What the architecture is called where the run writes it: with a new head.
    pub(super) form: Option<Architecture>,
}

/// Says of an error that it is about the teacher `from`.
fn refused(from: &str, message: impl Into<String>) -> TrainError {
    TrainError::Teacher { from: from.into(), message: message.into(), hint: None }
}

/// The teacher of `seed` in `from`, and what its folder says.
fn find(from: &str, seed: u64) -> Result<Found, TrainError> {
    let (weights, warning) = locate(from, seed)?;
    if weights.ends_with(transformers::INDEX) {
        let message = "its weights are in several files; a network on images is read from one";
        return Err(refused(from, message));
    }
    refuse_pickles(from, &weights)?;
    let described = described(&weights)?;
    Ok(Found { weights, described, warning })
}

/// The file of the weights, or of the names of several: `from` itself, the teacher of `seed` in a run or else its first, a model folder's, a run's or member's student.
fn locate(from: &str, seed: u64) -> Result<(PathBuf, Option<String>), TrainError> {
    let path = Path::new(from);
    if path.is_file() {
        return Ok((path.into(), None));
    }
    let inside = |folder: PathBuf| {
        let names = [folder::WEIGHTS, transformers::INDEX];
        names.map(|name| folder.join(name)).into_iter().find(|file| file.is_file())
    };
    let teachers = path.join("teachers");
    if let Some(file) = inside(teachers.join(seed.to_string())) {
        return Ok((file, None));
    }
    let mut others: Vec<u64> = std::fs::read_dir(&teachers)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    others.sort_unstable();
    let other = |&other: &u64| Some((inside(teachers.join(other.to_string()))?, other));
    if let Some((file, other)) = others.iter().find_map(other) {
        let warning =
            format!("`{from}` has no teacher of seed {seed}; its teacher of seed {other} is taken");
        return Ok((file, Some(warning)));
    }
    if let Some(file) = inside(path.into()) {
        return Ok((file, None));
    }
    if let Some(file) = inside(path.join("artifacts")) {
        let warning = path.join("config.toml").is_file().then(|| {
            format!("`{from}` has trained no teacher; the student in its folder artifacts is taken")
        });
        return Ok((file, warning));
    }
    let why = if path.exists() { "" } else { ": it is not there" };
    let message = format!(
        "holds no teacher{why}; give a safetensors file, a folder with {}, or a finished run",
        folder::WEIGHTS
    );
    Err(refused(from, message))
}

/// Refuses what `torch.save` wrote, by its first bytes: a zip archive, or in old files a pickle.
fn refuse_pickles(from: &str, file: &Path) -> Result<(), TrainError> {
    let mut head = [0; 9];
    let mut open = File::open(file).map_err(|source| FormatError::read(file, source))?;
    if open.read(&mut head).map_err(|source| FormatError::read(file, source))? < head.len() {
        return Ok(());
    }
    // The first eight bytes of safetensors are a length, which may be anything; its header follows.
    let pickled = head.starts_with(b"PK\x03\x04") || (head[0] == 0x80 && head[1] <= 5);
    if head[8] == b'{' || !pickled {
        return Ok(());
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let convert = format!(
        "convert it once: python -c \"import torch, safetensors.torch as s; s.save_file(torch.load('{name}', map_location='cpu', weights_only=True), '{stem}.safetensors')\""
    );
    let message = format!(
        "`{name}` is a pickle of PyTorch's, which can run code when it is read; safetensors are read"
    );
    Err(TrainError::Teacher { from: from.into(), message, hint: Some(convert) })
}

/// What the folder of `model.safetensors` says of it; none if its `config.json` is of another program, such as transformers.
fn described(weights: &Path) -> Result<Option<Described>, TrainError> {
    let named = weights.file_name().is_some_and(|name| name == folder::WEIGHTS);
    let config = weights.parent().map(|folder| folder.join(folder::CONFIG));
    let Some(config) = config.filter(|config| named && config.is_file()) else { return Ok(None) };
    let bytes = sums::read(&SystemDisk, &config)?;
    let value: serde_json::Value = folder::parse_json(&config, &bytes)?;
    if value["model"].is_object() {
        return Ok(Some(Described::Taper(folder::parse_json(&config, &bytes)?)));
    }
    let timm = timm::described(&value).map_err(|error| FormatError::content(&config, error))?;
    let elsewhere = match (timm, config.parent()) {
        (None, Some(folder)) => vision::described(&SystemDisk, folder, &value)?,
        (timm, _) => timm,
    };
    Ok(elsewhere.map(Described::Elsewhere))
}

/// The configuration, completed with what a teacher from elsewhere says of its pictures, and lines on what was added.
///
/// # Errors
/// There is no such teacher, or `[data]` says otherwise.
pub fn settled(config: &Config) -> Result<(Config, Vec<String>), TrainError> {
    let (mut config, mut lines) = (config.clone(), Vec::new());
    let Data::Images(data) = &mut config.data else {
        let taken = text::take_tokenizer(&mut config)?;
        return Ok((config, taken.into_iter().collect()));
    };
    if let Some(from) = config.teacher.from.clone() {
        for &seed in &config.seeds {
            let Some(described) = find(&from, seed)?.described else { continue };
            let disagreement = |Disagreement { key, written, trained }| {
                let problem = format!(
                    "{written} is not what the teacher in `{from}` was trained with, which is {trained}; leave the key out or give that value"
                );
                DataError::Setting { key, problem }
            };
            let channels = images::promised(data).0.channels;
            if data.kind != ImageKind::Idx
                && let Some(theirs) = described.channels().filter(|&c| c as usize != channels)
            {
                let message = format!(
                    "it reads pictures of {theirs} channels, and the data's have {channels}"
                );
                return Err(refused(&from, message));
            }
            let framing = described.framing(&from)?;
            let taken = data.take_over(&framing).map_err(disagreement)?;
            if !taken.is_empty() {
                lines.push(format!("taken over from the teacher: {}", taken.join(", ")));
            }
        }
    }
    data.frame();
    Ok((config, lines))
}

/// What the networks of a run read and tell apart while its data are not there: what such data usually are, or what a teacher from elsewhere
/// says of its own; the built-in images are always there.
///
/// # Errors
/// The teacher cannot be read.
pub fn presumed(config: &Config) -> Result<Subject, TrainError> {
    let Data::Images(data) = &config.data else { return Ok(data::promised(config)) };
    let (mut shape, usual) = images::promised(data);
    let built_in = config.data.is_built_in();
    let (Some(from), Some(&seed), false) = (&config.teacher.from, config.seeds.first(), built_in)
    else {
        return Ok(data::promised(config));
    };
    let found = find(from, seed)?;
    let (mut channels, mut labels) = (None, None);
    if let Some(described) = found.described {
        if let Some(side) = described.framing(from)?.size {
            (shape.height, shape.width) = (side as usize, side as usize);
        }
        channels = described.channels().map(|channels| channels as usize);
        labels = described.labels();
    }
    if config.teacher.head == Head::New {
        // Those of the data, which are not there.
        labels = Some(classes::numbers(usual));
    }
    if channels.is_none() || labels.is_none() {
        let weights = tensors(&found.weights)?;
        let rows = |name: &str| weights.get(name).and_then(|head| head.shape.first().copied());
        let stem = weights.get("conv1.weight").map(|stem| FileLayout::Kernel.here(&stem.shape));
        if let Some([.., read @ (1 | 3)]) = stem.as_deref() {
            channels = channels.or(Some(*read));
        }
        let outputs = rows("fc.weight").or(rows("head.weight"));
        labels = labels.or(Some(classes::numbers(outputs.unwrap_or(usual))));
    }
    shape.channels = channels.unwrap_or(shape.channels);
    let classes = labels.unwrap_or_else(|| classes::numbers(usual));
    Ok(Subject {
        input: shape.extent(),
        output: Output::Classes(classes.len() as u32),
        classes,
        tokenizer: None,
    })
}

/// The teacher of `seed` for a student on these classes, checked before anything runs.
///
/// # Errors
/// There is none, it cannot be read, it reads other pictures, or it tells other classes apart.
pub(super) fn import(
    config: &Config,
    from: &str,
    seed: u64,
    student: &Network,
    subject: &Subject,
) -> Result<Imported, TrainError> {
    let Data::Images(data) = &config.data else {
        return text::import(from, seed, student, subject);
    };
    let labels = &subject.classes;
    let Found { weights: file, described, warning } = find(from, seed)?;
    let mut warnings: Vec<String> = warning.into_iter().collect();
    if let (Some(theirs), Extent::Map(_, _, channels)) =
        (described.as_ref().and_then(Described::channels), student.input)
        && theirs != channels
    {
        let message =
            format!("it reads pictures of {theirs} channels, and the data's have {channels}");
        return Err(refused(from, message));
    }
    let (mut network, mut weights) = match &described {
        Some(Described::Taper(_)) => read_folder(&file, student)?,
        _ => read_alone(&file, &config.model, student)?,
    };
    if let Some(Described::Elsewhere(of)) = &described
        && !of.unknown.is_empty()
    {
        warnings.push(format!(
            "`{from}` was trained with {}, which Taper does not do to pictures; data.interpolation and data.crop say what is done instead",
            of.unknown.join(" and ")
        ));
    }
    if data.mean.is_none() {
        warnings.push(unnormalised(from, student));
    }
    models::check(&network, &weights).map_err(|error| TrainError::Teacher {
        from: from.into(),
        message: error.to_string(),
        hint: of_another_size(&network, &weights),
    })?;
    let known = described.and_then(Described::labels);
    match config.teacher.head {
        Head::Same => {
            if let Some(outputs) = order(from, &network, known, labels, &mut warnings)? {
                put_in_order(&network, &mut weights, &outputs);
            }
        }
        Head::New => {
            let before = network.shapes()?.output.width();
            models::new_head(&mut network, &mut weights, labels.len() as u32)
                .map_err(|error| refused(from, error.to_string()))?;
            warnings.push(format!(
                "`{from}`: its head for {before} classes gives way to a fresh one for the {} of the data; [wide] trains the teacher on, at first the head alone",
                labels.len()
            ));
        }
    }
    let network = models::regroup(network, student);
    weights.retain(|name, _| !name.ends_with("num_batches_tracked"));
    let form = match config.teacher.head {
        Head::Same => None,
        Head::New => Some(Architecture::of(&network).ok_or_else(|| {
            let message = "its widths are of no architecture that a model folder describes, so that it cannot be kept with a new head";
            refused(from, message)
        })?),
    };
    let (epochs, seconds) = cost(&file).unzip();
    Ok(Imported { teacher: Teacher { network, weights, epochs, seconds }, file, warnings, form })
}

/// The network of a model folder, for the student's pictures.
fn read_folder(file: &Path, student: &Network) -> Result<(Network, Weights), TrainError> {
    let folder = ModelFolder::read(file.parent().unwrap_or(Path::new("")))?;
    Ok((Network { input: student.input, ..folder.config.network() }, folder.weights))
}

/// The tensors of a file, by torchvision's names if they have transformers'.
fn tensors(file: &Path) -> Result<Weights, TrainError> {
    let (weights, _) = safetensors::read(file)?;
    Ok(if vision::is_there(&weights) { vision::by_our_names(weights) } else { weights })
}

/// The network that weights alone are of, as far as their names and shapes tell; an MLP's activation is the student's.
fn read_alone(
    file: &Path,
    model: &Model,
    student: &Network,
) -> Result<(Network, Weights), TrainError> {
    let activation = match model {
        Model::Mlp(mlp) => mlp.activation,
        _ => Activation::Relu,
    };
    let weights = tensors(file)?;
    let network = models::infer(&weights, student.input, activation)
        .map_err(|error| NetworkError::Weights(format!("`{}`: {error}", file.display())))?;
    let weights = network.from_file(weights);
    Ok((network, weights))
}

/// What to set, if an MLP seems to have been trained on pictures of another size.
fn of_another_size(network: &Network, weights: &Weights) -> Option<String> {
    let specs = network.shapes().ok()?.params;
    let (name, [height, _, channels]) = specs.iter().find_map(|spec| match spec.file {
        FileLayout::Image(image) => Some((&spec.name, image)),
        FileLayout::Same | FileLayout::Kernel | FileLayout::Stacked(_) => None,
    })?;
    let (&inputs, channels) = (weights.get(name)?.shape.get(1)?, channels as usize);
    let side = (inputs / channels).isqrt();
    (side * side * channels == inputs && side != height as usize)
        .then(|| format!("its pictures seem to have {side}×{side} pixels: set data.size={side}"))
}

/// The warning that weights alone do not say how their pictures were normalised.
fn unnormalised(from: &str, student: &Network) -> String {
    let imagenet = match student.input {
        Extent::Map(_, _, 3) => {
            "; those of ImageNet are data.mean=[0.485, 0.456, 0.406] and data.std=[0.229, 0.224, 0.225]"
        }
        _ => "",
    };
    format!(
        "`{from}` does not say how its pictures were normalised, so data.mean and data.std are measured on the training images; if it was trained with others, set them{imagenet}"
    )
}

/// The teacher's output for each class of the data; none where they are in that order.
fn order(
    from: &str,
    network: &Network,
    known: Option<Vec<String>>,
    labels: &[String],
    warnings: &mut Vec<String>,
) -> Result<Option<Vec<u32>>, TrainError> {
    let alone = known.is_none();
    let outputs = network.shapes()?.output.width() as usize;
    let known = known.unwrap_or_else(|| classes::numbers(outputs));
    if known.len() != outputs {
        let named = known.len();
        let message = format!(
            "its {} names {named} classes, and its head has {outputs} outputs",
            folder::CONFIG
        );
        return Err(refused(from, message));
    }
    let matched = classes::all(&known, labels).map_err(|difference| {
        let message = match alone {
            true => format!(
                "it tells {outputs} classes apart, the data have {} ({})",
                labels.len(),
                classes::shown(labels)
            ),
            false => format!("it {difference}"),
        };
        let hint = "teacher.head = \"new\" gives it a head for these classes, and trains it on";
        TrainError::Teacher { from: from.into(), message, hint: Some(hint.into()) }
    })?;
    if matched.by_position || alone {
        let who = if classes::are_numbers(&known) { "the teacher" } else { "the data" };
        let names = classes::shown(if who == "the data" { &known } else { labels });
        warnings.push(format!(
            "`{from}`: {who} has no names for its classes, so outputs and classes are matched by their place, in the order {names}"
        ));
    }
    Ok((!matched.is_identity()).then_some(matched.outputs))
}

/// Puts the rows of the layer that gives the logits their width in another order: row k becomes that of `outputs[k]`.
fn put_in_order(network: &Network, weights: &mut Weights, outputs: &[u32]) {
    let mut heads = network.head.iter().rev().map(Layer::facts);
    let last = heads.find(|facts| facts.width.is_some()).and_then(|facts| facts.name);
    for part in last.into_iter().flat_map(|name| ["weight", "bias"].map(|p| format!("{name}.{p}")))
    {
        let Some(Tensor { shape, data }) = weights.get_mut(&part) else { continue };
        let width = data.len() / shape[0].max(1);
        let row = |&output: &u32| &data[output as usize * width..(output as usize + 1) * width];
        *data = outputs.iter().flat_map(row).copied().collect();
    }
}

/// Epochs and seconds that a teacher cost, where the file lies in a run whose log knows it: those of its own teacher included.
fn cost(file: &Path) -> Option<(f64, f64)> {
    let folder = std::path::absolute(file.parent()?).ok()?;
    let run = folder.ancestors().take(4).find(|at| at.join("events.jsonl").is_file())?;
    let inside: Vec<&str> =
        folder.strip_prefix(run).ok()?.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
    let name = match inside[..] {
        ["teachers", seed] => format!("teacher-{seed}"),
        ["members", member, "artifacts"] => member.into(),
        ["artifacts"] => copied(run, &folder)?,
        _ => return None,
    };
    let entries = event::read(&run.join("events.jsonl")).ok()?;
    entries.into_iter().rev().find_map(|entry| match entry.event {
        Event::MemberFinished {
            member, epochs, seconds, teacher_epochs, teacher_seconds, ..
        } if member == name => Some((epochs? + teacher_epochs?, seconds? + teacher_seconds?)),
        _ => None,
    })
}

/// The member of which a run keeps a copy in `folder`: the one with the same sums.
fn copied(run: &Path, folder: &Path) -> Option<String> {
    let sums = |folder: &Path| std::fs::read(folder.join(sums::NAME)).ok();
    let wanted = sums(folder)?;
    std::fs::read_dir(run.join("members")).ok()?.flatten().find_map(|member| {
        (sums(&member.path().join("artifacts"))? == wanted)
            .then(|| member.file_name().into_string().ok())?
    })
}

/// The teachers of a run, each with the first seed that it teaches.
pub(super) fn distinct(imported: &BTreeMap<u64, Imported>) -> Vec<(u64, &Imported)> {
    let mut found: Vec<(u64, &Imported)> = Vec::new();
    for (&seed, of) in imported {
        if found.iter().all(|(_, known)| known.file != of.file) {
            found.push((seed, of));
        }
    }
    found
}
