//! What a file must hold after a crash: everything up to its last acknowledged sync, and of what was done since
//! then each chunk and the size as they were after any of the steps. Kept outside of the mount, in this process
//! and, for whoever looks into a failure, as lines of a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::ops::RangeInclusive;

/// What the kernel writes back, and what kmsfs seals, as one.
pub const CHUNK: usize = 4096;

/// One file's past.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    /// What a reader sees.
    pub now: Vec<u8>,
    /// A write that makes the file longer may get as far as it likes.
    sizes: Vec<RangeInclusive<usize>>,
    /// Of every chunk what it was at the last sync and after every step since, zeros behind the end.
    chunks: BTreeMap<usize, Vec<Vec<u8>>>,
}

fn chunk(content: &[u8], index: usize) -> Vec<u8> {
    let start = (index * CHUNK).min(content.len());
    let mut bytes = content[start..content.len().min(start + CHUNK)].to_vec();
    bytes.resize(CHUNK, 0);
    bytes
}

impl Ledger {
    /// The file is just that, durably.
    pub fn of(content: Vec<u8>) -> Self {
        let mut ledger = Self {
            now: content,
            ..Self::default()
        };
        ledger.acknowledged();
        ledger
    }

    /// It may be that from now on: call it before it is tried.
    pub fn may_become(&mut self, next: Vec<u8>) {
        let before = self.now.len().div_ceil(CHUNK);
        for index in 0..before.max(next.len().div_ceil(CHUNK)) {
            let (old, new) = (chunk(&self.now, index), chunk(&next, index));
            let states = self.chunks.entry(index).or_insert_with(|| vec![old.clone()]);
            if old != new {
                states.push(new);
            }
        }
        self.sizes.push(self.now.len().min(next.len())..=next.len());
        self.now = next;
    }

    /// A sync of what it is now was acknowledged.
    pub fn acknowledged(&mut self) {
        self.sizes = vec![self.now.len()..=self.now.len()];
        self.chunks.clear();
        for index in 0..self.now.len().div_ceil(CHUNK) {
            self.chunks.insert(index, vec![chunk(&self.now, index)]);
        }
    }

    /// Holds `found` against what may be.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, found: &[u8]) -> Result<(), String> {
        if !self.sizes.iter().any(|sizes| sizes.contains(&found.len())) {
            return Err(format!("{} bytes long, not {:?}", found.len(), self.sizes));
        }
        for index in 0..found.len().div_ceil(CHUNK) {
            let is = &found[index * CHUNK..found.len().min((index + 1) * CHUNK)];
            let states = self.chunks.get(&index).map_or(&[][..], Vec::as_slice);
            if !states.iter().any(|state| state[..is.len()] == *is) {
                let first = states.first().map(|state| differs(state, is));
                let count = states.len();
                return Err(format!(
                    "chunk {index} is none of {count} states; differs from the acknowledged one at {first:?}"
                ));
            }
        }
        Ok(())
    }
}

fn differs(a: &[u8], b: &[u8]) -> Option<usize> {
    a.iter().zip(b).position(|(a, b)| a != b)
}

/// Lines of what was acknowledged.
pub struct Record(pub File);

impl Record {
    /// Adds one.
    pub fn line(&mut self, text: &str) {
        writeln!(self.0, "{text}").unwrap();
    }
}

#[test]
fn a_ledger_notices() {
    let mut ledger = Ledger::of(vec![1; 10_000]);
    assert!(ledger.check(&[1; 10_000]).is_ok());
    assert!(ledger.check(&[1; 9_999]).is_err());
    let mut next = vec![1; 12_000];
    next[..6_000].fill(2);
    ledger.may_become(next.clone());
    assert!(ledger.check(&[1; 10_000]).is_ok() && ledger.check(&next).is_ok());
    let mut torn = next.clone();
    torn[CHUNK..6_000].fill(1);
    assert!(ledger.check(&torn).is_ok(), "chunk by chunk is allowed");
    torn[100] = 1;
    assert!(ledger.check(&torn).is_err(), "within a chunk is not");
    ledger.acknowledged();
    assert!(ledger.check(&[1; 10_000]).is_err());
}
