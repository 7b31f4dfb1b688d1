use ::tar::{Builder, EntryType, Header};
use ::zip::write::SimpleFileOptions;
use ::zip::{CompressionMethod, ZipWriter};
use std::io::Cursor;

use super::super::account::Reason;
use super::*;

/// A tar of (name, bytes); names are written as they are, however bad.
pub(in crate::data) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, bytes) in files {
        append(&mut builder, EntryType::Regular, name.as_bytes(), bytes);
    }
    builder.into_inner().unwrap()
}

/// A zip of (name, bytes).
pub(in crate::data) fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        zip.start_file(*name, stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// One more entry of any kind, with a header as it is given.
pub(in crate::data) fn append(
    builder: &mut Builder<Vec<u8>>,
    kind: EntryType,
    name: &[u8],
    bytes: &[u8],
) {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(bytes.len() as u64);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_cksum();
    builder.append(&header, bytes).unwrap();
}

/// A hard link.
pub(in crate::data) fn link(builder: &mut Builder<Vec<u8>>, name: &str, target: &str) {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Link);
    header.set_size(0);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_link_name(target).unwrap();
    header.set_cksum();
    builder.append(&header, &[][..]).unwrap();
}

/// A record of an extended header.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length += 1;
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

type Files = Vec<(String, Vec<u8>)>;

/// Every file that is listed, with its bytes, in the order of the list; and what was left out.
fn try_read(bytes: &[u8], caps: Caps) -> Result<(Files, Account), String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let words = |error: DataError| error.to_string();
    let archive = Archive::open(&file.path().into(), caps).map_err(words)?;
    let mut account = Account::default();
    let listing = archive.list(&mut account).map_err(words)?;
    let read = archive.read(listing.files.iter().map(|file| file.entry)).map_err(words)?;
    let file = |file: crate::data::listing::File| (file.name, read[&file.entry].clone());
    Ok((listing.files.into_iter().map(file).collect(), account))
}

fn read(bytes: &[u8]) -> Result<(Files, Account), String> {
    try_read(bytes, Caps::default())
}

/// How many were skipped for a reason, and the first names.
fn skipped(account: &Account, reason: Reason) -> (u64, Vec<&str>) {
    let skipped = &account.skipped[&reason];
    (skipped.count, skipped.first.iter().map(String::as_str).collect())
}

#[test]
fn tar_gzip_and_zip_give_the_same_files() {
    let files: [(&str, &[u8]); 4] = [
        ("./a/1.jpg", b"one"),
        ("a/._1.jpg", b"mac"),
        ("__MACOSX/a/1.jpg", b"mac"),
        ("a/2 ?:.jpg", b"two"),
    ];
    for bytes in [tar(&files), gzip(&tar(&files)), zip(&files)] {
        let (found, account) = read(&bytes).unwrap();
        assert_eq!(
            found,
            [("a/1.jpg".into(), b"one".to_vec()), ("a/2 ?:.jpg".into(), b"two".to_vec())]
        );
        assert_eq!(skipped(&account, Reason::Hidden), (1, vec!["a/._1.jpg"]));
        assert_eq!(skipped(&account, Reason::Macos), (1, vec!["__MACOSX/a/1.jpg"]));
    }
}

#[test]
fn other_archives_are_named() {
    for (magic, word) in [
        (&b"\xfd7zXZ\0rest"[..], "an xz archive"),
        (b"BZh91AY", "a bzip2 archive"),
        (b"\x28\xb5\x2f\xfdxx", "a zstd archive"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!\x1a\x07\x01", "a rar archive"),
    ] {
        let error = read(magic).unwrap_err();
        assert!(error.contains(word) && error.contains("tar.gz or zip"), "{error}");
    }
    assert!(read(b"").unwrap_err().contains("is empty"));
    assert!(read(b"hello").unwrap_err().contains("is no tar, tar.gz or zip archive"));
}

#[test]
fn long_names_are_read() {
    let name = format!("{}/x.jpg", "long".repeat(60));
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(1);
    builder.append_data(&mut header, &name, &b"x"[..]).unwrap();
    append(&mut builder, EntryType::XHeader, b"pax", b"20 path=other/y.jpg\n12 mtime=12\n");
    append(&mut builder, EntryType::Regular, b"short.jpg", b"y");
    let (files, _) = read(&builder.into_inner().unwrap()).unwrap();
    assert_eq!(files, [(name, b"x".to_vec()), ("other/y.jpg".into(), b"y".to_vec())]);
}

#[test]
fn extended_records_are_read_by_their_length() {
    let mut builder = Builder::new(Vec::new());
    // A value with newlines, one that looks like a record, a name with a newline, and a size that counts.
    let records = [
        record("SCHILY.xattr.com.apple.x", b"a\nb\n12 path=no.jpg\n\0\xff"),
        record("path", "n\u{e9}w\nline.jpg".as_bytes()),
        record("size", b"3"),
    ]
    .concat();
    append(&mut builder, EntryType::XHeader, b"pax", &records);
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_size(0);
    header.as_mut_bytes()[..5].copy_from_slice(b"1.jpg");
    header.set_cksum();
    let mut bytes = builder.into_inner().unwrap();
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(header.as_bytes());
    bytes.extend(b"abc");
    bytes.resize(bytes.len() + 509, 0);
    bytes.extend(tar(&[("2.jpg", b"two")]));
    let (files, _) = read(&bytes).unwrap();
    assert_eq!(
        files,
        [("n\u{e9}w\nline.jpg".into(), b"abc".to_vec()), ("2.jpg".into(), b"two".to_vec())]
    );
    for bad in [&b"99 path=x\n"[..], b"path=x\n", b"9 path=xyz\n", b"5 a=\n6 x"] {
        let mut builder = Builder::new(Vec::new());
        append(&mut builder, EntryType::XHeader, b"pax", bad);
        append(&mut builder, EntryType::Regular, b"1.jpg", b"x");
        let error = read(&builder.into_inner().unwrap()).unwrap_err();
        assert!(error.contains("extended header that is damaged"), "{error}");
    }
}

#[test]
fn names_that_leave_the_archive_refuse_all_of_it() {
    for (name, words) in [
        ("a/../../b.jpg", "leaves the archive"),
        ("..\\b.jpg", "leaves the archive"),
        ("/etc/b.jpg", "absolute"),
        ("C:/b.jpg", "absolute"),
        ("/etc/passwd", "absolute"),
    ] {
        for bytes in [tar(&[(name, b"x")]), zip(&[(name, b"x")])] {
            let error = read(&bytes).unwrap_err();
            let shown = name.replace('\\', "/");
            assert!(error.replace('\\', "/").contains(&format!("\"{shown}\"")), "{error}");
            assert!(error.contains(words), "{error}");
        }
    }
    let mut builder = Builder::new(Vec::new());
    append(&mut builder, EntryType::XHeader, b"pax", &record("path", b"../y\x1b.jpg"));
    append(&mut builder, EntryType::Regular, b"fine.jpg", b"y");
    let error = read(&builder.into_inner().unwrap()).unwrap_err();
    assert!(error.contains("\"../y\\u{1b}.jpg\""), "{error}");
}

#[test]
fn a_hard_link_is_the_file_that_it_names() {
    let mut builder = Builder::new(Vec::new());
    append(&mut builder, EntryType::Regular, b"./a/1.jpg", b"one");
    link(&mut builder, "a/2.jpg", "a/1.jpg");
    link(&mut builder, "a/3.jpg", "a/2.jpg");
    link(&mut builder, "a/4.jpg", "a/5.jpg");
    append(&mut builder, EntryType::Regular, b"a/1.jpg", b"new");
    let (files, account) = read(&builder.into_inner().unwrap()).unwrap();
    let file = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.to_vec());
    assert_eq!(files, [file("a/1.jpg", b"new"), file("a/2.jpg", b"one"), file("a/3.jpg", b"one")]);
    assert_eq!(skipped(&account, Reason::Link), (1, vec!["a/4.jpg"]));
    assert_eq!(skipped(&account, Reason::Twice), (1, vec!["a/1.jpg"]));
}

#[test]
fn what_is_no_file_is_skipped_and_counted() {
    for (kind, reason) in [
        (EntryType::Symlink, Reason::Link),
        (EntryType::Char, Reason::Device),
        (EntryType::Block, Reason::Device),
        (EntryType::Fifo, Reason::Device),
        (EntryType::GNUSparse, Reason::Packed),
        (EntryType::new(b'Z'), Reason::Packed),
    ] {
        let mut builder = Builder::new(Vec::new());
        append(&mut builder, kind, b"a/b.jpg", b"");
        append(&mut builder, EntryType::Regular, b"a/c.jpg", b"c");
        let (files, account) = read(&builder.into_inner().unwrap()).unwrap();
        assert_eq!(files, [("a/c.jpg".into(), b"c".to_vec())]);
        assert_eq!(skipped(&account, reason), (1, vec!["a/b.jpg"]), "{kind:?}");
    }
    let mut builder = Builder::new(Vec::new());
    append(&mut builder, EntryType::Regular, b"a/\xff.jpg", b"x");
    append(&mut builder, EntryType::XHeader, b"pax", &record("path", &[b'x'; 5000]));
    append(&mut builder, EntryType::Regular, b"long", b"x");
    append(&mut builder, EntryType::XHeader, b"pax", &record("GNU.sparse.major", b"1"));
    append(&mut builder, EntryType::Regular, b"sparse.jpg", b"x");
    let (files, account) = read(&builder.into_inner().unwrap()).unwrap();
    assert!(files.is_empty());
    assert_eq!(skipped(&account, Reason::BadName).0, 2);
    assert_eq!(skipped(&account, Reason::Packed).0, 1);

    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.add_symlink("a/b.jpg", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    let (files, account) = read(&zip.finish().unwrap().into_inner()).unwrap();
    assert!(files.is_empty());
    assert_eq!(skipped(&account, Reason::Link), (1, vec!["a/b.jpg"]));
}

#[test]
fn caps_hold() {
    let files: [(&str, &[u8]); 2] = [("1.jpg", &[0; 3000]), ("2.jpg", b"2")];
    for bytes in [tar(&files), zip(&files)] {
        let caps = Caps { entries: 1, file: 4000, ..Caps::default() };
        assert!(try_read(&bytes, caps).unwrap_err().contains("more than 1 entries"));
        let caps = Caps { file: 2999, ..Caps::default() };
        let error = try_read(&bytes, caps).unwrap_err();
        assert!(error.contains("\"1.jpg\" has 3000 bytes, more than the 2999"), "{error}");
        let caps = Caps { names: 9, ..Caps::default() };
        assert!(try_read(&bytes, caps).unwrap_err().contains("its names have more than"));
    }
    // Bombs: 64 MiB of zeros in some KiB.
    let zeros = vec![0; 64 << 20];
    let mut packed = ZipWriter::new(Cursor::new(Vec::new()));
    let deflated = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    packed.start_file("1.png", deflated).unwrap();
    packed.write_all(&zeros).unwrap();
    let packed = packed.finish().unwrap().into_inner();
    for bomb in [gzip(&tar(&[("1.png", &zeros)])), packed.clone()] {
        let caps = Caps { file: 1 << 30, total: 1 << 20, ..Caps::default() };
        assert!(try_read(&bomb, caps).unwrap_err().contains("unpacks to more than 1 MiB"));
    }
    // One that says it is small, in both of its places.
    let mut lying = packed;
    let said = (64u32 << 20).to_le_bytes();
    let places: Vec<usize> = (0..lying.len() - 4).filter(|&at| lying[at..at + 4] == said).collect();
    assert!(places.len() >= 2);
    places.iter().for_each(|&at| lying[at..at + 4].copy_from_slice(&1000u32.to_le_bytes()));
    let error = read(&lying).unwrap_err();
    assert!(error.contains("\"1.png\" is longer than") || error.contains("damaged"), "{error}");
}

#[test]
fn entries_of_a_zip_do_not_lie_over_one_another() {
    let mut bytes = zip(&[("1.jpg", b"one"), ("2.jpg", b"two")]);
    // The second record of the list points to the first file.
    let second = bytes.windows(4).rposition(|at| at == b"PK\x01\x02").unwrap();
    bytes[second + 42..second + 46].fill(0);
    let error = read(&bytes).unwrap_err();
    assert!(error.contains("lie over one another"), "{error}");
    // A list that announces four thousand million entries is not held.
    let mut many = zip(&[("1.jpg", b"one")]);
    let end = many.windows(4).rposition(|at| at == b"PK\x05\x06").unwrap();
    many[end + 8..end + 12].copy_from_slice(&[0xfe, 0xff, 0xfe, 0xff]);
    let caps = Caps { entries: 65_000, ..Caps::default() };
    assert!(try_read(&many, caps).unwrap_err().contains("more than 65000 entries"));
}

#[test]
fn a_lying_size_takes_no_memory() {
    let mut header = Header::new_ustar();
    header.set_size(60 << 20);
    header.as_mut_bytes()[..5].copy_from_slice(b"1.jpg");
    header.set_cksum();
    let error = read(header.as_bytes()).unwrap_err();
    assert!(error.contains("truncated"), "{error}");
}

#[test]
fn damage_is_told_and_never_shown_raw() {
    let bytes = tar(&[("1.jpg", &[7; 3000])]);
    assert!(read(&bytes[..1500]).unwrap_err().contains("truncated"));
    let zipped = gzip(&bytes);
    assert!(read(&zipped[..zipped.len() / 2]).is_err());
    assert!(read(&zipped[..zipped.len() - 3]).unwrap_err().contains("truncated"));
    // Cut where an entry ends, it looks whole but for its end mark.
    let (files, account) = read(&bytes[..512 + 3072]).unwrap();
    assert_eq!((files.len(), account.notes.len()), (1, 1));
    assert!(account.notes[0].contains("no end mark"), "{account:?}");
    // Cut inside of a header, or of the end mark, it is not whole, though what is left of that may be zeros.
    for left in [1, 100, 511] {
        let error = read(&bytes[..512 + 3072 + left]).unwrap_err();
        assert!(error.contains("truncated archive"), "{left}: {error}");
    }
    // The sum at the end of a gzip is compared.
    let mut flipped = zipped.clone();
    let sum = flipped.len() - 8;
    flipped[sum] ^= 1;
    assert!(read(&flipped).is_err());
    let error = read(&[b'x'; 2048]).unwrap_err();
    assert!(error.contains("is no tar, tar.gz or zip archive"), "{error}");
    // A header that is damaged behind a good one, and a size that is no number.
    for at in [100, 124] {
        let mut bytes = tar(&[("1.jpg", b"one"), ("\u{1b}[31mred.jpg", b"two")]);
        bytes[1024 + at] = b'z';
        if at == 124 {
            let sum: u32 = (1024..1536)
                .map(|at| if (1172..1180).contains(&at) { 32 } else { u32::from(bytes[at]) })
                .sum();
            bytes[1172..1180].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let error = read(&bytes).unwrap_err();
        assert!(error.contains("\\u{1b}[31mred.jpg") && error.contains("damaged"), "{error}");
        assert!(!error.contains('\u{1b}'));
    }
    let mut damaged = zip(&[("train/1.jpg", b"plain bytes")]);
    let at = damaged.windows(5).position(|bytes| bytes == b"plain").unwrap();
    damaged[at] ^= 1;
    let error = read(&damaged).unwrap_err();
    assert!(error.contains("\"train/1.jpg\" is damaged"), "{error}");
}

/// Python refuses it as well; the bytes of one picture must not be those of another class.
#[test]
fn the_two_names_of_a_zips_entry_are_one() {
    let mut bytes = zip(&[("train/cat/1.png", b"x"), ("train/dog/1.png", b"y")]);
    assert_eq!(read(&bytes).unwrap().0.len(), 2);
    let at = bytes.windows(3).rposition(|name| name == b"cat").unwrap();
    bytes[at..at + 3].copy_from_slice(b"cqt");
    let error = read(&bytes).unwrap_err();
    assert!(error.contains("train/cqt/1.png") && error.contains("another name"), "{error}");
}
