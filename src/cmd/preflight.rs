//! What can be told before anything is touched: whether the paths fit, whether FUSE can be used, whether it is
//! mounted already. It changes nothing, and the mount itself checks again what matters.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use rustix::process::geteuid;

use super::mounts::{Mounts, canonical};
use super::{Exit, Failure, dead};
use crate::config::MountSettings;
use crate::control::Registry;

const DEVICE: &str = "/dev/fuse";

/// The registry of this user.
pub fn registry() -> Registry {
    Registry::of_user(|name| std::env::var_os(name))
}

/// Checks what `kmsfs mount` was told, and replaces its paths by canonical ones.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(mut settings: MountSettings) -> Result<MountSettings, Failure> {
    if settings.init.is_some() && fs::symlink_metadata(&settings.backing).is_err() {
        make_directory(&settings.backing)?;
    }
    let mounts = Mounts::read()?;
    let over_itself = settings.mountpoint == settings.backing;
    let point = canonical(&settings.mountpoint)?;
    // A dead mount is taken away when the volume is open; until then nobody can look at it.
    let dead = dead::is_at(&point, &mounts);
    settings.mountpoint = if dead { point } else { directory(&point)? };
    settings.backing = match over_itself {
        true => settings.mountpoint.clone(),
        false => directory(&settings.backing)?,
    };
    if !(dead && over_itself) {
        check_backing(&settings.backing, &mounts)?;
    }
    if !dead {
        check_mountpoint(&settings, &mounts)?;
    }
    if !settings.ephemeral {
        check_not_locked(&settings.mountpoint)?;
    }
    check_fuse(settings.allow_other)?;
    Ok(settings)
}

/// Makes one directory, which only its owner may enter.
///
/// # Errors
/// It cannot be made.
pub fn make_directory(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().mode(0o700).create(path);
    made.map_err(|error| Failure::io("making the directory", path, &error))
}

/// The canonical path of a directory.
///
/// # Errors
/// It is not there, or no directory.
pub fn directory(path: &Path) -> Result<PathBuf, Failure> {
    let path = canonical(path)?;
    match fs::metadata(&path) {
        Ok(facts) if facts.is_dir() => Ok(path),
        Ok(_) => Err(Failure::new(
            Exit::Path,
            format!("{} is not a directory", path.display()),
            "name a directory",
        )),
        Err(error) => Err(Failure::io("looking at", &path, &error)),
    }
}

/// A volume's directory must not lie in a mounted volume, nor under one.
///
/// # Errors
/// It does.
pub fn check_backing(backing: &Path, mounts: &Mounts) -> Result<(), Failure> {
    let Some(around) = mounts.around(backing).filter(|mount| mount.is_ours()) else {
        return Ok(());
    };
    let place = backing.display();
    if around.point != backing {
        let what = format!("{place} lies in a volume that is mounted at {}", around.point.display());
        return Err(Failure::new(
            Exit::Path,
            what,
            "name a directory outside of it: it is encrypted already",
        ));
    }
    // What the kernel has cached of a dead mount still looks alive; this it has to ask for.
    if let Err(errno) = statfs(backing) {
        return Err(Failure::io("looking at", backing, &errno.into()));
    }
    let holder = match registry().find(backing) {
        Some(entry) => format!(", by process {} on host {}", entry.pid, host()),
        None => String::new(),
    };
    let help = format!("use it as it is, or unmount it with `kmsfs umount {place}`");
    Err(Failure::new(
        Exit::Busy,
        format!("{place} is mounted already{holder}"),
        help,
    ))
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Who locked a mount, locked it: that its daemon was started anew must not unlock it.
fn check_not_locked(mountpoint: &Path) -> Result<(), Failure> {
    let registry = registry();
    if registry.find(mountpoint).is_some() || !registry.is_locked(mountpoint) {
        return Ok(());
    }
    let place = mountpoint.display();
    let what = format!("{place} was locked when its daemon died, and stays so");
    Err(Failure::new(
        Exit::KeyDenied,
        what,
        format!("`kmsfs unlock {place}` lets it be mounted again"),
    ))
}

fn check_mountpoint(settings: &MountSettings, mounts: &Mounts) -> Result<(), Failure> {
    let (point, backing) = (&settings.mountpoint, &settings.backing);
    if point == backing {
        // A data disk is often mounted just there; the volume goes over it.
        return Ok(());
    }
    if let Some(mount) = mounts.at(point) {
        let what = format!(
            "the mount point {} is in use: {} is mounted there",
            point.display(),
            mount.kind
        );
        return Err(Failure::new(
            Exit::Busy,
            what,
            "name another mount point, or unmount what is there",
        ));
    }
    if point.starts_with(backing) {
        let what = format!(
            "the mount point {} lies inside of {}",
            point.display(),
            backing.display()
        );
        return Err(Failure::new(
            Exit::Path,
            what,
            "name a mount point outside of the volume, or none at all",
        ));
    }
    Ok(())
}

fn check_fuse(allow_other: bool) -> Result<(), Failure> {
    // Opened and closed again: a node that is there may still have no driver behind it.
    if let Err(error) = OpenOptions::new().read(true).write(true).open(DEVICE) {
        let what = format!("FUSE cannot be used: {DEVICE}: {}", super::failure::reason(&error));
        let help = match error.kind() {
            std::io::ErrorKind::PermissionDenied => "have root open it to you: chmod 666 /dev/fuse, as udev does",
            _ => "load the module with `modprobe fuse`; give a container --device /dev/fuse --cap-add SYS_ADMIN",
        };
        return Err(Failure::new(Exit::NoFuse, what, help));
    }
    if geteuid().is_root() {
        return Ok(());
    }
    if fusermount().is_none() {
        let what = "fusermount3 is not installed, and only root can mount without it";
        return Err(Failure::new(Exit::NoFuse, what, "install it: apt-get install fuse3"));
    }
    let permitted = || fs::read_to_string("/etc/fuse.conf").is_ok_and(|text| has_line(&text, "user_allow_other"));
    if allow_other && !permitted() {
        let what = "only root may let other users in";
        let help = "leave --allow-other out, or have root write user_allow_other into /etc/fuse.conf";
        return Err(Failure::new(Exit::Permission, what, help));
    }
    Ok(())
}

fn has_line(text: &str, wanted: &str) -> bool {
    text.lines().any(|line| line.trim() == wanted)
}

/// The program that mounts and unmounts for an ordinary user.
pub fn fusermount() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).chain([PathBuf::from("/usr/bin"), PathBuf::from("/bin")]);
    places.find_map(|dir| {
        let program = dir.join("fusermount3");
        File::open(&program).is_ok().then_some(program)
    })
}
