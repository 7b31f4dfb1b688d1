//! `[text]`: how examples are made of a text.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How examples are made of a text; with data of text alone. What is said of masks is not read with questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Examples {
    /// A vocabulary: a `vocab.txt`, a `tokenizer.json`, or a folder with one; absent: that of the teacher of `teacher.from`, else one is trained
    /// on the training text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocab: Option<String>,
    /// Most pieces of a vocabulary that is trained here. BERT's has 30,522.
    #[schemars(range(min = 16, max = 1048576), extend("x-unit" = "pieces"))]
    pub vocab_size: u32,
    /// Whether letters are made small and lose their accents; absent: as the vocabulary's files say, else true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lowercase: Option<bool>,
    /// Tokens of an example, its marks among them. The paper: 512.
    #[schemars(range(min = 8, max = 32768), extend("x-unit" = "tokens"))]
    pub length: u32,
    /// Most words of an example that are masked; BERT's own recipe: 20 at a length of 128, 77 at 512.
    #[schemars(range(min = 1, max = 32766), extend("x-unit" = "words"))]
    pub max_predictions: u32,
    /// How likely a pair of sentences is cut to a random length, with `nsp`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub short_probability: f64,
    /// Masks all pieces of a word or none.
    pub whole_word: bool,
    /// Masks so many copies of the text once and for all, as BERT's own recipe does with 10; absent: masks are drawn anew in each epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000), extend("x-unit" = "copies"))]
    pub dupe_factor: Option<u32>,
    /// Examples are pairs of sentences, and the network is asked as well whether the second follows the first. Without it an example is a
    /// run of a document's tokens.
    pub nsp: bool,
}

impl Default for Examples {
    fn default() -> Self {
        Examples {
            vocab: None,
            vocab_size: 30_522,
            lowercase: None,
            length: 128,
            max_predictions: 20,
            short_probability: 0.1,
            whole_word: false,
            dupe_factor: None,
            nsp: false,
        }
    }
}

/// How questions are read and answers chosen; with `data.kind = "squad"` or `"procedural_questions"` alone. The names are those of transformers'
/// `run_qa`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Finetune {
    /// Tokens that neighbouring windows of a context share.
    #[schemars(range(max = 32768), extend("x-unit" = "tokens"))]
    pub doc_stride: u32,
    /// Most tokens of an answer.
    #[schemars(range(min = 1, max = 32768), extend("x-unit" = "tokens"))]
    pub max_answer_length: u32,
    /// The best places that are tried for a start and for an end.
    #[schemars(range(min = 1, max = 1000), extend("x-unit" = "places"))]
    pub n_best: u32,
    /// Of SQuAD 2.0: no answer is given where its score is above the best answer's by more than this.
    pub null_threshold: f64,
}

impl Default for Finetune {
    fn default() -> Self {
        Finetune { doc_stride: 128, max_answer_length: 30, n_best: 20, null_threshold: 0.0 }
    }
}
