//! What is agreed with the kernel when the mount begins.

use fuser::{InitFlags, KernelConfig};
use std::io;

/// Largest write and read request, in bytes: what the kernel allows by default (256 pages).
pub(super) const REQUEST_MAX: u32 = 1 << 20;
/// Requests that the kernel may have under way without somebody waiting (readahead, writeback).
const BACKGROUND_MAX: u16 = 512;

/// What is asked for wherever the kernel has it.
///
/// Not asked for, with reasons: `POSIX_LOCKS` and `FLOCK_LOCKS` (the kernel keeps them itself, which is right
/// for one machine), `AUTO_INVAL_DATA` (nobody else changes the files), `EXPORT_SUPPORT` (no look-ups of nodes
/// without names), `HANDLE_KILLPRIV` (version 2 is exact).
fn wanted() -> [InitFlags; 14] {
    [
        InitFlags::FUSE_ASYNC_READ,
        InitFlags::FUSE_ASYNC_DIO,
        InitFlags::FUSE_ATOMIC_O_TRUNC,
        InitFlags::FUSE_BIG_WRITES,
        InitFlags::FUSE_CACHE_SYMLINKS,
        InitFlags::FUSE_DONT_MASK,
        InitFlags::FUSE_DO_READDIRPLUS,
        InitFlags::FUSE_READDIRPLUS_AUTO,
        // Without it every write asks for security.capability first.
        InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        InitFlags::FUSE_MAX_PAGES,
        InitFlags::FUSE_NO_EXPORT_SUPPORT,
        InitFlags::FUSE_PARALLEL_DIROPS,
        InitFlags::FUSE_POSIX_ACL,
        InitFlags::FUSE_WRITEBACK_CACHE,
    ]
}

/// Agrees with the kernel.
pub fn negotiate(config: &mut KernelConfig) -> io::Result<()> {
    for flag in wanted() {
        if config.add_capabilities(flag).is_err() {
            tracing::info!("this kernel's FUSE does not have {flag:?}");
        }
    }
    // Each of these answers with the nearest value that is allowed.
    if let Err(allowed) = config.set_max_write(REQUEST_MAX) {
        let _ = config.set_max_write(allowed);
    }
    if let Err(allowed) = config.set_max_readahead(REQUEST_MAX) {
        let _ = config.set_max_readahead(allowed);
    }
    let _ = config.set_max_background(BACKGROUND_MAX);
    let _ = config.set_congestion_threshold(BACKGROUND_MAX / 4 * 3);
    // So that an overlay may lie on it.
    let _ = config.set_max_stack_depth(1);
    Ok(())
}
