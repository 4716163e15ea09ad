//! The gate in front of a volume that is being locked: who may still come in.
//!
//! Locking takes two steps. While the gate *closes*, nothing is given out and nothing new is begun, but what the kernel
//! holds back of writes that it has accepted is still taken, because the keys are still there. When it is *dark*,
//! nothing passes at all. The gate itself holds nobody up: who may not pass is answered at once.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::error::Result;
use crate::keys::KeyError;

const OPEN: u8 = 0;
const CLOSING: u8 = 1;
const DARK: u8 = 2;
const PAUSE: Duration = Duration::from_micros(200);

/// The gate of one mounted volume.
#[derive(Debug, Default)]
pub struct Gate {
    phase: AtomicU8,
    inside: AtomicUsize,
    /// Counts everybody who came in.
    entered: AtomicUsize,
}

/// Somebody inside: counted until this is dropped.
#[derive(Debug)]
pub struct Pass<'a>(&'a Gate);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Gate {
    /// Lets in what gives something out or begins something new.
    ///
    /// # Errors
    /// `EKEYREVOKED` unless the volume is unlocked.
    pub fn enter(&self) -> Result<Pass<'_>> {
        // Counted before it is looked at, so that `close` sees whoever has got through.
        self.inside.fetch_add(1, Ordering::SeqCst);
        let pass = Pass(self);
        self.check(OPEN)?;
        self.entered.fetch_add(1, Ordering::Relaxed);
        Ok(pass)
    }

    /// Lets in what only takes what the kernel has accepted before: writes, and the times that belong to them. They are
    /// not counted: while the gate closes, they keep coming.
    ///
    /// # Errors
    /// `EKEYREVOKED` when the volume is dark.
    pub fn enter_to_write(&self) -> Result<()> {
        self.check(CLOSING)
    }

    fn check(&self, last: u8) -> Result<()> {
        match self.phase.load(Ordering::SeqCst) <= last {
            true => Ok(()),
            false => Err(KeyError::Locked.into()),
        }
    }

    /// Begins to close: from now on only writes that the kernel has accepted come in. Waits for the others, but not
    /// longer than `patience`; answers whether all have gone.
    pub fn close(&self, patience: Duration) -> bool {
        // What is dark stays dark.
        self.phase.fetch_max(CLOSING, Ordering::SeqCst);
        let deadline = Instant::now() + patience;
        while self.inside.load(Ordering::SeqCst) > 0 {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(PAUSE);
        }
        true
    }

    /// Nothing comes in any more.
    pub fn darken(&self) {
        self.phase.store(DARK, Ordering::SeqCst);
    }

    /// Everything comes in again.
    pub fn open(&self) {
        self.phase.store(OPEN, Ordering::SeqCst);
    }

    /// How many calls came in until now: who asks twice knows whether the volume was used in between.
    #[must_use]
    pub fn entered(&self) -> usize {
        self.entered.load(Ordering::Relaxed)
    }

    /// Whether nothing is given out.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.phase.load(Ordering::SeqCst) != OPEN
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn closing_takes_writes_and_dark_takes_nothing() {
        let gate = Gate::default();
        assert!(gate.enter().is_ok() && gate.enter_to_write().is_ok() && !gate.is_shut());
        assert!(gate.close(Duration::ZERO));
        assert_eq!(gate.enter().unwrap_err().code(), Errno::KEYREVOKED);
        assert!(gate.enter_to_write().is_ok() && gate.is_shut());
        gate.darken();
        assert_eq!(gate.enter_to_write().unwrap_err().code(), Errno::KEYREVOKED);
        assert!(gate.close(Duration::ZERO));
        assert!(gate.enter_to_write().is_err(), "closing again lets writes in");
        gate.open();
        assert!(gate.enter().is_ok());
    }

    #[test]
    fn closing_waits_for_those_inside_but_not_for_ever() {
        let gate = Gate::default();
        let pass = gate.enter().unwrap();
        assert!(!gate.close(Duration::from_millis(5)));
        std::thread::scope(|threads| {
            let closed = threads.spawn(|| gate.close(Duration::from_secs(60)));
            drop(pass);
            assert!(closed.join().unwrap());
        });
    }
}
