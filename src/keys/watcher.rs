//! The thread that asks the KMS again and again whether the volume key may still be used, and acts on what
//! [`Watch`] decides. Each question has a thread of its own, so that a KMS that hangs holds nothing up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use super::alarm::Alarm;
use super::keyring::{Inner, Keyring};
use super::watch::{CHECK_DEADLINE, Outcome, Reason, Verdict, Watch, WatchSettings};
use crate::kms::Clock;

/// Most questions that may hang at a time; beyond that nothing is asked until one ends.
const ASKING_MAX: usize = 8;
/// A refusal that somebody met elsewhere brings the next check forward, but not closer to the last one than this.
const HURRY: Duration = Duration::from_secs(1);

/// Who locks and unlocks the volume.
pub trait Warden: Send + Sync {
    /// Why the volume is locked, while it is.
    fn locked(&self) -> Option<Reason>;
    /// Locks it.
    fn lock(&self, reason: Reason);
    /// Unlocks it, if that is possible and nobody has locked it by command.
    fn unlock(&self);
}

/// The thread. Dropping it ends it.
pub struct Watcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the watcher knows, for whoever wants to tell it. Times are uptimes.
#[derive(Debug, Clone)]
pub struct WatchStatus {
    /// How the volume is watched.
    pub settings: WatchSettings,
    /// When the KMS last gave the volume key.
    pub contact: Duration,
    /// When it is asked next.
    pub next: Duration,
    /// What went wrong since the last contact.
    pub trouble: Option<String>,
}

struct Shared {
    keyring: Arc<Inner>,
    clock: Arc<dyn Clock>,
    watch: Mutex<Watch>,
    heard: Mutex<Vec<(Duration, Outcome)>>,
    alarm: Arc<Alarm>,
    refused: AtomicBool,
    stop: AtomicBool,
}

impl Watcher {
    /// Watches `keyring`, which was unlocked just now, on behalf of `warden`.
    ///
    /// # Errors
    /// When the system has no descriptor or thread to give.
    pub fn start(keyring: &Keyring, settings: WatchSettings, warden: Arc<dyn Warden>) -> std::io::Result<Watcher> {
        let keyring = Arc::clone(&keyring.inner);
        let clock = Arc::clone(&keyring.source.clock);
        let shared = Arc::new(Shared {
            watch: Mutex::new(Watch::new(settings, clock.uptime())),
            keyring,
            clock,
            heard: Mutex::default(),
            alarm: Arc::new(Alarm::new()?),
            refused: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let listener = Arc::downgrade(&shared);
        let refused = move || {
            if let Some(shared) = listener.upgrade() {
                shared.refused.store(true, Ordering::SeqCst);
                shared.alarm.ring();
            }
        };
        shared.keyring.source.on_refusal(Box::new(refused));
        let runner = Arc::clone(&shared);
        let thread = Builder::new()
            .name("key-watcher".into())
            .spawn(move || Rounds::default().run(&runner, &*warden))?;
        Ok(Watcher {
            shared,
            thread: Some(thread),
        })
    }

    /// The volume was unlocked by keys that the KMS was asked for at `asked`, or locked: looks at it again.
    pub fn look(&self, asked: Option<Duration>) {
        if let Some(asked) = asked {
            self.shared.watch.lock().contacted(asked);
        }
        self.shared.alarm.ring();
    }

    /// What it knows.
    #[must_use]
    pub fn status(&self) -> WatchStatus {
        let watch = self.shared.watch.lock();
        WatchStatus {
            settings: watch.settings(),
            contact: watch.contact(),
            next: watch.next(),
            trouble: watch.trouble().map(str::to_owned),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.alarm.ring();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches the master key has panicked");
        }
    }
}

/// A question that was asked and not answered.
struct Asked {
    at: Duration,
    overdue: bool,
}

/// What the thread keeps for itself.
#[derive(Default)]
struct Rounds {
    asked: Vec<Asked>,
    last: Duration,
}

impl Rounds {
    fn run(&mut self, shared: &Arc<Shared>, warden: &dyn Warden) {
        while !shared.stop.load(Ordering::SeqCst) {
            self.listen(shared, warden);
            let now = shared.clock.uptime();
            let locked = warden.locked();
            let verdict = shared.watch.lock().elapsed(now, locked.as_ref());
            obey(warden, verdict);
            self.ask(shared, warden);
            shared.alarm.wait(self.rest(shared, warden));
        }
    }

    /// Takes in what was heard, and what was not heard in time.
    fn listen(&mut self, shared: &Shared, warden: &dyn Warden) {
        let mut news = std::mem::take(&mut *shared.heard.lock());
        self.asked
            .retain(|asked| news.iter().all(|(answered, _)| *answered != asked.at));
        let now = shared.clock.uptime();
        for asked in &mut self.asked {
            if !asked.overdue && now >= asked.at + CHECK_DEADLINE {
                asked.overdue = true;
                let why = format!("no answer within {} s", CHECK_DEADLINE.as_secs());
                news.push((asked.at, Outcome::Unanswered(why)));
            }
        }
        news.sort_by_key(|(asked, _)| *asked);
        for (asked, outcome) in news {
            let locked = warden.locked();
            if outcome == Outcome::Granted {
                shared.keyring.contacted(asked);
            }
            let verdict = shared
                .watch
                .lock()
                .checked(asked, outcome.clone(), now, locked.as_ref());
            obey(warden, verdict);
            if let Outcome::Unanswered(why) = &outcome {
                tracing::warn!("the KMS was not heard: {why}");
            }
        }
    }

    fn ask(&mut self, shared: &Arc<Shared>, warden: &dyn Warden) {
        let now = shared.clock.uptime();
        let locked = warden.locked();
        // Its own refusals are of no interest: it is locked by them.
        if shared.refused.swap(false, Ordering::SeqCst) && locked.is_none() {
            shared.watch.lock().hurry(now.max(self.last + HURRY));
        }
        if !shared.watch.lock().take_turn(now, locked.as_ref()) || self.asked.len() >= ASKING_MAX {
            return;
        }
        // Two questions of one moment could not be told apart.
        let at = now.max(self.last + Duration::from_nanos(1));
        let asker = Arc::clone(shared);
        let ask = move || {
            let outcome = Outcome::from(asker.keyring.check_volume_key());
            asker.heard.lock().push((at, outcome));
            asker.alarm.ring();
        };
        match Builder::new().name("key-check".into()).spawn(ask) {
            Ok(_) => {
                self.asked.push(Asked { at, overdue: false });
                self.last = at;
            }
            Err(error) => tracing::error!(%error, "no thread to ask the KMS with"),
        }
    }

    /// How long there is nothing to do.
    fn rest(&self, shared: &Shared, warden: &dyn Warden) -> Option<Duration> {
        let overdue = self.asked.iter().filter(|asked| !asked.overdue);
        let overdue = overdue.map(|asked| asked.at + CHECK_DEADLINE).min();
        let locked = warden.locked();
        let rest = shared.watch.lock().rest(locked.as_ref());
        let next = [overdue, rest].into_iter().flatten().min()?;
        Some(next.saturating_sub(shared.clock.uptime()).max(Duration::from_millis(1)))
    }
}

fn obey(warden: &dyn Warden, verdict: Verdict) {
    match verdict {
        Verdict::Keep => {}
        Verdict::Lock(reason) => warden.lock(reason),
        Verdict::Unlock => warden.unlock(),
    }
}

#[cfg(test)]
mod tests;
