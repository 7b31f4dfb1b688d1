//! A corpus as numbers of pieces, on the disk: built once by all threads, the same bytes for any number of them, and read
//! in chunks, so that neither the corpus nor its pieces need to fit into memory.
//!
//! The file has little-endian numbers: a header of eight u64 (magic, width of a token in bytes, tokens, sentences,
//! documents, three zeros); the tokens, as u16 where the vocabulary has at most 65,536 pieces, else as u32, filled up
//! to eight bytes; then u64s: where each sentence ends in tokens, and where each document ends in sentences. Every
//! sentence has a token.
//!
//! It lies in a folder of the operating system, as the timings of tiles do, on whatever disk the run is: so does the text that it is made
//! of, and that it can be made of again.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::corpus::Outline;
use super::reading::{AT_A_TIME, PIECE, Text, known_parts};
use super::{Encoding, Tokenizer};
use crate::data::DataError;
use crate::formats::atomic;
use crate::text::hex;
use crate::threads::parallel;

const MAGIC: u64 = u64::from_le_bytes(*b"tapertk1");
const HEADER: u64 = 64;
/// Bytes that are read at a time.
const CHUNK: u64 = 1 << 20;
/// Chunks that are held.
const HELD: usize = 256;

/// The pieces of a corpus.
#[derive(Debug)]
pub struct TokenCache {
    bytes: Bytes,
    width: u64,
    tokens: u64,
    sentences: u64,
    documents: u64,
}

#[derive(Debug)]
enum Bytes {
    Memory(Vec<u8>),
    File { path: PathBuf, held: Mutex<Chunks> },
}

#[derive(Debug)]
struct Chunks {
    file: File,
    /// Each with the time of its last use.
    chunks: HashMap<u64, (Arc<[u8]>, u64)>,
    time: u64,
}

impl TokenCache {
    /// The cache of `text` in `folder`, which is built if it is not there or damaged; without a folder it is in memory. Its name is a hash of
    /// the contents and of all settings that decide about ids.
    ///
    /// # Errors
    /// The text cannot be read, or the cache not written.
    pub fn open(
        folder: Option<&Path>,
        text: &Text,
        outline: &Outline,
        tokenizer: &Tokenizer,
    ) -> Result<Self, DataError> {
        let Some(folder) = folder else {
            let mut bytes = Vec::new();
            Building::of(text, tokenizer)?.finish(&mut bytes).map_err(unwritten)?;
            return Ok(Self::held(bytes));
        };
        let mut key = Sha256::new();
        key.update(MAGIC.to_le_bytes());
        key.update(outline.hash);
        key.update(tokenizer.hash());
        let path = folder.join(format!("tokens-{}.cache", hex(&key.finalize()[..12])));
        if let Ok(cache) = Self::read(&path) {
            return Ok(cache);
        }
        std::fs::create_dir_all(folder).map_err(DataError::read(folder))?;
        build(&path, text, tokenizer)?;
        Self::read(&path)
    }

    /// Documents that are not on the disk: sentences of pieces, each with one at least.
    pub fn in_memory(documents: &[Vec<Vec<u32>>]) -> Self {
        let (mut tokens, mut ends, mut last) = (Vec::new(), Vec::new(), Vec::new());
        for document in documents {
            for sentence in document {
                tokens.extend(sentence.iter().flat_map(|id| id.to_le_bytes()));
                ends.push(tokens.len() as u64 / 4);
            }
            last.push(ends.len() as u64);
        }
        let header =
            [MAGIC, 4, tokens.len() as u64 / 4, ends.len() as u64, last.len() as u64, 0, 0, 0];
        tokens.resize(tokens.len().next_multiple_of(8), 0);
        let numbers = |all: &[u64]| all.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        Self::held([numbers(&header), tokens, numbers(&ends), numbers(&last)].concat())
    }

    /// A cache's whole file.
    fn held(bytes: Vec<u8>) -> Self {
        let header: Vec<u64> = numbers(&bytes[..HEADER as usize]);
        let [width, tokens, sentences, documents] = [1, 2, 3, 4].map(|at: usize| header[at]);
        Self { bytes: Bytes::Memory(bytes), width, tokens, sentences, documents }
    }

    /// Reads the cache at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is none, or has another length than its header says.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let mut file = File::open(path).map_err(DataError::read(path))?;
        let mut header = [0; HEADER as usize];
        let there = file.metadata().map_err(DataError::read(path))?.len();
        let damaged =
            |problem: &str| DataError::malformed(path, format!("is no token cache: {problem}"));
        file.read_exact(&mut header).map_err(|_| damaged("it is too short"))?;
        let header: Vec<u64> = numbers(&header);
        let [magic, width, tokens, sentences, documents] = header[..5] else {
            return Err(damaged("it is too short"));
        };
        if magic != MAGIC || !matches!(width, 2 | 4) {
            return Err(damaged("its beginning is another"));
        }
        let ends = sentences.checked_add(documents).and_then(|count| count.checked_mul(8));
        let room = width.checked_mul(tokens).and_then(|bytes| bytes.checked_next_multiple_of(8));
        let says = ends.zip(room).and_then(|(a, b)| a.checked_add(b)?.checked_add(HEADER));
        if says != Some(there) {
            return Err(damaged(&format!("it has {there} bytes and not what it says")));
        }
        let held = Mutex::new(Chunks { file, chunks: HashMap::new(), time: 0 });
        let bytes = Bytes::File { path: path.into(), held };
        Ok(Self { bytes, width, tokens, sentences, documents })
    }

    /// How many pieces there are.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// How many sentences there are.
    pub fn sentences(&self) -> u64 {
        self.sentences
    }

    /// The sentences of each document.
    ///
    /// # Errors
    /// What the system says.
    pub fn documents(&self) -> Result<Vec<Range<u64>>, DataError> {
        let ends = self.numbers_at(self.ends_at() + 8 * self.sentences, self.documents)?;
        let starts = std::iter::once(0).chain(ends.iter().copied());
        Ok(starts.zip(ends.iter().copied()).map(|(start, end)| start..end).collect())
    }

    /// Where the sentences of `range` begin, in pieces, and behind them where the last one ends.
    ///
    /// # Errors
    /// What the system says.
    pub fn bounds(&self, range: Range<u64>) -> Result<Vec<u64>, DataError> {
        let first = range.start.saturating_sub(1);
        let mut bounds = self.numbers_at(self.ends_at() + 8 * first, range.end - first)?;
        if range.start == 0 {
            bounds.insert(0, 0);
        }
        Ok(bounds)
    }

    /// The pieces in `range`.
    ///
    /// # Errors
    /// What the system says.
    pub fn pieces(&self, range: Range<u64>) -> Result<Vec<u32>, DataError> {
        let count = range.end - range.start;
        let bytes = self.bytes(HEADER + self.width * range.start, self.width * count)?;
        Ok(match self.width {
            2 => bytes
                .chunks_exact(2)
                .map(|two| u16::from_le_bytes([two[0], two[1]]).into())
                .collect(),
            _ => bytes
                .chunks_exact(4)
                .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
        })
    }

    fn ends_at(&self) -> u64 {
        HEADER + (self.width * self.tokens).next_multiple_of(8)
    }

    fn numbers_at(&self, at: u64, count: u64) -> Result<Vec<u64>, DataError> {
        Ok(numbers(&self.bytes(at, 8 * count)?))
    }

    fn bytes(&self, at: u64, count: u64) -> Result<Vec<u8>, DataError> {
        let (path, held) = match &self.bytes {
            Bytes::Memory(all) => return Ok(all[at as usize..(at + count) as usize].to_vec()),
            Bytes::File { path, held } => (path, held),
        };
        let mut bytes = Vec::with_capacity(count as usize);
        let end = at + count;
        let mut at = at;
        while at < end {
            let number = at / CHUNK;
            let chunk = {
                let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                held.chunk(number).map_err(DataError::read(path))?
            };
            let from = (at - number * CHUNK) as usize;
            let until = chunk.len().min((end - number * CHUNK) as usize);
            if until <= from {
                return Err(DataError::malformed(path, "has become shorter while it was read"));
            }
            bytes.extend_from_slice(&chunk[from..until]);
            at += (until - from) as u64;
        }
        Ok(bytes)
    }
}

impl Chunks {
    fn chunk(&mut self, number: u64) -> io::Result<Arc<[u8]>> {
        self.time += 1;
        if let Some((chunk, used)) = self.chunks.get_mut(&number) {
            *used = self.time;
            return Ok(chunk.clone());
        }
        if self.chunks.len() >= HELD {
            let oldest = self.chunks.iter().min_by_key(|(_, (_, used))| *used).map(|(at, _)| *at);
            oldest.map(|oldest| self.chunks.remove(&oldest));
        }
        self.file.seek(SeekFrom::Start(number * CHUNK))?;
        let mut bytes = Vec::new();
        (&mut self.file).take(CHUNK).read_to_end(&mut bytes)?;
        let chunk: Arc<[u8]> = bytes.into();
        self.chunks.insert(number, (chunk.clone(), self.time));
        Ok(chunk)
    }
}

fn numbers(bytes: &[u8]) -> Vec<u64> {
    let number = |b: &[u8]| b.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    bytes.chunks_exact(8).map(number).collect()
}

impl Tokenizer {
    /// A hash of all that decides about ids, to know a vocabulary again.
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let how = self.normalizer();
        let settings = (how.clean_text, how.handle_chinese_chars, how.strip_accents, how.lowercase);
        hash.update(format!("{settings:?} {}", self.longest()));
        for piece in self.pieces() {
            hash.update((piece.len() as u64).to_le_bytes());
            hash.update(piece);
        }
        hash.finalize().into()
    }

    /// The pieces of a sentence of a corpus, where `<unk>` is `[UNK]`.
    pub fn encode_sentence(&self, sentence: &str, to: &mut Vec<u32>) {
        for (at, part) in known_parts(sentence).enumerate() {
            if at > 0 {
                to.push(self.specials().unk);
            }
            let Encoding { ids, .. } = self.encode(part);
            to.extend(ids);
        }
    }
}

/// Writes the cache of `text`.
fn build(path: &Path, text: &Text, tokenizer: &Tokenizer) -> Result<(), DataError> {
    let building = Building::of(text, tokenizer)?;
    let written = atomic::write(path, |sink| building.finish(sink));
    written.map_err(|error| DataError::malformed(path, error.to_string()))
}

struct Building<'a> {
    tokenizer: &'a Tokenizer,
    width: u64,
    tokens: u64,
    sentences: u64,
    documents: u64,
    /// Ids, and ends of sentences and of documents, until it is known how many they are.
    ids: BufWriter<File>,
    ends: BufWriter<File>,
    last: BufWriter<File>,
}

impl<'a> Building<'a> {
    /// All pieces of `text`.
    fn of(text: &Text, tokenizer: &'a Tokenizer) -> Result<Self, DataError> {
        let spill = || tempfile::tempfile().map(BufWriter::new).map_err(unwritten);
        let mut building = Building {
            tokenizer,
            width: if tokenizer.size() <= 1 << 16 { 2 } else { 4 },
            tokens: 0,
            sentences: 0,
            documents: 0,
            ids: spill()?,
            ends: spill()?,
            last: spill()?,
        };
        building.all(text)?;
        Ok(building)
    }

    fn all(&mut self, text: &Text) -> Result<(), DataError> {
        let mut waiting = Vec::with_capacity(AT_A_TIME);
        let (mut seen, mut document) = (0u64, 0);
        text.read(None, &mut |sentence| {
            if sentence.document != document {
                self.last.write_all(&seen.to_le_bytes()).map_err(unwritten)?;
                (document, self.documents) = (sentence.document, self.documents + 1);
            }
            seen += 1;
            waiting.push(sentence.text.into_owned());
            if waiting.len() == AT_A_TIME {
                self.add(&waiting)?;
                waiting.clear();
            }
            Ok(())
        })?;
        self.add(&waiting)?;
        if seen > 0 {
            self.last.write_all(&seen.to_le_bytes()).map_err(unwritten)?;
            self.documents += 1;
        }
        Ok(())
    }

    /// Makes pieces of sentences on all threads and writes them in order.
    fn add(&mut self, sentences: &[String]) -> Result<(), DataError> {
        let parts: Vec<&[String]> = sentences.chunks(PIECE).collect();
        let tokenizer = self.tokenizer;
        let encoded = parallel(parts.len(), |at| {
            let (mut ids, mut ends) = (Vec::new(), Vec::new());
            for sentence in parts[at] {
                tokenizer.encode_sentence(sentence, &mut ids);
                ends.push(ids.len() as u64);
            }
            Ok(Some((ids, ends)))
        })?;
        for (ids, ends) in encoded.into_iter().flatten() {
            self.write(&ids, &ends).map_err(unwritten)?;
        }
        Ok(())
    }

    fn write(&mut self, ids: &[u32], ends: &[u64]) -> io::Result<()> {
        for id in ids {
            self.ids.write_all(&id.to_le_bytes()[..self.width as usize])?;
        }
        for end in ends {
            self.ends.write_all(&(self.tokens + end).to_le_bytes())?;
        }
        self.tokens += ids.len() as u64;
        self.sentences += ends.len() as u64;
        Ok(())
    }

    fn finish(self, sink: &mut dyn Write) -> io::Result<()> {
        let Self { width, tokens, sentences, documents, .. } = self;
        let header: [u64; HEADER as usize / 8] =
            [MAGIC, width, tokens, sentences, documents, 0, 0, 0];
        for number in header {
            sink.write_all(&number.to_le_bytes())?;
        }
        let copy = |spilled: BufWriter<File>, sink: &mut dyn Write| {
            let mut spilled = spilled.into_inner()?;
            spilled.seek(SeekFrom::Start(0))?;
            io::copy(&mut spilled, sink)
        };
        let bytes = copy(self.ids, sink)?;
        sink.write_all(&[0; 8][..(bytes.next_multiple_of(8) - bytes) as usize])?;
        copy(self.ends, sink)?;
        copy(self.last, sink)?;
        Ok(())
    }
}

/// What the system says about a cache that is being written.
fn unwritten(error: io::Error) -> DataError {
    DataError::setting("data.path", format!("its token cache cannot be written: {error}"))
}
