//! Where answers to reads are collected: buffers that are kept, because a large one costs more to make than to fill.

use parking_lot::Mutex;
use zeroize::Zeroize;

/// The buffers of one mount.
#[derive(Default)]
pub struct Buffers {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: Vec<Vec<u8>>,
    /// Counts the wipes: what was taken out before one is not put back after it.
    wipes: u64,
}

impl Buffers {
    /// Uses a buffer, which holds whatever it held before.
    pub fn with<R>(&self, fill: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let (mut buffer, wipes) = {
            let mut state = self.state.lock();
            (state.idle.pop().unwrap_or_default(), state.wipes)
        };
        let filled = fill(&mut buffer);
        let mut state = self.state.lock();
        match state.wipes == wipes {
            true => state.idle.push(buffer),
            false => {
                drop(state);
                buffer.zeroize();
            }
        }
        filled
    }

    /// Wipes them all; those in use when their use ends.
    pub fn wipe(&self) {
        let mut state = self.state.lock();
        state.wipes += 1;
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        for mut buffer in idle {
            buffer.zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_kept_until_they_are_wiped() {
        let buffers = Buffers::default();
        buffers.with(|buffer| buffer.extend_from_slice(b"plain"));
        assert_eq!(buffers.with(|buffer| buffer.clone()), b"plain");
        buffers.with(|buffer| {
            buffers.wipe();
            assert_eq!(buffer, b"plain");
        });
        assert_eq!(buffers.with(|buffer| buffer.clone()), b"");
    }
}
