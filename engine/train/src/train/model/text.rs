//! Trained models on text: words for masks, and answers to questions.

use std::sync::Arc;

use super::{EVAL_BATCH, Trained};
use crate::{
    data::{
        Batch, Field,
        text::{
            Questions,
            answers::{Answered, Choosing},
            asked::Asked,
            squad::{Context, Cutting, Question, windows},
        },
    },
    device::Device,
    formats::{FormatError, ModelConfig, TextModel},
    models::BertHead,
    nn::{LENGTHS, PLACES, SEGMENTS, TOKENS},
    train::TrainError,
};

/// Why a text cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The text is another than the model takes.
    #[error("{0}")]
    Text(String),
    /// The device, or the model.
    #[error(transparent)]
    Train(#[from] TrainError),
}

impl Trained {
    fn on_text(&self) -> Result<&TextModel, Unanswered> {
        match &self.folder.config {
            ModelConfig::Text(model) => Ok(model),
            ModelConfig::Images(_) => {
                let error = FormatError::Kind { reads: "images", wanted: "text" };
                Err(TrainError::from(error).into())
            }
        }
    }

    /// Probabilities of all pieces of the vocabulary for each `[MASK]` of a text, in their order.
    ///
    /// # Errors
    /// A text without a mask, or with more tokens or masks than the model takes; a model that is not asked for words; the device fails.
    pub fn fill(&self, gpu: &Arc<dyn Device>, text: &str) -> Result<Vec<Vec<f64>>, Unanswered> {
        let TextModel { sizes, tokenizer, .. } = self.on_text()?;
        let wrong = |problem: String| Err(Unanswered::Text(problem));
        if sizes.head == BertHead::Spans {
            return wrong("the model answers questions, and fills no masks".into());
        }
        let specials = tokenizer.specials();
        let mut ids = vec![specials.cls];
        ids.extend(tokenizer.encode_marked(text).ids);
        ids.push(specials.sep);
        let masks: Vec<u32> =
            (0..).zip(&ids).filter(|(_, id)| **id == specials.mask).map(|(at, _)| at).collect();
        let (length, most) = (sizes.length as usize, sizes.places as usize);
        if ids.len() > length {
            return wrong(format!(
                "the text has {} tokens with its marks, and the model reads {length}",
                ids.len()
            ));
        }
        if masks.is_empty() || masks.len() > most {
            let mark = &tokenizer.pieces()[specials.mask as usize];
            return wrong(format!(
                "the text has {} {mark}, and the model fills 1 to {most}",
                masks.len()
            ));
        }
        let tokens = ids.len() as u32;
        let mut places = masks.clone();
        ids.resize(length, specials.pad);
        places.resize(most, 0);
        let inputs = vec![
            Field::u32(TOKENS, ids),
            Field::u32(SEGMENTS, vec![0; length]),
            Field::u32(LENGTHS, vec![tokens]),
            Field::u32(PLACES, places),
        ];
        let batch = Batch { inputs, targets: Vec::new(), size: 1, rows: 1 };
        let mut session = self.session(gpu, 1)?;
        let scores = session.logits(std::iter::once(Ok(batch)))?;
        let task = self.folder.config.task();
        let all = scores.first().map(|scores| task.answer(scores)).unwrap_or_default();
        let words = sizes.vocabulary.max(1) as usize;
        Ok(all.chunks(words).take(masks.len()).map(<[f64]>::to_vec).collect())
    }

    /// The answer to each question by what stands in `context`; none is an answer too, of a model that learnt so.
    ///
    /// # Errors
    /// A model that answers no questions; the device fails.
    pub fn ask(
        &self,
        gpu: &Arc<dyn Device>,
        context: &str,
        questions: &[String],
        choosing: Choosing,
        doc_stride: u32,
    ) -> Result<Vec<Answered>, Unanswered> {
        let TextModel { sizes, tokenizer, unanswerable } = self.on_text()?;
        if sizes.head != BertHead::Spans {
            return Err(Unanswered::Text("the model fills masks, and answers no questions".into()));
        }
        let question = |(at, text): (usize, &String)| Question {
            id: at.to_string(),
            text: text.clone(),
            context: 0,
            answers: Vec::new(),
        };
        let questions = Questions {
            unanswerable: *unanswerable,
            contexts: vec![Context { article: 0, text: context.into() }],
            questions: questions.iter().enumerate().map(question).collect(),
        };
        let cutting = Cutting { length: sizes.length, doc_stride };
        let windows = windows(&questions, tokenizer, cutting).map_err(TrainError::from)?.windows;
        let asked = Arc::new(Asked::new(questions, windows, choosing));
        let split = Arc::new(crate::data::Split::new(asked.clone()));
        let mut session = self.session(gpu, EVAL_BATCH.min(split.len().max(1) as u32))?;
        Ok(super::measure::spans(&mut session, &asked, &split)?)
    }
}
