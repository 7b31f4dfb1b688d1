//! A tokenizer in files, as transformers reads and writes them.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::wordpiece::{INNER, LONGEST, SPECIALS};
use super::{Normalizer, Tokenizer};
use crate::data::DataError;
use crate::disk::Disk;
use crate::formats::{FormatError, atomic, sums};
use crate::text::escape;

const VOCABULARY: &str = "vocab.txt";
/// The file that says all of a tokenizer.
pub const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
/// The largest file that is read.
const MOST_BYTES: u64 = 1 << 28;

impl Tokenizer {
    /// Reads the tokenizer at `path`: a `vocab.txt`, a `tokenizer.json`, or a folder with one of them or both.
    /// Without a `tokenizer.json`, `tokenizer_config.json` beside the vocabulary says whether capitals are made small;
    /// `lowercase` says it where no file does, and BERT's own default is that they are. A path that a user names is of the operating system; what a
    /// run keeps is read by [`Self::read_on`].
    ///
    /// # Errors
    /// A file that cannot be read, or is no vocabulary of BERT's; files that contradict each other, or `lowercase`.
    pub fn open(path: &Path, lowercase: Option<bool>) -> Result<Self, DataError> {
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
        let file = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        let (whole, plain) = match path.is_dir() {
            true => (file(TOKENIZER), file(VOCABULARY)),
            false if path.extension().is_some_and(|end| end == "json") => (Some(path.into()), None),
            false => (None, Some(path.into())),
        };
        let read = |path: Option<PathBuf>| -> Result<Option<File>, DataError> {
            path.map(|path| Ok(File { text: text(&path)?, path })).transpose()
        };
        let (whole, plain, config) = (read(whole)?, read(plain)?, read(file(CONFIG))?);
        Files { whole, plain, config }.tokenizer(path, lowercase)
    }

    /// Reads the tokenizer of a model folder on a disk, as [`Self::open`]; where the folder has a `SHA256SUMS`, each file has its sum.
    ///
    /// # Errors
    /// As [`Self::open`], or a file that has not its sum.
    pub fn read_on(disk: &dyn Disk, folder: &Path) -> Result<Self, FormatError> {
        let read = |name: &str| -> Result<Option<File>, FormatError> {
            let path = folder.join(name);
            let Some(bytes) = sums::read_if_there(disk, &path)? else { return Ok(None) };
            let text = utf8(bytes).map_err(|problem| FormatError::content(&path, problem))?;
            Ok(Some(File { path, text }))
        };
        let (whole, plain, config) = (read(TOKENIZER)?, read(VOCABULARY)?, read(CONFIG)?);
        Files { whole, plain, config }.known(folder)
    }

    /// The tokenizer of a `tokenizer.json`, as [`Self::json`] writes it.
    ///
    /// # Errors
    /// It is none.
    pub fn from_json(text: String) -> Result<Self, FormatError> {
        let path = PathBuf::from(TOKENIZER);
        let whole = Some(File { path: path.clone(), text });
        Files { whole, plain: None, config: None }.known(&path)
    }

    /// Writes `vocab.txt`, `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json` into `folder`;
    /// `longest` is the longest sequence of the model.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn save(&self, folder: &Path, longest: u32) -> Result<(), FormatError> {
        for (name, content) in self.files(longest) {
            atomic::write_bytes(&folder.join(name), content)?;
        }
        Ok(())
    }

    /// The files that [`Self::save`] writes: their names and contents.
    pub fn files(&self, longest: u32) -> [(&'static str, String); 4] {
        let vocabulary: String = self.pieces().iter().flat_map(|piece| [piece, "\n"]).collect();
        let pretty = |value: Value| format!("{value:#}\n");
        let names = ["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"];
        let special: Map<String, Value> =
            names.iter().zip(SPECIALS).map(|(key, mark)| ((*key).into(), mark.into())).collect();
        let how = self.normalizer();
        let mut config = json!({
            "do_lower_case": how.lowercase,
            "strip_accents": how.strip_accents,
            "tokenize_chinese_chars": how.handle_chinese_chars,
            "model_max_length": longest,
            "tokenizer_class": "BertTokenizer",
        });
        if let Value::Object(config) = &mut config {
            config.extend(special.clone());
        }
        [
            (VOCABULARY, vocabulary),
            (TOKENIZER, pretty(self.json())),
            (CONFIG, pretty(config)),
            ("special_tokens_map.json", pretty(special.into())),
        ]
    }

    /// The tokenizer as a `tokenizer.json`.
    pub fn json(&self) -> Value {
        let mark = |(content, id): &(String, u32)| {
            json!({ "id": id, "content": content, "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false, "special": true })
        };
        let mut marks = self.marks().to_vec();
        marks.sort_by_key(|(_, id)| *id);
        let vocabulary: Map<String, Value> = self
            .pieces()
            .iter()
            .zip(0u32..)
            .map(|(piece, id)| (piece.clone(), id.into()))
            .collect();
        let special =
            |mark: &str, kind: u32| json!({ "SpecialToken": { "id": mark, "type_id": kind } });
        let text = |name: &str, kind: u32| json!({ "Sequence": { "id": name, "type_id": kind } });
        let (cls, sep) = (SPECIALS[2], SPECIALS[3]);
        let place = |mark: &str, id: u32| json!({ "id": mark, "ids": [id], "tokens": [mark] });
        let how = self.normalizer();
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": marks.iter().map(mark).collect::<Vec<_>>(),
            "normalizer": {
                "type": "BertNormalizer",
                "clean_text": how.clean_text,
                "handle_chinese_chars": how.handle_chinese_chars,
                "strip_accents": how.strip_accents,
                "lowercase": how.lowercase,
            },
            "pre_tokenizer": { "type": "BertPreTokenizer" },
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [special(cls, 0), text("A", 0), special(sep, 0)],
                "pair": [special(cls, 0), text("A", 0), special(sep, 0), text("B", 1), special(sep, 1)],
                "special_tokens": {
                    cls: place(cls, self.specials().cls),
                    sep: place(sep, self.specials().sep),
                },
            },
            "decoder": { "type": "WordPiece", "prefix": INNER, "cleanup": true },
            "model": {
                "type": "WordPiece",
                "unk_token": SPECIALS[1],
                "continuing_subword_prefix": INNER,
                "max_input_chars_per_word": self.longest(),
                "vocab": vocabulary,
            },
        })
    }
}

/// A file's text, and where it lies.
struct File {
    path: PathBuf,
    text: String,
}

/// Those of the files of a tokenizer that are there.
struct Files {
    whole: Option<File>,
    plain: Option<File>,
    config: Option<File>,
}

impl Files {
    /// The tokenizer that files of our own say, which lie in `at`.
    fn known(&self, at: &Path) -> Result<Tokenizer, FormatError> {
        self.tokenizer(at, None).map_err(|error| match error {
            DataError::Malformed { path, problem } => FormatError::content(&path, problem),
            other => FormatError::content(at, other),
        })
    }

    /// The tokenizer that they say, all of them, and `lowercase`; `at` is where they were looked for.
    fn tokenizer(&self, at: &Path, lowercase: Option<bool>) -> Result<Tokenizer, DataError> {
        let config = match &self.config {
            Some(file) => Some((object(file)?, &file.path)),
            None => None,
        };
        let said = |key: &str| config.as_ref().and_then(|(config, _)| config.get(key)?.as_bool());
        let tokenizer = match (&self.whole, &self.plain) {
            (Some(file), _) => read_json(file)?,
            (None, Some(file)) => {
                let normalizer = Normalizer {
                    strip_accents: said("strip_accents"),
                    handle_chinese_chars: said("tokenize_chinese_chars").unwrap_or(true),
                    ..Normalizer::bert(said("do_lower_case").or(lowercase).unwrap_or(true))
                };
                read_vocabulary(file, normalizer)?
            }
            (None, None) => {
                let problem = format!("holds neither {TOKENIZER} nor {VOCABULARY}");
                return Err(DataError::malformed(at, problem));
            }
        };
        if let (Some(_), Some(plain)) = (&self.whole, &self.plain) {
            let other = read_vocabulary(plain, tokenizer.normalizer())?;
            if other.pieces() != tokenizer.pieces() {
                let problem = format!("holds other pieces than {TOKENIZER} beside it");
                return Err(DataError::malformed(&plain.path, problem));
            }
        }
        let has = tokenizer.normalizer().lowercase;
        if let (Some(says), Some((_, path))) = (said("do_lower_case"), &config)
            && says != has
        {
            let problem = format!("do_lower_case = {says}, where {TOKENIZER} says {has}");
            return Err(DataError::malformed(path, problem));
        }
        if let Some(asked) = lowercase
            && asked != has
        {
            let problem = format!("{asked} contradicts the tokenizer's files, which say {has}");
            return Err(DataError::setting("text.lowercase", problem));
        }
        Ok(tokenizer)
    }
}

/// The text of a file of at most [`MOST_BYTES`].
fn text(path: &Path) -> Result<String, DataError> {
    let bytes = path.metadata().map_err(DataError::read(path))?.len();
    if bytes > MOST_BYTES {
        let problem = format!("has {bytes} bytes, more than the {MOST_BYTES} of any vocabulary");
        return Err(DataError::malformed(path, problem));
    }
    let bytes = std::fs::read(path).map_err(DataError::read(path))?;
    utf8(bytes).map_err(|problem| DataError::malformed(path, problem))
}

fn utf8(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("is no UTF-8 at byte {at}")
    })
}

fn object(file: &File) -> Result<Map<String, Value>, DataError> {
    serde_json::from_str(&file.text)
        .map_err(|error| DataError::malformed(&file.path, format!("is no JSON object: {error}")))
}

fn read_vocabulary(file: &File, normalizer: Normalizer) -> Result<Tokenizer, DataError> {
    let text = file.text.strip_suffix('\n').unwrap_or(&file.text);
    // Pieces may hold any other blank, so only a line feed ends one.
    let pieces = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).to_owned());
    Tokenizer::new(pieces.collect(), normalizer)
        .map_err(|problem| DataError::malformed(&file.path, problem))
}

fn read_json(file: &File) -> Result<Tokenizer, DataError> {
    let json = Value::Object(object(file)?);
    tokenizer(&json).map_err(|problem| DataError::malformed(&file.path, problem))
}

/// The tokenizer of a `tokenizer.json`.
fn tokenizer(json: &Value) -> Result<Tokenizer, String> {
    for (key, kind) in [
        ("model", "WordPiece"),
        ("normalizer", "BertNormalizer"),
        ("pre_tokenizer", "BertPreTokenizer"),
    ] {
        let has = json[key]["type"].as_str();
        // Old files leave out the model's kind.
        if has != Some(kind)
            && !(key == "model" && has.is_none() && json["model"]["vocab"].is_object())
        {
            let has = has.map_or("nothing".into(), escape);
            return Err(format!("has {has} as {key}, where BERT has {kind}"));
        }
    }
    let normalizer = Normalizer::deserialize(&json["normalizer"])
        .map_err(|error| format!("has a normalizer that cannot be read: {error}"))?;
    let model = &json["model"];
    for (key, must) in [("continuing_subword_prefix", INNER), ("unk_token", SPECIALS[1])] {
        if let Some(other) = model[key].as_str().filter(|other| *other != must) {
            return Err(format!("has {key} = \"{}\", where BERT has \"{must}\"", escape(other)));
        }
    }
    let pieces = dense(model["vocab"].as_object().ok_or("has no vocabulary")?)?;
    let mut marks = Vec::new();
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let (content, id) = (added["content"].as_str().unwrap_or_default(), &added["id"]);
        let id = id.as_u64().and_then(|id| usize::try_from(id).ok());
        match id.filter(|id| pieces.get(*id).is_some_and(|piece| piece == content)) {
            Some(id) => marks.push(id as u32),
            None => {
                let content = escape(content);
                return Err(format!(
                    "adds \"{content}\", which is not at that place of its vocabulary"
                ));
            }
        }
    }
    let longest = model["max_input_chars_per_word"].as_u64().map_or(LONGEST, |most| most as usize);
    Ok(Tokenizer::new(pieces, normalizer)?.with(longest, marks))
}

/// The pieces of a map to ids, which must be 0 … n − 1.
fn dense(vocabulary: &Map<String, Value>) -> Result<Vec<String>, String> {
    let mut pieces: Vec<Option<&String>> = vec![None; vocabulary.len()];
    for (piece, id) in vocabulary {
        let shown = || escape(piece);
        let place = id.as_u64().and_then(|id| pieces.get_mut(usize::try_from(id).ok()?));
        match place {
            Some(place @ None) => *place = Some(piece),
            Some(Some(other)) => {
                return Err(format!("gives \"{}\" and \"{}\" the id {id}", escape(other), shown()));
            }
            None => {
                let last = vocabulary.len() - 1;
                return Err(format!("gives \"{}\" the id {id}; ids are 0 … {last}", shown()));
            }
        }
    }
    Ok(pieces.into_iter().flatten().cloned().collect())
}
