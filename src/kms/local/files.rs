//! Private files: read only when nobody else could have, replaced as a whole or not at all, and changed by
//! one process at a time. Knows nothing of what is in them.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::kms::KmsError;

/// How long to wait for another process that is changing the store; a change takes milliseconds.
const LOCK_TRIES: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A file that was read. As long as `pin` stays open, its inode number names no other file.
pub(super) struct PrivateFile {
    pub bytes: Zeroizing<Vec<u8>>,
    pub stamp: Stamp,
    pub pin: File,
}

/// What changes when a file is replaced or written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp([i64; 3], [u64; 3]);

impl Stamp {
    fn of(facts: &std::fs::Metadata) -> Stamp {
        let times = [facts.mtime(), facts.mtime_nsec(), facts.ctime_nsec()];
        Stamp(times, [facts.dev(), facts.ino(), facts.len()])
    }

    /// The stamp of what lies at `path` now.
    pub(super) fn at(path: &Path, absent: &'static str) -> Result<Stamp, KmsError> {
        let facts = std::fs::metadata(path).map_err(|error| trouble(path, &error, absent))?;
        Ok(Stamp::of(&facts))
    }
}

/// Reads a file of at most `max` bytes that belongs to this user or root and is closed to all others.
///
/// # Errors
/// `absent` when it is not there, `KeyStore.Permissions`, `KeyStore.Damaged` when it is too long, `KeyStore.Io`.
pub(super) fn read_private(path: &Path, max: usize, absent: &'static str) -> Result<PrivateFile, KmsError> {
    let fault = |code, message: String| KmsError::new(code, message).about(path.display().to_string());
    let io = |error| trouble(path, &error, absent);
    // NONBLOCK: a FIFO in its place must not hang us.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(io)?;
    let facts = file.metadata().map_err(io)?;
    if !facts.is_file() {
        return Err(fault("KeyStore.Damaged", "this is not a regular file".to_owned()));
    }
    let owner = facts.uid();
    if facts.mode() & 0o077 != 0 || (owner != 0 && owner != rustix::process::geteuid().as_raw()) {
        let message = format!(
            "mode {:03o} of uid {owner} lets others read or change it",
            facts.mode() & 0o777
        );
        return Err(fault("KeyStore.Permissions", message));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(max.min(4096)));
    (&file).take(max as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() > max {
        return Err(fault("KeyStore.Damaged", format!("it is longer than {max} bytes")));
    }
    Ok(PrivateFile {
        bytes,
        stamp: Stamp::of(&facts),
        pin: file,
    })
}

/// What to do about a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// Fail with `KeyStore.Exists`.
    Keep,
    /// Put the new one in its place.
    Replace,
}

/// Writes `bytes` durably to a temporary file with mode 0600 beside `path`, and makes the directory if needed.
///
/// # Errors
/// `KeyStore.Io`.
pub(super) fn prepare(path: &Path, bytes: &[u8]) -> Result<NamedTempFile, KmsError> {
    let dir = directory_of(path);
    let io = |error: std::io::Error| trouble(path, &error, "KeyStore.Io");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io)?;
    let mut file = tempfile::Builder::new()
        .prefix(".kmsfs-")
        .tempfile_in(dir)
        .map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    Ok(file)
}

/// Gives a prepared file its name, durably.
///
/// # Errors
/// `KeyStore.Exists`, `KeyStore.Io`.
pub(super) fn publish(file: NamedTempFile, path: &Path, existing: Existing) -> Result<(), KmsError> {
    let outcome = match existing {
        Existing::Keep => file.persist_noclobber(path),
        Existing::Replace => file.persist(path),
    };
    outcome.map_err(|refused| trouble(path, &refused.error, "KeyStore.Io"))?;
    let synced = File::open(directory_of(path)).and_then(|dir| dir.sync_all());
    synced.map_err(|error| trouble(path, &error, "KeyStore.Io"))
}

/// Waits until no other process changes the file at `path`; the returned file holds them off until dropped.
///
/// # Errors
/// `KeyStore.Io`, also when another process does not finish.
pub(super) fn lock(path: &Path) -> Result<File, KmsError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    let beside: PathBuf = path.with_file_name(name);
    let io = |error: std::io::Error| trouble(&beside, &error, "KeyStore.Io");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&beside)
        .map_err(io)?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
    }
    let message = "another process holds the key store's lock and does not let go";
    Err(KmsError::new("KeyStore.Io", message).about(beside.display().to_string()))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

fn trouble(path: &Path, error: &std::io::Error, absent: &'static str) -> KmsError {
    let (code, message) = match error.kind() {
        ErrorKind::NotFound => (absent, "there is no such file".to_owned()),
        ErrorKind::AlreadyExists => ("KeyStore.Exists", "there is such a file already".to_owned()),
        ErrorKind::PermissionDenied => ("KeyStore.Permissions", "this user may not use it".to_owned()),
        _ => ("KeyStore.Io", error.to_string()),
    };
    KmsError::new(code, message).about(path.display().to_string())
}
