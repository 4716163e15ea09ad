//! The file system, without FUSE: inodes, handles, content, directories, attributes.
pub mod error;
pub mod io;
