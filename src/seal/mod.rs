//! Single files without a mount: sealed and unsealed in the volume's own file format, whether made here or taken out
//! of a backing directory; and the four-line envelope file of the KMS best-practice guide.
//!
//! Streams with bounded memory; where the output goes, and that it is named only when it is whole, is `cmd`'s business.

mod backing;
mod error;
mod guide;
mod sealing;
mod segments;
#[cfg(test)]
mod tests;
mod unsealing;

pub use backing::{Backing, volume_around};
pub use error::SealError;
pub use guide::{seal_guide, unseal_guide};
pub use sealing::{New, seal};
pub use unsealing::unseal;

/// Told of bytes that were passed; answers whether to go on.
pub type Watch<'a> = &'a mut dyn FnMut(u64) -> std::ops::ControlFlow<()>;
