//! The file system, without FUSE: inodes, handles, content, directories, attributes.
