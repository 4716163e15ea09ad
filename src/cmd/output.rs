//! The file that a command makes: written beside its place and named only when it is whole, so that nothing is ever
//! half there, and nothing that was there is lost.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::{Exit, Failure};

/// A file that has no name yet. Dropped, it is gone.
pub struct Output {
    beside: NamedTempFile,
    place: PathBuf,
    force: bool,
}

impl Output {
    /// A new file for `place`, with `mode`.
    ///
    /// # Errors
    /// There is such a file already, and `force` is not set; or none can be made there.
    pub fn create(place: &Path, mode: u32, force: bool) -> Result<Output, Failure> {
        match fs::symlink_metadata(place) {
            Ok(facts) if facts.is_dir() => {
                let what = format!("{} is a directory", place.display());
                return Err(Failure::new(Exit::Path, what, "name a file with -o"));
            }
            Ok(_) if !force => return Err(exists(place)),
            _ => {}
        }
        let dir = match place.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let made = tempfile::Builder::new()
            .prefix(".kmsfs-")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(dir);
        Ok(Output {
            beside: made.map_err(|error| Failure::io("making a file in", dir, &error))?,
            place: place.to_owned(),
            force,
        })
    }

    /// The file.
    pub fn file(&self) -> &File {
        self.beside.as_file()
    }

    /// Where it will be.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Makes it durable and gives it its name.
    ///
    /// # Errors
    /// There is such a file now; or the disk fails.
    pub fn finish(self) -> Result<(), Failure> {
        let Output { beside, place, force } = self;
        let failed = |error: &io::Error| Failure::io("writing", &place, error);
        beside.as_file().sync_all().map_err(|error| failed(&error))?;
        let named = match force {
            true => beside.persist(&place),
            false => beside.persist_noclobber(&place),
        };
        match named {
            Ok(_) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => return Err(exists(&place)),
            Err(error) => return Err(failed(&error.error)),
        }
        let dir = place.parent().filter(|dir| !dir.as_os_str().is_empty());
        let synced = File::open(dir.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all());
        synced.map_err(|error| failed(&error))
    }
}

fn exists(place: &Path) -> Failure {
    let what = format!("there is a file {} already", place.display());
    Failure::new(
        Exit::Path,
        what,
        "name another one with -o, or write over it with --force",
    )
}

/// Where the result of `input` goes: what `-o` says, or `default`.
pub fn place(asked: Option<&Path>, default: &Path) -> PathBuf {
    match asked {
        Some(dir) if dir.is_dir() => dir.join(default.file_name().unwrap_or(default.as_os_str())),
        Some(file) => file.to_owned(),
        None => default.to_owned(),
    }
}

/// `path` with `suffix` at its end.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// `path` without `suffix` at its end, if that leaves a name.
pub fn without_suffix(path: &Path, suffix: &str) -> Option<PathBuf> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let name = path.file_name()?.as_bytes().strip_suffix(suffix.as_bytes())?;
    (!name.is_empty()).then(|| path.with_file_name(OsStr::from_bytes(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_named_before_it_is_whole_and_nothing_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("out");
        let left = || fs::read_dir(dir.path()).unwrap().count();
        drop(Output::create(&place, 0o600, false).unwrap());
        assert_eq!(left(), 0);
        let output = Output::create(&place, 0o400, false).unwrap();
        assert!(!place.exists());
        // Somebody else is faster.
        fs::write(&place, "theirs").unwrap();
        assert_eq!(output.finish().unwrap_err().exit(), Exit::Path);
        assert_eq!(Output::create(&place, 0o600, false).err().unwrap().exit(), Exit::Path);
        assert_eq!((fs::read(&place).unwrap().as_slice(), left()), (&b"theirs"[..], 1));
        Output::create(&place, 0o400, true).unwrap().finish().unwrap();
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o400);
        assert_eq!((fs::read(&place).unwrap().len(), left()), (0, 1));
    }

    #[test]
    fn suffixes() {
        assert_eq!(with_suffix(Path::new("a/b"), ".x"), Path::new("a/b.x"));
        assert_eq!(without_suffix(Path::new("a/b.x"), ".x"), Some("a/b".into()));
        assert_eq!(without_suffix(Path::new("a/.x"), ".x"), None);
        assert_eq!(without_suffix(Path::new("a/b"), ".x"), None);
    }
}
