//! Requests per second: who comes takes the next free place in the row, and waits until it is there. In order of
//! arrival, so that nobody is overtaken for ever.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Seconds' worth of requests that may go at once after a time without any.
const BURST: f64 = 0.1;

/// The limiter.
#[derive(Debug)]
pub struct Limiter {
    /// Between two requests; none for no limit.
    interval: Option<Duration>,
    burst: Duration,
    /// When the next place is, if nobody leaves one out.
    next: Mutex<Option<Instant>>,
}

impl Limiter {
    /// At most `rate` requests per second, 0 for no limit.
    pub fn new(rate: u32) -> Limiter {
        let interval = (rate > 0).then(|| Duration::from_secs(1) / rate);
        Limiter {
            interval,
            burst: Duration::from_secs_f64(BURST),
            next: Mutex::new(None),
        }
    }

    /// Takes a place, and says how long it is until then.
    ///
    /// # Errors
    /// The same, if that is longer than `at_most`; then no place is taken.
    pub fn take(&self, now: Instant, at_most: Duration) -> Result<Duration, Duration> {
        let Some(interval) = self.interval else {
            return Ok(Duration::ZERO);
        };
        let mut next = self.next.lock();
        let earliest = now.checked_sub(self.burst).unwrap_or(now);
        let place = next.map_or(earliest, |next| next.max(earliest));
        let wait = place.saturating_duration_since(now);
        if wait > at_most {
            return Err(wait);
        }
        *next = Some(place + interval);
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(1000);

    #[test]
    fn places_follow_each_other_at_the_rate() {
        let (limiter, now) = (Limiter::new(100), Instant::now());
        let waits: Vec<_> = (0..210).map(|_| limiter.take(now, LONG).unwrap()).collect();
        assert!(waits[..11].iter().all(Duration::is_zero));
        assert_eq!(waits[11], Duration::from_millis(10));
        assert_eq!(waits[209], Duration::from_millis(1990));
        // After a rest, a tenth of a second's worth goes at once, and no more.
        let later = now + Duration::from_secs(60);
        assert!((0..11).all(|_| limiter.take(later, LONG).unwrap().is_zero()));
        assert!(!limiter.take(later, LONG).unwrap().is_zero());
    }

    #[test]
    fn who_cannot_wait_takes_no_place() {
        let (limiter, now) = (Limiter::new(1), Instant::now());
        assert_eq!(limiter.take(now, LONG), Ok(Duration::ZERO));
        let wait = limiter.take(now, Duration::ZERO).unwrap_err();
        assert_eq!(limiter.take(now, LONG), Ok(wait));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let (limiter, now) = (Limiter::new(0), Instant::now());
        assert!((0..10_000).all(|_| limiter.take(now, Duration::ZERO) == Ok(Duration::ZERO)));
    }
}
