//! One picture as bytes, and decoding the kinds of files that torchvision's `ImageFolder` takes, within limits.
//!
//! The pixels are those of Pillow's `convert("RGB")`: palettes are looked up, grey is repeated, alpha is dropped, of 16
//! bits the high byte stays, no orientation and no colour profile is applied. JPEG's rounding and the smoothing of its
//! chroma are the decoder's own; a bitmap of 16 bits a pixel and a plain PGM of an odd maximum are off by 1 at most.
//! On purpose another is grey of 16 bits: Pillow cuts it off at 255, which leaves white, and here it is scaled.
//!
//! Pillow 13 also is the judge of damage: what `Image.open(…).convert("RGB")` refuses is an error here. Of 3,055 files
//! that were cut, made longer or had one bit or byte changed, 98 are judged otherwise:
//!
//! * Stricter here (84): a PNG without `IEND` or with a wrong sum of an `IDAT`; a BMP that lacks the padding of its last
//!   row; wrong bits of a fax; sizes beyond the limits. So are a JPEG with other bytes in place of its end marker, other
//!   formats under one of these names (GIF among them), and rare sorts of TIFF: floats, signed numbers, Lab, uncompressed
//!   YCbCr, Group 3, ZSTD, LZMA.
//! * Laxer here (14): a wrong table or parameter of a progressive JPEG's scan, later frames and unread alpha of a WebP, a
//!   row of an RLE bitmap that ends early.
//!
//! As in Pillow, wrong bits inside a JPEG's scan (lost restarts too) are decoded to wrong pixels: it has no sums.

mod tiff;
mod whole;

use std::io::Cursor;

use ::image::{
    DynamicImage, GrayImage, ImageError, ImageFormat, ImageReader, Limits, RgbImage,
    imageops::thumbnail,
};

use super::super::DataError;

/// The widest and tallest picture that is decoded.
pub(super) const MAX_SIDE: u32 = 16_384;
/// The most memory that decoding one picture may ask for.
pub(super) const MAX_ALLOC: u64 = 256 << 20;
/// The longest file of a picture that is read.
pub(super) const MAX_BYTES: u64 = 64 << 20;

/// What the names of pictures end in, in any case: what torchvision's `ImageFolder` takes.
pub(super) const EXTENSIONS: [&str; 9] =
    ["jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff", "ppm", "pgm"];

/// A picture: bytes in (height, width, channels) order, channels fastest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Bytes of a pixel: 1 is grey, 3 is red, green, blue.
    pub channels: usize,
    /// height · width · channels bytes.
    pub pixels: Vec<u8>,
}

impl Image {
    /// Decodes a picture as RGB. `name` stands in the error.
    ///
    /// # Errors
    /// Another format, a file that is damaged or not all there, one above 64 MiB, a side above 16,384 pixels or more
    /// memory than 256 MiB.
    pub fn decode(bytes: &[u8], name: &str) -> Result<Self, DataError> {
        decode(bytes).map_err(|problem| DataError::Image { name: name.into(), problem })
    }

    /// The same picture with `channels` channels: grey is repeated, colour becomes luma as in Pillow (ITU-R 601).
    pub fn with_channels(self, channels: usize) -> Self {
        let pixels = match (self.channels, channels) {
            (from, to) if from == to => return self,
            (1, to) => self.pixels.iter().flat_map(|&grey| std::iter::repeat_n(grey, to)).collect(),
            (from, _) => self
                .pixels
                .chunks_exact(from)
                .map(|pixel| luma(pixel[0], pixel[1], pixel[2]))
                .collect(),
        };
        Self { pixels, channels, ..self }
    }

    /// The same picture, made smaller where a side has more than `side` pixels, for who looks at it.
    #[must_use]
    pub fn within(self, side: u32) -> Self {
        let (height, width) = (self.height as u32, self.width as u32);
        if height.max(width) <= side {
            return self;
        }
        let Self { channels, pixels, .. } = self;
        let scale = f64::from(side) / f64::from(height.max(width));
        let [height, width] =
            [height, width].map(|n| ((f64::from(n) * scale).round() as u32).max(1));
        let made = match channels {
            1 => GrayImage::from_raw(self.width as u32, self.height as u32, pixels)
                .map(|of| thumbnail(&of, width, height).into_raw()),
            _ => RgbImage::from_raw(self.width as u32, self.height as u32, pixels)
                .map(|of| thumbnail(&of, width, height).into_raw()),
        };
        let (height, width) = (height as usize, width as usize);
        Self { height, width, channels, pixels: made.expect("a picture has all its pixels") }
    }

    /// RGB of pixels that have 1 (grey), 2 (grey, alpha), 3 (RGB) or more channels, of which the first three count.
    fn rgb(height: u32, width: u32, channels: usize, pixels: Vec<u8>) -> Self {
        let (height, width) = (height as usize, width as usize);
        let pixels = match channels {
            1 | 2 => pixels.iter().step_by(channels).flat_map(|&grey| [grey; 3]).collect(),
            3 => pixels,
            _ => pixels
                .chunks_exact(channels)
                .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
                .collect(),
        };
        Self { height, width, channels: 3, pixels }
    }
}

/// Pillow's `convert("L")`: weights 0.299, 0.587, 0.114 in sixteenths of a bit, rounded.
fn luma(red: u8, green: u8, blue: u8) -> u8 {
    ((u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471 + 0x8000) >> 16)
        as u8
}

/// A format, told by how a file begins and not by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Jpeg,
    Png,
    Bmp,
    Pnm,
    Tiff,
    WebP,
}

impl Kind {
    fn of(bytes: &[u8]) -> Result<Self, String> {
        match bytes {
            [0xff, 0xd8, 0xff, ..] => Ok(Self::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Ok(Self::Png),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Self::WebP),
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Ok(Self::Tiff),
            [b'P', b'1'..=b'6', ..] => Ok(Self::Pnm),
            [b'B', b'M', ..] => Ok(Self::Bmp),
            _ => Err("it begins as no JPEG, PNG, WebP, TIFF, BMP, PPM or PGM does".into()),
        }
    }

    /// The format where [`::image`] decodes it for us.
    fn format(self) -> Option<ImageFormat> {
        match self {
            Self::Jpeg => Some(ImageFormat::Jpeg),
            Self::Bmp => Some(ImageFormat::Bmp),
            Self::Pnm => Some(ImageFormat::Pnm),
            Self::WebP => Some(ImageFormat::WebP),
            Self::Png | Self::Tiff => None,
        }
    }
}

fn decode(bytes: &[u8]) -> Result<Image, String> {
    let (height, width) = size(bytes)?;
    let kind = Kind::of(bytes)?;
    match kind {
        Kind::Jpeg => whole::jpeg(bytes)?,
        Kind::WebP => whole::webp(bytes)?,
        _ => {}
    }
    match kind.format() {
        Some(format) => {
            let mut limits = Limits::no_limits();
            limits.max_image_width = Some(MAX_SIDE);
            limits.max_image_height = Some(MAX_SIDE);
            limits.max_alloc = Some(MAX_ALLOC);
            let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
            reader.limits(limits);
            reader.decode().map(flat).map_err(|error| match error {
                ImageError::Limits(_) => too_large(height, width),
                other => undecodable(&other),
            })
        }
        None if kind == Kind::Png => png(bytes),
        None => tiff::decode(bytes, height, width),
    }
}

fn undecodable(error: &dyn std::fmt::Display) -> String {
    format!("it cannot be decoded: {error}")
}

fn too_large(height: u32, width: u32) -> String {
    format!("decoding {width}×{height} pixels needs more than {} MiB", MAX_ALLOC >> 20)
}

/// Height and width from the picture's header alone, refused above [`MAX_SIDE`].
pub(super) fn dimensions(bytes: &[u8], name: &str) -> Result<(u32, u32), DataError> {
    size(bytes).map_err(|problem| DataError::Image { name: name.into(), problem })
}

fn size(bytes: &[u8]) -> Result<(u32, u32), String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("its file is longer than {} MiB", MAX_BYTES >> 20));
    }
    // Some of the decoders' sentences end in a new line.
    let bad = |error: &dyn std::fmt::Display| {
        format!("its header cannot be read: {}", error.to_string().trim_end())
    };
    let kind = Kind::of(bytes)?;
    let (width, height) = match kind.format() {
        Some(format) => ImageReader::with_format(Cursor::new(bytes), format)
            .into_dimensions()
            .map_err(|error| bad(&error))?,
        None if kind == Kind::Png => {
            let mut decoder = png_decoder(bytes);
            let header = decoder.read_header_info().map_err(|error| bad(&error))?;
            (header.width, header.height)
        }
        None => tiff::dimensions(bytes).map_err(|error| bad(&error))?,
    };
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(format!("{width}×{height} pixels are more than {MAX_SIDE} on a side"));
    }
    if width == 0 || height == 0 {
        return Err("it has no pixels".into());
    }
    Ok((height, width))
}

/// A decoder that checks all sums: those of chunks, as Pillow does, and those of the data in them.
fn png_decoder(bytes: &[u8]) -> png::Decoder<Cursor<&[u8]>> {
    let mut options = png::DecodeOptions::default();
    options.set_ignore_adler32(false);
    options.set_skip_ancillary_crc_failures(false);
    let mut decoder = png::Decoder::new_with_options(Cursor::new(bytes), options);
    decoder.set_limits(png::Limits { bytes: MAX_ALLOC as usize });
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    decoder
}

fn png(bytes: &[u8]) -> Result<Image, String> {
    let mut reader = png_decoder(bytes).read_info().map_err(|error| undecodable(&error))?;
    let (width, height) = (reader.info().width, reader.info().height);
    let length = reader.output_buffer_size().filter(|&length| length as u64 <= MAX_ALLOC);
    let mut pixels = vec![0; length.ok_or_else(|| too_large(height, width))?];
    let frame = reader.next_frame(&mut pixels).map_err(|error| match error {
        png::DecodingError::LimitsExceeded => too_large(height, width),
        other => undecodable(&other),
    })?;
    Ok(Image::rgb(height, width, frame.color_type.samples(), pixels))
}

/// What a decoder gave as RGB. Only PNM comes with 16 bits, and Pillow rounds it as this does.
fn flat(decoded: DynamicImage) -> Image {
    let (height, width) = (decoded.height(), decoded.width());
    match decoded {
        DynamicImage::ImageLuma8(grey) => Image::rgb(height, width, 1, grey.into_raw()),
        other => Image::rgb(height, width, 3, other.into_rgb8().into_raw()),
    }
}

#[cfg(test)]
pub(in crate::data) mod tests;
