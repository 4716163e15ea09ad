//! Time as `kms` and `keys` see it, so that tests can turn it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Two clocks: one that the world agrees on, one that only goes forward.
pub trait Clock: Send + Sync {
    /// Seconds since 1970.
    fn unix(&self) -> i64;

    /// Time since the system started. Sleeping counts: a key does not outlive its time in a closed laptop.
    fn uptime(&self) -> Duration;
}

/// The system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            Err(_) => 0,
        }
    }

    fn uptime(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
    }
}

/// A clock that stands still until a test moves it.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct FakeClock {
    uptime: std::sync::atomic::AtomicU64,
    /// By how much the time of day is ahead of it.
    jumped: std::sync::atomic::AtomicI64,
}

#[cfg(test)]
impl FakeClock {
    /// Starts in 2023.
    pub(crate) fn new() -> std::sync::Arc<FakeClock> {
        std::sync::Arc::new(FakeClock {
            uptime: 1_700_000_000.into(),
            jumped: 0.into(),
        })
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.uptime.fetch_add(by.as_secs(), std::sync::atomic::Ordering::SeqCst);
    }

    /// Somebody sets the time of day.
    pub(crate) fn jump(&self, by: i64) {
        self.jumped.fetch_add(by, std::sync::atomic::Ordering::SeqCst);
    }
}

#[cfg(test)]
impl Clock for FakeClock {
    fn unix(&self) -> i64 {
        self.uptime().as_secs() as i64 + self.jumped.load(std::sync::atomic::Ordering::SeqCst)
    }

    fn uptime(&self) -> Duration {
        Duration::from_secs(self.uptime.load(std::sync::atomic::Ordering::SeqCst))
    }
}
