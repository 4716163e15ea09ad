//! AES-256-EAX, a message in pieces: the cipher of the envelope file of the KMS best-practice guide (chapter 3). Its
//! nonce has 16 bytes and there is no header data. kmsfs's own files are sealed by `chunk`.

use aes::Aes256;
use eax::online::{Decrypt, Eax, Encrypt};

use super::{Key, Tampered};

/// Bytes of a nonce.
pub const NONCE_LEN: usize = 16;
/// Bytes of a tag.
pub const TAG_LEN: usize = 16;

/// Seals one message.
pub struct EnvelopeSealer(Eax<Aes256, Encrypt>);

impl EnvelopeSealer {
    /// For one message under `key`; the nonce must never have been used with it.
    #[must_use]
    pub fn new(key: &Key, nonce: &[u8; NONCE_LEN]) -> Self {
        Self(Eax::with_key_and_nonce(key.expose().into(), nonce.into()))
    }

    /// Seals the next bytes where they lie.
    pub fn seal(&mut self, bytes: &mut [u8]) {
        self.0.encrypt(bytes);
    }

    /// The tag over everything.
    #[must_use]
    pub fn finish(self) -> [u8; TAG_LEN] {
        self.0.finish().into()
    }
}

/// Opens one message. What it gives is not to be believed before [`EnvelopeOpener::finish`].
pub struct EnvelopeOpener(Eax<Aes256, Decrypt>);

impl EnvelopeOpener {
    /// For one message under `key`.
    #[must_use]
    pub fn new(key: &Key, nonce: &[u8; NONCE_LEN]) -> Self {
        Self(Eax::with_key_and_nonce(key.expose().into(), nonce.into()))
    }

    /// Opens the next bytes where they lie. Nobody has vouched for them yet.
    pub fn open_unverified(&mut self, bytes: &mut [u8]) {
        self.0.decrypt_unauthenticated_hazmat(bytes);
    }

    /// Whether everything that was opened is what was sealed.
    ///
    /// # Errors
    /// [`Tampered`]: nothing of it is to be used.
    pub fn finish(self, tag: &[u8; TAG_LEN]) -> Result<(), Tampered> {
        self.0.finish(tag.into()).map_err(|_| Tampered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    /// The reference's vector (§9.2), which PyCryptodome made.
    #[test]
    fn vector_of_the_reference() {
        let key = Key::filled(|slot| (0..).zip(slot).for_each(|(n, byte)| *byte = n));
        let nonce: [u8; 16] = std::array::from_fn(|n| 0xa0 + n as u8);
        let plain = b"region,amount\ncn-hangzhou,100\n";
        for pieces in [1, 3, 7, 30] {
            let mut bytes = plain.to_vec();
            let mut sealer = EnvelopeSealer::new(&key, &nonce);
            bytes.chunks_mut(pieces).for_each(|piece| sealer.seal(piece));
            let tag = sealer.finish();
            let sealed = "b8792efd12310408dc4b037e570388c39a216267cb4d171ef543c07d6d4b";
            assert_eq!(HEXLOWER.encode(&bytes), sealed);
            assert_eq!(HEXLOWER.encode(&tag), "0466f421c107e23cf2e024290ce040b7");
            let mut opener = EnvelopeOpener::new(&key, &nonce);
            bytes.chunks_mut(pieces).for_each(|piece| opener.open_unverified(piece));
            assert_eq!((bytes.as_slice(), opener.finish(&tag)), (&plain[..], Ok(())));
        }
    }

    #[test]
    fn every_bit_counts() {
        let (key, nonce) = (Key::random(), [7; 16]);
        let mut sealed = *b"some text";
        let mut sealer = EnvelopeSealer::new(&key, &nonce);
        sealer.seal(&mut sealed);
        let whole = [&sealed[..], &sealer.finish()].concat();
        for bit in 0..whole.len() * 8 {
            let mut edited = whole.clone();
            edited[bit / 8] ^= 1 << (bit % 8);
            let (bytes, tag) = edited.split_last_chunk_mut::<TAG_LEN>().unwrap();
            let mut opener = EnvelopeOpener::new(&key, &nonce);
            opener.open_unverified(bytes);
            assert_eq!(opener.finish(tag), Err(Tampered), "bit {bit}");
        }
    }
}
