//! The edge: every call runs in here, so that a failure is logged once and a panic costs one request only.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use fuser::Errno;

use crate::fs::{FsError, Result};

/// Counts the calls that have ended: whether anybody serves.
static ENDED: AtomicUsize = AtomicUsize::new(0);

/// How many calls have ended so far.
pub fn ended() -> usize {
    ENDED.load(Ordering::Relaxed)
}

/// Runs `work` for the call `call`; a panic in it is `EIO` and a line in the log.
///
/// Unwinding is safe here: guards of `parking_lot` open when they are dropped, and what they protect is changed
/// after the last call that could fail.
pub fn run<T>(call: &'static str, work: impl FnOnce() -> Result<T>) -> std::result::Result<T, Errno> {
    let outcome = catch_unwind(AssertUnwindSafe(work));
    ENDED.fetch_add(1, Ordering::Relaxed);
    match outcome {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            error.log(call);
            Err(errno(&error))
        }
        Err(panic) => {
            let said = panic
                .downcast_ref::<&str>()
                .map(|said| (*said).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned());
            tracing::error!(call, "a request panicked: {}", said.unwrap_or_default());
            Err(Errno::EIO)
        }
    }
}

fn errno(error: &FsError) -> Errno {
    Errno::from_i32(error.code().raw_os_error())
}

/// Answers a request with what `run` came back with.
macro_rules! answer {
    ($reply:ident, $call:literal, $work:expr, $ok:expr) => {
        match $crate::fuse::answer::run($call, || $work) {
            Ok(value) =>
            {
                #[allow(clippy::redundant_closure_call)]
                ($ok)($reply, value)
            }
            Err(errno) => $reply.error(errno),
        }
    };
}
pub(super) use answer;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_costs_one_request() {
        let guard = parking_lot::Mutex::new(0);
        let panics = || {
            let _held = guard.lock();
            panic!("on purpose")
        };
        assert_eq!(run::<()>("test", panics).map_err(i32::from), Err(libc::EIO));
        // What it held is open again, and the thread goes on.
        assert_eq!(run("test", || Ok(*guard.lock())).map_err(i32::from), Ok(0));
    }
}
