//! What the kernel offers and std does not: locked memory, *at calls, credentials. All `unsafe` lives here.

pub mod beneath;
pub mod creator;
pub mod entries;
pub mod fence;
pub mod fuse_device;
pub mod groups;
pub mod limits;
pub mod memory;
pub mod open;
pub mod patience;
pub mod quota;
pub mod stat;
pub mod wipe;
