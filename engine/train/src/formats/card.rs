//! The model card: what the weights are, how good, and how to load them.

use std::fmt::Write;

use serde_json::json;

use super::{
    ImageInput, ImageModel, MergeReport, ModelConfig, TextModel, folder, onnx, pytorch,
    transformers::BESIDE,
};
use crate::config::{Interpolation, Method};
use crate::event::AnswerScores;
use crate::models::BertHead;
use crate::nn::onnx::{ATTENTION_MASK, INPUT_IDS, TOKEN_TYPE_IDS};
use crate::nn::{Network, NetworkError};

/// What a card says beside what stands in `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct CardFacts {
    /// How the student was trained; none for a teacher.
    pub method: Option<Method>,
    /// Its seed.
    pub seed: u64,
    /// Words for the data, as `cifar10, 10000 training and 2000 test images`.
    pub data: String,
    /// Its stages, a line each, with what they ended in.
    pub stages: Vec<String>,
    /// Test accuracy in percent, of the last weights: of images, or of masked words.
    pub accuracy: f64,
    /// Mean test loss over the same.
    pub loss: f64,
    /// Of questions: what the answers score.
    pub answers: Option<AnswerScores>,
    /// Epochs of the student, restarts included.
    pub epochs: f64,
    /// How large the network is.
    pub size: Footprint,
    /// How large the teacher is that its method reads; none where it reads none.
    pub teacher: Option<Footprint>,
    /// The adapter it was trained on.
    pub adapter: String,
}

/// What a network takes where it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Trainable parameters.
    pub params: u64,
    /// Multiply-adds of one input.
    pub macs: u64,
    /// Bytes of all its numbers as 32-bit floats, running statistics included.
    pub bytes: u64,
}

impl Footprint {
    /// Of a network.
    ///
    /// # Errors
    /// If its layers do not fit each other.
    pub fn of(network: &Network) -> Result<Self, NetworkError> {
        let shapes = network.shapes()?;
        let numbers: u64 = shapes.params.iter().map(|spec| spec.count()).sum();
        let (params, macs) = (shapes.param_count(), shapes.total_macs());
        Ok(Self { params, macs, bytes: 4 * numbers })
    }
}

/// The Markdown text of a card, with the front matter that the Hugging Face hub reads.
pub fn render(facts: &CardFacts, config: &ModelConfig, merge: Option<&MergeReport>) -> String {
    let Words { library, pipeline, name, metrics, size, usage } = match config {
        ModelConfig::Images(model) => of_images(facts, model, config),
        ModelConfig::Text(model) if model.sizes.head == BertHead::Spans => {
            of_questions(facts, model, config)
        }
        ModelConfig::Text(model) => of_text(facts, model, config),
    };
    let by = facts.method.map_or("wide (a teacher)", Method::name);
    let front = front(library, pipeline, name, facts);
    let mut card = format!("---\n{front}---\n\n# {name}, trained by `{by}`\n\n");
    let [accuracy, loss] = metrics;
    let rows = [
        ("Data", facts.data.clone()),
        accuracy,
        loss,
        ("Epochs", format!("{:.2}", facts.epochs)),
        ("Seed", facts.seed.to_string()),
        size,
        ("Trained on", facts.adapter.clone()),
    ];
    card.push_str("| | |\n|---|---|\n");
    for (name, value) in rows {
        writeln!(card, "| {name} | {value} |").expect("a String takes all");
    }
    card.push_str("\n| | Parameters | Multiply-adds | Weights |\n|---|---|---|---|\n");
    let own = if facts.method.is_some() { "this student" } else { "this teacher" };
    let both = [(own, Some(facts.size)), ("its teacher", facts.teacher)];
    for (who, of) in both.into_iter().filter_map(|(who, of)| Some((who, of?))) {
        let Footprint { params, macs, bytes } = of;
        writeln!(card, "| {who} | {params} | {macs} | {} |", kilobytes(bytes))
            .expect("a String takes all");
    }
    card.push_str("\nStages:\n\n");
    for stage in &facts.stages {
        writeln!(card, "- {stage}").expect("a String takes all");
    }
    if let Some(merge) = merge {
        write!(
            card,
            "\nThe network was trained with linear pairs between its blocks ({} parameters) and merged to {}.\n\
             On {} held-out inputs the logits before and after differ by {:.1e} (relative) and {:.1e} (greatest).\n",
            merge.params_before, merge.params_after, merge.inputs, merge.relative_error, merge.max_abs_error
        )
        .expect("a String takes all");
    }
    write!(card, "{USE}{usage}").expect("a String takes all");
    card
}

/// Bytes as people are shown them.
fn kilobytes(bytes: u64) -> String {
    match bytes {
        0..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// What begins the last part of a card.
const USE: &str = "\n## Use\n\n";

/// The front matter, without its lines of dashes: what the hub lists the model by, and how good it is. Nobody but its owner can say its licence.
fn front(library: &str, pipeline: &str, name: &str, facts: &CardFacts) -> String {
    let mut front = format!(
        "license: unknown\nlibrary_name: {library}\npipeline_tag: {pipeline}\ntags:\n- {pipeline}\n- taper\n"
    );
    let metrics = match facts.answers {
        Some(AnswerScores { em, f1 }) => vec![("exact_match", em), ("f1", f1)],
        None => vec![("accuracy", facts.accuracy), ("loss", facts.loss)],
    };
    let metrics: Vec<_> = metrics.into_iter().filter(|(_, value)| value.is_finite()).collect();
    if metrics.is_empty() {
        return front;
    }
    let kind = facts.data.split(',').next().unwrap_or_default();
    // Strings of JSON are strings of YAML.
    write!(
        front,
        "model-index:\n- name: {}\n  results:\n  - task:\n      type: {pipeline}\n    dataset:\n      name: {}\n      type: {}\n    metrics:\n",
        json!(name),
        json!(facts.data),
        json!(kind),
    )
    .expect("a String takes all");
    for (kind, value) in metrics {
        writeln!(front, "    - type: {kind}\n      value: {value:.4}").expect("a String takes all");
    }
    front
}

/// A model of the same run, as a card shows it beside its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Beside {
    /// Who: a member or a teacher.
    pub name: String,
    /// How it was trained; none for a teacher.
    pub method: Option<Method>,
    /// Its seed.
    pub seed: u64,
    /// Test accuracy in percent, or of questions the answers that are right word for word.
    pub accuracy: f64,
    /// Parameters.
    pub params: u64,
    /// Multiply-adds of one input.
    pub macs: u64,
    /// Epochs, restarts included; none where nobody knows.
    pub epochs: Option<f64>,
    /// Bytes of its weights on the disk; none where they are not there.
    pub bytes: Option<u64>,
    /// What one input takes, in words; empty where nobody has measured it.
    pub latency: String,
}

/// A card with a table of models that were trained beside this one; as it is where there are none.
pub fn with_others(card: &str, others: &[Beside]) -> String {
    if others.is_empty() {
        return card.into();
    }
    let measured = others.iter().any(|other| !other.latency.is_empty());
    let mut head =
        vec!["", "Method", "Test accuracy", "Epochs", "Parameters", "Multiply-adds", "Weights"];
    head.extend(measured.then_some("One input takes"));
    let mut table = String::from("\n## Of the same run\n\n");
    let mut row = |cells: &[&str]| {
        let cells: String = cells.iter().map(|cell| format!(" {cell} |")).collect();
        writeln!(table, "|{cells}").expect("a String takes all");
    };
    row(&head);
    row(&vec!["---"; head.len()]);
    for other in others {
        let Beside { name, method, seed: _, accuracy, params, macs, epochs, bytes, latency } =
            other;
        let method = method.map_or("the teacher".into(), |method| format!("`{}`", method.name()));
        let epochs = epochs.map_or("not known".into(), |epochs| format!("{epochs:.2}"));
        let weights = bytes.map_or("not there".into(), kilobytes);
        let latency = if latency.is_empty() { "not measured" } else { latency };
        let [accuracy, params, macs] =
            [format!("{accuracy:.2} %"), params.to_string(), macs.to_string()];
        let cells = [name, &*method, &accuracy, &epochs, &params, &macs, &weights, latency];
        row(&cells[..head.len()]);
    }
    before_use(card, &table)
}

/// A card with a part before its last one.
pub(super) fn before_use(card: &str, part: &str) -> String {
    match card.find(USE) {
        Some(place) => format!("{}{part}{}", &card[..place], &card[place..]),
        None => format!("{card}{part}"),
    }
}

/// A card whose folder is used otherwise: by another library, and as `usage` says.
pub(super) fn used_by(card: &str, library: &str, usage: &str) -> String {
    let facts = card.split(USE).next().unwrap_or_default();
    let line = format!("library_name: {library}\n");
    let front = match facts
        .split_once("library_name: ")
        .map(|(before, after)| (before, after.split_once('\n')))
    {
        Some((before, Some((_, after)))) => format!("{before}{line}{after}"),
        // Of a card that says nothing of a library.
        _ => {
            facts.replacen("---\n", &format!("---\n{line}pipeline_tag: image-classification\n"), 1)
        }
    };
    format!("{front}{USE}{usage}")
}

/// What a card says differently of models on images and on text.
struct Words<'m> {
    /// The library that loads it.
    library: &'static str,
    /// What the hub calls its task.
    pipeline: &'static str,
    /// What the network is called.
    name: &'m str,
    /// Accuracy and loss.
    metrics: [(&'static str, String); 2],
    /// How many things it tells apart.
    size: (&'static str, String),
    /// How it is used.
    usage: String,
}

fn of_images<'m>(facts: &CardFacts, model: &'m ImageModel, config: &ModelConfig) -> Words<'m> {
    let ImageModel { architecture, input, labels, .. } = model;
    let accuracy = format!("{:.2} % (the last weights, not the best epoch)", facts.accuracy);
    let mut usage = format!(
        "The input is {0} × {0} pixels with {1} channel{2} in 0..1, minus `mean`, over `std` of `config.json`.\n\n{3}\n{4}",
        input.size,
        input.channels,
        if input.channels == 1 { "" } else { "s" },
        preparing(input),
        loading(config)
    );
    if onnx::fits(&config.network()) {
        usage.push_str(&running(input, labels.len()));
    }
    Words {
        library: "taper",
        pipeline: "image-classification",
        name: architecture,
        metrics: [("Test accuracy", accuracy), ("Test loss", format!("{:.4}", facts.loss))],
        size: ("Classes", labels.len().to_string()),
        usage,
    }
}

fn of_text<'m>(facts: &CardFacts, model: &'m TextModel, config: &ModelConfig) -> Words<'m> {
    let TextModel { sizes, tokenizer, .. } = model;
    let accuracy = format!(
        "{:.2} % of the masked words (the last weights, not the best epoch)",
        facts.accuracy
    );
    let loss = format!("{:.4} nats a masked word", facts.loss);
    let mark = &tokenizer.pieces()[tokenizer.specials().mask as usize];
    let mut usage = format!(
        "It was trained on sequences of {} tokens, the marks at their ends included; it has positions for {}.\n\n\
         ```python\nimport torch\nfrom transformers import AutoModelForMaskedLM, AutoTokenizer\n\n\
         tokenizer = AutoTokenizer.from_pretrained(\".\")  # this folder\n\
         model = AutoModelForMaskedLM.from_pretrained(\".\").eval()\n\n\
         inputs = tokenizer(\"the {mark} of\", return_tensors=\"pt\")\n\
         with torch.no_grad():\n    logits = model(**inputs).logits  # (N, L, {})\n```\n",
        sizes.length, sizes.positions, sizes.vocabulary,
    );
    let tells_pairs = sizes.head == BertHead::Pretrain;
    if tells_pairs && sizes.embedding.is_some() {
        write!(
            usage,
            "\n`{}` has no place for the pooler and the head that tells whether the second of two segments follows the first; they lie in \
             `{BESIDE}`, and Taper reads both files.\n",
            model.class(),
        )
        .expect("a String takes all");
    }
    if onnx::fits(&config.network()) {
        let file = folder::TEXT_ONNX;
        let next = match tells_pairs {
            true => format!(" and `{}` (N, 2)", onnx::NEXT_LOGITS),
            false => String::new(),
        };
        write!(
            usage,
            "\n`{file}` is the same network for ONNX Runtime, optimum and transformers.js, which read this folder as it is: \
             `{INPUT_IDS}`, `{ATTENTION_MASK}` and `{TOKEN_TYPE_IDS}` (N, L) in, `{logits}` (N, L, {vocabulary}){next} out.\n\n\
             ```python\nimport onnxruntime\nfrom transformers import AutoTokenizer\n\n\
             tokenizer = AutoTokenizer.from_pretrained(\".\")\n\
             session = onnxruntime.InferenceSession(\"{file}\")\n\
             inputs = tokenizer(\"the {mark} of\", return_tensors=\"np\")\n\
             (logits,) = session.run([\"{logits}\"], dict(inputs))\n```\n",
            logits = onnx::LOGITS,
            vocabulary = sizes.vocabulary,
        )
        .expect("a String takes all");
    }
    Words {
        library: "transformers",
        pipeline: "fill-mask",
        name: model.class(),
        metrics: [("Held-out accuracy", accuracy), ("Held-out loss", loss)],
        size: ("Pieces of the vocabulary", tokenizer.size().to_string()),
        usage,
    }
}

fn of_questions<'m>(facts: &CardFacts, model: &'m TextModel, config: &ModelConfig) -> Words<'m> {
    let TextModel { sizes, tokenizer, .. } = model;
    let AnswerScores { em, f1 } =
        facts.answers.unwrap_or(AnswerScores { em: f64::NAN, f1: f64::NAN });
    let mut usage = format!(
        "It was trained on windows of {} tokens, a question and a part of its context; it has positions for {}.\n\n\
         ```python\nimport torch\nfrom transformers import AutoModelForQuestionAnswering, AutoTokenizer\n\n\
         tokenizer = AutoTokenizer.from_pretrained(\".\")  # this folder\n\
         model = AutoModelForQuestionAnswering.from_pretrained(\".\").eval()\n\n\
         inputs = tokenizer(\"What is asked?\", \"Where the answer stands.\", return_tensors=\"pt\")\n\
         with torch.no_grad():\n    scores = model(**inputs)\n\
         start, end = scores.start_logits.argmax(), scores.end_logits.argmax()\n\
         answer = tokenizer.decode(inputs[\"input_ids\"][0, start : end + 1])\n```\n",
        sizes.length, sizes.positions,
    );
    if onnx::fits(&config.network()) {
        let (file, [start, end]) = (folder::TEXT_ONNX, onnx::SPAN_LOGITS);
        write!(
            usage,
            "\n`{file}` is the same network for ONNX Runtime, optimum and transformers.js, which read this folder as it is: \
             `{INPUT_IDS}`, `{ATTENTION_MASK}` and `{TOKEN_TYPE_IDS}` (N, L) in, `{start}` and `{end}` (N, L) out.\n",
        )
        .expect("a String takes all");
    }
    Words {
        library: "transformers",
        pipeline: "question-answering",
        name: model.class(),
        metrics: [
            ("Exact match", format!("{em:.2} % of the test questions")),
            ("F1", format!("{f1:.2} %")),
        ],
        size: ("Pieces of the vocabulary", tokenizer.size().to_string()),
        usage,
    }
}

/// How a picture is made the network's input.
fn preparing(input: &ImageInput) -> String {
    let ImageInput { channels, size, mean, std, interpolation, crop } = input;
    let edge = (f64::from(*size) / crop).round() as u32;
    let mode = if *channels == 1 { "L" } else { "RGB" };
    let framing = match interpolation {
        Interpolation::Bilinear => format!(
            "    width, height = ({edge} * side // min(picture.size) for side in picture.size)
    left, top = round((width - {size}) / 2), round((height - {size}) / 2)
    picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    picture = picture.crop((left, top, left + {size}, top + {size}))
"
        ),
        Interpolation::Area => format!(
            "    # Taper takes means over areas; model.py of `taper export --format pytorch` does so for pictures of any size.
    assert picture.size == ({size}, {size})
"
        ),
    };
    format!(
        "```python
import numpy
from PIL import Image


def prepare(path):
    picture = Image.open(path).convert(\"{mode}\")
{framing}    pixels = numpy.asarray(picture, numpy.float32).reshape({size}, {size}, {channels}) / 255
    pixels = (pixels - numpy.array({mean:?})) / numpy.array({std:?})
    return pixels.transpose(2, 0, 1)[None].astype(numpy.float32)
```
"
    )
}

/// How ONNX Runtime takes the other file.
fn running(input: &ImageInput, classes: usize) -> String {
    format!(
        "\n`model.onnx` is the same network for ONNX Runtime and other engines: `{0}` (N, {1}, {2}, {2}) in, `{3}` (N, {4}) out.\n\n\
         ```python\nimport numpy\nimport onnxruntime\n\nsession = onnxruntime.InferenceSession(\"model.onnx\")\n\
         images = numpy.zeros((1, {1}, {2}, {2}), numpy.float32)  # or prepare(\"picture.jpg\")\n\
         (logits,) = session.run([\"{3}\"], {{\"{0}\": images}})\n```\n",
        onnx::INPUT,
        input.channels,
        input.size,
        onnx::LOGITS,
        classes,
    )
}

/// How PyTorch runs the file.
fn loading(config: &ModelConfig) -> String {
    match pytorch::code(&config.network()) {
        Some(code) => format!("```python\n{code}```\n"),
        None => "`config.json` has the architecture, `model.safetensors` PyTorch's names and shapes; `taper eval` and `taper predict` read this folder.\n".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Model, ResnetOfDepth};

    #[test]
    fn a_card_says_how_good_how_merged_and_how_to_load() {
        let facts = CardFacts {
            method: Some(Method::Win),
            seed: 3,
            data: "a folder of flowers".into(),
            stages: vec!["tune: 12 epochs".into()],
            accuracy: 91.25,
            loss: 0.31,
            answers: None,
            epochs: 24.0,
            size: Footprint { params: 25_557_032, macs: 4_089_184_256, bytes: 102_440_608 },
            teacher: Some(Footprint { params: 9, macs: 8, bytes: 7000 }),
            adapter: "a GPU".into(),
        };
        let config = ModelConfig::Images(ImageModel {
            architecture: "resnet50".into(),
            model: Model::Resnet50(ResnetOfDepth::default()),
            widened: None,
            input: ImageInput {
                channels: 3,
                size: 224,
                mean: vec![0.5; 3],
                std: vec![0.5; 3],
                interpolation: Interpolation::Bilinear,
                crop: 0.875,
            },
            labels: vec!["rose".into(), "tulip".into()],
        });
        let merge = MergeReport {
            max_abs_error: 2e-6,
            relative_error: 3e-7,
            inputs: 500,
            params_before: 26_000_000,
            params_after: 25_557_032,
        };
        let card = render(&facts, &config, Some(&merge));
        for part in [
            "91.25 %",
            "3.0e-7",
            "torchvision.models.resnet50(num_classes=2)",
            "3 channels",
            "| Seed | 3 |",
            "| this student | 25557032 | 4089184256 | 102.4 MB |\n| its teacher | 9 | 8 | 7.0 kB |\n",
            "license: unknown\nlibrary_name: taper\npipeline_tag: image-classification\n",
            "model-index:\n- name: \"resnet50\"\n",
            "    - type: accuracy\n      value: 91.2500\n    - type: loss",
            "picture.resize((width, height)",
            "(256 * side // min(picture.size)",
            "(N, 3, 224, 224) in, `logits` (N, 2) out",
            "{\"input\": images}",
            "images = torch.zeros(1, 3, 224, 224)",
        ] {
            assert!(card.contains(part), "{part} is not in\n{card}");
        }

        let teacher = Beside {
            name: "teacher-3".into(),
            method: None,
            seed: 3,
            accuracy: 93.5,
            params: 7,
            macs: 9,
            epochs: None,
            bytes: Some(2500),
            latency: String::new(),
        };
        let timed = Beside { latency: "0.20 ms (a GPU)".into(), bytes: None, ..teacher.clone() };
        let both = with_others(&card, &[teacher.clone(), timed]);
        for part in [
            "| Weights | One input takes |\n| --- |",
            "| 2.5 kB | not measured |",
            "| not there | 0.20 ms (a GPU) |",
        ] {
            assert!(both.contains(part), "{part} is not in\n{both}");
        }
        let card = used_by(&with_others(&card, &[teacher]), "timm", "By timm.\n");
        for part in [
            "license: unknown\nlibrary_name: timm\npipeline_tag",
            "| teacher-3 | the teacher | 93.50 % | not known | 7 | 9 | 2.5 kB |\n\n## Use\n\nBy timm.\n",
        ] {
            assert!(card.contains(part), "{part} is not in\n{card}");
        }
        assert!(used_by("---\ntags:\n---\n", "timm", "").starts_with("---\nlibrary_name: timm\n"));
    }
}
