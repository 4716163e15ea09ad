//! The writes that are under way, so that they can be refused when the volume goes dark while the disk does not take
//! them: a page that is being written stays in the kernel's cache, and can be read there, until its write is answered.

use std::collections::HashMap;

use fuser::{Errno, ReplyWrite};
use parking_lot::Mutex;

/// The writes of one mount.
#[derive(Default)]
pub struct Writes {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: u64,
    /// Those that are not answered.
    owed: HashMap<u64, ReplyWrite>,
    /// How many were refused and go on all the same.
    refused: usize,
}

impl Writes {
    /// Does `work` and answers with its result, unless the write is refused before it is done.
    pub fn answer(&self, reply: ReplyWrite, work: impl FnOnce() -> Result<u32, Errno>) {
        let number = {
            let mut state = self.state.lock();
            state.last += 1;
            let number = state.last;
            state.owed.insert(number, reply);
            number
        };
        let outcome = work();
        let mut state = self.state.lock();
        let Some(reply) = state.owed.remove(&number) else {
            state.refused -= 1;
            return;
        };
        drop(state);
        match outcome {
            Ok(written) => reply.written(written),
            Err(errno) => reply.error(errno),
        }
    }

    /// Refuses all that are under way.
    pub fn refuse(&self) {
        let mut state = self.state.lock();
        let owed = std::mem::take(&mut state.owed);
        state.refused += owed.len();
        drop(state);
        for reply in owed.into_values() {
            reply.error(Errno::from_i32(libc::EKEYREVOKED));
        }
    }

    /// Whether one that was refused is still at work. It might yet write over what is written after it.
    pub fn are_at_work(&self) -> bool {
        self.state.lock().refused > 0
    }
}
