//! One picture as bytes, and decoding JPEG and PNG within limits.

use std::io::Cursor;

use ::image::{ColorType, DynamicImage, ImageError, ImageFormat, ImageReader, Limits};

use super::DataError;

/// The widest and tallest picture that is decoded.
pub(super) const MAX_SIDE: u32 = 16_384;
/// The most memory that decoding one picture may ask for.
pub(super) const MAX_ALLOC: u64 = 256 << 20;

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
    /// Decodes a JPEG or PNG as RGB. `name` stands in the error.
    ///
    /// # Errors
    /// Another format, a damaged file, a side above 16,384 pixels or more memory than 256 MiB.
    pub fn decode(bytes: &[u8], name: &str) -> Result<Self, DataError> {
        let fail = |problem: String| DataError::Image { name: name.into(), problem };
        let (height, width) = dimensions(bytes, name)?;
        let mut limits = Limits::no_limits();
        limits.max_image_width = Some(MAX_SIDE);
        limits.max_image_height = Some(MAX_SIDE);
        limits.max_alloc = Some(MAX_ALLOC);
        let mut reader = reader(bytes, name)?;
        reader.limits(limits);
        let decoded = reader.decode().map_err(|error| fail(explain(&error, height, width)))?;
        Ok(Self::from(decoded))
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
}

/// Pillow's `convert("L")`: weights 0.299, 0.587, 0.114 in sixteenths of a bit, rounded.
fn luma(red: u8, green: u8, blue: u8) -> u8 {
    ((u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471 + 0x8000) >> 16)
        as u8
}

impl From<DynamicImage> for Image {
    fn from(decoded: DynamicImage) -> Self {
        let (height, width) = (decoded.height() as usize, decoded.width() as usize);
        match decoded.color() {
            ColorType::L8 => {
                Self { height, width, channels: 1, pixels: decoded.into_luma8().into_raw() }
                    .with_channels(3)
            }
            _ => Self { height, width, channels: 3, pixels: decoded.into_rgb8().into_raw() },
        }
    }
}

/// Height and width from the picture's header alone, refused above [`MAX_SIDE`].
pub(super) fn dimensions(bytes: &[u8], name: &str) -> Result<(u32, u32), DataError> {
    let fail = |problem: String| DataError::Image { name: name.into(), problem };
    let (width, height) = reader(bytes, name)?
        .into_dimensions()
        .map_err(|error| fail(format!("its header cannot be read: {error}")))?;
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(fail(format!("{width}×{height} pixels are more than {MAX_SIDE} on a side")));
    }
    if width == 0 || height == 0 {
        return Err(fail("it has no pixels".into()));
    }
    Ok((height, width))
}

fn reader<'a>(bytes: &'a [u8], name: &str) -> Result<ImageReader<Cursor<&'a [u8]>>, DataError> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let reader = reader
        .map_err(|error| DataError::Image { name: name.into(), problem: error.to_string() })?;
    match reader.format() {
        Some(ImageFormat::Jpeg | ImageFormat::Png) => Ok(reader),
        _ => Err(DataError::Image {
            name: name.into(),
            problem: "it is neither a JPEG nor a PNG".into(),
        }),
    }
}

fn explain(error: &ImageError, height: u32, width: u32) -> String {
    match error {
        ImageError::Limits(_) => {
            format!("decoding {width}×{height} pixels needs more than {} MiB", MAX_ALLOC >> 20)
        }
        other => format!("it cannot be decoded: {other}"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A PNG of one colour.
    pub(in crate::data) fn png(height: u32, width: u32, colour: [u8; 3]) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        ::image::RgbImage::from_pixel(width, height, ::image::Rgb(colour))
            .write_to(&mut bytes, ImageFormat::Png)
            .unwrap();
        bytes.into_inner()
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
        let image = Image::decode(&png(2, 3, [1, 2, 3]), "x").unwrap();
        assert_eq!((image.height, image.width, image.channels), (2, 3, 3));
        assert_eq!(image.pixels[..6], [1, 2, 3, 1, 2, 3]);
        let grey = ::image::GrayImage::from_pixel(1, 1, ::image::Luma([7]));
        let mut bytes = Cursor::new(Vec::new());
        grey.write_to(&mut bytes, ImageFormat::Png).unwrap();
        assert_eq!(Image::decode(bytes.get_ref(), "x").unwrap().pixels, [7, 7, 7]);
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

    #[test]
    fn bombs_and_strangers_are_refused_in_a_sentence() {
        for (bytes, words) in [
            (lying_png(20_000, 10), "more than 16384 on a side"),
            (lying_png(16_000, 16_000), "needs more than 256 MiB"),
            (png(4, 4, [9; 3])[..40].to_vec(), "cannot be"),
            (b"GIF89a".to_vec(), "neither a JPEG nor a PNG"),
            (Vec::new(), "neither a JPEG nor a PNG"),
        ] {
            let error = Image::decode(&bytes, "cat.png").unwrap_err().to_string();
            assert!(error.starts_with("image cat.png: ") && error.contains(words), "{error}");
        }
    }
}
