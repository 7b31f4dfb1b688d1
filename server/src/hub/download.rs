//! Downloads from the Hub into its own cache, as `huggingface_hub` lays it out: `models--OWNER--NAME/` with `blobs/ETAG`, `snapshots/COMMIT/FILE`,
//! which are links to blobs, and `refs/REVISION`, which holds a commit. So what another program has downloaded is there, and the other way round.
//!
//! `HF_HUB_CACHE`, `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` mean what they mean there. A file is in the cache when all of it has come: its
//! size is the one that was announced, and a large file has its SHA-256.

use std::env;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::text::{escape, hex};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use ureq::Agent;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, Response, StatusCode};

use super::Address;
use crate::voice::say;

const ENDPOINT: &str = "https://huggingface.co";
const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const PICKLE: &str = "pytorch_model.bin";
/// What is taken of a model where it is there, before its weights.
const SMALL: [&str; 5] =
    [CONFIG, "tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json"];
/// Redirects within the Hub that are followed, as to the new name of a model.
const MOVES: usize = 5;
const CONNECT: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(60);
/// The most files of one model's weights.
const MOST_FILES: usize = 10_000;

/// Why a model cannot be had.
#[derive(Debug)]
pub(super) enum Problem {
    /// No answer came.
    Unreached(String),
    /// The Hub refuses, by this status.
    Refused(StatusCode, String),
    /// Any other.
    Other(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Unreached(problem) => write!(f, "the Hub cannot be reached: {problem}"),
            Problem::Refused(status, url) => write!(f, "{url} answers {status}"),
            Problem::Other(problem) => f.write_str(problem),
        }
    }
}

impl Problem {
    fn disk(path: &Path, error: &io::Error) -> Self {
        Problem::Other(format!("cannot write {}: {error}", path.display()))
    }
}

/// Where models are downloaded from, and to.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) endpoint: String,
    /// The folder of all models; none where the system has no home folder.
    pub(super) cache: Option<PathBuf>,
    pub(super) token: Option<String>,
    pub(super) offline: bool,
}

impl Hub {
    /// What the environment says.
    pub(super) fn of_environment() -> Self {
        let said = |key: &str| env::var(key).ok().filter(|value| !value.trim().is_empty());
        let folder = |key: &str| said(key).map(PathBuf::from);
        let home = || {
            let cache = folder("XDG_CACHE_HOME");
            let cache = cache.or_else(|| Some(etcetera::home_dir().ok()?.join(".cache")))?;
            Some(cache.join("huggingface"))
        };
        let cache =
            folder("HF_HUB_CACHE").or_else(|| Some(folder("HF_HOME").or_else(home)?.join("hub")));
        let yes = |value: String| ["1", "ON", "YES", "TRUE"].contains(&&*value.to_uppercase());
        Self {
            endpoint: said("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into()),
            cache,
            token: said("HF_TOKEN").map(|token| token.trim().to_owned()),
            offline: said("HF_HUB_OFFLINE").is_some_and(yes),
        }
    }

    /// What to do about a problem.
    pub(super) fn hint(&self, problem: &Problem) -> String {
        match problem {
            Problem::Unreached(_) => format!("look whether {} is there", self.endpoint),
            Problem::Refused(status, _) if [401, 403, 404].contains(&status.as_u16()) => match self
                .token
            {
                Some(_) => "look at the name, and whether HF_TOKEN may read the model".into(),
                None => "look at the name; a model that is not open to all wants HF_TOKEN".into(),
            },
            Problem::Refused(..) => "try again later".into(),
            Problem::Other(_) => "a local folder works as well".into(),
        }
    }

    /// The folder of a model, which is downloaded as far as it is not there.
    pub(super) fn folder(&self, of: &Address) -> Result<PathBuf, Problem> {
        let Some(cache) = &self.cache else {
            return Err(Problem::Other("there is no home folder for a cache; set HF_HOME".into()));
        };
        let kept = Kept { folder: cache.join(format!("models--{}", of.repo.replace('/', "--"))) };
        // A commit never changes.
        if is_commit(&of.revision)
            && let Some(folder) = kept.whole(&of.revision)
        {
            return Ok(folder);
        }
        let last = || kept.whole(&kept.commit(&of.revision)?);
        if self.offline {
            let none = || {
                let problem = "HF_HUB_OFFLINE is set, and the cache has no such model";
                Problem::Other(problem.into())
            };
            return last().ok_or_else(none);
        }
        let Info { sha, siblings } = match (self.info(of), last()) {
            (Ok(info), _) => info,
            (Err(problem @ Problem::Unreached(_)), Some(folder)) => {
                say(&format!("warning: {problem}; what was downloaded before is taken"));
                return Ok(folder);
            }
            (Err(problem), _) => return Err(problem),
        };
        let has = |name: &str| siblings.iter().any(|file| file.rfilename == name);
        let fetch = |name: &str| self.fetch(of, &kept, &sha, name);
        for name in SMALL.into_iter().filter(|name| has(name)) {
            fetch(name)?;
        }
        // The weights last: a folder that has them has all.
        match (has(CONFIG), has(WEIGHTS), has(INDEX)) {
            (false, ..) => return Err(Problem::Other(format!("the model has no {CONFIG}"))),
            (_, true, _) => fetch(WEIGHTS)?,
            (_, _, true) => {
                fetch(INDEX)?;
                let index = kept.snapshot(&sha).join(INDEX);
                for name in shards(&index).map_err(Problem::Other)? {
                    fetch(&name)?;
                }
            }
            _ if has(PICKLE) => {
                let problem =
                    format!("the model has {PICKLE} alone, a pickle; safetensors are read");
                return Err(Problem::Other(problem));
            }
            _ => return Err(Problem::Other(format!("the model has no {WEIGHTS}"))),
        }
        if !is_commit(&of.revision) {
            kept.set_commit(&of.revision, &sha)?;
        }
        let lost = || Problem::Other("a file of the cache has vanished".into());
        kept.whole(&sha).ok_or_else(lost)
    }

    /// Which commit a revision is, and its files.
    fn info(&self, of: &Address) -> Result<Info, Problem> {
        let revision = of.revision.replace('/', "%2F");
        let url = format!("{}/api/models/{}/revision/{revision}", self.base(), of.repo);
        let mut answer = self.get(&url)?;
        let text = answer.body_mut().read_to_string();
        let text = text.map_err(|error| Problem::Unreached(error.to_string()))?;
        let bad = |problem: String| Problem::Other(format!("{url} tells of no model: {problem}"));
        let info: Info = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        match is_commit(&info.sha) {
            true => Ok(info),
            false => Err(bad(format!("\"{}\" is no commit", escape(&info.sha)))),
        }
    }

    fn base(&self) -> &str {
        self.endpoint.trim_end_matches('/')
    }

    /// Requests that go on to where a redirect leads. The token stays with the Hub: storage elsewhere has addresses that need none.
    fn agent(&self, redirects: u32) -> Agent {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(redirects)
            .max_redirects_will_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .user_agent(concat!("taper/", env!("CARGO_PKG_VERSION")));
        config.build().into()
    }

    fn get(&self, url: &str) -> Result<Response<ureq::Body>, Problem> {
        let mut request = self.agent(10).get(url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let answer = request.call().map_err(|error| Problem::Unreached(error.to_string()))?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            status => Err(Problem::Refused(status, url.into())),
        }
    }

    /// What the Hub itself says of a file, before it leads elsewhere.
    fn head(&self, mut url: String) -> Result<(StatusCode, HeaderMap), Problem> {
        let agent = self.agent(0);
        for _ in 0..MOVES {
            let mut request = agent.head(&url);
            if let Some(token) = &self.token {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            let answer = request.call().map_err(|error| Problem::Unreached(error.to_string()))?;
            let (status, headers) = (answer.status(), answer.headers());
            let moved = header(headers, "location").filter(|to| to.starts_with('/'));
            match (status.is_redirection(), moved) {
                (true, Some(to)) if header(headers, "x-linked-etag").is_none() => {
                    url = format!("{}{to}", origin(self.base()));
                }
                _ if status.is_success() || status.is_redirection() => {
                    return Ok((status, headers.clone()));
                }
                _ => return Err(Problem::Refused(status, url)),
            }
        }
        Err(Problem::Other(format!("{url} leads in circles")))
    }

    /// Downloads a file of a commit, unless it is there.
    fn fetch(&self, of: &Address, kept: &Kept, commit: &str, name: &str) -> Result<(), Problem> {
        let to = kept.snapshot(commit).join(name);
        if to.is_file() {
            return Ok(());
        }
        let url = format!("{}/{}/resolve/{commit}/{name}", self.base(), of.repo);
        let (status, headers) = self.head(url.clone())?;
        let etag = header(&headers, "x-linked-etag").or_else(|| header(&headers, "etag"));
        let etag = etag.map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_owned());
        let is_name =
            |tag: &String| !tag.is_empty() && tag.chars().all(|c| c.is_ascii_alphanumeric());
        let Some(etag) = etag.filter(is_name) else {
            return Err(Problem::Other(format!("{url} has no ETag to know it by")));
        };
        // The length of a redirect's own answer is not the file's.
        let length = || header(&headers, "content-length").filter(|_| status == StatusCode::OK);
        let size = header(&headers, "x-linked-size").or_else(length);
        let size = size.and_then(|size| size.parse::<u64>().ok());
        let blob = kept.folder.join("blobs").join(&etag);
        if !blob.is_file() {
            let sum = (etag.len() == 64).then_some(etag.as_str());
            self.download(&url, &blob, size, sum)?;
        }
        link(&blob, &to).map_err(|error| Problem::disk(&to, &error))
    }

    /// Writes what `url` gives to `blob` when all of it has come.
    fn download(
        &self,
        url: &str,
        blob: &Path,
        size: Option<u64>,
        sum: Option<&str>,
    ) -> Result<(), Problem> {
        let folder = blob.parent().unwrap_or(Path::new(""));
        let disk = |error: io::Error| Problem::disk(blob, &error);
        fs::create_dir_all(folder).map_err(disk)?;
        let mut answer = self.get(url)?;
        match size {
            Some(size) => say(&format!("downloading {url} ({} MB)", size.div_ceil(1_000_000))),
            None => say(&format!("downloading {url}")),
        }
        // What is given up half-way goes with it.
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(disk)?;
        let (mut body, mut digest, mut bytes) = (answer.body_mut().as_reader(), Sha256::new(), 0);
        let mut part = vec![0; 1 << 16];
        loop {
            let broken = |error: io::Error| {
                Problem::Unreached(format!("{url} broke off after {bytes} bytes: {error}"))
            };
            let count = match body.read(&mut part) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(broken(error)),
            };
            digest.update(&part[..count]);
            file.write_all(&part[..count]).map_err(disk)?;
            bytes += count as u64;
        }
        if let Some(size) = size.filter(|&size| size != bytes) {
            let problem = format!("{url} gave {bytes} bytes where {size} were announced");
            return Err(Problem::Other(problem));
        }
        let found = hex(&digest.finalize());
        if sum.is_some_and(|sum| !sum.eq_ignore_ascii_case(&found)) {
            return Err(Problem::Other(format!("{url} gave other bytes than its SHA-256 says")));
        }
        file.as_file().sync_all().map_err(disk)?;
        file.persist(blob).map_err(|error| disk(error.error))?;
        Ok(())
    }
}

/// What the Hub says of a revision.
#[derive(Debug, Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Scheme and host of an address.
fn origin(url: &str) -> &str {
    let behind = url.find("://").map_or(0, |at| at + 3);
    url[behind..].find('/').map_or(url, |end| &url[..behind + end])
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// A model in the cache.
struct Kept {
    folder: PathBuf,
}

impl Kept {
    fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The folder of a commit, if all that is needed of it is there.
    fn whole(&self, commit: &str) -> Option<PathBuf> {
        let folder = self.snapshot(commit);
        let has = |name: &str| folder.join(name).is_file();
        let weights = || match has(WEIGHTS) {
            true => true,
            false => {
                shards(&folder.join(INDEX)).is_ok_and(|names| names.iter().all(|name| has(name)))
            }
        };
        (has(CONFIG) && weights()).then_some(folder)
    }

    /// The commit that a revision was when it was asked for last.
    fn commit(&self, revision: &str) -> Option<String> {
        let text = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    fn set_commit(&self, revision: &str, commit: &str) -> Result<(), Problem> {
        let path = self.folder.join("refs").join(revision);
        let made = fs::create_dir_all(path.parent().unwrap_or(&self.folder));
        made.and_then(|()| fs::write(&path, commit)).map_err(|error| Problem::disk(&path, &error))
    }
}

/// The files that an index names, which are names of files beside it.
fn shards(index: &Path) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let text = fs::read_to_string(index).map_err(|error| format!("{INDEX}: {error}"))?;
    let Index { weight_map } =
        serde_json::from_str(&text).map_err(|error| format!("{INDEX}: {error}"))?;
    let mut names: Vec<String> = weight_map.into_values().collect();
    names.sort();
    names.dedup();
    let plain = |name: &String| {
        let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !name.starts_with('.') && name.ends_with(".safetensors") && name.chars().all(known)
    };
    if let Some(name) = names.iter().find(|name| !plain(name)) {
        return Err(format!("{INDEX} names the file \"{}\", which is no name", escape(name)));
    }
    match names.len() {
        1..=MOST_FILES => Ok(names),
        count => Err(format!("{INDEX} names {count} files")),
    }
}

/// Makes `to` a link to a blob beside its folder; where there are no such links, a copy.
fn link(blob: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(Path::new("")))?;
    // A link that leads nowhere is no file, and in the way.
    drop(fs::remove_file(to));
    #[cfg(unix)]
    {
        let name = blob.file_name().unwrap_or_default();
        std::os::unix::fs::symlink(Path::new("../../blobs").join(name), to)
    }
    #[cfg(not(unix))]
    {
        fs::copy(blob, to).map(drop)
    }
}
