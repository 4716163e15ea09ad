//! The client: a call with its tries, pauses and deadline. The waiting is done by one thread of its own runtime, so
//! calls may come from any thread, many at a time.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Runtime};

use super::actions::Ask;
use super::answer::{self, Answered};
use super::circuit::Circuit;
use super::credentials::{Credential, Keeper, World};
use super::endpoint::Endpoint;
use super::http::{Http, Trust};
use super::limiter::Limiter;
use super::retry::{Failed, Next, So, next};
use super::settings::Settings;
use super::wire::{self, Stamp};
use crate::format::ids::random_bytes;
use crate::kms::{Clock, KmsError, SystemClock};

/// How an environment variable is looked up.
pub type Environment = Arc<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// A client of Alibaba Cloud KMS.
pub struct AlibabaKms {
    inner: Arc<Inner>,
    /// There until it is dropped.
    runtime: Option<Runtime>,
}

struct Inner {
    endpoint: Endpoint,
    settings: Settings,
    http: Http,
    keeper: Arc<Keeper>,
    limiter: Limiter,
    circuit: Circuit,
    clock: Arc<dyn Clock>,
}

impl AlibabaKms {
    /// A client as `settings` say, with the credentials that `environment` and the files of the default chain lead
    /// to. It asks for nothing yet. Make it after the last fork: it owns a thread.
    ///
    /// # Errors
    /// `Kms.Endpoint`: it is not said where the KMS is, or the certificates cannot be read.
    pub fn new(settings: Settings, environment: Environment) -> Result<AlibabaKms, KmsError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        AlibabaKms::with_world(settings, World::new(environment, clock))
    }

    pub(super) fn with_world(settings: Settings, world: World) -> Result<AlibabaKms, KmsError> {
        let endpoint = Endpoint::of(&settings)?;
        let trust = match &settings.ca_file {
            _ if endpoint.is_plain() => Trust::Nobody,
            Some(path) => Trust::File(path),
            None => Trust::System,
        };
        let http = Http::new(trust, settings.connect_timeout)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("kms-client")
            .enable_all()
            .build()
            .map_err(|error| KmsError::new("Kms.Unreachable", format!("no thread for the client: {error}")))?;
        let inner = Inner {
            limiter: Limiter::new(settings.rate),
            circuit: Circuit::default(),
            clock: Arc::clone(&world.clock),
            keeper: Keeper::new(world),
            endpoint,
            settings,
            http,
        };
        Ok(AlibabaKms {
            inner: Arc::new(inner),
            runtime: Some(runtime),
        })
    }

    /// The KMS in a few words.
    pub(super) fn name(&self) -> String {
        format!("Alibaba Cloud KMS at {}", self.inner.endpoint.host)
    }

    /// Makes a call and waits for its answer.
    pub(super) fn call<T>(&self, ask: Ask) -> Result<Answered<T>, KmsError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        self.run(ask, false)
    }

    /// The same, past the row and an open circuit.
    pub(super) fn call_now<T>(&self, ask: Ask) -> Result<Answered<T>, KmsError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        self.run(ask, true)
    }

    fn run<T>(&self, ask: Ask, urgent: bool) -> Result<Answered<T>, KmsError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let about = ask.about.clone();
        let given_up = || KmsError::new("Kms.Unreachable", "the call was given up");
        let outcome = self.runtime.as_ref().ok_or_else(given_up).and_then(|runtime| {
            let (sender, receiver) = sync_channel(1);
            let inner = Arc::clone(&self.inner);
            runtime.spawn(async move {
                // Somebody waits for it, or has been ended with the process.
                let _ = sender.send(inner.call(&ask, urgent).await);
            });
            // It fails only when the task panicked.
            receiver.recv().unwrap_or_else(|_| Err(given_up()))
        });
        outcome.map_err(|error| self.named(error, about.as_deref()))
    }

    /// Says in an error which KMS it was, and which key.
    pub(super) fn named(&self, error: KmsError, about: Option<&str>) -> KmsError {
        let error = error.at(self.name());
        match about {
            Some(key) => error.about(key),
            None => error,
        }
    }
}

impl Drop for AlibabaKms {
    fn drop(&mut self) {
        // Without waiting: a name that is being resolved may take minutes, and nobody wants to know any more.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Inner {
    async fn call<T: DeserializeOwned>(&self, ask: &Ask, urgent: bool) -> Result<Answered<T>, KmsError> {
        let end = Instant::now() + self.settings.deadline;
        let (mut tries, mut refreshed) = (0, false);
        let mut last: Option<KmsError> = None;
        loop {
            let (failed, credential) = match self.attempt(ask, urgent, end).await {
                Ok(answered) => return Ok(answered),
                Err(failed) => failed,
            };
            // What was spared says less than the failure before it.
            if let ("Kms.Spared", Some(last)) = (failed.error.code(), last.take()) {
                return Err(last);
            }
            tries += 1;
            let so = So {
                tries,
                refreshed,
                once: ask.once,
                left: end.saturating_duration_since(Instant::now()),
            };
            match (next(&failed, so, chance()), credential) {
                (Next::After(pause), _) => {
                    tracing::debug!(action = ask.action, error = %failed.error, ?pause, "asking the KMS again");
                    tokio::time::sleep(pause).await;
                }
                (Next::Refresh, Some(used)) if self.keeper.renew(&used).await => refreshed = true,
                _ => return Err(failed.error),
            }
            last = Some(failed.error);
        }
    }

    /// One try; when it fails, also with which credential.
    async fn attempt<T: DeserializeOwned>(
        &self,
        ask: &Ask,
        urgent: bool,
        end: Instant,
    ) -> Result<Answered<T>, (Failed, Option<Arc<Credential>>)> {
        let before = |error: KmsError| Failed {
            error,
            maybe_done: false,
            after: None,
        };
        let left = end.saturating_duration_since(Instant::now());
        let credential = tokio::time::timeout(left, self.keeper.get()).await;
        let credential = credential.unwrap_or_else(|_| {
            let message = format!("no credentials within {left:?}");
            Err(KmsError::new("Kms.CredentialsUnavailable", message))
        });
        let credential = credential.map_err(|error| (before(error), None))?;
        let with = |failed: Failed| (failed, Some(Arc::clone(&credential)));
        let admission = self.circuit.admit(Instant::now(), urgent);
        let admission = admission.map_err(|error| with(before(error)))?;
        self.wait_in_row(urgent, end)
            .await
            .map_err(|error| with(before(error)))?;
        let stamp = Stamp::new(self.clock.unix());
        let what = (ask.action, &ask.parameters);
        let request = wire::request(&self.endpoint, self.settings.signature, what, &credential, &stamp);
        let request = request.map_err(|error| with(before(error)))?;
        let within = self
            .settings
            .answer_timeout
            .min(end.saturating_duration_since(Instant::now()));
        let outcome = self.http.exchange(request, within).await;
        let outcome = outcome.and_then(|answer| answer::read(ask.action, &answer));
        admission.note(Instant::now(), outcome.as_ref().err().map(|failed| &failed.error));
        outcome.map_err(with)
    }

    /// Waits for its place among the requests per second.
    async fn wait_in_row(&self, urgent: bool, end: Instant) -> Result<(), KmsError> {
        let now = Instant::now();
        if urgent {
            // Counted if there is a place, and let through anyway.
            let _ = self.limiter.take(now, Duration::ZERO);
            return Ok(());
        }
        match self.limiter.take(now, end.saturating_duration_since(now)) {
            Ok(wait) if wait.is_zero() => Ok(()),
            Ok(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            Err(wait) => {
                let rate = self.settings.rate;
                let message = format!("{rate} requests per second are allowed; this one's turn is in {wait:.1?}");
                Err(KmsError::new("Kms.RateLimited", message))
            }
        }
    }
}

/// A number from 0 to 1.
fn chance() -> f64 {
    f64::from(u32::from_le_bytes(random_bytes())) / f64::from(u32::MAX)
}
