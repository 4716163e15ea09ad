//! Making the kernel write out what it holds back, before a question about a file's data is answered, or everything
//! is made durable.
//!
//! With its writeback cache the kernel asks where data and holes are without writing first. The answer would
//! leave out what was written lately, and `cp` would make holes of it. So while a file is open for writing, the
//! kernel is told to drop its pages, for which it has to write the dirty ones. That happens on a thread of its
//! own: those writes come in as requests, and the threads that serve requests must be free for them.

use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::sync::{Arc, OnceLock};

use fuser::{INodeNo, Notifier};

type Job = (Vec<INodeNo>, Box<dyn FnOnce() + Send>);

/// The thread, which ends when this is dropped.
pub struct Flusher {
    jobs: Sender<Job>,
}

impl Flusher {
    /// Starts the thread. `notifier` is filled in when the mount is there.
    pub fn new(notifier: Arc<OnceLock<Notifier>>) -> Self {
        let (jobs, work) = channel();
        let name = "kmsfs-flusher".to_owned();
        let started = std::thread::Builder::new()
            .name(name)
            .spawn(move || serve(&work, &notifier));
        if let Err(error) = started {
            tracing::error!(%error, "no thread for flushing; the jobs are done without");
        }
        Self { jobs }
    }

    /// Does `job` when the kernel has written out what it holds of `inodes`.
    pub fn after_writeback(&self, inodes: Vec<INodeNo>, job: impl FnOnce() + Send + 'static) {
        if let Err(SendError((_, job))) = self.jobs.send((inodes, Box::new(job))) {
            job();
        }
    }
}

fn serve(work: &Receiver<Job>, notifier: &OnceLock<Notifier>) {
    for (inodes, job) in work {
        for ino in inodes {
            if let Some(notifier) = notifier.get()
                && let Err(error) = notifier.inval_inode(ino, 0, 0)
            {
                tracing::debug!(%error, "the kernel keeps dirty pages of {ino}");
            }
        }
        job();
    }
}
