//! When a volume goes dark by itself, and when it comes back: the decisions, without a thread, a clock or a KMS.
//!
//! All times are those of [`crate::kms::Clock::uptime`], which goes on while the machine sleeps; the time of day, which
//! may jump, decides nothing.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::KeyError;

/// How long a check may take. Then it counts as unanswered, and the next one does not wait for it.
pub const CHECK_DEADLINE: Duration = Duration::from_secs(5);
/// How long the lock may take that a check leads to, whatever hangs. Both together are the deadline of one request to a
/// KMS, so that is the most by which a volume is bright longer than the interval after its key was denied.
pub const LOCK_DEADLINE: Duration = Duration::from_secs(5);

/// How a volume is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchSettings {
    /// From one check to the next.
    pub interval: Duration,
    /// How long the volume is served after the last contact while the KMS does not answer; `None`: without end.
    pub grace: Option<Duration>,
}

/// Why a volume is locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Somebody said so. It stays locked until somebody says otherwise.
    Command,
    /// Nobody has used it for this long. It stays locked as by command.
    Idle(Duration),
    /// The KMS has refused its keys, in these words. Comes back when the KMS gives them.
    Denied(String),
    /// No contact with the KMS for this long, and what was heard last. Comes back with the next contact.
    Silence(Duration, String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Command => f.write_str("by command"),
            Reason::Idle(time) => write!(f, "unused for {}", humantime::format_duration(*time)),
            Reason::Denied(why) => write!(f, "denied: {why}"),
            Reason::Silence(time, why) => {
                let time = humantime::format_duration(Duration::from_secs(time.as_secs()));
                write!(f, "no contact with the KMS for {time}: {why}")
            }
        }
    }
}

impl Reason {
    /// Whether only a command unlocks.
    #[must_use]
    pub fn stays(&self) -> bool {
        matches!(self, Reason::Command | Reason::Idle(_))
    }
}

/// What came of asking the KMS for the volume key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It gave the key.
    Granted,
    /// It answered that the key may not be used, or is gone.
    Withdrawn(String),
    /// Anything else: no answer, too many requests, credentials that are not right. Not a withdrawal until the KMS says so.
    Unanswered(String),
}

impl From<Result<(), KeyError>> for Outcome {
    fn from(checked: Result<(), KeyError>) -> Outcome {
        match checked {
            Ok(()) => Outcome::Granted,
            Err(KeyError::Kms(error)) if error.remedy().is_withdrawal() => Outcome::Withdrawn(error.to_string()),
            Err(error) => Outcome::Unanswered(error.to_string()),
        }
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// Wipe every key.
    Lock(Reason),
    /// Ask for the keys again.
    Unlock,
}

/// What is known of the KMS, and what follows from it.
#[derive(Debug, Clone)]
pub struct Watch {
    settings: WatchSettings,
    /// When the last successful check was begun.
    contact: Duration,
    /// When the latest check was begun whose outcome is known: older ones say nothing new.
    heard: Duration,
    /// What went wrong since the contact.
    trouble: Option<String>,
    next: Duration,
}

impl Watch {
    /// Begins at `now`, at which the KMS has given the volume key.
    #[must_use]
    pub fn new(settings: WatchSettings, now: Duration) -> Watch {
        Watch {
            settings,
            contact: now,
            heard: now,
            trouble: None,
            next: now + settings.interval,
        }
    }

    /// The KMS gave the volume key to somebody who asked at `asked`: the mount itself, or an unlock.
    pub fn contacted(&mut self, asked: Duration) {
        if asked >= self.heard {
            (self.contact, self.heard, self.trouble) = (asked, asked, None);
        }
    }

    /// Takes the outcome of the check that was begun at `asked`.
    pub fn checked(&mut self, asked: Duration, outcome: Outcome, now: Duration, locked: Option<&Reason>) -> Verdict {
        if asked < self.heard {
            return self.elapsed(now, locked);
        }
        self.heard = asked;
        match (outcome, locked) {
            (Outcome::Granted, _) => {
                self.contacted(asked);
                match locked {
                    Some(reason) if !reason.stays() => Verdict::Unlock,
                    _ => Verdict::Keep,
                }
            }
            (Outcome::Withdrawn(why), locked) => {
                self.trouble = Some(why.clone());
                match locked {
                    None | Some(Reason::Silence(..)) => Verdict::Lock(Reason::Denied(why)),
                    Some(_) => Verdict::Keep,
                }
            }
            (Outcome::Unanswered(why), locked) => {
                self.trouble = Some(why);
                self.elapsed(now, locked)
            }
        }
    }

    /// Decides by time alone.
    #[must_use]
    pub fn elapsed(&self, now: Duration, locked: Option<&Reason>) -> Verdict {
        match self.dark_at() {
            Some(at) if locked.is_none() && now >= at => {
                let why = self.trouble.clone().unwrap_or_else(|| "it was not asked".to_owned());
                Verdict::Lock(Reason::Silence(now.saturating_sub(self.contact), why))
            }
            _ => Verdict::Keep,
        }
    }

    /// When the grace ends. Without trouble it must not end before a check had its chance.
    fn dark_at(&self) -> Option<Duration> {
        let grace = self.settings.grace?;
        let grace = match self.trouble {
            Some(_) => grace,
            None => grace.max(self.settings.interval + CHECK_DEADLINE),
        };
        Some(self.contact + grace)
    }

    /// Whether it is time for a check, unless the volume is locked by command. Then the next one is an interval later.
    pub fn take_turn(&mut self, now: Duration, locked: Option<&Reason>) -> bool {
        let due = now >= self.next && !locked.is_some_and(Reason::stays);
        if due {
            self.next = now + self.settings.interval;
        }
        due
    }

    /// Brings the next check forward to `at`, if it is later.
    pub fn hurry(&mut self, at: Duration) {
        self.next = self.next.min(at);
    }

    /// Until when there is nothing to decide unless something is heard; `None`: without end.
    #[must_use]
    pub fn rest(&self, locked: Option<&Reason>) -> Option<Duration> {
        match locked {
            None => Some(self.dark_at().map_or(self.next, |dark| dark.min(self.next))),
            Some(reason) if reason.stays() => None,
            Some(_) => Some(self.next),
        }
    }

    /// How it is watched.
    #[must_use]
    pub fn settings(&self) -> WatchSettings {
        self.settings
    }

    /// When the KMS last gave the volume key.
    #[must_use]
    pub fn contact(&self) -> Duration {
        self.contact
    }

    /// When it is asked next.
    #[must_use]
    pub fn next(&self) -> Duration {
        self.next
    }

    /// What went wrong since the last contact.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}

#[cfg(test)]
mod tests;
