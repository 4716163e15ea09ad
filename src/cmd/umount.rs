//! `kmsfs umount`: write back, unmount, wait until the daemon has gone.

use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::mounts::{Mounts, canonical};
use super::{Exit, Failure, preflight, unmount};
use crate::cli::MountpointArgs;
use crate::config::Sources;
use crate::control::{Answer, ClientError, Registry, Request, ask};

/// A daemon has little left to do after the unmount; one that takes longer than this is stuck.
const PATIENCE: Duration = Duration::from_secs(120);

/// Does what `kmsfs umount` was told.
pub fn run(args: &MountpointArgs, _sources: &Sources) -> Result<(), Failure> {
    let mountpoint = mounted(&args.mountpoint)?;
    // Called from inside of the mount, this process must not be the one that keeps it busy.
    if let Err(error) = std::env::set_current_dir("/") {
        return Err(Failure::io("changing to", Path::new("/"), &error));
    }
    let registry = preflight::registry();
    let daemon = registry.find(&mountpoint).and_then(|entry| Daemon::of(entry.pid));
    unmount::unmount(&mountpoint, || flush(&registry, &mountpoint))?;
    // Also where a daemon died that was locked: who unmounts by hand, and mounts again, wants the keys.
    registry
        .mark_unlocked(&mountpoint)
        .map_err(|error| Failure::io("writing in", registry.dir(), &error))?;
    match daemon {
        Some(daemon) => daemon.wait(),
        None => Ok(()),
    }
}

/// The canonical path of a mount point where kmsfs is mounted.
///
/// # Errors
/// Nothing is, or something else.
pub fn mounted(path: &Path) -> Result<std::path::PathBuf, Failure> {
    let path = canonical(path)?;
    let what = match Mounts::read()?.at(&path) {
        Some(mount) if mount.is_ours() => return Ok(path),
        Some(mount) => format!(
            "{} is not a mount of kmsfs: {} is mounted there",
            path.display(),
            mount.kind
        ),
        None => format!("nothing is mounted at {}", path.display()),
    };
    Err(Failure::new(Exit::NotMounted, what, "`kmsfs status` lists the mounts"))
}

fn flush(registry: &Registry, mountpoint: &Path) -> Result<(), Failure> {
    match ask(registry, mountpoint, Request::Flush) {
        Ok(Answer::Refused(refusal)) => {
            let what = format!(
                "{} stays mounted, not everything could be made durable: {}",
                mountpoint.display(),
                refusal.what
            );
            Err(Failure { what, ..refusal.into() })
        }
        // Nobody to ask: it died, or is another user's; what can be unmounted then, may be.
        Ok(_) | Err(ClientError::NoDaemon | ClientError::NotOurs) => Ok(()),
        Err(error @ ClientError::NoAnswer(_)) => {
            let what = format!("{} stays mounted: {error}", mountpoint.display());
            Err(Failure::new(
                Exit::Busy,
                what,
                "try again; umount(8) takes it away without asking",
            ))
        }
    }
}

/// A process to wait for. Held by descriptor, so that another one with its number is not taken for it.
struct Daemon(std::os::fd::OwnedFd, u32);

impl Daemon {
    fn of(pid: u32) -> Option<Daemon> {
        let number = Pid::from_raw(i32::try_from(pid).ok()?)?;
        Some(Daemon(pidfd_open(number, PidfdFlags::empty()).ok()?, pid))
    }

    fn wait(self) -> Result<(), Failure> {
        let patience = Timespec {
            tv_sec: PATIENCE.as_secs().cast_signed(),
            tv_nsec: 0,
        };
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        match poll(&mut fds, Some(&patience)) {
            Ok(0) => {
                let what = format!("it is unmounted, but its daemon (process {}) has not ended", self.1);
                Err(Failure::new(
                    Exit::Busy,
                    what,
                    "look at its log; the volume stays in use until it ends",
                ))
            }
            _ => Ok(()),
        }
    }
}
