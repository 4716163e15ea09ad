//! Long holes that become entries.
//!
//! A file with more absent runs than its head has room for gives the chunks of the smallest one entries, 32 bytes each. For
//! a run of terabytes these are gigabytes, so they are not sealed all at once: part after part comes first, in a change of
//! its own with a head of its own, after which the file reads as before.

use super::ContentError;
use super::file::{File, Live};
use super::growth::{Growth, is_tight};

impl File {
    /// Makes the change `then`, by which the file gets `size` bytes and the holes that `growth` says of what it is, after
    /// all but the last part of long ones has been done.
    pub(super) fn fill_first(
        &self,
        live: &mut Option<Live>,
        before: Live,
        size: u64,
        growth: impl Fn(&Live) -> Growth,
        then: impl FnOnce(&mut Option<Live>, Live) -> Result<(), ContentError>,
    ) -> Result<(), ContentError> {
        let old = before.head.size;
        let filled = self.fill(live, before, size, growth);
        let done = filled.and_then(|now| then(live, now));
        if done.is_err() {
            self.shorten(live, old);
        }
        done
    }

    fn fill(
        &self,
        live: &mut Option<Live>,
        before: Live,
        size: u64,
        growth: impl Fn(&Live) -> Growth,
    ) -> Result<Live, ContentError> {
        let mut now = before;
        while is_tight(&now.head)
            && let Some(part) = growth(&now).part_of_long(self.geometry(), &now.head)
        {
            let end = self.geometry().plain_offset(part.end).min(size);
            let mut grown = self.grown(&now, now.head.size.max(end), &part)?;
            grown.holes.push(part);
            let beside = self.with_cipher(&now, |cipher| grown.seal(cipher))?;
            self.put(live, grown.next.clone(), beside.edit())?;
            now = grown.next;
        }
        Ok(now)
    }

    /// Takes back what parts have added to the size, because the change that they were for has failed.
    fn shorten(&self, live: &mut Option<Live>, old: u64) {
        if let Some(longer) = live.clone().filter(|now| now.head.size > old)
            && let Err(error) = self.cut_chunks(live, longer, old)
        {
            tracing::warn!(node = %self.node, %error, "a file keeps a hole at its end");
        }
    }
}
