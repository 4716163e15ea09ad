//! Bytes and types of everything that lies in the backing: layouts, parsers, geometry.
//!
//! Pure: no I/O and no keys. What is parsed here is *well-formed*, never *authentic*: the types that
//! come out of a parser are called `Raw…` until `crypto` has checked their seals. FORMAT.md, beside
//! this file, is the specification; a test holds its numbers against these constants.

pub mod descriptor;
pub mod entry;
pub mod error;
pub mod geometry;
pub mod head;
pub mod ids;
pub mod journal;
pub mod moves;
pub mod stored_name;
pub mod wrapped;

pub use entry::Entry;
pub use error::FormatError;
pub use geometry::{Geometry, PAGE};
pub use ids::{DataKeyId, NodeId, VolumeId};
pub use wrapped::WrappedKey;
