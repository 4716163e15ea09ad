//! What a change of a file takes away from it: file capabilities, setuid and setgid.
//!
//! The kernel leaves this to the daemon (`FUSE_HANDLE_KILLPRIV_V2`), or every write would cost a question first.

use rustix::io::Errno;

use super::error::Result;
use super::filesystem::Fs;
use super::inodes::Inode;
use super::spot::Spot;
use super::types::{Caller, Kind};
use super::xattr::{STORED_CAPABILITY, remove_raw};
use crate::sys::groups;
use crate::sys::stat::Stat;

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o010;

impl Fs {
    /// Takes from a file what it loses when `caller` changes its content.
    pub(super) fn drop_privileges(&self, inode: &Inode, caller: &Caller) -> Result<()> {
        self.drop_capability(inode)?;
        match caller.uid {
            0 => Ok(()),
            _ => self.clear_setid(inode, caller),
        }
    }

    /// Takes the file capabilities. Costs a call of the backing the first time only.
    pub(super) fn drop_capability(&self, inode: &Inode) -> Result<()> {
        if !inode.take_capable() {
            return Ok(());
        }
        match self.on(inode, |spot| remove_raw(spot, STORED_CAPABILITY)) {
            // Who may not remove it could not have set it either.
            Err(error) if !matches!(error.code(), Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM) => {
                inode.set_capable();
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Takes setuid, and setgid where it means execution or `caller` is not of the group, as a write by an
    /// ordinary user does.
    pub(super) fn clear_setid(&self, inode: &Inode, caller: &Caller) -> Result<()> {
        self.clear(inode, |stat| lost(stat, caller))
    }

    /// A chown(2) that changes neither owner nor group, which comes as a change of nothing: it takes setuid, setgid
    /// and capabilities away as every chown does. The kernel has not looked whether `caller` may; nothing happens
    /// for who may not, because the kernel sends the same before other calls that see to it themselves.
    pub(super) fn change_nothing(&self, inode: &Inode, caller: &Caller) -> Result<()> {
        let stat = self.on(inode, Spot::stat)?;
        if stat.kind != Kind::File || ![0, stat.uid].contains(&caller.uid) {
            return Ok(());
        }
        self.drop_capability(inode)?;
        self.clear_setid(inode, caller)
    }

    /// Takes setgid from a file whose ACL was set by somebody who is not of its group.
    pub(super) fn clear_setgid_of_others(&self, inode: &Inode, caller: &Caller) -> Result<()> {
        if caller.uid == 0 {
            return Ok(());
        }
        self.clear(inode, |stat| if is_member(caller, stat) { 0 } else { SETGID })
    }

    /// Takes the bits of the mode that `which` says.
    fn clear(&self, inode: &Inode, which: impl Fn(&Stat) -> u32) -> Result<()> {
        let stat = self.on(inode, Spot::stat)?;
        let before = u32::from(stat.permissions);
        let after = before & !which(&stat);
        if after != before {
            self.on(inode, |spot| spot.chmod(after))?;
            self.touched(inode);
        }
        Ok(())
    }
}

/// The bits of the mode that a change by `caller` may take, if they are set: setuid, and setgid where it means
/// execution or `caller` is not of the group.
fn lost(stat: &Stat, caller: &Caller) -> u32 {
    let permissions = u32::from(stat.permissions);
    let executable = permissions & GROUP_EXECUTE != 0;
    match permissions & SETGID != 0 && (executable || !is_member(caller, stat)) {
        true => SETUID | SETGID,
        false => SETUID,
    }
}

fn is_member(caller: &Caller, stat: &Stat) -> bool {
    caller.uid == 0 || groups::is_member(caller.pid, caller.gid, stat.gid)
}
