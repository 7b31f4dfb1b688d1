//! Pictures of every kind against Pillow's pixels and verdicts, which `tests/golden/pictures.py` has written down.

use std::path::PathBuf;

use super::*;

/// A PNG of one colour.
pub(in crate::data) fn png(height: u32, width: u32, colour: [u8; 3]) -> Vec<u8> {
    encoded(height, width, colour, ImageFormat::Png)
}

/// A picture of one colour in a format of its own.
pub(in crate::data) fn encoded(
    height: u32,
    width: u32,
    colour: [u8; 3],
    format: ImageFormat,
) -> Vec<u8> {
    let image = ::image::RgbImage::from_pixel(width, height, ::image::Rgb(colour));
    if format == ImageFormat::Pnm {
        // Left to itself, the encoder writes PAM, which Pillow does not read either.
        return [format!("P6 {width} {height} 255\n").as_bytes(), &image].concat();
    }
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn golden() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/pictures"))
}

fn bytes_of(name: &str) -> Vec<u8> {
    std::fs::read(golden().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn decoded(bytes: &[u8]) -> Result<Image, String> {
    Image::decode(bytes, "cat.png").map_err(|error| error.to_string())
}

/// A PNG whose header claims a size that its data do not have.
fn lying_png(height: u32, width: u32) -> Vec<u8> {
    let mut bytes = png(1, 1, [0; 3]);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    bytes
}

#[test]
fn decodes_to_height_width_channels() {
    let image = decoded(&png(2, 3, [1, 2, 3])).unwrap();
    assert_eq!((image.height, image.width, image.channels), (2, 3, 3));
    assert_eq!(image.pixels[..6], [1, 2, 3, 1, 2, 3]);
}

#[test]
fn pixels_and_verdicts_are_pillows() {
    let expected = std::fs::read_to_string(golden().join("expected.txt")).unwrap();
    let mut kinds = std::collections::BTreeSet::new();
    for line in expected.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let found = decoded(&bytes_of(words[0]));
        let [name, tolerance, height, width, hex] = words[..] else {
            assert!(words[1] == "refused" && found.is_err(), "{line}");
            continue;
        };
        let found = found.unwrap_or_else(|error| panic!("{name}: {error}"));
        let size = (height.parse().unwrap(), width.parse().unwrap(), 3);
        assert_eq!((found.height, found.width, found.channels), size, "{name}");
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let pixels: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        assert_eq!(found.pixels.len(), pixels.len(), "{name}");
        let off = found.pixels.iter().zip(&pixels).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(off <= tolerance.parse().unwrap(), "{name}: off by {off}");
        kinds.insert(name.rsplit('.').next().unwrap().to_ascii_lowercase());
    }
    let all: std::collections::BTreeSet<String> = EXTENSIONS.map(String::from).into();
    assert_eq!(kinds, all, "a kind has no golden picture");
}

/// Grey of 16 bits is scaled, where Pillow would cut it off to white.
#[test]
fn wide_grey_is_scaled() {
    let wide = ::image::ImageBuffer::from_fn(2, 1, |x, _| ::image::Luma([x as u16 * 0x81ff]));
    for (format, first) in [(ImageFormat::Png, 0x81), (ImageFormat::Tiff, 0x81)] {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::ImageLuma16(wide.clone()).write_to(&mut bytes, format).unwrap();
        assert_eq!(decoded(bytes.get_ref()).unwrap().pixels, [0, 0, 0, first, first, first]);
    }
}

/// Whatever is cut, at every twentieth: Pillow refuses all of them, but for a PNG that lacks no more than its last part.
#[test]
fn what_is_cut_is_refused() {
    for name in [
        "colour.jpg",
        "progressive.jpg",
        "restarts.jpg",
        "ink.jpg",
        "colour.png",
        "palette.png",
        "lossy.webp",
        "lossy_alpha.webp",
        "lossless.webp",
        "animation.webp",
        "raw.tif",
        "lzw.tiff",
        "deflate.tif",
        "jpeg.tif",
        "colour.bmp",
        "colour.ppm",
        "grey.pgm",
        "plain.ppm",
    ] {
        let bytes = bytes_of(name);
        assert!(decoded(&bytes).is_ok(), "{name}");
        for twentieth in 0..20 {
            let cut = &bytes[..bytes.len() * twentieth / 20];
            // Pillow writes a TIFF's directory in front: the last values may be spare.
            assert!(decoded(cut).is_err(), "{name}: {twentieth} twentieths of it are read");
        }
        // What follows the end is nobody's; a plain PNM has no end.
        if !name.starts_with("plain") {
            let more = [&bytes[..], b"\0\xff\xd8 and more"].concat();
            assert_eq!(decoded(&more), decoded(&bytes), "{name}");
        }
    }
}

#[test]
fn a_jpeg_is_read_to_its_end_marker() {
    for name in ["colour.jpg", "progressive.jpg", "restarts.jpg", "grey.jpg"] {
        let bytes = bytes_of(name);
        assert!(bytes.ends_with(b"\xff\xd9"), "{name}");
        for short in 1..=3 {
            let error = decoded(&bytes[..bytes.len() - short]).unwrap_err();
            assert!(error.contains("end before its end marker"), "{name}: {error}");
        }
        // A marker that may not stand there: Pillow's "broken data stream".
        let scan = bytes.windows(2).rposition(|two| two == b"\xff\xda").unwrap();
        for marker in [0xd8, 0xc0, 0xf7, 0x40] {
            let mut bad = bytes.clone();
            bad.splice(scan + 20..scan + 20, [0xff, marker]);
            let error = decoded(&bad).unwrap_err();
            assert!(error.contains("it is damaged: marker"), "{name}: {error}");
        }
    }
    // A restart of a wrong number, or none at all, is only wrong pixels to Pillow.
    let mut bytes = bytes_of("restarts.jpg");
    let restart = bytes.windows(2).position(|two| two == b"\xff\xd0").unwrap();
    bytes[restart + 1] = 0xd3;
    assert!(decoded(&bytes).is_ok());
    bytes.drain(restart..restart + 2);
    assert!(decoded(&bytes).is_ok());
}

#[test]
fn grey_is_pillows() {
    let image = Image {
        height: 1,
        width: 3,
        channels: 3,
        pixels: vec![255, 0, 0, 10, 200, 30, 255, 255, 255],
    };
    assert_eq!(image.with_channels(1).pixels, [76, 124, 255]);
}

/// The memory that a few bytes ask for, in each format that says its size first.
#[test]
fn bombs_and_strangers_are_refused_in_a_sentence() {
    // An animation of 2×2 pixels whose first frame is larger.
    let webp = |height: u16, width: u16| {
        let chunk = |name: &[u8; 4], body: &[u8]| {
            [&name[..], &(body.len() as u32).to_le_bytes(), body].concat()
        };
        let frame = [0x10, 0, 0, 0x9d, 1, 0x2a];
        let frame = [&frame[..], &width.to_le_bytes(), &height.to_le_bytes(), &[0; 6]].concat();
        let frame =
            [&[0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], &chunk(b"VP8 ", &frame)[..]];
        let parts = [
            chunk(b"VP8X", &[2, 0, 0, 0, 1, 0, 0, 1, 0, 0]),
            chunk(b"ANIM", &[0; 6]),
            chunk(b"ANMF", &frame.concat()),
        ];
        chunk(b"RIFF", &[&b"WEBP"[..], &parts.concat()].concat())
    };
    let mut bmp = encoded(1, 1, [0; 3], ImageFormat::Bmp);
    bmp[18..22].copy_from_slice(&16_000u32.to_le_bytes());
    bmp[22..26].copy_from_slice(&16_000u32.to_le_bytes());
    let mut tiff = bytes_of("raw.tif");
    let directory = u32::from_le_bytes(tiff[4..8].try_into().unwrap()) as usize;
    let entries = usize::from(tiff[directory]);
    for entry in (directory + 2..).step_by(12).take(entries) {
        // Width, height and the rows of a strip.
        if [256, 257, 278].contains(&u16::from_le_bytes([tiff[entry], tiff[entry + 1]])) {
            tiff[entry + 2..entry + 12].copy_from_slice(&[4, 0, 1, 0, 0, 0, 0x80, 0x3e, 0, 0]);
        }
    }
    for (bytes, words) in [
        (lying_png(20_000, 10), "more than 16384 on a side"),
        (lying_png(16_000, 16_000), "needs more than 256 MiB"),
        (webp(16_383, 16_383), "needs more than 256 MiB"),
        (bmp, "needs more than 256 MiB"),
        (tiff, "needs more than 256 MiB"),
        (b"P6 16000 16000 255\n".to_vec(), "needs more than 256 MiB"),
        (b"P6 4000000000 1 255\n".to_vec(), "more than 16384 on a side"),
        (png(4, 4, [9; 3])[..40].to_vec(), "cannot be"),
        (b"GIF89a".to_vec(), "begins as no JPEG, PNG, WebP, TIFF, BMP, PPM or PGM"),
        (Vec::new(), "begins as no JPEG"),
        (vec![b'P'; MAX_BYTES as usize + 1], "longer than 64 MiB"),
    ] {
        let error = decoded(&bytes).unwrap_err();
        assert!(error.starts_with("image cat.png: ") && error.contains(words), "{error}");
    }
}

/// One changed byte anywhere leaves a picture or an error.
#[test]
fn no_byte_makes_a_decoder_panic() {
    let names = std::fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().file_name());
    for (at, name) in names.map(|name| name.into_string().unwrap()).enumerate() {
        let bytes = bytes_of(&name);
        let mut stream = crate::random::Stream::new(&[at as u64]);
        for _ in 0..40 {
            let mut bad = bytes.clone();
            bad[stream.below(bytes.len())] = stream.below(256) as u8;
            drop(decoded(&bad));
        }
    }
}
