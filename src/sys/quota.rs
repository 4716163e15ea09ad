//! Whom the backing's quotas bind: whoever writes, but not what the daemon does with what it has acknowledged.
//!
//! The kernel lets a thread with `CAP_SYS_RESOURCE` pass any quota. The daemon of root has it in reserve (see `fence`),
//! so what its threads write counts for the owner of the file, and is refused as it would be without kmsfs.

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// What lets a thread pass quotas.
pub const PASSES: CapabilitySet = CapabilitySet::SYS_RESOURCE;

/// While it lives, no quota binds this thread. The daemon of an ordinary user stays bound by that user's.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct Unbound {
    before: Option<CapabilitySets>,
}

impl Unbound {
    /// From here on.
    pub fn enter() -> Self {
        let raise = || {
            let before = capabilities(None).ok()?;
            let raised = CapabilitySets {
                effective: before.effective | PASSES,
                ..before
            };
            set_capabilities(None, raised).ok()?;
            Some(before)
        };
        Self { before: raise() }
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        if let Some(before) = self.before
            && let Err(errno) = set_capabilities(None, before)
        {
            tracing::error!("this thread goes on passing quotas: {errno}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fence::drop_capabilities;

    fn passes() -> bool {
        capabilities(None).unwrap().effective.contains(PASSES)
    }

    #[test]
    fn quotas_bind_behind_the_fence_and_for_a_while_they_do_not() {
        let may = capabilities(None).unwrap().permitted.contains(PASSES);
        // On a thread of its own, which takes the fence with it when it ends.
        let test = move || {
            drop_capabilities().unwrap();
            assert!(!passes());
            let outer = Unbound::enter();
            assert_eq!(passes(), may);
            drop(Unbound::enter());
            assert_eq!(passes(), may);
            drop(outer);
            assert!(!passes());
        };
        std::thread::spawn(test).join().unwrap();
    }
}
