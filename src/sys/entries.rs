//! The calls that change a directory's entries or make them durable, each through one door, so that a test can
//! watch them and lose power between any two.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io;

/// A call on directories; `name`s are those of entries.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(test), allow(dead_code))] // Looked at by tests only.
pub enum Call<'a> {
    /// An entry appears.
    Make(BorrowedFd<'a>, &'a str),
    /// An entry goes from the first directory and name to the second, in the place of what is there.
    Rename(BorrowedFd<'a>, &'a str, BorrowedFd<'a>, &'a str),
    /// An entry goes away.
    Remove(BorrowedFd<'a>, &'a str),
    /// All entries of the directory become durable.
    Sync(BorrowedFd<'a>),
    /// Everything does.
    SyncAll,
}

fn call<T>(what: Call<'_>, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    #[cfg(test)]
    watch::tell(what, watch::Moment::Before);
    #[cfg(not(test))]
    let _ = what;
    let done = call()?;
    #[cfg(test)]
    watch::tell(what, watch::Moment::After);
    Ok(done)
}

/// As openat(2), for a new file.
///
/// # Errors
/// As openat(2).
pub fn create(directory: impl AsFd, name: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let directory = directory.as_fd();
    call(Call::Make(directory, name), || {
        fs::openat(directory, name, flags | OFlags::CREATE, mode)
    })
}

/// As mkdirat(2).
///
/// # Errors
/// As mkdirat(2).
pub fn make_directory(directory: impl AsFd, name: &str, mode: Mode) -> io::Result<()> {
    let directory = directory.as_fd();
    call(Call::Make(directory, name), || fs::mkdirat(directory, name, mode))
}

/// As mknodat(2).
///
/// # Errors
/// As mknodat(2).
pub fn make_node(directory: impl AsFd, name: &str, kind: FileType, mode: Mode, device: u64) -> io::Result<()> {
    let directory = directory.as_fd();
    call(Call::Make(directory, name), || {
        fs::mknodat(directory, name, kind, mode, device)
    })
}

/// As symlinkat(2).
///
/// # Errors
/// As symlinkat(2).
pub fn make_symlink(target: &str, directory: impl AsFd, name: &str) -> io::Result<()> {
    let directory = directory.as_fd();
    call(Call::Make(directory, name), || fs::symlinkat(target, directory, name))
}

/// As linkat(2).
///
/// # Errors
/// As linkat(2).
pub fn link(from: impl AsFd, old: &str, directory: impl AsFd, name: &str, flags: AtFlags) -> io::Result<()> {
    let directory = directory.as_fd();
    call(Call::Make(directory, name), || {
        fs::linkat(from, old, directory, name, flags)
    })
}

/// As renameat(2).
///
/// # Errors
/// As renameat(2).
pub fn rename(from: impl AsFd, old: &str, to: impl AsFd, new: &str) -> io::Result<()> {
    let (from, to) = (from.as_fd(), to.as_fd());
    call(Call::Rename(from, old, to, new), || fs::renameat(from, old, to, new))
}

/// As unlinkat(2).
///
/// # Errors
/// As unlinkat(2).
pub fn unlink(directory: impl AsFd, name: &str, flags: AtFlags) -> io::Result<()> {
    let directory = directory.as_fd();
    call(Call::Remove(directory, name), || fs::unlinkat(directory, name, flags))
}

/// Makes the entries of a directory durable.
///
/// # Errors
/// As fsync(2).
pub fn sync(directory: impl AsFd) -> io::Result<()> {
    let directory = directory.as_fd();
    call(Call::Sync(directory), || fs::fsync(directory))
}

/// Makes everything durable on the file system of `descriptor`.
///
/// # Errors
/// As syncfs(2).
pub fn sync_all(descriptor: impl AsFd) -> io::Result<()> {
    call(Call::SyncAll, || fs::syncfs(descriptor))
}

#[cfg(test)]
pub mod watch {
    //! Who watches the calls of this thread.

    use std::cell::RefCell;

    use super::Call;

    /// When a watcher is told.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Moment {
        /// Before the call.
        Before,
        /// After it, if it was successful.
        After,
    }

    type Watcher = Box<dyn FnMut(Call<'_>, Moment)>;

    thread_local! {
        static WATCHER: RefCell<Option<Watcher>> = const { RefCell::new(None) };
    }

    /// Has `watcher` told of every call of this thread from now on; `None` ends it.
    pub fn set(watcher: Option<Watcher>) {
        WATCHER.set(watcher);
    }

    pub(super) fn tell(call: Call<'_>, moment: Moment) {
        WATCHER.with_borrow_mut(|watcher| {
            if let Some(watcher) = watcher {
                watcher(call, moment);
            }
        });
    }
}
