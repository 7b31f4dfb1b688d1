//! The token that a server for others than this machine asks for, and the cookie that stands for it in a browser.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::http::{HeaderMap, header};
use engine::formats::atomic;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Name of the cookie.
pub(super) const COOKIE: &str = "taper_session";
/// Bytes of randomness of a token: 256 bits.
const BYTES: usize = 32;
/// Wrong tokens that are answered in [`WINDOW`] before nobody is let in any more.
const TRIES: usize = 10;
/// How long wrong tokens are remembered.
const WINDOW: Duration = Duration::from_secs(60);

type Hash = [u8; 32];

/// What is known of the token: never the token itself.
#[derive(Debug)]
pub(crate) struct Token {
    token: Hash,
    /// Of the cookie's value.
    session: Hash,
    wrong: Mutex<Vec<Instant>>,
}

/// How a token is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    Wrong,
    /// Too many were wrong lately: this one was not looked at.
    Later,
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut digest = Sha256::new();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `BYTES` random bytes in hexadecimal.
///
/// # Errors
/// The system has no randomness.
fn fresh() -> Result<String> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    Ok(hex(&bytes))
}

impl Token {
    /// Of a token's text.
    pub(crate) fn of(text: &str) -> Token {
        let token = hash(&[text.as_bytes()]);
        Token { token, session: hash(&[cookie_of(&token).as_bytes()]), wrong: Mutex::default() }
    }

    /// The token of a data directory. A new one is told to `print`, once: only its hash is kept.
    ///
    /// # Errors
    /// The file cannot be read or written, or the system has no randomness.
    pub(crate) fn open(data_dir: &Path, print: impl FnOnce(&str)) -> Result<Token> {
        let path = data_dir.join("token.sha256");
        if path.is_file() {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read `{}`", path.display()))?;
            let text = text.trim();
            let byte = |at: usize| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok();
            let bytes: Option<Vec<u8>> = (0..32).map(byte).collect();
            let token: Option<Hash> = bytes.and_then(|bytes| bytes.try_into().ok());
            let token = token.filter(|_| text.len() == 64).with_context(|| {
                format!("`{}` is no SHA-256; remove it for a new token", path.display())
            })?;
            let session = hash(&[cookie_of(&token).as_bytes()]);
            return Ok(Token { token, session, wrong: Mutex::default() });
        }
        let text = fresh()?;
        let token = Token::of(&text);
        atomic::write_bytes(&path, hex(&token.token) + "\n")?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        }
        print(&text);
        Ok(token)
    }

    /// Whether a request carries the token, or the cookie that was given for it.
    pub(super) fn admits(&self, headers: &HeaderMap) -> Verdict {
        if let Some(given) = bearer(headers) {
            return self.check(given);
        }
        let right = cookies(headers).any(|value| equal(&hash(&[value.as_bytes()]), &self.session));
        if right { Verdict::Right } else { Verdict::Wrong }
    }

    /// Compares a token in constant time; guessing is slowed down.
    pub(super) fn check(&self, given: &str) -> Verdict {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.retain(|at| at.elapsed() < WINDOW);
        if wrong.len() >= TRIES {
            return Verdict::Later;
        }
        if equal(&hash(&[given.as_bytes()]), &self.token) {
            return Verdict::Right;
        }
        wrong.push(Instant::now());
        Verdict::Wrong
    }

    /// The `Set-Cookie` of who gave the token.
    pub(super) fn set_cookie(&self) -> String {
        format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict", cookie_of(&self.token))
    }
}

/// The cookie's value: it tells nothing of the token, and is gone with it.
fn cookie_of(token: &Hash) -> String {
    hex(&hash(&[b"taper session", token]))
}

/// Hashes are compared, not texts, and each byte whatever the others are.
fn equal(a: &Hash, b: &Hash) -> bool {
    a.ct_eq(b).into()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether a request carries a token at all, right or wrong: a browser never sends one by itself.
pub(super) fn has_bearer(headers: &HeaderMap) -> bool {
    bearer(headers).is_some()
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_told_once_and_kept_as_a_hash() {
        let folder = tempfile::tempdir().expect("folder");
        let mut told = Vec::new();
        Token::open(folder.path(), |text| told.push(text.to_owned())).expect("made");
        let again = Token::open(folder.path(), |_| panic!("told twice")).expect("read");
        assert_eq!(told[0].len(), 2 * BYTES);
        assert_eq!(again.check(&told[0]), Verdict::Right);
        let file = std::fs::read_to_string(folder.path().join("token.sha256")).expect("read");
        assert!(!file.contains(&told[0]));
        std::fs::write(folder.path().join("token.sha256"), "abc").expect("written");
        assert!(Token::open(folder.path(), |_| ()).is_err());
    }

    #[test]
    fn guessing_is_slowed_down_but_a_cookie_still_counts() {
        let token = Token::of("right");
        for _ in 0..TRIES {
            assert_eq!(token.check("wrong"), Verdict::Wrong);
        }
        assert_eq!(token.check("right"), Verdict::Later);
        let mut headers = HeaderMap::new();
        let pair = token.set_cookie().split(';').next().expect("a pair").to_owned();
        headers.insert(header::COOKIE, format!("a=b; {pair}").parse().expect("a value"));
        assert_eq!(token.admits(&headers), Verdict::Right);
        headers.insert(header::COOKIE, format!("{COOKIE}=0").parse().expect("a value"));
        assert_eq!(token.admits(&headers), Verdict::Wrong);
    }
}
