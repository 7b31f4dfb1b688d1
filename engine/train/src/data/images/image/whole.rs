//! Whether a file is all there, where its decoder makes up what is missing or asks for memory before it looks.

use super::{MAX_ALLOC, too_large};

/// Walks a JPEG from marker to marker to its end, as libjpeg does: what lies between is not looked at, what follows the
/// end may be anything.
///
/// # Errors
/// No end marker behind a scan, a second start or frame header, an unknown marker, a segment longer than the file.
pub(super) fn jpeg(bytes: &[u8]) -> Result<(), String> {
    let cut = || format!("its {} bytes end before its end marker: it is cut off", bytes.len());
    let (mut at, mut frame, mut scan) = (2, false, false);
    loop {
        // Scans hold 0xff as 0xff00, and 0xff may be repeated before a marker.
        while bytes.get(at) != Some(&0xff) || matches!(bytes.get(at + 1), Some(0 | 0xff)) {
            at += 1;
            if at + 1 >= bytes.len() {
                return Err(cut());
            }
        }
        let marker = *bytes.get(at + 1).ok_or_else(cut)?;
        at += 2;
        match marker {
            0xd9 if scan => return Ok(()),
            // Restart markers, and TEM: they have no length.
            0x01 | 0xd0..=0xd7 => continue,
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf if !frame => frame = true,
            0xda if frame => scan = true,
            0xc4 | 0xcc | 0xdb..=0xdd | 0xe0..=0xef | 0xfe => {}
            other => {
                return Err(format!(
                    "it is damaged: marker {other:#04x} stands at byte {}",
                    at - 2
                ));
            }
        }
        let length = bytes.get(at..at + 2).ok_or_else(cut)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        if length < 2 {
            return Err(format!("it is damaged: the segment at byte {at} has no length"));
        }
        at += length;
    }
}

/// Height and width of the frame of a JPEG that begins at the first of `bytes`.
pub(super) fn jpeg_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        let (&[0xff, marker], rest) = bytes.get(at..)?.split_first_chunk::<2>()? else {
            return None;
        };
        let length = u16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            let word =
                |k: usize| Some(u32::from(u16::from_be_bytes([*rest.get(k)?, *rest.get(k + 1)?])));
            return Some((word(3)?, word(5)?));
        }
        at += 2 + usize::from(length);
    }
}

/// Whether all chunks of a WebP are there, and its frames no larger than what is decoded.
///
/// # Errors
/// A chunk beyond the file's own length, or one beyond its bytes; a frame that needs too much memory.
pub(super) fn webp(bytes: &[u8]) -> Result<(), String> {
    let word = |at: usize| {
        let four = bytes.get(at..at + 4)?;
        Some(u32::from_le_bytes(four.try_into().ok()?) as usize)
    };
    let length = word(4).and_then(|length| length.checked_add(8));
    let inside = length.and_then(|length| bytes.get(..length)).ok_or_else(|| {
        format!("its {} bytes are fewer than it says: it is cut off", bytes.len())
    })?;
    chunks(inside.get(12..).unwrap_or(&[]))
}

fn chunks(mut rest: &[u8]) -> Result<(), String> {
    while let Some((head, behind)) = rest.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let name = head[..4].escape_ascii();
        let body = behind
            .get(..length)
            .ok_or_else(|| format!("its part {name} is longer than the file: it is cut off"))?;
        match (&head[..4], body) {
            (b"ANMF", [_, ..]) => chunks(body.get(16..).unwrap_or(&[]))?,
            // A tag of 3 bytes, 3 of a start code, then 14 bits of width and of height.
            (b"VP8 ", [_, _, _, _, _, _, w0, w1, h0, h1, ..]) => {
                frame(u16::from_le_bytes([*h0, *h1]), u16::from_le_bytes([*w0, *w1]))?;
            }
            _ => {}
        }
        rest = behind.get(length.next_multiple_of(2)..).unwrap_or(&[]);
    }
    Ok(())
}

fn frame(height: u16, width: u16) -> Result<(), String> {
    let (height, width) = (u32::from(height & 0x3fff), u32::from(width & 0x3fff));
    let bytes = u64::from(height) * u64::from(width) * 3;
    if bytes > MAX_ALLOC { Err(too_large(height, width)) } else { Ok(()) }
}
