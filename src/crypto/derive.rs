//! All key derivation on one page: HKDF-SHA-256 (RFC 5869), one label for each use.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::Key;
use crate::format::{NodeId, VolumeId};

const CONTENT: &[u8] = b"kmsfs 1 file content";
const HEADER: &[u8] = b"kmsfs 1 file header";
const NAMES: &[u8] = b"kmsfs 1 volume names";
const HEADERS: &[u8] = b"kmsfs 1 volume headers";
const VALUES: &[u8] = b"kmsfs 1 volume values";
const DESCRIPTOR: &[u8] = b"kmsfs 1 volume descriptor";

/// The subkeys of one file. Two files have different ones even where they share a data key.
#[derive(Debug)]
pub struct FileKeys {
    /// Seals the chunks.
    pub content: Key,
    /// Authenticates the head, and commits it to the data key.
    pub header: Key,
}

/// The subkeys of the volume key.
#[derive(Debug)]
pub struct VolumeKeys {
    /// Seals plain names.
    pub names: Key,
    /// Authenticates heads, so that sizes can be believed without the file's own key.
    pub headers: Key,
    /// Seals symlink targets and extended attributes.
    pub values: Key,
    /// Authenticates the volume descriptor.
    pub descriptor: Key,
}

/// Derives the subkeys of the file `node`; the volume and the file's identity are the salt.
#[must_use]
pub fn file_keys(data_key: &Key, volume: VolumeId, node: NodeId) -> FileKeys {
    let salt = [volume.0, node.0].concat();
    FileKeys {
        content: expand(data_key, &salt, CONTENT),
        header: expand(data_key, &salt, HEADER),
    }
}

/// Derives the subkeys of the volume; its identity is the salt.
#[must_use]
pub fn volume_keys(volume_key: &Key, volume: VolumeId) -> VolumeKeys {
    let expand = |label| expand(volume_key, &volume.0, label);
    VolumeKeys {
        names: expand(NAMES),
        headers: expand(HEADERS),
        values: expand(VALUES),
        descriptor: expand(DESCRIPTOR),
    }
}

#[allow(clippy::expect_used)] // 32 bytes are within RFC 5869's limit of 255 × 32.
fn expand(key: &Key, salt: &[u8], label: &[u8]) -> Key {
    let mut bytes = Zeroizing::new([0; 32]);
    let hkdf = Hkdf::<Sha256>::new(Some(salt), key.expose());
    hkdf.expand(label, &mut *bytes).expect("32 bytes can be derived");
    Key::from_slice(&*bytes).expect("they are 32")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_use_and_every_file_has_its_own_key() {
        let key = Key::from_slice(&[7; 32]).unwrap();
        let (one, two) = (NodeId([1; 16]), NodeId([2; 16]));
        let volume = VolumeId([3; 16]);
        let (a, b) = (file_keys(&key, volume, one), file_keys(&key, volume, two));
        let v = volume_keys(&key, volume);
        let all = [
            &a.content,
            &a.header,
            &b.content,
            &b.header,
            &v.names,
            &v.headers,
            &v.values,
            &v.descriptor,
        ];
        let distinct: std::collections::HashSet<_> = all.iter().map(|key| *key.expose()).collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(a.content.expose(), file_keys(&key, volume, one).content.expose());
    }
}
