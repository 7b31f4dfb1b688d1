//! Pairs of segments, masks, yardsticks, and texts whose best values are known.

use super::super::pairs::{Pair, pairs};
use super::super::wordpiece::SPECIALS;
use super::super::{procedural, yardsticks};
use super::*;
use crate::data::{Draw, account::Yardsticks};

/// Documents whose sentences have these lengths; each piece has a number of its own.
fn numbered(lengths: &[Vec<u32>]) -> (TokenCache, Vec<std::ops::Range<u64>>) {
    let mut next = 100..;
    let mut sentence = |length: &u32| next.by_ref().take(*length as usize).collect::<Vec<u32>>();
    let documents: Vec<Vec<Vec<u32>>> =
        lengths.iter().map(|document| document.iter().map(&mut sentence).collect()).collect();
    let cache = TokenCache::in_memory(&documents);
    let ranges = cache.documents().expect("documents");
    (cache, ranges)
}

#[test]
fn pairs_have_the_statistics_of_the_official_rules() {
    let golden = golden("pairs.json");
    let lengths: Vec<Vec<u32>> = list(&golden["documents"]);
    let (cache, documents) = numbered(&lengths);
    let how = Pairing { length: 64, short_probability: 0.1, nsp: true, copies: 400 };
    let made = pairs(&cache, &documents, &how, 3).expect("pairs");
    let mean = |of: &dyn Fn(&Pair) -> f64| made.iter().map(of).sum::<f64>() / made.len() as f64;
    let count = |of: bool| f64::from(u8::from(of));
    let (a, b) = (|pair: &Pair| f64::from(pair.a.count), |pair: &Pair| f64::from(pair.b.count));
    let near = |name: &str, value: f64, wanted: &Value| {
        let wanted = wanted.as_f64().expect("a number");
        assert!(
            (value - wanted).abs() < 0.02 * wanted,
            "{name}: {value}, where the rules give {wanted}"
        );
    };
    let means = &golden["means"];
    near("pairs", made.len() as f64 / 400.0, &golden["pairs"]);
    near("random", mean(&|pair| count(pair.random)), &means["random"]);
    near("a", mean(&a), &means["a"]);
    near("b", mean(&b), &means["b"]);
    near("full", mean(&|pair| count(pair.a.count + pair.b.count == 61)), &means["full"]);
    near("a_random", mean(&|pair| a(pair) * count(pair.random)), &means["a_random"]);
    near("b_random", mean(&|pair| b(pair) * count(pair.random)), &means["b_random"]);
    let predictions =
        |pair: &Pair| (0.15 * (a(pair) + b(pair) + 3.0)).round_ties_even().clamp(1.0, 9.0);
    near("predictions", mean(&predictions), &means["predictions"]);
}

#[test]
fn segments_follow_or_are_from_elsewhere() {
    let (cache, documents) = numbered(&[vec![4, 5, 6, 7, 3], vec![9, 2, 8], vec![5; 7], vec![40]]);
    let document_of = |at: u64| {
        let ends: Vec<u64> =
            documents.iter().map(|d| cache.bounds(d.end..d.end).expect("a bound")[0]).collect();
        ends.iter().position(|end| at < *end)
    };
    let how = Pairing { length: 23, short_probability: 0.2, nsp: true, copies: 60 };
    let made = pairs(&cache, &documents, &how, 4).expect("pairs");
    let (mut fronts, mut backs, mut follows) = (0, 0, 0);
    for Pair { a, b, random } in made {
        assert!(a.count + b.count <= 20 && a.count > 0 && b.count > 0);
        let end = a.first + u64::from(a.count);
        if random {
            assert_ne!(document_of(a.first), document_of(b.first));
        } else {
            assert_eq!(document_of(a.first), document_of(b.first));
            assert!(b.first >= end);
            follows += u32::from(b.first == end);
        }
        let bounds = cache.bounds(0..cache.sentences()).expect("bounds");
        fronts += u32::from(!bounds.contains(&a.first));
        backs += u32::from(!bounds.contains(&end));
    }
    assert!(fronts > 20 && backs > 20 && follows > 20, "{fronts} {backs} {follows}");
}

#[test]
fn blocks_are_all_pieces_in_order() {
    let (cache, documents) = numbered(&[vec![4, 5, 6], vec![20], vec![1]]);
    let how = Pairing { length: 10, short_probability: 0.1, nsp: false, copies: 1 };
    let made = pairs(&cache, &documents, &how, 4).expect("blocks");
    let spans: Vec<(u64, u32)> = made.iter().map(|pair| (pair.a.first, pair.a.count)).collect();
    assert_eq!(spans, [(0, 8), (8, 7), (15, 8), (23, 8), (31, 4), (35, 1)]);
    assert!(made.iter().all(|pair| pair.b.count == 0 && !pair.random));
    // A part of the documents, from the middle on.
    let made = pairs(&cache, &documents[1..2], &how, 4).expect("blocks");
    assert_eq!((made.len(), made[0].a.first), (3, 15));
}

fn draw(epoch: u64) -> Option<Draw> {
    Some(Draw { seed: 5, epoch })
}

#[test]
fn an_example_is_a_function_of_seed_epoch_and_index() {
    let (text, _) = masked_text(&PAIRING, MASKING);
    let example = |index, epoch| text.example(index, draw(epoch)).expect("an example");
    assert_eq!(example(3, 1), example(3, 1));
    assert_ne!(example(3, 1), example(3, 2));
    let restored = |index, epoch| {
        let mut example = example(index, epoch);
        for (at, label) in example.positions.iter().zip(&example.labels).filter(|(at, _)| **at > 0)
        {
            example.input_ids[*at as usize] = *label;
        }
        (example.input_ids, example.token_type_ids, example.next)
    };
    // Masks are drawn anew, segments are not.
    assert_eq!(restored(3, 1), restored(3, 2));
    let (fixed, _) = masked_text(&PAIRING, Masking { fixed: true, ..MASKING });
    assert_eq!(fixed.example(3, draw(1)).expect("one"), fixed.example(3, draw(2)).expect("one"));
    // The hash was written down once.
    let mut hash = crate::random::key(&[]);
    for index in 0..text.len() {
        let Example { input_ids, positions, labels, .. } = example(index, 7);
        let all = [input_ids, positions, labels].concat();
        hash = crate::random::key(&[
            hash,
            crate::random::key(&all.iter().map(|n| u64::from(*n)).collect::<Vec<_>>()),
        ]);
    }
    assert_eq!((text.len(), hash), (154, 6_256_218_424_606_674_538));
}

#[test]
fn masks_have_the_official_shares() {
    let (text, tokenizer) = masked_text(&PAIRING, MASKING);
    let specials = tokenizer.specials();
    let (mut masked, mut kept, mut other, mut all) = (0.0, 0.0, 0.0, 0.0);
    for index in 0..text.len() {
        for epoch in 0..20 {
            let example = text.example(index, draw(epoch)).expect("an example");
            let length = example.length as usize;
            let wanted = ((0.15 * length as f64).round_ties_even() as usize).clamp(1, 5);
            let found: Vec<usize> =
                example.positions.iter().filter(|at| **at > 0).map(|at| *at as usize).collect();
            let unknown = example.input_ids.iter().filter(|id| **id == specials.unk).count();
            assert!(found.len() == wanted || unknown > 0, "{example:?}");
            assert!(found.is_sorted_by(|a, b| a < b) && found.iter().all(|at| *at < length));
            assert_eq!(example.weights.iter().sum::<f32>(), found.len() as f32);
            assert!(example.weights[..found.len()].iter().all(|weight| *weight == 1.0));
            assert_eq!(example.input_ids[0], specials.cls);
            assert_eq!(example.input_ids[length - 1], specials.sep);
            assert!(example.input_ids[length..].iter().all(|id| *id == specials.pad));
            for (at, label) in found.iter().zip(&example.labels) {
                assert!(![specials.cls, specials.sep, specials.unk].contains(label));
                let shown = example.input_ids[*at];
                masked += f64::from(u8::from(shown == specials.mask));
                kept += f64::from(u8::from(shown == *label));
                other += f64::from(u8::from(shown != specials.mask && shown != *label));
                all += 1.0;
            }
        }
    }
    // A random piece is the right one, or [MASK], in one case of 120 each.
    for (name, count, share) in
        [("masked", masked, 0.8), ("kept", kept, 0.1), ("other", other, 0.1)]
    {
        assert!((count / all - share).abs() < 0.01, "{name}: {} of {all}", count / all);
    }
}

#[test]
fn whole_words_are_found_together() {
    let how = Masking { whole_word: true, max_predictions: 30, ..MASKING };
    let (text, tokenizer) = masked_text(&PAIRING, how);
    let continues = tokenizer.continues();
    let mut longest = 0;
    for index in 0..text.len() {
        let Example { mut input_ids, positions, labels, .. } =
            text.example(index, None).expect("one");
        let found: Vec<usize> =
            positions.iter().take_while(|at| **at > 0).map(|at| *at as usize).collect();
        found.iter().zip(&labels).for_each(|(at, label)| input_ids[*at] = *label);
        for at in &found {
            let goes_on = continues[input_ids[at + 1] as usize];
            assert!(!goes_on || found.contains(&(at + 1)), "{:?}", tokenizer.decode(&input_ids));
            longest = longest.max(usize::from(goes_on));
        }
    }
    assert_eq!(longest, 1, "the text has words of several pieces");
}

#[test]
fn unknown_words_are_neither_found_nor_counted() {
    let line = "one <unk> two <unk> <unk> three <unk> . <unk>\n";
    let folder = folder_with("a.txt", line.repeat(30));
    let (text, outline) = whole(&folder.path().join("a.txt"), None);
    let tokenizer = trained(&text, &outline, 60);
    let cache =
        TokenCache::open(Some(folder.path()), &text, &outline, &tokenizer).expect("a cache");
    let how = Pairing { length: 20, nsp: false, ..PAIRING };
    let unk = tokenizer.specials().unk;
    let made = MaskedText::new(Arc::new(cache), &outline.documents, &tokenizer, &how, MASKING, 1);
    let made = made.expect("examples");
    let mut shown = 0;
    for index in 0..made.len() {
        let example = made.example(index, None).expect("an example");
        shown += example.input_ids.iter().filter(|id| **id == unk).count();
        assert!(!example.labels.contains(&unk));
    }
    assert!(shown >= 5 * 30 - 5, "{shown}");
}

#[test]
fn held_out_places_that_show_no_mask_weigh_nothing() {
    let (text, tokenizer) =
        masked_text(&PAIRING, Masking { only_masked: true, fixed: true, ..MASKING });
    let mut none = 0;
    for index in 0..text.len() {
        let example = text.example(index, None).expect("an example");
        for (at, weight) in example.positions.iter().zip(&example.weights) {
            let masked = example.input_ids[*at as usize] == tokenizer.specials().mask;
            assert_eq!(*weight, f32::from(u8::from(masked)));
            none += u32::from(*at > 0 && !masked);
        }
    }
    assert!(none > 20);
}

/// The chain: what makes its tokens, so many documents for training, and examples of so many others for testing.
fn chained(train: usize, test: usize) -> (Tokenizer, TokenCache, MaskedText) {
    let tokenizer = procedural::tokenizer(procedural::SYMBOLS).expect("a tokenizer");
    let train = procedural::chain(procedural::SYMBOLS, 0, train);
    let test = Arc::new(procedural::chain(procedural::SYMBOLS, procedural::MOST, test));
    let how = Pairing { length: 34, nsp: false, ..PAIRING };
    let masking = Masking { fixed: true, only_masked: true, ..MASKING };
    let documents = test.documents().expect("documents");
    let held_out = MaskedText::new(test, &documents, &tokenizer, &how, masking, 1);
    (tokenizer, train, held_out.expect("examples"))
}

#[test]
fn yardsticks_reach_what_is_known_of_the_chain() {
    let (tokenizer, train, held_out) = chained(2000, 60);
    let all = train.documents().expect("documents");
    let most = yardsticks::Most { pieces: u64::MAX, examples: usize::MAX };
    let found = yardsticks(&train, &all, &tokenizer, &held_out, most).expect("yardsticks");
    assert_eq!(found.counted, None);
    let size = procedural::SYMBOLS as f64;
    assert!(found.unigram.places > 3000, "{found:?}");
    assert!((found.unigram.loss - size.ln()).abs() < 0.02, "{found:?}");
    assert!(found.unigram.accuracy < 0.01);
    // A tenth is left unchanged and then known, a tenth of the vocabulary is not.
    let copied = 0.8 * size.ln() + 0.1 * 2f64.ln() * 1.1 + 0.1 * (2.0 * size).ln();
    assert!((found.trivial.loss - copied).abs() < 0.2, "{found:?} {copied}");
    // Where a neighbour is masked or a mark, less is known: one place of eight at the least.
    let hidden = 0.15 * 0.8 + 1.0 / 32.0;
    let left = (1.0 - hidden) * procedural::ENTROPY + hidden * size.ln();
    assert!((found.left.loss - left).abs() < 0.15, "{found:?} {left}");
    assert!(
        procedural::both_sides(procedural::SYMBOLS) < 0.1
            && found.both.loss < found.left.loss - 0.9,
        "{found:?}"
    );
}

/// Of a longer text the first documents are counted, and how much that is stands there.
#[test]
fn yardsticks_of_the_first_documents_say_how_much_they_count() {
    let (tokenizer, train, held_out) = chained(8, 4);
    let all = train.documents().expect("documents");
    let of = |documents: &[_], pieces| {
        let most = yardsticks::Most { pieces, examples: 20 };
        yardsticks(&train, documents, &tokenizer, &held_out, most).expect("yardsticks")
    };
    // A document has 512 pieces.
    let (first, whole) = (of(&all, 600), of(&all[..2], 600));
    assert_eq!((first.counted, whole.counted), (Some(1024), None));
    assert_eq!(Yardsticks { counted: None, ..first }, whole);
    assert_eq!(of(&all, 4096).counted, None);
    assert!(of(&all, 4096).left.loss < whole.left.loss);
}

#[test]
fn the_chain_and_the_keys_never_change() {
    let chain = procedural::chain(procedural::SYMBOLS, 5, 2);
    assert_eq!(chain.documents().expect("documents"), [0..16, 16..32]);
    assert_eq!(chain.tokens(), 1024);
    let all = chain.pieces(0..1024).expect("pieces");
    assert!(all.iter().all(|id| (5..1029).contains(id)));
    assert_eq!(all[..4], [938, 6, 417, 717]);
    let again = procedural::chain(procedural::SYMBOLS, 6, 1).pieces(0..512).expect("pieces");
    assert_eq!(again, all[512..]);
    assert_eq!(SPECIALS.len(), 5);
    let questions = procedural::keys_and_values(3, 2);
    let context = "k5 v67 v119 . k44 v112 v36 v12 . k28 v33 v121 v95 . k36 v6 v113 v99 . k24 v77 v69 . \
                   k20 v10 v41 . k59 v107 v81 . k30 v68 v62 . ";
    assert_eq!(questions.contexts[0].text, context);
    let question = &questions.questions[0];
    let answer = &question.answers[0];
    assert!(questions.context(question)[answer.start as usize..].starts_with(&answer.text));
    let tokenizer = procedural::tokenizer(procedural::SYMBOLS).expect("a tokenizer");
    let pieces = tokenizer.encode(questions.context(question));
    assert!(!pieces.ids.contains(&tokenizer.specials().unk));
}
