//! How a keyring behaves, and what it tells of itself.

use std::time::Duration;

use serde::Serialize;

/// How a keyring behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Most data keys in the cache; 0 keeps none.
    pub capacity: usize,
    /// How long a data key may be used for opening files after the KMS last gave it.
    pub ttl: Duration,
    /// Most data keys fetched ahead for new files; 0 fetches none.
    pub pool: usize,
    /// Most data keys unwrapped ahead for files that are likely to be opened next; 0 unwraps none.
    pub ahead: usize,
    /// Most calls to the KMS at a time that are made ahead of need.
    pub concurrency: usize,
    /// Whether one data key may serve several files; `None`: each file has its own.
    pub reuse: Option<ReusePolicy>,
    /// Master keys beside the volume's own whose wrapped keys are accepted, as during a rotation.
    pub also_allowed: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            capacity: 4096,
            ttl: Duration::from_secs(3600),
            pool: 64,
            ahead: 64,
            concurrency: 16,
            reuse: None,
            also_allowed: Vec::new(),
        }
    }
}

/// When a data key that serves several files is replaced by a new one: at whichever limit comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReusePolicy {
    /// Most files with one data key.
    pub files: u32,
    /// Most seconds from getting it to the last file that is begun with it.
    pub seconds: u64,
    /// Most bytes written under it before no further file is begun with it.
    pub bytes: u64,
}

/// What a keyring tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyringStatus {
    /// Whether all keys were wiped.
    pub locked: bool,
    /// Data keys in the cache.
    pub cached: usize,
    /// Files whose keys are held because they are open.
    pub open_files: usize,
    /// Keys of files that were found in memory.
    pub hits: u64,
    /// Keys of files that the KMS had to be asked for.
    pub misses: u64,
    /// Calls to the KMS.
    pub kms_calls: u64,
    /// Those of them that failed.
    pub kms_failures: u64,
    /// How long all calls together took.
    pub kms_time: Duration,
    /// When the KMS last answered with a key, in seconds since 1970.
    pub last_contact: Option<i64>,
    /// Data keys waiting for new files.
    pub pool: usize,
    /// Whether all keys are in memory that cannot be swapped out.
    pub memory_locked: bool,
}
