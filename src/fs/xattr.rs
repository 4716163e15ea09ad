//! Extended attributes: `user.*` sealed in name and value, the others handed to the backing as they are.
//!
//! ```text
//! user.kmsfs.base64url( tag 16 ‖ sealed plain name )              value: the sealed value
//! user.kmsfs.long.base64url( tag 16 )        when that is too long, value: length 2 ‖ sealed plain name ‖ sealed value
//! ```
//!
//! File capabilities go by another name, because the backing's kernel takes them from a file that is written to, and
//! the journal's copying writes:
//!
//! ```text
//! trusted.kmsfs.capability                                        value: that of security.capability
//! ```
//!
//! Names are sealed deterministically, so the backing itself finds an attribute, and answers `EEXIST` and `ENODATA`.

use data_encoding::BASE64URL_NOPAD;
use rustix::fs as at;
use rustix::fs::XattrFlags;
use rustix::io::{self, Errno};

use super::error::{FsError, Result};
use super::filesystem::Fs;
use super::inodes::Inode;
use super::spot::Spot;
use super::types::Caller;
use crate::crypto::Tampered;
use crate::crypto::values::{OVERHEAD, Purpose, open_value, seal_value};
use crate::format::NodeId;
use crate::format::entry::{NONCE_LEN, TAG_LEN};

const USER: &[u8] = b"user.";
/// Names that are there for root alone.
const TRUSTED: &[u8] = b"trusted.";
const SHORT: &str = "user.kmsfs.";
const LONG: &str = "user.kmsfs.long.";
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const CAPABILITY: &[u8] = b"security.capability";
/// What file capabilities are called in the backing.
pub const STORED_CAPABILITY: &str = "trusted.kmsfs.capability";
/// Names that only kmsfs itself uses.
const RESERVED: &[u8] = b"trusted.kmsfs.";
/// Most bytes of a name, as Linux has it.
const NAME_MAX: usize = 255;
/// Most bytes of a value, as Linux has it.
const VALUE_MAX: usize = 65536;

/// Who answers for an attribute.
enum Keeper<'a> {
    /// kmsfs seals it.
    Sealed,
    /// The backing has it as it is, by this name.
    Backing(&'a [u8]),
}

fn keeper(name: &[u8]) -> Result<Keeper<'_>> {
    if name.starts_with(USER) {
        return Ok(Keeper::Sealed);
    }
    if name == CAPABILITY {
        return Ok(Keeper::Backing(STORED_CAPABILITY.as_bytes()));
    }
    let passed: [&[u8]; 3] = [b"security.", TRUSTED, b"system.posix_acl_"];
    match passed.iter().any(|prefix| name.starts_with(prefix)) && !name.starts_with(RESERVED) {
        true => Ok(Keeper::Backing(name)),
        false => Err(FsError::errno(Errno::OPNOTSUPP)),
    }
}

/// The stored side of an attribute's name.
struct StoredAttr {
    name: String,
    /// The sealed name, where it stands before the value.
    long: Option<Vec<u8>>,
}

impl Fs {
    fn stored_attr(&self, node: NodeId, name: &[u8]) -> Result<StoredAttr> {
        let seal = |keys: &_| seal_value(keys, Purpose::XattrName, node, b"", name);
        let sealed = self.volume.keyring.with_volume(seal)?;
        // The nonce of a name is fixed and need not be stored.
        let sealed = sealed.get(NONCE_LEN..).unwrap_or_default();
        let name = format!("{SHORT}{}", BASE64URL_NOPAD.encode(sealed));
        if name.len() <= NAME_MAX {
            return Ok(StoredAttr { name, long: None });
        }
        let tag = sealed.get(..TAG_LEN).unwrap_or_default();
        Ok(StoredAttr {
            name: format!("{LONG}{}", BASE64URL_NOPAD.encode(tag)),
            long: Some(sealed.to_vec()),
        })
    }

    /// The value of the attribute `name`.
    ///
    /// # Errors
    /// As getxattr(2): `ENODATA` when there is none; `EIO` when it is not what was written.
    pub fn get_xattr(&self, ino: u64, name: &[u8]) -> Result<Vec<u8>> {
        let _pass = self.gate.enter()?;
        let inode = self.inode(ino)?;
        if let Keeper::Backing(name) = keeper(name)? {
            return self.on(&inode, |spot| get_raw(spot, name));
        }
        let stored = self.stored_attr(inode.node, name)?;
        let value = self.on(&inode, |spot| get_raw(spot, stored.name.as_bytes()))?;
        let sealed = match &stored.long {
            None => Some(&*value),
            Some(_) => split_long(&value).map(|(_, sealed)| sealed),
        };
        let open = |keys: &_| match sealed {
            Some(sealed) => open_value(keys, Purpose::XattrValue, inode.node, name, sealed),
            None => Err(Tampered),
        };
        let opened = self.volume.keyring.with_volume(open)?;
        opened.map_err(|_| FsError::damaged(format!("an attribute of node {} does not open", inode.node)))
    }

    /// Whether setting `name` must come after what was written to `ino` before, because a write takes it away.
    #[must_use]
    pub fn is_lost_by_writing(&self, ino: u64, name: &[u8]) -> bool {
        name == CAPABILITY && self.inodes.peek(ino).is_some_and(|inode| inode.has_writers())
    }

    /// Sets the attribute `name`.
    ///
    /// # Errors
    /// As setxattr(2).
    pub fn set_xattr(&self, ino: u64, name: &[u8], value: &[u8], flags: u32, caller: &Caller) -> Result<()> {
        let _pass = self.gate.enter()?;
        self.writable()?;
        let inode = self.inode(ino)?;
        let flags = XattrFlags::from_bits(flags).ok_or(FsError::errno(Errno::INVAL))?;
        if let Keeper::Backing(stored) = keeper(name)? {
            self.on(&inode, |spot| set_raw(spot, stored, value, flags))?;
            match name {
                CAPABILITY => inode.set_capable(),
                ACCESS_ACL => self.clear_setgid_of_others(&inode, caller)?,
                _ => {}
            }
            self.touched(&inode);
            return Ok(());
        }
        let stored = self.stored_attr(inode.node, name)?;
        let seal = |keys: &_| seal_value(keys, Purpose::XattrValue, inode.node, name, value);
        let sealed = self.volume.keyring.with_volume(seal)?;
        let bytes = match &stored.long {
            None => sealed,
            Some(name) => [&(name.len() as u16).to_le_bytes(), &**name, &sealed].concat(),
        };
        if bytes.len() > VALUE_MAX {
            return Err(FsError::errno(Errno::NOSPC));
        }
        self.on(&inode, |spot| set_raw(spot, stored.name.as_bytes(), &bytes, flags))?;
        self.touched(&inode);
        Ok(())
    }

    /// Removes the attribute `name`.
    ///
    /// # Errors
    /// As removexattr(2).
    pub fn remove_xattr(&self, ino: u64, name: &[u8]) -> Result<()> {
        let _pass = self.gate.enter()?;
        self.writable()?;
        let inode = self.inode(ino)?;
        if let Keeper::Backing(name) = keeper(name)? {
            let name = std::str::from_utf8(name).map_err(|_| FsError::errno(Errno::NODATA))?;
            self.on(&inode, |spot| remove_raw(spot, name))?;
            self.touched(&inode);
            return Ok(());
        }
        let stored = self.stored_attr(inode.node, name)?;
        self.on(&inode, |spot| remove_raw(spot, &stored.name))?;
        self.touched(&inode);
        Ok(())
    }

    /// The names of all attributes that `caller` may know of, each followed by a zero byte.
    ///
    /// # Errors
    /// As listxattr(2).
    pub fn list_xattr(&self, ino: u64, caller: &Caller) -> Result<Vec<u8>> {
        let _pass = self.gate.enter()?;
        let inode = self.inode(ino)?;
        let stored = self.on(&inode, list_raw)?;
        let mut names = Vec::new();
        for name in stored.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            if let Some(plain) = self.plain_attr(&inode, name)?
                && (caller.uid == 0 || !plain.starts_with(TRUSTED))
            {
                names.extend_from_slice(&plain);
                names.push(0);
            }
        }
        Ok(names)
    }

    /// What the stored attribute `name` is called; `None` for one that is not the volume's.
    fn plain_attr(&self, inode: &Inode, name: &[u8]) -> Result<Option<Vec<u8>>> {
        if !name.starts_with(USER) {
            return Ok(match name {
                name if name == STORED_CAPABILITY.as_bytes() => Some(CAPABILITY.to_vec()),
                // One that somebody set in the backing.
                CAPABILITY => None,
                name => Some(name.to_vec()),
            });
        }
        let sealed = if name.starts_with(LONG.as_bytes()) {
            let value = self.on(inode, |spot| get_raw(spot, name))?;
            split_long(&value).map(|(name, _)| name.to_vec())
        } else {
            name.strip_prefix(SHORT.as_bytes())
                .and_then(|text| BASE64URL_NOPAD.decode(text).ok())
        };
        let Some(sealed) = sealed else {
            return Ok(None);
        };
        let sealed = [&[0; NONCE_LEN][..], &sealed].concat();
        let open = |keys: &_| open_value(keys, Purpose::XattrName, inode.node, b"", &sealed);
        let opened = self.volume.keyring.with_volume(open)?.ok();
        if opened.is_none() {
            tracing::warn!(node = %inode.node, "an attribute's name does not open; it is not shown");
        }
        Ok(opened)
    }
}

/// Takes a long attribute's value apart: sealed name, sealed value.
fn split_long(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = value.split_first_chunk()?;
    let (name, sealed) = rest.split_at_checked(u16::from_le_bytes(*len).into())?;
    (sealed.len() >= OVERHEAD).then_some((name, sealed))
}

fn get_raw(spot: &Spot, name: &[u8]) -> io::Result<Vec<u8>> {
    let (path, follows) = (spot.path(), spot.path_follows());
    loop {
        let len = match follows {
            true => at::getxattr_query(&*path, name)?,
            false => at::lgetxattr_query(&*path, name)?,
        };
        let mut value = vec![0; len + 1];
        let got = match follows {
            true => at::getxattr(&*path, name, &mut value[..]),
            false => at::lgetxattr(&*path, name, &mut value[..]),
        };
        match got {
            Err(Errno::RANGE) => {}
            other => {
                value.truncate(other?);
                return Ok(value);
            }
        }
    }
}

fn list_raw(spot: &Spot) -> io::Result<Vec<u8>> {
    let (path, follows) = (spot.path(), spot.path_follows());
    loop {
        let len = match follows {
            true => at::listxattr_query(&*path)?,
            false => at::llistxattr_query(&*path)?,
        };
        let mut names = vec![0; len + 1];
        let got = match follows {
            true => at::listxattr(&*path, &mut names[..]),
            false => at::llistxattr(&*path, &mut names[..]),
        };
        match got {
            Err(Errno::RANGE) => {}
            other => {
                names.truncate(other?);
                return Ok(names);
            }
        }
    }
}

fn set_raw(spot: &Spot, name: &[u8], value: &[u8], flags: XattrFlags) -> io::Result<()> {
    match spot.path_follows() {
        true => at::setxattr(spot.path(), name, value, flags),
        false => at::lsetxattr(spot.path(), name, value, flags),
    }
}

/// Removes an attribute of the backing.
///
/// # Errors
/// As lremovexattr(2).
pub fn remove_raw(spot: &Spot, name: &str) -> io::Result<()> {
    match spot.path_follows() {
        true => at::removexattr(spot.path(), name),
        false => at::lremovexattr(spot.path(), name),
    }
}
