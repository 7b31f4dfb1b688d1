//! Starts of residual networks, a block being a stage: bottleneck and basic units, of any number of convolutions.

use super::{
    Probe, Rows,
    block::{BlockStart, Extents, correspondence},
};
use crate::{
    nn::{Extent, Layer, Network, NetworkError, layers},
    win::linalg::Matrix,
};

/// A convolution with its batch norm.
struct Conv<'n> {
    name: &'n str,
    kernel: u32,
    norm: &'n str,
    /// The activation behind it; none behind the last of a unit and in a shortcut.
    act: Option<&'n str>,
}

/// What stands before the first unit.
struct Stem<'n> {
    conv: Conv<'n>,
    /// Where its output after activation and pooling is taken.
    tap: &'n str,
}

struct Unit<'n> {
    name: &'n str,
    body: Vec<Conv<'n>>,
    shortcut: Option<Conv<'n>>,
}

struct Stage<'n> {
    stem: Option<Stem<'n>>,
    units: Vec<Unit<'n>>,
}

/// The stages of a network.
fn stages(network: &Network) -> Result<Vec<Stage<'_>>, NetworkError> {
    let refuse = |block: usize, layer: &Layer| {
        let name = layer.name().unwrap_or("a pool");
        NetworkError::Unsupported(format!(
            "block {} has {name} where a start does not expect it; a stage is a stem (convolution, batch norm, activation, max pool), if it is the first, and units of convolutions with batch norm",
            block + 1
        ))
    };
    let mut found = Vec::new();
    for (k, block) in network.blocks.iter().enumerate() {
        let first = block.layers.iter().position(|layer| matches!(layer, Layer::Unit(_)));
        let (before, units) = block.layers.split_at(first.unwrap_or(block.layers.len()));
        let (before, pool) = match before.split_last() {
            Some((Layer::MaxPool(pool), before)) => (before, Some(pool.name.as_str())),
            _ => (before, None),
        };
        let mut convs = convs(before).map_err(|layer| refuse(k, layer))?.into_iter();
        let stem = match (convs.next(), convs.next(), before.first()) {
            (None, ..) => None,
            (Some(conv), None, _) if k == 0 => {
                let tap = pool.or(conv.act).unwrap_or(conv.norm);
                Some(Stem { conv, tap })
            }
            (.., Some(layer)) => return Err(refuse(k, layer)),
            (.., None) => None,
        };
        let mut stage = Stage { stem, units: Vec::with_capacity(units.len()) };
        for layer in units {
            let Layer::Unit(unit) = layer else { return Err(refuse(k, layer)) };
            let layers::Unit { name, body, shortcut } = unit;
            let body = self::convs(body).map_err(|layer| refuse(k, layer))?;
            let mut short = self::convs(shortcut).map_err(|layer| refuse(k, layer))?;
            let ends = body.iter().position(|conv| conv.act.is_none());
            if body.is_empty() || ends != Some(body.len() - 1) || short.len() > 1 {
                return Err(refuse(k, layer));
            }
            stage.units.push(Unit { name, body, shortcut: short.pop() });
        }
        found.push(stage);
    }
    Ok(found)
}

/// Layers as convolutions, each with a batch norm and perhaps an activation behind it. The error is the layer that is out of start.
fn convs(layers: &[Layer]) -> Result<Vec<Conv<'_>>, &Layer> {
    let mut found: Vec<Conv<'_>> = Vec::new();
    let mut rest = layers;
    while let Some((layer, tail)) = rest.split_first() {
        let Layer::Conv(conv) = layer else { return Err(layer) };
        let Some((Layer::BatchNorm(norm), tail)) = tail.split_first() else {
            return Err(layer);
        };
        // What else stands behind the norm has to begin a convolution again.
        let (act, tail) = match tail.split_first() {
            Some((Layer::Activation(act), tail)) => (Some(act.name.as_str()), tail),
            _ => (None, tail),
        };
        found.push(Conv { name: &conv.name, kernel: conv.kernel, norm: &norm.name, act });
        rest = tail;
    }
    Ok(found)
}

fn names<'n>(stages: &[Stage<'n>]) -> Vec<Vec<&'n str>> {
    stages.iter().map(|stage| stage.units.iter().map(|unit| unit.name).collect()).collect()
}

/// Refuses a teacher that some stage cannot start from.
pub(super) fn fits(student: &Network, teacher: &Network, map: &[u32]) -> Result<(), NetworkError> {
    let (small, large) = (student.shapes()?, teacher.shapes()?);
    let extents = Extents { small: &small, large: &large };
    let (thin, wide) = (stages(student)?, stages(teacher)?);
    let (small, large) = (names(&thin), names(&wide));
    let narrower = narrower(&extents, &thin, &wide)?;
    for (block, own) in thin.iter().enumerate() {
        let matched = correspondence(&small, &large, block, map)?;
        stage_fits(&extents, own, &wide, block, &matched, narrower).map_err(
            |error| match error {
                NetworkError::Mismatch(what) => {
                    NetworkError::Mismatch(format!("block {}: {what}", block + 1))
                }
                other => other,
            },
        )?;
    }
    Ok(())
}

/// [`fits`] of a stage, whose units start from the teacher's at `matched`.
fn stage_fits(
    extents: &Extents<'_>,
    own: &Stage<'_>,
    wide: &[Stage<'_>],
    block: usize,
    matched: &[usize],
    narrower: bool,
) -> Result<(), NetworkError> {
    let source = &wide[block];
    if let (Some(own), Some(source)) = (&own.stem, &source.stem) {
        same_kernel(&own.conv, &source.conv)?;
    }
    let mut stream = own.stem.as_ref().map(|stem| stem.tap);
    for (unit, &q) in own.units.iter().zip(matched) {
        let from = &source.units[q];
        alike(unit, from)?;
        if let Some(stream) = stream {
            let before = if q == 0 { input(wide, block)? } else { source.units[q - 1].name };
            stride(extents, before, stream)?;
        }
        for (conv, source) in unit.body.iter().zip(&from.body) {
            if let (Some(act), Some(theirs)) = (conv.act, source.act) {
                stride(extents, theirs, act)?;
            }
        }
        stream = Some(unit.name);
    }
    // One set of channels is picked from several layers together, see `channels`; they must have the same width.
    if let (true, Some(last)) = (narrower, own.units.last()) {
        let whole = own.stem.is_some() && own.units[0].shortcut.is_none();
        let stem = source.stem.iter().map(|stem| stem.tap).filter(|_| whole);
        let outputs = source.units.iter().map(|unit| unit.name);
        same_width(extents, last.name, stem.chain(outputs))?;
    }
    Ok(())
}

/// Sets a stage and its lift; the first stage with its stem.
pub(super) fn start<P: Probe>(start: &mut BlockStart<'_, P>, map: &[u32]) -> Result<(), P::Error> {
    let (student, teacher, block) = (start.student, start.teacher, start.block);
    let (thin, wide) = (stages(student)?, stages(teacher)?);
    let matched = correspondence(&names(&thin), &names(&wide), block, map)?;
    // A teacher that is widened inside its units only has streams of the student's widths: these are copied.
    let narrower = narrower(&start.extents(), &thin, &wide)?;
    let (own, source) = (&thin[block], &wide[block]);
    let same =
        own.units.len() == source.units.len() && matched.iter().copied().eq(0..matched.len());
    let copies = same && !narrower;

    for (unit, &q) in own.units.iter().zip(&matched) {
        alike(unit, &source.units[q])?;
    }
    let set = channels(start, own, source, narrower)?;
    let mut stream = own.stem.as_ref().map(|stem| stem.tap);
    for (k, (unit, &q)) in own.units.iter().zip(&matched).enumerate() {
        let from = &source.units[q];
        // A later stage reads the lifted stream, which stands for the teacher's: no map is needed.
        let through = if k == 0 { narrower && own.stem.is_some() } else { !copies };
        let reading = match stream.filter(|_| through) {
            Some(stream) => {
                let before = match q {
                    0 => input(&wide, block)?,
                    _ => source.units[q - 1].name,
                };
                let t = thinned(start, before, stream)?;
                let h = start.student_rows(stream)?;
                Some(start.map(&h, &t, &format!("the input of {}", unit.name))?)
            }
            None => None,
        };
        set_unit(start, unit, from, reading.as_ref(), set.as_deref())?;
        stream = Some(unit.name);
    }

    let (last, target) =
        (own.units[own.units.len() - 1].name, source.units[source.units.len() - 1].name);
    let lift = if copies {
        Matrix::identity(start.width(last)?)
    } else {
        let t = start.teacher_rows(target, 1)?;
        let h = start.student_rows(last)?;
        start.map(&h, &t, "lift")?
    };
    start.set_lift(&lift)?;
    Ok(())
}

/// Whether any stream, from the stem to the last stage, has another width than the teacher's.
fn narrower(
    extents: &Extents<'_>,
    thin: &[Stage<'_>],
    wide: &[Stage<'_>],
) -> Result<bool, NetworkError> {
    let mut narrower = false;
    for (own, source) in thin.iter().zip(wide) {
        match (&own.stem, &source.stem) {
            (Some(own), Some(source)) => {
                narrower |= extents.width(own.tap)? != extents.teacher_width(source.tap)?;
            }
            (None, None) => {}
            _ => return Err(NetworkError::Mismatch("only one of them has a stem".into())),
        }
        let (Some(own), Some(source)) = (own.units.last(), source.units.last()) else { continue };
        narrower |= extents.width(own.name)? != extents.teacher_width(source.name)?;
    }
    Ok(narrower)
}

/// Sets the stem, and returns the set of the teacher's channels that the stage's streams take; `None` if they are copied whole.
fn channels<P: Probe>(
    start: &mut BlockStart<'_, P>,
    own: &Stage<'_>,
    source: &Stage<'_>,
    narrower: bool,
) -> Result<Option<Vec<usize>>, P::Error> {
    let outputs = || source.units.iter().map(|unit| unit.name);
    let mut shared = None;
    if let (Some(stem), Some(from)) = (&own.stem, &source.stem) {
        // Behind an identity shortcut the stage's channels are the stem's.
        let with_stage = own.units.first().is_some_and(|unit| unit.shortcut.is_none());
        let picks = if narrower {
            let taps: Vec<&str> =
                [from.tap].into_iter().chain(outputs().filter(|_| with_stage)).collect();
            let m = start.width(stem.tap)?;
            Some(one_set(start, "stem", m, &taps)?)
        } else {
            None
        };
        start.set_weight(stem.conv.name, from.conv.name, picks.as_deref(), None)?;
        start.set_batch_norm(stem.conv.norm, from.conv.norm, picks.as_deref())?;
        shared = picks.filter(|_| with_stage);
    }
    if shared.is_some() || !narrower {
        return Ok(shared);
    }
    let Some(last) = own.units.last() else { return Ok(None) };
    let key = last.name.rsplit_once('.').map_or(last.name, |(stage, _)| stage);
    let m = start.width(last.name)?;
    let taps: Vec<&str> = outputs().collect();
    Ok(Some(one_set(start, key, m, &taps)?))
}

/// Picks one set of channels from the rows of several of the teacher's layers together, which must have the same width.
fn one_set<P: Probe>(
    start: &mut BlockStart<'_, P>,
    key: &str,
    m: usize,
    taps: &[&str],
) -> Result<Vec<usize>, P::Error> {
    let of = same_width(&start.extents(), key, taps.iter().copied())?;
    start.choose(key, m, of, |start| {
        let mut sum = Matrix::zeros(of, of);
        for tap in taps {
            let t = start.teacher_rows(tap, 1)?;
            sum += &start.gram(&t);
        }
        Ok(sum)
    })
}

/// The width of some of the teacher's layers, of which one set of channels is picked for `key`.
fn same_width<'n>(
    extents: &Extents<'_>,
    key: &str,
    taps: impl Iterator<Item = &'n str>,
) -> Result<usize, NetworkError> {
    let mut first: Option<(&str, usize)> = None;
    for tap in taps {
        let width = extents.teacher_width(tap)?;
        let (before, of) = *first.get_or_insert((tap, width));
        if width != of {
            return Err(NetworkError::Mismatch(format!(
                "one set of channels serves {key}, but the teacher's {before} has {of} channels, {tap} {width}"
            )));
        }
    }
    Ok(first.map_or(0, |(_, of)| of))
}

/// Refuses a convolution of the student that cannot start from this one of the teacher.
fn same_kernel(own: &Conv<'_>, from: &Conv<'_>) -> Result<(), NetworkError> {
    match (own.kernel, from.kernel) {
        (k, theirs) if k == theirs => Ok(()),
        (k, theirs) => Err(NetworkError::Mismatch(format!(
            "{} is a convolution of {k}×{k}, the teacher's {} one of {theirs}×{theirs}",
            own.name, from.name
        ))),
    }
}

/// Refuses a unit of the student that cannot start from this one of the teacher, before anything is set.
fn alike(unit: &Unit<'_>, from: &Unit<'_>) -> Result<(), NetworkError> {
    let (own, theirs) = (unit.body.len(), from.body.len());
    if own != theirs {
        return Err(NetworkError::Mismatch(format!(
            "{} has {own} convolutions, the teacher's {} has {theirs}",
            unit.name, from.name
        )));
    }
    for (own, source) in unit.body.iter().zip(&from.body) {
        same_kernel(own, source)?;
        if own.act.is_some() != source.act.is_some() {
            return Err(NetworkError::Mismatch(format!(
                "only one of {} and the teacher's {} has an activation behind it",
                own.name, source.name
            )));
        }
    }
    match (&unit.shortcut, &from.shortcut) {
        (Some(own), Some(source)) => same_kernel(own, source),
        (Some(own), None) => Err(NetworkError::Mismatch(format!(
            "{} has nothing to start from: the shortcut of the teacher's {} is the identity",
            own.name, from.name
        ))),
        // An identity needs no source.
        _ => Ok(()),
    }
}

/// Sets a unit: its first convolution and its shortcut read through `reading`, its inner channels are picked, and its output has the channels `set`.
fn set_unit<P: Probe>(
    start: &mut BlockStart<'_, P>,
    unit: &Unit<'_>,
    from: &Unit<'_>,
    reading: Option<&Matrix>,
    set: Option<&[usize]>,
) -> Result<(), P::Error> {
    let mut inner: Option<Matrix> = None;
    for (k, (conv, source)) in unit.body.iter().zip(&from.body).enumerate() {
        let through = if k == 0 { reading } else { inner.as_ref() };
        let (Some(act), Some(theirs)) = (conv.act, source.act) else {
            start.set_weight(conv.name, source.name, set, through)?;
            start.set_batch_norm(conv.norm, source.norm, set)?;
            break;
        };
        let (m, of) = (start.width(act)?, start.teacher_width(theirs)?);
        let mut rows = None;
        let picks = start.choose(conv.name, m, of, |start| {
            let t = rows.insert(start.teacher_rows(theirs, 1)?);
            Ok(start.gram(t))
        })?;
        start.set_weight(conv.name, source.name, Some(&picks), through)?;
        start.set_batch_norm(conv.norm, source.norm, Some(&picks))?;
        let strides = stride(&start.extents(), theirs, act);
        let t = match rows.filter(|_| strides.is_ok_and(|s| s == 1)) {
            Some(rows) => rows,
            None => thinned(start, theirs, act)?,
        };
        let h = start.student_rows(act)?;
        inner = Some(start.map(&h, &t, conv.name)?);
    }
    if let (Some(own), Some(source)) = (&unit.shortcut, &from.shortcut) {
        start.set_weight(own.name, source.name, set, reading)?;
        start.set_batch_norm(own.norm, source.norm, set)?;
    }
    Ok(())
}

/// What the teacher's block `block` reads.
fn input<'n>(wide: &[Stage<'n>], block: usize) -> Result<&'n str, NetworkError> {
    let before = block.checked_sub(1).and_then(|before| wide[before].units.last());
    let own = wide[block].stem.as_ref().map(|stem| stem.tap);
    own.or(before.map(|unit| unit.name)).ok_or_else(|| {
        NetworkError::Unsupported("a network without a stem cannot start from a teacher".into())
    })
}

/// The teacher's activations at the resolution of a layer of the student: every s-th row and column of a larger map.
fn thinned<P: Probe>(
    start: &mut BlockStart<'_, P>,
    theirs: &str,
    own: &str,
) -> Result<Rows, P::Error> {
    let stride = stride(&start.extents(), theirs, own)?;
    start.teacher_rows(theirs, stride)
}

fn stride(extents: &Extents<'_>, theirs: &str, own: &str) -> Result<u32, NetworkError> {
    let (large, small) = (extents.large.layer(theirs), extents.small.layer(own));
    if let (Some(Extent::Map(h, w, _)), Some(Extent::Map(sh, sw, _))) = (large, small)
        && sh > 0
    {
        let stride = h.div_ceil(sh).max(1);
        if (h.div_ceil(stride), w.div_ceil(stride)) == (sh, sw) {
            return Ok(stride);
        }
    }
    Err(NetworkError::Mismatch(format!(
        "{own} of the student puts out {}, {theirs} of the teacher {}; the teacher's resolution must be a multiple",
        small.map_or("nothing".into(), |extent| extent.to_string()),
        large.map_or("nothing".into(), |extent| extent.to_string())
    )))
}
