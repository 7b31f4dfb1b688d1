//! Built-in texts, made from nothing but their index, of which the best values are known.
//!
//! **The chain** has 1,024 symbols, or as many as are asked for. After each come four others, with probabilities 1/2, 1/4, 1/8 and 1/8: the j-th is
//! given by a permutation of the symbols, so each symbol is as frequent as any other, and the entropy of the next one is
//! 1.75 bits. Frequency alone knows ln 1,024 = 6.93 nats and the piece before 1.75·ln 2 = 1.21 nats; [`both_sides`]
//! is what the pieces on both sides leave, nearly nothing.
//!
//! **Keys and values** are questions: a context lists keys, each with a value of one to three words, the question is a
//! key, and the answer its value. Each can be answered.

use super::squad::{Answer, Context, Question, Questions};
use super::wordpiece::SPECIALS;
use super::{Normalizer, TokenCache, Tokenizer};
use crate::config::Text;
use crate::data::DataError;
use crate::data::source::HeldOut;
use crate::random::{Stream, permutation};

/// Symbols of the chain, unless others are asked for.
pub const SYMBOLS: usize = 1024;
/// Entropy of the next symbol, in nats.
pub const ENTROPY: f64 = 1.75 * std::f64::consts::LN_2;
/// The most sentences or questions; the index of a test one is [`MOST`] or more.
pub const MOST: u64 = 1 << 32;

/// Belongs to the sets' names: another constant is another set.
const CHAIN: u64 = 0x7461_7065_7232;
const KEYS: u64 = 0x7461_7065_7233;
const CHANCES: [f64; 4] = [0.5, 0.25, 0.125, 0.125];
/// Symbols of a sentence, and sentences of a document.
const SENTENCE: usize = 32;
const DOCUMENT: usize = 16;
/// Keys, words of values, and entries of a context.
const KEY_COUNT: usize = 64;
const WORD_COUNT: usize = 128;
const ENTRIES: usize = 8;

/// Symbols of the chain that `config` asks for.
pub fn symbols(config: &Text) -> usize {
    config.symbols.map_or(SYMBOLS, |symbols| symbols as usize)
}

/// How many examples `config` asks for, of so many that it has: for training and for testing. A validation part is a share of the former.
///
/// # Errors
/// The share is not between 0 and 1, or there is nothing to part.
pub fn counts(config: &Text, [train, test]: [u64; 2]) -> Result<[u64; 2], DataError> {
    let train = config.train_count.unwrap_or(train);
    let Some(fraction) = config.validation_fraction else {
        return Ok([train, config.test_count.unwrap_or(test)]);
    };
    let held_out = HeldOut::validation(fraction, config.split_seed);
    if train < 2 {
        return Err(DataError::setting(held_out.key, "one training example is not parted in two"));
    }
    let validation = held_out.count(train)?;
    Ok([train - validation, validation])
}

/// A tokenizer whose words are those of both sets, a piece each.
///
/// # Errors
/// Never: the words are there once.
pub fn tokenizer(symbols: usize) -> Result<Tokenizer, DataError> {
    let named = |letter: char, count: usize| (0..count).map(move |at| format!("{letter}{at}"));
    let words = named('s', symbols).chain(named('k', KEY_COUNT)).chain(named('v', WORD_COUNT));
    let pieces = SPECIALS.map(String::from).into_iter().chain(words).chain([".".to_owned()]);
    Tokenizer::new(pieces.collect(), Normalizer::bert(true))
        .map_err(|problem| DataError::setting("data.kind", problem))
}

/// The symbols that may follow each, in the order of [`CHANCES`]; the four are different.
fn followers(symbols: usize) -> Vec<[u32; 4]> {
    let mut all = vec![[0; 4]; symbols];
    for way in 0..CHANCES.len() {
        let mut to = permutation(symbols, &[CHAIN, way as u64, 0]);
        let mut stream = Stream::new(&[CHAIN, way as u64, 1]);
        let clashes = |to: &[usize], at: usize| all[at][..way].contains(&(to[at] as u32));
        for at in 0..symbols {
            // An exchange may make another clash, which is then undone.
            while clashes(&to, at) {
                let other = stream.below(symbols);
                to.swap(at, other);
                if clashes(&to, other) {
                    to.swap(at, other);
                }
            }
        }
        all.iter_mut().zip(to).for_each(|(there, to)| there[way] = to as u32);
    }
    all
}

/// Documents of the chain that make so many examples of `length` tokens, two of them marks; a pair of sentences has two sentences at least, or a
/// share of the document.
pub fn documents(examples: u64, length: u32, pairs: bool) -> usize {
    let of_document = (DOCUMENT * SENTENCE).div_ceil(length as usize - 2).max(1);
    let of_document = if pairs { (of_document / 2).clamp(1, DOCUMENT / 2) } else { of_document };
    (examples as usize).div_ceil(of_document)
}

/// `count` documents of the chain of so many symbols from number `first` on, as numbers of [`tokenizer`]'s pieces.
pub fn chain(symbols: usize, first: u64, count: usize) -> TokenCache {
    let followers = followers(symbols);
    let document = |index: u64| -> Vec<Vec<u32>> {
        let mut stream = Stream::new(&[CHAIN, index]);
        let mut symbol = stream.below(symbols) as u32;
        let mut next = || {
            let now = symbol;
            symbol = followers[now as usize][way(stream.unit())];
            now + SPECIALS.len() as u32
        };
        (0..DOCUMENT).map(|_| (0..SENTENCE).map(|_| next()).collect()).collect()
    };
    let documents: Vec<_> = (first..first + count as u64).map(document).collect();
    TokenCache::in_memory(&documents)
}

/// Which of the followers a number in [0, 1) means.
fn way(unit: f64) -> usize {
    let mut sum = 0.0;
    let above = CHANCES.iter().position(|chance| {
        sum += chance;
        unit < sum
    });
    above.unwrap_or(CHANCES.len() - 1)
}

/// What is left of a symbol whose neighbours are known, in nats: the mean of −ln P(w | l, r).
pub fn both_sides(symbols: usize) -> f64 {
    let followers = followers(symbols);
    let mut entropy = 0.0;
    for of in &followers {
        // Each way from the left symbol over w to the right one, and the sum over all that end there.
        let ways = || {
            of.iter().zip(CHANCES).flat_map(|(w, p)| {
                followers[*w as usize].iter().zip(CHANCES).map(move |(right, q)| (*right, p * q))
            })
        };
        for (right, chance) in ways() {
            let all: f64 = ways().filter(|(end, _)| *end == right).map(|(_, chance)| chance).sum();
            entropy -= chance * (chance / all).ln();
        }
    }
    entropy / symbols as f64
}

/// `count` questions about keys and values, from number `first` on.
pub fn keys_and_values(first: u64, count: usize) -> Questions {
    let mut all = Questions::default();
    for index in first..first + count as u64 {
        let mut stream = Stream::new(&[KEYS, index]);
        let keys = permutation(KEY_COUNT, &[KEYS, index, 1]);
        let asked = stream.below(ENTRIES);
        let mut text = String::new();
        let mut answer = Answer { text: String::new(), start: 0 };
        for (entry, key) in keys[..ENTRIES].iter().enumerate() {
            text += &format!("k{key} ");
            let words: Vec<String> = (0..1 + stream.below(3))
                .map(|_| format!("v{}", stream.below(WORD_COUNT)))
                .collect();
            if entry == asked {
                answer = Answer { text: words.join(" "), start: text.len() as u32 };
            }
            text += &words.join(" ");
            text += " . ";
        }
        let context = all.contexts.len();
        all.contexts.push(Context { article: context, text });
        all.questions.push(Question {
            id: format!("key-{index}"),
            text: format!("k{}", keys[asked]),
            context,
            answers: vec![answer],
        });
    }
    all
}
