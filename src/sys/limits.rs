//! Limits of this process.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::{self, Errno};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are kept from open files, at most: other calls need some for a moment, and directories for longer.
const RESERVE: u64 = 512;

/// Raises the number of descriptors that this process may have open to what it is allowed at most, and says
/// how many that is.
pub fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        // Nothing is lost but room.
        Err(_) => limit.current,
    };
    now.unwrap_or(u64::MAX)
}

/// Whether there is a descriptor for one more open file, and some are left then for calls of others that open nothing.
/// `any` is any open one.
///
/// # Errors
/// `ENFILE` if not.
pub fn room_for_a_file(any: impl AsFd) -> io::Result<()> {
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // Numbers are given out from the lowest, so this one says how many are taken.
    let next = io::fcntl_dupfd_cloexec(any, 0)?.as_raw_fd();
    match u64::from(next.unsigned_abs()) < most - RESERVE.min(most / 8) {
        true => Ok(()),
        false => Err(Errno::NFILE),
    }
}
