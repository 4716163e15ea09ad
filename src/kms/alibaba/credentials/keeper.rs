//! The credential in use, shared by all calls: renewed in the background before it expires, by one at a time, and
//! kept as long as it is valid when that fails.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::chain::{Provider, find};
use super::{Credential, World};
use crate::kms::KmsError;

/// How long before its end a temporary credential is renewed, if it lives long enough.
const EARLY: i64 = 15 * 60;
/// So shortly before its end it is not used any more: a request must still arrive.
const MARGIN: i64 = 30;
/// Failures in a row that are tried again at once; after them there are pauses.
const PATIENCE: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The credential in use.
pub struct Keeper {
    world: World,
    state: Mutex<State>,
    /// Held by whoever is looking for a new one.
    search: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    last: Option<Provider>,
    /// Whether somebody renews it in the background.
    renewing: bool,
    failures: u32,
    failed: Option<(KmsError, Duration)>,
}

#[derive(Clone)]
struct Held {
    credential: Arc<Credential>,
    /// From when on it is to be renewed, in seconds since 1970.
    renew_at: Option<i64>,
}

impl Held {
    fn new(credential: Credential, now: i64) -> Held {
        let lead = |expires: i64| EARLY.min(expires.saturating_sub(now) / 4);
        Held {
            renew_at: credential.expires.map(|expires| expires.saturating_sub(lead(expires))),
            credential: Arc::new(credential),
        }
    }

    fn is_young(&self, now: i64) -> bool {
        self.renew_at.is_none_or(|at| now < at)
    }

    fn is_valid(&self, now: i64) -> bool {
        self.credential.expires.is_none_or(|expires| now < expires - MARGIN)
    }
}

impl Keeper {
    /// A keeper that has nothing yet.
    pub fn new(world: World) -> Arc<Keeper> {
        Arc::new(Keeper {
            world,
            state: Mutex::default(),
            search: tokio::sync::Mutex::default(),
        })
    }

    /// The credential to use now.
    ///
    /// # Errors
    /// There is none, or none that is still valid.
    pub async fn get(self: &Arc<Self>) -> Result<Arc<Credential>, KmsError> {
        if let Some(credential) = self.at_hand() {
            return Ok(credential);
        }
        let _search = self.search.lock().await;
        // Somebody else may have found one, or may just have failed.
        if let Some(credential) = self.at_hand() {
            return Ok(credential);
        }
        if let Some(error) = self.resting() {
            return Err(error);
        }
        self.find().await
    }

    /// Looks for another one, because the KMS refused `used`; says whether there is one.
    pub async fn renew(self: &Arc<Self>, used: &Arc<Credential>) -> bool {
        let _search = self.search.lock().await;
        let held = self.state.lock().held.clone();
        if held.is_some_and(|held| held.credential != *used) {
            return true;
        }
        self.find().await.is_ok_and(|found| found != *used)
    }

    /// The one that is held, if it will do; and has it renewed if it is time.
    fn at_hand(self: &Arc<Self>) -> Option<Arc<Credential>> {
        let now = self.world.clock.unix();
        let mut state = self.state.lock();
        let held = state.held.clone().filter(|held| held.is_valid(now))?;
        if !held.is_young(now) && !state.renewing && !self.is_resting(&state) {
            state.renewing = true;
            let keeper = Arc::clone(self);
            tokio::spawn(async move {
                let _search = keeper.search.lock().await;
                if let Err(error) = keeper.find().await {
                    tracing::warn!("the credentials for Alibaba Cloud cannot be renewed yet: {error}");
                }
                keeper.state.lock().renewing = false;
            });
        }
        Some(held.credential)
    }

    fn is_resting(&self, state: &State) -> bool {
        let now = self.world.clock.uptime();
        state.failed.as_ref().is_some_and(|(_, until)| now < *until)
    }

    /// The last failure, while it is too early to look again.
    fn resting(&self) -> Option<KmsError> {
        let state = self.state.lock();
        let resting = self.is_resting(&state);
        state
            .failed
            .as_ref()
            .filter(|_| resting)
            .map(|(error, _)| error.clone())
    }

    /// Goes through the chain; whoever calls holds the search.
    async fn find(&self) -> Result<Arc<Credential>, KmsError> {
        let last = self.state.lock().last;
        let outcome = find(&self.world, last).await;
        let (now, uptime) = (self.world.clock.unix(), self.world.clock.uptime());
        let mut state = self.state.lock();
        match outcome {
            Ok((provider, credential)) => {
                let held = Held::new(credential, now);
                let credential = Arc::clone(&held.credential);
                *state = State {
                    held: Some(held),
                    last: Some(provider),
                    renewing: state.renewing,
                    ..State::default()
                };
                Ok(credential)
            }
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                let doubled = state.failures.checked_sub(PATIENCE).map(|more| 1u32 << more.min(8));
                let pause = doubled.map_or(Duration::ZERO, |times| (FIRST_PAUSE * times).min(LONGEST_PAUSE));
                state.failed = Some((error.clone(), uptime + pause));
                Err(error)
            }
        }
    }
}
