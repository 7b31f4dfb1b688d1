//! What starts of all kinds of networks share: activations, picks, maps, and how weights are set from the teacher's.

use std::collections::BTreeMap;

use super::probe::{MOST_ROWS, Probe, Rows, Tap};
use crate::{
    nn::{Network, NetworkError, ParamSpec, Shapes, Tensor, Weights, fresh_tensor, parameter},
    random,
    win::linalg::{
        LinalgError, Matrix, PICK_STOP, RIDGE_LAMBDA, cross, gram, pick, ridge,
        ridge_with_intercept, with_ones,
    },
};

/// Which of the teacher's units a student's layer takes.
#[derive(Debug, Clone, Copy)]
pub enum Choice<'a> {
    /// Those that span the layer best: pivoted Cholesky.
    Greedy,
    /// Distinct random ones, a function of (seed, block, key) alone.
    Sample,
    /// These, by key (see [`Started::picks`]).
    Given(&'a BTreeMap<String, Vec<usize>>),
}

/// What a start did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Started {
    /// Units that no unit of the teacher was left for, heads among them: fresh weights, no bias, default batch norm.
    pub fresh: u64,
    /// The teacher's units that each layer took. Keys are names of the student's layers (`layers.0`, `layer1.0.conv1`), `stem`, and `layer1` for the
    /// one channel set of a stage; of a transformer's those of its contexts, for heads, and of its inner units, and `stream`.
    pub picks: BTreeMap<String, Vec<usize>>,
}

/// A block that is being started.
pub(super) struct BlockStart<'a, P> {
    probe: &'a mut P,
    /// S̄.
    pub student: &'a Network,
    /// B.
    pub teacher: &'a Network,
    /// What S̄'s layers put out.
    pub small: Shapes,
    /// What B's layers put out.
    pub large: Shapes,
    /// B's weights.
    pub source: &'a Weights,
    weights: &'a mut Weights,
    /// 0-based.
    pub block: usize,
    /// Rows of activations that are looked at, at most.
    pub most: usize,
    choice: Choice<'a>,
    seed: u64,
    /// What was done so far.
    pub started: Started,
}

impl<'a, P: Probe> BlockStart<'a, P> {
    /// Refuses what no start of any kind can do.
    #[expect(clippy::too_many_arguments, reason = "the arguments of `start_block`")]
    pub(super) fn new(
        probe: &'a mut P,
        student: &'a Network,
        teacher: &'a Network,
        source: &'a Weights,
        weights: &'a mut Weights,
        block: usize,
        choice: Choice<'a>,
        seed: u64,
    ) -> Result<Self, NetworkError> {
        let (n, m) = (student.blocks.len(), teacher.blocks.len());
        if n != m {
            return Err(NetworkError::Mismatch(format!(
                "the student has {n} blocks, the teacher {m}"
            )));
        }
        let number = block + 1;
        let Some(current) = student.blocks.get(block) else {
            return Err(NetworkError::Mismatch(format!("there is no block {number} of {n}")));
        };
        if current.lift.is_none() {
            return Err(NetworkError::Unsupported(format!(
                "block {number} has no lift: only a bridged student starts from its teacher"
            )));
        }
        if let Some(lower) = &current.lower {
            return Err(NetworkError::Unsupported(format!(
                "block {number} begins with {}, which only start = random uses",
                lower.name
            )));
        }
        let (small, large) = (student.shapes()?, teacher.shapes()?);
        for spec in large.params.iter().filter(|spec| spec.block == block) {
            self::source(source, spec)?;
        }
        let started = Started::default();
        Ok(Self {
            probe,
            student,
            teacher,
            small,
            large,
            source,
            weights,
            block,
            most: MOST_ROWS,
            choice,
            seed,
            started,
        })
    }

    /// Activations of the student as set so far.
    pub(super) fn student_rows(&mut self, tap: &str) -> Result<Rows, P::Error> {
        let taps = [Tap { name: tap.into(), stride: 1 }];
        let blocks = self.block + 1;
        let found = self.probe.rows(self.student, self.weights, blocks, &taps, self.most)?;
        Ok(one(found, tap)?)
    }

    /// Activations of the teacher, every `stride`-th row and column of a map.
    pub(super) fn teacher_rows(&mut self, tap: &str, stride: u32) -> Result<Rows, P::Error> {
        self.rows_of_teacher(self.block + 1, Tap { name: tap.into(), stride })
    }

    /// Activations of the teacher's first `blocks` blocks.
    pub(super) fn teacher_rows_of(&mut self, blocks: usize, tap: &str) -> Result<Rows, P::Error> {
        self.rows_of_teacher(blocks, Tap { name: tap.into(), stride: 1 })
    }

    fn rows_of_teacher(&mut self, blocks: usize, tap: Tap) -> Result<Rows, P::Error> {
        let taps = std::slice::from_ref(&tap);
        let found = self.probe.rows(self.teacher, self.source, blocks, taps, self.most)?;
        Ok(one(found, &tap.name)?)
    }

    /// Activations of a part of the teacher that stands as a network of its own, of one block.
    pub(super) fn part_rows(&mut self, part: &Network, tap: &str) -> Result<Rows, P::Error> {
        let taps = [Tap { name: tap.into(), stride: 1 }];
        let found = self.probe.rows(part, self.source, 1, &taps, self.most)?;
        Ok(one(found, tap)?)
    }

    /// Up to `m` of the teacher's `of` units. `gram` gives the Gram matrix of their activations; only a greedy choice calls it.
    pub(super) fn choose(
        &mut self,
        key: &str,
        m: usize,
        of: usize,
        gram: impl FnOnce(&mut Self) -> Result<Matrix, P::Error>,
    ) -> Result<Vec<usize>, P::Error> {
        self.choose_by(key, m, of, |start| {
            let gram = gram(start)?;
            start.finite(&gram, key)?;
            Ok(pick(&gram, m, PICK_STOP))
        })
    }

    /// Refuses a matrix of the teacher's activations that has other than numbers: no pick would take such a unit, nor report anything.
    pub(super) fn finite(&self, gram: &Matrix, key: &str) -> Result<(), NetworkError> {
        match gram.data().iter().all(|x| x.is_finite()) {
            true => Ok(()),
            false => Err(NetworkError::Weights(format!(
                "block {} cannot start at {key}: the teacher's activations are not finite",
                self.block + 1
            ))),
        }
    }

    /// [`Self::choose`], where `greedy` makes a greedy choice.
    pub(super) fn choose_by(
        &mut self,
        key: &str,
        m: usize,
        of: usize,
        greedy: impl FnOnce(&mut Self) -> Result<Vec<usize>, P::Error>,
    ) -> Result<Vec<usize>, P::Error> {
        let picks = match self.choice {
            Choice::Greedy => greedy(self)?,
            Choice::Sample => {
                let parts =
                    [self.seed, random::name("sample"), self.block as u64, random::name(key)];
                let mut order = random::permutation(of, &parts);
                order.truncate(m);
                order
            }
            Choice::Given(given) => {
                let picks = given.get(key).cloned().ok_or_else(|| {
                    NetworkError::Unsupported(format!("the given picks lack {key}"))
                })?;
                if picks.len() > m || picks.iter().any(|&unit| unit >= of) {
                    return Err(NetworkError::Unsupported(format!(
                        "the given picks of {key} are {picks:?}; allowed are up to {m} units below {of}"
                    ))
                    .into());
                }
                picks
            }
        };
        self.started.fresh += (m - picks.len()) as u64;
        self.started.picks.insert(key.into(), picks.clone());
        Ok(picks)
    }

    /// `TᵀT` of a layer's rows.
    pub(super) fn gram(&self, t: &Rows) -> Matrix {
        gram(&t.data, t.width, self.probe.workers())
    }

    /// The covariance of a layer's rows, times their number.
    pub(super) fn covariance(&self, t: &Rows) -> Matrix {
        let both = gram(&with_ones(&t.data, t.width), t.width + 1, self.probe.workers());
        let (sums, rows) = (both.row(t.width), both[(t.width, t.width)]);
        let mut covariance = Matrix::zeros(t.width, t.width);
        for i in 0..t.width {
            let row = both.row(i)[..t.width].iter().zip(sums);
            for (to, (x, sum)) in covariance.row_mut(i).iter_mut().zip(row) {
                *to = x - sums[i] * sum / rows;
            }
        }
        covariance
    }

    fn cross(&self, t: &Rows, h: &[f32], width: usize) -> Matrix {
        cross(&t.data, t.width, h, width, self.probe.workers())
    }

    /// The ridge map without intercept from the student's activations to the teacher's; errors say that it is for `what`.
    pub(super) fn map(&self, h: &Rows, t: &Rows, what: &str) -> Result<Matrix, NetworkError> {
        self.same_rows(h, t, what)?;
        let (hth, tth) = (self.gram(h), self.cross(t, &h.data, h.width));
        ridge(&hth, &tth, RIDGE_LAMBDA).map_err(|error| self.numbers(what, error))
    }

    /// [`Self::map`] with intercept.
    pub(super) fn affine(
        &self,
        h: &Rows,
        t: &Rows,
        what: &str,
    ) -> Result<(Matrix, Vec<f64>), NetworkError> {
        self.same_rows(h, t, what)?;
        let (ones, width) = (with_ones(&h.data, h.width), h.width + 1);
        let hth = gram(&ones, width, self.probe.workers());
        let tth = self.cross(t, &ones, width);
        ridge_with_intercept(&hth, &tth, RIDGE_LAMBDA).map_err(|error| self.numbers(what, error))
    }

    /// Refuses activations that do not stand side by side.
    pub(super) fn same_rows(&self, h: &Rows, t: &Rows, what: &str) -> Result<(), NetworkError> {
        let (own, theirs) = (h.data.len() / h.width.max(1), t.data.len() / t.width.max(1));
        if own == theirs && own > 0 {
            return Ok(());
        }
        Err(NetworkError::Mismatch(format!(
            "for {what} there are {own} rows of the student's activations and {theirs} of the teacher's"
        )))
    }

    fn numbers(&self, what: &str, error: LinalgError) -> NetworkError {
        let number = self.block + 1;
        NetworkError::Weights(format!("block {number} cannot start at {what}: {error}"))
    }

    /// The extents of both networks' layers.
    pub(super) fn extents(&self) -> Extents<'_> {
        Extents { small: &self.small, large: &self.large }
    }

    /// Width of a layer of the student.
    pub(super) fn width(&self, layer: &str) -> Result<usize, NetworkError> {
        self.extents().width(layer)
    }

    /// Width of a layer of the teacher.
    pub(super) fn teacher_width(&self, layer: &str) -> Result<usize, NetworkError> {
        self.extents().teacher_width(layer)
    }

    /// The student's weights as set so far.
    pub(super) fn weights(&self) -> &Weights {
        self.weights
    }

    /// A fresh tensor of the student.
    pub(super) fn fresh(&self, name: &str) -> Result<Tensor, NetworkError> {
        let spec = self.small.params.iter().find(|spec| spec.name == name);
        let spec = spec.ok_or_else(|| NetworkError::missing(name))?;
        Ok(fresh_tensor(spec, self.seed))
    }

    /// Sets a weight of the student: the rows `out` of the teacher's weight (all if `None`), multiplied by `reading` on their inputs, then fresh
    /// rows for the units that are missing.
    pub(super) fn set_weight(
        &mut self,
        to: &str,
        from: &str,
        out: Option<&[usize]>,
        reading: Option<&Matrix>,
    ) -> Result<(), NetworkError> {
        let source = self.tensor(&format!("{from}.weight"))?;
        let (units, inputs) = ends(source);
        let area = source.data.len() / (units * inputs).max(1);
        let every: Vec<usize>;
        let kept = match out {
            Some(out) => out,
            None => {
                every = (0..units).collect();
                &every
            }
        };
        if let Some(map) = reading
            && map.rows() != inputs
        {
            return Err(NetworkError::Mismatch(format!(
                "{from} reads {inputs} channels of the teacher's, {} are known",
                map.rows()
            )));
        }
        let mut shape = source.shape.clone();
        let rows: Vec<f32> = kept
            .iter()
            .flat_map(|&unit| &source.data[unit * area * inputs..(unit + 1) * area * inputs])
            .copied()
            .collect();
        let rows = match reading {
            None => rows,
            Some(map) => Matrix::from_f32(kept.len() * area, inputs, &rows).times(map).to_f32(),
        };
        if let Some(last) = shape.last_mut() {
            *last = reading.map_or(inputs, Matrix::cols);
        }
        shape[0] = kept.len();
        self.put(&format!("{to}.weight"), from, &shape, &rows, out.is_some())
    }

    /// Sets a vector of the student: the teacher's numbers at `out` (all if `None`) plus `add`, then fresh ones for the units that are missing.
    pub(super) fn set_vector(
        &mut self,
        to: &str,
        from: &str,
        out: Option<&[usize]>,
        add: Option<&[f64]>,
    ) -> Result<(), NetworkError> {
        let source = self.tensor(from)?;
        let mut kept: Vec<f32> = match out {
            Some(out) => out.iter().map(|&unit| source.data[unit]).collect(),
            None => source.data.clone(),
        };
        for (number, more) in kept.iter_mut().zip(add.unwrap_or_default()) {
            *number = (f64::from(*number) + more) as f32;
        }
        let shape = [kept.len()];
        self.put(to, from, &shape, &kept, out.is_some())
    }

    /// Sets γ, β and the running statistics of a batch norm.
    pub(super) fn set_batch_norm(
        &mut self,
        to: &str,
        from: &str,
        out: Option<&[usize]>,
    ) -> Result<(), NetworkError> {
        for part in ["weight", "bias", "running_mean", "running_var"] {
            self.set_vector(&format!("{to}.{part}"), &format!("{from}.{part}"), out, None)?;
        }
        Ok(())
    }

    /// Sets a tensor of the student to `data`, which has its first units. The units that are missing become fresh, if `may_lack` allows any.
    pub(super) fn put(
        &mut self,
        to: &str,
        from: &str,
        shape: &[usize],
        data: &[f32],
        may_lack: bool,
    ) -> Result<(), NetworkError> {
        let spec = self.small.params.iter().find(|spec| spec.name == to).ok_or_else(|| {
            NetworkError::Mismatch(format!("the student has no {to}, the teacher has {from}"))
        })?;
        let fits = spec.shape.len() == shape.len()
            && spec.shape[1..] == shape[1..]
            && (spec.shape[0] == shape[0] || may_lack && shape[0] < spec.shape[0]);
        if !fits {
            return Err(NetworkError::Mismatch(format!(
                "{to} has shape {:?}, from the teacher's {from} it would be {shape:?}",
                spec.shape
            )));
        }
        let tensor = if spec.shape == shape {
            Tensor::new(shape, data.to_vec())
        } else {
            let mut tensor = fresh_tensor(spec, self.seed);
            tensor.data[..data.len()].copy_from_slice(data);
            tensor
        };
        self.weights.insert(to.into(), tensor);
        Ok(())
    }

    /// Sets the block's lift.
    pub(super) fn set_lift(&mut self, map: &Matrix) -> Result<(), NetworkError> {
        let lift = self.student.blocks[self.block].lift.as_ref().expect("checked at the beginning");
        let to = format!("{}.weight", lift.name);
        let conv = self.small.params.iter().any(|spec| spec.name == to && spec.shape.len() == 4);
        let (out, width) = (map.rows(), map.cols());
        let shape = if conv { vec![out, 1, 1, width] } else { vec![out, width] };
        self.put(&to, "block output", &shape, &map.to_f32(), false)
    }

    /// A linear layer's weight of the teacher's, (out, in).
    pub(super) fn matrix(&self, layer: &str) -> Result<Matrix, NetworkError> {
        let tensor = self.tensor(&format!("{layer}.weight"))?;
        let (out, width) = ends(tensor);
        Ok(Matrix::from_f32(out, width, &tensor.data))
    }

    /// A vector of the teacher's.
    pub(super) fn vector(&self, name: &str) -> Result<Vec<f64>, NetworkError> {
        Ok(self.tensor(name)?.data.iter().map(|&x| f64::from(x)).collect())
    }

    /// A tensor of this block of the teacher's.
    fn tensor(&self, name: &str) -> Result<&'a Tensor, NetworkError> {
        of_teacher(self.source, name)
    }
}

/// The extents of both networks' layers.
#[derive(Clone, Copy)]
pub(super) struct Extents<'a> {
    /// S̄'s, or S's.
    pub(super) small: &'a Shapes,
    /// B's.
    pub(super) large: &'a Shapes,
}

impl Extents<'_> {
    /// Width of a layer of the student.
    pub(super) fn width(&self, layer: &str) -> Result<usize, NetworkError> {
        width(self.small, layer, "student")
    }

    /// Width of a layer of the teacher.
    pub(super) fn teacher_width(&self, layer: &str) -> Result<usize, NetworkError> {
        width(self.large, layer, "teacher")
    }
}

/// The teacher's layer or unit (0-based in its block) for each of the student's in `block`.
///
/// `thin` and `wide` are the names of both networks' layers or units, block by block.
///
/// # Errors
/// If `map` lacks an entry for one of the student's, or maps one to another block. The first of a block reads the lifted state and must map to the
/// first of the teacher's block.
pub(super) fn correspondence(
    thin: &[Vec<&str>],
    wide: &[Vec<&str>],
    block: usize,
    map: &[u32],
) -> Result<Vec<usize>, NetworkError> {
    for (network, blocks) in [("student", thin), ("teacher", wide)] {
        if let Some(empty) = blocks.iter().position(Vec::is_empty) {
            let block = empty + 1;
            let problem =
                format!("block {block} of the {network} has no layers; each has one at least");
            return Err(NetworkError::Mismatch(problem));
        }
    }
    if map.is_empty() {
        let (small, large) = (thin[block].len(), wide[block].len());
        return Ok((0..small).map(|k| proportion(k, small, large)).collect());
    }
    let total: usize = thin.iter().map(Vec::len).sum();
    if map.len() != total {
        return Err(NetworkError::Mismatch(format!(
            "teacher.layer_map has {} entries, the student has {total} layers; one for each is needed",
            map.len()
        )));
    }
    // All blocks are checked, so that the start of the first block already finds what is wrong with the last.
    let (mut at, mut first, mut found) = (0, 0, Vec::new());
    for (k, (small, large)) in thin.iter().zip(wide).enumerate() {
        let mut of_block = Vec::with_capacity(small.len());
        for (place, name) in small.iter().enumerate() {
            let entry = map[at] as usize;
            let last = if place == 0 { first } else { first + large.len() - 1 };
            if !(first..=last).contains(&entry) {
                let why = if place == 0 { ", which reads the lifted state," } else { "" };
                let number = k + 1;
                return Err(NetworkError::Mismatch(format!(
                    "teacher.layer_map[{at}] = {entry} for {name} of block {number}{why} is not allowed; allowed is {first}..={last}"
                )));
            }
            of_block.push(entry - first);
            at += 1;
        }
        first += large.len();
        if k == block {
            found = of_block;
        }
    }
    Ok(found)
}

/// round(k (large − 1) / (small − 1)), halves up; 0 if `small` is 1.
fn proportion(k: usize, small: usize, large: usize) -> usize {
    match small - 1 {
        0 => 0,
        steps => (2 * k * (large - 1) + steps) / (2 * steps),
    }
}

/// A tensor of the teacher's.
pub(super) fn of_teacher<'w>(weights: &'w Weights, name: &str) -> Result<&'w Tensor, NetworkError> {
    let whose = |missing| NetworkError::Weights(format!("the teacher's {missing}"));
    parameter(weights, name).map_err(whose)
}

/// A tensor of the teacher's, finite and of the shape it must have.
pub(super) fn source<'w>(
    weights: &'w Weights,
    spec: &ParamSpec,
) -> Result<&'w Tensor, NetworkError> {
    let name = &spec.name;
    let tensor = of_teacher(weights, name)?;
    if tensor.shape != spec.shape {
        return Err(NetworkError::Weights(format!(
            "the teacher's parameter {name} has shape {:?}, not {:?}",
            tensor.shape, spec.shape
        )));
    }
    // A ReLU may turn a NaN into a zero, and then nothing shows it later.
    if !tensor.data.iter().all(|x| x.is_finite()) {
        return Err(NetworkError::Weights(format!(
            "the teacher's parameter {name} has a number that is not finite"
        )));
    }
    Ok(tensor)
}

fn width(shapes: &Shapes, layer: &str, whose: &str) -> Result<usize, NetworkError> {
    let extent = shapes
        .layer(layer)
        .ok_or_else(|| NetworkError::Mismatch(format!("the {whose} has no layer {layer}")))?;
    Ok(extent.width() as usize)
}

/// The rows of a call that asked for one tap.
pub(super) fn one(found: Vec<Rows>, tap: &str) -> Result<Rows, NetworkError> {
    found
        .into_iter()
        .next()
        .filter(|rows| rows.width > 0 && rows.data.len() % rows.width == 0)
        .ok_or_else(|| NetworkError::Unsupported(format!("{tap} gave no rows")))
}

/// Features out and in of a pair's weight.
pub(super) fn ends(weight: &Tensor) -> (usize, usize) {
    let first = weight.shape.first().copied().unwrap_or(0);
    (first, weight.shape.last().copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_correspond_in_proportion_with_halves_up() {
        let q = |small, large| (0..small).map(|k| proportion(k, small, large)).collect::<Vec<_>>();
        assert_eq!(q(1, 7), [0]);
        assert_eq!(q(3, 3), [0, 1, 2]);
        assert_eq!(q(3, 2), [0, 1, 1]);
        assert_eq!(q(3, 4), [0, 2, 3]);
        assert_eq!(q(4, 1), [0; 4]);
    }

    #[test]
    fn a_layer_map_is_followed_or_refused_by_entry() {
        let thin = [vec!["a", "b"], vec!["c", "d"]];
        let wide = [vec!["A", "B", "C"], vec!["D", "E"]];
        assert_eq!(correspondence(&thin, &wide, 0, &[0, 1, 3, 3]).unwrap(), [0, 1]);
        assert_eq!(correspondence(&thin, &wide, 1, &[0, 1, 3, 3]).unwrap(), [0, 0]);
        let refusal = |map: &[u32]| correspondence(&thin, &wide, 0, map).unwrap_err().to_string();
        assert!(refusal(&[0, 1]).contains("has 2 entries, the student has 4 layers"));
        assert!(
            refusal(&[0, 3, 3, 4])
                .contains("layer_map[1] = 3 for b of block 1 is not allowed; allowed is 0..=2")
        );
        assert!(
            refusal(&[0, 2, 3, 5])
                .contains("layer_map[3] = 5 for d of block 2 is not allowed; allowed is 3..=4")
        );
        assert!(refusal(&[0, 2, 4, 4]).contains("layer_map[2] = 4 for c of block 2, which reads the lifted state, is not allowed; allowed is 3..=3"));
    }
}
