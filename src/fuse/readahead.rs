//! How far the kernel reads ahead: 128 KiB for every FUSE mount unless somebody says more.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::capabilities::REQUEST_MAX;

/// Lets the kernel read ahead as much as one request carries. Only root may; for everybody else the mount
/// works as well, but reads large files slower. Asks nothing of the mount, which need not be served yet.
pub fn raise(mountpoint: &Path) {
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    let Ok(stat) = statx(CWD, mountpoint, flags, StatxFlags::empty()) else {
        return;
    };
    let device = format!("{}:{}", stat.stx_dev_major, stat.stx_dev_minor);
    let setting = format!("/sys/class/bdi/{device}/read_ahead_kb");
    if let Err(error) = std::fs::write(&setting, (REQUEST_MAX / 1024).to_string()) {
        tracing::debug!(setting, %error, "the kernel reads ahead as little as for any FUSE mount");
    }
}
