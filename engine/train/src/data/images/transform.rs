//! From a picture to the numbers a network reads: resize, centre crop, random crops, flip, normalise.

use std::borrow::Cow;

use super::super::DataError;
use super::image::Image;
use crate::config::{Augment, Interpolation};
use crate::formats::ImageInput;
use crate::random::Stream;

/// What is done to any picture before the network, without randomness; a model's `config.json` carries it.
///
/// The picture is resized until its shorter side has size / crop pixels, the centre of size × size is cut out, bytes
/// become `(byte / 255 − mean) / std`.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocess {
    size: usize,
    mean: Vec<f64>,
    std: Vec<f64>,
    interpolation: Interpolation,
    crop: f64,
}

/// The largest height and width of a network's input.
const MAX_INPUT: usize = 4096;

impl TryFrom<&ImageInput> for Preprocess {
    type Error = DataError;

    fn try_from(model: &ImageInput) -> Result<Self, DataError> {
        let ImageInput { size, mean, std, interpolation, crop, channels } = model;
        if mean.len() != *channels as usize {
            let problem = format!("{} numbers for {channels} channels", mean.len());
            return Err(DataError::setting("mean", problem));
        }
        Self::new(*size as usize, mean.clone(), std.clone(), *interpolation, *crop)
    }
}

impl Preprocess {
    /// For a network that reads `size` × `size` pixels of as many channels as `mean` has entries.
    ///
    /// # Errors
    /// Names the value that is out of bounds: a size of 1 to 4096, 1 or 3 channels, finite means, deviations above 0,
    /// `crop` above 0.01 and up to 1.
    pub fn new(
        size: usize,
        mean: Vec<f64>,
        std: Vec<f64>,
        interpolation: Interpolation,
        crop: f64,
    ) -> Result<Self, DataError> {
        if !(1..=MAX_INPUT).contains(&size) {
            let problem = format!("{size} is not within 1 to {MAX_INPUT} pixels");
            return Err(DataError::setting("size", problem));
        }
        if !matches!(mean.len(), 1 | 3) || !mean.iter().all(|mean| mean.is_finite()) {
            let problem = format!("{mean:?} is not 1 or 3 finite numbers");
            return Err(DataError::setting("mean", problem));
        }
        if std.len() != mean.len() || !std.iter().all(|std| std.is_finite() && *std > 0.0) {
            let problem =
                format!("{std:?} is not {} finite numbers above 0, one a channel", mean.len());
            return Err(DataError::setting("std", problem));
        }
        if !(crop > 0.01 && crop <= 1.0) {
            return Err(DataError::setting(
                "crop",
                format!("{crop} is not above 0.01 and up to 1"),
            ));
        }
        Ok(Self { size, mean, std, interpolation, crop })
    }

    /// Height and width of the network's input in pixels.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Channels of the network's input: 1 or 3.
    pub fn channels(&self) -> usize {
        self.mean.len()
    }

    /// Mean of each channel, of pixels in 0..1.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Standard deviation of each channel.
    pub fn std(&self) -> &[f64] {
        &self.std
    }

    /// How pictures are resized.
    pub fn interpolation(&self) -> Interpolation {
        self.interpolation
    }

    /// Share of the shorter side that the centre crop keeps.
    pub fn crop(&self) -> f64 {
        self.crop
    }

    /// Any picture as the network's input: size · size · channels numbers, channels fastest.
    pub fn apply(&self, image: &Image) -> Vec<f32> {
        let image = image.clone().with_channels(self.channels());
        let mut numbers = vec![0.0; self.numbers()];
        let table = Table::new(self);
        table.write(&self.frame(&image), Shift::default(), &mut numbers);
        numbers
    }

    /// Numbers of one input: size · size · channels.
    pub(super) fn numbers(&self) -> usize {
        self.size * self.size * self.channels()
    }

    /// Resize and centre crop to (size, size), still bytes.
    pub(super) fn frame<'a>(&self, image: &'a Image) -> Cow<'a, Image> {
        let (height, width, size) = (image.height, image.width, self.size);
        if (height, width) == (size, size) && self.crop == 1.0 {
            return Cow::Borrowed(image);
        }
        // The longer side keeps the aspect, rounded down as in torchvision.
        let short = (size as f64 / self.crop).round() as usize;
        let full = (short * height / height.min(width), short * width / height.min(width));
        let middle = |full: usize| ((full - size) as f64 / 2.0).round_ties_even() as usize;
        let window =
            Window { top: middle(full.0), left: middle(full.1), height: size, width: size };
        Cow::Owned(resize(image, full, window, self.interpolation))
    }
}

/// A rectangle of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    top: usize,
    left: usize,
    height: usize,
    width: usize,
}

/// `image` resized to (height, width) = `full`, of which only `window` is computed.
///
/// Bilinear widens its triangle by the factor of shrinking (antialiasing), as PIL and torchvision do; area weighs each
/// source pixel by its overlap with the target pixel.
pub(super) fn resize(
    image: &Image,
    full: (usize, usize),
    window: Window,
    how: Interpolation,
) -> Image {
    let channels = image.channels;
    let rows = taps(image.height, full.0, window.top, window.height, how);
    let columns = taps(image.width, full.1, window.left, window.width, how);
    let first = rows.iter().map(|row| row.first).min().unwrap_or(0);
    let end = rows.iter().map(|row| row.first + row.weights.len()).max().unwrap_or(0);

    // Across first, only for the source rows that are read: (end − first, window.width, channels).
    let stride = window.width * channels;
    let mut across = Vec::with_capacity((end - first) * stride);
    for source in image.pixels.chunks_exact(image.width * channels).take(end).skip(first) {
        for column in &columns {
            for channel in 0..channels {
                let from = source[column.first * channels + channel..].iter().step_by(channels);
                across.push(
                    column
                        .weights
                        .iter()
                        .zip(from)
                        .map(|(weight, &byte)| weight * f32::from(byte))
                        .sum::<f32>(),
                );
            }
        }
    }
    let mut pixels = Vec::with_capacity(window.height * stride);
    let mut sums = vec![0.0f32; stride];
    for row in &rows {
        sums.fill(0.0);
        for (weight, source) in
            row.weights.iter().zip(across.chunks_exact(stride).skip(row.first - first))
        {
            sums.iter_mut().zip(source).for_each(|(sum, value)| *sum += weight * value);
        }
        pixels.extend(sums.iter().map(|sum| (sum + 0.5).clamp(0.0, 255.0) as u8));
    }
    Image { height: window.height, width: window.width, channels, pixels }
}

/// The source pixels that one target pixel reads along one axis; the weights sum to 1.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

/// Taps of the targets `start..start + count` when `from` pixels become `to`.
fn taps(from: usize, to: usize, start: usize, count: usize, how: Interpolation) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let one = |target: usize| {
        let (low, high, weight): (f64, f64, Box<dyn Fn(f64) -> f64>) = match how {
            Interpolation::Bilinear => {
                let (centre, support) = ((target as f64 + 0.5) * scale, scale.max(1.0));
                let triangle =
                    move |pixel: f64| (1.0 - ((pixel + 0.5 - centre) / support).abs()).max(0.0);
                (centre - support, centre + support, Box::new(triangle))
            }
            Interpolation::Area => {
                let (low, high) = (target as f64 * scale, (target as f64 + 1.0) * scale);
                let overlap = move |pixel: f64| ((pixel + 1.0).min(high) - pixel.max(low)).max(0.0);
                (low, high, Box::new(overlap))
            }
        };
        let first = (low.floor().max(0.0) as usize).min(from - 1);
        let end = (high.ceil() as usize).clamp(first + 1, from);
        let weights: Vec<f64> = (first..end).map(|pixel| weight(pixel as f64)).collect();
        let sum: f64 = weights.iter().sum();
        Taps { first, weights: weights.iter().map(|weight| (weight / sum) as f32).collect() }
    };
    (start..start + count).map(one).collect()
}

/// Where the network's window lies over a framed picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shift {
    /// Rows that the window is moved down; above and below the picture lies black.
    down: isize,
    /// Columns that it is moved right.
    right: isize,
    /// Mirrored left to right after that.
    flip: bool,
}

/// The picture and the shift for one training sample; `stream` belongs to it alone.
pub(super) fn augment<'a>(
    image: &'a Image,
    framed: bool,
    preprocess: &Preprocess,
    augment: &Augment,
    stream: &mut Stream,
) -> (Cow<'a, Image>, Shift) {
    let image = if augment.random_resized_crop {
        Cow::Owned(random_resized_crop(image, preprocess, augment, stream))
    } else if framed {
        Cow::Borrowed(image)
    } else {
        preprocess.frame(image)
    };
    let pad = augment.pad_crop as usize;
    let mut offset = || stream.below(2 * pad + 1) as isize - pad as isize;
    let (down, right) = (offset(), offset());
    let flip = augment.flip && stream.unit() < 0.5;
    (image, Shift { down, right, flip })
}

/// torchvision's `RandomResizedCrop`.
fn random_resized_crop(
    image: &Image,
    preprocess: &Preprocess,
    augment: &Augment,
    stream: &mut Stream,
) -> Image {
    let part = random_window((image.height, image.width), augment, stream);
    let size = preprocess.size;
    let whole = Window { top: 0, left: 0, height: size, width: size };
    resize(&cut(image, part), (size, size), whole, preprocess.interpolation)
}

/// The part of a picture of (height, width) that `RandomResizedCrop` takes: ten tries for an area and an aspect that fit, else the centre, of
/// the picture's own aspect as far as the ratio allows it. Halves are rounded to even, as in Python.
fn random_window(
    (height, width): (usize, usize),
    augment: &Augment,
    stream: &mut Stream,
) -> Window {
    let round = |pixels: f64| pixels.round_ties_even() as usize;
    let [least, most] = augment.ratio;
    let mut tries = (0..10).filter_map(|_| {
        let area = (height * width) as f64 * stream.between(augment.scale[0], augment.scale[1]);
        let aspect = stream.between(least.ln(), most.ln()).exp();
        let part = (round((area / aspect).sqrt()), round((area * aspect).sqrt()));
        let fits = (1..=height).contains(&part.0) && (1..=width).contains(&part.1);
        fits.then(|| Window {
            top: stream.below(height - part.0 + 1),
            left: stream.below(width - part.1 + 1),
            height: part.0,
            width: part.1,
        })
    });
    tries.next().unwrap_or_else(|| {
        let own = width as f64 / height as f64;
        let (part_h, part_w) = match own {
            _ if own < least => (round(width as f64 / least), width),
            _ if own > most => (height, round(height as f64 * most)),
            _ => (height, width),
        };
        // A sliver of the least aspect has a row; torchvision asks Pillow for none.
        let (part_h, part_w) = (part_h.clamp(1, height), part_w.clamp(1, width));
        Window {
            top: (height - part_h) / 2,
            left: (width - part_w) / 2,
            height: part_h,
            width: part_w,
        }
    })
}

/// The pixels of `part` alone.
fn cut(image: &Image, part: Window) -> Image {
    let channels = image.channels;
    let rows = image.pixels.chunks_exact(image.width * channels).skip(part.top).take(part.height);
    let pixels = rows
        .flat_map(|row| &row[part.left * channels..(part.left + part.width) * channels])
        .copied()
        .collect();
    Image { height: part.height, width: part.width, channels, pixels }
}

/// `(byte / 255 − mean) / std` of every byte: [byte · channels + channel].
#[derive(Debug)]
pub(super) struct Table {
    numbers: Vec<f32>,
    channels: usize,
}

impl Table {
    pub(super) fn new(preprocess: &Preprocess) -> Self {
        let channels = preprocess.channels();
        let number = |at: usize| {
            let (byte, channel) = (at / channels, at % channels);
            ((byte as f64 / 255.0 - preprocess.mean[channel]) / preprocess.std[channel]) as f32
        };
        Self { numbers: (0..256 * channels).map(number).collect(), channels }
    }

    /// Writes a framed picture, moved by `shift`, to `out`: (height, width, channels). What lies outside is black.
    pub(super) fn write(&self, image: &Image, shift: Shift, out: &mut [f32]) {
        let channels = self.channels;
        let stride = image.width * channels;
        let black = &self.numbers[..channels];
        // Columns `first..end` of the window lie over the picture.
        let first = shift.right.min(0).unsigned_abs().min(image.width);
        let end = image.width - shift.right.max(0).unsigned_abs().min(image.width);
        let from = shift.right.max(0).unsigned_abs() * channels;
        for (row, out) in out.chunks_exact_mut(stride).enumerate() {
            let source = row.checked_add_signed(shift.down).filter(|&row| row < image.height);
            let Some(source) = source.filter(|_| first < end) else {
                out.chunks_exact_mut(channels).for_each(|out| out.copy_from_slice(black));
                continue;
            };
            let source = &image.pixels[source * stride + from..][..(end - first) * channels];
            let (left, rest) = out.split_at_mut(first * channels);
            let (over, right) = rest.split_at_mut(source.len());
            left.chunks_exact_mut(channels).for_each(|out| out.copy_from_slice(black));
            right.chunks_exact_mut(channels).for_each(|out| out.copy_from_slice(black));
            for (out, bytes) in over.chunks_exact_mut(channels).zip(source.chunks_exact(channels)) {
                for channel in 0..channels {
                    out[channel] = self.numbers[usize::from(bytes[channel]) * channels + channel];
                }
            }
            if shift.flip {
                mirror(out, channels);
            }
        }
    }
}

/// Mirrors a row of pixels.
fn mirror(row: &mut [f32], channels: usize) {
    row.reverse();
    row.chunks_exact_mut(channels).for_each(<[f32]>::reverse);
}

#[cfg(test)]
mod tests;
