//! Heads of stored files: sealing one with its two MACs, and believing one.
//!
//! Two MACs, because two parties ask. `volume_mac` lets the mount believe identity, size and wrapped key of
//! every file without asking the KMS for the file's own key. `content_mac` is under a key that comes from
//! the data key: HMAC-SHA-256 makes it a commitment (nobody can build a head that two data keys accept),
//! and it lets a single file be unsealed without its volume.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{FileKeys, Key, Tampered, VolumeKeys};
use crate::format::head::{CONTENT_MAC, HEAD_LEN, Head, MAC_LEN, MACED_LEN, OWN_LEN, RawHead, VOLUME_MAC};
use crate::format::{FormatError, NodeId, VolumeId};

/// The image of `head` with both MACs: 2048 bytes for a body in chunks, 1024 for an inline one.
///
/// # Errors
/// [`FormatError`] when the head cannot be written; see [`Head::image`].
pub fn seal_head(head: &Head, file: &FileKeys, volume: &VolumeKeys) -> Result<Vec<u8>, FormatError> {
    let mut image = head.image()?;
    let own = content_mac(&image, &file.header).finalize().into_bytes();
    image[CONTENT_MAC].copy_from_slice(&own);
    let whole = volume_mac(&image, &volume.headers).finalize().into_bytes();
    image[VOLUME_MAC].copy_from_slice(&whole);
    Ok(image)
}

/// Believes a head because the volume's key vouches for it, and checks that it is the head of `node`.
///
/// # Errors
/// [`Tampered`] when it is damaged, of another volume or of another file.
pub fn open_head(raw: &RawHead, volume: VolumeId, node: NodeId, keys: &VolumeKeys) -> Result<Head, Tampered> {
    let vouched = volume_mac(&raw.image, &keys.headers).verify_slice(&raw.image[VOLUME_MAC]);
    vouched.map_err(|_| Tampered)?;
    if raw.head.volume != volume || raw.head.node != node {
        return Err(Tampered);
    }
    Ok(raw.head.clone())
}

/// Checks that the head was sealed under this very data key, before the key is first used.
///
/// # Errors
/// [`Tampered`] when it was not.
pub fn check_commitment(raw: &RawHead, file: &FileKeys) -> Result<(), Tampered> {
    content_mac(&raw.image, &file.header)
        .verify_slice(&raw.image[CONTENT_MAC])
        .map_err(|_| Tampered)
}

fn content_mac(image: &[u8], key: &Key) -> Hmac<Sha256> {
    let mut mac = hmac_of(key);
    mac.update(&image[..OWN_LEN]);
    mac.update(&image[HEAD_LEN..]);
    mac
}

fn volume_mac(image: &[u8], key: &Key) -> Hmac<Sha256> {
    let mut mac = hmac_of(key);
    mac.update(&image[..MACED_LEN]);
    mac.update(&image[HEAD_LEN..]);
    mac
}

/// HMAC-SHA-256 (RFC 2104) under `key`.
#[inline(never)]
pub(super) fn hmac_of(key: &Key) -> Hmac<Sha256> {
    let mac = keyed(key);
    // The crate pads the key in a variable that it does not wipe.
    crate::sys::wipe::stack_below();
    mac
}

#[inline(never)]
#[allow(clippy::expect_used)] // HMAC takes keys of every length.
fn keyed(key: &Key) -> Hmac<Sha256> {
    <Hmac<Sha256> as KeyInit>::new_from_slice(key.expose()).expect("HMAC takes every key")
}

const _: () = assert!(MAC_LEN == 32 && VOLUME_MAC.start == MACED_LEN);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{file_keys, volume_keys};
    use crate::format::head::tests::sample;
    use crate::format::head::{Body, GroupRun};

    fn keys() -> (FileKeys, VolumeKeys) {
        let key = Key::from_slice(&[7; 32]).unwrap();
        let volume = VolumeId([1; 16]);
        (file_keys(&key, volume, NodeId([2; 16])), volume_keys(&key, volume))
    }

    #[test]
    fn every_bit_of_a_head_counts() {
        let (file, volume) = keys();
        let head = sample(1 << 32, Body::Chunked, vec![GroupRun { first: 3, count: 4 }]);
        let image = seal_head(&head, &file, &volume).unwrap();
        let raw = RawHead::parse(&image).unwrap().unwrap();
        assert_eq!(open_head(&raw, head.volume, head.node, &volume), Ok(head.clone()));
        check_commitment(&raw, &file).unwrap();
        for bit in 0..image.len() * 8 {
            let mut image = image.clone();
            image[bit / 8] ^= 1 << (bit % 8);
            let Ok(Some(raw)) = RawHead::parse(&image) else {
                continue;
            };
            assert!(open_head(&raw, head.volume, head.node, &volume).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn another_file_another_volume_another_key() {
        let (file, volume) = keys();
        let head = sample(4096, Body::Chunked, vec![]);
        let raw = RawHead::parse(&seal_head(&head, &file, &volume).unwrap())
            .unwrap()
            .unwrap();
        assert_eq!(open_head(&raw, head.volume, NodeId([9; 16]), &volume), Err(Tampered));
        assert_eq!(open_head(&raw, VolumeId([9; 16]), head.node, &volume), Err(Tampered));
        let other = file_keys(&Key::random(), head.volume, head.node);
        assert_eq!(check_commitment(&raw, &other), Err(Tampered));
    }
}
