//! Starts of encoders of transformers (`win/DERIVATION.md`, *Transformers*). The decisions that the method leaves open are listed at the head of
//! `tests/golden/encoders.py`.

mod head;
mod layers;
mod norm;
mod stack;
mod tables;

use super::{
    Probe,
    block::{BlockStart, Extents},
};
use crate::nn::{Network, NetworkError, layers::Transformer};
use layers::{Reading, alike, projection, set_heads, set_inner, set_output};
use stack::{ROWS_PER_COLUMN, embeddings, input, matched, stacks, widest};
use tables::{Stream, coordinates, pick_stream, take_tables};

pub(super) use head::{start_head, take_head};
pub(super) use tables::{fits_tables, random_tables, takes_embeddings};

/// Refuses a teacher that some block cannot start from.
pub(super) fn fits(student: &Network, teacher: &Network, map: &[u32]) -> Result<(), NetworkError> {
    let (small, large) = (student.shapes()?, teacher.shapes()?);
    let extents = Extents { small: &small, large: &large };
    let (thin, wide) = (stacks(student)?, stacks(teacher)?);
    Stream::of(embeddings(&thin)?, embeddings(&wide)?)?;
    for (block, own) in thin.iter().enumerate() {
        let matched = matched(&thin, &wide, block, map)?;
        for (layer, [heads, _]) in own.layers.iter().zip(matched) {
            alike(&extents, layer, wide[block].layers[heads])?;
        }
    }
    Ok(())
}

/// Sets a block and its lift; the first block with its embeddings.
pub(super) fn start<P: Probe>(start: &mut BlockStart<'_, P>, map: &[u32]) -> Result<(), P::Error> {
    let (student, teacher, block) = (start.student, start.teacher, start.block);
    let (thin, wide) = (stacks(student)?, stacks(teacher)?);
    let matched = matched(&thin, &wide, block, map)?;
    let (own, theirs) = (embeddings(&thin)?, embeddings(&wide)?);
    let stream = Stream::of(own, theirs)?;
    let features = start.teacher_width(input(&wide, block, 0)?)?;
    start.most = ROWS_PER_COLUMN * widest([&thin[block], &wide[block]], features);

    let set = match (block, stream) {
        (0, Stream::Picked) => pick_stream(start, own, &wide)?,
        _ => coordinates(own, theirs, start.source, start.weights())?,
    };
    if block == 0 {
        take_tables(start, own, theirs, stream, &set)?;
    }
    for (k, (layer, &[heads, rest])) in thin[block].layers.iter().zip(&matched).enumerate() {
        let (from, rest) = (wide[block].layers[heads], wide[block].layers[rest]);
        alike(&start.extents(), layer, from)?;
        let (skip, x) = (input(&thin, block, k)?, input(&wide, block, heads)?);
        let reading = match (k, block, stream) {
            // It reads the lifted state, or all of the teacher's embeddings.
            (0, 1.., _) | (0, 0, Stream::Whole) => None,
            (0, 0, Stream::Projected) => Some(projection(start, theirs)?),
            _ => {
                let (s, x) = (start.student_rows(skip)?, start.teacher_rows(x, 1)?);
                let (r, c) = start.affine(&s, &x, &layer.path(Transformer::QKV))?;
                Some(Reading { r, c })
            }
        };
        set_heads(start, layer, from, reading.as_ref())?;
        let y = set_output(start, layer, rest, skip, &set)?;
        set_inner(start, layer, rest, &y, &set)?;
    }
    let ends = [&thin, &wide].map(|stacks| stacks[block].layers[stacks[block].layers.len() - 1]);
    let (h, t) = (start.student_rows(&ends[0].name)?, start.teacher_rows(&ends[1].name, 1)?);
    let lift = start.map(&h, &t, "lift")?;
    start.set_lift(&lift)?;
    Ok(())
}
