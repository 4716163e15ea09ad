//! Protections that a test can take out, to show that the crash loop notices.

use std::cell::Cell;

/// A protection that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutation {
    /// The journal is called durable without having been synced.
    NoJournalSync,
    /// The head is durable before the chunks that it refers to.
    SizeBeforeData,
    /// A commit does not say which head it is about to make durable.
    NoAnnouncement,
    /// A segment whose content is in its places is left for recovery to see.
    NoRetirement,
    /// Recovery does not know that a cut makes earlier records void.
    NoVoid,
}

thread_local! {
    static MISSING: Cell<Option<Mutation>> = const { Cell::new(None) };
}

/// Whether a protection is missing in this thread.
pub(super) fn is(mutation: Mutation) -> bool {
    MISSING.get() == Some(mutation)
}

/// Takes a protection out of this thread's store, or puts all back.
pub(super) fn set(mutation: Option<Mutation>) {
    MISSING.set(mutation);
}
