//! `kmsfs mount --recover-only`: what a mount does before it asks for keys, and no more.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::mounts::Mounts;
use super::{Failure, out, preflight};
use crate::store::Recovery;
use crate::sys::limits;
use crate::volume;

/// Recovers the volume in `dir` and says what that was.
///
/// # Errors
/// It is not a volume, mounted, or its backing fails.
pub fn run(dir: &Path) -> Result<(), Failure> {
    let dir = preflight::directory(dir)?;
    preflight::check_backing(&dir, &Mounts::read()?)?;
    limits::raise_descriptors();
    let root = File::open(&dir).map_err(|error| Failure::io("opening", &dir, &error))?;
    let recovery = volume::recover(OwnedFd::from(root)).map_err(|error| Failure::volume(&dir, error))?;
    out::line(&note(&dir, &recovery).unwrap_or_else(|| format!("{}: there was nothing to recover", dir.display())))
}

/// What the user should read of a recovery, if there was anything to do.
pub fn note(dir: &Path, recovery: &Recovery) -> Option<String> {
    (recovery.records > 0).then(|| format!("{}: recovered after a crash: {recovery}", dir.display()))
}
