//! When the KMS has not answered several times in a row, further calls fail at once for a while, so that open(2) does
//! not hang each time; then one call tries the way for all.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::kms::{KmsError, Remedy};

/// Failures in a row that open the circuit.
const THRESHOLD: u32 = 5;
/// How long it stays open at first; twice as long after each try that failed.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest time that it stays open.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The circuit.
#[derive(Debug, Default)]
pub struct Circuit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    pause: Duration,
    /// Whether somebody is trying the way.
    probing: bool,
    last: KmsError,
}

/// The permission for one try. Dropped without an outcome, it makes way for another.
#[derive(Debug)]
pub struct Admission<'a> {
    circuit: &'a Circuit,
    probe: bool,
}

impl Circuit {
    /// Lets a try through, or says why not: with the failure of the last one. `urgent` ones are always let through.
    ///
    /// # Errors
    /// `Kms.Unreachable`.
    pub fn admit(&self, now: Instant, urgent: bool) -> Result<Admission<'_>, KmsError> {
        let mut state = self.0.lock();
        let mut probe = false;
        match &mut state.open {
            Some(open) if !urgent && (open.probing || now < open.until) => return Err(spared(open)),
            Some(open) if !urgent => {
                open.probing = true;
                probe = true;
            }
            _ => {}
        }
        Ok(Admission { circuit: self, probe })
    }
}

impl Admission<'_> {
    /// Notes how the try ended. Any answer of the KMS, also a refusal, shows that the way is free.
    pub fn note(self, now: Instant, failure: Option<&KmsError>) {
        let mut state = self.circuit.0.lock();
        match failure.filter(|error| error.remedy() == Remedy::Unreachable) {
            None => *state = State::default(),
            Some(error) => state.failed(now, error),
        }
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if self.probe
            && let Some(open) = &mut self.circuit.0.lock().open
        {
            open.probing = false;
        }
    }
}

impl State {
    fn failed(&mut self, now: Instant, error: &KmsError) {
        self.failures = self.failures.saturating_add(1);
        if self.failures < THRESHOLD {
            return;
        }
        // Those that had begun before it opened say nothing new.
        let pause = match &self.open {
            Some(open) if now < open.until => return,
            Some(open) => (open.pause * 2).min(LONGEST_PAUSE),
            None => FIRST_PAUSE,
        };
        self.open = Some(Open {
            until: now + pause,
            pause,
            probing: false,
            last: error.clone(),
        });
    }
}

fn spared(open: &Open) -> KmsError {
    let message = format!(
        "it did not answer several times, so this call was spared; at last: {}",
        open.last.message()
    );
    let error = KmsError::new("Kms.Spared", message);
    match open.last.request_id() {
        Some(id) => error.request(id),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(circuit: &Circuit, now: Instant) -> bool {
        let error = KmsError::new("Kms.Timeout", "no answer");
        let admitted = circuit.admit(now, false);
        let was = admitted.is_ok();
        if let Ok(admission) = admitted {
            admission.note(now, Some(&error));
        }
        was
    }

    #[test]
    fn opens_after_failures_in_a_row_and_lets_one_try() {
        let (circuit, start) = (Circuit::default(), Instant::now());
        assert!((0..THRESHOLD).all(|_| fail(&circuit, start)));
        assert!(!fail(&circuit, start));
        let later = start + FIRST_PAUSE;
        let probe = circuit.admit(later, false).unwrap();
        assert!(circuit.admit(later, false).is_err(), "one tries for all");
        assert!(circuit.admit(later, true).is_ok(), "the urgent are not kept from it");
        probe.note(later, Some(&KmsError::new("Kms.Timeout", "again")));
        assert!(!fail(&circuit, later + FIRST_PAUSE), "twice as long now");
        let probe = circuit.admit(later + FIRST_PAUSE * 2, false).unwrap();
        probe.note(later, None);
        assert!(
            (1..THRESHOLD).all(|_| fail(&circuit, later)),
            "closed, and counting anew"
        );
    }

    #[test]
    fn refusals_are_answers() {
        let (circuit, now) = (Circuit::default(), Instant::now());
        for code in ["Rejected.Disabled", "Rejected.Throttling", "InvalidParameter"] {
            for _ in 0..2 * THRESHOLD {
                circuit
                    .admit(now, false)
                    .unwrap()
                    .note(now, Some(&KmsError::new(code, "m")));
            }
        }
        assert!(fail(&circuit, now));
    }

    #[test]
    fn a_probe_that_is_given_up_makes_way() {
        let (circuit, now) = (Circuit::default(), Instant::now());
        assert!((0..THRESHOLD).all(|_| fail(&circuit, now)));
        drop(circuit.admit(now + FIRST_PAUSE, false).unwrap());
        assert!(circuit.admit(now + FIRST_PAUSE, false).is_ok());
    }

    #[test]
    fn the_spared_hear_why() {
        let (circuit, now) = (Circuit::default(), Instant::now());
        assert!((0..THRESHOLD).all(|_| fail(&circuit, now)));
        let error = circuit.admit(now, false).unwrap_err();
        assert_eq!((error.code(), error.remedy()), ("Kms.Spared", Remedy::Unreachable));
        assert!(error.message().contains("no answer"), "{error}");
    }
}
