//! Why a command failed, in two lines and an exit code; and the way from the errors of the rooms to that.

use std::io::{self, Write};
use std::path::Path;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{Exit, log};
use crate::config::ConfigError;
use crate::control::Refusal;
use crate::format::FormatError;
use crate::keys::KeyError;
use crate::kms::{KmsError, Remedy};
use crate::seal::SealError;
use crate::store::StoreError;
use crate::volume::VolumeError;

/// A failure, as the user sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What, where, which.
    pub what: String,
    /// What to do.
    pub help: String,
    /// The exit code.
    pub code: u8,
}

impl Failure {
    /// A failure in two lines.
    pub fn new(exit: Exit, what: impl Into<String>, help: impl Into<String>) -> Failure {
        Failure {
            what: what.into(),
            help: help.into(),
            code: exit.code(),
        }
    }

    /// What should not happen.
    pub fn internal(what: impl Into<String>) -> Failure {
        Failure::new(Exit::Internal, what, "please report this, with the log of the mount")
    }

    /// A failure of the operating system with a path: the errno decides code and help.
    pub fn io(doing: &str, path: &Path, error: &io::Error) -> Failure {
        let errno = error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
        let (exit, help) = by_errno(errno);
        Failure::new(exit, format!("{doing} {}: {}", path.display(), reason(error)), help)
    }

    /// The directory `dir`, which should be empty, holds `name`.
    pub fn not_empty(dir: &Path, name: &str) -> Failure {
        let what = format!("{} is not empty: it holds {name:?}", dir.display());
        Failure::new(
            Exit::NotEmpty,
            what,
            "name an absent or empty directory, mount it, and move the data in",
        )
    }

    /// A volume in `dir` that cannot be made or opened.
    pub fn volume(dir: &Path, error: VolumeError) -> Failure {
        let place = dir.display();
        let what = format!("{place}: {error}");
        let damaged = "restore the volume from a backup or snapshot; nothing was changed";
        match error {
            VolumeError::NotAVolume => {
                let help = format!(
                    "`kmsfs init {place}` makes an empty directory a volume; see that no other disk belongs there"
                );
                Failure::new(Exit::NotAVolume, what, help)
            }
            VolumeError::NotEmpty(name) => Failure::not_empty(dir, &name),
            VolumeError::Format(FormatError::Newer { .. }) => {
                Failure::new(Exit::NewerFormat, what, "use a newer kmsfs; nothing was changed")
            }
            VolumeError::ReadOnly(_) => {
                let help = "mount it with --read-only, or use a newer kmsfs; nothing was changed";
                Failure::new(Exit::NewerFormat, what, help)
            }
            VolumeError::Format(_) | VolumeError::Tampered | VolumeError::Store(StoreError::Damaged { .. }) => {
                Failure::new(Exit::Damaged, what, damaged)
            }
            VolumeError::Store(StoreError::NeedsRecovery { .. }) => {
                let help = format!("remount the backing writable, then `kmsfs mount --recover-only {place}`");
                Failure::new(Exit::Disk, what, help)
            }
            VolumeError::Held(_) => Failure::new(
                Exit::Busy,
                what,
                "use it where it is mounted (`kmsfs status` there), or unmount it first",
            ),
            VolumeError::Kms(error) => Failure { what, ..error.into() },
            VolumeError::Key(error) => Failure::key(what, error),
            VolumeError::Store(error) => {
                let failure = Failure::io("opening the volume", dir, &io::Error::from_raw_os_error(error.errno()));
                Failure { what, ..failure }
            }
            VolumeError::Io { source, .. } => Failure {
                what,
                ..Failure::io("opening", dir, &source)
            },
        }
    }

    /// A key that is not there: `what` is the first line.
    pub fn key(what: String, error: KeyError) -> Failure {
        match error {
            KeyError::Kms(error) => Failure { what, ..error.into() },
            KeyError::Locked => Failure::new(Exit::KeyDenied, what, error.help()),
            KeyError::NotAllowed { .. } => Failure::new(Exit::Damaged, what, error.help()),
        }
    }

    /// The file `path` that was not sealed or unsealed.
    pub fn seal(path: &Path, error: SealError) -> Failure {
        let what = format!("{}: {error}", path.display());
        let by = |source: &io::Error| Failure {
            what: format!("{}: {}", path.display(), without_number(error.to_string())),
            ..Failure::io("", path, source)
        };
        let (exit, help) = match &error {
            SealError::Volume(_) | SealError::Kms(_) => return Failure::seal_keys(path, what, error),
            SealError::Input { source, .. } | SealError::Output(source) => return by(source),
            SealError::Place(place) => return by(&place.source),
            SealError::Malformed(FormatError::Newer { .. }) => (Exit::NewerFormat, "use a newer kmsfs".into()),
            SealError::Malformed(FormatError::Magic { .. } | FormatError::Short { .. }) => {
                let help =
                    "name a file that `kmsfs seal` has made, or one of a volume; --format guide is for the guide's";
                (Exit::Damaged, help.into())
            }
            SealError::Pending(dir) => {
                let help = format!(
                    "first `kmsfs mount --recover-only {}`, then unseal it again",
                    dir.display()
                );
                (Exit::Busy, help)
            }
            SealError::Changed => (
                Exit::Busy,
                "seal it when nobody writes to it, or seal a snapshot".into(),
            ),
            SealError::TooLarge(_) => (Exit::Path, "seal it in parts".into()),
            SealError::Trailing { end, .. } => {
                let help = format!("if it was a crash: cut a copy of it with `truncate -s {end}`, and unseal that");
                (Exit::Damaged, help)
            }
            SealError::Swapped { .. } | SealError::OtherVolume => {
                let help = "copy it to another place under another name to unseal it as what it is";
                (Exit::Damaged, help.into())
            }
            SealError::Guide { line: 1, .. } => {
                let help = "without --format guide, files are unsealed that `kmsfs seal` has made without it";
                (Exit::Damaged, help.into())
            }
            SealError::Interrupted => (Exit::Internal, "start it again; nothing was written".into()),
            _ => (
                Exit::Damaged,
                "restore it from a backup or snapshot; nothing was written".into(),
            ),
        };
        Failure::new(exit, what, help)
    }

    fn seal_keys(path: &Path, what: String, error: SealError) -> Failure {
        match error {
            SealError::Volume(error) => Failure::volume(path, error),
            SealError::Kms(error) => Failure { what, ..error.into() },
            error => Failure::internal(format!("{}: {error}", path.display())),
        }
    }

    /// The exit.
    #[must_use]
    pub fn exit(&self) -> Exit {
        Exit::of_code(self.code)
    }

    /// Prints the two lines on standard error. Nothing can be done when that is closed.
    pub fn print(&self) {
        // The journal takes a number in front for the level, see sd-daemon(3): an error, and a notice.
        let (error, notice) = if log::is_journal() { ("<3>", "<5>") } else { ("", "") };
        let (what, help) = (one_line(&self.what), one_line(&self.help));
        let text = format!("{error}error: {what}\n{notice}help: {help}\n");
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

fn by_errno(errno: Errno) -> (Exit, &'static str) {
    match errno {
        Errno::NOENT => (Exit::Path, "check the path"),
        Errno::NOTDIR => (Exit::Path, "name a directory"),
        Errno::ISDIR => (Exit::Path, "name a file"),
        Errno::NAMETOOLONG => (
            Exit::Path,
            "a path has at most 4095 bytes, a name 255; change to a directory nearer by",
        ),
        Errno::LOOP => (Exit::Path, "too many symbolic links; name the directory itself"),
        Errno::ACCESS | Errno::PERM => (Exit::Permission, "run it as root, or as the owner of the directory"),
        Errno::ROFS => (
            Exit::Disk,
            "the file system is read-only; remount it writable, or mount with --read-only",
        ),
        Errno::NOSPC | Errno::DQUOT => (Exit::Disk, "make room on the disk"),
        Errno::NOTCONN => (
            Exit::NotMounted,
            "the daemon of a mount there has died: `kmsfs umount` cleans it up",
        ),
        Errno::BUSY => (Exit::Busy, "see who uses it with `fuser -vm`"),
        _ => (Exit::Disk, "look at the system log for what is wrong with the disk"),
    }
}

/// What the operating system says, without the number.
pub fn reason(error: &io::Error) -> String {
    without_number(error.to_string())
}

fn without_number(text: String) -> String {
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// Names of files come from anybody: what would move the cursor or begin another line is not printed as it is.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::new(Exit::Usage, error.what, error.help)
    }
}

impl From<KmsError> for Failure {
    fn from(error: KmsError) -> Failure {
        let exit = match (error.code(), error.remedy()) {
            ("KeyStore.WrongPassphrase", _) => Exit::Passphrase,
            (code, _) if code.starts_with("KeyStore.") => Exit::KeyStore,
            (_, Remedy::Denied | Remedy::Gone) => Exit::KeyDenied,
            (_, Remedy::Throttled | Remedy::Unreachable) => Exit::KmsUnreachable,
            ("Kms.Endpoint" | "Kms.NoCredentials", _) => Exit::Usage,
            (_, Remedy::Misconfigured | Remedy::Rejected) => Exit::KmsRefused,
        };
        Failure::new(exit, error.to_string(), error.help())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure {
            what: refusal.what,
            help: refusal.help,
            code: refusal.code,
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        Refusal {
            what: failure.what,
            help: failure.help,
            code: failure.code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_have_codes() {
        let exit = |code: &'static str| Failure::from(KmsError::new(code, "x")).exit();
        assert_eq!(exit("KeyStore.WrongPassphrase"), Exit::Passphrase);
        assert_eq!(exit("KeyStore.NotFound"), Exit::KeyStore);
        assert_eq!(exit("Rejected.Disabled"), Exit::KeyDenied);
        assert_eq!(exit("Kms.Timeout"), Exit::KmsUnreachable);
        assert_eq!(exit("AliasAlreadyExists"), Exit::KmsRefused);
        assert_eq!(exit("SignatureDoesNotMatch"), Exit::KmsRefused);
        assert_eq!(exit("Kms.NoCredentials"), Exit::Usage);
    }

    #[test]
    fn errnos_have_codes_and_no_numbers() {
        let failure = |errno: Errno| Failure::io("opening", Path::new("/x"), &errno.into());
        assert_eq!(failure(Errno::NAMETOOLONG).exit(), Exit::Path);
        assert_eq!(failure(Errno::ROFS).exit(), Exit::Disk);
        assert!(!failure(Errno::NOENT).what.contains("os error"));
    }

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(one_line("a\nb\x1b[2J"), "a?b?[2J");
    }
}
