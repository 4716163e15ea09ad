//! Whether and when a failed request is sent again (reference, §3.4). Pure: knows no clock and no chance of its own.

use std::time::Duration;

use crate::kms::{KmsError, Retry};

/// The base of the pauses; each doubles the one before.
const BASE: Duration = Duration::from_millis(200);
/// The longest pause.
const CAP: Duration = Duration::from_secs(10);
/// Most tries after the first.
pub const RETRIES: u32 = 5;

/// A try that failed.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub error: KmsError,
    /// Whether the KMS may have done what was asked all the same.
    pub maybe_done: bool,
    /// The pause that the answer asked for.
    pub after: Option<Duration>,
}

/// What happened so far, and what is left.
#[derive(Debug, Clone, Copy)]
pub struct So {
    /// Tries that failed, at least 1.
    pub tries: u32,
    /// Whether the credentials were renewed already.
    pub refreshed: bool,
    /// Whether doing it twice does more than doing it once.
    pub once: bool,
    /// Until the call's deadline.
    pub left: Duration,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Once more, after a pause.
    After(Duration),
    /// Once more, with fresh credentials.
    Refresh,
    /// The failure stands.
    GiveUp,
}

/// Decides. `chance` is from 0 to 1: of the pause that is due it takes that part (full jitter), so that many who failed
/// together do not come back together.
pub fn next(failed: &Failed, so: So, chance: f64) -> Next {
    match failed.error.retry() {
        Retry::Never => return Next::GiveUp,
        Retry::Refresh if so.refreshed => return Next::GiveUp,
        Retry::Refresh => return Next::Refresh,
        Retry::Backoff => {}
    }
    if so.tries > RETRIES || (so.once && failed.maybe_done) {
        return Next::GiveUp;
    }
    let longest = BASE.saturating_mul(1 << so.tries.saturating_sub(1).min(16)).min(CAP);
    let pause = longest.mul_f64(chance.clamp(0.0, 1.0));
    let pause = failed.after.map_or(pause, |after| after.max(pause));
    match pause < so.left {
        true => Next::After(pause),
        false => Next::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: &'static str) -> Failed {
        Failed {
            error: KmsError::new(code, "m"),
            maybe_done: false,
            after: None,
        }
    }

    fn so(tries: u32) -> So {
        So {
            tries,
            refreshed: false,
            once: false,
            left: Duration::from_secs(60),
        }
    }

    #[test]
    fn pauses_double_to_the_cap_and_end() {
        let pause = |tries| next(&failed("Rejected.Throttling"), so(tries), 1.0);
        let after = |millis| Next::After(Duration::from_millis(millis));
        assert_eq!([1, 2, 3, 4, 5].map(pause), [200, 400, 800, 1600, 3200].map(after));
        assert_eq!(pause(6), Next::GiveUp);
        assert_eq!(next(&failed("InternalFailure"), so(3), 0.25), after(200));
    }

    #[test]
    fn only_throttling_and_failures_of_the_server_are_tried_again() {
        for code in [
            "Rejected.Throttling",
            "InternalFailure",
            "Kms.Timeout",
            "Kms.Unreachable",
            "SignatureNonceUsed",
        ] {
            assert!(matches!(next(&failed(code), so(1), 0.5), Next::After(_)), "{code}");
        }
        for code in [
            "Rejected.Disabled",
            "InvalidParameter",
            "SignatureDoesNotMatch",
            "Kms.BadAnswer",
            "Kms.WrongKey",
        ] {
            assert_eq!(next(&failed(code), so(1), 0.5), Next::GiveUp, "{code}");
        }
    }

    #[test]
    fn credentials_are_renewed_once() {
        let expired = failed("InvalidSecurityToken.Expired");
        assert_eq!(next(&expired, so(1), 0.5), Next::Refresh);
        let again = So {
            refreshed: true,
            ..so(2)
        };
        assert_eq!(next(&expired, again, 0.5), Next::GiveUp);
    }

    #[test]
    fn what_must_not_happen_twice_is_not_sent_twice() {
        let once = So { once: true, ..so(1) };
        let mut timeout = failed("Kms.Timeout");
        assert!(matches!(next(&timeout, once, 0.5), Next::After(_)));
        timeout.maybe_done = true;
        assert_eq!(next(&timeout, once, 0.5), Next::GiveUp);
        assert!(matches!(next(&timeout, so(1), 0.5), Next::After(_)));
    }

    #[test]
    fn the_answer_may_ask_for_a_longer_pause_within_the_deadline() {
        let mut throttled = failed("Rejected.Throttling");
        throttled.after = Some(Duration::from_secs(7));
        assert_eq!(next(&throttled, so(1), 0.5), Next::After(Duration::from_secs(7)));
        let hurried = So {
            left: Duration::from_secs(7),
            ..so(1)
        };
        assert_eq!(next(&throttled, hurried, 0.5), Next::GiveUp);
    }
}
