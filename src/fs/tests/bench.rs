//! What the tests stand on: a volume in a temporary directory, and calls by path.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use tempfile::TempDir;

use crate::format::Geometry;
use crate::fs::types::{Caller, Found, OpenHow, ROOT, RenameHow};
use crate::fs::{Fs, Result};
use crate::kms::scripted::ScriptedKms;

/// A volume and a file system that serves it.
pub struct Bench {
    directory: Directory,
    pub fs: Fs,
}

/// A backing, of one's own or somebody else's.
enum Directory {
    Own(TempDir),
    Other(PathBuf),
}

impl Directory {
    fn path(&self) -> &Path {
        match self {
            Self::Own(directory) => directory.path(),
            Self::Other(path) => path,
        }
    }
}

fn serve(backing: &Path) -> Fs {
    Fs::new(crate::volume::testing::open(backing)).unwrap()
}

impl Bench {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        crate::volume::testing::create(directory.path(), Geometry::new(4096).unwrap());
        let fs = serve(directory.path());
        let directory = Directory::Own(directory);
        Self { directory, fs }
    }

    /// One with the smallest journal, in memory.
    pub fn small() -> Self {
        let directory = in_memory();
        crate::volume::testing::create(directory.path(), Geometry::new(4096).unwrap());
        let small = Self::of(directory.path());
        let directory = Directory::Own(directory);
        Self { directory, ..small }
    }

    /// The volume in `backing`, which stays when this is dropped; with the smallest journal.
    pub fn of(backing: &Path) -> Self {
        let fs = Fs::new(crate::volume::testing::open_with_journal(backing, 1)).unwrap();
        let directory = Directory::Other(backing.to_owned());
        Self { directory, fs }
    }

    /// One whose KMS the caller holds. In memory, where inode numbers are in the order in which files are made: a disk that
    /// other tests use too gives out those of removed files again.
    pub fn on(kms: &Arc<ScriptedKms>) -> Self {
        let directory = in_memory();
        crate::volume::testing::create_on(directory.path(), Geometry::new(4096).unwrap(), kms);
        let fs = Fs::new(crate::volume::testing::open_on(directory.path(), kms, 0)).unwrap();
        let directory = Directory::Own(directory);
        Self { directory, fs }
    }

    /// The same backing, served by somebody who fetches keys ahead.
    pub fn ahead(self, kms: &Arc<ScriptedKms>, ahead: usize) -> Self {
        let Self { directory, fs } = self;
        fs.volume().store.close().unwrap();
        drop(fs);
        let fs = Fs::new(crate::volume::testing::open_on(directory.path(), kms, ahead)).unwrap();
        Self { directory, fs }
    }

    /// The same backing, served by somebody who remembers nothing; `edit` changes it in between.
    pub fn again(self, edit: impl FnOnce(&Path)) -> Self {
        let Self { directory, fs } = self;
        fs.volume().store.close().unwrap();
        drop(fs);
        edit(directory.path());
        let fs = serve(directory.path());
        Self { directory, fs }
    }

    pub fn backing(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// The entries of the backing's root that are stored names or side files.
    pub fn stored(&self) -> Vec<String> {
        stored(self.directory.path())
    }

    pub fn dir(&self, parent: u64, name: &str) -> u64 {
        let made = self.fs.make_directory(parent, name.as_bytes(), 0o755, &caller());
        made.unwrap().attr.ino
    }

    /// A file with `content`.
    pub fn file(&self, parent: u64, name: &str, content: &str) -> u64 {
        let how = OpenHow {
            write: true,
            ..OpenHow::default()
        };
        let (found, handle) = self.fs.create(parent, name.as_bytes(), 0o644, how, &caller()).unwrap();
        self.fs.write(handle, 0, content.as_bytes(), None).unwrap();
        self.fs.sync(handle, false).unwrap();
        self.fs.release(handle);
        found.attr.ino
    }

    pub fn find(&self, parent: u64, name: &str) -> Result<Found> {
        self.fs.lookup(parent, name.as_bytes())
    }

    /// What the file `name` holds; `Err` is why it cannot be read.
    pub fn text(&self, parent: u64, name: &str) -> std::result::Result<String, Errno> {
        let read = || {
            let ino = self.find(parent, name)?.attr.ino;
            let handle = self.fs.open(ino, OpenHow::default(), &caller())?;
            let mut bytes = Vec::new();
            let read = self.fs.read(handle, 0, 1 << 20, &mut bytes);
            self.fs.release(handle);
            read.map(|()| String::from_utf8(bytes).unwrap())
        };
        read().map_err(|error| error.code())
    }

    pub fn rename(&self, from: (u64, &str), to: (u64, &str), how: RenameHow) -> std::result::Result<(), Errno> {
        let renamed = self
            .fs
            .rename((from.0, from.1.as_bytes()), (to.0, to.1.as_bytes()), how);
        renamed.map_err(|error| error.code())
    }

    /// The names in `ino`, sorted.
    pub fn list(&self, ino: u64) -> Vec<String> {
        let handle = self.fs.open_directory(ino).unwrap();
        let mut names = Vec::new();
        let keep = |item: crate::fs::Listed<'_>| {
            names.push(String::from_utf8_lossy(item.name).into_owned());
            false
        };
        self.fs.list(handle, 0, keep).unwrap();
        self.fs.release_directory(handle);
        names.retain(|name| !matches!(&**name, "." | ".."));
        names.sort();
        names
    }

    pub fn root(&self) -> Vec<String> {
        self.list(ROOT)
    }
}

/// A directory in memory, if there is a place for one: a sync costs nothing there.
pub fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// The entries of `backing` that are stored names or side files.
pub fn stored(backing: &Path) -> Vec<String> {
    let own = ["kmsfs.volume", "kmsfs.journal", "kmsfs.lock"];
    let entries = std::fs::read_dir(backing).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !own.contains(&&**name))
        .collect();
    names.sort();
    names
}

/// The one who runs the tests.
pub fn caller() -> Caller {
    Caller {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        pid: 0,
        umask: 0o022,
    }
}

/// The errno of what must have failed.
pub fn errno<T>(result: Result<T>) -> Errno {
    match result {
        Ok(_) => panic!("it did not fail"),
        Err(error) => error.code(),
    }
}

/// Tells who runs a loop by hand what it did.
pub fn say(what: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{what}");
}
