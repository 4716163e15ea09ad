//! The service manager's watchdog: a sign of life goes out only after a request has gone through the kernel to the
//! threads that serve, and come back. A daemon that hangs falls silent, and is started anew.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::statfs;
use rustix::io::Errno;
use sd_notify::NotifyState;

/// Starts the thread if the service manager waits for signs of life. It ends with the process.
pub fn start(mountpoint: &Path) {
    let Some(patience) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mountpoint = mountpoint.to_owned();
    let thread = thread::Builder::new().name("watchdog".into());
    if let Err(error) = thread.spawn(move || tell(&mountpoint, patience / 2)) {
        tracing::error!("no thread for the watchdog: {error}; the service manager will end this mount");
    }
}

fn tell(mountpoint: &PathBuf, pause: Duration) {
    loop {
        match statfs(mountpoint) {
            // Nothing but the daemon answers this question: the kernel does not cache it. (After `umount -l` it is
            // the directory below that answers: programs that still use the mount keep it, and nobody can ask.)
            Ok(_) => drop(sd_notify::notify(&[NotifyState::Watchdog])),
            // The backing fails, not the daemon: another one would not do better.
            Err(errno) if errno != Errno::NOTCONN => {
                tracing::warn!("the mount answers {errno} when asked how it is");
                drop(sd_notify::notify(&[NotifyState::Watchdog]));
            }
            Err(_) => return,
        }
        thread::sleep(pause);
    }
}
