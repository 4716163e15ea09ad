//! Identities: 16 random bytes each, written as 32 hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// A new identity from the operating system's random source.
            ///
            /// # Panics
            /// When the operating system has no random source: nothing could be sealed then either.
            #[must_use]
            pub fn random() -> Self {
                Self(random_bytes())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER_PERMISSIVE.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = NotAnIdentity;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let bytes = HEXLOWER_PERMISSIVE
                    .decode(text.as_bytes())
                    .map_err(|_| NotAnIdentity)?;
                Ok(Self(bytes.try_into().map_err(|_| NotAnIdentity)?))
            }
        }
    };
}

identity! {
    /// A volume: one protected tree.
    VolumeId
}
identity! {
    /// A node of the tree: file, directory, symlink or special file. It stands in the node's stored
    /// names and, for a file, in the head of its content.
    NodeId
}
identity! {
    /// A data key, as its encryption context names it to the KMS.
    DataKeyId
}

/// A text that is not 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an identity of 32 hexadecimal digits")]
pub struct NotAnIdentity;

/// `N` bytes from the operating system's random source.
///
/// # Panics
/// When the operating system has no random source.
#[must_use]
#[allow(clippy::expect_used)] // Without randomness no nonce is safe; there is nothing to fall back on.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system's random source answers");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let id = NodeId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("12".parse::<NodeId>(), Err(NotAnIdentity));
        assert_eq!("zz".repeat(16).parse::<NodeId>(), Err(NotAnIdentity));
    }
}
