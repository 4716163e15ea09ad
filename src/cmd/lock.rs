//! `kmsfs lock` and `kmsfs unlock`.

use super::umount::mounted;
use super::{Exit, Failure, preflight};
use crate::cli::MountpointArgs;
use crate::config::Sources;
use crate::control::{Answer, ClientError, Request, ask};

/// Writes back and wipes every key of a mount.
pub fn lock(args: &MountpointArgs, _sources: &Sources) -> Result<(), Failure> {
    tell(args, Request::Lock)
}

/// Lets a mount ask the KMS for its keys again.
pub fn unlock(args: &MountpointArgs, _sources: &Sources) -> Result<(), Failure> {
    tell(args, Request::Unlock)
}

fn tell(args: &MountpointArgs, request: Request) -> Result<(), Failure> {
    let mountpoint = mounted(&args.mountpoint)?;
    let registry = preflight::registry();
    match ask(&registry, &mountpoint, request) {
        Ok(Answer::Refused(refusal)) => Err(refusal.into()),
        Ok(_) => Ok(()),
        // It died while it was locked: now the next mount may ask for the keys.
        Err(ClientError::NoDaemon) if matches!(request, Request::Unlock) && registry.is_locked(&mountpoint) => registry
            .mark_unlocked(&mountpoint)
            .map_err(|error| Failure::io("writing in", registry.dir(), &error)),
        Err(error) => Err(unanswered(&mountpoint, &error)),
    }
}

/// The failure of a mount that does not answer.
pub fn unanswered(mountpoint: &std::path::Path, error: &ClientError) -> Failure {
    let help = match error {
        ClientError::NoDaemon => "its daemon died, or belongs to another user; `kmsfs umount` cleans a dead mount up",
        ClientError::NotOurs => "ask as the user who mounted it, or as root",
        ClientError::NoAnswer(_) => "look at the log of the mount",
    };
    Failure::new(
        Exit::NotMounted,
        format!("the mount at {} is not heard of: {error}", mountpoint.display()),
        help,
    )
}
