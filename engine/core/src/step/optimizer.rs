//! The end of a step: loss scaling, clipping and the optimiser, over the flat buffers of the student.

use std::ops::Range;

use super::{
    error::ProgramError,
    metrics::{LOSS_SCALE, SKIPPED, place},
};
use crate::{
    config::{Optimizer, Recipe},
    graph::{Graph, Value},
    nn::Layout,
    ops::{
        Reads,
        adam::Adam,
        clip::clip,
        optimizer::{Tensors, optimise},
        scaler,
        sgd::Sgd,
        to_u32,
    },
    plan::Target,
};

/// Name of the buffer that holds what loss scaling knows, [`scaler::STATE`] words.
pub const SCALER: &str = "student.scaler";

/// The flat buffers of the student, and how they are trained.
#[derive(Clone, Copy)]
pub(super) struct Flat<'a> {
    pub(super) layout: &'a Layout,
    pub(super) recipe: &'a Recipe,
    /// Whether the loss is scaled.
    pub(super) scaled: bool,
    /// First float that is trained; all behind it are.
    pub(super) first: u64,
}

impl Flat<'_> {
    /// The trained range in pieces that a binding can hold.
    pub(super) fn pieces(&self, target: &Target) -> Vec<Range<u64>> {
        pieces(self.layout, self.first..self.layout.param_floats, target)
    }

    /// A piece of one of the student's flat buffers.
    pub(super) fn piece(&self, g: &mut Graph, part: &str, piece: &Range<u64>) -> Value {
        let len = to_u32(piece.end - piece.start);
        let buffer = format!("student.{part}");
        g.buffer(&buffer, self.layout.param_floats);
        g.named(&buffer, piece.start, &[len], &buffer)
    }

    /// The optimiser over the trained range, by the gradients in the flat buffer `part` once `grads` are written: one dispatch, or one
    /// for each piece that a binding can hold.
    pub(super) fn optimise(
        &self,
        g: &mut Graph,
        part: &str,
        grads: &[Value],
        target: &Target,
    ) -> Result<Vec<Vec<u32>>, ProgramError> {
        let recipe = self.recipe;
        let pieces = self.pieces(target);
        let flat = |g: &mut Graph, part: &str, piece: &_| self.piece(g, part, piece);
        let ranges: Vec<Value> = match self.scaled || recipe.clip_norm.is_some() {
            true => pieces.iter().map(|piece| flat(g, part, piece)).collect(),
            false => Vec::new(),
        };
        let norm = recipe.clip_norm.map(|norm| norm as f32);
        let factor = match (self.scaled, norm) {
            (true, _) => {
                let state = g.named(SCALER, 0, &[scaler::STATE], SCALER);
                let verdict =
                    g.scoped("scaler", |g| scaler::decide(g, &ranges, grads, state, norm))?;
                place(g, verdict.scale, LOSS_SCALE);
                place(g, verdict.skipped, SKIPPED);
                Some(verdict.step)
            }
            (false, Some(norm)) => Some(g.scoped("clip", |g| clip(g, &ranges, grads, norm))?.0),
            (false, None) => None,
        };
        let mut words = Vec::with_capacity(pieces.len());
        for (k, piece) in pieces.iter().enumerate() {
            let [params, dparams, m] = ["params", part, "m"].map(|part| flat(g, part, piece));
            let rows = (piece.end - piece.start) / 64;
            let label = format!("student.decay{k}");
            let decays = g.input(&label, &[to_u32(rows)]);
            words.push(self.layout.decay_words(piece.clone()));
            let mut moments = vec![m];
            if recipe.optimizer != Optimizer::Sgd {
                moments.push(flat(g, "v", piece));
            }
            let tensors = Tensors { params, grads: dparams, moments: &moments, decays, factor };
            let reads = Reads::on(target.kind);
            g.scoped("optimizer", |g| match recipe.optimizer {
                Optimizer::Sgd => {
                    let op = Sgd {
                        momentum: recipe.momentum as f32,
                        nesterov: recipe.nesterov,
                        weight_decay: recipe.weight_decay as f32,
                    };
                    optimise(g, op, tensors, grads, reads)
                }
                Optimizer::Adam | Optimizer::AdamW => {
                    let op = Adam {
                        beta1: recipe.beta1,
                        beta2: recipe.beta2,
                        eps: recipe.eps as f32,
                        weight_decay: recipe.weight_decay as f32,
                        decoupled: recipe.optimizer == Optimizer::AdamW,
                    };
                    optimise(g, op, tensors, grads, reads)
                }
            })?;
        }
        Ok(words)
    }
}

/// Cuts a range of the flat parameters at tensor boundaries into pieces that a binding can hold.
pub(super) fn pieces(layout: &Layout, range: Range<u64>, target: &Target) -> Vec<Range<u64>> {
    let most = target.limits.binding_bytes / 4;
    let mut cuts: Vec<u64> =
        layout.params.values().map(|s| s.offset).filter(|o| *o > range.start).collect();
    cuts.sort_unstable();
    cuts.push(range.end);
    let (mut pieces, mut start, mut end) = (Vec::new(), range.start, range.start);
    for cut in cuts {
        if cut - start > most && end > start {
            pieces.push(start..end);
            start = end;
        }
        end = cut;
    }
    pieces.push(start..end);
    pieces
}
