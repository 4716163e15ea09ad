//! Keys fetched ahead of opens, for a KMS that takes milliseconds: who walks through a directory and opens its files
//! finds most keys there already. Some threads read heads and ask; an open never waits for them, unless they are just
//! asking for the key that it needs.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use parking_lot::{Condvar, Mutex};

use super::attr::read_head;
use super::error::Result;
use super::filesystem::Fs;
use super::inodes::{Inode, Place};
use super::io::stored_key;
use super::scan::{Candidate, Scan};
use super::spot::Spot;
use super::types::Kind;
use crate::format::NodeId;
use crate::keys::KeyError;
use crate::volume::Volume;

/// Directories whose walks are followed at a time.
const SCANS: NonZeroUsize = NonZeroUsize::new(8).unwrap();
/// A thread without work ends after this time.
const IDLE: Duration = Duration::from_secs(5);

/// The threads, and what they know. Dropped, it lets them end.
pub struct Ahead {
    shared: Arc<Shared>,
    limit: usize,
}

struct Shared {
    volume: Arc<Volume>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    walks: LruCache<u64, Walk>,
    /// Whether the last walk went on from file to file.
    momentum: bool,
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
    stop: bool,
}

/// What is known of the opens in a directory.
enum Walk {
    /// One cold open.
    Begun(NodeId),
    /// Enough of them to know the directory's files.
    Followed(Scan),
}

struct Job {
    directory: Arc<OwnedFd>,
    file: Candidate,
}

impl Ahead {
    /// What fetches ahead for `volume`; none where its KMS is as fast as that.
    pub fn new(volume: &Arc<Volume>) -> Option<Ahead> {
        let limit = volume.keyring.ahead();
        let state = State {
            walks: LruCache::new(SCANS),
            momentum: false,
            queue: VecDeque::new(),
            threads: 0,
            idle: 0,
            stop: false,
        };
        let shared = Shared {
            volume: Arc::clone(volume),
            state: Mutex::new(state),
            changed: Condvar::new(),
        };
        (limit > 0).then(|| Ahead {
            shared: Arc::new(shared),
            limit,
        })
    }

    /// Whether the files of a directory have to be known to follow a walk there, after an open of `node`.
    fn wants_files(&self, directory: u64, node: NodeId, cold: bool) -> bool {
        let mut state = self.shared.state.lock();
        let momentum = state.momentum;
        match state.walks.get(&directory) {
            Some(Walk::Followed(_)) => false,
            _ if !cold => false,
            Some(Walk::Begun(_)) => true,
            None => {
                state.walks.put(directory, Walk::Begun(node));
                momentum
            }
        }
    }

    /// Follows the walk in a directory, from now on with its `files` if they are given.
    fn follow(&self, place: (u64, &Arc<OwnedFd>), node: NodeId, cold: bool, scan: Option<Scan>) {
        let (ino, directory) = place;
        let mut state = self.shared.state.lock();
        if let Some(mut scan) = scan {
            match state.walks.get(&ino) {
                Some(Walk::Begun(first)) if *first != node => scan.begin(*first),
                _ => {}
            }
            state.walks.put(ino, Walk::Followed(scan));
        }
        let momentum = state.momentum;
        let Some(Walk::Followed(scan)) = state.walks.get_mut(&ino) else {
            return;
        };
        let next = scan.opened(node, cold, momentum, self.limit);
        let goes_on = scan.goes_on();
        state.momentum = goes_on;
        // Who is far behind is behind for good.
        while state.queue.len() + next.len() > 4 * self.limit && state.queue.pop_front().is_some() {}
        state.queue.extend(next.into_iter().map(|file| Job {
            directory: Arc::clone(directory),
            file,
        }));
        self.hire(&mut state);
        self.shared.changed.notify_all();
    }

    /// Starts threads for what waits, as far as there are not enough.
    fn hire(&self, state: &mut State) {
        let most = self.shared.volume.keyring.concurrency();
        while state.threads < most && state.idle < state.queue.len() {
            let shared = Arc::clone(&self.shared);
            let name = format!("key-ahead-{}", state.threads);
            // Without a thread, opens ask for themselves.
            let Ok(_) = std::thread::Builder::new().name(name).spawn(move || shared.work()) else {
                return;
            };
            (state.threads, state.idle) = (state.threads + 1, state.idle + 1);
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.stop = true;
        state.queue.clear();
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Shared {
    /// The life of a thread.
    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                state.idle -= 1;
                drop(state);
                let outcome = self.fetch(&job);
                drop(job);
                state = self.state.lock();
                state.idle += 1;
                if outcome.is_err() {
                    // So it would be with the others; who opens a file hears why.
                    state.queue.clear();
                }
                continue;
            }
            let rested = !state.stop && !self.changed.wait_for(&mut state, IDLE).timed_out();
            if state.queue.is_empty() && !rested {
                (state.threads, state.idle) = (state.threads - 1, state.idle - 1);
                return;
            }
        }
    }

    /// Fetches the key of one file.
    ///
    /// # Errors
    /// What concerns all files.
    fn fetch(&self, job: &Job) -> std::result::Result<(), KeyError> {
        let spot = Spot::Named(Arc::clone(&job.directory), job.file.stored.clone());
        let read = |page: &mut [u8]| Ok(read_head(&spot, page)?);
        // A file that is empty, damaged or gone meanwhile has nothing to be fetched; its opener hears of it.
        let Ok(Some((id, wrapped))) = stored_key(&self.volume, job.file.node, read) else {
            return Ok(());
        };
        match self.volume.keyring.fetch_ahead(job.file.node, id, &wrapped) {
            Err(KeyError::Kms(error)) if !error.concerns_all() => Ok(()),
            Err(KeyError::NotAllowed { .. }) => Ok(()),
            other => other,
        }
    }
}

impl Fs {
    /// Notes that `inode` was opened, for the sake of those that come after it; `cold` says that the KMS was asked.
    pub(super) fn note_opened(&self, inode: &Arc<Inode>, cold: bool) {
        if let Some(ahead) = &self.ahead
            && let Err(error) = self.follow_walk(ahead, inode, cold)
        {
            error.log("fetching keys ahead");
        }
    }

    fn follow_walk(&self, ahead: &Ahead, inode: &Arc<Inode>, cold: bool) -> Result<()> {
        let Place::Named(link) = self.inodes.place(inode.ino)? else {
            return Ok(());
        };
        let parent = self.inode(link.parent)?;
        let scan = match ahead.wants_files(parent.ino, inode.node, cold) {
            true => Some(self.scan(&parent)?),
            false => None,
        };
        let directory = self.directory(&parent)?;
        ahead.follow((parent.ino, &directory), inode.node, cold, scan);
        Ok(())
    }

    /// The files of a directory, in the order of listings.
    fn scan(&self, directory: &Arc<Inode>) -> Result<Scan> {
        let names = self.names(directory)?;
        let files = names.iter().filter(|(_, entry)| entry.kind == Kind::File);
        let mut files: Vec<_> = files
            .map(|(plain, entry)| {
                let file = Candidate {
                    node: entry.node,
                    stored: entry.stored.clone(),
                };
                (self.ino_of(entry.inode), file, Box::<[u8]>::from(plain))
            })
            .collect();
        drop(names);
        files.sort_unstable_by_key(|(ino, ..)| *ino);
        Ok(Scan::new(
            files.into_iter().map(|(_, file, plain)| (file, plain)).collect(),
        ))
    }
}
