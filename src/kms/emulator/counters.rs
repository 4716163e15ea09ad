//! How often what was asked, and how often which refusal was given: what a test or a benchmark reads afterwards.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde::Serialize;

/// The counters since the start, or since they were last set back.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Counts {
    /// Requests by action, refused ones included; those for no known action are not counted.
    calls: BTreeMap<&'static str, u64>,
    /// Refusals by code.
    refusals: BTreeMap<String, u64>,
    /// All requests.
    requests: u64,
}

/// The counters of a running emulator.
#[derive(Default)]
pub(super) struct Counters(Mutex<Counts>);

impl Counters {
    pub(super) fn request(&self, action: Option<&'static str>) {
        let mut counts = self.0.lock();
        counts.requests += 1;
        if let Some(action) = action {
            *counts.calls.entry(action).or_default() += 1;
        }
    }

    pub(super) fn refusal(&self, code: &str) {
        *self.0.lock().refusals.entry(code.to_owned()).or_default() += 1;
    }

    pub(super) fn read(&self) -> Counts {
        self.0.lock().clone()
    }

    pub(super) fn reset(&self) {
        *self.0.lock() = Counts::default();
    }
}
