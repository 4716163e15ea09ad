//! Mounting as root, by mount(2): what `fuser` would do, but for the type, which is `fuse.kmsfs` here, so that
//! mount tables, fstab and `umount -t` know it by its name.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use fuser::Filesystem;
use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::mount::MountFlags;

use super::session::MountOptions;

const DEVICE: &str = "/dev/fuse";
const TYPE: &str = "fuse.kmsfs";

/// Mounts `filesystem` on `mountpoint` and shakes hands with the kernel.
pub fn mount<F: Filesystem>(filesystem: F, mountpoint: &Path, options: &MountOptions) -> io::Result<fuser::Session<F>> {
    let device = open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let at = open(mountpoint, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let root_mode = fstat(at.as_fd())?.st_mode & libc::S_IFMT;
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    let mut data = format!(
        "fd={},rootmode={root_mode:o},user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        uid.as_raw(),
        gid.as_raw(),
    );
    if options.allow_other {
        data.push_str(",allow_other");
    }
    let data = CString::new(data)?;
    rustix::mount::mount(
        options.fs_name.as_str(),
        mountpoint,
        TYPE,
        flags(options),
        Some(data.as_c_str()),
    )?;
    let config = options.config();
    let session = fuser::Session::from_fd(filesystem, device, config.acl, config);
    if session.is_err() {
        // A mount that nobody serves would hang whoever touches it.
        super::session::unmount(mountpoint, true)?;
    }
    session
}

/// Changes the options of the mount at `mountpoint` that the kernel enforces, as root.
///
/// # Errors
/// Those of mount(2): `EBUSY` when it shall be read-only and somebody has a file open for writing.
pub fn remount(mountpoint: &Path, options: &MountOptions) -> io::Result<()> {
    Ok(rustix::mount::mount_remount(mountpoint, flags(options), c"")?)
}

fn flags(options: &MountOptions) -> MountFlags {
    let choices = [
        (options.read_only, MountFlags::RDONLY),
        (!options.dev, MountFlags::NODEV),
        (!options.suid, MountFlags::NOSUID),
        (options.no_exec, MountFlags::NOEXEC),
        (options.no_atime, MountFlags::NOATIME),
        (options.sync, MountFlags::SYNCHRONOUS),
        (options.dir_sync, MountFlags::DIRSYNC),
    ];
    let chosen = choices.into_iter().filter(|(on, _)| *on).map(|(_, flag)| flag);
    chosen.fold(MountFlags::empty(), MountFlags::union)
}
