//! Bad input, refused in one sentence that says what, where, and what is allowed.

use serde_json::json;

use super::super::pairs::pairs;
use super::super::squad::{Cutting, windows};
use super::super::{procedural, squad};
use super::*;
use crate::data::DataError;

/// One sentence with all of `parts`.
fn refused<T>(result: Result<T, DataError>, parts: &[&str]) {
    let error = result.err().expect("refused").to_string();
    assert!(!error.contains('\n') && !error.ends_with('.'), "{error}");
    for part in parts {
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    }
}

fn outline(text: impl AsRef<[u8]>) -> Result<Outline, DataError> {
    let folder = folder_with("a.txt", text);
    Corpus::open(&folder.path().join("a.txt"), None)?.train.outline()
}

fn tokenizer_of(name: &str, content: impl AsRef<[u8]>) -> Result<Tokenizer, DataError> {
    let folder = folder_with(name, content);
    Tokenizer::open(&folder.path().join(name), None)
}

const MARKS: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";

#[test]
fn corpora() {
    refused(Corpus::open(Path::new("/none/there"), None), &["/none/there"]);
    refused(outline(""), &["a.txt: has no text"]);
    refused(outline(" \n\u{200b}\n"), &["a.txt: has no text"]);
    refused(outline(b"good\nbad \xff here\n"), &["a.txt: is no UTF-8 at byte 9 (line 2)"]);
    refused(outline(b"\xff\xfea\0"), &["is no UTF-8 at byte 0"]);
    refused(outline(vec![b'a'; (1 << 24) + 1]), &["line 1 has more than the 16777216 bytes"]);
    let one = outline("A corpus of one sentence.\n").expect("an outline");
    refused(part(&one.documents, HeldOut::test(0.2, 1)), &["one sentence", "two are needed"]);
    refused(
        part(&one.documents, HeldOut::test(1.5, 1)),
        &["data.test_fraction: 1.5 is not between 0 and 1"],
    );
    let folder = folder_with("a.png", "x");
    refused(Corpus::open(folder.path(), None), &["holds no text; its files end in .txt"]);
    for name in ["train.txt", "other.txt"] {
        std::fs::write(folder.path().join(name), "text\n").expect("written");
    }
    refused(
        Corpus::open(folder.path(), None),
        &["\"train.txt\", a part by its name", "\"other.txt\""],
    );
}

#[test]
fn tokenizers() {
    refused(
        tokenizer_of("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n"),
        &["vocab.txt: lacks [MASK]"],
    );
    refused(
        tokenizer_of("vocab.txt", format!("{MARKS}a\nb\na\n")),
        &["the piece \"a\" twice, as 5 and as 7"],
    );
    refused(
        tokenizer_of("vocab.txt", format!("{MARKS}a\n\nb\n")),
        &["an empty piece with the id 6"],
    );
    refused(tokenizer_of("vocab.txt", b"[PAD]\n\xc3\n"), &["vocab.txt: is no UTF-8 at byte 6"]);
    refused(tokenizer_of("tokenizer.json", "[PAD]"), &["tokenizer.json: is no JSON object"]);
    let folder = tempfile::tempdir().expect("a folder");
    refused(Tokenizer::open(folder.path(), None), &["holds neither tokenizer.json nor vocab.txt"]);

    let good = procedural::tokenizer(procedural::SYMBOLS).expect("a tokenizer");
    let (_, json) =
        good.files(64).into_iter().find(|(name, _)| *name == "tokenizer.json").expect("there");
    let good: Value = serde_json::from_str(&json).expect("JSON");
    assert!(tokenizer_of("tokenizer.json", good.to_string()).is_ok());
    let with = |pointer: &str, value: Value| {
        let mut json = good.clone();
        *json.pointer_mut(pointer).expect("a place") = value;
        tokenizer_of("tokenizer.json", json.to_string())
    };
    refused(with("/model/type", json!("BPE")), &["has BPE as model, where BERT has WordPiece"]);
    refused(with("/normalizer", json!(null)), &["has nothing as normalizer"]);
    refused(with("/pre_tokenizer/type", json!("ByteLevel")), &["ByteLevel as pre_tokenizer"]);
    refused(
        with("/model/continuing_subword_prefix", json!("@@")),
        &["\"@@\", where BERT has \"##\""],
    );
    refused(with("/model/vocab/s3", json!(9)), &["\"s3\" and \"s4\" the id 9"]);
    refused(with("/model/vocab/s3", json!(90_000)), &["\"s3\" the id 90000; ids are 0 … 1221"]);
    refused(with("/added_tokens/1/id", json!(7)), &["adds \"[UNK]\", which is not at that place"]);

    let folder = folder_with("vocab.txt", format!("{MARKS}a\n"));
    std::fs::write(folder.path().join("tokenizer_config.json"), r#"{"do_lower_case": false}"#)
        .expect("written");
    assert!(!Tokenizer::open(folder.path(), None).expect("a tokenizer").normalizer().lowercase);
    refused(Tokenizer::open(folder.path(), Some(true)), &["text.lowercase: true contradicts"]);
    std::fs::write(folder.path().join("tokenizer.json"), &json).expect("written");
    refused(
        Tokenizer::open(folder.path(), None),
        &["vocab.txt: holds other pieces than tokenizer.json"],
    );
    std::fs::remove_file(folder.path().join("vocab.txt")).expect("removed");
    refused(
        Tokenizer::open(folder.path(), None),
        &["do_lower_case = false, where tokenizer.json says true"],
    );

    let counts = vocabulary::WordCounts::default();
    refused(vocabulary::train(&counts, 100, Normalizer::bert(true)), &["no words to train it on"]);
    refused(vocabulary::train(&counts, 4, Normalizer::bert(true)), &["text.vocab: 4 is not in 16"]);
}

#[test]
fn examples() {
    let cache = TokenCache::in_memory(&[vec![vec![7; 20]]]);
    let documents = cache.documents().expect("documents");
    let made = |how: Pairing| pairs(&cache, &documents, &how, 1);
    refused(made(PAIRING), &["text.nsp: true needs two documents", "text.nsp = false"]);
    refused(made(Pairing { length: 4, ..PAIRING }), &["text.length: 4 is not in 8"]);
    refused(made(Pairing { short_probability: 2.0, ..PAIRING }), &["text.short_probability: 2"]);
    refused(made(Pairing { copies: 0, ..PAIRING }), &["text.dupe_factor: 0 is not 1 or more"]);
    let tokenizer = procedural::tokenizer(procedural::SYMBOLS).expect("a tokenizer");
    for max_predictions in [0, 31] {
        let (how, masking) =
            (Pairing { nsp: false, ..PAIRING }, Masking { max_predictions, ..MASKING });
        let cache = Arc::new(TokenCache::in_memory(&[vec![vec![7; 20]]]));
        let made = MaskedText::new(cache, &documents, &tokenizer, &how, masking, 1);
        refused(made, &[&format!("text.max_predictions: {max_predictions} is not in 1 … 30")]);
    }
    let folder = folder_with("tokens.cache", [0; 100]);
    refused(TokenCache::read(&folder.path().join("tokens.cache")), &["is no token cache"]);
}

#[test]
fn questions() {
    let refuse = |json: Value, parts: &[&str]| {
        let folder = folder_with("a.json", json.to_string());
        refused(Questions::open(&folder.path().join("a.json")), parts);
    };
    let file = |version: &str, qas: Value| json!({ "version": version, "data": [{ "title": "", "paragraphs": [{ "context": "Añ answer.", "qas": qas }] }] });
    let asked = |id: &str, text: &str, start: i64| json!({ "id": id, "question": "?", "answers": [{ "text": text, "answer_start": start }] });
    refuse(json!({ "version": "1.1" }), &["a.json: is no SQuAD", "missing field `data`"]);
    refuse(file("1.1", json!([])), &["has no questions"]);
    refuse(
        file("1.1", json!([asked("q7", "answer", 4)])),
        &["question \"q7\"", "\"answer\"", "not at code point 4"],
    );
    refuse(
        file("1.1", json!([asked("q7", "answer.x", 3)])),
        &["\"answer.x\", which is not at code point 3"],
    );
    let beyond = json!([asked("q7", "answer", u32::MAX.into())]);
    refuse(file("1.1", beyond), &["not at code point 4294967295"]);
    refuse(file("1.1", json!([asked("q7", "", 3)])), &["question \"q7\" has the answer \"\""]);
    refuse(file("1.1", json!([asked("q7", "answer", -1)])), &["is no SQuAD", "-1"]);
    refuse(
        file("1.1", json!([asked("a", "answer", 3), asked("a", "answer", 3)])),
        &["two questions with the id \"a\""],
    );
    let none = json!([{ "id": "q9", "question": "?", "answers": [] }]);
    refuse(
        file("1.1", none.clone()),
        &["question \"q9\" has no answer, which only SQuAD 2.0 allows"],
    );
    assert!(Questions::parse(file("v2.0", none).to_string().as_bytes()).is_ok());
    let good =
        Questions::parse(file("1.1", json!([asked("q7", "answer", 3)])).to_string().as_bytes());
    let good = good.expect("questions");
    refused(good.split(HeldOut::test(0.5, 1)), &["one article"]);
    refused(good.split(HeldOut::test(0.0, 1)), &["data.test_fraction: 0 is not between 0 and 1"]);
    let tokenizer = procedural::tokenizer(procedural::SYMBOLS).expect("a tokenizer");
    let cut = |length, doc_stride| windows(&good, &tokenizer, Cutting { length, doc_stride });
    refused(
        cut(64, 60),
        &["finetune.doc_stride: 60 leaves no room in windows of 64; at most 59 does"],
    );
    refused(cut(3, 0), &["finetune.doc_stride"]);
    assert!(cut(64, 59).is_ok());
    assert_eq!(squad::part("añb", 1, 2), "ñ");
}
