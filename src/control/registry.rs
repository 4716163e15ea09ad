//! The runtime directory: for each mount a socket and a small file that says whose it is. Both are named by a hash of
//! the mount point. What a daemon that crashed left there is cleaned up by whoever comes next.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, geteuid, test_kill_process};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

/// An entry is two paths and some numbers.
const ENTRY_MAX: u64 = 64 << 10;
/// A runtime directory that holds more than this many files is not one of ours.
const FILES_MAX: usize = 100_000;

/// Where the mounts of this user are found.
#[derive(Debug, Clone)]
pub struct Registry {
    dir: PathBuf,
}

/// A mount, as its daemon announced it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The daemon.
    pub pid: u32,
    /// Where the volume is mounted.
    pub mountpoint: PathBuf,
    /// The directory that holds what is stored.
    pub backing: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Written {
    pid: u32,
    mountpoint: Vec<u8>,
    backing: Vec<u8>,
    /// The mount point again, for people who look into the directory.
    note: String,
}

impl Registry {
    /// The registry of this user: `/run/kmsfs` for root, below `XDG_RUNTIME_DIR` or `/tmp` for others;
    /// `KMSFS_RUNTIME_DIR` says otherwise. `variable` looks a name up in the environment.
    pub fn of_user(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Registry {
        let named = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let uid = geteuid();
        let dir = match (named("KMSFS_RUNTIME_DIR"), uid.is_root(), named("XDG_RUNTIME_DIR")) {
            (Some(dir), ..) => dir,
            (None, true, _) => "/run/kmsfs".into(),
            (None, false, Some(dir)) => dir.join("kmsfs"),
            (None, false, None) => format!("/tmp/kmsfs-{}", uid.as_raw()).into(),
        };
        Registry::at(dir)
    }

    /// The registry in `dir`.
    #[must_use]
    pub fn at(dir: PathBuf) -> Registry {
        Registry { dir }
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the directory, for its owner only.
    ///
    /// # Errors
    /// It cannot be made, or belongs to somebody else (who could then answer in a mount's name).
    pub fn prepare(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let facts = fs::symlink_metadata(&self.dir)?;
        if !facts.is_dir() || facts.uid() != geteuid().as_raw() {
            let why = format!("{} does not belong to this user", self.dir.display());
            return Err(io::Error::new(ErrorKind::PermissionDenied, why));
        }
        if facts.mode() & 0o077 != 0 {
            fs::set_permissions(&self.dir, Permissions::from_mode(0o700))?;
        }
        Ok(())
    }

    /// The socket of the mount at `mountpoint`.
    #[must_use]
    pub fn socket(&self, mountpoint: &Path) -> PathBuf {
        self.named(mountpoint, "sock")
    }

    fn named(&self, mountpoint: &Path, suffix: &str) -> PathBuf {
        let hash = xxh3_128(mountpoint.as_os_str().as_bytes()) >> 64;
        self.dir.join(format!("{hash:016x}.{suffix}"))
    }

    /// Announces a mount.
    ///
    /// # Errors
    /// The runtime directory cannot be written.
    pub fn announce(&self, entry: &Entry) -> io::Result<()> {
        let written = Written {
            pid: entry.pid,
            mountpoint: entry.mountpoint.as_os_str().as_bytes().to_vec(),
            backing: entry.backing.as_os_str().as_bytes().to_vec(),
            note: entry.mountpoint.to_string_lossy().into_owned(),
        };
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        serde_json::to_writer(&mut file, &written)?;
        file.persist(self.named(&entry.mountpoint, "json"))?;
        Ok(())
    }

    /// Takes an announcement back, if it is still `pid`'s.
    pub fn withdraw(&self, mountpoint: &Path, pid: u32) {
        if self
            .read(&self.named(mountpoint, "json"))
            .is_some_and(|entry| entry.pid == pid)
        {
            self.clean(mountpoint);
            // An ordinary end. What cannot be removed only asks for one more command.
            let _ = self.mark_unlocked(mountpoint);
        }
    }

    fn clean(&self, mountpoint: &Path) {
        for suffix in ["sock", "json"] {
            // What cannot be removed is stale and will be taken for that.
            let _ = fs::remove_file(self.named(mountpoint, suffix));
        }
    }

    /// Remembers that the mount at `mountpoint` was locked on demand: also when its daemon dies, it is to stay so.
    ///
    /// # Errors
    /// The runtime directory cannot be written.
    pub fn mark_locked(&self, mountpoint: &Path) -> io::Result<()> {
        fs::write(self.named(mountpoint, "locked"), "")
    }

    /// Whether it was, and nobody unlocked it.
    #[must_use]
    pub fn is_locked(&self, mountpoint: &Path) -> bool {
        self.named(mountpoint, "locked").exists()
    }

    /// Forgets that it was.
    ///
    /// # Errors
    /// The runtime directory cannot be written.
    pub fn mark_unlocked(&self, mountpoint: &Path) -> io::Result<()> {
        match fs::remove_file(self.named(mountpoint, "locked")) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The mount at `mountpoint`, if its daemon lives.
    #[must_use]
    pub fn find(&self, mountpoint: &Path) -> Option<Entry> {
        let entry = self.read(&self.named(mountpoint, "json"))?;
        self.living(entry).filter(|entry| entry.mountpoint == mountpoint)
    }

    /// Every mount whose daemon lives, by mount point.
    #[must_use]
    pub fn list(&self) -> Vec<Entry> {
        let Ok(files) = fs::read_dir(&self.dir) else {
            return Vec::new();
        };
        let files = files.flatten().take(FILES_MAX).map(|file| file.path());
        let mut entries: Vec<Entry> = files
            .filter(|path| path.extension() == Some(OsStr::new("json")))
            .filter_map(|path| self.living(self.read(&path)?))
            .collect();
        entries.sort_by(|a, b| a.mountpoint.cmp(&b.mountpoint));
        entries
    }

    fn read(&self, path: &Path) -> Option<Entry> {
        if fs::symlink_metadata(path).ok()?.len() > ENTRY_MAX {
            return None;
        }
        let written: Written = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        let path = |bytes| PathBuf::from(std::ffi::OsString::from_vec(bytes));
        Some(Entry {
            pid: written.pid,
            mountpoint: path(written.mountpoint),
            backing: path(written.backing),
        })
    }

    fn living(&self, entry: Entry) -> Option<Entry> {
        let pid = i32::try_from(entry.pid).ok().and_then(Pid::from_raw)?;
        match test_kill_process(pid) {
            Err(rustix::io::Errno::SRCH) => {
                self.clean(&entry.mountpoint);
                None
            }
            _ => Some(entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> (tempfile::TempDir, Registry) {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::at(dir.path().join("run"));
        registry.prepare().unwrap();
        (dir, registry)
    }

    fn entry(pid: u32) -> Entry {
        let odd = OsStr::from_bytes(b"/mnt/\xff").into();
        Entry {
            pid,
            mountpoint: odd,
            backing: "/backing".into(),
        }
    }

    #[test]
    fn a_living_mount_is_found_until_it_is_withdrawn() {
        let (_dir, registry) = registry();
        let entry = entry(std::process::id());
        registry.announce(&entry).unwrap();
        assert_eq!(registry.find(&entry.mountpoint), Some(entry.clone()));
        assert_eq!(registry.list(), std::slice::from_ref(&entry));
        registry.withdraw(&entry.mountpoint, entry.pid + 1);
        assert_eq!(registry.list().len(), 1);
        registry.withdraw(&entry.mountpoint, entry.pid);
        assert_eq!(registry.find(&entry.mountpoint), None);
    }

    #[test]
    fn a_lock_outlives_a_crash_but_not_an_ordinary_end() {
        let (_dir, registry) = registry();
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        for (pid, kept) in [(gone.id(), true), (std::process::id(), false)] {
            let entry = entry(pid);
            registry.announce(&entry).unwrap();
            registry.mark_locked(&entry.mountpoint).unwrap();
            let _ = registry.list();
            registry.withdraw(&entry.mountpoint, std::process::id());
            assert_eq!(registry.is_locked(&entry.mountpoint), kept);
            registry.mark_unlocked(&entry.mountpoint).unwrap();
        }
    }

    #[test]
    fn what_a_crash_left_is_cleaned() {
        let (_dir, registry) = registry();
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let entry = entry(gone.id());
        registry.announce(&entry).unwrap();
        fs::write(registry.socket(&entry.mountpoint), b"").unwrap();
        assert_eq!(registry.list(), []);
        assert!(!registry.socket(&entry.mountpoint).exists());
    }

    #[test]
    fn the_directory_is_private() {
        let (_dir, registry) = registry();
        fs::set_permissions(registry.dir(), Permissions::from_mode(0o777)).unwrap();
        registry.prepare().unwrap();
        assert_eq!(fs::metadata(registry.dir()).unwrap().mode() & 0o777, 0o700);
        let link = registry.dir().join("link");
        std::os::unix::fs::symlink("/tmp", &link).unwrap();
        assert!(Registry::at(link).prepare().is_err());
    }

    #[test]
    fn strange_files_are_passed_over() {
        let (_dir, registry) = registry();
        fs::write(registry.dir().join("0.json"), b"{").unwrap();
        fs::write(registry.dir().join("1.json"), vec![b' '; ENTRY_MAX as usize + 1]).unwrap();
        assert_eq!(registry.list(), []);
    }
}
