//! What the kernel offers: `*at` calls, statx, credentials of a thread, and the little `unsafe` there is.

pub mod creator;
pub mod stat;
