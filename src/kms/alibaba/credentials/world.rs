//! What credentials are looked for in: environment, files, and services that tests can replace.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use zeroize::Zeroizing;

use super::super::client::Environment;
use crate::kms::{Clock, KmsError};

/// The address of the metadata service on each ECS instance: link-local, hence without encryption.
const METADATA: &str = "http://100.100.100.200/";
/// Most bytes of a file with credentials or a token.
const FILE_MAX: u64 = 256 * 1024;

/// What credentials are looked for in.
#[derive(Clone)]
pub struct World {
    pub environment: Environment,
    pub clock: Arc<dyn Clock>,
    /// The metadata service; none where its address cannot be written.
    pub metadata: Option<Url>,
    /// How long a connection and an answer of the metadata service may take.
    pub metadata_timeout: Duration,
    /// How long those of STS and a credentials URI may take.
    pub timeout: Duration,
}

impl World {
    /// The real one.
    pub fn new(environment: Environment, clock: Arc<dyn Clock>) -> World {
        World {
            environment,
            clock,
            metadata: Url::parse(METADATA).ok(),
            metadata_timeout: Duration::from_secs(1),
            timeout: Duration::from_secs(10),
        }
    }

    /// An environment variable that is set and not empty.
    pub fn variable(&self, name: &str) -> Option<String> {
        let value = (self.environment)(name).and_then(|value| OsString::into_string(value).ok());
        value.filter(|value| !value.trim().is_empty())
    }

    /// Whether a switch in the environment is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.variable(name)
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
    }

    /// A file below the home directory.
    pub fn home(&self, path: &str) -> Option<PathBuf> {
        Some(PathBuf::from((self.environment)("HOME")?).join(path))
    }

    /// A text file; none if it is not there.
    ///
    /// # Errors
    /// `Kms.NoCredentials`: it cannot be read, is too long or no text.
    pub fn read(&self, path: &std::path::Path) -> Result<Option<Zeroizing<String>>, KmsError> {
        let wrong =
            |why: String| KmsError::new("Kms.NoCredentials", format!("{} cannot be read: {why}", path.display()));
        let length = match std::fs::metadata(path) {
            Ok(facts) => facts.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(error.to_string())),
        };
        if length > FILE_MAX {
            return Err(wrong(format!("it is longer than {FILE_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        Ok(Some(Zeroizing::new(text)))
    }
}
