//! Access keys: who may ask, and the secret by which each proves it. A text file, one line for each:
//! `ID SECRET [SECURITY-TOKEN]`; `#` begins a comment.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

use crate::format::ids::random_bytes;

/// Most bytes of such a file.
const FILE_MAX: u64 = 1 << 20;

/// A file of access keys that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessKeyError {
    /// It cannot be read or made.
    #[error("the access keys in {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line that is none.
    #[error("the access keys in {path}, line {line}: {why}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1; 0 for the file as a whole.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// What belongs to an access key's id.
pub(super) struct AccessKey {
    pub secret: Zeroizing<String>,
    /// Of temporary credentials.
    pub token: Option<Zeroizing<String>>,
}

/// All access keys, by id. They cannot be printed.
pub struct AccessKeys(HashMap<String, AccessKey>);

impl AccessKeys {
    /// Reads `path`.
    ///
    /// # Errors
    /// [`AccessKeyError`].
    pub fn read(path: &Path) -> Result<AccessKeys, AccessKeyError> {
        let io = |source| AccessKeyError::Io {
            path: path.to_owned(),
            source,
        };
        let mut text = Zeroizing::new(String::new());
        let file = std::fs::File::open(path).map_err(io)?;
        file.take(FILE_MAX).read_to_string(&mut text).map_err(io)?;
        AccessKeys::parse(&text).map_err(|(line, why)| AccessKeyError::Line {
            path: path.to_owned(),
            line,
            why,
        })
    }

    /// Reads `path`, or makes it first with one random access key, readable for its owner only.
    ///
    /// # Errors
    /// [`AccessKeyError`].
    pub fn read_or_create(path: &Path) -> Result<AccessKeys, AccessKeyError> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let written = match made {
            Ok(mut file) => {
                let id = BASE32_NOPAD.encode(&random_bytes::<10>());
                let secret = Zeroizing::new(BASE32_NOPAD.encode(&random_bytes::<20>()));
                let text = Zeroizing::new(format!("# ID SECRET [SECURITY-TOKEN]\nLTAI{id} {}\n", *secret));
                tracing::info!("made an access key, in {}", path.display());
                file.write_all(text.as_bytes()).and_then(|()| file.sync_all())
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        };
        written.map_err(|source| AccessKeyError::Io {
            path: path.to_owned(),
            source,
        })?;
        AccessKeys::read(path)
    }

    /// The keys in a file's text; otherwise the line that is wrong, and why.
    pub(super) fn parse(text: &str) -> Result<AccessKeys, (usize, &'static str)> {
        let mut keys = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
            let Some(id) = words.next() else { continue };
            let wrong = |why| Err((at + 1, why));
            let Some(secret) = words.next() else {
                return wrong("the secret is missing");
            };
            let token = words.next();
            if words.next().is_some() {
                return wrong("more than id, secret and token");
            }
            if id.contains(['/', ',', '=']) {
                return wrong("an id has no /, comma or =");
            }
            let key = AccessKey {
                secret: Zeroizing::new(secret.to_owned()),
                token: token.map(|token| Zeroizing::new(token.to_owned())),
            };
            if keys.insert(id.to_owned(), key).is_some() {
                return wrong("this id stands in an earlier line too");
            }
        }
        match keys.is_empty() {
            true => Err((0, "no access key stands there")),
            false => Ok(AccessKeys(keys)),
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<&AccessKey> {
        self.0.get(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn lines() {
        let keys = AccessKeys::parse("# all\n\n  a  s1 # one\nSTS.b s2 token+/==\r\n").unwrap_or_else(|_| panic!());
        assert_eq!(keys.get("a").unwrap().secret.as_str(), "s1");
        assert!(keys.get("a").unwrap().token.is_none());
        assert_eq!(
            keys.get("STS.b").unwrap().token.as_deref().map(String::as_str),
            Some("token+/==")
        );
        for (text, line) in [
            ("", 0),
            ("# none\n", 0),
            ("a\n", 1),
            ("a s\nb # s\n", 2),
            ("a s t u\n", 1),
            ("a s\na t\n", 2),
            ("a,b s\n", 1),
        ] {
            assert_eq!(
                AccessKeys::parse(text).err().map(|(line, _)| line),
                Some(line),
                "{text:?}"
            );
        }
    }

    #[test]
    fn made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access-keys");
        AccessKeys::read_or_create(&path).unwrap_or_else(|error| panic!("{error}"));
        let text = std::fs::read(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        AccessKeys::read_or_create(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(std::fs::read(&path).unwrap(), text);
        assert!(AccessKeys::read(&dir.path().join("other")).is_err());
    }
}
