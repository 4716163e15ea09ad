//! The life of a mount: mount, announce, wait for the end or for a signal, take leave.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use rustix::fs::statfs;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::engine::{self, Mounted};
use super::{Exit, Failure, fence, preflight, unmount, watchdog};
use crate::config::MountSettings;
use crate::control::{Entry, Event as AuditEvent, Handler, Registry, Server};

/// What the kernel calls FUSE, in `statfs`.
const FUSE_MAGIC: u64 = 0x6573_5546;

enum Event {
    /// The file system was unmounted, by whomever.
    Ended(io::Result<()>),
    /// Somebody wants the daemon to end.
    Signal(i32),
}

/// Mounts, calls `ready` when the mount answers (with what the user should read), and serves until it is unmounted.
///
/// # Errors
/// Why it could not be mounted, or how it ended.
pub fn serve(settings: &MountSettings, ready: impl FnOnce(Vec<String>) -> Result<(), Failure>) -> Result<(), Failure> {
    fence::before_threads();
    let registry = preflight::registry();
    registry
        .prepare()
        .map_err(|error| Failure::io("making the runtime directory", registry.dir(), &error))?;
    let (sender, events) = channel();
    listen_for_signals(sender.clone())?;
    let Mounted { handler, wait, notes } = engine::mount(settings)?;
    let ended = thread::Builder::new().name("session".into()).spawn(move || {
        // The receiver lives as long as this function.
        let _ = sender.send(Event::Ended(wait()));
    });
    ended.map_err(|error| Failure::internal(format!("no thread for the session: {error}")))?;
    let outcome = match announce(settings, &registry, &handler) {
        Ok(server) => {
            tracing::info!(
                "{} is mounted at {}",
                settings.backing.display(),
                settings.mountpoint.display()
            );
            watchdog::start(&settings.mountpoint);
            fence::after_mounting();
            ready(notes)
                .inspect_err(|failure| tracing::warn!("{}", failure.what))
                .ok();
            handler.note(&AuditEvent::Mount);
            let outcome = until_unmounted(settings, &*handler, &events);
            handler.note(&AuditEvent::Unmount);
            drop(server);
            outcome
        }
        Err(failure) => {
            leave(settings, &*handler);
            // It is unmounted or, if somebody is in it already, detached: either way nothing more to wait for here.
            Err(failure)
        }
    };
    registry.withdraw(&settings.mountpoint, std::process::id());
    outcome
}

fn listen_for_signals(sender: Sender<Event>) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::internal(format!("signals cannot be received: {error}"));
    // A closed terminal is no reason to end (the signal means that logs were moved); a broken pipe is an error of a write, which the runtime sees to.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(failed)?;
    let thread = thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if sender.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    });
    thread.map(drop).map_err(failed)
}

/// Makes the mount findable, once it answers.
fn announce(settings: &MountSettings, registry: &Registry, handler: &Arc<dyn Handler>) -> Result<Server, Failure> {
    answers(&settings.mountpoint)?;
    let failed = |error: io::Error| Failure::io("making the control socket in", registry.dir(), &error);
    let server = Server::start(registry, &settings.mountpoint, Arc::clone(handler)).map_err(failed)?;
    let entry = Entry {
        pid: std::process::id(),
        mountpoint: settings.mountpoint.clone(),
        backing: settings.backing.clone(),
    };
    registry.announce(&entry).map_err(failed)?;
    Ok(server)
}

fn answers(mountpoint: &Path) -> Result<(), Failure> {
    let facts = statfs(mountpoint).map_err(|errno| Failure::io("looking at the mount", mountpoint, &errno.into()))?;
    if facts.f_type as u64 == FUSE_MAGIC {
        return Ok(());
    }
    let what = format!("{} does not show the volume after mounting", mountpoint.display());
    Err(Failure::new(
        Exit::Internal,
        what,
        "look at the system log for what the kernel says",
    ))
}

fn until_unmounted(settings: &MountSettings, handler: &dyn Handler, events: &Receiver<Event>) -> Result<(), Failure> {
    let mut asked = false;
    loop {
        match events.recv() {
            Ok(Event::Ended(Ok(()))) => {
                tracing::info!("{} is unmounted", settings.mountpoint.display());
                return Ok(());
            }
            Ok(Event::Ended(Err(error))) => {
                return Err(Failure::internal(format!(
                    "serving {} ended: {error}",
                    settings.mountpoint.display()
                )));
            }
            Ok(Event::Signal(SIGHUP)) => handler.reopen_logs(),
            Ok(Event::Signal(signal)) if asked => {
                tracing::warn!("signal {signal}: ending at once; programs that still use the mount get errors");
                flush(handler);
                return Ok(());
            }
            Ok(Event::Signal(signal)) => {
                tracing::info!("signal {signal}: writing back and unmounting");
                // Not under systemd: nobody to tell.
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
                asked = true;
                leave(settings, handler);
            }
            Err(_) => return Err(Failure::internal("the threads of the daemon have gone")),
        }
    }
}

/// Writes back and unmounts; from a mount in use only the name is taken, and it ends when its last user has gone.
fn leave(settings: &MountSettings, handler: &dyn Handler) {
    let flushed = || {
        flush(handler);
        Ok(())
    };
    let Err(failure) = unmount::unmount(&settings.mountpoint, flushed) else {
        return;
    };
    tracing::warn!(
        "{}; it is detached, and ends when nobody uses it any more",
        failure.what
    );
    if let Err(failure) = unmount::detach(&settings.mountpoint) {
        tracing::error!("{}", failure.what);
    }
}

fn flush(handler: &dyn Handler) {
    if let Err(refusal) = handler.flush() {
        tracing::error!("not everything could be made durable: {}", refusal.what);
    }
}
