//! A layer of the student, from two of the teacher's: its heads, and its inner units.

use super::{
    super::{
        Probe, Rows,
        block::{BlockStart, Extents},
    },
    norm::fit_norm,
};
use crate::{
    nn::{
        NetworkError,
        layers::{Embeddings, Transformer},
    },
    win::linalg::{Matrix, PICK_STOP, pick_groups},
};

/// Refuses a layer of the student that cannot start from this one of the teacher.
pub(super) fn alike(
    extents: &Extents<'_>,
    own: &Transformer,
    from: &Transformer,
) -> Result<(), NetworkError> {
    if own.head != from.head {
        return Err(NetworkError::Mismatch(format!(
            "{} has heads of {} features, the teacher's {} heads of {}; heads are copied whole",
            own.name, own.head, from.name, from.head
        )));
    }
    let (small, large) = (extents.width(&own.name)?, extents.teacher_width(&from.name)?);
    match small <= large {
        true => Ok(()),
        false => Err(NetworkError::Mismatch(format!(
            "{} has {small} features, the teacher's {} only {large}",
            own.name, from.name
        ))),
    }
}

/// What the first linear maps of a layer read, as an affine map of what it stands for: x ≈ R s + c.
pub(super) struct Reading {
    pub r: Matrix,
    pub c: Vec<f64>,
}

/// P as what stands for the teacher's x, exactly: it begins with the identity, so the student's stream is P's input.
pub(super) fn projection<P: Probe>(
    start: &BlockStart<'_, P>,
    theirs: &Embeddings,
) -> Result<Reading, NetworkError> {
    let name = theirs.projection();
    let r = start.matrix(&name)?;
    let c = start.vector(&format!("{name}.bias"))?;
    let width = r.cols();
    let unit = |row: usize, column: usize| f64::from(u8::from(row == column));
    let identity = (0..width).all(|row| (0..width).all(|at| r.row(row)[at] == unit(row, at)));
    match identity && c[..width].iter().all(|&x| x == 0.0) {
        true => Ok(Reading { r, c }),
        false => Err(NetworkError::Unsupported(format!(
            "the teacher's {name} does not begin with the identity and a bias of zeros, so the student's embeddings are no part of its stream"
        ))),
    }
}

/// Sets queries, keys and values: those of the heads that add most to the stream, one after the other.
pub(super) fn set_heads<P: Probe>(
    start: &mut BlockStart<'_, P>,
    own: &Transformer,
    from: &Transformer,
    reading: Option<&Reading>,
) -> Result<(), P::Error> {
    let (m, of, size) = (own.heads as usize, from.heads as usize, own.head as usize);
    let key = own.path(Transformer::CONTEXTS);
    let picks = start.choose_by(&key, m, of, |start| {
        let contexts = start.teacher_rows(&from.path(Transformer::CONTEXTS), 1)?;
        let covariance = start.covariance(&contexts);
        start.finite(&covariance, &key)?;
        let o = start.matrix(&from.path(Transformer::O))?.transposed();
        let gain = |k: usize| {
            let rows: Vec<usize> = (k * size..(k + 1) * size).collect();
            let o = o.select_rows(&rows);
            o.times(&o.transposed())
        };
        let gains: Vec<Matrix> = (0..of).map(gain).collect();
        Ok(pick_groups(&covariance, &gains, m, PICK_STOP))
    })?;
    let [to, source] = [own, from].map(|layer| layer.path(Transformer::QKV));
    let (matrix, bias) = (start.matrix(&source)?, start.vector(&format!("{source}.bias"))?);
    let (matrix, bias) = match reading {
        None => (matrix, bias),
        Some(Reading { r, c }) => {
            let shift = matrix.times_vector(c);
            let bias = bias.iter().zip(shift).map(|(b, s)| b + s).collect();
            (matrix.times(r), bias)
        }
    };
    // Heads that are missing stay fresh.
    let (mut weight, mut shift) =
        (start.fresh(&format!("{to}.weight"))?, start.fresh(&format!("{to}.bias"))?);
    let width = matrix.cols();
    if weight.shape[1] != width {
        return Err(NetworkError::Mismatch(format!(
            "{to} reads {} features, {width} are known of what it stands for",
            weight.shape[1]
        ))
        .into());
    }
    for part in 0..3 {
        for (place, head) in picks.iter().enumerate() {
            for unit in 0..size {
                let [at, row] = [(m, place), (of, *head)]
                    .map(|(heads, head)| (part * heads + head) * size + unit);
                let numbers = matrix.row(row).iter().map(|&x| x as f32);
                weight.data[at * width..(at + 1) * width]
                    .iter_mut()
                    .zip(numbers)
                    .for_each(|(to, x)| *to = x);
                shift.data[at] = bias[row] as f32;
            }
        }
    }
    start.put(&format!("{to}.weight"), &source, &weight.shape, &weight.data, false)?;
    start.put(&format!("{to}.bias"), &source, &shift.shape, &shift.data, false)?;
    Ok(())
}

/// Sets the map behind the heads, and the norm behind the sum; what the teacher's norm gives there.
pub(super) fn set_output<P: Probe>(
    start: &mut BlockStart<'_, P>,
    own: &Transformer,
    from: &Transformer,
    skip: &str,
    set: &[usize],
) -> Result<Rows, P::Error> {
    let contexts = start.student_rows(&own.path(Transformer::CONTEXTS))?;
    let s = start.student_rows(skip)?;
    let wanted = start.teacher_rows(&from.path(Transformer::ATTENDED), 1)?.columns(set).less(&s);
    set_affine(start, &own.path(Transformer::O), &contexts, &wanted)?;
    let norm = own.path(Transformer::FIRST_NORM);
    let y = start.teacher_rows(&from.path(Transformer::FIRST_NORM), 1)?;
    fit_norm(start, &norm, &norm, &y.columns(set))?;
    Ok(y)
}

/// Sets the inner layer, the map behind it, and the norm behind that sum; `t` is what the teacher's inner layer reads.
pub(super) fn set_inner<P: Probe>(
    start: &mut BlockStart<'_, P>,
    own: &Transformer,
    from: &Transformer,
    t: &Rows,
    set: &[usize],
) -> Result<(), P::Error> {
    let y = start.student_rows(&own.path(Transformer::FIRST_NORM))?;
    let [to, source] = [own, from].map(|layer| layer.path(Transformer::W1));
    let (r, c) = start.affine(&y, t, &to)?;
    let key = own.path(Transformer::INNER);
    let picks = start.choose(&key, own.inner as usize, from.inner as usize, |start| {
        let z = start.teacher_rows(&from.path(Transformer::INNER), 1)?;
        Ok(start.gram(&z))
    })?;
    let w = start.matrix(&source)?.select_rows(&picks);
    let (weight, shift) = (w.times(&r), w.times_vector(&c));
    let shape = [weight.rows(), weight.cols()];
    start.put(&format!("{to}.weight"), &source, &shape, &weight.to_f32(), true)?;
    let bias = [&to, &source].map(|layer| format!("{layer}.bias"));
    start.set_vector(&bias[0], &bias[1], Some(&picks), Some(&shift))?;

    let z = start.student_rows(&key)?;
    let wanted = start.teacher_rows(&from.path(Transformer::SUM), 1)?.columns(set).less(&y);
    set_affine(start, &own.path(Transformer::W2), &z, &wanted)?;
    let target = start.teacher_rows(&from.name, 1)?.columns(set);
    fit_norm(start, &own.path(Transformer::LAST_NORM), &own.name, &target)
}

/// Sets a linear map with bias to the ridge map from `h` to `t`.
fn set_affine<P: Probe>(
    start: &mut BlockStart<'_, P>,
    to: &str,
    h: &Rows,
    t: &Rows,
) -> Result<(), P::Error> {
    let (map, shift) = start.affine(h, t, to)?;
    let shift: Vec<f32> = shift.iter().map(|&x| x as f32).collect();
    start.put(&format!("{to}.weight"), to, &[map.rows(), map.cols()], &map.to_f32(), false)?;
    start.put(&format!("{to}.bias"), to, &[shift.len()], &shift, false)?;
    Ok(())
}
