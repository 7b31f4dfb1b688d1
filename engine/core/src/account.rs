//! The account of a data set: what was found where, what was left out, and why. Nothing vanishes without a line here.
//!
//! Whoever reads data is given an [`Account`] and writes into it while it reads: [`Account::skip`] for a file that is
//! not used, [`Account::ignore`] for a folder, [`Account::note`] for a decision. Pictures that turn out to be damaged
//! when they are decoded are added by `account.skip(Reason::Unreadable, name)` and counted in
//! [`PartAccount::unreadable`]. `Dataset`, `Scored` and `Survey` of the crate `taper-engine` carry the result; commands
//! print [`Account::lines`], everything else writes it as JSON. All names in it are escaped already, so they may be
//! shown as they are; the classes of a data set are the raw ones.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::escape;

/// Names that are kept of each [`Reason`].
const FIRST: usize = 5;
/// Classes that are named one by one in [`Account::lines`].
const NAMED: usize = 12;

/// What was read of a data set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Account {
    /// Name of each class, those without pictures among them; escaped.
    pub classes: Vec<String>,
    /// What was found for training.
    pub train: PartAccount,
    /// What was found for testing; empty where the test part is split off the other one.
    pub test: PartAccount,
    /// What is trained and tested on: what was found, after the split, `train_count` and `test_count`. None where
    /// nothing was divided; in a survey, what a run would divide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<Used>,
    /// Of text: what was found instead of pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Box<TextAccount>>,
    /// Files that are not used.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<Reason, Skipped>,
    /// Folders that are not used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<Ignored>,
    /// What else one should know of how the data were understood, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What was read of a text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TextAccount {
    /// Pieces of the vocabulary.
    pub vocabulary: u64,
    /// Whether it has questions about contexts, which are then counted as sentences and documents.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asks: bool,
    /// What is trained on.
    pub train: TextPart,
    /// What is tested on.
    pub test: TextPart,
    /// What counting alone reaches on it, as a run measures it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yardsticks: Option<Yardsticks>,
}

/// Loss and accuracy over some places of held-out text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Yardstick {
    /// Mean of −ln P, in nats.
    pub loss: f64,
    /// Share of the places of which the likeliest piece is the right one.
    pub accuracy: f64,
    /// How many places.
    pub places: u64,
}

/// What counting reaches on a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Yardsticks {
    /// By the frequency of pieces.
    pub unigram: Yardstick,
    /// By frequency where `[MASK]` is shown, and by what is shown elsewhere.
    pub trivial: Yardstick,
    /// By the piece before.
    pub left: Yardstick,
    /// By the pieces before and behind.
    pub both: Yardstick,
    /// How many pieces of the training text were counted, if not all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<u64>,
}

impl Yardsticks {
    /// A line that says of how much text they are, if not of all; then they are worse than what all of it would tell.
    pub fn line(&self) -> Option<String> {
        let counted = self.counted?;
        Some(format!("yardsticks: counted in the first {counted} pieces of the training text only"))
    }

    /// Them by their names.
    pub fn named(&self) -> [(&'static str, Yardstick); 4] {
        let Self { unigram, trivial, left, both, counted: _ } = *self;
        [
            ("unigram", unigram),
            ("trivial", trivial),
            ("left bigram", left),
            ("bigrams of both sides", both),
        ]
    }
}

/// One part of a text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TextPart {
    /// Its file or files; empty where it is split off the other part, or built in.
    pub name: String,
    /// Documents.
    pub documents: u64,
    /// Sentences.
    pub sentences: u64,
    /// Tokens, marks not counted.
    pub tokens: u64,
    /// Examples that are used.
    pub examples: u64,
    /// SHA-256 of the text that it is read from; empty where it is built in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
}

/// What was found for one part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartAccount {
    /// What it is called there: `train`, `val`, a file's name; empty where the data have no such part.
    pub name: String,
    /// Pictures of each class.
    pub counts: Vec<u64>,
    /// Pictures that are not among them, as they cannot be read.
    #[serde(default, skip_serializing_if = "is_none")]
    pub unreadable: u64,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

impl PartAccount {
    /// All pictures that can be read, as far as they were looked at.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Pictures of each class that a run uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Used {
    /// For training.
    pub train: Vec<u64>,
    /// For testing.
    pub test: Vec<u64>,
}

/// Why a file is not used.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A picture that is damaged, or too large to be decoded.
    Unreadable,
    /// A picture of a kind that is not read, such as GIF or HEIC.
    UnreadKind,
    /// A picture that lies in no class's folder.
    NoClass,
    /// A file that is no picture by its name, or no part of the format that is read.
    NoPicture,
    /// Its name begins with a dot; `._` files of macOS are among them.
    Hidden,
    /// In the folder `__MACOSX`, which macOS adds to its archives.
    Macos,
    /// A symbolic link in an archive, a hard link to nothing, or a link that leads nowhere or back.
    Link,
    /// A device, a pipe or a socket.
    Device,
    /// A name that is no UTF-8, or too long or deep.
    BadName,
    /// An entry of an archive that a later one of the same name replaces, or a file that lies there packed and plain.
    Twice,
    /// An entry of an archive that is encrypted, sparse, or packed in a way that is not read.
    Packed,
}

impl Reason {
    /// Its words behind a number: `3 hidden`.
    fn words(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::UnreadKind => "in a picture format that is not read",
            Self::NoClass => "outside of the class folders",
            Self::NoPicture => "of another kind",
            Self::Hidden => "hidden",
            Self::Macos => "in __MACOSX",
            Self::Link => "behind links",
            Self::Device => "no file but a device or pipe",
            Self::BadName => "with a name that is not UTF-8, or too long or deep",
            Self::Twice => "there twice",
            Self::Packed => "encrypted, sparse or packed in a way that is not read",
        }
    }
}

/// Files that are not used for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Skipped {
    /// How many.
    pub count: u64,
    /// The names of the first few, escaped.
    pub first: Vec<String>,
}

/// A folder that is not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ignored {
    /// Its name, escaped.
    pub folder: String,
    /// The pictures in it.
    pub pictures: u64,
    /// Why.
    pub reason: String,
}

impl Account {
    /// One more file that is not used.
    pub fn skip(&mut self, reason: Reason, name: &str) {
        let skipped = self.skipped.entry(reason).or_default();
        skipped.count += 1;
        if skipped.first.len() < FIRST {
            skipped.first.push(escape(name).into_owned());
        }
    }

    /// A folder that is not used, and why.
    pub fn ignore(&mut self, folder: &str, pictures: u64, reason: &str) {
        self.ignored.push(Ignored {
            folder: escape(folder).into_owned(),
            pictures,
            reason: reason.into(),
        });
    }

    /// A sentence on how the data were understood. Names in it go through [`escape`] before.
    pub fn note(&mut self, sentence: impl Into<String>) {
        self.notes.push(sentence.into());
    }

    /// Writes down what a reader found: how many pictures of each of `classes`.
    pub fn found(&mut self, classes: &[String], train: PartAccount, test: PartAccount) {
        self.classes = classes.iter().map(|class| escape(class).into_owned()).collect();
        (self.train, self.test) = (train, test);
    }

    /// What an earlier look at the same data left out, as the unpacking of an upload, is left out by this one as well.
    pub fn add(&mut self, earlier: &Account) {
        for (reason, skipped) in &earlier.skipped {
            let to = self.skipped.entry(*reason).or_default();
            to.count += skipped.count;
            let room = FIRST.saturating_sub(to.first.len());
            to.first.extend(skipped.first.iter().take(room).cloned());
        }
        // Both looks may have come to the same decision.
        for ignored in &earlier.ignored {
            if !self.ignored.contains(ignored) {
                self.ignored.push(ignored.clone());
            }
        }
        for note in &earlier.notes {
            if !self.notes.contains(note) {
                self.notes.push(note.clone());
            }
        }
    }

    /// In what these are other data than those that `before` is of, as the end of a sentence; none where nothing says so. Only what was found
    /// is compared, never what of it is used. Of pictures that is their number in each class, of text all of it.
    pub fn differs(&self, before: &Account) -> Option<String> {
        let (now, before) = match (&self.text, &before.text) {
            (Some(now), Some(before)) => return now.differs(before),
            (None, None) => (self, before),
            _ => return Some("they are of another kind".into()),
        };
        if now.classes != before.classes {
            let classes =
                |of: &Account| list(&of.classes.iter().map(String::as_str).collect::<Vec<_>>());
            return Some(format!("the classes are {} and were {}", classes(now), classes(before)));
        }
        let parts = [(&now.train, &before.train, "training"), (&now.test, &before.test, "test")];
        parts.into_iter().find(|(now, before, _)| now.counts != before.counts).map(
            |(now, before, part)| {
                let shown = |of: &PartAccount| format!("{}{}", of.total(), spread(&of.counts));
                format!("there are {} {part} pictures and were {}", shown(now), shown(before))
            },
        )
    }

    /// All files that are not used, those of ignored folders not counted.
    pub fn skipped(&self) -> u64 {
        self.skipped.values().map(|skipped| skipped.count).sum()
    }

    /// What was skipped, in one line; none if nothing was.
    pub fn skipped_line(&self) -> Option<String> {
        let one = |(reason, skipped): (&Reason, &Skipped)| {
            let more = if skipped.count > skipped.first.len() as u64 { ", …" } else { "" };
            format!("{} {} ({}{more})", skipped.count, reason.words(), skipped.first.join(", "))
        };
        let all: Vec<String> = self.skipped.iter().map(one).collect();
        (!all.is_empty()).then(|| format!("skipped {}: {}", self.skipped(), all.join("; ")))
    }

    /// What a user should look at before the numbers are believed: pictures that were lost, classes without pictures,
    /// ignored folders and notes.
    pub fn warnings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let (train, test) = match &self.used {
            Some(used) => (&used.train, &used.test),
            None => (&self.train.counts, &self.test.counts),
        };
        for (counts, part) in [(train, "training"), (test, "test")] {
            let none: Vec<&str> = self
                .classes
                .iter()
                .zip(counts)
                .filter(|(_, count)| **count == 0)
                .map(|(class, _)| class.as_str())
                .collect();
            if !none.is_empty() && counts.iter().any(|count| *count > 0) {
                lines.push(format!("no {part} pictures of {}", list(&none)));
            }
        }
        lines
    }

    /// For a terminal: a line of numbers, then the classes, what was left out, and how the data were understood.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = match &self.text {
            Some(text) => text.lines(),
            None => self.pictures(),
        };
        lines.extend(self.skipped_line().map(|line| format!("  {line}")));
        for Ignored { folder, pictures, reason } in &self.ignored {
            lines.push(format!("  ignored {folder}, {pictures} pictures: {reason}"));
        }
        lines.extend(self.warnings().into_iter().map(|line| format!("  {line}")));
        lines.extend(self.notes.iter().map(|note| format!("  {note}")));
        lines
    }

    /// What pictures there are.
    fn pictures(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut parts = Vec::new();
        for (part, role) in [(&self.train, "train"), (&self.test, "test")] {
            if part.total() > 0 {
                let name = match part.name.as_str() {
                    "" => role.to_owned(),
                    name if name == role => role.to_owned(),
                    name => format!("{role} ({name})"),
                };
                parts.push(format!("{name} {} pictures{}", part.total(), spread(&part.counts)));
            }
        }
        let classes = self.classes.len();
        lines.push(format!("data: {classes} classes; {}", parts.join(", ")));
        if let Some(used) = &self.used
            && (used.train != self.train.counts || used.test != self.test.counts)
        {
            let sum = |counts: &[u64]| counts.iter().sum::<u64>();
            lines.push(format!(
                "  used: {} to train{}, {} to test{}",
                sum(&used.train),
                spread(&used.train),
                sum(&used.test),
                spread(&used.test)
            ));
        }
        if classes <= NAMED {
            let both = |at: usize| {
                let count = |counts: &[u64]| counts.get(at).copied().unwrap_or(0);
                match &self.used {
                    Some(used) => format!("{} + {}", count(&used.train), count(&used.test)),
                    None => format!("{} + {}", count(&self.train.counts), count(&self.test.counts)),
                }
            };
            let named: Vec<String> = self
                .classes
                .iter()
                .enumerate()
                .map(|(at, class)| format!("{class} {}", both(at)))
                .collect();
            lines.push(format!("  train + test: {}", named.join(", ")));
        }
        lines
    }
}

impl TextAccount {
    /// See [`Account::differs`].
    fn differs(&self, before: &TextAccount) -> Option<String> {
        if self.asks != before.asks {
            return Some("they are of another kind".into());
        }
        let parts = [(&self.train, &before.train, "training"), (&self.test, &before.test, "test")];
        // Logs of earlier versions have no sums.
        let other = |(now, before, _): &(&TextPart, &TextPart, &str)| {
            let known = !now.sha256.is_empty() && !before.sha256.is_empty();
            known && now.sha256 != before.sha256
        };
        let (now, before, part) = parts.into_iter().find(other)?;
        let sum = |of: &TextPart| of.sha256.get(..12).unwrap_or(&of.sha256).to_owned();
        let what = if self.asks { "questions" } else { "text" };
        Some(format!(
            "the SHA-256 of the {part} {what} begins with {} and began with {}",
            sum(now),
            sum(before)
        ))
    }

    fn lines(&self) -> Vec<String> {
        let part = |of: &TextPart, role: &str| {
            let name =
                if of.name.is_empty() { role.into() } else { format!("{role} ({})", of.name) };
            let [documents, sentences, examples] = match self.asks {
                true => ["contexts", "questions", "windows"],
                false => ["documents", "sentences", "examples"],
            };
            format!(
                "  {name}: {} {documents}, {} {sentences}, {} tokens; {} {examples}",
                of.documents, of.sentences, of.tokens, of.examples
            )
        };
        let kind = if self.asks { "questions" } else { "text" };
        let first = format!("data: {kind}, a vocabulary of {} pieces", self.vocabulary);
        let counted = self.yardsticks.and_then(|yardsticks| yardsticks.line());
        let lines = [first, part(&self.train, "train"), part(&self.test, "test")];
        lines.into_iter().chain(counted.map(|line| format!("  {line}"))).collect()
    }
}

/// How pictures are spread over classes: ` (12 a class)` or ` (3 … 50 a class)`.
fn spread(counts: &[u64]) -> String {
    match (counts.iter().min(), counts.iter().max()) {
        (Some(least), Some(most)) if least == most => format!(" ({least} a class)"),
        (Some(least), Some(most)) => format!(" ({least} … {most} a class)"),
        _ => String::new(),
    }
}

/// Names in quotes, the first few of many.
pub fn list(names: &[&str]) -> String {
    let some: Vec<String> = names.iter().take(NAMED).map(|name| format!("\"{name}\"")).collect();
    let more = names.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    some.join(", ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_data_are_known_by_what_was_found() {
        let pictures = |counts: &[u64], classes: &[&str]| Account {
            classes: classes.iter().map(|&name| name.into()).collect(),
            train: PartAccount { counts: counts.to_vec(), ..PartAccount::default() },
            ..Account::default()
        };
        let before = pictures(&[12, 2], &["cat", "dog"]);
        let used = Some(Used { train: vec![1, 1], test: vec![] });
        assert_eq!(Account { used, ..before.clone() }.differs(&before), None);
        assert_eq!(
            pictures(&[11, 3], &["cat", "dog"]).differs(&before).expect("others"),
            "there are 14 (3 … 11 a class) training pictures and were 14 (2 … 12 a class)"
        );
        let said = pictures(&[12, 2], &["cat", "hen"]).differs(&before).expect("others");
        assert_eq!(said, "the classes are \"cat\", \"hen\" and were \"cat\", \"dog\"");
        let text = |sha256: &str, tokens| Account {
            text: Some(Box::new(TextAccount {
                test: TextPart { sha256: sha256.into(), tokens, ..TextPart::default() },
                ..TextAccount::default()
            })),
            ..Account::default()
        };
        let of = text("0123456789abcdef", 3);
        assert_eq!(of.differs(&text("0123456789abcdef", 4)), None);
        assert_eq!(of.differs(&text("", 3)), None, "an earlier version's log");
        assert_eq!(
            text("fedcba9876543210", 3).differs(&of).expect("others"),
            "the SHA-256 of the test text begins with fedcba987654 and began with 0123456789ab"
        );
        assert!(of.differs(&before).expect("others").contains("another kind"));
    }

    #[test]
    fn yardsticks_of_a_part_of_the_text_say_so() {
        let mut text =
            TextAccount { yardsticks: Some(Yardsticks::default()), ..TextAccount::default() };
        let account = |text: &TextAccount| {
            Account { text: Some(Box::new(text.clone())), ..Account::default() }.lines().join("\n")
        };
        assert!(!account(&text).contains("yardsticks"));
        text.yardsticks = Some(Yardsticks { counted: Some(16_777_300), ..Yardsticks::default() });
        assert!(account(&text).contains("counted in the first 16777300 pieces"));
    }

    #[test]
    fn everything_that_was_left_out_has_a_line() {
        let mut account = Account::default();
        let part = |name: &str, counts: &[u64]| PartAccount {
            name: name.into(),
            counts: counts.to_vec(),
            unreadable: 0,
        };
        account.found(
            &["cat".into(), "dog\u{1b}[31m".into()],
            part("train", &[12, 2]),
            part("val", &[4, 0]),
        );
        for at in 0..7 {
            account.skip(Reason::Hidden, &format!("train/cat/._{at}.png"));
        }
        account.skip(Reason::Unreadable, "train/dog/\u{202e}gpj.png");
        account.ignore("extra", 9, "it stands beside train");
        account.note("the folder \"flowers\" was opened");
        let text = account.lines().join("\n");
        for words in [
            "data: 2 classes; train 14 pictures (2 … 12 a class), test (val) 4 pictures (0 … 4 a class)",
            "cat 12 + 4, dog\\u{1b}[31m 2 + 0",
            "skipped 8: 1 unreadable (train/dog/\\u{202e}gpj.png); 7 hidden (train/cat/._0.png,",
            "._4.png, …)",
            "ignored extra, 9 pictures: it stands beside train",
            "no test pictures of \"dog\\u{1b}[31m\"",
            "the folder \"flowers\" was opened",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
        assert!(!text.contains(['\u{1b}', '\u{202e}']));
        let json = serde_json::to_value(&account).unwrap();
        assert_eq!(json["skipped"]["hidden"]["count"], 7);
        assert_eq!(serde_json::from_value::<Account>(json).unwrap(), account);
    }
}
