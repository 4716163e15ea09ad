//! How full the backing is.

use rustix::fs::fstatvfs;

use super::error::Result;
use super::filesystem::Fs;
use super::types::NAME_MAX;

/// Space and nodes of the file system that the backing lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Unit of the three block counts, in bytes.
    pub unit: u32,
    /// Unit for transfers, in bytes.
    pub transfer: u32,
    /// All units.
    pub blocks: u64,
    /// Free units.
    pub free: u64,
    /// Free units for ordinary users.
    pub available: u64,
    /// All nodes.
    pub nodes: u64,
    /// Free nodes.
    pub nodes_free: u64,
    /// Most bytes of a name.
    pub name_max: u32,
}

impl Fs {
    /// How full the backing is.
    ///
    /// # Errors
    /// As statvfs(2).
    pub fn usage(&self) -> Result<Usage> {
        let stat = fstatvfs(&self.volume.root)?;
        Ok(Usage {
            unit: u32::try_from(stat.f_frsize).unwrap_or(4096),
            transfer: u32::try_from(stat.f_bsize).unwrap_or(4096),
            blocks: stat.f_blocks,
            free: stat.f_bfree,
            available: stat.f_bavail,
            nodes: stat.f_files,
            nodes_free: stat.f_ffree,
            name_max: NAME_MAX as u32,
        })
    }
}
