//! Keys and other secrets as values: kept in memory that is neither swapped nor dumped, wiped when dropped,
//! never printed and never copied by accident.

use std::fmt;

use zeroize::Zeroizing;

use crate::sys::memory::{SLOT, Slot};

/// A 256-bit key. Neither `Clone` nor printable; wiped when dropped.
pub struct Key(Slot);

impl Key {
    /// Bytes of a key.
    pub const LEN: usize = SLOT;

    /// The key of these bytes; `None` unless there are exactly [`Key::LEN`] of them. The caller wipes its copy.
    pub fn from_slice(bytes: &[u8]) -> Option<Key> {
        let bytes: &[u8; SLOT] = bytes.try_into().ok()?;
        Some(Key::filled(|slot| slot.copy_from_slice(bytes)))
    }

    /// A key that `fill` writes straight into its place, so that no copy stays elsewhere.
    pub fn filled(fill: impl FnOnce(&mut [u8; SLOT])) -> Key {
        let mut slot = Slot::zeroed();
        fill(slot.bytes_mut());
        Key(slot)
    }

    /// A key from the operating system's random source.
    ///
    /// # Panics
    /// When the operating system has no random source: nothing could be sealed then either.
    #[must_use]
    #[allow(clippy::expect_used)] // As in `format::ids`: there is nothing to fall back on.
    pub fn random() -> Key {
        Key::filled(|slot| {
            getrandom::fill(slot).expect("the operating system's random source answers");
        })
    }

    /// The bytes, for the moment of use.
    pub fn expose(&self) -> &[u8; SLOT] {
        self.0.bytes()
    }

    /// The same key in a second place, for the few owners that must outlive each other. A method and not
    /// `Clone`, so that it is seen in review.
    pub fn duplicate(&self) -> Key {
        Key::filled(|slot| slot.copy_from_slice(self.expose()))
    }

    #[cfg(test)]
    pub(crate) fn place(&self) -> crate::sys::memory::Place {
        crate::sys::memory::Place::of(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A secret of any length, such as a passphrase: wiped when dropped, not printable, but in ordinary memory.
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes the bytes over, without a copy.
    pub fn new(bytes: Vec<u8>) -> SecretBytes {
        SecretBytes(Zeroizing::new(bytes))
    }

    /// The bytes, for the moment of use.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_key_leaves_zeroes() {
        let key = Key::random();
        let place = key.place();
        assert_eq!(&place.peek(), key.expose());
        assert_ne!(key.expose(), &[0; SLOT]);
        drop(key);
        assert_eq!(place.peek(), [0; SLOT]);
    }

    #[test]
    fn key_dropped_by_a_panic_leaves_zeroes() {
        let key = Key::random();
        let place = key.place();
        let outcome = std::thread::spawn(move || {
            let _key = key;
            panic!("on purpose");
        })
        .join();
        assert!(outcome.is_err());
        assert_eq!(place.peek(), [0; SLOT]);
    }

    #[test]
    fn only_32_bytes_are_a_key() {
        assert!(Key::from_slice(&[1; 31]).is_none());
        assert!(Key::from_slice(&[1; 33]).is_none());
        assert!(Key::from_slice(&[]).is_none());
        assert_eq!(Key::from_slice(&[7; 32]).unwrap().duplicate().expose(), &[7; 32]);
    }

    #[test]
    fn secrets_are_not_printed() {
        assert_eq!(format!("{:?}", Key::from_slice(&[7; 32])), "Some(Key(..))");
        assert_eq!(format!("{:?}", SecretBytes::new(b"pass".to_vec())), "SecretBytes(..)");
        assert_eq!(SecretBytes::new(b"pass".to_vec()).expose(), b"pass");
    }

    #[test]
    fn keys_may_cross_threads() {
        fn check<T: Send + Sync>() {}
        check::<Key>();
    }
}
