//! The audit log: a line of JSON for each time that a volume was mounted, unmounted, locked, unlocked or denied, and,
//! if that is asked for, for each open. No line holds a secret; those of opens hold plain paths.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::Serialize;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// The volume was mounted.
    Mount,
    /// It was unmounted.
    Unmount,
    /// It was locked.
    Lock {
        /// Why.
        reason: String,
    },
    /// It was unlocked.
    Unlock,
    /// The KMS refused its keys.
    Denied {
        /// In these words.
        reason: String,
    },
    /// A file was opened.
    Open {
        /// By whom.
        uid: u32,
        /// By which process.
        pid: u32,
        /// Its plain path from the root of the mount; bytes that are no text are replaced.
        path: String,
        /// Whether it may be written to.
        write: bool,
    },
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    event: &'a Event,
    mountpoint: &'a str,
    volume: &'a str,
    daemon: u32,
}

/// The log of one mount.
pub struct Audit {
    path: PathBuf,
    mountpoint: String,
    volume: String,
    file: Mutex<File>,
}

impl Audit {
    /// Opens the file at `path` to append to, or makes it for its owner alone.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path, mountpoint: &Path, volume: String) -> io::Result<Audit> {
        Ok(Audit {
            path: path.to_owned(),
            mountpoint: mountpoint.display().to_string(),
            volume,
            file: Mutex::new(append(path)?),
        })
    }

    /// Writes a line. One that cannot be written is told in the log of the mount, and the mount goes on.
    pub fn note(&self, event: &Event) {
        let line = Line {
            time: jiff::Timestamp::now().to_string(),
            event,
            mountpoint: &self.mountpoint,
            volume: &self.volume,
            daemon: std::process::id(),
        };
        let mut text = serde_json::to_string(&line).unwrap_or_default();
        text.push('\n');
        // One write for each line: others may append to the same file.
        if let Err(error) = self.file.lock().write_all(text.as_bytes()) {
            tracing::error!("a line of the audit log {} is lost: {error}", self.path.display());
        }
    }

    /// Opens the file anew, because it may have been moved away.
    pub fn reopen(&self) {
        match append(&self.path) {
            Ok(file) => *self.file.lock() = file,
            Err(error) => tracing::error!("the audit log {} stays where it was: {error}", self.path.display()),
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn lines_are_json_in_a_private_file_that_may_be_moved() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("audit"), dir.path().join("audit.1"));
        let audit = Audit::open(&path, Path::new("/m"), "v".into()).unwrap();
        audit.note(&Event::Mount);
        audit.note(&Event::Lock {
            reason: "by \"command\"\n".into(),
        });
        fs::rename(&path, &moved).unwrap();
        audit.reopen();
        audit.note(&Event::Unlock);
        let events = |path: &Path| -> Vec<serde_json::Value> {
            let text = fs::read_to_string(path).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        let (old, new) = (events(&moved), events(&path));
        assert_eq!((old.len(), new.len()), (2, 1));
        assert_eq!(
            (&old[0]["event"], &old[0]["mountpoint"]),
            (&"mount".into(), &"/m".into())
        );
        assert_eq!(
            (&old[1]["event"], &old[1]["reason"]),
            (&"lock".into(), &"by \"command\"\n".into())
        );
        assert_eq!((&new[0]["event"], &new[0]["volume"]), (&"unlock".into(), &"v".into()));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }
}
