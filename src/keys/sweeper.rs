//! The thread that drops keys past their time although nobody asks for them.

use std::convert::Infallible;
use std::sync::Weak;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::keyring::Inner;

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15);

/// Ends the thread when it is dropped. Nothing is ever sent.
pub(super) type Leash = Sender<Infallible>;

/// Sweeps until the leash is dropped: at once then, because a thread that only slept on would take its stack with it,
/// and tests open volumes by the thousand. Without a thread, keys past their time are still never used, only kept.
pub(super) fn start(inner: Weak<Inner>, ttl: Duration) -> Leash {
    let pause = (ttl / 4).clamp(SHORTEST, LONGEST);
    let (leash, ended) = channel::<Infallible>();
    let sweep = move || {
        while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let Some(inner) = inner.upgrade() else { return };
            inner.sweep();
        }
    };
    let thread = std::thread::Builder::new().name("key-sweeper".to_owned());
    if let Err(error) = thread.spawn(sweep) {
        tracing::warn!(%error, "cannot start the thread that wipes unused keys in time");
    }
    leash
}
