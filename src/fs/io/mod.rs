//! The content of files: from plain bytes at an offset to sealed chunks in the store, and back.
//!
//! A read goes `File::read → store (one read of the run) → crypto (open in place)`; a write
//! `File::write → crypto → store`. The KMS is visited by `File::open` and by the first write only.

mod chunks;
mod error;
mod file;
mod fill;
mod growth;
mod holes;
mod inline;
mod read;
mod resize;
mod size;
mod write;

#[cfg(test)]
mod tear_tests;
#[cfg(test)]
mod tests;

pub use error::ContentError;
pub use file::File;
pub use holes::Seek;
pub use size::{stored_key, stored_size};
