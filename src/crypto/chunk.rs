//! Chunks of content: sealed with a fresh random nonce, bound to their file and their index.

use super::aead::{Cipher, Tampered};
use super::{FileKeys, Key};
use crate::format::NodeId;
use crate::format::entry::{Entry, NONCE_LEN};
use crate::format::ids::random_bytes;

const LABEL: &[u8; 8] = b"chunk\0\0\x01";

/// Seals and opens the chunks of one file.
pub struct ChunkCipher {
    cipher: Cipher,
    node: NodeId,
}

/// Nonces for a run of chunks, drawn with one call to the operating system.
struct Nonces(Vec<u8>);

impl ChunkCipher {
    /// The cipher for the content of the file `node`.
    #[must_use]
    pub fn new(keys: &FileKeys, node: NodeId) -> Self {
        let content: &Key = &keys.content;
        Self {
            cipher: Cipher::new(content),
            node,
        }
    }

    /// Seals consecutive chunks from `first` on: `plain`, whole chunks of `chunk_size` bytes but for the
    /// last, into `stored`, which has the same length. Appends an entry for each to `entries`.
    pub fn seal_run(&self, first: u64, chunk_size: usize, plain: &[u8], stored: &mut [u8], entries: &mut Vec<Entry>) {
        let mut nonces = Nonces::draw(plain.len().div_ceil(chunk_size));
        let pairs = plain.chunks(chunk_size).zip(stored.chunks_mut(chunk_size));
        for (index, (plain, stored)) in (first..).zip(pairs) {
            let nonce = nonces.next();
            let tag = self.cipher.seal(&nonce, &self.ad(index), plain, stored);
            // A chunk has at most 1 MiB.
            entries.push(Entry::new(nonce, tag, plain.len() as u32));
        }
    }

    /// Entries that say that the chunks from `first` on are holes.
    #[must_use]
    pub fn seal_holes(&self, first: u64, count: usize) -> Vec<Entry> {
        let mut nonces = Nonces::draw(count);
        let hole = |index| {
            let nonce = nonces.next();
            let tag = self.cipher.seal(&nonce, &self.ad(index), &[], &mut []);
            Entry::new(nonce, tag, 0)
        };
        (first..first + count as u64).map(hole).collect()
    }

    /// Opens chunk `index` where it lies. `bytes` has the entry's length; none for a hole, which is
    /// authenticated all the same.
    ///
    /// # Errors
    /// [`Tampered`] when it is not this file's chunk `index`.
    pub fn open(&self, index: u64, entry: &Entry, bytes: &mut [u8]) -> Result<(), Tampered> {
        self.cipher.open(&entry.nonce, &self.ad(index), bytes, &entry.tag)
    }

    fn ad(&self, index: u64) -> [u8; 32] {
        let mut ad = [0; 32];
        ad[..8].copy_from_slice(LABEL);
        ad[8..24].copy_from_slice(&self.node.0);
        ad[24..].copy_from_slice(&index.to_le_bytes());
        ad
    }
}

impl Nonces {
    #[allow(clippy::expect_used)] // Without randomness no nonce is safe; there is nothing to fall back on.
    fn draw(count: usize) -> Self {
        if count == 1 {
            return Self(random_bytes::<NONCE_LEN>().to_vec());
        }
        let mut bytes = vec![0; count * NONCE_LEN];
        getrandom::fill(&mut bytes).expect("the operating system's random source answers");
        Self(bytes)
    }

    fn next(&mut self) -> [u8; NONCE_LEN] {
        let at = self.0.len() - NONCE_LEN;
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&self.0[at..]);
        self.0.truncate(at);
        nonce
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::file_keys;
    use crate::format::VolumeId;

    fn cipher(node: u8) -> ChunkCipher {
        let key = Key::from_slice(&[7; 32]).unwrap();
        let node = NodeId([node; 16]);
        ChunkCipher::new(&file_keys(&key, VolumeId([3; 16]), node), node)
    }

    #[test]
    fn opens_only_where_it_was_sealed() {
        let plain: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
        let mut stored = vec![0; plain.len()];
        let mut entries = Vec::new();
        cipher(1).seal_run(5, 4096, &plain, &mut stored, &mut entries);
        assert_eq!(entries.iter().map(Entry::len).collect::<Vec<_>>(), [4096, 4096, 1808]);
        let mut chunk = stored[4096..8192].to_vec();
        cipher(1).open(6, &entries[1], &mut chunk).unwrap();
        assert_eq!(chunk, plain[4096..8192]);
        let again = || stored[4096..8192].to_vec();
        assert_eq!(cipher(1).open(5, &entries[1], &mut again()), Err(Tampered));
        assert_eq!(cipher(2).open(6, &entries[1], &mut again()), Err(Tampered));
        assert_eq!(cipher(1).open(6, &entries[0], &mut again()), Err(Tampered));
        assert_eq!(cipher(1).open(6, &entries[1], &mut again()[..4095]), Err(Tampered));
    }

    #[test]
    fn a_hole_is_sealed_too() {
        let holes = cipher(1).seal_holes(9, 3);
        cipher(1).open(10, &holes[1], &mut []).unwrap();
        assert_eq!(cipher(1).open(11, &holes[1], &mut []), Err(Tampered));
        assert_eq!(cipher(1).open(0, &Entry::UNWRITTEN, &mut []), Err(Tampered));
    }
}
