//! Faults that a test orders: what stands between a good request and its answer.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::refusal::Refusal;

/// The faults in force, as the admin endpoint takes and shows them. What is not named is not wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Faults {
    /// The actions that latency, throttling, errors, drops and cuts befall; none for all.
    pub actions: Vec<String>,
    /// Milliseconds that each answer takes longer.
    pub latency_ms: u64,
    /// More requests than this in a second are throttled.
    pub requests_per_second: Option<NonZeroU32>,
    /// The next requests fail with an error.
    pub errors: Option<Errors>,
    /// So many of the next requests get no answer: the connection breaks off, nothing is done.
    pub drop: u32,
    /// So many of the next requests are done, and half of the answer arrives.
    pub cut: u32,
    /// Access keys that have expired: tokens are stale, plain access keys switched off.
    pub expired: Vec<String>,
    /// Seconds by which the emulator's clock is ahead when it looks at the time of a request.
    pub clock_offset_seconds: i32,
    /// What the permission system forbids.
    pub deny: Vec<Denial>,
}

/// A burst of errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Errors {
    /// How many are left.
    pub count: u32,
    /// The HTTP status.
    #[serde(default = "unavailable")]
    pub status: u16,
    /// The code; `ServiceUnavailableTemporary` or `InternalFailure` if it is left out.
    pub code: Option<String>,
    /// A body instead of the KMS's own, as a proxy in between might send it.
    pub body: Option<String>,
}

fn unavailable() -> u16 {
    503
}

/// A permission that is withdrawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Denial {
    /// The action; none for all.
    pub action: Option<String>,
    /// Of this access key; none for all.
    pub access_key: Option<String>,
}

impl Faults {
    fn is_for(&self, action: &str) -> bool {
        self.actions.is_empty() || self.actions.iter().any(|named| named == action)
    }

    /// Whether the permission for an action is withdrawn from an access key.
    pub(super) fn denies(&self, action: &str, access_key: &str) -> bool {
        let fits = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        let mut denials = self.deny.iter();
        denials.any(|denial| fits(&denial.action, action) && fits(&denial.access_key, access_key))
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.latency_ms > 600_000 {
            return Err("latency_ms is at most 600000");
        }
        match &self.errors {
            Some(errors) if !(400..=599).contains(&errors.status) => Err("the status of errors is 400 to 599"),
            _ => Ok(()),
        }
    }
}

/// What befalls one request.
#[derive(Debug, Default)]
pub(super) struct Strike {
    pub delay: Duration,
    pub end: End,
}

/// What a request comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing is wrong.
    #[default]
    None,
    /// No answer.
    Drop,
    /// Half an answer.
    Cut,
    /// An error.
    Refuse(Refusal),
    /// An error with a body that is not the KMS's.
    Foreign { status: u16, body: String },
}

/// The switches of a running emulator.
#[derive(Default)]
pub(super) struct Switches(Mutex<State>);

#[derive(Default)]
struct State {
    faults: Faults,
    limiter: Option<DefaultDirectRateLimiter>,
}

impl Switches {
    pub(super) fn read(&self) -> Faults {
        self.0.lock().faults.clone()
    }

    /// # Errors
    /// Why these cannot be.
    pub(super) fn set(&self, faults: Faults) -> Result<(), &'static str> {
        faults.check()?;
        let limiter = faults
            .requests_per_second
            .map(|rate| RateLimiter::direct(Quota::per_second(rate)));
        *self.0.lock() = State { faults, limiter };
        Ok(())
    }

    /// What befalls the next request for `action`, and counts it.
    pub(super) fn strike(&self, action: &str) -> Strike {
        let mut state = self.0.lock();
        let State { faults, limiter } = &mut *state;
        if !faults.is_for(action) {
            return Strike::default();
        }
        let delay = Duration::from_millis(faults.latency_ms);
        let throttled = limiter.as_ref().is_some_and(|limiter| limiter.check().is_err());
        let end = match () {
            () if take(&mut faults.drop) => End::Drop,
            () if throttled => End::Refuse(Refusal::kms("Rejected.Throttling")),
            () => match faults.errors.as_mut().filter(|errors| errors.count > 0) {
                Some(errors) => errors.next(),
                None if take(&mut faults.cut) => End::Cut,
                None => End::None,
            },
        };
        Strike { delay, end }
    }
}

impl Errors {
    fn next(&mut self) -> End {
        self.count -= 1;
        let status = self.status;
        if let Some(body) = self.body.clone() {
            return End::Foreign { status, body };
        }
        let usual = match status {
            503 => "ServiceUnavailableTemporary",
            _ => "InternalFailure",
        };
        let code = self.code.clone().unwrap_or_else(|| usual.to_owned());
        End::Refuse(Refusal::ordered(code, status, "A fault that was ordered.".to_owned()))
    }
}

fn take(count: &mut u32) -> bool {
    let some = *count > 0;
    *count = count.saturating_sub(1);
    some
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switches(json: &str) -> Switches {
        let switches = Switches::default();
        switches.set(serde_json::from_str(json).unwrap()).unwrap();
        switches
    }

    #[test]
    fn bursts_end() {
        let switches = switches(r#"{"drop": 1, "cut": 1, "errors": {"count": 2}, "latency_ms": 5}"#);
        assert_eq!(switches.strike("Encrypt").end, End::Drop);
        for _ in 0..2 {
            let End::Refuse(refusal) = switches.strike("Encrypt").end else {
                panic!()
            };
            assert_eq!((refusal.status, &*refusal.code), (503, "ServiceUnavailableTemporary"));
        }
        assert_eq!(switches.strike("Encrypt").end, End::Cut);
        let last = switches.strike("Encrypt");
        assert_eq!((last.end, last.delay), (End::None, Duration::from_millis(5)));
    }

    #[test]
    fn befall_what_they_name() {
        let switches =
            switches(r#"{"actions": ["Decrypt"], "drop": 1, "deny": [{"access_key": "a"}, {"action": "ListKeys"}]}"#);
        assert_eq!(switches.strike("Encrypt").end, End::None);
        assert_eq!(switches.strike("Decrypt").end, End::Drop);
        let faults = switches.read();
        assert!(faults.denies("Encrypt", "a") && !faults.denies("Encrypt", "b") && faults.denies("ListKeys", "b"));
    }

    #[test]
    fn throttled_over_the_rate() {
        let switches = switches(r#"{"requests_per_second": 2}"#);
        let ends: Vec<End> = (0..20).map(|_| switches.strike("Encrypt").end).collect();
        assert_eq!(ends[..2], [End::None, End::None]);
        assert!(ends.contains(&End::Refuse(Refusal::kms("Rejected.Throttling"))));
    }

    #[test]
    fn what_cannot_be_is_not_taken() {
        for json in [
            r#"{"latency": 1}"#,
            r#"{"requests_per_second": 0}"#,
            r#"{"drop": -1}"#,
            "",
        ] {
            assert!(serde_json::from_str::<Faults>(json).is_err(), "{json}");
        }
        let faults: Faults = serde_json::from_str(r#"{"errors": {"count": 1, "status": 200}}"#).unwrap();
        assert!(Switches::default().set(faults).is_err());
    }
}
