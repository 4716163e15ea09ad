//! FUSE: the thin adapter from the kernel's protocol to [`crate::fs`]. The only room that knows `fuser`.

mod adapter;
mod answer;
mod buffers;
mod caches;
mod capabilities;
mod convert;
mod direct;
mod doorman;
mod flusher;
mod readahead;
mod session;
#[cfg(test)]
mod tests;
mod writes;

pub use caches::Caches;
pub use direct::remount;
pub use doorman::Doorman;
pub use session::{MountOptions, Session, Unmounter, unmount};
