//! The thread that drops keys past their time although nobody asks for them.

use std::sync::Weak;
use std::time::Duration;

use super::keyring::Inner;

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15);
/// Sweeps until the keyring is gone. Without a thread, keys past their time are still never used, only kept.
pub(super) fn start(inner: Weak<Inner>, ttl: Duration) {
    let pause = (ttl / 4).clamp(SHORTEST, LONGEST);
    let sweep = move || {
        loop {
            std::thread::sleep(pause);
            let Some(inner) = inner.upgrade() else { return };
            inner.sweep();
        }
    };
    let thread = std::thread::Builder::new().name("key-sweeper".to_owned());
    if let Err(error) = thread.spawn(sweep) {
        tracing::warn!(%error, "cannot start the thread that wipes unused keys in time");
    }
}
