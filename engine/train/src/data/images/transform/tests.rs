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
        let resized = resize(&pattern(5, 7), *size, whole(size.0, size.1), Interpolation::Bilinear);
        assert_eq!(resized.pixels, *expected, "{size:?}");
    }
}

const BILINEAR: &[((usize, usize), &[u8])] = &[
    ((3, 4), &[46, 136, 134, 83, 111, 145, 117, 100, 168, 119, 111, 131]),
    ((2, 3), &[89, 141, 98, 145, 119, 113]),
    (
        (4, 5),
        &[
            28, 96, 165, 108, 69, 75, 159, 144, 101, 114, 123, 139, 103, 135, 81, 170, 143, 131,
            81, 161,
        ],
    ),
    (
        (7, 3),
        &[
            45, 144, 71, 72, 150, 94, 105, 144, 111, 138, 118, 112, 132, 115, 101, 150, 117, 113,
            176, 123, 135,
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
    let image = Image { height: 1, width: 2, channels: 3, pixels: vec![0, 0, 0, 255, 255, 255] };
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
    let image = Image { height: 2, width: 3, channels: 1, pixels: vec![10, 20, 30, 40, 50, 60] };
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
    let crop =
        |sample| random_resized_crop(&image, &preprocess, &settings, &mut Stream::new(&[sample]));
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
        let augment = Augment { scale: pair("scale"), ratio: pair("ratio"), ..Augment::default() };
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
    let augment = Augment { scale: [0.08, 0.5], ratio: [0.75, 4.0 / 3.0], ..Augment::default() };
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
        let [top, left, h, w] = numbers::<usize>(&case["window"])[..] else { panic!("a window") };
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
