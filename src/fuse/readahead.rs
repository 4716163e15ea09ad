//! How far the kernel reads ahead: 128 KiB for every FUSE mount unless somebody says more.

use std::path::Path;

use rustix::fs::{major, minor, stat};

use super::capabilities::REQUEST_MAX;

/// Lets the kernel read ahead as much as one request carries. Only root may; for everybody else the mount
/// works as well, but reads large files slower.
pub fn raise(mountpoint: &Path) {
    let Ok(stat) = stat(mountpoint) else {
        return;
    };
    let setting = format!("/sys/class/bdi/{}:{}/read_ahead_kb", major(stat.st_dev), minor(stat.st_dev));
    if let Err(error) = std::fs::write(&setting, (REQUEST_MAX / 1024).to_string()) {
        tracing::debug!(setting, %error, "the kernel reads ahead as little as for any FUSE mount");
    }
}
