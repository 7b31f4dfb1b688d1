//! Taking an uploaded archive apart: how much of the disk it may take. `engine::data::unpack` does the work.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use engine::data;

/// Bytes of the disk that uploads leave free.
pub(crate) const RESERVE: u64 = 1 << 30;
/// Bytes after decompression: in all, and for each byte that was sent.
const UNPACKED: u64 = 8 << 30;
const RATIO: u64 = 100;

/// Writes what is data in the archive at `archive` into the empty `folder`. What it is, its first bytes say.
///
/// # Errors
/// A sentence on what is wrong with the archive, or what the system refuses.
pub(crate) fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    data::unpack(archive, folder, room(archive, folder)?)?;
    Ok(())
}

/// Bytes that what was sent may come to in `folder`.
///
/// # Errors
/// The disk has no room.
pub(crate) fn room(archive: &Path, folder: &Path) -> Result<u64> {
    let sent = archive.metadata().context("the upload cannot be read")?.len();
    let most = UNPACKED.min(sent.saturating_mul(RATIO).saturating_add(1 << 20));
    let room = fs4::available_space(folder).map_or(u64::MAX, |free| free.saturating_sub(RESERVE));
    ensure!(room > 0, "the disk has no room for the upload");
    Ok(most.min(room))
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Seek, Write};

    use engine::config::{DataKind, ImageKind, Images};
    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::super::survey::{Surveyed, survey};
    use super::*;

    fn png(side: u32, grey: u8) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let picture = image::GrayImage::from_pixel(side, side, image::Luma([grey]));
        picture.write_to(&mut bytes, image::ImageFormat::Png).expect("written");
        bytes.into_inner()
    }

    fn zip_of(files: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            let options = SimpleFileOptions::default().compression_method(method);
            zip.start_file(*name, options).expect("started");
            zip.write_all(bytes).expect("written");
        }
        zip.finish().expect("an archive").into_inner()
    }

    /// As the process of an upload does: taken apart, then read. Nothing lies beside the folder afterwards.
    fn upload(bytes: &[u8]) -> Result<Surveyed, String> {
        let outside = tempfile::tempdir().expect("folder");
        let mut archive = tempfile::NamedTempFile::new().expect("a file");
        archive.write_all(bytes).expect("written");
        archive.rewind().expect("rewound");
        let (set, thumbnails) = (outside.path().join("set"), outside.path().join("thumbnails"));
        std::fs::create_dir(&set).expect("made");
        std::fs::create_dir(&thumbnails).expect("made");
        let unpacked = unpack(archive.path(), &set);
        assert_eq!(std::fs::read_dir(outside.path()).expect("read").count(), 2);
        unpacked.map_err(|error| format!("{error:#}"))?;
        let path = Some(set.to_string_lossy().into_owned());
        let data = Images { kind: data::images::kind_of(&set), path, ..Images::default() };
        assert!(matches!(data.kind, ImageKind::Folder | ImageKind::Idx));
        let surveyed = survey(DataKind::Images(data.kind), data.path.clone(), &thumbnails)
            .map_err(|error| format!("{error:#}"))?;
        for (index, _) in &surveyed.train.samples {
            let picture =
                image::open(thumbnails.join(format!("train-{index}.png"))).expect("a PNG");
            assert!(picture.width() <= 128 && picture.height() <= 128);
        }
        Ok(surveyed)
    }

    #[test]
    fn a_zip_of_pictures_and_a_tar_of_idx_files_are_data_sets() {
        let (small, large) = (png(3, 1), png(300, 2));
        let files = [
            ("set/train/dog/2.png", &small[..]),
            ("set/train/cat/1.png", &large),
            ("set/train/cat/2.png", &small),
            ("set/test/cat/1.png", &small),
            ("set/notes.txt", b"hello"),
            ("__MACOSX/set/train/cat/._1.png", b"x"),
        ];
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let surveyed = upload(&zip_of(&files, method)).expect("a data set");
            assert_eq!(surveyed.classes, ["cat", "dog"]);
            assert_eq!(
                (&surveyed.train.counts[..], &surveyed.test.counts[..]),
                (&[2, 1][..], &[1, 0][..])
            );
            let said = surveyed.account.lines().join("\n");
            for words in [
                "skipped 2: 1 of another kind (set/notes.txt); 1 in __MACOSX",
                "no test pictures of \"dog\"",
                "\"set\" was opened",
            ] {
                assert!(said.contains(words), "{said}");
            }
        }
        let mut tar = tar::Builder::new(Vec::new());
        let images: Vec<u8> =
            [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1][..], &[7, 8]].concat();
        let labels = [0, 0, 8, 1, 0, 0, 0, 2, 1, 0];
        for (name, bytes) in [
            ("MNIST/raw/train-images-idx3-ubyte", &images[..]),
            ("MNIST/raw/train-labels-idx1-ubyte", &labels),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, bytes).expect("written");
        }
        let surveyed = upload(&tar.into_inner().expect("an archive")).expect("a data set");
        assert_eq!((&surveyed.train.counts[..], surveyed.train.samples.len()), (&[1, 1][..], 2));
    }

    #[test]
    fn what_is_hostile_or_broken_is_refused_in_a_sentence() {
        let picture = png(3, 1);
        let stored = CompressionMethod::Stored;
        let good = zip_of(&[("train/a/1.png", &picture)], stored);
        let mut link = ZipWriter::new(Cursor::new(Vec::new()));
        link.add_symlink("train/a/1.png", "/etc/passwd", SimpleFileOptions::default())
            .expect("linked");
        let mut damaged = good.clone();
        let at = damaged.windows(4).position(|bytes| bytes == b"IDAT").expect("pixels");
        damaged[at + 6] ^= 1;
        // A header that claims 65535 × 65535 pixels, with the sum that belongs to it.
        let mut huge = picture.clone();
        huge[16..24].copy_from_slice(&[0, 0, 255, 255, 0, 0, 255, 255]);
        let mut crc = flate2::Crc::new();
        crc.update(&huge[12..29]);
        huge[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        for (bytes, words) in [
            (zip_of(&[("../x/train/a/1.png", &picture)], stored), "leaves the archive"),
            (zip_of(&[("train/..\\..\\1.png", &picture)], stored), "leaves the archive"),
            (zip_of(&[("/train/a/1.png", &picture)], stored), "absolute path"),
            (zip_of(&[("train/a/1.png", &huge)], stored), "more than 16384 on a side"),
            (
                zip_of(&[("train/a/1.png", &vec![0; 300 << 20])], CompressionMethod::Deflated),
                "unpacks to more than",
            ),
            (zip_of(&[("readme.md", b"hello")], stored), "holds no pictures"),
            (link.finish().expect("an archive").into_inner(), "1 behind links (train/a/1.png)"),
            (zip_of(&[("train/a/1.png", b"no picture")], stored), "begins as no JPEG"),
            (good[..good.len() - 30].to_vec(), "no whole zip archive"),
            (damaged, "is damaged"),
            (b"PK\x03\x04".to_vec(), "no whole zip archive"),
            (b"hello".to_vec(), "archive"),
            (Vec::new(), "is empty"),
        ] {
            let error = upload(&bytes).expect_err(words);
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
