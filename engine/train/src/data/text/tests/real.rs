//! Real text, where it lies beside the workspace: BERT's own vocabulary, half of SQuAD 2.0's questions, wikitext-2.

use sha2::{Digest, Sha256};

use super::super::squad::{Cutting, windows};
use super::super::yardsticks;
use super::*;
use crate::data::images::tests::shared;
use crate::text::hex;

fn numbers(hash: &mut Sha256, all: impl IntoIterator<Item = u32>) {
    let bytes: Vec<u8> = all.into_iter().flat_map(u32::to_le_bytes).collect();
    hash.update(bytes);
}

#[test]
fn windows_of_squad_are_those_of_transformers() {
    let (Some(vocabulary), Some(file)) =
        (shared("bert-base-uncased/vocab.txt"), shared("squad/dev-v2.0-half.json"))
    else {
        return;
    };
    let golden = golden("real.json");
    let tokenizer = Tokenizer::open(&vocabulary, None).expect("a tokenizer");
    assert_eq!(tokenizer.size(), 30_522);
    let questions = Questions::open(&file).expect("questions");
    assert_eq!(golden["questions"], questions.questions.len());
    let cutting = Cutting { length: 384, doc_stride: 128 };
    let made = windows(&questions, &tokenizer, cutting).expect("windows");
    assert_eq!(golden["windows"], made.windows.len());
    let mut hash = Sha256::new();
    for window in &made.windows {
        numbers(&mut hash, window.input_ids[..window.length as usize].iter().copied());
        numbers(&mut hash, window.offsets.iter().flat_map(|(from, until)| [*from, *until]));
        numbers(&mut hash, [window.answer.0, window.answer.1]);
    }
    assert_eq!(golden["squad"], hex(&hash.finalize()));
    let (train, test) = questions.split(HeldOut::test(0.25, 1)).expect("a split");
    assert_eq!(train.questions.len() + test.questions.len(), questions.questions.len());
}

#[test]
fn ids_of_wikitext_are_those_of_transformers() {
    let (Some(vocabulary), Some(folder)) =
        (shared("bert-base-uncased/vocab.txt"), shared("wikitext-2"))
    else {
        return;
    };
    let tokenizer = Tokenizer::open(&vocabulary, None).expect("a tokenizer");
    let mut hash = Sha256::new();
    for name in ["valid.txt", "test.txt"] {
        let text = std::fs::read_to_string(folder.join(name)).expect("read");
        for line in text.split_inclusive('\n') {
            numbers(&mut hash, tokenizer.encode_marked(line).ids);
        }
    }
    assert_eq!(golden("real.json")["wikitext"], hex(&hash.finalize()));
}

#[test]
fn yardsticks_of_wikitext() {
    let Some(folder) = shared("wikitext-2") else { return };
    let corpus = Corpus::open(&folder, None).expect("a corpus");
    let (train, test) = (&corpus.train, corpus.held_out.as_ref().expect("a test part"));
    let outlines = [train, test].map(|text| text.outline().expect("an outline"));
    // wikitext-2 has 60 articles each in these parts.
    assert_eq!(outlines.each_ref().map(|outline| outline.documents.len()), [60, 60]);
    let tokenizer = trained(train, &outlines[0], 1024);
    assert_eq!(tokenizer.size(), 1024);
    let cache = tempfile::tempdir().expect("a folder");
    let open = |text, outline| {
        TokenCache::open(Some(cache.path()), text, outline, &tokenizer).expect("a cache")
    };
    let (counted, held) = (open(train, &outlines[0]), Arc::new(open(test, &outlines[1])));
    let how = Pairing { length: 16, nsp: false, ..PAIRING };
    let masking = Masking { fixed: true, only_masked: true, max_predictions: 3, ..MASKING };
    let held_out = MaskedText::new(held, &outlines[1].documents, &tokenizer, &how, masking, 1);
    let held_out = held_out.expect("examples");
    let most = yardsticks::Most { examples: 4000, ..yardsticks::Most::default() };
    let found = yardsticks(&counted, &outlines[0].documents, &tokenizer, &held_out, most);
    let found = found.expect("yardsticks");
    println!(
        "{} and {} pieces, {} examples, {found:#?}",
        counted.tokens(),
        outlines[1].documents.len(),
        held_out.len()
    );
    let losses = [found.unigram, found.trivial, found.left, found.both].map(|one| one.loss);
    assert!(losses.is_sorted_by(|a, b| a > b), "{losses:?}");
}
