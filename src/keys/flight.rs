//! One call for many who ask the same thing at the same time: the first makes it, the others wait for its outcome.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::KeyError;
use super::cache::Held;
use crate::kms::KmsError;

/// A call under way.
#[derive(Debug, Default)]
pub(super) struct Flight {
    outcome: Mutex<Option<Result<Held, KeyError>>>,
    landed: Condvar,
}

impl Flight {
    /// Waits for the outcome.
    pub(super) fn wait(&self) -> Result<Held, KeyError> {
        let mut outcome = self.outcome.lock();
        loop {
            match &*outcome {
                Some(outcome) => return outcome.clone(),
                None => self.landed.wait(&mut outcome),
            }
        }
    }
}

/// The duty to land a flight. Dropped without an outcome (a panic in the call), it lands as a failure, so that
/// nobody waits for ever.
pub(super) struct Pilot(pub Arc<Flight>);

impl Pilot {
    pub(super) fn land(&self, outcome: Result<Held, KeyError>) {
        self.0.outcome.lock().get_or_insert(outcome);
        self.0.landed.notify_all();
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        self.land(Err(KmsError::new("Kms.Unreachable", "the call was given up").into()));
    }
}
