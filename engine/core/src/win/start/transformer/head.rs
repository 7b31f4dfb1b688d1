//! The student's head, from the teacher's.

use super::{
    super::{
        Probe, Rows, Tap,
        block::{of_teacher, one, source},
        differ, heads,
    },
    norm::lines,
    stack::{ROWS_PER_COLUMN, embeddings, stacks, widest},
    tables::coordinates,
};
use crate::{
    nn::{Block, Layer, Network, NetworkError, Tensor, Weights, layers::Decoder},
    win::linalg::{Matrix, RIDGE_LAMBDA, cross, gram, ridge},
};

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
pub(in super::super) fn start_head<P: Probe>(
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
pub(in super::super) fn take_head(
    student: &Network,
    teacher: &Network,
    source: &Weights,
    weights: &mut Weights,
) -> Result<(), NetworkError> {
    let set = {
        let (thin, wide) = (stacks(student)?, stacks(teacher)?);
        coordinates(embeddings(&thin)?, embeddings(&wide)?, source, weights)?
    };
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
