//! One request from its claim to its answer.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use super::access_keys::AccessKeys;
use super::actions::{self, Action, Arguments, House};
use super::answer::{Answer, Ending, Format};
use super::claim::Claim;
use super::counters::Counters;
use super::faults::{End, Switches};
use super::gate::Gate;
use super::refusal::Refusal;
use super::wire::Received;
use crate::kms::local::LocalStore;
use crate::kms::uuid::random_uuid;
use crate::kms::{Clock, SystemClock};

/// The emulator: a key store, a gate in front of it, and the faults that a test orders.
pub struct Emulator {
    house: House,
    gate: Gate,
    pub(super) switches: Switches,
    pub(super) counters: Counters,
    clock: Arc<dyn Clock>,
    /// Held by whoever changes the store: its own lock is for other processes, and polls.
    changes: Mutex<()>,
}

impl Emulator {
    /// The emulator of a region.
    #[must_use]
    pub fn new(store: LocalStore, keys: AccessKeys, region: &str) -> Emulator {
        Emulator::with_clock(store, keys, region, Arc::new(SystemClock))
    }

    pub(super) fn with_clock(store: LocalStore, keys: AccessKeys, region: &str, clock: Arc<dyn Clock>) -> Emulator {
        Emulator {
            house: House::new(store, region),
            gate: Gate::new(keys, region.to_owned()),
            switches: Switches::default(),
            counters: Counters::default(),
            clock,
            changes: Mutex::new(()),
        }
    }

    /// Answers a request. Blocks as long as the store takes.
    pub(super) fn answer(&self, received: &Received) -> Answer {
        let request_id = random_uuid().to_uppercase();
        let name = Claim::action_of(received).unwrap_or_default();
        let action = actions::find(name);
        self.counters.request(action.map(|action| action.name));
        let strike = self.switches.strike(name);
        let ending = match strike.end {
            End::Cut => Ending::Cut,
            _ => Ending::Whole,
        };
        let format = Format::of(received);
        let host = received.headers.get("host").unwrap_or_default();
        let outcome = match strike.end {
            End::Drop => return Answer::dropped(request_id),
            End::Foreign { status, body } => {
                let answer = Answer::new(Ok(Value::Object(Default::default())), format, request_id, host);
                return Answer {
                    status,
                    body,
                    delay: strike.delay,
                    content_type: "text/html",
                    ..answer
                };
            }
            End::Refuse(refusal) => Err(refusal),
            End::None | End::Cut => self.serve(received, action),
        };
        match &outcome {
            Ok(_) => tracing::debug!("{name}: done ({request_id})"),
            Err(refusal) => {
                self.counters.refusal(&refusal.code);
                // The code alone: a message may quote what was sent.
                tracing::debug!("{:?}: {} ({request_id})", name, refusal.code);
            }
        }
        let answer = Answer::new(outcome, format, request_id, host);
        Answer {
            delay: strike.delay,
            ending,
            ..answer
        }
    }

    fn serve(&self, received: &Received, action: Option<&'static Action>) -> Result<Value, Refusal> {
        if !matches!(&*received.method, "GET" | "POST") {
            let message = "This http method is not supported.";
            return Err(Refusal::gateway("UnsupportedHTTPMethod", 403, message));
        }
        let claim = Claim::of(received)?;
        let faults = self.switches.read();
        let now = self.clock.unix() + i64::from(faults.clock_offset_seconds);
        self.gate.admit(received, &claim, now, &faults.expired)?;
        let action = action.filter(|action| action.name == claim.action).ok_or_else(|| {
            let message = "Specified api is not found, please check your url and method.";
            Refusal::gateway("InvalidAction.NotFound", 404, message)
        })?;
        let arguments = Arguments::new(&received.parameters, &self.house);
        if faults.denies(action.name, claim.access_key) {
            return Err(Refusal::no_permission(&arguments.resource()));
        }
        if arguments.flag("DryRun")? == Some(true) {
            return Err(Refusal::kms("UnsupportedOperation"));
        }
        let _guard = action.changes.then(|| self.changes.lock());
        (action.run)(&arguments)
    }
}
