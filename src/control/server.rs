//! The daemon's end of the socket: a thread that accepts, and one for each request, of which there are few.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

use super::audit::Event;
use super::message::{Answer, Refusal, Request, receive, send};
use super::{Registry, Status};

/// How long a peer may take to send its line, or to take the answer.
const PEER_PATIENCE: Duration = Duration::from_secs(5);
/// Requests at a time, here and of metrics; a peer beyond that is turned away.
pub(super) const REQUESTS_MAX: usize = 16;

/// What a mount can be asked. Calls may come from several threads at once, and may take their time.
pub trait Handler: Send + Sync {
    /// How it is. Answers also while it is locked.
    fn status(&self) -> Status;
    /// Writes back, then wipes every key. It is locked in any case.
    ///
    /// # Errors
    /// What could not be written back.
    fn lock(&self) -> Result<(), Refusal>;
    /// Asks the KMS for the keys again.
    ///
    /// # Errors
    /// Why it did not.
    fn unlock(&self) -> Result<(), Refusal>;
    /// Makes everything durable.
    ///
    /// # Errors
    /// Why it did not.
    fn flush(&self) -> Result<(), Refusal>;
    /// Its logs may have been moved away.
    fn reopen_logs(&self) {}
    /// It was mounted, or unmounted.
    fn note(&self, _event: &Event) {}
}

/// A socket that is served until this is dropped.
pub struct Server {
    socket: PathBuf,
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves the socket of the mount at `mountpoint`.
    ///
    /// # Errors
    /// The socket cannot be made, or another daemon answers on it.
    pub fn start(registry: &Registry, mountpoint: &Path, handler: Arc<dyn Handler>) -> io::Result<Server> {
        let socket = registry.socket(mountpoint);
        let listener = bind(&socket)?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let stopped = stop.try_clone()?;
        let service = Arc::new(Service {
            handler,
            registry: registry.clone(),
            mountpoint: mountpoint.to_owned(),
        });
        let thread = Builder::new().name("control".into());
        let thread = thread.spawn(move || accept_until(&stopped, &listener, &service))?;
        Ok(Server {
            socket,
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let woken = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            // It does not panic, and if it did there is nothing left to do about it.
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.socket);
    }
}

/// What a request reaches. A lock on demand outlives a crash of this process.
struct Service {
    handler: Arc<dyn Handler>,
    registry: Registry,
    mountpoint: PathBuf,
}

impl Service {
    fn lock(&self) -> Result<(), Refusal> {
        // It is locked also when that had its price.
        let locked = self.handler.lock();
        if let Err(error) = self.registry.mark_locked(&self.mountpoint) {
            tracing::warn!("if this daemon dies, nothing tells the next one that it was locked: {error}");
        }
        locked
    }

    fn unlock(&self) -> Result<(), Refusal> {
        self.handler.unlock()?;
        if let Err(error) = self.registry.mark_unlocked(&self.mountpoint) {
            tracing::warn!("if this daemon dies, the next one takes it for locked: {error}");
        }
        Ok(())
    }
}

fn bind(socket: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(socket).is_ok() {
        let why = format!("another daemon answers on {}", socket.display());
        return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    }
    // Nobody answers: it is not there, or was left by a crash.
    let _ = fs::remove_file(socket);
    let listener = UnixListener::bind(socket)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn accept_until(stop: &OwnedFd, listener: &UnixListener, service: &Arc<Service>) {
    let running = Arc::new(AtomicUsize::new(0));
    loop {
        let mut fds = [PollFd::new(stop, PollFlags::IN), PollFd::new(listener, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) if !fds[0].revents().is_empty() => return,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => {
                tracing::error!("the control socket is closed: {errno}");
                return;
            }
        }
        match listener.accept() {
            Ok((peer, _)) => serve(peer, service, &running),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::warn!("a peer of the control socket was lost: {error}");
                // Out of descriptors, most likely: do not spin.
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

fn serve(peer: UnixStream, service: &Arc<Service>, running: &Arc<AtomicUsize>) {
    if running.load(Ordering::Relaxed) >= REQUESTS_MAX || !is_welcome(&peer) {
        return;
    }
    running.fetch_add(1, Ordering::Relaxed);
    let (service, counter) = (Arc::clone(service), Arc::clone(running));
    let thread = Builder::new().name("control-request".into()).spawn(move || {
        if let Err(error) = answer(&peer, &service) {
            tracing::debug!("a peer of the control socket was not answered: {error}");
        }
        counter.fetch_sub(1, Ordering::Relaxed);
    });
    if thread.is_err() {
        running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The socket's mode keeps others out; this keeps them out also when somebody loosened it.
fn is_welcome(peer: &UnixStream) -> bool {
    match socket_peercred(peer.as_fd()) {
        Ok(peer) => peer.uid.is_root() || peer.uid == geteuid(),
        Err(_) => false,
    }
}

fn answer(peer: &UnixStream, service: &Service) -> io::Result<()> {
    peer.set_nonblocking(false)?;
    peer.set_read_timeout(Some(PEER_PATIENCE))?;
    peer.set_write_timeout(Some(PEER_PATIENCE))?;
    let done = |outcome: Result<(), Refusal>| outcome.map_or_else(Answer::Refused, |()| Answer::Done);
    let answer = match receive(peer)? {
        Request::Status => Answer::Status(Box::new(service.handler.status())),
        Request::Lock => done(service.lock()),
        Request::Unlock => done(service.unlock()),
        Request::Flush => done(service.handler.flush()),
    };
    send(peer, &answer)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Read, Write};

    use super::super::{ClientError, Entry, ask};
    use super::*;

    pub(in crate::control) struct Scripted;

    impl Handler for Scripted {
        fn status(&self) -> Status {
            Status {
                mountpoint: "/m".into(),
                ..Status::default()
            }
        }
        fn lock(&self) -> Result<(), Refusal> {
            Ok(())
        }
        fn unlock(&self) -> Result<(), Refusal> {
            Err(Refusal {
                what: "disabled".into(),
                help: "enable it".into(),
                code: 10,
            })
        }
        fn flush(&self) -> Result<(), Refusal> {
            Ok(())
        }
    }

    fn start() -> (tempfile::TempDir, Registry, Server) {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::at(dir.path().into());
        let server = Server::start(&registry, Path::new("/m"), Arc::new(Scripted)).unwrap();
        (dir, registry, server)
    }

    #[test]
    fn requests_are_answered_until_the_server_is_dropped() {
        let (_dir, registry, server) = start();
        let m = Path::new("/m");
        registry
            .announce(&Entry {
                pid: std::process::id(),
                mountpoint: m.into(),
                backing: m.into(),
            })
            .unwrap();
        let Ok(Answer::Status(status)) = ask(&registry, m, Request::Status) else {
            panic!("no status")
        };
        assert_eq!(status.mountpoint, "/m");
        assert_eq!(ask(&registry, m, Request::Lock).unwrap(), Answer::Done);
        assert!(matches!(ask(&registry, m, Request::Unlock), Ok(Answer::Refused(r)) if r.code == 10));
        drop(server);
        assert!(!registry.socket(m).exists());
        assert!(matches!(ask(&registry, m, Request::Status), Err(ClientError::NoDaemon)));
    }

    #[test]
    fn a_socket_in_use_is_not_taken_and_a_stale_one_is() {
        let (_dir, registry, server) = start();
        assert!(Server::start(&registry, Path::new("/m"), Arc::new(Scripted)).is_err());
        drop(server);
        drop(UnixListener::bind(registry.socket(Path::new("/m"))).unwrap());
        Server::start(&registry, Path::new("/m"), Arc::new(Scripted)).unwrap();
    }

    #[test]
    fn nonsense_is_hung_up_on_and_the_next_is_served() {
        let (_dir, registry, _server) = start();
        let mut peer = UnixStream::connect(registry.socket(Path::new("/m"))).unwrap();
        peer.write_all(b"{\"op\":\"format\"}\n").unwrap();
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"");
        assert_eq!(ask(&registry, Path::new("/m"), Request::Flush).unwrap(), Answer::Done);
    }

    #[test]
    fn the_socket_is_private() {
        use std::os::unix::fs::MetadataExt;
        let (_dir, registry, _server) = start();
        let facts = fs::metadata(registry.socket(Path::new("/m"))).unwrap();
        assert_eq!(facts.mode() & 0o777, 0o600);
    }
}
