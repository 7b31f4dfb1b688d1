//! Runs on text: what they leave, what they go by, and what is refused before anything is trained.

mod support;

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use engine::{
    config::{Config, Draft, Method},
    data,
    disk::SystemDisk,
    event::{Entry, Event},
    formats::ModelConfig,
    train::{Options, Run, Session, TrainError},
};
use serde_json::json;
use support::{TEXT, config, folder, go_on, model, models_in, train, try_train};
use taper_tests::host;

/// The account of the data, as the log has it.
fn account(entries: &[Entry]) -> data::Account {
    let of = |entry: &Entry| match &entry.event {
        Event::DataRead { account } => Some(account.clone()),
        _ => None,
    };
    entries.iter().find_map(of).expect("an account")
}

/// Relative errors of all merges.
fn merges(entries: &[Entry]) -> Vec<f64> {
    let of = |entry: &Entry| match &entry.event {
        Event::Merge { report, .. } => Some(report.relative_error),
        _ => None,
    };
    entries.iter().filter_map(of).collect()
}

#[test]
fn every_method_trains_on_text() {
    let methods = [r#"methods=["vanilla","kd","fitnets","start_only","win"]"#, "seeds=[3]"];
    let config = config(&[&TEXT[..], &methods, &["narrow.unit=4", "text.nsp=true"]].concat());
    let out = folder();
    let out = out.path();
    let heard = train(&config, out);
    let merged = merges(&heard);
    assert_eq!(merged.len(), 2);
    assert!(merged.iter().all(|error| *error <= 1e-5), "{merged:?}");
    // Narrow i has i units of steps.
    let steps = |name: &str| {
        let of = |entry: &Entry| match &entry.event {
            Event::StageStarted { member, stage, steps, .. }
                if member == "win-3" && stage == name =>
            {
                Some(*steps)
            }
            _ => None,
        };
        heard.iter().find_map(of)
    };
    assert_eq!((steps("narrow 1"), steps("narrow 2")), (Some(4), Some(8)));
    for method in Method::ALL.into_iter().filter(|method| config.methods.contains(method)) {
        let kept = model(&out.join(format!("members/{method}-3/artifacts")));
        let names = |name: &str| kept.weights.keys().filter(|key| key.contains(name)).count();
        assert_eq!((names("lift"), names("lower")), (0, 0), "{method}");
        assert!(names("bert.encoder.layer.1.") > 0, "{method}");
    }
    let text = account(&heard).text.expect("text");
    assert_eq!((text.train.examples, text.test.examples, text.vocabulary), (256, 64, 1222));
    let unigram = text.yardsticks.expect("yardsticks").unigram.loss;
    assert!((6.0..8.0).contains(&unigram), "{unigram}");
}

/// Layers of a state of 16 features, which are 8 wide inside.
const BOTTLENECK: &str = "model.bottleneck=16";

/// Nothing is merged, and nothing says that it was; embeddings and heads are the teacher's, and the blocks imitate it.
#[test]
fn every_method_but_start_only_trains_bottlenecks() {
    let methods = [r#"methods=["vanilla","kd","fitnets","embeddings_only","win"]"#, "seeds=[3]"];
    let narrow = ["narrow.unit=12", "narrow.lr=0.01", "tune.lr=0", "tune.epochs=1"];
    let set = [&TEXT[..], &methods, &narrow, &["text.nsp=true", BOTTLENECK]].concat();
    let config = config(&set);
    let out = folder();
    let out = out.path();
    let heard = train(&config, out);
    assert_eq!(merges(&heard), [0.0; 0]);
    let told = support::warnings(&heard);
    assert!(told.iter().any(|line| line.contains("begin with fresh weights")), "{told:?}");
    let stages = heard.iter().filter_map(|entry| match &entry.event {
        Event::StageStarted { member, stage, .. } if member == "win-3" => Some(stage.clone()),
        _ => None,
    });
    assert_eq!(stages.collect::<Vec<_>>(), ["narrow 1", "narrow 2", "tune"]);
    let narrowed = heard.iter().filter_map(|entry| match &entry.event {
        Event::BlockNarrowed { discrepancy, .. } => Some(*discrepancy),
        _ => None,
    });
    let narrowed: Vec<f64> = narrowed.collect();
    assert_eq!(narrowed.len(), 2);
    assert!(narrowed.iter().all(|off| (0.0..1.5).contains(off)), "{narrowed:?}");
    let teacher = model(&out.join("teachers/3"));
    let artifacts = |method: Method| out.join(format!("members/{method}-3/artifacts"));
    for &method in &config.methods {
        let kept = model(&artifacts(method));
        assert!(kept.merge.is_none() && !kept.card.contains("merged"), "{}", kept.card);
        assert!(!artifacts(method).join("merge.json").exists());
        let names = kept.weights.keys().filter(|name| name.contains("bottleneck"));
        assert_eq!(names.count(), 2 * 8, "{method}");
        assert!(kept.card.contains("MobileBertForPreTraining"), "{}", kept.card);
    }
    // Tuning with a learning rate of 0 leaves what narrow steps have left: all but the layers is the teacher's, and these are not.
    let win = model(&artifacts(Method::Win));
    for (name, tensor) in win.weights.iter().filter(|(name, _)| !name.contains(".layer.")) {
        assert_eq!(Some(tensor), teacher.weights.get(name), "{name}");
    }
    assert!(teacher.card.contains("BertForPreTraining") && !teacher.card.contains("Mobile"));
}

/// Stopped at every few lines of its log, in narrow steps and in the tuning behind them, it ends with the bits of one that nobody disturbed.
#[test]
fn a_run_of_bottlenecks_goes_on_with_the_same_bits() {
    let steps = ["narrow.unit=6", "tune.epochs=2", "model.dropout=0.1", "win.restarts=2"];
    let config = config(&[&TEXT[..], &steps, &[r#"methods=["win"]"#, BOTTLENECK]].concat());
    let (whole, parts) = (folder(), folder());
    train(&config, whole.path());
    let out = parts.path();
    drop(Run::create(config, out, &host()).expect("an empty folder"));
    let mut stops = 0;
    loop {
        let run = Run::resume(out, &host()).expect("a run directory");
        let (stop, mut lines) = (AtomicBool::new(false), 0);
        let mut hear = |_: &Entry| {
            lines += 1;
            stop.store(lines > 12, Ordering::Relaxed);
        };
        match run.execute(&Options::new(out), &stop, &mut hear) {
            Ok(()) => break,
            Err(TrainError::Stopped(_)) => stops += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(stops < 100, "it does not come to an end");
    }
    assert!(stops > 1, "the run was over before it was stopped");
    assert_eq!(models_in(out), models_in(whole.path()), "after {stops} stops");
}

/// A teacher from elsewhere is as wide as the state, or refused; one of more layers is cut into blocks.
#[test]
fn bottlenecks_imitate_an_imported_teacher_of_their_width() {
    let (deep, thin) = (folder(), folder());
    let sizes = ["model.hidden=16", "model.heads=4", "model.inner=32", "model.layers=4"];
    train(&config(&[&TEXT[..], &sizes, &[r#"methods=["vanilla"]"#]].concat()), deep.path());
    let from = format!("teacher.from={:?}", deep.path().join("artifacts").display().to_string());
    let set = [&TEXT[..], &[BOTTLENECK, &from, "narrow.unit=2", "tune.epochs=1"]].concat();
    train(&config(&set), thin.path());
    let kept = model(&thin.path().join("artifacts"));
    assert!(kept.weights.contains_key("bert.encoder.layer.1.output.bottleneck.dense.weight"));
    // What it was taken up with is a configuration that stands.
    Run::resume(thin.path(), &host()).expect("a run directory");
    // Layers of BERT's own are narrowed to the same blocks, with pairs.
    let plain = [&TEXT[..], &[&from, "narrow.unit=2", "tune.epochs=1"]].concat();
    let merged = merges(&train(&config(&plain), folder().path()));
    assert!(merged.len() == 1 && merged[0] <= 1e-5, "{merged:?}");
    let error = try_train(&config(&[&set[..], &["model.bottleneck=24"]].concat()), folder().path());
    let error = error.expect_err("another width").to_string();
    assert!(error.contains("set model.bottleneck=16"), "{error}");
}

#[test]
fn what_does_not_go_with_a_bottleneck_is_refused_in_a_sentence() {
    let toml = config(&[&TEXT[..], &[r#"methods=["win"]"#]].concat()).to_toml();
    for (changes, said) in [
        (&["model.bottleneck=8"][..], "must be more than the 8 features of `model.hidden`"),
        (&["model.bottleneck=24"], "must be 16, the teacher's hidden size: `teacher.factor` is 2"),
        (&[BOTTLENECK, "teacher.factor=3"], "must be 24, the teacher's hidden size"),
        (
            &[BOTTLENECK, r#"methods=["win","start_only"]"#],
            "is the same as embeddings_only with `model.bottleneck`",
        ),
        (&[BOTTLENECK, "win.start=sample"], "begin with fresh weights; leave it out"),
        (&[BOTTLENECK, "win.merge=map"], "nothing is merged; leave it out"),
        (&[BOTTLENECK, "teacher.layer_map=[0,1]"], "begin with fresh weights; leave it out"),
        (&["model.arch=mlp", BOTTLENECK], "bottleneck"),
    ] {
        let draft = Draft::from_toml(&toml, "x").expect("TOML");
        let set = |draft: Result<Draft, _>, change: &&str| draft.and_then(|d| d.set(change));
        let error = changes.iter().fold(Ok(draft), set).and_then(Draft::finish);
        let error = error.expect_err(said).to_string();
        assert!(error.contains(said) && !error.contains('\n'), "{changes:?}: {error}");
    }
}

/// Two runs of one configuration have the same bits, and a seed has masks of its own.
#[test]
fn a_run_on_text_is_a_function_of_its_seed() {
    let of = |seed: u64| {
        let seeds = format!("seeds=[{seed}]");
        let config = config(&[&TEXT[..], &[r#"methods=["vanilla"]"#, &seeds]].concat());
        let out = folder();
        train(&config, out.path());
        models_in(out.path()).into_values().collect::<Vec<_>>()
    };
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
}

/// Questions on contexts of keys and values, with a network of the same sizes as [`TEXT`]'s.
fn asking(changes: &[&str]) -> Config {
    let own = [
        "data.kind=procedural_questions",
        "data.train_count=24",
        "data.test_count=12",
        "text.length=64",
        "model.positions=64",
        "finetune.doc_stride=16",
        r#"methods=["vanilla"]"#,
        "vanilla.batch=24",
    ];
    config(&[&TEXT[5..], &own, changes].concat())
}

/// How the member ended: error on the training data, exact match and F1.
fn answered(entries: &[Entry], name: &str) -> (f64, f64, f64) {
    let of = |entry: &Entry| match &entry.event {
        Event::MemberFinished { member, train_error, answers: Some(scores), .. }
            if member == name =>
        {
            Some((*train_error, scores.em, scores.f1))
        }
        _ => None,
    };
    entries.iter().find_map(of).expect("answers")
}

/// A network of this size knows two dozen answers by heart; and a student that was trained on text is what it begins with.
#[test]
fn questions_are_learnt_by_heart_from_trained_weights() {
    let (text, answers) = (folder(), folder());
    let on_text = ["model.positions=64", r#"methods=["win"]"#, "narrow.unit=2"];
    train(&config(&[&TEXT[..], &on_text].concat()), text.path());
    let from = format!("model.from={:?}", text.path().join("artifacts").display().to_string());
    let learns = ["vanilla.steps=250", "vanilla.lr=0.02", "vanilla.schedule=linear", &from];
    let heard = train(&asking(&learns), answers.path());
    let (train_error, em, f1) = answered(&heard, "vanilla-0");
    assert!(train_error <= 5.0, "{train_error} % of the windows are not known");
    assert!((0.0..=100.0).contains(&em) && em <= f1, "{em} {f1}");
    let told = |message: &String| message.contains("qa_outputs") && message.contains("fresh");
    assert!(support::warnings(&heard).iter().any(told), "{:?}", support::warnings(&heard));
    // The encoder is the student's, which an untrained run leaves as it was.
    let still = folder();
    train(&asking(&["vanilla.steps=1", "vanilla.lr=0", &from]), still.path());
    let (before, after) =
        (model(&text.path().join("artifacts")), model(&still.path().join("artifacts")));
    let table = "bert.embeddings.word_embeddings.weight";
    assert_eq!(before.weights[table], after.weights[table]);
    assert!(after.weights.contains_key("qa_outputs.weight"));

    for (changes, said) in [
        (vec!["model.hidden=16"], "set model.hidden=8"),
        (vec!["model.layers=3"], "set model.layers=2"),
        (vec![r#"methods=["win"]"#], "begins with the teacher's"),
        (vec!["finetune.doc_stride=60"], "finetune.doc_stride: 60 leaves no room"),
        (vec!["text.length=600"], "model.positions"),
    ] {
        let toml = asking(&[&from]).to_toml();
        let draft = Draft::from_toml(&toml, "x").expect("TOML");
        let set = |draft: Draft, change: &&str| draft.set(change).expect("a change");
        let error = match changes.iter().fold(draft, set).finish() {
            Err(error) => error.to_string(),
            Ok(config) => try_train(&config, folder().path()).expect_err(said).to_string(),
        };
        assert!(error.contains(said), "{changes:?}: {error}");
    }
}

/// A model of SQuAD 2.0 says in its folder that there may be no answer, one of 1.1 says nothing. A folder may have one file for both parts.
#[test]
fn a_model_knows_whether_questions_may_have_no_answer() {
    for (version, nothing) in [("1.1", false), ("v2.0", true)] {
        let file = folder();
        let question = |k: usize| {
            let answers = match nothing && k % 2 == 1 {
                true => json!([]),
                false => json!([{ "text": "bun", "answer_start": 2 }]),
            };
            json!({ "id": k.to_string(), "question": "What is it?", "answers": answers })
        };
        let article = |k: usize| {
            let paragraph =
                json!({ "context": "a bun .", "qas": [question(2 * k), question(2 * k + 1)] });
            json!({ "title": k.to_string(), "paragraphs": [paragraph] })
        };
        let data = [0, 1, 2, 3].map(article);
        let squad = json!({ "version": version, "data": data });
        fs::write(file.path().join("all.json"), squad.to_string()).expect("written");
        let path = format!("data.path={:?}", file.path().display().to_string());
        let small = [
            "data.kind=squad",
            &path,
            "text.vocab_size=40",
            "text.length=16",
            "model.positions=16",
            "finetune.doc_stride=2",
            r#"methods=["vanilla"]"#,
            "vanilla.steps=1",
            "vanilla.batch=2",
        ];
        let out = folder();
        train(&config(&[&TEXT[5..], &small].concat()), out.path());
        let ModelConfig::Text(kept) = model(&out.path().join("artifacts")).config else {
            panic!("it reads text")
        };
        assert_eq!(kept.unanswerable, nothing, "{version}");
        let written = fs::read_to_string(out.path().join("artifacts/config.json")).expect("read");
        assert_eq!(written.contains("unanswerable"), nothing, "{written}");
    }
}

/// A folder with a text of two parts.
fn corpus() -> tempfile::TempDir {
    let folder = folder();
    let line = |n: usize| format!("the {} man saw a {} dog .\n", ["old", "young"][n % 2], n % 7);
    let text = |count: usize| {
        (0..count).map(|n| line(n) + if n % 5 == 4 { "\n" } else { "" }).collect::<String>()
    };
    fs::write(folder.path().join("train.txt"), text(120)).expect("written");
    fs::write(folder.path().join("test.txt"), text(40)).expect("written");
    folder
}

fn on_files(path: &Path, changes: &[&str]) -> Config {
    let path = format!("data.path={:?}", path.display().to_string());
    let own = [
        "data.kind=text",
        &path,
        "text.vocab_size=60",
        "text.length=12",
        "text.max_predictions=2",
        "model.positions=16",
    ];
    config(&[&TEXT[3..], &own, &[r#"methods=["vanilla"]"#], changes].concat())
}

/// The vocabulary that a run began with is kept: a resumed run reads that one.
#[test]
fn a_vocabulary_is_frozen_in_the_run() {
    let (corpus, out) = (corpus(), folder());
    let config = on_files(corpus.path(), &[]);
    let heard = train(&config, out.path());
    let text = account(&heard).text.expect("text");
    assert_eq!((text.train.documents, text.test.documents), (24, 8));
    assert_eq!((text.train.name.as_str(), text.test.name.as_str()), ("train.txt", "test.txt"));
    let kept = out.path().join("tokenizer.json");
    let before = fs::read(&kept).expect("a tokenizer");
    let other = folder();
    train(&config, other.path());
    assert_eq!(before, fs::read(other.path().join("tokenizer.json")).expect("a tokenizer"));
    let tokenizer = data::text::Tokenizer::open(&kept, None).expect("a tokenizer");
    assert_eq!(tokenizer.size() as u64, text.vocabulary);
}

/// What is left of a run, taken up again.
fn resumed(out: &Path) -> Result<Vec<Entry>, TrainError> {
    go_on(&Run::resume(out, &host()).expect("a run"), out, Duration::from_secs(20))
}

/// A text that became another one is not gone on with; the same one is, wherever it lies.
#[test]
fn a_run_does_not_go_on_with_another_text() {
    let (corpus, out) = (corpus(), folder());
    train(&on_files(corpus.path(), &[]), out.path());
    resumed(out.path()).expect("nothing has changed");
    for (name, part) in [("train.txt", "training"), ("test.txt", "test")] {
        let file = corpus.path().join(name);
        let before = fs::read_to_string(&file).expect("read");
        // As many words as before, and the same ones.
        fs::write(&file, before.replacen("old man", "man old", 1)).expect("written");
        let said = resumed(out.path()).expect_err("another text").to_string();
        assert!(
            said.starts_with("data.path: these are other data than this run has trained on")
                && said.contains(&format!("the SHA-256 of the {part} text begins with"))
                && !said.contains('\n'),
            "{said}"
        );
        fs::write(&file, before).expect("written");
        resumed(out.path()).expect("as it was");
    }
}

/// A context and two questions about it, the first answered by what stands at the beginning.
fn squad(folder: &Path, answer: &str) {
    let qas = |part: &str| {
        let of = |n: u32| {
            json!({ "id": format!("{part}{n}"), "question": format!("what stands at place {n} ?"),
                    "answers": [{ "text": answer, "answer_start": 0 }] })
        };
        json!([of(0), of(1)])
    };
    for (name, part) in [("train.json", "t"), ("dev.json", "d")] {
        let context = format!("{answer} is the word that begins this text of a few words .");
        let of = json!({ "version": "1.1", "data": [{ "title": part, "paragraphs": [
            { "context": context, "qas": qas(part) }] }] });
        fs::write(folder.join(name), of.to_string()).expect("written");
    }
}

/// So it is with questions, whose vocabulary is kept as well.
#[test]
fn a_run_does_not_go_on_with_other_questions() {
    let (data, out) = (folder(), folder());
    squad(data.path(), "Amber");
    let path = format!("data.path={:?}", data.path().display().to_string());
    let own = [
        "data.kind=squad",
        &path,
        "text.vocab_size=70",
        "text.length=48",
        "model.positions=48",
        "finetune.doc_stride=8",
        r#"methods=["vanilla"]"#,
        "vanilla.batch=2",
    ];
    let config = config(&[&TEXT[5..], &own].concat());
    let heard = train(&config, out.path());
    let kept = fs::read(out.path().join("tokenizer.json")).expect("a tokenizer");
    let tokenizer = data::text::Tokenizer::read_on(&SystemDisk, out.path()).expect("a tokenizer");
    assert_eq!(tokenizer.size() as u64, account(&heard).text.expect("questions").vocabulary);
    resumed(out.path()).expect("nothing has changed");
    squad(data.path(), "Cobalt");
    let said = resumed(out.path()).expect_err("other questions").to_string();
    assert!(said.contains("the SHA-256 of the training questions begins with"), "{said}");
    assert_eq!(kept, fs::read(out.path().join("tokenizer.json")).expect("a tokenizer"));
}

/// Loss and scores of one pass are those of two.
#[test]
fn a_test_with_its_scores_is_the_test_and_the_scores() {
    let data = data::open(&asking(&[]), None, None).expect("questions");
    let network = engine::models::network(&asking(&[]).model, data.input(), data.output());
    let weights = engine::nn::fresh(&network, 3).expect("weights");
    // A batch that the windows do not fill.
    let mut session = Session::evaluating(&support::gpu(), &network, data.task(), &weights, 5)
        .expect("a session");
    let (test, scores) = session.test_with_logits(&data.test).expect("a test");
    assert_eq!(test, session.test(&data.test).expect("a test"));
    let all: Vec<usize> = (0..data.test.len()).collect();
    let rows = session.rows();
    assert_eq!(scores, session.logits(data.test.some(&all, rows)).expect("scores"));
    assert_eq!(scores.len(), data.test.len());
}

/// Each is one sentence that names the key or file, and what is allowed.
#[test]
fn what_cannot_be_read_is_refused_in_a_sentence() {
    let (corpus, others) = (corpus(), folder());
    let path = |name: &str, content: &[u8]| {
        let file = others.path().join(name);
        fs::write(&file, content).expect("written");
        format!("data.path={:?}", file.display().to_string())
    };
    let (empty, broken) = (path("empty.txt", b""), path("broken.txt", b"a \xff b\n"));
    let one = path("one.txt", b"Only one sentence stands here.\n");
    let alone = path("alone.txt", b"One document.\nOf two sentences.\nOf three.\n");
    let refusals: [(&[&str], &str); 9] = [
        (&[&empty], "empty.txt: has no text"),
        (&[&broken], "broken.txt: is no UTF-8 at byte 2 (line 1)"),
        (&[&one], "the text has one sentence, which cannot be split; two are needed"),
        (&[&alone, "text.nsp=true"], "text.nsp: true needs two documents"),
        (&["data.path=\"/none\""], "cannot read /none"),
        (&["text.vocab=\"/none/vocab.txt\""], "/none/vocab.txt"),
        (&["data.train_count=100000"], "data.train_count: 100000 is more than the"),
        (&["vanilla.batch=100000"], "vanilla.batch"),
        (&["teacher.from=\"/none\"", r#"methods=["kd"]"#], "/none"),
    ];
    for (changes, said) in refusals {
        let config = on_files(corpus.path(), changes);
        let error = try_train(&config, folder().path()).expect_err(said).to_string();
        assert!(error.contains(said) && !error.contains('\n'), "{changes:?}: {error}");
    }
    let wrong: [(&str, &str); 8] = [
        ("text.length=4", "must be at least 8"),
        ("text.max_predictions=11", "`text.length` is 12, and two tokens are marks"),
        ("model.heads=3", "must divide the 8 features of `model.hidden`"),
        ("model.positions=8", "must be at least the 12 tokens of `text.length`"),
        ("model.arch=mlp", "text is read by \"bert\""),
        ("data.size=8", "unknown key `data.size`"),
        ("data.kind=texts", "must be one of idx"),
        ("finetune.doc_stride=4", "belongs to questions"),
    ];
    for (change, said) in wrong {
        let toml = on_files(corpus.path(), &[]).to_toml();
        let draft = Draft::from_toml(&toml, "x").and_then(|draft| draft.set(change)?.finish());
        let error = draft.expect_err(change).to_string();
        assert!(error.contains(said), "{change}: {error}");
    }
    for (toml, said) in [
        ("[text]\nlength = 16", "belongs to text, and `data.kind` names images"),
        ("[model]\narch = \"bert\"", "reads text"),
        ("[narrow]\nunit = 3\nsteps = 4", "`narrow.steps` stands there as well"),
    ] {
        let error = Config::from_toml(toml, "x").expect_err(toml).to_string();
        assert!(error.contains(said), "{toml}: {error}");
    }
}
