//! Models on text in folders: those that transformers wrote, read by us; and ours, opened by transformers.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use engine::{
    data::text::{Normalizer, Tokenizer},
    formats::{
        ModelConfig, ModelFolder,
        card::{self, CardFacts, Footprint},
        safetensors, sums,
        transformers::Sequences,
    },
    models::BertHead,
    nn::{Tensor, Weights},
    step::Task,
    train::{TextTeacher, TrainError, text_teacher},
};
use serde_json::{Value, json};
use support::{folder, gpu};
use taper_tests::{
    close::{largest, pairs},
    golden::{self, Golden},
    nets,
    texts::{self, Asked},
    tools,
};

/// The sequences of the goldens, asked for all of their places.
const SEQUENCES: Sequences =
    Sequences { length: 6, places: 6, head: Some(BertHead::MaskedWords), unanswerable: false };

fn kept(name: &str) -> PathBuf {
    golden::path(&format!("hub/{name}"))
}

fn read(folder: &Path) -> Result<TextTeacher, TrainError> {
    text_teacher(&folder.to_string_lossy(), 3, SEQUENCES)
}

fn found(name: &str) -> TextTeacher {
    read(&kept(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn asked(golden: &Golden) -> Asked {
    let words = |name: &str| golden.tensors[name].words.clone();
    let length = golden.tensors["tokens"].shape[1] as usize;
    Asked { length, ids: words("tokens"), segments: words("segments"), lengths: words("lengths") }
}

/// What transformers makes of the tokens that are no padding, and what we make of them.
fn apart(golden: &Golden, asked: &Asked, ours: &[f32]) -> f64 {
    let wanted = golden.floats("logits");
    assert_eq!(ours.len(), wanted.len());
    let each = ours.len() / asked.ids.len();
    let rows = asked.lengths.iter().enumerate().flat_map(|(row, &tokens)| {
        let first = row * asked.length * each;
        first..first + tokens as usize * each
    });
    let there: Vec<usize> = rows.collect();
    let of = |numbers: &[f32]| there.iter().map(|&at| numbers[at]).collect::<Vec<_>>();
    largest(pairs(&of(ours), &of(&wanted)).map(|(a, b)| (a - b).abs() / (1.0 + b.abs())))
}

/// One file and several, BERT and ELECTRA, old names, 16 bits: the scores are transformers' own.
#[test]
fn what_transformers_wrote_is_read_and_answers_as_there() {
    for (name, electra, lowercase, notes) in [
        ("mlm", false, true, vec![]),
        ("electra", true, true, vec![]),
        ("old", false, false, vec!["the pooler, the head for pairs of sentences is not taken"]),
    ] {
        let TextTeacher { model, network, weights, fresh, notes: told, .. } = found(name);
        assert_eq!(
            (fresh, told),
            (vec![], notes.into_iter().map(String::from).collect()),
            "{name}"
        );
        assert_eq!(model.sizes.embedding.is_some(), electra, "{name}");
        assert_eq!(model.tokenizer.normalizer().lowercase, lowercase, "{name}");
        let golden = Golden::read(&format!("hub/{name}.expected"));
        let asked = asked(&golden);
        let off = apart(&golden, &asked, &asked.scores(&gpu(), &network, &weights));
        let theirs = golden.about["f32_error"].as_f64().expect("an error");
        println!("{name}: off by {off:.1e}, PyTorch's own f32 by {theirs:.1e}");
        assert!(off <= 8.0 * theirs, "{name}: off by {off:.1e}");
        // As a model it is the same, with all its heads, and stays the same through a folder of ours.
        let mut model = ModelFolder::read(&kept(name)).expect("a model");
        let same = |(name, tensor): (&String, &Tensor)| model.weights.get(name) == Some(tensor);
        assert!(weights.iter().all(same), "{name}");
        let again = folder();
        model.card = "# The same\n".into();
        model.write(again.path()).expect("written");
        assert_eq!(ModelFolder::read(again.path()).expect("read"), model, "{name}");
        let again = read(again.path()).expect("a teacher");
        assert_eq!((&again.weights, again.network), (&weights, network), "{name}");
    }
}

/// Without a head for masked words there is the encoder, and the head is drawn anew.
#[test]
fn a_head_that_is_missing_is_fresh_and_said_to_be() {
    let TextTeacher { model, mut network, weights, fresh, notes, .. } = found("headless");
    assert_eq!(model.sizes.eps, 1e-3);
    let transform = "cls.predictions.transform";
    let parts = [format!("{transform}.dense"), format!("{transform}.LayerNorm")];
    assert_eq!(fresh, [&parts[..], &["cls.predictions".into()]].concat());
    assert_eq!(notes, ["the pooler is not taken"]);
    assert_eq!(weights.len(), network.shapes().expect("a network").params.len());
    let other = text_teacher(&kept("headless").to_string_lossy(), 4, SEQUENCES).expect("again");
    let differs: Vec<_> =
        weights.keys().filter(|name| weights[*name] != other.weights[*name]).collect();
    assert_eq!(differs, [&format!("{transform}.dense.weight")], "norms and biases begin alike");
    let said = ModelFolder::read(&kept("headless")).expect_err("no head").to_string();
    assert!(said.contains("it has no head for masked words"), "{said}");

    // Its states, by the network without the head.
    network.head.truncate(1);
    let golden = Golden::read("hub/headless.expected");
    let asked = asked(&golden);
    let off = apart(&golden, &asked, &asked.scores(&gpu(), &network, &weights));
    let theirs = golden.about["f32_error"].as_f64().expect("an error");
    assert!(off <= 8.0 * theirs, "off by {off:.1e}");
}

/// A real trained model, where there is one: our tokenizer's ids and our states are those of transformers.
#[test]
fn a_real_models_states_are_transformers() {
    let Some(model) = tools::hub() else { return };
    let Some(python) = tools::transformers() else { return };
    let folder = folder();
    let path = folder.path().join("states.safetensors");
    let mut script = Command::new(python);
    script.arg(golden::path("hub.py")).arg("states").arg(&model).arg(&path);
    assert!(script.status().expect("python starts").success());
    let golden = Golden::at(&path);
    let asked = asked(&golden);
    let length = asked.length as u32;
    let sequences = Sequences {
        length,
        places: length,
        head: Some(BertHead::MaskedWords),
        unanswerable: false,
    };
    let found = text_teacher(&model.to_string_lossy(), 0, sequences);
    let TextTeacher { model, mut network, weights, fresh, notes, .. } =
        found.unwrap_or_else(|error| panic!("{error}"));
    println!("{:?}; fresh: {fresh:?}; {notes:?}", model.sizes);
    let texts = golden.about["texts"].as_array().expect("texts");
    for (text, (ids, &tokens)) in
        texts.iter().zip(asked.ids.chunks(asked.length).zip(&asked.lengths))
    {
        let text = text.as_str().expect("a text");
        let (own, marks) = (model.tokenizer.encode(text).ids, model.tokenizer.specials());
        let own = [&[marks.cls][..], &own, &[marks.sep]].concat();
        assert_eq!(own, ids[..tokens as usize], "{text}");
    }
    network.head.truncate(1);
    let off = apart(&golden, &asked, &asked.scores(&gpu(), &network, &weights));
    println!("states off by {off:.1e}, PyTorch's own f32 by {}", golden.about["f32_error"]);
    assert!(off <= 1e-4, "off by {off:.1e}");
}

/// A folder like a golden one, whose configuration and weights can be changed.
struct Changed {
    folder: tempfile::TempDir,
}

impl Changed {
    fn of(name: &str) -> Self {
        let folder = folder();
        for entry in fs::read_dir(kept(name)).expect("a golden") {
            let path = entry.expect("a file").path();
            fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("copied");
        }
        Self { folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn json(self, name: &str, change: impl FnOnce(&mut Value)) -> Self {
        let text = fs::read_to_string(self.at(name)).expect("read");
        let mut value = serde_json::from_str(&text).expect("JSON");
        change(&mut value);
        fs::write(self.at(name), value.to_string()).expect("written");
        self
    }

    fn config(self, key: &str, value: Value) -> Self {
        self.json("config.json", |config| config[key] = value)
    }

    fn weights(self, change: impl FnOnce(&mut Weights)) -> Self {
        let path = self.at("model.safetensors");
        let (mut weights, metadata) = safetensors::read(&path).expect("read");
        change(&mut weights);
        safetensors::write(&path, &weights, &metadata).expect("written");
        self
    }

    #[track_caller]
    fn refused(self, parts: &[&str]) {
        let error = read(self.folder.path()).expect_err("refused").to_string();
        assert!(error.lines().count() == 1, "one sentence: {error}");
        for part in parts {
            assert!(error.contains(part), "{part} is missing: {error}");
        }
    }
}

const TABLE: &str = "bert.embeddings.word_embeddings.weight";
const DECODER: &str = "cls.predictions.decoder.weight";

#[test]
fn what_is_another_model_is_refused_in_a_sentence() {
    let mlm = || Changed::of("mlm");
    for (key, value, parts) in [
        ("model_type", json!("roberta"), ["model_type = \"roberta\"", "bert or electra"]),
        ("hidden_act", json!("gelu_new"), ["hidden_act = \"gelu_new\"", "gelu is read"]),
        (
            "position_embedding_type",
            json!("relative_key"),
            ["\"relative_key\"", "absolute is read"],
        ),
        ("num_attention_heads", json!(3), ["hidden_size = 8", "num_attention_heads = 3"]),
        ("num_attention_heads", json!(0), ["num_attention_heads = 0", "1 … 16777216"]),
        ("hidden_size", json!(4_000_000_000u32), ["hidden_size = 4000000000", "1 … 16777216"]),
        ("type_vocab_size", json!(1), ["type_vocab_size = 1", "2 is read"]),
        ("is_decoder", json!(true), ["is_decoder", "encoders are read"]),
        ("layer_norm_eps", json!(0), ["layer_norm_eps = 0", "between 0 and 1"]),
        ("vocab_size", json!(39), ["vocab_size = 39", "40 pieces"]),
        ("vocab_size", json!(41), ["word_embeddings.weight", "[40, 8]"]),
        ("max_position_embeddings", json!(5), ["6 tokens", "max_position_embeddings = 5"]),
        ("num_hidden_layers", json!(3), ["bert.encoder.layer.2.", "is missing"]),
        ("num_hidden_layers", json!(1), ["bert.encoder.layer.1.", "not one of"]),
        ("num_hidden_layers", json!(4_000_000_000u32), ["4000000000", "1 … 1000"]),
        ("hidden_size", json!("8"), ["config.json", "invalid type"]),
        ("tie_word_embeddings", json!(false), ["tie_word_embeddings", "decoder is missing"]),
    ] {
        mlm().config(key, value).refused(&[&["teacher.from"][..], &parts].concat());
    }
    let untied = |weights: &mut Weights| {
        let mut decoder = weights[TABLE].clone();
        decoder.data[5] += 1.0;
        weights.insert(DECODER.into(), decoder);
    };
    mlm().weights(untied).refused(&["model.safetensors", "only one that is tied to it is read"]);
    let tied = |weights: &mut Weights| {
        weights.insert(DECODER.into(), weights[TABLE].clone());
    };
    let same = mlm().weights(tied).config("tie_word_embeddings", json!(false));
    assert_eq!(read(same.folder.path()).expect("equal").weights, found("mlm").weights);
    let bias = |weights: &mut Weights| {
        weights.insert("cls.predictions.decoder.bias".into(), Tensor::zeros([40]));
    };
    mlm().weights(bias).refused(&["cls.predictions.decoder.bias", "differ"]);
    let twice = |weights: &mut Weights| {
        weights.insert("embeddings.LayerNorm.beta".into(), Tensor::zeros([8]));
    };
    mlm().weights(twice).refused(&["bert.embeddings.LayerNorm.bias", "two names"]);
    let more = |weights: &mut Weights| {
        weights.insert("adapter.weight".into(), Tensor::zeros([8]));
    };
    mlm().weights(more).refused(&["adapter.weight is not one of"]);
    let lost = |weights: &mut Weights| {
        weights.remove("bert.embeddings.LayerNorm.bias");
    };
    mlm().weights(lost).refused(&["bert.embeddings.LayerNorm.bias is missing"]);

    for name in ["vocab.txt", "config.json", "model.safetensors"] {
        let gone = mlm();
        fs::remove_file(gone.at(name)).expect("removed");
        gone.refused(&[name]);
    }
    let pickle = mlm();
    fs::rename(pickle.at("model.safetensors"), pickle.at("pytorch_model.bin")).expect("renamed");
    pickle.refused(&["pytorch_model.bin", "pickle"]);

    let index = "model.safetensors.index.json";
    let table = "electra.embeddings.word_embeddings.weight";
    let lies =
        |file: Value| Changed::of("electra").json(index, |index| index["weight_map"][table] = file);
    lies(json!("../model-00001-of-00003.safetensors")).refused(&[index, "which is no name"]);
    lies(json!("model-00009-of-00003.safetensors")).refused(&[table, "model-0000"]);
    lies(json!("model-00003-of-00003.safetensors")).refused(&[table, "model-0000"]);
    let more = Changed::of("electra").json(index, |index| {
        index["weight_map"]["electra.more"] = json!("model-00001-of-00003.safetensors");
    });
    more.refused(&["electra.more", "where it is not"]);
}

/// What Google published has another attention, other norms, neighbours in its embeddings and more feed-forward parts: the first is named. Ours
/// is read back.
#[test]
fn a_mobilebert_of_another_kind_is_refused_in_a_sentence() {
    let ours = folder();
    let model = texts::bottlenecks(BertHead::MaskedWords);
    model.write(ours.path()).expect("written");
    let changed = |change: &dyn Fn(&mut Value)| {
        let other = folder();
        model.write(other.path()).expect("written");
        // Without sums it is as from elsewhere.
        fs::remove_file(other.path().join(sums::NAME)).expect("removed");
        Changed { folder: other }.json("config.json", change)
    };
    let again = read(changed(&|_| ()).folder.path()).expect("ours").weights;
    assert_eq!(again, model.weights);
    for (key, value, said) in [
        ("use_bottleneck_attention", json!(false), "use_bottleneck_attention = false, and true"),
        ("key_query_shared_bottleneck", json!(true), "key_query_shared_bottleneck = true"),
        ("num_feedforward_networks", json!(4), "num_feedforward_networks = 4, and 1 is read"),
        ("trigram_input", json!(true), "trigram_input = true, and false is read"),
        ("normalization_type", json!("no_norm"), "no_norm, and layer_norm is read"),
        ("embedding_size", json!(8), "embedding_size = 8, and 20 is read"),
        ("layer_norm_eps", json!(1e-12), "layer_norm_eps = 1e-12, and 1e-5 is read"),
        ("num_attention_heads", json!(5), "intra_bottleneck_size = 12 does not divide"),
        ("intra_bottleneck_size", json!(0), "intra_bottleneck_size = 0"),
        ("intra_bottleneck_size", Value::Null, "which is missing"),
    ] {
        changed(&|config| config[key] = value.clone()).refused(&["config.json", said]);
    }
    // As `google/mobilebert-uncased` has them.
    let theirs = |config: &mut Value| {
        let keys = config.as_object_mut().expect("an object");
        keys.retain(|key, _| !key.contains("bottleneck") || key.starts_with("intra"));
        keys.retain(|key, _| !["trigram_input", "normalization_type"].contains(&key.as_str()));
    };
    changed(&theirs).refused(&["mobilebert", "only those that Taper writes"]);
    let wider = |weights: &mut Weights| {
        weights.insert("cls.predictions.dense.weight".into(), Tensor::zeros([1, 60]));
    };
    changed(&|_| ()).weights(wider).refused(&["cls.predictions.dense.weight", "[1, 60]"]);
}

#[test]
fn a_student_with_another_tokenizer_is_refused() {
    let teacher = found("mlm");
    let with = |change: &dyn Fn(&mut Vec<String>), lowercase: bool| {
        let mut pieces = teacher.model.tokenizer.pieces().to_vec();
        change(&mut pieces);
        let student = Tokenizer::new(pieces, Normalizer::bert(lowercase)).expect("a vocabulary");
        teacher.check_tokenizer("teacher", &student)
    };
    with(&|_| {}, true).expect("the same");
    for (refusal, part) in [
        (with(&|pieces| pieces.swap(5, 6), true), "has \"the\" as the piece 5"),
        (with(&|pieces| pieces.push("more".into()), true), "has 40 pieces, the student's 41"),
        (with(&|_| {}, false), "lower case"),
    ] {
        let said = refusal.expect_err("another").to_string();
        assert!(said.contains(part), "{part} is missing: {said}");
    }
}

fn facts() -> CardFacts {
    CardFacts {
        method: None,
        seed: 0,
        data: "noise".into(),
        stages: Vec::new(),
        accuracy: 12.5,
        loss: 4.25,
        answers: None,
        epochs: 1.0,
        size: Footprint { params: 7, macs: 7, bytes: 28 },
        teacher: None,
        adapter: "none".into(),
    }
}

fn with_cards(models: [(&'static str, ModelFolder); 3]) -> Vec<(&'static str, ModelFolder)> {
    let of = |(name, mut model): (_, ModelFolder)| {
        model.card = card::render(&facts(), &model.config, None);
        (name, model)
    };
    models.map(of).into()
}

/// A student, a teacher and a student of bottlenecks of ours, with cards.
fn ours() -> Vec<(&'static str, ModelFolder)> {
    with_cards([
        ("student", texts::model(None)),
        ("teacher", texts::model(Some(3))),
        ("bottlenecks", texts::bottlenecks(BertHead::MaskedWords)),
    ])
}

/// The other classes of bottlenecks, and a teacher that is asked for pairs of sentences too.
fn with_other_heads() -> Vec<(&'static str, ModelFolder)> {
    with_cards([
        ("pretrain", texts::bottlenecks(BertHead::Pretrain)),
        ("spans", texts::bottlenecks(BertHead::Spans)),
        ("pairs", texts::model_for(Some(3), BertHead::Pretrain)),
    ])
}

#[test]
fn a_folder_of_ours_has_what_transformers_reads_and_is_read_back() {
    let files = [
        "README.md",
        "SHA256SUMS",
        "config.json",
        "model.safetensors",
        "onnx",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ];
    let classes = ["BertForMaskedLM", "ElectraForMaskedLM", "MobileBertForMaskedLM"];
    for ((name, model), class) in ours().into_iter().zip(classes) {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        model.write(folder.path()).expect("written");
        assert_eq!(ModelFolder::read(folder.path()).expect("read"), model, "{name}");
        let mut names: Vec<String> = fs::read_dir(folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, files, "{name}");
        sums::check(folder.path()).expect("sums hold");
        let listed = fs::read_to_string(at(sums::NAME)).expect("sums");
        assert!(listed.contains("  onnx/model.onnx\n") && listed.contains("  vocab.txt\n"));
        let text = fs::read_to_string(at("config.json")).expect("read");
        let config: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(config["architectures"], json!([class]));
        assert_eq!(config["transformers.js_config"], json!({ "dtype": "fp32" }));
        assert_eq!(config["taper"], json!({ "length": 9, "places": 9, "head": "masked_words" }));
        for part in [class, "12.50 % of the masked words", "4.2500 nats", "pipeline_tag: fill-mask"]
        {
            assert!(model.card.contains(part), "{part} is not in\n{}", model.card);
        }
        let (weights, metadata) = safetensors::read(&at("model.safetensors")).expect("read");
        assert_eq!(metadata, safetensors::pytorch());
        let prefix = match name {
            "teacher" => "electra.",
            "bottlenecks" => "mobilebert.",
            _ => "bert.",
        };
        let heads = ["cls.predictions.", "generator_"];
        assert!(weights.keys().all(|name| {
            !name.contains("decoder")
                && (name.starts_with(prefix) || heads.iter().any(|head| name.starts_with(head)))
        }));
        // A browser finds all of the plan's tensors in the file.
        let plan = model.config.plan().expect("a plan");
        let there: Vec<&String> = plan.owners.student.iter().map(|tensor| &tensor.name).collect();
        // And nothing else is in it, but what transformers wants to see and does not read.
        let unread = ["embeddings.embedding_transformation.", "cls.predictions.dense."];
        let read = |name: &&String| !unread.iter().any(|part| name.contains(part));
        assert_eq!(there.len(), weights.keys().filter(read).count(), "{name}");
        assert!(there.iter().all(|name| weights.contains_key(*name)));
        // A changed tokenizer is a changed model.
        fs::write(at("vocab.txt"), "[PAD]\n").expect("written");
        let said = ModelFolder::read(folder.path()).expect_err("changed").to_string();
        assert!(said.contains("vocab.txt") && said.contains("SHA-256"), "{said}");
    }
}

/// With as many features in the tables as in the hidden state, ELECTRA has no map behind them; then a teacher has none either and is BERT, and one
/// that has is not written.
#[test]
fn a_teacher_as_wide_as_its_student_is_written_as_bert() {
    let mut model = texts::model(Some(1));
    let at = folder();
    model.write(at.path()).expect("written");
    assert_eq!(ModelFolder::read(at.path()).expect("read"), model);
    let config: Value =
        serde_json::from_str(&fs::read_to_string(at.path().join("config.json")).expect("read"))
            .expect("JSON");
    assert_eq!(config["architectures"], json!(["BertForMaskedLM"]));
    assert!(config.get("embedding_size").is_none());

    let ModelConfig::Text(of) = &mut model.config else { panic!("it reads text") };
    of.sizes.embedding = Some(of.sizes.hidden);
    model.weights = nets::weights(&model.config.network(), 5);
    let said = model.write(folder().path()).expect_err("refused").to_string();
    assert!(said.contains("embedding_size"), "{said}");
}

/// A folder's positions are what a tokenizer may fill, whatever the length it was trained at.
#[test]
fn the_tokenizer_allows_as_many_tokens_as_there_are_positions() {
    let at = folder();
    texts::model(None).write(at.path()).expect("written");
    let of = |name: &str| -> Value {
        serde_json::from_str(&fs::read_to_string(at.path().join(name)).expect("read"))
            .expect("JSON")
    };
    assert_eq!(of("tokenizer_config.json")["model_max_length"], 11);
    assert_eq!(of("config.json")["max_position_embeddings"], 11);
    assert_eq!(of("config.json")["taper"]["length"], 9);
}

/// BERT has a place for the pooler and the head for pairs, ELECTRA has none: there they lie in a file of their own, and come back from it.
#[test]
fn what_electra_has_no_place_for_lies_beside_it() {
    for (factor, class) in [(None, "BertForPreTraining"), (Some(3), "ElectraForMaskedLM")] {
        let mut model = texts::model_for(factor, BertHead::Pretrain);
        model.card = card::render(&facts(), &model.config, None);
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        model.write(folder.path()).expect("written");
        assert_eq!(ModelFolder::read(folder.path()).expect("read"), model, "{class}");
        let (own, _) = safetensors::read(&at("model.safetensors")).expect("read");
        let pairs = |name: &&String| name.contains("pooler") || name.contains("seq_relationship");
        assert_eq!(own.keys().filter(pairs).count(), if factor.is_some() { 0 } else { 4 });
        let beside = at("taper.safetensors");
        assert_eq!(beside.is_file(), factor.is_some(), "{class}");
        assert_eq!(model.card.contains("taper.safetensors"), factor.is_some());
        assert!(model.card.contains("and `seq_relationship_logits` (N, 2) out"), "{}", model.card);
        let sequences =
            Sequences { length: 9, places: 9, head: Some(BertHead::Pretrain), unanswerable: false };
        let again =
            text_teacher(&folder.path().to_string_lossy(), 3, sequences).expect("a teacher");
        assert_eq!((&again.weights, again.fresh), (&model.weights, Vec::new()), "{class}");
        if factor.is_none() {
            continue;
        }
        let (mut tensors, metadata) = safetensors::read(&beside).expect("read");
        assert_eq!(tensors.keys().filter(pairs).count(), tensors.len());
        assert_eq!(tensors.len(), 4);
        // One that the model's own file has too, and a file that is gone.
        fs::remove_file(at(sums::NAME)).expect("removed");
        let name = own.keys().next().expect("a tensor");
        tensors.insert(name.clone(), own[name].clone());
        safetensors::write(&beside, &tensors, &metadata).expect("written");
        let said = ModelFolder::read(folder.path()).expect_err("twice").to_string();
        assert!(said.contains("taper.safetensors") && said.contains(name), "{said}");
        fs::remove_file(&beside).expect("removed");
        let said = ModelFolder::read(folder.path()).expect_err("gone").to_string();
        assert!(said.contains("it has no pooler: bert.pooler.dense."), "{said}");
    }
}

#[test]
fn transformers_opens_our_folders_and_answers_our_scores() {
    let Some(python) = tools::transformers() else { return };
    let all = ours().into_iter().chain(with_other_heads()).collect();
    opened(Command::new(python).arg(golden::path("hub.py")).arg("check"), all);
}

#[test]
fn transformers_js_opens_our_folders_and_answers_our_scores() {
    let Some(tools::TransformersJs { node, modules }) = tools::transformers_js() else { return };
    opened(Command::new(node).arg(golden::path("hub.mjs")).arg(modules), ours());
}

/// Writes folders of ours with what they are asked and our scores, which a script opens; it prints a line each.
fn opened(script: &mut Command, models: Vec<(&str, ModelFolder)>) {
    let folder = folder();
    let mut paths = Vec::new();
    for (name, model) in models {
        let path = folder.path().join(name);
        model.write(&path).expect("written");
        let ModelConfig::Text(of) = &model.config else { panic!("it reads text") };
        let asked = Asked::of(of.sizes.vocabulary, of.sizes.length, 5);
        let (mut network, mut task) = (model.config.network(), model.config.task());
        // ELECTRA knows no pairs of sentences, so such a teacher is one for masked words there.
        if let (Some(_), Task::Pretrain { vocabulary, places }) = (of.sizes.embedding, task) {
            network.further.clear();
            task = Task::MaskedWords { vocabulary, places };
        }
        asked.write(&path, &asked.answers(&gpu(), &network, task, &model.weights));
        paths.push(path);
    }
    let output = script.args(&paths).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().count(), paths.len(), "{said}");
}
