//! Symbolic links: the target is sealed, as text, in the backing's symlink.
//!
//! Sealing makes a target longer than a symlink of the backing may be. The longest go to a side file in the
//! backing's root, named by the node (so that renames and hard links do not concern it) and durable before the
//! symlink appears.

use std::os::fd::{AsFd, OwnedFd};

use data_encoding::BASE64URL_NOPAD;
use rustix::fs::{AtFlags, Mode, OFlags, fchmod, openat};
use rustix::io::Errno;

use super::create::Site;
use super::error::{FsError, Result};
use super::filesystem::Fs;
use super::spot::Spot;
use super::types::{Caller, Found, Kind};
use crate::crypto::values::{OVERHEAD, Purpose, open_value, seal_value};
use crate::format::NodeId;
use crate::sys::entries;
use crate::sys::stat::{Stat, stat};

/// Most bytes of a target, plain or in the backing.
const TARGET_MAX: usize = 4095;
/// What a symlink of the backing points to when the target is in a side file.
const ELSEWHERE: &str = "kmsfs.link";

impl Fs {
    /// Makes a symbolic link to `target`.
    ///
    /// # Errors
    /// As symlink(2).
    pub fn make_symlink(&self, parent: u64, name: &[u8], target: &[u8], caller: &Caller) -> Result<Found> {
        if target.len() > TARGET_MAX {
            return Err(FsError::errno(Errno::NAMETOOLONG));
        }
        if target.is_empty() {
            return Err(FsError::errno(Errno::NOENT));
        }
        let made = self.make(parent, name, caller, |site| self.place_target(site, target));
        Ok(made?.0)
    }

    fn place_target(&self, site: &Site<'_>, target: &[u8]) -> Result<()> {
        let seal = |keys: &_| seal_value(keys, Purpose::SymlinkTarget, site.node, b"", target);
        let sealed = self.volume.keyring.with_volume(seal)?;
        let text = BASE64URL_NOPAD.encode(&sealed);
        if text.len() <= TARGET_MAX {
            return Ok(entries::make_symlink(&text, site.directory, site.stored)?);
        }
        let side = side_file(site.node);
        self.write_target(&side, &sealed)?;
        entries::make_symlink(ELSEWHERE, site.directory, site.stored).map_err(|error| {
            let _ = entries::unlink(&self.volume.root, &side, AtFlags::empty());
            error.into()
        })
    }

    fn write_target(&self, side: &str, sealed: &[u8]) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let file = entries::create(&self.volume.root, side, flags, mode)?;
        // The caller's umask is about the symlink; the daemon has to read this.
        let opened = fchmod(&file, mode).map_err(std::io::Error::from);
        let mut file = std::fs::File::from(file);
        let written = opened.and_then(|()| std::io::Write::write_all(&mut file, sealed));
        let written = written.and_then(|()| file.sync_all());
        let written = written.and_then(|()| Ok(entries::sync(&self.volume.root)?));
        written.map_err(|error| {
            let _ = entries::unlink(&self.volume.root, side, AtFlags::empty());
            error.into()
        })
    }

    /// The target of the symbolic link `ino`.
    ///
    /// # Errors
    /// `EINVAL` when it is not one, `EIO` when the target is not what was written.
    pub fn read_link(&self, ino: u64) -> Result<Vec<u8>> {
        let _pass = self.gate.enter()?;
        let inode = self.inode(ino)?;
        if inode.kind != Kind::Symlink {
            return Err(FsError::errno(Errno::INVAL));
        }
        let stored = self.on(&inode, Spot::read_link)?;
        let damaged = || FsError::damaged(format!("the target of symlink {} does not open", inode.node));
        let sealed = match stored == ELSEWHERE.as_bytes() {
            true => self.read_target(&side_file(inode.node))?,
            false => BASE64URL_NOPAD.decode(&stored).map_err(|_| damaged())?,
        };
        let open = |keys: &_| open_value(keys, Purpose::SymlinkTarget, inode.node, b"", &sealed);
        self.volume.keyring.with_volume(open)?.map_err(|_| damaged())
    }

    fn read_target(&self, side: &str) -> Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file: OwnedFd = openat(&self.volume.root, side, flags, Mode::empty())
            .map_err(|errno| FsError::damaged(format!("{side}, the target of a symlink, cannot be read: {errno}")))?;
        let mut sealed = Vec::new();
        let limited = std::io::Read::take(std::fs::File::from(file), (TARGET_MAX + OVERHEAD + 1) as u64);
        std::io::Read::read_to_end(&mut { limited }, &mut sealed)?;
        Ok(sealed)
    }

    /// The length of the target of a symlink whose stored form has `stored` bytes.
    pub(super) fn target_len(&self, node: NodeId, stored: u64) -> Result<u64> {
        let sealed = match stored == ELSEWHERE.len() as u64 {
            true => {
                let side = stat(self.volume.root.as_fd(), &side_file(node));
                let lost = |errno| FsError::damaged(format!("the target of symlink {node} cannot be read: {errno}"));
                side.map_err(lost)?.size
            }
            false => stored / 4 * 3 + (stored % 4).saturating_sub(1),
        };
        Ok(sealed.saturating_sub(OVERHEAD as u64))
    }

    /// Removes the side file of a symlink whose last name, of which the backing said `stat`, is gone.
    pub(super) fn remove_target(&self, node: NodeId, stat: &Stat) {
        if stat.kind != Kind::Symlink || stat.links != 1 || stat.size != ELSEWHERE.len() as u64 {
            return;
        }
        // Once no crash can bring any of its names back; they may have been in several directories.
        let removed = self
            .sync_everything()
            .and_then(|()| Ok(entries::unlink(&self.volume.root, &side_file(node), AtFlags::empty())?));
        if let Err(error) = removed {
            tracing::debug!(%node, %error, "the target of a removed symlink stays behind");
        }
    }
}

fn side_file(node: NodeId) -> String {
    format!("{ELSEWHERE}.{node}")
}
