//! WordPiece and vocabularies.

use sha2::{Digest, Sha256};

use super::super::words::words;
use super::*;
use crate::text::hex;

fn vocabulary_of(golden: &Value, lowercase: bool, strip_accents: Option<bool>) -> Tokenizer {
    let how = Normalizer { strip_accents, ..Normalizer::bert(lowercase) };
    Tokenizer::new(strings(&golden["vocabulary"]), how).expect("a tokenizer")
}

#[test]
fn ids_and_offsets_are_those_of_transformers() {
    let golden = golden("wordpiece.json");
    let cases = golden["cases"].as_array().expect("cases");
    assert!(cases.len() >= 50);
    for case in cases {
        let text = case["text"].as_str().expect("a text");
        let lowercase = case["lowercase"] == true;
        let tokenizer = vocabulary_of(&golden, lowercase, case["strip_accents"].as_bool());
        for (way, encoding) in
            [("plain", tokenizer.encode(text)), ("marked", tokenizer.encode_marked(text))]
        {
            let wanted = &case[way];
            let offsets: Vec<(u32, u32)> = list(&wanted["offsets"]);
            assert_eq!(encoding.ids, list::<u32>(&wanted["ids"]), "{way} {lowercase} {text:?}");
            assert_eq!(encoding.offsets, offsets, "{way} {lowercase} {text:?}");
        }
    }
}

#[test]
fn every_code_point_is_read_as_by_tokenizers() {
    let golden = golden("words.json");
    for (name, lowercase) in [("lower", true), ("cased", false)] {
        for (block, wanted) in strings(&golden[name]).into_iter().enumerate() {
            let mut hash = Sha256::new();
            for c in (block as u32 * 4096..(block as u32 + 1) * 4096).filter_map(char::from_u32) {
                words(Normalizer::bert(lowercase), &format!("a{c}b"), 0, |word| {
                    hash.update(word.iter().map(|c| c.value).chain(['\n']).collect::<String>());
                });
            }
            assert_eq!(hex(&hash.finalize()[..8]), wanted, "{name}, from U+{:x}", block * 4096);
        }
    }
}

#[test]
fn files_say_what_transformers_writes() {
    let golden = golden("wordpiece.json");
    let tokenizer = vocabulary_of(&golden, true, None);
    let folder = tempfile::tempdir().expect("a folder");
    tokenizer.save(folder.path(), 64).expect("saved");
    let read = |name: &str| std::fs::read(folder.path().join(name)).expect("a file");
    let ours: Value = serde_json::from_slice(&read("tokenizer.json")).expect("JSON");
    let theirs = &golden["tokenizer_json"];
    for key in ["version", "truncation", "padding", "normalizer", "pre_tokenizer", "post_processor"]
    {
        assert_eq!(ours[key], theirs[key], "{key}");
    }
    for key in ["decoder", "model", "added_tokens"] {
        assert_eq!(ours[key], theirs[key], "{key}");
    }
    let vocabulary = String::from_utf8(read("vocab.txt")).expect("UTF-8");
    assert_eq!(
        vocabulary.split_terminator('\n').collect::<Vec<_>>(),
        strings(&golden["vocabulary"])
    );
    let config: Value = serde_json::from_slice(&read("tokenizer_config.json")).expect("JSON");
    assert_eq!(config["model_max_length"], 64);
    // What was written is read again, from each of the files and from the folder.
    for path in ["", "vocab.txt", "tokenizer.json"] {
        let again = Tokenizer::open(&folder.path().join(path), None).expect("read again");
        assert!(again == tokenizer, "{path:?}");
    }
    if let Some(to) = std::env::var_os("TAPER_TOKENIZER_OUT") {
        // For `text.py --check`.
        tokenizer.save(Path::new(&to), 64).expect("saved");
    }
}

#[test]
fn a_vocabulary_is_the_same_in_every_process() {
    let folder = folder_with("a.txt", invented(200));
    let (text, outline) = whole(folder.path(), None);
    let tokenizer = trained(&text, &outline, 120);
    assert_eq!(tokenizer.size(), 120);
    assert_eq!(tokenizer.pieces()[..5], wordpiece::SPECIALS);
    // Written down once: whoever trains it, with however many threads, has these pieces.
    assert_eq!(hex(&tokenizer.hash()[..8]), "5774771c7d77f70f", "{:?}", tokenizer.pieces());
    // Counts come in another order.
    let how = Normalizer::bert(true);
    let (mut one, mut other) =
        (vocabulary::WordCounts::default(), vocabulary::WordCounts::default());
    let lines = invented(200);
    lines.lines().for_each(|line| one.add(line, how));
    for line in lines.lines().rev() {
        let mut counts = vocabulary::WordCounts::default();
        counts.add(line, how);
        other.merge(counts);
    }
    assert_eq!(one, other);
    assert!(vocabulary::train(&other, 120, how).expect("a vocabulary") == tokenizer);
}

#[test]
fn training_joins_the_most_frequent_pairs() {
    let how = Normalizer::bert(true);
    let mut counts = vocabulary::WordCounts::default();
    counts.add("low low low low low lower lower newest newest newest newest newest newest widest widest widest", how);
    let tokenizer = vocabulary::train(&counts, 40, how).expect("a vocabulary");
    let pieces = tokenizer.pieces();
    // Letters by how often they are there: ##e is in 2 + 2·6 + 3 places, ##w and ##s and ##t in less.
    assert_eq!(pieces[5], "##e");
    // ##e ##s and ##s ##t are there nine times each; the earlier pieces come first.
    let first =
        pieces.iter().position(|piece| piece.len() > 3 && piece.starts_with("##")).expect("a join");
    assert_eq!(&pieces[first..first + 2], ["##es", "##est"]);
    let whole: Vec<&str> =
        ["low", "newest", "widest"].into_iter().filter(|w| pieces.iter().any(|p| p == w)).collect();
    assert_eq!(whole, ["low", "newest", "widest"]);
    assert_eq!(tokenizer.decode(&tokenizer.encode("lower newest").ids), "lower newest");
    assert!(tokenizer.size() < 40, "pairs that are there once are not joined");
}
