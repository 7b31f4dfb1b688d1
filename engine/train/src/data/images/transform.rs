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
mod tests {
    use super::*;

    fn pattern(height: usize, width: usize) -> Image {
        let pixels = (0..height * width).map(|at| (at / width, at % width));
        let pixels = pixels
            .map(|(row, column)| ((row * 37 + column * 53 + row * column * 11) % 256) as u8)
            .collect();
        Image { height, width, channels: 1, pixels }
    }

    fn whole(height: usize, width: usize) -> Window {
        Window { top: 0, left: 0, height, width }
    }

    fn plain(size: usize, crop: f64) -> Preprocess {
        Preprocess::new(size, vec![0.0], vec![1.0], Interpolation::Bilinear, crop).unwrap()
    }

    /// Values of torch.nn.functional.interpolate(mode="bilinear", antialias=True), rounded.
    #[test]
    fn bilinear_is_pytorchs() {
        for (size, expected) in BILINEAR {
            let resized =
                resize(&pattern(5, 7), *size, whole(size.0, size.1), Interpolation::Bilinear);
            assert_eq!(resized.pixels, *expected, "{size:?}");
        }
    }

    const BILINEAR: &[((usize, usize), &[u8])] = &[
        ((3, 4), &[46, 136, 134, 83, 111, 145, 117, 100, 168, 119, 111, 131]),
        ((2, 3), &[89, 141, 98, 145, 119, 113]),
        (
            (4, 5),
            &[
                28, 96, 165, 108, 69, 75, 159, 144, 101, 114, 123, 139, 103, 135, 81, 170, 143,
                131, 81, 161,
            ],
        ),
        (
            (7, 3),
            &[
                45, 144, 71, 72, 150, 94, 105, 144, 111, 138, 118, 112, 132, 115, 101, 150, 117,
                113, 176, 123, 135,
            ],
        ),
    ];

    #[test]
    fn area_is_the_mean_of_what_is_covered() {
        let image =
            Image { height: 2, width: 4, channels: 1, pixels: vec![0, 10, 20, 30, 4, 14, 24, 37] };
        assert_eq!(resize(&image, (1, 2), whole(1, 2), Interpolation::Area).pixels, [7, 28]);
        let thirds = Image { height: 1, width: 3, channels: 1, pixels: vec![30, 60, 90] };
        // (30 + 60/2) / 1.5 and (60/2 + 90) / 1.5.
        assert_eq!(resize(&thirds, (1, 2), whole(1, 2), Interpolation::Area).pixels, [40, 80]);
        assert_eq!(
            resize(&image, (4, 8), whole(4, 8), Interpolation::Area).pixels[..4],
            [0, 0, 10, 10]
        );
    }

    #[test]
    fn a_window_is_the_same_pixels_as_the_whole() {
        let image = pattern(9, 11);
        for how in [Interpolation::Area, Interpolation::Bilinear] {
            let all = resize(&image, (7, 13), whole(7, 13), how);
            let part = Window { top: 2, left: 3, height: 4, width: 5 };
            assert_eq!(resize(&image, (7, 13), part, how), cut(&all, part));
        }
    }

    /// Resize to 4 on the shorter side, centre 3: 4×5 pixels, cut at row round(0.5) = 0 and column 1, as torchvision.
    #[test]
    fn frame_resizes_then_cuts_the_centre() {
        let framed = plain(3, 0.75).frame(&pattern(5, 7)).into_owned();
        let resized = resize(&pattern(5, 7), (4, 5), whole(4, 5), Interpolation::Bilinear);
        assert_eq!(framed, cut(&resized, Window { top: 0, left: 1, height: 3, width: 3 }));
        assert_eq!(framed.pixels, [96, 165, 108, 159, 144, 101, 139, 103, 135]);
        assert!(matches!(plain(5, 1.0).frame(&pattern(5, 5)), Cow::Borrowed(_)));
        // A sliver is never blown up beyond what is read.
        let sliver = Image { height: 1, width: 16_384, channels: 1, pixels: vec![5; 16_384] };
        assert_eq!(plain(224, 0.875).frame(&sliver).pixels, vec![5; 224 * 224]);
    }

    #[test]
    fn apply_normalises_and_matches_channels() {
        let mean = vec![0.5, 0.25, 0.0];
        let preprocess =
            Preprocess::new(2, mean, vec![0.5, 0.25, 2.0], Interpolation::Area, 1.0).unwrap();
        let image =
            Image { height: 1, width: 2, channels: 3, pixels: vec![0, 0, 0, 255, 255, 255] };
        assert_eq!(preprocess.apply(&image), [-1.0, -1.0, 0.0, 1.0, 3.0, 0.5].repeat(2));
        let grey = Image { height: 1, width: 2, channels: 1, pixels: vec![0, 255] };
        assert_eq!(preprocess.apply(&grey), preprocess.apply(&image));
    }

    #[test]
    fn a_models_nonsense_is_refused_in_a_sentence() {
        let good = ImageInput {
            channels: 1,
            size: 3,
            mean: vec![0.0],
            std: vec![1.0],
            interpolation: Interpolation::Bilinear,
            crop: 0.875,
        };
        assert_eq!(Preprocess::try_from(&good).unwrap(), plain(3, 0.875));
        let error = |change: fn(&mut ImageInput)| {
            let mut bad = good.clone();
            change(&mut bad);
            Preprocess::try_from(&bad).unwrap_err().to_string()
        };
        assert_eq!(error(|bad| bad.size = 0), "size: 0 is not within 1 to 4096 pixels");
        assert_eq!(error(|bad| bad.channels = 3), "mean: 1 numbers for 3 channels");
        assert!(error(|bad| bad.mean = vec![f64::NAN]).starts_with("mean: [NaN] is not"));
        assert!(error(|bad| bad.std = vec![0.0]).starts_with("std: [0.0] is not 1 finite"));
        assert!(error(|bad| bad.std = vec![1.0; 2]).starts_with("std: [1.0, 1.0] is not 1"));
        assert!(error(|bad| bad.crop = 1.5).starts_with("crop: 1.5 is not above"));
        assert!(error(|bad| bad.crop = f64::NAN).starts_with("crop: NaN"));
    }

    #[test]
    fn a_shift_moves_over_black_and_flips_last() {
        let image =
            Image { height: 2, width: 3, channels: 1, pixels: vec![10, 20, 30, 40, 50, 60] };
        let table = Table::new(
            &Preprocess::new(3, vec![0.0], vec![1.0 / 255.0], Interpolation::Area, 1.0).unwrap(),
        );
        let write = |down, right, flip| {
            let mut out = vec![f32::NAN; 6];
            table.write(&image, Shift { down, right, flip }, &mut out);
            out.iter().map(|number| number.round() as i32).collect::<Vec<_>>()
        };
        assert_eq!(write(0, 0, false), [10, 20, 30, 40, 50, 60]);
        assert_eq!(write(0, 0, true), [30, 20, 10, 60, 50, 40]);
        assert_eq!(write(1, 1, false), [50, 60, 0, 0, 0, 0]);
        assert_eq!(write(1, 1, true), [0, 60, 50, 0, 0, 0]);
        assert_eq!(write(-1, -2, false), [0, 0, 0, 0, 0, 10]);
        assert_eq!(write(3, 0, false), [0; 6]);
    }

    #[test]
    fn augmentation_follows_its_settings() {
        let image = pattern(8, 8);
        let preprocess = plain(8, 1.0);
        let settings = Augment { pad_crop: 2, flip: true, ..Augment::default() };
        let mut seen = std::collections::BTreeSet::new();
        for sample in 0..2000 {
            let (same, shift) =
                augment(&image, true, &preprocess, &settings, &mut Stream::new(&[sample]));
            assert!(matches!(same, Cow::Borrowed(_)));
            seen.insert((shift.down, shift.right, shift.flip));
        }
        // 5 · 5 places, mirrored or not.
        assert_eq!(seen.len(), 50);
        let off = Augment::default();
        assert_eq!(
            augment(&image, true, &preprocess, &off, &mut Stream::new(&[1])).1,
            Shift::default()
        );
    }

    #[test]
    fn random_resized_crops_are_a_function_of_their_stream() {
        let image = pattern(20, 31);
        let preprocess = plain(8, 0.875);
        let settings = Augment { random_resized_crop: true, ..Augment::default() };
        let crop = |sample| {
            random_resized_crop(&image, &preprocess, &settings, &mut Stream::new(&[sample]))
        };
        assert!((0..200).all(|sample| (crop(sample).height, crop(sample).width) == (8, 8)));
        assert_eq!(crop(3), crop(3));
        assert_ne!(crop(3), crop(4));
        // No aspect within the ratio fits a sliver: its centre is taken.
        let sliver = Image { height: 1, width: 64, channels: 1, pixels: (0..64).collect() };
        let centre = random_resized_crop(&sliver, &preprocess, &settings, &mut Stream::new(&[1]));
        assert!(centre.pixels.iter().all(|pixel| (30..34).contains(pixel)), "{:?}", centre.pixels);
    }

    /// A golden of `tests/golden/crops.py`: torchvision's windows of our draws, and Pillow's pixels of them.
    fn golden() -> serde_json::Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/crops.json");
        serde_json::from_str(&std::fs::read_to_string(path).expect("the golden")).expect("JSON")
    }

    fn numbers<T: serde::de::DeserializeOwned>(value: &serde_json::Value) -> Vec<T> {
        serde_json::from_value(value.clone()).expect("a list of numbers")
    }

    #[test]
    fn windows_are_torchvisions() {
        let golden = golden();
        let mut fallbacks = 0;
        for case in golden["windows"].as_array().expect("a list") {
            let [height, width] = numbers::<usize>(&case["size"])[..] else { panic!("a size") };
            let pair = |key: &str| numbers::<f64>(&case[key]).try_into().expect("a pair");
            let augment =
                Augment { scale: pair("scale"), ratio: pair("ratio"), ..Augment::default() };
            let wanted = case["windows"].as_array().expect("a list");
            assert!(wanted.len() >= 50, "{case}");
            for (seed, wanted) in wanted.iter().enumerate() {
                let mut stream = Stream::new(&[seed as u64]);
                let Window { top, left, height: h, width: w } =
                    random_window((height, width), &augment, &mut stream);
                assert_eq!(
                    [top, left, h, w],
                    numbers::<usize>(wanted)[..],
                    "{height} × {width}, {augment:?}, seed {seed}"
                );
                assert!(h >= 1 && w >= 1 && top + h <= height && left + w <= width);
            }
            fallbacks += usize::from(case["fallback"] == true);
        }
        assert!(fallbacks >= 3, "the golden has pictures of which no try fits");
    }

    /// Areas and aspects are spread as the settings say: each tenth of the range has its share. In pixels enough that rounding does not tell.
    #[test]
    fn windows_are_spread_over_areas_aspects_and_places() {
        let (side, count) = (4000usize, 4000u64);
        let augment =
            Augment { scale: [0.08, 0.5], ratio: [0.75, 4.0 / 3.0], ..Augment::default() };
        let mut tenths = [[0u64; 10]; 4];
        for seed in 0..count {
            let part = random_window((side, side), &augment, &mut Stream::new(&[seed]));
            let area = (part.height * part.width) as f64 / (side * side) as f64;
            let aspect = (part.width as f64 / part.height as f64).ln() / (4.0f64 / 3.0).ln();
            let place = |from: usize, of: usize| from as f64 / (side - of + 1) as f64;
            let shares = [
                (area - 0.08) / 0.42,
                (aspect + 1.0) / 2.0,
                place(part.top, part.height),
                place(part.left, part.width),
            ];
            for (tenths, share) in tenths.iter_mut().zip(shares) {
                assert!((-0.01..1.01).contains(&share), "{part:?}: {share}");
                tenths[((share * 10.0) as usize).min(9)] += 1;
            }
        }
        // 400 each, whose deviation is 19.
        assert!(tenths.as_flattened().iter().all(|n| n.abs_diff(count / 10) < 100), "{tenths:?}");
    }

    /// Pillow rounds to bytes between its two passes, so a pixel may be one level off, as PyTorch's are in up to a fifth of them.
    #[test]
    fn crops_have_pillows_pixels() {
        let golden = golden();
        let pictures = golden["pixels"].as_array().expect("a list");
        assert!(pictures.len() >= 12);
        for case in pictures {
            let [height, width, channels] = numbers::<usize>(&case["size"])[..] else {
                panic!("a size")
            };
            let image = Image { height, width, channels, pixels: numbers(&case["image"]) };
            let [top, left, h, w] = numbers::<usize>(&case["window"])[..] else {
                panic!("a window")
            };
            let size = case["to"].as_u64().expect("a size") as usize;
            let part = cut(&image, Window { top, left, height: h, width: w });
            let how = match case["how"].as_str() {
                Some("area") => Interpolation::Area,
                _ => Interpolation::Bilinear,
            };
            let found = resize(&part, (size, size), whole(size, size), how).pixels;
            let wanted = numbers::<u8>(&case["pixels"]);
            assert_eq!(found.len(), wanted.len());
            let off: Vec<u8> = found.iter().zip(&wanted).map(|(a, b)| a.abs_diff(*b)).collect();
            let differ = off.iter().filter(|off| **off > 0).count();
            assert!(
                off.iter().all(|off| *off <= 1) && 3 * differ <= off.len(),
                "{height} × {width}, {top} {left} {h} {w} to {size}, {how:?}: {differ} of {} differ",
                off.len()
            );
        }
    }
}
