//! The edge: every call runs in here, so that a failure is logged once and a panic costs one request only.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fuser::Errno;

use crate::fs::{Fs, FsError, Result};

/// The file system, by calls in which a panic costs one request. The adapter has no other way to it.
#[derive(Clone)]
pub struct Guarded(Arc<Fs>);

impl Guarded {
    /// `fs`, guarded.
    pub fn new(fs: Arc<Fs>) -> Self {
        Self(fs)
    }

    /// Does `work` for the call `call`; see [`run`].
    pub fn call<T>(&self, call: &'static str, work: impl FnOnce(&Fs) -> Result<T>) -> std::result::Result<T, Errno> {
        run(call, || work(&self.0))
    }
}

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
fn run<T>(call: &'static str, work: impl FnOnce() -> Result<T>) -> std::result::Result<T, Errno> {
    let outcome = catch_unwind(AssertUnwindSafe(work));
    ENDED.fetch_add(1, Ordering::Relaxed);
    match outcome {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            error.log(call);
            Err(errno(&error))
        }
        Err(panic) => {
            tracing::error!(call, "a request panicked: {}", said(&*panic));
            Err(Errno::EIO)
        }
    }
}

/// What a panic had to say.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref().copied()).unwrap_or_default()
}

fn errno(error: &FsError) -> Errno {
    Errno::from_i32(error.code().raw_os_error())
}

/// Answers a request with what [`Guarded::call`] came back with.
macro_rules! answer {
    ($reply:ident, $fs:expr, $call:expr, $work:expr, $ok:expr) => {
        match $fs.call($call, $work) {
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

    #[test]
    fn what_a_panic_says_is_logged_as_it_is() {
        let caught = |work: fn()| catch_unwind(work).unwrap_err();
        assert_eq!(said(&*caught(|| panic!("on purpose"))), "on purpose");
        assert_eq!(said(&*caught(|| panic!("the {}nd time", 2))), "the 2nd time");
        assert_eq!(said(&*caught(|| std::panic::panic_any(2))), "");
    }
}
