//! An access key, perhaps a temporary one.

use std::fmt;

use zeroize::Zeroizing;

/// An access key. Its secret parts are wiped when dropped and cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The access key's id: no secret.
    pub id: String,
    /// Its secret.
    pub secret: Zeroizing<String>,
    /// The security token of a temporary one.
    pub token: Option<Zeroizing<String>>,
    /// Until when it may be used, in seconds since 1970; none for a lasting one.
    pub expires: Option<i64>,
}

impl Credential {
    /// One that lasts, as far as is known.
    pub fn new(id: &str, secret: &str, token: Option<&str>) -> Credential {
        Credential {
            id: id.to_owned(),
            secret: Zeroizing::new(secret.to_owned()),
            token: token.map(|token| Zeroizing::new(token.to_owned())),
            expires: None,
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({})", self.id)
    }
}
