//! Unmounting or locking a mount that nobody has used for a while.

use std::sync::Arc;
use std::time::Duration;

use super::locking::Locking;
use super::unmount;
use crate::cli::IdleAction;
use crate::fs::Fs;
use crate::keys::Reason;
use crate::kms::{Clock, SystemClock};

/// How often it is looked at; an idle time is exact to this, or to a quarter of it.
const LOOK: Duration = Duration::from_secs(5);

/// Looks after the mount from a thread of its own: nothing that a program asked for within `timeout` makes it idle.
///
/// # Errors
/// There is no thread.
pub fn start(timeout: Duration, action: IdleAction, fs: Arc<Fs>, locking: Arc<Locking>) -> std::io::Result<()> {
    let watch = move || {
        let pause = LOOK.min(timeout / 4).max(Duration::from_millis(10));
        let (mut seen, mut since) = (fs.gate().entered(), SystemClock.uptime());
        loop {
            std::thread::sleep(pause);
            let (entered, now) = (fs.gate().entered(), SystemClock.uptime());
            if entered != seen || locking.reason().is_some() {
                (seen, since) = (entered, now);
            } else if now.saturating_sub(since) >= timeout {
                since = now;
                act(timeout, action, &locking);
            }
        }
    };
    std::thread::Builder::new().name("idle".into()).spawn(watch).map(drop)
}

fn act(timeout: Duration, action: IdleAction, locking: &Locking) {
    let outcome = match action {
        IdleAction::Lock => locking.lock(Reason::Idle(timeout)),
        IdleAction::Unmount => unmount::unmount(locking.mountpoint(), || locking.flush()),
    };
    match outcome {
        Ok(()) => tracing::info!("unused for {}", humantime::format_duration(timeout)),
        // Somebody has a file open, or is in a directory: it is in use after all.
        Err(failure) => tracing::debug!("not idle: {}", failure.what),
    }
}
