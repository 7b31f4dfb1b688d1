//! The student's head, from the teacher's.

use super::{
    super::{
        Choice, Probe, Rows, Tap,
        block::{of_teacher, one, source},
        differ, heads,
    },
    norm::lines,
    stack::{ROWS_PER_COLUMN, embeddings, stacks, widest},
    tables::{coordinates, fill_up, needed_embeddings},
};
use crate::{
    nn::{
        Block, Layer, Network, NetworkError, Tensor, Weights,
        layers::{Decoder, Linear},
    },
    random,
    win::linalg::{
        Matrix, PICK_STOP, RIDGE_LAMBDA, Workers, cross, gram, pick, ridge, ridge_with_intercept,
        with_ones,
    },
};

/// The transform of masked words and the decoder whose table is that of the words.
struct Words<'n> {
    norm: &'n str,
    decoder: &'n Decoder,
}

/// The pooler of a further head, and the linear map behind it.
struct Pooled<'n> {
    pooler: &'n Linear,
    /// What the pooler puts out behind its activation.
    tap: &'n str,
    scores: &'n Linear,
}

/// A network with layers of a head as one block more.
fn with_block(network: &Network, layers: &[Layer]) -> Network {
    let mut blocks = network.blocks.clone();
    blocks.push(Block { layers: layers.to_vec(), ..Block::default() });
    Network { input: network.input, blocks, head: Vec::new(), further: Vec::new() }
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
    Some((with_block(network, &layers[..3]), Words { norm: &norm.name, decoder }))
}

/// Each further head of a network with its pooler as one block more; none if one is another kind of head.
fn pooled(network: &Network) -> Option<Vec<(Network, Pooled<'_>)>> {
    let mut found = Vec::with_capacity(network.further.len());
    for head in &network.further {
        let [
            Layer::FirstToken,
            Layer::Linear(pooler),
            Layer::Activation(act),
            Layer::Linear(scores),
        ] = head.as_slice()
        else {
            return None;
        };
        found.push((with_block(network, &head[..3]), Pooled { pooler, tap: &act.name, scores }));
    }
    Some(found)
}

/// Sets the head of a student that has columns of the teacher's tables, and so an inner width of its own in its head; `false` if the head is none
/// that this is known of.
pub(in super::super) fn start_head<P: Probe>(
    probe: &mut P,
    student: &Network,
    teacher: &Network,
    source: &Weights,
    weights: &mut Weights,
    choice: Choice<'_>,
    seed: u64,
) -> Result<bool, P::Error> {
    let (Some((thin, own)), Some((wide, theirs))) = (words(student), words(teacher)) else {
        return Ok(false);
    };
    let (Some(own_pooled), Some(pooled)) = (pooled(student), pooled(teacher)) else {
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

    for ((thin, own), (wide, theirs)) in own_pooled.iter().zip(&pooled) {
        let t = rows(wide, source, theirs.tap)?;
        let units = pooler_units(&t, own, choice, seed, workers)?;
        take_pooler(own, theirs, &units, source, weights)?;
        let h = rows(thin, weights, own.tap)?;
        set_scores(own, theirs, [&h, &t], workers, source, weights)?;
    }
    Ok(true)
}

/// The teacher's units that a pooler takes, of which `t` are the activations: as an inner layer's are chosen.
fn pooler_units(
    t: &Rows,
    own: &Pooled<'_>,
    choice: Choice<'_>,
    seed: u64,
    workers: Workers,
) -> Result<Vec<usize>, NetworkError> {
    let (m, of, key) = (own.pooler.out as usize, t.width, own.pooler.name.as_str());
    let mut units = match choice {
        Choice::Sample => {
            let parts = [seed, random::name("sample"), random::name(key)];
            let mut order = random::permutation(of, &parts);
            order.truncate(m);
            order
        }
        Choice::Greedy | Choice::Given(_) => {
            if !t.data.iter().all(|x| x.is_finite()) {
                let problem = format!(
                    "the head cannot start at {key}: the teacher's activations are not finite"
                );
                return Err(NetworkError::Weights(problem));
            }
            pick(&gram(&t.data, of, workers), m, PICK_STOP)
        }
    };
    fill_up(&mut units, m, of);
    Ok(units)
}

/// Sets a pooler, which reads the lifted state, to these units of the teacher's.
fn take_pooler(
    own: &Pooled<'_>,
    theirs: &Pooled<'_>,
    units: &[usize],
    source: &Weights,
    weights: &mut Weights,
) -> Result<(), NetworkError> {
    for part in ["weight", "bias"] {
        let tensor = of_teacher(source, &format!("{}.{part}", theirs.pooler.name))?;
        let width = tensor.data.len() / tensor.shape[0].max(1);
        let rows = units.iter().flat_map(|&unit| &tensor.data[unit * width..(unit + 1) * width]);
        let data: Vec<f32> = rows.copied().collect();
        let mut shape = tensor.shape.clone();
        shape[0] = units.len();
        weights.insert(format!("{}.{part}", own.pooler.name), Tensor::new(shape, data));
    }
    Ok(())
}

/// Sets the map behind a pooler, which reads its units as what they tell of the teacher's.
fn set_scores(
    own: &Pooled<'_>,
    theirs: &Pooled<'_>,
    [h, t]: [&Rows; 2],
    workers: Workers,
    source: &Weights,
    weights: &mut Weights,
) -> Result<(), NetworkError> {
    let [name, from] = [own, theirs].map(|of| of.scores.name.as_str());
    let (ones, width) = (with_ones(&h.data, h.width), h.width + 1);
    let products = (gram(&ones, width, workers), cross(&t.data, t.width, &ones, width, workers));
    let numbers =
        |error| NetworkError::Weights(format!("the head cannot start at {name}: {error}"));
    let (r, c) = ridge_with_intercept(&products.0, &products.1, RIDGE_LAMBDA).map_err(numbers)?;
    let scores = of_teacher(source, &format!("{from}.weight"))?;
    let matrix = Matrix::from_f32(scores.shape[0], t.width, &scores.data);
    let bias = of_teacher(source, &format!("{from}.bias"))?.data.iter();
    let bias = bias.zip(matrix.times_vector(&c)).map(|(&b, shift)| (f64::from(b) + shift) as f32);
    let bias: Vec<f32> = bias.collect();
    let weight = matrix.times(&r);
    weights.insert(format!("{name}.bias"), Tensor::new([bias.len()], bias));
    let shape = [weight.rows(), weight.cols()];
    weights.insert(format!("{name}.weight"), Tensor::new(shape, weight.to_f32()));
    Ok(())
}

/// Sets the head of a student, bridged or not, to the teacher's: where it has fewer rows or columns, to those of the coordinates that its stream has.
pub(in super::super) fn take_head(
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
