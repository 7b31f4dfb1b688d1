//! The token that a server for others than this machine asks for, and the cookie that stands for it in a browser.

mod tries;

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::http::{HeaderMap, header};
use engine::{formats::atomic, text::hex};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use tries::Tries;

/// Name of the cookie.
pub(super) const COOKIE: &str = "taper_session";
/// Bytes of randomness of a token: 256 bits.
const BYTES: usize = 32;

type Hash = [u8; 32];

/// What is known of the token: never the token itself, nor the cookie that is made of it.
#[derive(Debug)]
pub(crate) struct Token {
    token: Hash,
    /// Of the cookie's value.
    session: Hash,
    tries: Tries,
}

/// How a token is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    Wrong,
    /// It is wrong, as too many from this address were lately; it will be so long until they may be wrong again.
    Later(Duration),
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut digest = Sha256::new();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize().into()
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
        let session = hash(&[cookie_of(text).as_bytes()]);
        Token { token: hash(&[text.as_bytes()]), session, tries: Tries::default() }
    }

    /// The token of a data directory. A new one is told to `print`, once: only its hash and the cookie's are kept, and neither
    /// opens anything.
    ///
    /// # Errors
    /// The file cannot be read or written, or the system has no randomness.
    pub(crate) fn open(data_dir: &Path, print: impl FnOnce(&str)) -> Result<Token> {
        let path = data_dir.join("token.sha256");
        if path.is_file() {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read `{}`", path.display()))?;
            let hashes: Option<Vec<Hash>> = text.lines().map(unhex).collect();
            let Some([token, session]) = hashes.as_deref() else {
                anyhow::bail!(
                    "`{}` has not the two SHA-256 it should have; remove it for a new token",
                    path.display()
                );
            };
            return Ok(Token { token: *token, session: *session, tries: Tries::default() });
        }
        let text = fresh()?;
        let token = Token::of(&text);
        atomic::write_bytes(&path, format!("{}\n{}\n", hex(&token.token), hex(&token.session)))?;
        print(&text);
        Ok(token)
    }

    /// Whether a request from `peer` carries the token, or the cookie that was given for it.
    pub(super) fn admits(&self, headers: &HeaderMap, peer: IpAddr) -> Verdict {
        if self.is_shown(headers) {
            return Verdict::Right;
        }
        // A browser goes on sending the cookie of an old token: that is no guess.
        if has_bearer(headers) { self.wrong(peer) } else { Verdict::Wrong }
    }

    /// Whether the token is there, or its cookie; the token counts where both are.
    pub(super) fn is_shown(&self, headers: &HeaderMap) -> bool {
        match bearer(headers) {
            Some(given) => self.is(given),
            None => cookies(headers).any(|value| equal(&hash(&[value.as_bytes()]), &self.session)),
        }
    }

    /// Compares a token in constant time; guessing is slowed down, for the address that guesses.
    pub(super) fn check(&self, given: &str, peer: IpAddr) -> Verdict {
        if self.is(given) { Verdict::Right } else { self.wrong(peer) }
    }

    fn is(&self, given: &str) -> bool {
        equal(&hash(&[given.as_bytes()]), &self.token)
    }

    /// Only wrong tokens are counted. Nobody guesses 256 bits, so the right token is accepted even from an address that sent wrong ones.
    fn wrong(&self, peer: IpAddr) -> Verdict {
        match self.tries.take(peer, Instant::now()) {
            Ok(()) => {
                tracing::warn!(%peer, "a wrong token");
                Verdict::Wrong
            }
            Err(wait) => Verdict::Later(wait),
        }
    }

    /// The `Set-Cookie` of who gave the token, which is `text`. It ends with the browser's session, or with the token.
    pub(super) fn set_cookie(text: &str) -> String {
        let value = cookie_of(text);
        // Browsers send cookies to every port of a host: servers beside each other must not overwrite each other's.
        let mark = &hex(&hash(&[value.as_bytes()]))[..8];
        format!("{COOKIE}_{mark}={value}; Path=/; HttpOnly; SameSite=Strict")
    }
}

/// The cookie's value: it tells nothing of the token, and is gone with it.
fn cookie_of(text: &str) -> String {
    hex(&hash(&[b"taper session ", text.as_bytes()]))
}

fn unhex(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok();
    let bytes: Option<Vec<u8>> = (0..32).map(byte).collect();
    bytes?.try_into().ok()
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
        name.starts_with(COOKIE).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_token_is_told_once_and_what_is_kept_opens_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        let mut told = Vec::new();
        Token::open(folder.path(), |text| told.push(text.to_owned())).expect("made");
        let again = Token::open(folder.path(), |_| panic!("told twice")).expect("read");
        assert_eq!(told[0].len(), 2 * BYTES);
        assert_eq!(again.check(&told[0], PEER), Verdict::Right);
        assert_eq!(again.admits(&cookie(&told[0]), PEER), Verdict::Right);
        let path = folder.path().join("token.sha256");
        let kept = std::fs::read_to_string(&path).expect("read");
        for line in kept.lines() {
            // Neither as it is, nor as what a cookie is made of.
            assert_eq!(again.check(line, PEER), Verdict::Wrong);
            assert_eq!(again.admits(&cookie(line), PEER), Verdict::Wrong);
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, format!("{COOKIE}={line}").parse().expect("a value"));
            assert_eq!(again.admits(&headers, PEER), Verdict::Wrong);
        }
        for damaged in ["abc", &kept[..64], "", &kept.replace('a', "é")] {
            std::fs::write(&path, damaged).expect("written");
            assert!(Token::open(folder.path(), |_| ()).is_err(), "{damaged}");
        }
    }

    fn cookie(text: &str) -> HeaderMap {
        let set = Token::set_cookie(text);
        let pair = set.split(';').next().expect("a pair");
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, format!("a=b; {pair}").parse().expect("a value"));
        headers
    }

    #[test]
    fn who_guesses_waits_and_nobody_else() {
        let token = Token::of("right");
        let guesser = IpAddr::from([10, 0, 0, 9]);
        while token.check("wrong", guesser) == Verdict::Wrong {}
        assert!(matches!(token.check("wrong", guesser), Verdict::Later(_)));
        assert_eq!(token.check("wrong", PEER), Verdict::Wrong);
        // The right one opens from there as well: others may be behind the same address.
        assert_eq!(token.check("right", guesser), Verdict::Right);
        // Who is in stays in, also behind the same address.
        assert_eq!(token.admits(&cookie("right"), guesser), Verdict::Right);
        assert_eq!(token.admits(&cookie("old"), guesser), Verdict::Wrong);
        // Those of two servers of a host have two names, and neither is in the other's way.
        let [mine, other] = ["right", "old"].map(|text| {
            cookie(text)[header::COOKIE].to_str().expect("text")["a=b; ".len()..].to_owned()
        });
        assert_ne!(mine.split('=').next(), other.split('=').next());
        let mut both = HeaderMap::new();
        both.insert(header::COOKIE, format!("{other}; {mine}").parse().expect("a value"));
        assert_eq!(token.admits(&both, guesser), Verdict::Right);
    }
}
