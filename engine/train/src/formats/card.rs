//! The model card: what the weights are, how good, and how to load them.

use std::fmt::Write;

use super::{MergeReport, ModelConfig, onnx, pytorch};
use crate::config::Method;

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
    /// Test accuracy in percent, of the last weights.
    pub accuracy: f64,
    /// Mean test loss.
    pub loss: f64,
    /// Epochs of the student, restarts included.
    pub epochs: f64,
    /// Parameters of the student.
    pub params: u64,
    /// The adapter it was trained on.
    pub adapter: String,
}

/// The Markdown text of a card, with the front matter that the Hugging Face hub reads.
pub fn render(facts: &CardFacts, config: &ModelConfig, merge: Option<&MergeReport>) -> String {
    let mut card = format!(
        "---\ntags:\n- image-classification\n- taper\n---\n\n# {}, trained by `{}`\n\n",
        config.architecture,
        facts.method.map_or("wide (a teacher)", Method::name)
    );
    let rows = [
        ("Data", facts.data.clone()),
        (
            "Test accuracy",
            format!("{:.2} % (the last weights, not the best epoch)", facts.accuracy),
        ),
        ("Test loss", format!("{:.4}", facts.loss)),
        ("Epochs", format!("{:.2}", facts.epochs)),
        ("Seed", facts.seed.to_string()),
        ("Parameters", facts.params.to_string()),
        ("Classes", config.labels.len().to_string()),
        ("Trained on", facts.adapter.clone()),
    ];
    card.push_str("| | |\n|---|---|\n");
    for (name, value) in rows {
        writeln!(card, "| {name} | {value} |").expect("a String takes all");
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
    let input = config.input.images();
    write!(
        card,
        "\n## Use\n\nThe input is {0} × {0} pixels with {1} channel{2} in 0..1, minus `mean`, over `std` of `config.json`.\n\n{3}",
        input.size,
        input.channels,
        if input.channels == 1 { "" } else { "s" },
        loading(config)
    )
    .expect("a String takes all");
    if onnx::fits(&config.network()) {
        card.push_str(&running(config));
    }
    card
}

/// How ONNX Runtime takes the other file.
fn running(config: &ModelConfig) -> String {
    let input = config.input.images();
    format!(
        "\n`model.onnx` is the same network for ONNX Runtime and other engines: `{0}` (N, {1}, {2}, {2}) in, `{3}` (N, {4}) out.\n\n\
         ```python\nimport numpy\nimport onnxruntime\n\nsession = onnxruntime.InferenceSession(\"model.onnx\")\n\
         images = numpy.zeros((1, {1}, {2}, {2}), numpy.float32)  # normalised\n\
         (logits,) = session.run([\"{3}\"], {{\"{0}\": images}})\n```\n",
        onnx::INPUT,
        input.channels,
        input.size,
        onnx::LOGITS,
        config.labels.len(),
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
    use crate::config::{Interpolation, Model, ResnetOfDepth};
    use crate::formats::{ImageInput, ModelInput};

    #[test]
    fn a_card_says_how_good_how_merged_and_how_to_load() {
        let facts = CardFacts {
            method: Some(Method::Win),
            seed: 3,
            data: "a folder of flowers".into(),
            stages: vec!["tune: 12 epochs".into()],
            accuracy: 91.25,
            loss: 0.31,
            epochs: 24.0,
            params: 25_557_032,
            adapter: "a GPU".into(),
        };
        let config = ModelConfig {
            architecture: "resnet50".into(),
            model: Model::Resnet50(ResnetOfDepth::default()),
            widened: None,
            input: ModelInput::Images(ImageInput {
                channels: 3,
                size: 224,
                mean: vec![0.5; 3],
                std: vec![0.5; 3],
                interpolation: Interpolation::Bilinear,
                crop: 0.875,
            }),
            labels: vec!["rose".into(), "tulip".into()],
        };
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
            "(N, 3, 224, 224) in, `logits` (N, 2) out",
            "{\"input\": images}",
            "images = torch.zeros(1, 3, 224, 224)",
        ] {
            assert!(card.contains(part), "{part} is not in\n{card}");
        }
    }
}
