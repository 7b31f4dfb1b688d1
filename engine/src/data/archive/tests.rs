use tar::{Builder, Header};

use super::*;

/// A tar of (name, bytes); names are written as they are, however bad.
pub(in crate::data) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, bytes) in files {
        append(&mut builder, EntryType::Regular, name, bytes);
    }
    builder.into_inner().unwrap()
}

fn append(builder: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, bytes: &[u8]) {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(bytes.len() as u64);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    builder.append(&header, bytes).unwrap();
}

fn try_read(bytes: &[u8], caps: Caps) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    read(file.path(), caps, |parts| parts.last().is_some_and(|name| name.ends_with(".jpg")))
        .map_err(|error| error.to_string())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn plain_and_gzip_give_the_wanted_files() {
    let bytes = tar(&[("./a/1.jpg", b"one"), ("a/readme", b"no"), ("a/2.jpg", b"two")]);
    let expected = vec![("a/1.jpg".into(), b"one".to_vec()), ("a/2.jpg".into(), b"two".to_vec())];
    assert_eq!(try_read(&bytes, Caps::default()).unwrap(), expected);
    assert_eq!(try_read(&gzip(&bytes), Caps::default()).unwrap(), expected);
}

#[test]
fn long_names_are_read() {
    let name = format!("{}/x.jpg", "long".repeat(60));
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(1);
    builder.append_data(&mut header, &name, &b"x"[..]).unwrap();
    append(&mut builder, EntryType::XHeader, "pax", b"20 path=other/y.jpg\n12 mtime=12\n");
    append(&mut builder, EntryType::Regular, "short.jpg", b"y");
    let files = try_read(&builder.into_inner().unwrap(), Caps::default()).unwrap();
    assert_eq!(files, [(name, b"x".to_vec()), ("other/y.jpg".into(), b"y".to_vec())]);
}

#[test]
fn bad_names_are_refused_by_name() {
    for (name, words) in [
        ("a/../../b.jpg", "leaves the archive"),
        ("..\\b.jpg", "leaves the archive"),
        ("/etc/b.jpg", "absolute"),
        ("C:/b.jpg", "absolute"),
        ("/etc/passwd", "absolute"),
    ] {
        let error = try_read(&tar(&[(name, b"x")]), Caps::default()).unwrap_err();
        let shown: String = name.escape_debug().collect();
        assert!(error.contains(&format!("\"{shown}\"")) && error.contains(words), "{error}");
    }
    let mut builder = Builder::new(Vec::new());
    append(&mut builder, EntryType::XHeader, "pax", b"17 path=../y.jpg\n");
    append(&mut builder, EntryType::Regular, "fine.jpg", b"y");
    let error = try_read(&builder.into_inner().unwrap(), Caps::default()).unwrap_err();
    assert!(error.contains("\"../y.jpg\""), "{error}");
}

#[test]
fn links_and_devices_are_refused_by_name() {
    for (kind, words) in [
        (EntryType::Symlink, "a symbolic link"),
        (EntryType::Link, "a hard link"),
        (EntryType::Char, "a device"),
        (EntryType::Fifo, "a pipe"),
        (EntryType::GNUSparse, "a sparse file"),
        (EntryType::new(b'Z'), "an unknown kind"),
    ] {
        let mut builder = Builder::new(Vec::new());
        append(&mut builder, kind, "a/b.jpg", b"");
        let error = try_read(&builder.into_inner().unwrap(), Caps::default()).unwrap_err();
        assert!(error.contains("\"a/b.jpg\"") && error.contains(words), "{error}");
    }
}

#[test]
fn caps_hold() {
    let bytes = tar(&[("1.jpg", &[0; 3000]), ("2.jpg", b"2")]);
    let caps = Caps { entries: 1, file: 4000, total: 1 << 20 };
    assert!(try_read(&bytes, caps).unwrap_err().contains("more than 1 entries"));
    let caps = Caps { entries: 9, file: 2999, total: 1 << 20 };
    let error = try_read(&bytes, caps).unwrap_err();
    assert!(error.contains("\"1.jpg\" has 3000 bytes, more than the 2999"), "{error}");
    // A gzip bomb: 64 MiB of zeros in 300 KiB.
    let bomb = gzip(&tar(&[("1.png", &vec![0; 64 << 20])]));
    let caps = Caps { entries: 9, file: 1 << 30, total: 1 << 20 };
    assert!(try_read(&bomb, caps).unwrap_err().contains("unpacks to more than 1 MiB"));
}

#[test]
fn a_lying_size_takes_no_memory() {
    let mut header = Header::new_ustar();
    header.set_size(60 << 20);
    header.as_mut_bytes()[..5].copy_from_slice(b"1.jpg");
    header.set_cksum();
    let error = try_read(header.as_bytes(), Caps::default()).unwrap_err();
    assert!(error.contains("truncated"), "{error}");
}

#[test]
fn damage_is_told() {
    let bytes = tar(&[("1.jpg", &[7; 3000])]);
    assert!(try_read(&bytes[..1500], Caps::default()).unwrap_err().contains("truncated"));
    let zipped = gzip(&bytes);
    assert!(try_read(&zipped[..zipped.len() / 2], Caps::default()).is_err());
    let error = try_read(&[b'x'; 2048], Caps::default()).unwrap_err();
    assert!(error.contains("not a whole tar"), "{error}");
}
