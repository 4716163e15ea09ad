//! What a process with keys keeps to itself, and when a daemon gives up what it does not need. A daemon of root does: by mount(2) and umount(2) it needs nobody else.
//! That of an ordinary user has nothing to give up, and must be able to start `fusermount3`, which is setuid, to
//! unmount: so no fence there.

use rustix::process::geteuid;

use crate::sys::{fence, memory};

/// Keeps the memory of this process, which is about to hold keys, out of core dumps.
pub fn keep_out_of_dumps() {
    if let Err(errno) = memory::harden_process() {
        tracing::warn!("the memory of this process is not kept out of core dumps: {errno}");
    }
}

/// To be called before the first thread is started.
pub fn before_threads() {
    if geteuid().is_root()
        && let Err(errno) = fence::drop_capabilities()
    {
        tracing::warn!("the daemon keeps capabilities that it does not need: {errno}");
    }
}

/// To be called when everything is mounted.
pub fn after_mounting() {
    if geteuid().is_root()
        && let Err(error) = fence::forbid_calls()
    {
        tracing::warn!("calls that the daemon does not need are not forbidden to it: {error}");
    }
}
