//! The stream of a student and its embeddings, which are the teacher's or columns of the teacher's.

use super::{
    super::{
        Probe,
        block::{BlockStart, of_teacher, source},
    },
    norm::fit_norm,
    stack::{Stack, embeddings},
};
use crate::{
    nn::{Layer, Network, NetworkError, Tensor, Weights, layers::Embeddings},
    random,
    win::linalg::Matrix,
};

/// The key of the stream's coordinates among picks.
const STREAM: &str = "stream";

/// Where a student's stream comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// The teacher's tables are as wide as the student's, and P = \[I; P2\] stands behind them: its first features.
    Projected,
    /// The teacher is as wide as the student, everywhere: all of its features.
    Whole,
    /// The teacher's tables are as wide as the teacher: picked features.
    Picked,
}

impl Stream {
    /// Refuses tables that the student cannot take.
    pub(super) fn of(own: &Embeddings, theirs: &Embeddings) -> Result<Self, NetworkError> {
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

/// Picks the coordinates of the teacher's stream that the student's has, from the rows of all layers' inputs and of what the last puts out. Those
/// that no pivot is left for, as they depend on the picked ones, are the first of the others.
pub(super) fn pick_stream<P: Probe>(
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
pub(super) fn fill_up(set: &mut Vec<usize>, m: usize, of: usize) {
    let more: Vec<usize> = (0..of).filter(|at| !set.contains(at)).take(m - set.len()).collect();
    set.extend(more);
}

/// The coordinates of the teacher's stream that the student's has. Where they were picked, they are read off the student's tables, which are
/// columns of the teacher's.
pub(super) fn coordinates(
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
pub(super) fn take_tables<P: Probe>(
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
pub(in super::super) fn takes_embeddings(
    student: &Network,
    teacher: &Network,
) -> Result<(), NetworkError> {
    let (own, theirs) = needed_embeddings(student, teacher)?;
    Stream::of(own, theirs).map(drop)
}

/// `start = random`, and a student by itself: the teacher's tables and norm, of wider ones columns drawn by `seed`; nothing where the networks
/// have no embeddings.
pub(in super::super) fn random_tables(
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
pub(in super::super) fn fits_tables(
    student: &Network,
    teacher: &Network,
) -> Result<(), NetworkError> {
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
pub(super) fn needed_embeddings<'n>(
    student: &'n Network,
    teacher: &'n Network,
) -> Result<(&'n Embeddings, &'n Embeddings), NetworkError> {
    let missing = || {
        let problem = "a network does not begin with embeddings, which a student takes over";
        NetworkError::Unsupported(problem.into())
    };
    both_embeddings(student, teacher).ok_or_else(missing)
}
