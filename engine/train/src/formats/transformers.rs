//! Models on text as transformers keeps them: what `config.json` says of BERT, ELECTRA and MobileBERT, and what their tensors are called there.
//!
//! A network whose tables are as wide as its hidden state is `BertForMaskedLM`, one with a linear map behind them `ElectraForMaskedLM`, one whose
//! layers are bottlenecks `MobileBertForMaskedLM` with the lighter attention, plain tables and one feed-forward part; others of MobileBERT's are not
//! read. The matrix that makes scores is the table of words, which stands in a file once. What a folder from elsewhere may say is in the table of
//! `README.md`, *A model of Hugging Face's*; everything else is refused.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{FormatError, files, safetensors};
use crate::{
    data::text::Tokenizer,
    disk::Disk,
    models::{self, Bert, BertHead},
    nn::{Network, Tensor, Weights},
    text::escape,
};

/// File that says which tensor lies in which file, where the weights are in several.
pub const INDEX: &str = "model.safetensors.index.json";
/// File of the tensors that transformers' class of a model has no place for, in a folder of ours.
pub const BESIDE: &str = "taper.safetensors";

/// A model on text: its sizes, and how a text becomes ids.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(into = "Config")]
pub struct TextModel {
    /// The sizes of the network, and of what it was trained on.
    pub sizes: Bert,
    /// How a text becomes ids; it lies in files of its own.
    pub tokenizer: Tokenizer,
    /// Whether it learnt that some questions have no answer.
    pub unanswerable: bool,
}

/// `config.json` of a model on text: transformers' own, with what only Taper knows under `taper`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TextModel")]
pub struct Config {
    /// The class of transformers that loads it.
    #[serde(default)]
    pub architectures: Vec<String>,
    /// `bert`; `electra` where the tables are narrower than the hidden state; `mobilebert` where layers are bottlenecks.
    pub model_type: String,
    /// Rows of the table of words.
    pub vocab_size: u32,
    /// Features of the hidden state.
    pub hidden_size: u32,
    /// Features of the tables, of ELECTRA and MobileBERT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_size: Option<u32>,
    /// Features inside of a bottleneck, of MobileBERT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intra_bottleneck_size: Option<u32>,
    /// Whether layers are bottlenecks, of MobileBERT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_bottleneck: Option<bool>,
    /// Whether queries, keys and values read what is inside of the bottleneck, of MobileBERT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_bottleneck_attention: Option<bool>,
    /// Whether queries and keys read a bottleneck of their own, of MobileBERT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_query_shared_bottleneck: Option<bool>,
    /// Feed-forward parts of a layer, of MobileBERT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_feedforward_networks: Option<u32>,
    /// Whether a token's neighbours are part of its embedding, of MobileBERT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigram_input: Option<bool>,
    /// What normalises, of MobileBERT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalization_type: Option<String>,
    /// Whether the pooler is a linear map with tanh, of MobileBERT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classifier_activation: Option<bool>,
    /// Layers.
    pub num_hidden_layers: u32,
    /// Attention heads of a layer.
    pub num_attention_heads: u32,
    /// Features inside of a layer's feed-forward part.
    pub intermediate_size: u32,
    /// Rows of the table of positions.
    pub max_position_embeddings: u32,
    /// Rows of the table of segments.
    #[serde(default = "segments")]
    pub type_vocab_size: u32,
    /// The layers' activation.
    #[serde(default = "gelu")]
    pub hidden_act: String,
    /// How positions are told.
    #[serde(default = "absolute")]
    pub position_embedding_type: String,
    /// ε of all layer norms.
    #[serde(default = "eps")]
    pub layer_norm_eps: f64,
    /// Standard deviation with which matrices and tables begin.
    #[serde(default = "std")]
    pub initializer_range: f64,
    /// Probability of a zero behind the embeddings and in what is added to a sum, in training.
    #[serde(default)]
    pub hidden_dropout_prob: f64,
    /// Probability of a zero among the attention's probabilities, in training.
    #[serde(default)]
    pub attention_probs_dropout_prob: f64,
    /// The id of padding.
    #[serde(default)]
    pub pad_token_id: Option<u32>,
    /// Whether the matrix that makes scores is the table of words.
    #[serde(default = "yes")]
    pub tie_word_embeddings: bool,
    /// Whether a token reads only what stands before it.
    #[serde(default)]
    pub is_decoder: bool,
    /// Whether layers read another sequence.
    #[serde(default)]
    pub add_cross_attention: bool,
    /// What transformers.js takes of the folder.
    #[serde(default, rename = "transformers.js_config", skip_serializing_if = "Value::is_null")]
    pub js: Value,
    /// What only Taper knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taper: Option<Sequences>,
}

/// What a network on text was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sequences {
    /// Tokens of a sequence.
    pub length: u32,
    /// Masked words of a sequence that are asked for, at most.
    pub places: u32,
    /// What the network is asked for; absent: what transformers' class says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<BertHead>,
    /// Whether some of its questions had no answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unanswerable: bool,
}

fn segments() -> u32 {
    2
}

fn gelu() -> String {
    "gelu".into()
}

fn absolute() -> String {
    "absolute".into()
}

fn eps() -> f64 {
    1e-12
}

fn std() -> f64 {
    0.02
}

fn yes() -> bool {
    true
}

fn layer_norm() -> String {
    "layer_norm".into()
}

/// The kinds of model, as `model_type` has them.
const KINDS: [&str; 3] = ["bert", ELECTRA, MOBILE];
const ELECTRA: &str = "electra";
const MOBILE: &str = "mobilebert";
/// The classes of transformers that have each head, of all kinds. ELECTRA has none with pairs of sentences: what is [`PAIRS`] then lies in
/// [`BESIDE`], so that transformers finds no tensor too many.
const CLASSES: [(BertHead, [&str; KINDS.len()]); 3] = [
    (BertHead::MaskedWords, ["BertForMaskedLM", "ElectraForMaskedLM", "MobileBertForMaskedLM"]),
    (BertHead::Pretrain, ["BertForPreTraining", "ElectraForMaskedLM", "MobileBertForPreTraining"]),
    (
        BertHead::Spans,
        [
            "BertForQuestionAnswering",
            "ElectraForQuestionAnswering",
            "MobileBertForQuestionAnswering",
        ],
    ),
];
/// How the tensors begin by which pairs of sentences are told.
const PAIRS: [&str; 2] = ["bert.pooler.", "cls.seq_relationship."];
/// The most layers of an encoder.
const MOST_LAYERS: u32 = 1000;
/// The most of what its tensors have an axis of.
const MOST_FEATURES: u32 = 1 << 24;

impl TextModel {
    /// The class of transformers that loads it.
    pub fn class(&self) -> &'static str {
        kind(&self.sizes).1
    }
}

/// How transformers calls a network of these sizes, and its class.
fn kind(of: &Bert) -> (&'static str, &'static str) {
    let kind = match (of.bottleneck, of.embedding) {
        (Some(_), _) => 2,
        (None, Some(_)) => 1,
        (None, None) => 0,
    };
    let classes = CLASSES.iter().find(|(head, _)| *head == of.head).unwrap_or(&CLASSES[0]).1;
    (KINDS[kind], classes[kind])
}

impl From<TextModel> for Config {
    fn from(TextModel { sizes, tokenizer, unanswerable }: TextModel) -> Self {
        let (model_type, class) = kind(&sizes);
        let inside = sizes.bottleneck.map(|_| sizes.hidden);
        let mobile = |value: bool| inside.map(|_| value);
        Self {
            architectures: vec![class.into()],
            model_type: model_type.into(),
            vocab_size: sizes.vocabulary,
            hidden_size: sizes.state(),
            embedding_size: sizes.embedding.or(sizes.bottleneck),
            intra_bottleneck_size: inside,
            use_bottleneck: mobile(true),
            use_bottleneck_attention: mobile(true),
            key_query_shared_bottleneck: mobile(false),
            num_feedforward_networks: inside.map(|_| 1),
            trigram_input: mobile(false),
            normalization_type: inside.map(|_| layer_norm()),
            classifier_activation: mobile(true),
            num_hidden_layers: sizes.layers,
            num_attention_heads: sizes.heads,
            intermediate_size: sizes.inner,
            max_position_embeddings: sizes.positions,
            type_vocab_size: segments(),
            hidden_act: gelu(),
            position_embedding_type: absolute(),
            layer_norm_eps: sizes.eps,
            initializer_range: sizes.init_std,
            hidden_dropout_prob: sizes.dropout,
            attention_probs_dropout_prob: sizes.attention_dropout,
            pad_token_id: Some(tokenizer.specials().pad),
            tie_word_embeddings: true,
            is_decoder: false,
            add_cross_attention: false,
            js: json!({ "dtype": "fp32" }),
            taper: Some(Sequences {
                length: sizes.length,
                places: sizes.places,
                head: Some(sizes.head),
                unanswerable,
            }),
        }
    }
}

impl Config {
    /// The sizes of the network, for these sequences; where they are not given, for those that the folder says, or all the positions.
    ///
    /// # Errors
    /// A key with a value that the network cannot follow, and what is allowed.
    pub fn sizes(&self, given: Option<Sequences>) -> Result<Bert, String> {
        let named = |key: &str, value: &str, allowed: &str| {
            format!("{key} = \"{}\", and {allowed} is read", escape(value))
        };
        if !KINDS.contains(&self.model_type.as_str()) {
            return Err(named("model_type", &self.model_type, "bert or electra"));
        }
        let mobile = self.model_type == MOBILE;
        if mobile {
            self.check_mobile()?;
        }
        // Two names of x · Φ(x).
        if !["gelu", "gelu_python"].contains(&self.hidden_act.as_str()) {
            return Err(named("hidden_act", &self.hidden_act, "gelu"));
        }
        if self.position_embedding_type != absolute() {
            let key = "position_embedding_type";
            return Err(named(key, &self.position_embedding_type, "absolute"));
        }
        if self.is_decoder || self.add_cross_attention {
            return Err("is_decoder or add_cross_attention is true, and encoders are read".into());
        }
        if self.type_vocab_size != segments() {
            let has = self.type_vocab_size;
            return Err(format!("type_vocab_size = {has}, and 2 is read"));
        }
        let (electra, embedding) = (self.model_type == ELECTRA, self.embedding_size);
        let inside = self.intra_bottleneck_size.filter(|_| mobile).unwrap_or(self.hidden_size);
        if electra && embedding.is_none() {
            return Err("electra has an embedding_size, which is missing".into());
        }
        for (key, value, most) in [
            ("vocab_size", self.vocab_size, MOST_FEATURES),
            ("hidden_size", self.hidden_size, MOST_FEATURES),
            ("embedding_size", embedding.unwrap_or(1), MOST_FEATURES),
            ("intra_bottleneck_size", inside, MOST_FEATURES),
            ("num_hidden_layers", self.num_hidden_layers, MOST_LAYERS),
            ("num_attention_heads", self.num_attention_heads, MOST_FEATURES),
            ("intermediate_size", self.intermediate_size, MOST_FEATURES),
            ("max_position_embeddings", self.max_position_embeddings, MOST_FEATURES),
        ] {
            if value == 0 || value > most {
                return Err(format!("{key} = {value}, and 1 … {most} is allowed"));
            }
        }
        if !inside.is_multiple_of(self.num_attention_heads) {
            let key = if mobile { "intra_bottleneck_size" } else { "hidden_size" };
            return Err(format!(
                "{key} = {inside} does not divide into num_attention_heads = {}",
                self.num_attention_heads
            ));
        }
        for (key, p) in [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
        ] {
            if !(0.0..1.0).contains(&p) {
                return Err(format!("{key} = {p}, and it lies from 0 to below 1"));
            }
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps < 1.0) {
            let has = self.layer_norm_eps;
            return Err(format!("layer_norm_eps = {has}, and it lies between 0 and 1"));
        }
        let positions = self.max_position_embeddings;
        let all =
            Sequences { length: positions, places: positions, head: None, unanswerable: false };
        let Sequences { length, places, head, .. } = given.or(self.taper).unwrap_or(all);
        let named = |(_, classes): &&(BertHead, [&str; KINDS.len()])| {
            self.architectures.iter().any(|name| classes.contains(&name.as_str()))
        };
        let said = CLASSES.iter().find(named).map_or(BertHead::MaskedWords, |(head, _)| *head);
        let head = head.unwrap_or(said);
        let asks = head != BertHead::Spans;
        if length == 0 || length > positions || (asks && places == 0) || places > length {
            return Err(format!(
                "{places} places in sequences of {length} tokens do not fit max_position_embeddings = {positions}"
            ));
        }
        Ok(Bert {
            vocabulary: self.vocab_size,
            hidden: inside,
            bottleneck: mobile.then_some(self.hidden_size),
            // As ELECTRA: there is a map where the widths differ.
            embedding: embedding.filter(|&width| electra && width != self.hidden_size),
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            inner: self.intermediate_size,
            length,
            positions,
            places,
            init_std: self.initializer_range,
            eps: self.layer_norm_eps,
            dropout: self.hidden_dropout_prob,
            attention_dropout: self.attention_probs_dropout_prob,
            head,
        })
    }

    /// Refuses a MobileBERT of another kind than ours.
    fn check_mobile(&self) -> Result<(), String> {
        let flag = |value: Option<bool>, unsaid: bool| value.unwrap_or(unsaid).to_string();
        let number = |value: Option<u32>, unsaid: u32| value.unwrap_or(unsaid).to_string();
        let norm = escape(self.normalization_type.as_deref().unwrap_or("no_norm")).into_owned();
        // What is unsaid is as transformers has it then.
        for (key, has, allowed) in [
            ("use_bottleneck", flag(self.use_bottleneck, true), "true".into()),
            ("use_bottleneck_attention", flag(self.use_bottleneck_attention, false), "true".into()),
            (
                "key_query_shared_bottleneck",
                flag(self.key_query_shared_bottleneck, true),
                "false".into(),
            ),
            ("num_feedforward_networks", number(self.num_feedforward_networks, 4), "1".into()),
            ("trigram_input", flag(self.trigram_input, true), "false".into()),
            ("normalization_type", norm, layer_norm()),
            ("classifier_activation", flag(self.classifier_activation, true), "true".into()),
            ("embedding_size", number(self.embedding_size, 128), self.hidden_size.to_string()),
            (
                "layer_norm_eps",
                format!("{:e}", self.layer_norm_eps),
                format!("{:e}", Bert::BOTTLENECK_EPS),
            ),
        ] {
            if has != allowed {
                return Err(format!(
                    "model_type = \"{MOBILE}\" with {key} = {has}, and {allowed} is read: of MobileBERT's only those that Taper writes are"
                ));
            }
        }
        if self.intra_bottleneck_size.is_none() {
            return Err(format!("{MOBILE} has an intra_bottleneck_size, which is missing"));
        }
        Ok(())
    }
}

/// What ELECTRA calls what begins so in BERT, the longer first.
const ELECTRAS: [(&str, &str); 4] = [
    ("cls.predictions.transform.", "generator_predictions."),
    ("cls.predictions.decoder.", "generator_lm_head."),
    ("cls.predictions.", "generator_lm_head."),
    ("bert.", "electra."),
];

/// The same of MobileBERT, whose heads have BERT's names.
const MOBILES: [(&str, &str); 1] = [("bert.", "mobilebert.")];

/// The rows by which MobileBERT's decoder is wider than its table of words: (state − table, vocabulary). Ours are as wide, so it has no numbers, but
/// transformers wants it to be there.
const WIDER: &str = "cls.predictions.dense.weight";
/// MobileBERT's map behind its tables, of which nobody reads a number where they are as wide as the state; transformers wants it to be there.
const BEHIND_TABLES: &str = "mobilebert.embeddings.embedding_transformation";

/// The tensors that transformers has of a MobileBERT and its network has not.
fn unread(of: &Bert) -> Weights {
    let Some(width) = of.bottleneck.map(|width| width as usize) else { return Weights::new() };
    // It does nothing, also to who does read it.
    let mut identity = Tensor::zeros([width, width]);
    identity.data.iter_mut().step_by(width + 1).for_each(|x| *x = 1.0);
    let mut tensors = Weights::from([
        (format!("{BEHIND_TABLES}.weight"), identity),
        (format!("{BEHIND_TABLES}.bias"), Tensor::zeros([width])),
    ]);
    if of.head != BertHead::Spans {
        tensors.insert(WIDER.into(), Tensor::zeros([0, of.vocabulary as usize]));
    }
    tensors
}

/// What a tensor of a network is called in a file of transformers'.
pub fn name_in_file(of: &Bert, name: String) -> String {
    let rest = |(bert, other): &(&str, &str)| Some(format!("{other}{}", name.strip_prefix(*bert)?));
    let others = match kind(of).0 {
        ELECTRA if !is_beside(of, &name) => &ELECTRAS[..],
        MOBILE => &MOBILES,
        _ => &[],
    };
    others.iter().find_map(rest).unwrap_or(name)
}

/// Whether transformers' class of a model has no place for a tensor of its network.
fn is_beside(of: &Bert, name: &str) -> bool {
    of.embedding.is_some() && PAIRS.iter().any(|part| name.starts_with(part))
}

/// The tensors of a model by the names of their files: those of transformers' class, and those that go to [`BESIDE`]. `weights` are as
/// `Network::to_file` has them.
///
/// # Errors
/// There is no such model in transformers.
pub fn to_files(of: &Bert, weights: Weights) -> Result<[Weights; 2], String> {
    if let Some(width) = of.embedding.filter(|&width| width == of.state()) {
        return Err(format!(
            "embedding_size and hidden_size are both {width}; then ELECTRA has no map behind its tables, and this network has one"
        ));
    }
    let (beside, own): (Weights, Weights) =
        weights.into_iter().partition(|(name, _)| is_beside(of, name));
    let own = own.into_iter().map(|(name, tensor)| (name_in_file(of, name), tensor));
    Ok([own.chain(unread(of)).collect(), beside])
}

/// What the files beside the weights say of a model, and whether its decoder is tied to the table of words; see [`read_on`].
///
/// # Errors
/// As [`read_on`].
pub fn model_on(
    disk: &dyn Disk,
    folder: &Path,
    given: Option<Sequences>,
) -> Result<(TextModel, bool), FormatError> {
    let path = folder.join(files::CONFIG);
    let config: Config = files::read_json_on(disk, &path)?;
    let bad = |problem: String| FormatError::content(&path, problem);
    let sizes = config.sizes(given).map_err(bad)?;
    let tokenizer = Tokenizer::read_on(disk, folder)?;
    let (rows, pieces) = (sizes.vocabulary, tokenizer.size());
    if pieces > rows as usize {
        return Err(bad(format!("vocab_size = {rows}, and the tokenizer has {pieces} pieces")));
    }
    let unanswerable = config.taper.is_some_and(|of| of.unanswerable);
    Ok((TextModel { sizes, tokenizer, unanswerable }, config.tie_word_embeddings))
}

/// A model in a folder of transformers'.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What it is.
    pub model: TextModel,
    /// Its network.
    pub network: Network,
    /// The network's tensors that the folder has.
    pub weights: Weights,
    /// The parameters of the head that it lacks, by their paths; then it was trained for something else than masked words.
    pub missing: Vec<String>,
    /// What was left out or assumed, a sentence each.
    pub notes: Vec<String>,
}

/// Reads a folder of transformers', or of ours, for these sequences; where they are not given, see [`Config::sizes`].
///
/// # Errors
/// A file that is missing or damaged, or a model that is none of those that can be read.
pub fn read_on(
    disk: &dyn Disk,
    folder: &Path,
    given: Option<Sequences>,
) -> Result<Found, FormatError> {
    let (model, tied) = model_on(disk, folder, given)?;
    let network = models::bert(&model.sizes);
    let (path, mut file) = read_weights(disk, folder)?;
    let beside = folder.join(BESIDE);
    if disk.kind(&beside).is_some() {
        for (name, tensor) in safetensors::read_by_tensor_on(disk, &beside)? {
            if file.insert(name.clone(), tensor).is_some() {
                let name = escape(&name).into_owned();
                let problem = format!("has {name}, which the model's own weights have as well");
                return Err(FormatError::content(&beside, problem));
            }
        }
    }
    let taken = take(&network, tied, file, &model.sizes)
        .map_err(|problem| FormatError::content(&path, problem))?;
    let Taken { weights, missing, others } = taken;
    let mut notes = Vec::new();
    let (rows, pieces) = (model.sizes.vocabulary, model.tokenizer.size());
    if pieces < rows as usize {
        notes.push(format!("the table of words has {rows} rows, the tokenizer {pieces} pieces"));
    }
    if !others.is_empty() {
        notes.push(format!("{} is not taken", others.join(", ")));
    }
    Ok(Found { model, network, weights, missing, notes })
}

/// The weights of a folder, of one file or of several that an index names, and the file that says which there are.
fn read_weights(
    disk: &dyn Disk,
    folder: &Path,
) -> Result<(std::path::PathBuf, Weights), FormatError> {
    let whole = folder.join(files::WEIGHTS);
    let path = folder.join(INDEX);
    if disk.kind(&whole).is_some() || disk.kind(&path).is_none() {
        let weights = safetensors::read_by_tensor_on(disk, &whole)?;
        return Ok((whole, weights));
    }
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let bad = |problem: String| FormatError::content(&path, problem);
    let Index { weight_map } = files::read_json_on(disk, &path)?;
    let mut files: Vec<&String> = weight_map.values().collect();
    files.sort();
    files.dedup();
    let mut weights = Weights::new();
    for file in files {
        // A name in the folder, never a path to elsewhere.
        if Path::new(file).file_name().is_none_or(|name| name != file.as_str()) {
            return Err(bad(format!("names the file \"{}\", which is no name", escape(file))));
        }
        for (name, tensor) in safetensors::read_by_tensor_on(disk, &folder.join(file))? {
            if weight_map.get(&name) != Some(file) {
                let (name, file) = (escape(&name), escape(file));
                return Err(bad(format!("does not say that {name} lies in {file}, where it is")));
            }
            weights.insert(name, tensor);
        }
    }
    let lost = weight_map
        .keys()
        .find(|name| !weights.contains_key(*name) && !safetensors::is_passed_over(name));
    match lost {
        Some(name) => {
            let (name, file) = (escape(name), escape(&weight_map[name]));
            Err(bad(format!("says that {name} lies in {file}, where it is not")))
        }
        None => Ok((path, weights)),
    }
}

/// The tensors of a file as a network has them.
#[derive(Debug)]
struct Taken {
    weights: Weights,
    /// Of the head's.
    missing: Vec<String>,
    /// Parts of other tasks, which are left out.
    others: Vec<&'static str>,
}

/// Which part of a model a parameter of its head belongs to, in words.
pub fn part_of(parameter: &str) -> &'static str {
    let part = OTHERS.iter().find(|(prefix, _)| parameter.starts_with(prefix));
    part.map_or("head", |(_, part)| part.trim_start_matches("the "))
}

/// Parts of tasks, by how their tensors begin.
const OTHERS: [(&str, &str); 7] = [
    ("cls.predictions.", "the head for masked words"),
    ("bert.pooler.", "the pooler"),
    ("cls.seq_relationship.", "the head for pairs of sentences"),
    ("qa_outputs.", "the head for answers"),
    ("classifier.", "the head for classes"),
    ("discriminator_predictions.", "the head for replaced words"),
    ("summary.", "the head for summaries"),
];

/// A tensor's name of BERT's, for one of any of the models': old names of layer norms, models without their heads, ELECTRA, MobileBERT.
fn name_of_bert(name: &str) -> String {
    let name = match name.strip_suffix(".gamma") {
        Some(norm) => format!("{norm}.weight"),
        None => match name.strip_suffix(".beta") {
            Some(norm) => format!("{norm}.bias"),
            None => name.to_owned(),
        },
    };
    let bare = ["embeddings.", "embeddings_project.", "encoder.", "pooler."];
    if bare.iter().any(|part| name.starts_with(part)) {
        return format!("bert.{name}");
    }
    if name == "generator_lm_head.weight" {
        return DECODER.0.into();
    }
    let rest =
        |(bert, electra): (&str, &str)| Some(format!("{bert}{}", name.strip_prefix(electra)?));
    // `generator_lm_head.bias` is the head's own.
    ELECTRAS
        .into_iter()
        .chain(MOBILES)
        .filter(|(bert, _)| *bert != "cls.predictions.decoder.")
        .find_map(rest)
        .unwrap_or(name)
}

/// What stands in some files for what they have anyway: the table of words, and the head's bias.
const DECODER: (&str, &str) = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias");
const TABLE: &str = "bert.embeddings.word_embeddings.weight";
const BIAS: &str = "cls.predictions.bias";

/// The network's tensors among those of a file, all of which are accounted for.
fn take(network: &Network, tied: bool, file: Weights, of: &Bert) -> Result<Taken, String> {
    let mut there = Weights::new();
    for (name, tensor) in file {
        let known = name_of_bert(&name);
        if there.insert(known.clone(), tensor).is_some() {
            let (known, name) = (escape(&known), escape(&name));
            return Err(format!("{known} stands there under two names, of which one is {name}"));
        }
    }
    let untied = "the decoder is not the table of words, and only one that is tied to it is read";
    match (there.remove(DECODER.0), there.get(TABLE)) {
        (Some(decoder), Some(table)) if decoder != *table => return Err(untied.into()),
        (None, Some(_)) if !tied && there.contains_key(BIAS) => {
            return Err("tie_word_embeddings is false, and the decoder is missing".into());
        }
        _ => {}
    }
    for (name, Tensor { shape, .. }) in unread(of) {
        match there.remove(&name_of_bert(&name)) {
            Some(Tensor { shape: has, .. }) if has != shape => {
                return Err(format!(
                    "{name} has the shape {has:?}, where config.json says {shape:?}"
                ));
            }
            _ => {}
        }
    }
    if let Some(bias) = there.remove(DECODER.1)
        && *there.entry(BIAS.into()).or_insert_with(|| bias.clone()) != bias
    {
        return Err(format!("{} and {BIAS} differ, which are the same", DECODER.1));
    }
    let params = network.shapes().map_err(|error| error.to_string())?.params;
    let own: std::collections::BTreeSet<String> =
        params.iter().flat_map(|spec| spec.file.names(&spec.name)).collect();
    let mut others = Vec::new();
    there.retain(|name, _| {
        own.contains(name)
            || match OTHERS.iter().find(|(prefix, _)| name.starts_with(prefix)) {
                Some((_, part)) => {
                    if !others.contains(part) {
                        others.push(*part);
                    }
                    false
                }
                None => true,
            }
    });
    let mut missing = Vec::new();
    for spec in params {
        let parts = spec.file.names(&spec.name);
        let mut shape = spec.shape.clone();
        shape[0] /= parts.len();
        for part in &parts {
            match there.get(part) {
                Some(Tensor { shape: has, .. }) if *has != shape => {
                    return Err(format!(
                        "{part} has the shape {has:?}, where config.json says {shape:?}"
                    ));
                }
                Some(_) => {}
                None if spec.block == network.blocks.len() => missing.push(part.clone()),
                None => return Err(format!("{part} is missing")),
            }
        }
    }
    if let Some(name) = there.keys().find(|name| !own.contains(*name)) {
        return Err(format!("{} is not one of the network's tensors", escape(name)));
    }
    Ok(Taken { weights: network.from_file(there), missing, others })
}
