//! Models of the Hugging Face Hub: `hf://owner/name[@revision]` where a configuration names a folder. What is needed of one is put where all
//! programs of the Hub's have it, and the configuration then names that folder.

// Tests have a client without TLS anyway, so they need no feature.
#[cfg(any(feature = "hub", test))]
mod download;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use anyhow::Result;
use engine::config::{Bert, Config, Model};

use crate::failure::failure;

/// How an address begins.
const SCHEME: &str = "hf://";

/// A model of the Hub's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    /// `owner/name`.
    repo: String,
    /// A branch, a tag or a commit.
    revision: String,
}

impl Address {
    /// Reads what stands behind the scheme; none if it is no address.
    fn parse(text: &str) -> Option<Self> {
        let (repo, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (owner, name) = repo.split_once('/')?;
        // They become names of folders.
        let is_name = |part: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty()
                && !part.starts_with('.')
                && !part.contains("--")
                && part.chars().all(known)
        };
        let right = is_name(owner) && is_name(name) && revision.split('/').all(is_name);
        right.then(|| Self { repo: repo.into(), revision: revision.into() })
    }
}

/// Puts a local folder in the place of each address of the Hub's in a configuration.
///
/// # Errors
/// What is no address, or cannot be had; a sentence that names the key.
pub(crate) fn resolve(config: &mut Config) -> Result<()> {
    let begin = match &mut config.model {
        Model::Bert(Bert { from, .. }) => from.as_mut(),
        _ => None,
    };
    let named = [("teacher.from", config.teacher.from.as_mut()), ("model.from", begin)];
    for (key, from) in named {
        let Some(from) = from else { continue };
        let Some(address) = from.strip_prefix(SCHEME) else { continue };
        let whole = format!("{key} = \"{from}\"");
        let Some(address) = Address::parse(address) else {
            let hint = "write hf://owner/name, or hf://owner/name@revision";
            return Err(failure(format!("{whole}: that is no model of the Hub's"), hint));
        };
        *from = folder(&whole, &address)?.display().to_string();
    }
    Ok(())
}

/// The local folder of a model; `whole` is the key with its value.
#[cfg(feature = "hub")]
fn folder(whole: &str, of: &Address) -> Result<PathBuf> {
    let hub = download::Hub::of_environment();
    hub.folder(of).map_err(|problem| failure(format!("{whole}: {problem}"), hub.hint(&problem)))
}

#[cfg(not(feature = "hub"))]
fn folder(whole: &str, of: &Address) -> Result<PathBuf> {
    let Address { repo, revision } = of;
    Err(failure(
        format!("{whole}: this program was built without downloads"),
        format!(
            "build it with `cargo build --release --features hub`, or run `hf download {repo} --revision {revision}` and name the folder that this prints"
        ),
    ))
}

#[cfg(test)]
mod addresses {
    use super::*;

    #[test]
    fn an_address_is_an_owner_a_name_and_a_revision() {
        let of = |repo: &str, revision: &str| {
            Some(Address { repo: repo.into(), revision: revision.into() })
        };
        assert_eq!(Address::parse("a/b"), of("a/b", "main"));
        assert_eq!(Address::parse("a-1/b.c_d@v1.0"), of("a-1/b.c_d", "v1.0"));
        assert_eq!(Address::parse("a/b@refs/pr/1"), of("a/b", "refs/pr/1"));
        for bad in
            ["", "b", "a/", "/b", "a/b/c", "../b", "a/..", "a/b@", "a/b@../c", "a/b@c d", "a--b/c"]
        {
            assert_eq!(Address::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_a_folder_stays() {
        let mut config = Config::default();
        config.teacher.from = Some("some/folder".into());
        resolve(&mut config).expect("a folder");
        assert_eq!(config.teacher.from.as_deref(), Some("some/folder"));
        config.teacher.from = Some("hf://nobody".into());
        let said = resolve(&mut config).expect_err("no address").to_string();
        assert_eq!(said, "teacher.from = \"hf://nobody\": that is no model of the Hub's");
        #[cfg(not(feature = "hub"))]
        {
            let from = Some("hf://owner/name@v1".to_owned());
            config.model = Model::Bert(Bert { from, ..Bert::default() });
            config.teacher.from = None;
            let said = resolve(&mut config).expect_err("no downloads").to_string();
            assert_eq!(
                said,
                "model.from = \"hf://owner/name@v1\": this program was built without downloads"
            );
        }
    }
}
