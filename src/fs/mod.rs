//! The file system, without FUSE: inodes, handles, content, directories, attributes.
//!
//! [`Fs`] has one method for each call, spread over one file for each kind of call. It knows no transport: what
//! goes in and comes out are the plain values of [`types`]. Guards are held for one directory or one file,
//! never for the whole, and none is held while a call waits for the KMS or moves content.

mod ahead;
mod attr;
mod create;
mod directory;
pub mod error;
mod filesystem;
mod gate;
mod handles;
mod inodes;
pub mod io;
mod link;
mod lookup;
mod names;
mod open;
mod past;
mod privileges;
mod promote;
mod reach;
mod remove;
mod rename;
mod report;
mod scan;
mod spot;
mod statfs;
mod symlink;
mod together;
pub mod types;
mod xattr;

pub use directory::{Listed, ListedPlus};
pub use error::{FsError, Result};
pub use filesystem::Fs;
pub use gate::{Gate, Pass};
pub use promote::Promoter;
pub use report::{Listener, Opened};
pub use statfs::Usage;

#[cfg(test)]
mod tests;
