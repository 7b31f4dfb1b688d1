//! Data sets of pictures in Parquet, as Hugging Face keeps them: a column `image` of structures with the pictures' `bytes`, and a column of
//! labels, of which the files' key `huggingface` has the classes' names.
//!
//! A row group is read as a whole, as its pages are packed and mostly one page. So row groups are what is held, least recently used out first,
//! and an epoch goes through them in windows that fit there (see `windows`): each is read once an epoch.

use std::collections::HashMap;
use std::fmt;
use std::io::{BufReader, Read, SeekFrom};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ::bytes::Bytes;
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use ::parquet::data_type::{ByteArray, DataType};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use ::parquet::file::reader::{ChunkReader, Length, SerializedPageReader};
use serde_json::Value;

use super::super::DataError;
use super::super::account::{Account, Reason};
use super::super::archive::Caps;
use super::super::place::Place;
use super::super::root::Root;
use super::super::stored::{Row, Stored, Together};
use super::examples::{Examples, Parts, Store};
use super::shards::{self, Shard};
use super::windows::WINDOW;
use crate::classes::numbers;
use crate::disk::{Kind, Parts as FileParts};
use crate::text::escape;

/// The most classes of labels that have no names.
const MOST_CLASSES: i64 = 1_000_000;
/// Bytes of row groups that are held: two windows, as batches ahead may be in the next one.
const HELD: u64 = 2 * WINDOW;
/// The most rows of a row group, whatever its footer says.
const MOST_ROWS: u64 = 1_000_000;
/// Bytes that are read for the header of a page.
const HEADER: usize = 8 << 10;

/// Lists the pictures of all files and reads their labels; nothing is decoded.
///
/// # Errors
/// No such files, or such as are damaged; no column of pictures or labels, or several; a row without a label.
pub(in crate::data) fn open(place: &Place) -> Result<Parts, DataError> {
    let mut account = Account::default();
    let files = found(place, &mut account)?;
    let shards::Both { train, test, others } = shards::told(&place.path, files)?;
    let mut reading = Reading::default();
    let train_labels = reading.part(&train)?;
    let mut test_labels = Vec::new();
    let mut chosen = String::new();
    for part in std::iter::once(test).chain(others) {
        let count = part.shards.len();
        if !chosen.is_empty() {
            account.note(shards::left_out(&part.name, count, &chosen));
            continue;
        }
        let labels = reading.part(&part)?;
        // What a benchmark keeps to itself has this label.
        if !labels.is_empty() && labels.iter().all(|(_, label)| *label == -1) {
            account.ignore(
                &part.name,
                labels.len() as u64,
                "its labels are all -1, which means that there are none",
            );
        } else if count > 0 {
            (test_labels, chosen) = (labels, part.name);
        }
    }
    let Reading { files, classes, columns, .. } = reading;
    let classes = classes.unwrap_or_else(|| {
        let all = train_labels.iter().chain(&test_labels);
        numbers(all.map(|(_, label)| label + 1).max().unwrap_or_default().max(0) as usize)
    });
    let table = Arc::new(Table::new(files));
    let examples = |rows: Vec<(Row, i64)>| -> Result<Option<Examples>, DataError> {
        let label = |(row, label): &(Row, i64)| match usize::try_from(*label) {
            Ok(class) if class < classes.len() => Ok(class as u32),
            _ => {
                let problem = match &columns {
                    Some(columns) => format!(
                        "has the {} {label}, where 0 to {} are allowed",
                        escape(&columns.label),
                        classes.len().saturating_sub(1)
                    ),
                    None => format!("has the label {label}"),
                };
                Err(DataError::Image { name: table.name(*row), problem })
            }
        };
        let labels: Vec<u32> = rows.iter().map(label).collect::<Result<_, _>>()?;
        let stored =
            |(at, _): (Row, i64)| Stored::Row { of: Arc::clone(&table) as Arc<dyn Together>, at };
        let store = Store::Encoded(rows.into_iter().map(stored).collect());
        let place = place.path.display().to_string();
        Ok((!labels.is_empty()).then_some(Examples { store, labels, place }))
    };
    (account.train.name, account.test.name) = (train.name, chosen);
    let (train, test) = (examples(train_labels)?, examples(test_labels)?);
    Ok(Parts { train, test, classes, account })
}

/// The files: those of a folder, or one alone.
fn found(place: &Place, account: &mut Account) -> Result<Vec<Shard>, DataError> {
    let path = &*place.path;
    if place.kind()? == Kind::File {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(vec![Shard { name, place: place.clone() }]);
    }
    let mut found = Vec::new();
    for file in Root::open(place, Caps::lying())?.list(account)?.files {
        if shards::is_parquet(&file.name) {
            found.push(Shard { place: place.join(&file.name), name: file.name });
        } else {
            account.skip(Reason::NoPicture, &file.name);
        }
    }
    if found.is_empty() {
        let problem = "holds no Parquet files; expected are train-00000-of-00001.parquet and so on, and test-….parquet or validation-….parquet";
        return Err(DataError::malformed(path, problem));
    }
    Ok(found)
}

/// Which columns count.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Columns {
    /// Places among the leaves of the schema.
    picture: usize,
    label_at: usize,
    /// The labels' name.
    label: String,
}

/// Files while they are opened.
#[derive(Default)]
struct Reading {
    files: Vec<File>,
    /// Of the first file, and so of all.
    columns: Option<Columns>,
    classes: Option<Vec<String>>,
    first: Option<String>,
    groups: u32,
}

/// A file whose footer was read.
struct File {
    chunks: Arc<Chunks>,
    metadata: ParquetMetaData,
    /// The column of pictures.
    column: usize,
}

impl Reading {
    /// The rows of a part with their labels.
    fn part(&mut self, part: &shards::Part) -> Result<Vec<(Row, i64)>, DataError> {
        let mut rows = Vec::new();
        for shard in &part.shards {
            self.file(shard, &mut rows)?;
        }
        Ok(rows)
    }

    fn file(&mut self, shard: &Shard, rows: &mut Vec<(Row, i64)>) -> Result<(), DataError> {
        let path = &*shard.place.path;
        let malformed = |problem: String| DataError::malformed(path, problem);
        let chunks = Chunks::open(&shard.place)?;
        let metadata = guarded(|| ParquetMetaDataReader::new().parse_and_finish(&chunks));
        let metadata = metadata.map_err(|error| damaged(path, &error))?;
        let features = features(&metadata).map_err(malformed)?;
        let columns = columns(&metadata, &features).map_err(malformed)?;
        let classes = features.get(&columns.label).and_then(|feature| feature.classes.clone());
        match (&self.columns, &self.first) {
            (Some(known), Some(first)) if *known != columns || self.classes != classes => {
                let problem = format!("has other columns or classes than {}", escape(first));
                return Err(malformed(problem));
            }
            (Some(_), _) => {}
            (None, _) => {
                self.columns = Some(columns.clone());
                (self.classes, self.first) = (classes, Some(shard.name.clone()));
            }
        }
        let chunks = Arc::new(chunks);
        for (number, group) in metadata.row_groups().iter().enumerate() {
            let size = u64::try_from(group.column(columns.picture).uncompressed_size())
                .unwrap_or(u64::MAX);
            if size > WINDOW {
                return Err(malformed(format!(
                    "has {} MiB of pictures in row group {number}, more than the {} that are read at once; write it with smaller ones",
                    size >> 20,
                    WINDOW >> 20
                )));
            }
            let said = u64::try_from(group.num_rows()).unwrap_or(u64::MAX);
            if said > MOST_ROWS {
                return Err(malformed(format!(
                    "has {said} rows in row group {number}, more than the {MOST_ROWS} that are read at once"
                )));
            }
            let labels = guarded(|| labels(&chunks, &metadata, number, columns.label_at));
            let labels = labels.map_err(|error| damaged(path, &error))?;
            if labels.len() as u64 != said {
                return Err(malformed(format!(
                    "has {} labels in row group {number}, and its footer says {said} rows",
                    labels.len()
                )));
            }
            for (label, row) in labels.into_iter().zip(0..) {
                let at = Row { group: self.groups, row };
                let label = label.ok_or_else(|| {
                    malformed(format!(
                        "has no {} in row {row} of row group {number}",
                        escape(&columns.label)
                    ))
                })?;
                if label >= MOST_CLASSES {
                    return Err(malformed(format!(
                        "has the {} {label} in row {row} of row group {number}, where at most {} is allowed",
                        escape(&columns.label),
                        MOST_CLASSES - 1
                    )));
                }
                rows.push((at, label));
            }
            self.groups += 1;
        }
        self.files.push(File { chunks, metadata, column: columns.picture });
        Ok(())
    }
}

/// What the library reads. At some files whose numbers do not fit together it panics, and that is an error as any other.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    let unfit = |_| Err(ParquetError::General("its numbers do not fit together".into()));
    panic::catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(unfit)
}

/// What an error of the library means.
fn damaged(path: &Path, error: &ParquetError) -> DataError {
    let said = error.to_string();
    let said = said.split_once(": ").map_or(&*said, |(_, said)| said);
    DataError::malformed(
        path,
        format!("is no whole Parquet file, or one that is not read: {}", escape(said)),
    )
}

/// What Hugging Face's metadata say of a column.
struct Feature {
    is_picture: bool,
    classes: Option<Vec<String>>,
}

/// The columns as the key `huggingface` describes them; nothing without it.
fn features(metadata: &ParquetMetaData) -> Result<HashMap<String, Feature>, String> {
    let pairs = metadata.file_metadata().key_value_metadata().into_iter().flatten();
    let mut values =
        pairs.filter(|pair| pair.key == "huggingface").filter_map(|pair| pair.value.as_ref());
    let Some(text) = values.next() else { return Ok(HashMap::new()) };
    let json: Value = serde_json::from_str(text).map_err(|error| {
        format!("has a key \"huggingface\" that is no JSON: {}", escape(&error.to_string()))
    })?;
    let Some(Value::Object(features)) = json.pointer("/info/features") else {
        return Ok(HashMap::new());
    };
    let feature = |(name, feature): (&String, &Value)| {
        let kind = feature.get("_type").and_then(Value::as_str);
        let names = feature.get("names").and_then(Value::as_array);
        let classes = names.map(|names| {
            names
                .iter()
                .map(|name| name.as_str().map(str::to_owned))
                .collect::<Option<Vec<String>>>()
        });
        let classes = classes.flatten().filter(|_| kind == Some("ClassLabel"));
        (name.clone(), Feature { is_picture: kind == Some("Image"), classes })
    };
    Ok(features.iter().map(feature).collect())
}

/// Finds the column of pictures and that of labels.
fn columns(
    metadata: &ParquetMetaData,
    features: &HashMap<String, Feature>,
) -> Result<Columns, String> {
    use ::parquet::basic::Type;
    let schema = metadata.file_metadata().schema_descr();
    let leaf = |path: &[&str], types: &[Type]| {
        schema.columns().iter().position(|column| {
            column.path().parts().iter().map(String::as_str).eq(path.iter().copied())
                && column.max_rep_level() == 0
                && types.contains(&column.physical_type())
        })
    };
    let bytes = |name: &str| {
        let types = [Type::BYTE_ARRAY];
        leaf(&[name, "bytes"], &types).or_else(|| leaf(&[name], &types))
    };
    let whole = |name: &str| leaf(&[name], &[Type::INT32, Type::INT64]);
    let mut names: Vec<&str> = Vec::new();
    for column in schema.columns() {
        if let Some(name) = column.path().parts().first()
            && !names.contains(&&**name)
        {
            names.push(name);
        }
    }
    // What is called so, or else what alone is described so.
    let choose = |called: &[&str],
                  of: &dyn Fn(&str) -> Option<usize>,
                  described: &dyn Fn(&Feature) -> bool| {
        let by_name = called.iter().find_map(|name| Some((name.to_string(), of(name)?)));
        let mut all = names.iter().filter(|name| features.get(**name).is_some_and(described));
        by_name.or_else(|| match (all.next(), all.next()) {
            (Some(name), None) => Some((name.to_string(), of(name)?)),
            _ => None,
        })
    };
    let there = || escape(&names.join(", ")).into_owned();
    let picture = choose(&["image", "img"], &bytes, &|feature| feature.is_picture);
    let (_, picture) = picture.ok_or_else(|| {
        format!("has no column \"image\" or \"img\" with the bytes of pictures, and no other one alone; its columns are {}", there())
    })?;
    let label =
        choose(&["label", "labels", "fine_label"], &whole, &|feature| feature.classes.is_some());
    let (label, label_at) = label.ok_or_else(|| {
        format!("has no column \"label\" of whole numbers, and no other one of classes alone; its columns are {}", there())
    })?;
    Ok(Columns { picture, label_at, label })
}

/// All values of a column in a row group, none where it has none.
fn values<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    rows: usize,
    most: i16,
) -> Result<Vec<Option<T::T>>, ParquetError> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    loop {
        let (records, _, _) =
            reader.read_records(rows.max(1), Some(&mut levels), None, &mut values)?;
        // One more than the footer says is enough to know.
        if records == 0 || values.len().max(levels.len()) > rows {
            break;
        }
    }
    if most == 0 {
        return Ok(values.into_iter().map(Some).collect());
    }
    let mut values = values.into_iter();
    Ok(levels.into_iter().map(|level| if level == most { values.next() } else { None }).collect())
}

/// The labels of a row group.
fn labels(
    chunks: &Arc<Chunks>,
    metadata: &ParquetMetaData,
    group: usize,
    column: usize,
) -> Result<Vec<Option<i64>>, ParquetError> {
    let (reader, rows, most) = reader(chunks, metadata, group, column)?;
    match reader {
        ColumnReader::Int64ColumnReader(reader) => values(reader, rows, most),
        ColumnReader::Int32ColumnReader(reader) => {
            let labels = values(reader, rows, most)?;
            Ok(labels.into_iter().map(|label| label.map(i64::from)).collect())
        }
        _ => Err(ParquetError::General("labels are no whole numbers".into())),
    }
}

/// A reader of a column of a row group, with its rows and the level of a value that is there.
fn reader(
    chunks: &Arc<Chunks>,
    metadata: &ParquetMetaData,
    group: usize,
    column: usize,
) -> Result<(ColumnReader, usize, i16), ParquetError> {
    let of = metadata.row_group(group);
    let column = of.column(column);
    let described = column.column_descr_ptr();
    let most = described.max_def_level();
    let rows = usize::try_from(of.num_rows()).unwrap_or_default();
    let offsets = [Some(column.data_page_offset()), column.dictionary_page_offset()];
    if column.compressed_size() < 0 || offsets.into_iter().flatten().any(|offset| offset < 0) {
        return Err(ParquetError::General("a column begins before the file".into()));
    }
    let pages = SerializedPageReader::new(Arc::clone(chunks), column, rows, None)?;
    Ok((get_column_reader(described, Box::new(pages)), rows, most))
}

/// A file as the library reads it.
#[derive(Debug)]
struct Chunks {
    place: Place,
    length: u64,
}

impl Chunks {
    fn open(place: &Place) -> Result<Self, DataError> {
        let mut file = place.open()?;
        let length = file.seek(SeekFrom::End(0)).map_err(DataError::read(&place.path))?;
        Ok(Self { place: place.clone(), length })
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.length
    }
}

impl Chunks {
    /// The file from a place on.
    fn at(&self, start: u64) -> Result<Box<dyn FileParts>, ParquetError> {
        let mut file =
            self.place.open().map_err(|error| ParquetError::External(Box::new(error)))?;
        file.seek(SeekFrom::Start(start))?;
        Ok(file)
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<Box<dyn FileParts>>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::with_capacity(HEADER, self.at(start)?))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        // A length that lies takes no memory.
        let left = self.length.saturating_sub(start);
        if length as u64 > left {
            let problem = format!("{length} bytes are to be at {start}, and {left} are");
            return Err(ParquetError::EOF(problem));
        }
        let mut bytes = Vec::with_capacity(length);
        self.at(start)?.take(length as u64).read_to_end(&mut bytes)?;
        match bytes.len() {
            read if read == length => Ok(bytes.into()),
            _ => Err(ParquetError::EOF("the file is shorter now".into())),
        }
    }
}

/// The pictures of a row group, none where it has no bytes.
type Pictures = Arc<Vec<Option<ByteArray>>>;
/// A row group that is held, once it was read.
type Slot = Arc<OnceLock<Result<Pictures, String>>>;

/// The pictures of all files, of which some row groups are held.
pub(super) struct Table {
    files: Vec<File>,
    /// File and row group of each group.
    groups: Vec<(usize, usize)>,
    held: Mutex<Held>,
}

/// Row groups in memory.
#[derive(Default)]
struct Held {
    slots: HashMap<u32, (Slot, u64)>,
    /// Counts what is asked for, so that what was asked for last is known.
    clock: u64,
    bytes: u64,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table of {} row groups", self.groups.len())
    }
}

impl Table {
    fn new(files: Vec<File>) -> Self {
        let groups = |(at, file): (usize, &File)| {
            (0..file.metadata.num_row_groups()).map(move |group| (at, group)).collect::<Vec<_>>()
        };
        let groups = files.iter().enumerate().flat_map(groups).collect();
        Self { files, groups, held: Mutex::default() }
    }

    /// The pictures of a group; who asks while another reads it waits for that one.
    fn pictures(&self, group: u32) -> Result<Pictures, String> {
        let slot = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.clock += 1;
            let now = held.clock;
            if !held.slots.contains_key(&group) {
                held.bytes += self.weight(group);
                while held.bytes > HELD
                    && let Some((&oldest, _)) = held.slots.iter().min_by_key(|(_, (_, used))| *used)
                {
                    held.slots.remove(&oldest);
                    held.bytes -= self.weight(oldest);
                }
            }
            let (slot, used) = held.slots.entry(group).or_default();
            *used = now;
            Arc::clone(slot)
        };
        slot.get_or_init(|| self.read(group).map(Arc::new)).clone()
    }

    fn read(&self, group: u32) -> Result<Vec<Option<ByteArray>>, String> {
        let (file, group) = self.groups[group as usize];
        let File { chunks, metadata, column } = &self.files[file];
        let read = guarded(|| {
            let (reader, rows, most) = reader(chunks, metadata, group, *column)?;
            let ColumnReader::ByteArrayColumnReader(reader) = reader else {
                return Err(ParquetError::General("pictures are no bytes".into()));
            };
            Ok((values(reader, rows, most)?, rows))
        });
        match read {
            Ok((pictures, rows)) if pictures.len() == rows => Ok(pictures),
            Ok((pictures, rows)) => Err(format!(
                "row group {group} has {} pictures, and its footer says {rows} rows",
                pictures.len()
            )),
            Err(error) => Err(match damaged(&chunks.place.path, &error) {
                DataError::Malformed { problem, .. } => problem,
                other => other.to_string(),
            }),
        }
    }
}

impl Together for Table {
    fn name(&self, at: Row) -> String {
        let (file, group) = self.groups[at.group as usize];
        let File { chunks, .. } = &self.files[file];
        format!("{}: row {} of row group {group}", chunks.place.path.display(), at.row)
    }

    fn bytes(&self, at: Row) -> Result<Vec<u8>, DataError> {
        let refused = |problem: String| DataError::Image { name: self.name(at), problem };
        let pictures = self.pictures(at.group).map_err(refused)?;
        match pictures.get(at.row as usize) {
            Some(Some(bytes)) => Ok(bytes.data().to_vec()),
            _ => Err(refused("has no bytes; a path alone is not followed".into())),
        }
    }

    fn weight(&self, group: u32) -> u64 {
        let (file, group) = self.groups[group as usize];
        let File { metadata, column, .. } = &self.files[file];
        u64::try_from(metadata.row_group(group).column(*column).uncompressed_size())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
