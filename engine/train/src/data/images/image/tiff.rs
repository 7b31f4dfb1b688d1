//! TIFF as Pillow's `convert("RGB")` sees it: the first picture of a file, in grey, colours, CMYK or of a palette.

use std::io::Cursor;

use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::{CompressionMethod, PhotometricInterpretation, SampleFormat, Tag};
use tiff::{ColorType, TiffError};

use super::{Image, MAX_ALLOC, MAX_SIDE, too_large, undecodable, whole};

/// Width and height from the first directory.
pub(super) fn dimensions(bytes: &[u8]) -> Result<(u32, u32), TiffError> {
    Decoder::new(Cursor::new(bytes))?.dimensions()
}

pub(super) fn decode(bytes: &[u8], height: u32, width: u32) -> Result<Image, String> {
    let failed = |error: TiffError| match error {
        TiffError::LimitsExceeded => too_large(height, width),
        other => undecodable(&other),
    };
    let mut limits = Limits::default();
    limits.decoding_buffer_size = MAX_ALLOC as usize;
    limits.intermediate_buffer_size = MAX_ALLOC as usize;
    let open = |bytes| Decoder::new(Cursor::new(bytes)).map(|it| it.with_limits(limits.clone()));
    let mut decoder = open(bytes).map_err(failed)?;
    let palette = palette(&mut decoder).map_err(failed)?;
    // The decoder looks no palette up, but reads its indices where they are called grey.
    let grey = palette.as_ref().and_then(|_| without_palette(bytes));
    let mut decoder = match &grey {
        Some(grey) => open(&grey[..]).map_err(failed)?,
        None => decoder,
    };
    bounded_jpegs(&mut decoder, bytes, (height, width))?;
    let colour = decoder.colortype().map_err(failed)?;
    let unsigned = |of: &u16| *of == SampleFormat::Uint.to_u16();
    let formats = decoder.find_tag_unsigned_vec(Tag::SampleFormat).map_err(failed)?;
    if !formats.is_none_or(|formats| formats.iter().all(unsigned)) {
        return Err(undecodable(&"its samples are no whole numbers from 0 on"));
    }
    let associated = decoder
        .find_tag_unsigned_vec::<u16>(Tag::ExtraSamples)
        .map_err(failed)?
        .is_some_and(|extra| extra.first() == Some(&1));
    let (bits, channels) = match colour {
        ColorType::Gray(bits) => (bits, 1),
        ColorType::GrayA(bits) => (bits, 2),
        ColorType::Multiband { bit_depth, num_samples: 2 } => (bit_depth, 2),
        ColorType::RGB(bits) => (bits, 3),
        ColorType::RGBA(bits) | ColorType::CMYK(bits) => (bits, 4),
        other => return Err(undecodable(&format!("{other:?} is a sort of TIFF that is not read"))),
    };
    let samples = samples(&mut decoder, width, bits, channels).map_err(failed)?;
    let samples = samples.ok_or_else(|| undecodable(&format!("it has {bits} bits a sample")))?;
    if samples.len() != height as usize * width as usize * channels {
        return Err(undecodable(&"it has not the samples of its size"));
    }
    let (channels, pixels) = match (colour, &palette) {
        (ColorType::Gray(1..=8), Some(palette)) => {
            (3, samples.iter().flat_map(|&index| palette_colour(palette, index)).collect())
        }
        (ColorType::Gray(bits @ 1..=7), None) => {
            // 4 bits of ones become 8.
            let step = 255 / ((1 << bits) - 1);
            (1, samples.into_iter().map(|sample| sample * step).collect())
        }
        (ColorType::CMYK(_), _) => {
            let light = |ink: u8, black: u8| mul_div_255(255 - ink, 255 - black);
            let rgb = |ink: &[u8]| [0, 1, 2].map(|of| light(ink[of], ink[3]));
            (3, samples.chunks_exact(4).flat_map(rgb).collect())
        }
        (ColorType::RGBA(_), _) if associated => {
            let apart = |of: u8, alpha: u8| match alpha {
                0 => 0,
                alpha => (u32::from(of) * 255 / u32::from(alpha)).min(255) as u8,
            };
            let rgb = |of: &[u8]| [0, 1, 2].map(|channel| apart(of[channel], of[3]));
            (3, samples.chunks_exact(4).flat_map(rgb).collect())
        }
        _ => (channels, samples),
    };
    Ok(Image::rgb(height, width, channels, pixels))
}

/// `a · b / 255`, rounded.
fn mul_div_255(a: u8, b: u8) -> u8 {
    let product = u32::from(a) * u32::from(b) + 128;
    (((product >> 8) + product) >> 8) as u8
}

/// One byte a sample, channels fastest: of 16 bits the high one; fewer than 8 are as they are. None for other depths.
fn samples(
    decoder: &mut Decoder<Cursor<&[u8]>>,
    width: u32,
    bits: u8,
    channels: usize,
) -> Result<Option<Vec<u8>>, TiffError> {
    let mut read = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut read)?;
    if read.as_buffer(0).as_bytes().len() < layout.complete_len {
        return Err(TiffError::LimitsExceeded);
    }
    let bytes = match read {
        DecodingResult::U16(wide) => wide.into_iter().map(|wide| (wide >> 8) as u8).collect(),
        DecodingResult::U8(bytes) if bits == 8 => bytes,
        DecodingResult::U8(packed) if matches!(bits, 1 | 2 | 4) && channels == 1 => {
            unpacked(&packed, width as usize, usize::from(bits))
        }
        _ => return Ok(None),
    };
    if layout.planes <= 1 {
        return Ok(Some(bytes));
    }
    let plane = bytes.len() / layout.planes;
    let pixel = |at: usize| (0..channels).map(move |channel| (channel, at));
    let at = |(channel, at): (usize, usize)| bytes.get(channel * plane + at).copied();
    Ok((0..plane).flat_map(pixel).map(at).collect())
}

/// Samples of 1, 2 or 4 bits, the first in the high bits; every row begins at a byte.
fn unpacked(packed: &[u8], width: usize, bits: usize) -> Vec<u8> {
    let sample = |row: &[u8], at: usize| {
        let place = 8 - bits - at * bits % 8;
        row[at * bits / 8] >> place & ((1 << bits) - 1) as u8
    };
    let row = |row: &'_ [u8]| (0..width).map(|at| sample(row, at)).collect::<Vec<u8>>();
    packed.chunks_exact((width * bits).div_ceil(8)).flat_map(row).collect()
}

/// The palette of a picture that has one: all reds, then all greens and all blues.
fn palette(decoder: &mut Decoder<Cursor<&[u8]>>) -> Result<Option<Vec<u16>>, TiffError> {
    let kind = decoder.find_tag_unsigned::<u16>(Tag::PhotometricInterpretation)?;
    if kind != Some(PhotometricInterpretation::RGBPalette.to_u16()) {
        return Ok(None);
    }
    decoder.get_tag_u16_vec(Tag::ColorMap).map(Some)
}

fn palette_colour(palette: &[u16], index: u8) -> [u8; 3] {
    let colours = palette.len() / 3;
    [0, 1, 2].map(|channel| {
        let place = channel * colours + usize::from(index);
        if usize::from(index) < colours { (palette[place] >> 8) as u8 } else { 0 }
    })
}

/// The file with its first picture called grey; none for a BigTIFF, whose directory is another.
fn without_palette(bytes: &[u8]) -> Option<Vec<u8>> {
    let little = bytes.starts_with(b"II\x2a\0");
    if !little && !bytes.starts_with(b"MM\0\x2a") {
        return None;
    }
    let word = |at: usize| {
        let two = <[u8; 2]>::try_from(bytes.get(at..at + 2)?).ok()?;
        Some(if little { u16::from_le_bytes(two) } else { u16::from_be_bytes(two) })
    };
    let offset = <[u8; 4]>::try_from(bytes.get(4..8)?).ok()?;
    let offset = if little { u32::from_le_bytes(offset) } else { u32::from_be_bytes(offset) };
    let directory = offset as usize;
    let entries = (0..usize::from(word(directory)?)).map(|entry| directory + 2 + 12 * entry);
    let tag = Tag::PhotometricInterpretation.to_u16();
    let place = entries.into_iter().find(|&at| word(at) == Some(tag))? + 8;
    let grey = PhotometricInterpretation::BlackIsZero.to_u16();
    let mut changed = bytes.to_vec();
    let two = if little { grey.to_le_bytes() } else { grey.to_be_bytes() };
    changed.get_mut(place..place + 2)?.copy_from_slice(&two);
    Some(changed)
}

/// Refuses strips and tiles that are JPEGs larger than the whole: their decoder asks for the memory of what they say.
fn bounded_jpegs(
    decoder: &mut Decoder<Cursor<&[u8]>>,
    bytes: &[u8],
    (height, width): (u32, u32),
) -> Result<(), String> {
    let bad = |error: TiffError| undecodable(&error);
    let method = decoder.find_tag_unsigned::<u16>(Tag::Compression).map_err(bad)?;
    if method != Some(CompressionMethod::ModernJPEG.to_u16()) {
        return Ok(());
    }
    for tag in [Tag::StripOffsets, Tag::TileOffsets] {
        let offsets = decoder.find_tag_unsigned_vec::<u64>(tag).map_err(bad)?;
        for offset in offsets.into_iter().flatten() {
            let part = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..));
            // Tiles are of the same size at the edges, which they may stand over.
            let fits = |(h, w): (u32, u32)| {
                h.max(w) <= MAX_SIDE && u64::from(h) * u64::from(w) * 4 <= MAX_ALLOC
            };
            if part.and_then(whole::jpeg_size).is_some_and(|size| !fits(size)) {
                return Err(too_large(height, width));
            }
        }
    }
    Ok(())
}
