//! Starts of encoders of transformers (`win/DERIVATION.md`, *Transformers*). The decisions that the method leaves open are listed at the head of
//! `tests/golden/encoders.py`.

use super::{
    Probe, Rows, Tap,
    block::{BlockStart, Extents, of_teacher, one, source},
    differ, heads,
};
use crate::{
    nn::{
        Block, Layer, Network, NetworkError, Tensor, Weights,
        layers::{Decoder, Embeddings, Transformer},
    },
    random,
    win::linalg::{Matrix, PICK_STOP, RIDGE_LAMBDA, cross, gram, pick_groups, ridge},
};

/// Rows of a Gram matrix for each of its columns, at most.
const ROWS_PER_COLUMN: usize = 4;

/// Variance under which a normalised feature counts as constant: no line can be fitted to it.
const CONSTANT: f64 = 1e-12;

/// The key of the stream's coordinates among picks.
const STREAM: &str = "stream";

/// A block: the embeddings, where it begins with them, and layers.
struct Stack<'n> {
    embeddings: Option<&'n Embeddings>,
    layers: Vec<&'n Transformer>,
}

/// The blocks of a network, of which the first begins with the embeddings.
fn stacks<'n>(network: &'n Network) -> Result<Vec<Stack<'n>>, NetworkError> {
    let mut found = Vec::with_capacity(network.blocks.len());
    for (block, of) in network.blocks.iter().enumerate() {
        let (embeddings, layers) = match of.layers.split_first() {
            Some((Layer::Embeddings(embeddings), rest)) if block == 0 => (Some(embeddings), rest),
            _ => (None, of.layers.as_slice()),
        };
        if block == 0 && embeddings.is_none() {
            let problem =
                "block 1 does not begin with embeddings; a start of transformers begins there";
            return Err(NetworkError::Unsupported(problem.into()));
        }
        let transformer = |layer: &'n Layer| match layer {
            Layer::Transformer(of) => Ok(of),
            other => {
                let name = other.name().unwrap_or("a pool");
                Err(NetworkError::Unsupported(format!(
                    "block {} has {name}; a start of such a block knows embeddings and layers of transformers",
                    block + 1
                )))
            }
        };
        let layers = layers.iter().map(transformer).collect::<Result<_, _>>()?;
        found.push(Stack { embeddings, layers });
    }
    Ok(found)
}

fn embeddings<'n>(stacks: &[Stack<'n>]) -> Result<&'n Embeddings, NetworkError> {
    let missing = || NetworkError::Unsupported("the network has no embeddings".into());
    stacks.first().and_then(|stack| stack.embeddings).ok_or_else(missing)
}

/// Where a student's stream comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    /// The teacher's tables are as wide as the student's, and P = \[I; P2\] stands behind them: its first features.
    Projected,
    /// The teacher is as wide as the student, everywhere: all of its features.
    Whole,
    /// The teacher's tables are as wide as the teacher: picked features.
    Picked,
}

impl Stream {
    /// Refuses tables that the student cannot take.
    fn of(own: &Embeddings, theirs: &Embeddings) -> Result<Self, NetworkError> {
        let differ = |what: &str, own: u32, theirs: u32| {
            Err(NetworkError::Mismatch(format!(
                "the student's embeddings have {own} {what}, the teacher's {theirs}; the student takes the teacher's tables"
            )))
        };
        for (what, own, theirs) in [
            ("words", own.vocabulary, theirs.vocabulary),
            ("segments", own.segments, theirs.segments),
        ] {
            if own != theirs {
                return differ(what, own, theirs);
            }
        }
        if own.positions > theirs.positions {
            return differ("positions", own.positions, theirs.positions);
        }
        if own.project.is_some() {
            let problem = format!(
                "{} is projected: only a student without that starts from a teacher",
                own.name
            );
            return Err(NetworkError::Unsupported(problem));
        }
        match theirs.project {
            Some(wide) if own.out == theirs.out && own.out <= wide => Ok(Self::Projected),
            None if own.out == theirs.out => Ok(Self::Whole),
            None if own.out < theirs.out => Ok(Self::Picked),
            _ => differ("features", own.out, theirs.out),
        }
    }
}

/// The teacher's layers (0-based in their block) that each of the student's in `block` starts from: the first gives its heads, the second its inner
/// units and all that is imitated.
///
/// `map` has one of the teacher's layers for each of the student's, or two, counted from 0 over the whole network; if it is empty, the teacher's
/// layers of a block are cut into as many runs as the student has there, and a layer takes the first and the last of its run.
fn matched(
    thin: &[Stack<'_>],
    wide: &[Stack<'_>],
    block: usize,
    map: &[u32],
) -> Result<Vec<[usize; 2]>, NetworkError> {
    for (network, blocks) in [("student", thin), ("teacher", wide)] {
        if let Some(empty) = blocks.iter().position(|stack| stack.layers.is_empty()) {
            let block = empty + 1;
            let problem =
                format!("block {block} of the {network} has no layers; each has one at least");
            return Err(NetworkError::Mismatch(problem));
        }
    }
    if map.is_empty() {
        let (small, large) = (thin[block].layers.len(), wide[block].layers.len());
        return Ok((0..small).map(|k| run(k, small, large)).collect());
    }
    let total: usize = thin.iter().map(|stack| stack.layers.len()).sum();
    let each = match map.len() {
        n if n == total => 1,
        n if n == 2 * total => 2,
        n => {
            return Err(NetworkError::Mismatch(format!(
                "teacher.layer_map has {n} entries, the student has {total} layers; one for each, or a pair, is needed"
            )));
        }
    };
    // All blocks are checked, so that the start of the first block already finds what is wrong with the last.
    let (mut entries, mut first, mut found) = (map.chunks_exact(each).enumerate(), 0, Vec::new());
    for (k, (small, large)) in thin.iter().zip(wide).enumerate() {
        let end = first + large.layers.len() - 1;
        let mut of_block = Vec::with_capacity(small.layers.len());
        for (place, (layer, (at, entry))) in small.layers.iter().zip(&mut entries).enumerate() {
            let [from, to] = [entry[0], entry[each - 1]].map(|layer| layer as usize);
            let least = if place == 0 { first..=first } else { first..=end };
            if !least.contains(&from) || !(from..=end).contains(&to) {
                let why = if place == 0 { ", which reads the lifted state," } else { "" };
                let [entry, allowed] = match each {
                    1 => [format!("{from}"), range(&least)],
                    _ => [
                        format!("[{from}, {to}]"),
                        format!("{} and a layer from there to {end}", range(&least)),
                    ],
                };
                return Err(NetworkError::Mismatch(format!(
                    "teacher.layer_map[{at}] = {entry} for {} of block {}{why} is not allowed; allowed is {allowed}",
                    layer.name,
                    k + 1
                )));
            }
            of_block.push([from - first, to - first]);
        }
        first = end + 1;
        if k == block {
            found = of_block;
        }
    }
    Ok(found)
}

fn range(of: &std::ops::RangeInclusive<usize>) -> String {
    if of.start() == of.end() { of.start().to_string() } else { format!("{of:?}") }
}

/// The first and the last of the k-th of `small` runs of `large` layers.
fn run(k: usize, small: usize, large: usize) -> [usize; 2] {
    // round(k · large / small), halves up.
    let cut = |k: usize| (2 * k * large + small) / (2 * small);
    let first = cut(k).min(large - 1);
    [first, cut(k + 1).saturating_sub(1).clamp(first, large - 1)]
}

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

/// Refuses a layer of the student that cannot start from this one of the teacher.
fn alike(extents: &Extents<'_>, own: &Transformer, from: &Transformer) -> Result<(), NetworkError> {
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

/// What stands before a layer and gives what it reads.
fn input<'n>(stacks: &[Stack<'n>], block: usize, layer: usize) -> Result<&'n str, NetworkError> {
    let layers = |block: usize| &stacks[block].layers;
    match (layer.checked_sub(1), block.checked_sub(1)) {
        (Some(before), _) => Ok(&layers(block)[before].name),
        (None, Some(before)) => Ok(&layers(before)[layers(before).len() - 1].name),
        (None, None) => Ok(&embeddings(stacks)?.name),
    }
}

/// What the first linear maps of a layer read, as an affine map of what it stands for: x ≈ R s + c.
struct Reading {
    r: Matrix,
    c: Vec<f64>,
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

/// Columns of the widest Gram matrix of a block's start, where the teacher's stream has `stream` features.
fn widest(stacks: [&Stack<'_>; 2], stream: usize) -> usize {
    let layers = stacks.into_iter().flat_map(|stack| &stack.layers);
    let inside = layers.map(|layer| layer.inner.max(layer.heads * layer.head) as usize);
    inside.fold(stream, usize::max)
}

/// Picks the coordinates of the teacher's stream that the student's has, from the rows of all layers' inputs and of what the last puts out. Those
/// that no pivot is left for, as they depend on the picked ones, are the first of the others.
fn pick_stream<P: Probe>(
    start: &mut BlockStart<'_, P>,
    own: &Embeddings,
    wide: &[Stack<'_>],
) -> Result<Vec<usize>, P::Error> {
    let embeddings = embeddings(wide)?.name.as_str();
    let layers = wide.iter().flat_map(|stack| &stack.layers).map(|layer| layer.name.as_str());
    let taps: Vec<&str> = [embeddings].into_iter().chain(layers).collect();
    let (m, of) = (own.out as usize, start.teacher_width(embeddings)?);
    let mut set = start.choose(STREAM, m, of, |start| {
        for spec in &start.large.params {
            source(start.source, spec)?;
        }
        let mut sum = Matrix::zeros(of, of);
        for tap in taps {
            let rows = start.teacher_rows_of(wide.len(), tap)?;
            sum += &start.gram(&rows);
        }
        Ok(sum)
    })?;
    start.started.fresh -= (m - set.len()) as u64;
    fill_up(&mut set, m, of);
    Ok(set)
}

/// Adds the lowest of 0..`of` that are not there yet, until there are `m`.
fn fill_up(set: &mut Vec<usize>, m: usize, of: usize) {
    let more: Vec<usize> = (0..of).filter(|at| !set.contains(at)).take(m - set.len()).collect();
    set.extend(more);
}

/// The coordinates of the teacher's stream that the student's has. Where they were picked, they are read off the student's tables, which are
/// columns of the teacher's.
fn coordinates(
    own: &Embeddings,
    theirs: &Embeddings,
    source: &Weights,
    weights: &Weights,
) -> Result<Vec<usize>, NetworkError> {
    if Stream::of(own, theirs)? != Stream::Picked {
        return Ok((0..own.out as usize).collect());
    }
    let [words, name] = [own, theirs].map(|of| format!("{}.weight", of.words()));
    let missing = || NetworkError::missing(&words);
    let (small, large) = (weights.get(&words).ok_or_else(missing)?, of_teacher(source, &name)?);
    let [m, of] = [small, large].map(|table| table.shape[1]);
    let mut found: Vec<usize> = Vec::with_capacity(m);
    for column in 0..m {
        // A few rows tell the columns of a table apart.
        let mut like: Vec<usize> = (0..of).filter(|at| !found.contains(at)).collect();
        for (own, theirs) in small.data.chunks_exact(m).zip(large.data.chunks_exact(of)) {
            like.retain(|&at| theirs[at] == own[column]);
            if like.len() < 2 {
                break;
            }
        }
        found.extend(like.first());
        if found.len() == column {
            return Err(NetworkError::Weights(format!(
                "column {column} of the student's {words} is none of the teacher's; its first block has to start from this teacher, and keep its tables"
            )));
        }
    }
    Ok(found)
}

/// The teacher's tables and norm of its embeddings, at the coordinates `set` (all: `None`) and as far as the student has positions.
fn tables(
    own: &Embeddings,
    theirs: &Embeddings,
    source: &Weights,
    set: Option<&[usize]>,
) -> Result<Vec<(String, Tensor)>, NetworkError> {
    let rows = [own.vocabulary, own.positions, own.segments];
    let mut found = Vec::with_capacity(5);
    for ((to, from), rows) in own.tables().into_iter().zip(theirs.tables()).zip(rows) {
        let table = of_teacher(source, &format!("{from}.weight"))?;
        let (width, rows) = (theirs.out as usize, rows as usize);
        let kept = &table.data[..rows * width];
        let (shape, data): (_, Vec<f32>) = match set {
            Some(set) => {
                let rows = kept.chunks_exact(width);
                let data = rows.flat_map(|row| set.iter().map(|&at| row[at])).collect();
                ([kept.len() / width, set.len()], data)
            }
            None => ([rows, width], kept.to_vec()),
        };
        found.push((format!("{to}.weight"), Tensor::new(shape, data)));
    }
    for part in ["weight", "bias"] {
        let vector = of_teacher(source, &format!("{}.{part}", theirs.norm()))?;
        let data: Vec<f32> = match set {
            Some(set) => set.iter().map(|&at| vector.data[at]).collect(),
            None => vector.data.clone(),
        };
        found.push((format!("{}.{part}", own.norm()), Tensor::new([data.len()], data)));
    }
    Ok(found)
}

/// Sets the embeddings. Of a wider teacher's tables the student has some columns, over which its norm normalises: that is fitted.
fn take_tables<P: Probe>(
    start: &mut BlockStart<'_, P>,
    own: &Embeddings,
    theirs: &Embeddings,
    stream: Stream,
    set: &[usize],
) -> Result<(), P::Error> {
    let columns = (stream == Stream::Picked).then_some(set);
    for (name, Tensor { shape, data }) in tables(own, theirs, start.source, columns)? {
        start.put(&name, &theirs.name, &shape, &data, false)?;
    }
    if stream == Stream::Picked {
        let target = start.teacher_rows(&theirs.name, 1)?.columns(set);
        fit_norm(start, &own.norm(), &own.name, &target)?;
    }
    Ok(())
}

/// Refuses a teacher whose embeddings the student cannot take.
pub(super) fn takes_embeddings(student: &Network, teacher: &Network) -> Result<(), NetworkError> {
    let (own, theirs) = needed_embeddings(student, teacher)?;
    Stream::of(own, theirs).map(drop)
}

/// `start = random`, and a student by itself: the teacher's tables and norm, of wider ones columns drawn by `seed`; nothing where the networks
/// have no embeddings.
pub(super) fn random_tables(
    student: &Network,
    teacher: &Network,
    source: &Weights,
    weights: &mut Weights,
    seed: u64,
) -> Result<(), NetworkError> {
    let Some((own, theirs)) = both_embeddings(student, teacher) else { return Ok(()) };
    let set = match Stream::of(own, theirs)? {
        Stream::Projected | Stream::Whole => None,
        Stream::Picked => {
            let parts = [seed, random::name("sample"), 0, random::name(STREAM)];
            let mut order = random::permutation(theirs.out as usize, &parts);
            order.truncate(own.out as usize);
            Some(order)
        }
    };
    for spec in teacher.shapes()?.params.iter().filter(|spec| spec.embeds) {
        self::source(source, spec)?;
    }
    weights.extend(tables(own, theirs, source, set.as_deref())?);
    Ok(())
}

/// Refuses a teacher whose embeddings the student cannot take.
pub(super) fn fits_tables(student: &Network, teacher: &Network) -> Result<(), NetworkError> {
    let both = both_embeddings(student, teacher);
    both.map_or(Ok(()), |(own, theirs)| Stream::of(own, theirs).map(drop))
}

/// The embeddings of both networks, if both begin with some.
fn both_embeddings<'n>(
    student: &'n Network,
    teacher: &'n Network,
) -> Option<(&'n Embeddings, &'n Embeddings)> {
    let first = |network: &'n Network| match network.blocks.first()?.layers.first()? {
        Layer::Embeddings(embeddings) => Some(embeddings),
        _ => None,
    };
    Some((first(student)?, first(teacher)?))
}

/// [`both_embeddings`], which have to be there.
fn needed_embeddings<'n>(
    student: &'n Network,
    teacher: &'n Network,
) -> Result<(&'n Embeddings, &'n Embeddings), NetworkError> {
    let missing = || {
        let problem = "a network does not begin with embeddings, which a student takes over";
        NetworkError::Unsupported(problem.into())
    };
    both_embeddings(student, teacher).ok_or_else(missing)
}

/// P as what stands for the teacher's x, exactly: it begins with the identity, so the student's stream is P's input.
fn projection<P: Probe>(
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
fn set_heads<P: Probe>(
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
fn set_output<P: Probe>(
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
fn set_inner<P: Probe>(
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

/// Sets a layer norm, whose output is taken at `tap`, to the line of each feature that is nearest to the target: γ = cov(t, x̂) / var x̂ and
/// β = mean t − γ mean x̂, where x̂ is what it normalises.
fn fit_norm<P: Probe>(
    start: &mut BlockStart<'_, P>,
    norm: &str,
    tap: &str,
    target: &Rows,
) -> Result<(), P::Error> {
    let width = target.width;
    let [gamma, beta] = ["weight", "bias"].map(|part| format!("{norm}.{part}"));
    start.put(&gamma, tap, &[width], &vec![1.0; width], false)?;
    start.put(&beta, tap, &[width], &vec![0.0; width], false)?;
    let normal = start.student_rows(tap)?;
    start.same_rows(&normal, target, norm)?;
    let (slopes, shifts) = lines(&normal, target);
    if !slopes.iter().chain(&shifts).all(|x| x.is_finite()) {
        let number = start.block + 1;
        let problem =
            format!("block {number} cannot start at {norm}: its activations are not finite");
        return Err(NetworkError::Weights(problem).into());
    }
    start.put(&gamma, tap, &[width], &slopes, false)?;
    start.put(&beta, tap, &[width], &shifts, false)?;
    Ok(())
}

/// Slope and shift of the line from each column of `x` to that of `t` with the least squared error; a slope of 1 where the column is constant.
fn lines(x: &Rows, t: &Rows) -> (Vec<f32>, Vec<f32>) {
    let width = x.width;
    let count = (x.data.len() / width.max(1)) as f64;
    let means = |rows: &Rows| {
        let mut sums = vec![0.0; width];
        for row in rows.data.chunks_exact(width) {
            sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        sums.iter().map(|sum| sum / count).collect::<Vec<f64>>()
    };
    let (own, theirs) = (means(x), means(t));
    let (mut variance, mut covariance) = (vec![0.0; width], vec![0.0; width]);
    for (row, wanted) in x.data.chunks_exact(width).zip(t.data.chunks_exact(width)) {
        for at in 0..width {
            let apart = f64::from(row[at]) - own[at];
            variance[at] += apart * apart;
            covariance[at] += apart * (f64::from(wanted[at]) - theirs[at]);
        }
    }
    let slope = |at: usize| match variance[at] > CONSTANT * count {
        true => covariance[at] / variance[at],
        false => 1.0,
    };
    let slopes: Vec<f64> = (0..width).map(slope).collect();
    let shifts = (0..width).map(|at| (theirs[at] - slopes[at] * own[at]) as f32).collect();
    (slopes.iter().map(|&x| x as f32).collect(), shifts)
}

/// The transform of masked words and the decoder whose table is that of the words.
struct Words<'n> {
    norm: &'n str,
    decoder: &'n Decoder,
}

/// A network with the transform of its head as one block more, on all positions, and the parts of the head; none if the head is another one.
fn words(network: &Network) -> Option<(Network, Words<'_>)> {
    let layers = match network.head.split_first() {
        Some((Layer::Places(_), rest)) => rest,
        _ => &network.head,
    };
    let [Layer::Linear(_), Layer::Activation(_), Layer::LayerNorm(norm), Layer::Decoder(decoder)] =
        layers
    else {
        return None;
    };
    let mut blocks = network.blocks.clone();
    blocks.push(Block { layers: layers[..3].to_vec(), ..Block::default() });
    let parts = Words { norm: &norm.name, decoder };
    let alone = Network { input: network.input, blocks, head: Vec::new(), further: Vec::new() };
    Some((alone, parts))
}

/// Sets the head of a student that has columns of the teacher's tables, and so an inner width of its own in its head; `false` if the head is none
/// that this is known of.
pub(super) fn start_head<P: Probe>(
    probe: &mut P,
    student: &Network,
    teacher: &Network,
    source: &Weights,
    weights: &mut Weights,
) -> Result<bool, P::Error> {
    let (Some((thin, own)), Some((wide, theirs))) = (words(student), words(teacher)) else {
        return Ok(false);
    };
    take_head(student, teacher, source, weights)?;
    let stacks = (stacks(student)?, stacks(teacher)?);
    let (own_tables, tables) = (embeddings(&stacks.0)?, embeddings(&stacks.1)?);
    let set = coordinates(own_tables, tables, source, weights)?;

    // The decoder gives E_S t'; what of the teacher's E t it can give is E_S Rᵀ t, where E ≈ E_S Rᵀ.
    let of = tables.out as usize;
    let table = &of_teacher(source, &format!("{}.weight", theirs.decoder.table))?.data;
    let all = Rows { width: of, data: table.clone() };
    let taken = all.columns(&set);
    let (m, workers) = (set.len(), probe.workers());
    let products = (gram(&taken.data, m, workers), cross(&all.data, of, &taken.data, m, workers));
    let numbers = |error| NetworkError::Weights(format!("the head cannot start: {error}"));
    let map = ridge(&products.0, &products.1, RIDGE_LAMBDA).map_err(numbers)?;

    // The rows of the last block's start.
    let last = student.blocks.len() - 1;
    let most = ROWS_PER_COLUMN * widest([&stacks.0[last], &stacks.1[last]], of);
    let mut rows = |network: &Network, weights: &Weights, tap: &str| {
        let taps = [Tap { name: tap.into(), stride: 1 }];
        let found = probe.rows(network, weights, network.blocks.len(), &taps, most)?;
        Ok::<_, P::Error>(one(found, tap)?)
    };
    let t = rows(&wide, source, theirs.norm)?;
    let count = t.data.len() / t.width;
    let target = Matrix::from_f32(count, t.width, &t.data).times(&map);
    let target = Rows { width: m, data: target.to_f32() };
    let [gamma, beta] = ["weight", "bias"].map(|part| format!("{}.{part}", own.norm));
    weights.insert(gamma.clone(), Tensor::full([m], 1.0));
    weights.insert(beta.clone(), Tensor::zeros([m]));
    let normal = rows(&thin, weights, own.norm)?;
    let (slopes, shifts) = lines(&normal, &target);
    if !slopes.iter().chain(&shifts).all(|x| x.is_finite()) {
        let problem =
            format!("the head cannot start at {}: its activations are not finite", own.norm);
        return Err(NetworkError::Weights(problem).into());
    }
    weights.insert(gamma, Tensor::new([m], slopes));
    weights.insert(beta, Tensor::new([m], shifts));
    Ok(true)
}

/// Sets the head of a student, bridged or not, to the teacher's: where it has fewer rows or columns, to those of the coordinates that its stream has.
pub(super) fn take_head(
    student: &Network,
    teacher: &Network,
    source: &Weights,
    weights: &mut Weights,
) -> Result<(), NetworkError> {
    let (own, theirs) = needed_embeddings(student, teacher)?;
    let set = coordinates(own, theirs, source, weights)?;
    let of = teacher.shapes()?.blocks.last().map_or(0, |extent| extent.width() as usize);
    let every = |n: usize| (0..n).collect::<Vec<usize>>();
    for (to, from) in heads(student, teacher)? {
        let tensor = self::source(source, &from)?;
        let kept = |own: Option<&usize>, theirs: Option<&usize>| match (own, theirs) {
            (own, theirs) if own == theirs => Some(every(own.map_or(1, |&n| n))),
            (Some(&m), Some(&n)) if m == set.len() && n == of => Some(set.clone()),
            _ => None,
        };
        let rows = kept(to.shape.first(), from.shape.first());
        let columns = kept(to.shape.get(1), from.shape.get(1));
        let (Some(rows), Some(columns)) = (rows, columns) else { return Err(differ(&to, &from)) };
        let width = from.shape.get(1).map_or(1, |&n| n);
        let row = |&row: &usize| columns.iter().map(move |&at| (row, at));
        let data = rows.iter().flat_map(row).map(|(row, at)| tensor.data[row * width + at]);
        weights.insert(to.name, Tensor::new(to.shape, data.collect()));
    }
    Ok(())
}
