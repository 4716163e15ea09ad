//! Who answers for a dark volume when all threads that serve wait for a disk that hangs: programs get an error then, and
//! do not wait as well.
//!
//! The doorman leaves every request to the threads that serve. Only when nobody has taken one for a while does he take
//! what waits, and refuses it, whatever it is: he has no keys and asks no disk.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use zeroize::Zeroize;

use super::capabilities::REQUEST_MAX;

/// How long requests wait for the threads that serve.
const OVERDUE: Duration = Duration::from_millis(200);
const LOOK: Duration = Duration::from_millis(10);
/// `struct fuse_in_header` of `linux/fuse.h`, and the largest structure that may follow it before the data.
const HEADER: usize = 40;
const ROOM: usize = REQUEST_MAX as usize + 4096;

const FORGET: u32 = 2;
const RELEASE: u32 = 18;
const RELEASE_DIRECTORY: u32 = 29;
const INTERRUPT: u32 = 36;
const FORGET_MANY: u32 = 42;

/// What the kernel lets go of, which is no question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// So many look-ups of an inode.
    Inode(u64, u64),
    /// An open file.
    File(u64),
    /// An open directory.
    Directory(u64),
}

/// A doorman at work. Dropping him sends him away, and waits until he has gone.
pub struct Doorman {
    bell: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Doorman {
    /// Has one stand at `device`, a descriptor that does not wait. `served` counts what the threads that serve have done;
    /// `see_off` is told of whatever leaves.
    ///
    /// # Errors
    /// There is no thread, or no descriptor.
    pub fn start(
        device: Arc<OwnedFd>,
        served: impl Fn() -> usize + Send + 'static,
        see_off: impl Fn(Leaving) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let see_off = Arc::new(see_off);
        let door = Door {
            device,
            bell: Arc::clone(&bell),
            served: Box::new(served),
        };
        let work = move || door.stand(&see_off);
        let thread = Some(Builder::new().name("kmsfs-doorman".into()).spawn(work)?);
        Ok(Self { bell, thread })
    }
}

impl Drop for Doorman {
    fn drop(&mut self) {
        let rung = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        if let (Ok(_), Some(thread)) = (rung, self.thread.take()) {
            // He does not panic, and if he did there is nothing left to do about it.
            let _ = thread.join();
        }
    }
}

struct Door {
    device: Arc<OwnedFd>,
    bell: Arc<OwnedFd>,
    served: Box<dyn Fn() -> usize + Send>,
}

impl Door {
    fn stand<F: Fn(Leaving) + Send + Sync + 'static>(&self, see_off: &Arc<F>) {
        let mut request = Vec::new();
        while self.has_overdue() {
            request.resize(ROOM, 0);
            loop {
                match rustix::io::read(&self.device, &mut request) {
                    Ok(len) => self.refuse(request.get(..len).unwrap_or_default(), see_off),
                    Err(Errno::INTR | Errno::NOENT) => {}
                    // Somebody serves again, or nothing waits any more.
                    Err(Errno::AGAIN) => break,
                    // Unmounted.
                    Err(_) => return,
                }
            }
            request.zeroize();
        }
    }

    /// Waits until a request is overdue, which means that requests wait and nobody serves any; `false` when somebody has
    /// rung.
    fn has_overdue(&self) -> bool {
        let mut waiting: Option<(Instant, usize)> = None;
        loop {
            let pause = waiting.map(|_| LOOK);
            let Some(waits) = self.look(pause) else {
                return false;
            };
            let served = (self.served)();
            waiting = match waiting {
                _ if !waits => None,
                Some((since, before)) if before == served => Some((since, before)),
                _ => Some((Instant::now(), served)),
            };
            if waiting.is_some_and(|(since, _)| since.elapsed() >= OVERDUE) {
                return true;
            }
            if waiting.is_some() {
                std::thread::sleep(LOOK);
            }
        }
    }

    /// Whether a request waits; waits for one itself, for a while if that is given. `None` when somebody has rung.
    fn look(&self, patience: Option<Duration>) -> Option<bool> {
        let patience = patience.map(|time| Timespec {
            tv_sec: 0,
            tv_nsec: time.subsec_nanos().into(),
        });
        let mut fds = [
            PollFd::from_borrowed_fd(self.bell.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.device.as_fd(), PollFlags::IN),
        ];
        let polled = poll(&mut fds, patience.as_ref());
        let [bell, device] = fds.map(|fd| fd.revents());
        match polled {
            Ok(_) if bell.is_empty() => Some(!device.is_empty()),
            Err(Errno::INTR) => Some(false),
            _ => None,
        }
    }

    fn refuse<F: Fn(Leaving) + Send + Sync + 'static>(&self, request: &[u8], see_off: &Arc<F>) {
        let (Some(code), Some(unique)) = (number32(request, 4), number64(request, 8)) else {
            return;
        };
        let leaving = leaving(code, request);
        if !leaving.is_empty() {
            let see_off = Arc::clone(see_off);
            // What is closed now may have to wait for the disk too.
            let away = Builder::new().spawn(move || leaving.into_iter().for_each(|leaving| see_off(leaving)));
            if let Err(error) = away {
                tracing::debug!(%error, "what the kernel has let go of stays");
            }
        }
        if [FORGET, FORGET_MANY, INTERRUPT].contains(&code) {
            return;
        }
        let error = match code {
            RELEASE | RELEASE_DIRECTORY => 0,
            _ => -libc::EKEYREVOKED,
        };
        // struct fuse_out_header: length, error, the request that it answers.
        let mut answer = [0; 16];
        answer[..4].copy_from_slice(&16u32.to_ne_bytes());
        answer[4..8].copy_from_slice(&error.to_ne_bytes());
        answer[8..].copy_from_slice(&unique.to_ne_bytes());
        // Whoever asked may have gone.
        let _ = rustix::io::write(&self.device, &answer);
    }
}

fn leaving(code: u32, request: &[u8]) -> Vec<Leaving> {
    let inode = number64(request, 16);
    let first = number64(request, HEADER);
    let one = match (code, inode, first) {
        (FORGET, Some(inode), Some(count)) => Some(Leaving::Inode(inode, count)),
        (RELEASE, _, Some(handle)) => Some(Leaving::File(handle)),
        (RELEASE_DIRECTORY, _, Some(handle)) => Some(Leaving::Directory(handle)),
        _ => None,
    };
    // struct fuse_batch_forget_in: how many, nothing; then inode and count of each.
    let many = request.get(HEADER + 8..).filter(|_| code == FORGET_MANY);
    let many = many.unwrap_or_default().chunks_exact(16);
    let many = many.filter_map(|pair| Some(Leaving::Inode(number64(pair, 0)?, number64(pair, 8)?)));
    one.into_iter().chain(many).collect()
}

fn number32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn number64(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, channel};

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    /// A device that is a socket: each message a request, and each answer one.
    struct Scene {
        device: Arc<OwnedFd>,
        kernel: OwnedFd,
        leaving: Receiver<Leaving>,
        _doorman: Doorman,
    }

    /// Whenever the doorman looks, `step` calls have ended.
    fn scene(step: usize) -> Scene {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (device, kernel) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let device = Arc::new(device);
        let (left, leaving) = channel();
        let served = AtomicUsize::new(0);
        let doorman = Doorman::start(
            Arc::clone(&device),
            move || served.fetch_add(step, Ordering::SeqCst),
            move |leaving| left.send(leaving).unwrap(),
        );
        Scene {
            device,
            kernel,
            leaving,
            _doorman: doorman.unwrap(),
        }
    }

    fn request(code: u32, unique: u64, inode: u64, body: &[u64]) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend(code.to_ne_bytes());
        bytes.extend(unique.to_ne_bytes());
        bytes.extend(inode.to_ne_bytes());
        bytes.resize(HEADER, 0);
        body.iter().for_each(|number| bytes.extend(number.to_ne_bytes()));
        bytes
    }

    fn answer(kernel: &OwnedFd) -> (i32, u64) {
        let mut fds = [PollFd::new(kernel, PollFlags::IN)];
        let patience = Timespec { tv_sec: 20, tv_nsec: 0 };
        assert_eq!(poll(&mut fds, Some(&patience)), Ok(1), "no answer");
        let mut bytes = [0; 16];
        assert_eq!(rustix::io::read(kernel, &mut bytes), Ok(16));
        let error = i32::from_ne_bytes(*bytes[4..].first_chunk().unwrap());
        (error, number64(&bytes, 8).unwrap())
    }

    #[test]
    fn what_nobody_takes_is_refused_and_who_leaves_is_seen_off() {
        let scene = scene(0);
        let read = 15;
        for message in [
            request(read, 7, 1, &[3, 0]),
            request(FORGET, 8, 5, &[2]),
            request(FORGET_MANY, 9, 0, &[2, 6, 1, 7, 4]),
            request(RELEASE, 10, 5, &[3]),
            request(RELEASE_DIRECTORY, 11, 5, &[4]),
            request(INTERRUPT, 12, 0, &[7]),
            vec![0; 3],
            request(read, 13, 1, &[]),
        ] {
            rustix::io::write(&scene.kernel, &message).unwrap();
        }
        let revoked = -libc::EKEYREVOKED;
        for expected in [(revoked, 7), (0, 10), (0, 11), (revoked, 13)] {
            assert_eq!(answer(&scene.kernel), expected);
        }
        let mut left: Vec<_> = (0..5).map(|_| scene.leaving.recv().unwrap()).collect();
        left.sort_by_key(|leaving| format!("{leaving:?}"));
        let expected = [
            Leaving::Directory(4),
            Leaving::File(3),
            Leaving::Inode(5, 2),
            Leaving::Inode(6, 1),
            Leaving::Inode(7, 4),
        ];
        assert_eq!(left, expected);
    }

    #[test]
    fn as_long_as_somebody_serves_nothing_is_taken_away() {
        // Each time that he looks, one more call has ended.
        let scene = scene(1);
        rustix::io::write(&scene.kernel, &request(15, 7, 1, &[])).unwrap();
        std::thread::sleep(OVERDUE * 3);
        assert!(rustix::io::read(&scene.device, &mut [0; 100]).is_ok(), "taken away");
    }
}
