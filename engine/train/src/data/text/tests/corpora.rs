//! Corpora and their caches.

use super::*;
use crate::config;
use crate::data::Dataset;

fn sentences(text: &Text) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    text.read(None, &mut |sentence| {
        all.push((sentence.document, sentence.text.into_owned()));
        Ok(())
    })
    .expect("read");
    all
}

fn said(all: &[(u64, String)]) -> Vec<(u64, &str)> {
    all.iter().map(|(document, text)| (*document, text.as_str())).collect()
}

#[test]
fn blank_lines_part_documents_and_lines_are_sentences() {
    let folder = folder_with("a.txt", "\u{feff}one\r\ntwo\n\n \u{200b}\t\nthree\n\u{c}\n\nfour");
    let (text, outline) = whole(&folder.path().join("a.txt"), None);
    let all = sentences(&text);
    assert_eq!(said(&all), [(0, "one"), (0, "two"), (1, "three"), (2, "four")]);
    assert_eq!(outline.documents, [0..2, 2..3, 3..4]);
    let (text, outline) = whole(folder.path(), Some(Documents::File));
    assert_eq!(outline.documents, [0..4]);
    assert_eq!(sentences(&text).len(), 4);
}

#[test]
fn a_folder_has_a_document_a_file() {
    let folder = folder_with("b.txt", "one\n\ntwo\n");
    std::fs::write(folder.path().join("a.txt"), "first\n").expect("written");
    std::fs::write(folder.path().join("c.txt"), "\n").expect("written");
    std::fs::write(folder.path().join("d.png"), "x").expect("written");
    let corpus = Corpus::open(folder.path(), None).expect("a corpus");
    assert_eq!(corpus.account.skipped(), 1);
    assert!(corpus.held_out.is_none());
    let all = sentences(&corpus.train);
    assert_eq!(said(&all), [(0, "first"), (1, "one"), (1, "two")]);
    let outline = corpus.train.outline().expect("an outline");
    assert_eq!(outline.documents, [0..1, 1..3]);
    assert!(outline.empty.len() == 1 && outline.empty[0].ends_with("c.txt"));
}

#[test]
fn wikitext_is_undone() {
    let page = " \n = Robert <unk> = \n \n He had a guest @-@ starring role , at 3 @.@ 5 % of 1 @,@ 000 . Then <unk> left . \n \n \n = = Career = = \n More \n = 1 k = \n \n = Next = \n Here \n";
    let folder = folder_with("wiki.test.tokens", page);
    std::fs::write(folder.path().join("wiki.train.tokens"), page).expect("written");
    let corpus = Corpus::open(folder.path(), None).expect("a corpus");
    for part in [&corpus.train, corpus.held_out.as_ref().expect("test")] {
        let all = sentences(part);
        let wanted = [
            (0, "He had a guest-starring role , at 3.5 % of 1,000 ."),
            (0, "Then <unk> left ."),
            (0, "More"),
            (0, "= 1 k ="),
            (1, "Here"),
        ];
        assert_eq!(said(&all), wanted);
        assert_eq!(part.outline().expect("an outline").headings, 3);
    }
    let words = corpus.train.count_words(Normalizer::bert(true), &[0..2]).expect("words");
    let mut without = vocabulary::WordCounts::default();
    without.add(
        "He had a guest-starring role , at 3.5 % of 1,000 . Then  left .",
        Normalizer::bert(true),
    );
    assert_eq!(words, without, "<unk> is no word, and documents that are held out are not counted");
}

#[test]
fn parts_are_told_by_names() {
    let parts = |names: &[&str]| {
        let folder = tempfile::tempdir().expect("a folder");
        for name in names {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, "text\n").expect("written");
        }
        let corpus = Corpus::open(folder.path(), None).expect("a corpus");
        let account = corpus.account;
        (account.train.name, account.test.name, account.notes)
    };
    let no_notes = |train: &str, test: &str| (train.to_owned(), test.to_owned(), Vec::new());
    assert_eq!(parts(&["train.txt", "test.txt"]), no_notes("train.txt", "test.txt"));
    assert_eq!(
        parts(&["wiki.train.raw", "wiki.valid.raw"]),
        no_notes("wiki.train.raw", "wiki.valid.raw")
    );
    assert_eq!(
        parts(&["train/a.txt", "train/b.txt", "dev/c.txt"]),
        no_notes("train/a.txt and 1 more", "dev/c.txt")
    );
    assert_eq!(parts(&["a.txt", "test_of_time.txt"]), no_notes("a.txt and 1 more", ""));
    assert_eq!(parts(&["test.txt"]), no_notes("test.txt", ""));
    let (train, test, notes) = parts(&["valid.txt", "test.txt"]);
    assert_eq!((train.as_str(), test.as_str()), ("valid.txt", "test.txt"));
    assert!(notes[0].contains("no file is named train"), "{notes:?}");
    let (_, _, notes) = parts(&["train.txt", "valid.txt", "test.txt"]);
    assert_eq!(notes, ["valid.txt is not used"]);
}

#[test]
fn documents_are_held_out_by_a_seed() {
    let folder = folder_with("a.txt", invented(50));
    let (_, outline) = whole(folder.path(), None);
    let [train, test] = part(&outline.documents, HeldOut::test(0.2, 1)).expect("a split");
    assert_eq!((train.len(), test.len()), (40, 10));
    assert_eq!(
        part(&outline.documents, HeldOut::test(0.2, 1)).expect("a split"),
        [train.clone(), test.clone()]
    );
    assert_ne!(part(&outline.documents, HeldOut::test(0.2, 2)).expect("a split")[1], test);
    let mut all = [train, test].concat();
    all.sort_by_key(|document| document.start);
    assert_eq!(all, outline.documents);
    let folder = folder_with("a.txt", "a\nb\nc\nd\ne\n");
    let (_, outline) = whole(folder.path(), None);
    assert_eq!(
        part(&outline.documents, HeldOut::test(0.4, 1)).expect("a split"),
        [vec![0..3], vec![3..5]]
    );
}

#[test]
fn a_cache_has_the_pieces_of_each_sentence_and_is_found_again() {
    let folder = folder_with("a.txt", invented(90));
    let (text, outline) = whole(&folder.path().join("a.txt"), None);
    let tokenizer = trained(&text, &outline, 90);
    let open = || {
        TokenCache::open(Some(&folder.path().join("cache")), &text, &outline, &tokenizer)
            .expect("a cache")
    };
    let names = || {
        let entries = std::fs::read_dir(folder.path().join("cache")).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect::<Vec<_>>()
    };
    let cache = open();
    assert_eq!(cache.documents().expect("documents"), outline.documents);
    let bounds = cache.bounds(0..cache.sentences()).expect("bounds");
    let all = sentences(&text);
    assert_eq!(all.len() as u64, cache.sentences());
    for (two, (_, sentence)) in bounds.windows(2).zip(&all) {
        assert_eq!(cache.pieces(two[0]..two[1]).expect("pieces"), tokenizer.encode(sentence).ids);
    }
    assert_eq!(cache.bounds(3..5).expect("bounds"), bounds[3..6]);
    let [path] = &names()[..] else { panic!("one file") };
    let bytes = std::fs::read(path).expect("read");
    // A damaged one is made anew, the same bytes; another vocabulary has another file.
    std::fs::write(path, &bytes[..bytes.len() - 1]).expect("written");
    open();
    assert!(std::fs::read(path).expect("read") == bytes);
    let other = trained(&text, &outline, 60);
    TokenCache::open(Some(&folder.path().join("cache")), &text, &outline, &other).expect("a cache");
    assert_eq!(names().len(), 2);
    // The same in memory, and in a file of many chunks.
    let documents: Vec<Vec<Vec<u32>>> =
        vec![vec![vec![7; 300_000], vec![8; 300_001]], vec![(0..500_000).collect()]];
    let held = TokenCache::in_memory(&documents);
    assert_eq!(held.documents().expect("documents"), [0..2, 2..3]);
    assert_eq!(held.bounds(0..3).expect("bounds"), [0, 300_000, 600_001, 1_100_001]);
    assert_eq!(held.pieces(299_999..300_001).expect("pieces"), [7, 8]);
}

#[test]
fn pieces_are_read_over_the_edges_of_chunks() {
    let words: String = (0..700_000).map(|at| format!("{} ", at % 10)).collect();
    let folder = folder_with("a.txt", words);
    let (text, outline) = whole(&folder.path().join("a.txt"), None);
    let pieces =
        wordpiece::SPECIALS.map(String::from).into_iter().chain((0..10).map(|n| n.to_string()));
    let tokenizer = Tokenizer::new(pieces.collect(), Normalizer::bert(true)).expect("a tokenizer");
    let cache =
        TokenCache::open(Some(folder.path()), &text, &outline, &tokenizer).expect("a cache");
    assert_eq!(cache.tokens(), 700_000);
    // A chunk has 2²⁰ bytes, two a piece, behind the header of 64.
    let edge = (1u64 << 19) - 32;
    let wanted: Vec<u32> = (edge - 5..edge + 5).map(|at| (at % 10 + 5) as u32).collect();
    assert_eq!(cache.pieces(edge - 5..edge + 5).expect("pieces"), wanted);
}

#[test]
fn validation_texts_are_training_texts() {
    let folder = folder_with("train.txt", invented(50));
    std::fs::write(folder.path().join("test.txt"), "a text of its own\n").expect("written");
    let open = |path: &Path, validation_fraction, train_count| {
        let path = Some(path.display().to_string());
        let config =
            config::Text { path, validation_fraction, train_count, ..config::Text::default() };
        let how = config::Examples { vocab_size: 300, ..config::Examples::default() };
        super::super::open(&config, &how, None, None)
    };
    let parts = |data: &Dataset| {
        let text = data.account.text.clone().expect("of text");
        (text.train.documents, text.test.documents, text.train.sha256 == text.test.sha256)
    };
    let plain = open(folder.path(), None, None).expect("a text");
    assert_eq!(parts(&plain), (50, 1, false));
    let opened = open(folder.path(), Some(0.2), None).expect("a text");
    assert_eq!(parts(&opened), (40, 10, true));
    let note = "10 of 50 training documents are held out for validation and take the place of the test part, which is not looked at (data.validation_fraction)";
    assert!(opened.account.notes.iter().any(|line| line == note), "{:?}", opened.account.notes);
    // Of a file alone, the test part is parted first.
    std::fs::remove_file(folder.path().join("test.txt")).expect("removed");
    let alone = open(folder.path(), None, None).expect("a text");
    let opened = open(folder.path(), Some(0.2), None).expect("a text");
    assert_eq!((parts(&alone), parts(&opened)), ((45, 5, true), (36, 9, true)));
    let error = open(folder.path(), Some(1.0), None).expect_err("refused").to_string();
    assert!(error.contains("data.validation_fraction: 1 is not between 0 and 1"), "{error}");
    // Of built-in texts, a share of the training examples.
    let built_in = |kind| {
        let config = config::Text {
            kind,
            validation_fraction: Some(0.25),
            train_count: Some(80),
            ..config::Text::default()
        };
        let how = config::Examples { length: 64, ..config::Examples::default() };
        match kind.asks() {
            true => {
                let finetune = config::Finetune { doc_stride: 32, ..config::Finetune::default() };
                super::super::questions::open(&config, &how, &finetune, None)
            }
            false => super::super::open(&config, &how, None, None),
        }
    };
    let chain = built_in(config::TextKind::ProceduralText).expect("a text");
    assert_eq!((chain.train.len(), chain.test.len()), (60, 20));
    let questions = built_in(config::TextKind::ProceduralQuestions).expect("questions");
    let text = questions.account.text.expect("of text");
    assert_eq!((text.train.documents, text.test.documents), (60, 20));
}
