//! Work that may hang, as everything may that waits for a disk: it is waited for, but not for ever.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// How often the end of patience is looked at, because it may have been brought forward.
const LOOK: Duration = Duration::from_millis(20);

/// Does `work` on a thread of its own, `name`, and waits until it is done or the time that `until` tells has come.
/// What hangs then is left behind, and `None` says so; it ends when it can.
///
/// # Errors
/// There is no thread.
pub fn within<T: Send + 'static>(
    name: &str,
    until: impl Fn() -> Instant,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let (done, finished) = channel();
    Builder::new().name(name.to_owned()).spawn(move || {
        // Nobody listens any more when it took too long.
        let _ = done.send(work());
    })?;
    loop {
        let left = until().saturating_duration_since(Instant::now());
        match finished.recv_timeout(left.min(LOOK)) {
            Ok(result) => return Ok(Some(result)),
            Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
            // Out of time; or it has panicked.
            Err(_) => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    #[test]
    fn what_is_done_is_given_back_and_what_hangs_is_left_behind() {
        assert_eq!(within("test", soon, || 7).unwrap(), Some(7));
        let (hung, freed) = channel::<()>();
        let began = soon();
        assert_eq!(within("test", || began, move || freed.recv()).unwrap(), None);
        drop(hung);
    }

    #[test]
    fn the_end_of_patience_can_be_brought_forward() {
        let until = Mutex::new(Instant::now() + Duration::from_secs(3600));
        let (hung, freed) = channel::<()>();
        std::thread::scope(|threads| {
            let waits = threads.spawn(|| within("test", || *until.lock().unwrap(), move || freed.recv()).unwrap());
            *until.lock().unwrap() = Instant::now();
            assert_eq!(waits.join().unwrap(), None);
        });
        drop(hung);
    }
}
