//! Master keys whose material comes from outside (reference, §1.6): parameters, import, removal.
//!
//! The private half of a wrapping key is kept nowhere: it travels, sealed under the store's root key, in the token.

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::crypto::Key;
use crate::kms::KmsError;
use crate::kms::local::LocalStore;
use crate::kms::local::permit::Operation;
use crate::kms::local::wrapping::{self, WrapAlgorithm};

/// Seconds that a token is good for.
const TOKEN_LIFE: i64 = 86_400;

/// What GetParametersForImport gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportParameters {
    /// The key's id.
    pub key: String,
    /// `ImportToken`, base64.
    pub token: String,
    /// `PublicKey` to wrap the material with: SubjectPublicKeyInfo as DER, RSA with 2048 bits.
    pub public_key: Vec<u8>,
    /// `TokenExpireTime`, in seconds since 1970.
    pub expires: i64,
}

/// # Errors
/// Every call: [`KmsError`], with the codes that Alibaba Cloud KMS gives in the same state; `Unsupported.Origin` for a
/// key whose material is the KMS's own.
#[allow(clippy::missing_errors_doc)] // Said once, above.
impl LocalStore {
    /// `GetParametersForImport`. Takes as long as an RSA key takes.
    pub fn import_parameters(&self, key: &str, algorithm: WrapAlgorithm) -> Result<ImportParameters, KmsError> {
        let key = self.look(key, |master| {
            master.check_external()?;
            master.permit(Operation::Look)?;
            Ok(master.id.clone())
        })?;
        self.named(Some(&key), || {
            let expires = self.clock.unix().saturating_add(TOKEN_LIFE);
            let (private, public_key) = wrapping::generate()?;
            let sealed = self.root.seal(&place_of(&key, algorithm, expires), &private)?;
            let token = format!("{expires} {} {sealed}", algorithm.as_str());
            Ok(ImportParameters {
                token: BASE64.encode(token.as_bytes()),
                public_key,
                expires,
                key: key.clone(),
            })
        })
    }

    /// `ImportKeyMaterial`: 32 bytes, wrapped as the token's parameters say, until `expires` (seconds since 1970) or for
    /// good. A key takes only ever the same material.
    pub fn import_material(
        &self,
        key: &str,
        token: &str,
        wrapped: &[u8],
        expires: Option<i64>,
    ) -> Result<(), KmsError> {
        let id = self.look(key, |master| {
            master.check_external()?;
            master.permit(Operation::Import)?;
            Ok(master.id.clone())
        })?;
        let material = self.named(Some(key), || self.unwrap_material(&id, token, wrapped))?;
        let check = self.root.check_of_material(&id, &material);
        self.change(key, |master, now| {
            let sealed = match master.imported_version() {
                Some(version) => self.root.seal_again(&id, version, material.expose())?,
                None => self.root.seal_version(&id, now, material.expose())?,
            };
            master.import(sealed, check, expires, now)
        })
    }

    fn unwrap_material(&self, key: &str, token: &str, wrapped: &[u8]) -> Result<Key, KmsError> {
        let (private, algorithm) = self.open_token(key, token)?;
        let material = wrapping::unwrap(&private, algorithm, wrapped);
        material.and_then(|bytes| Key::from_slice(&bytes)).ok_or_else(|| {
            let message = "the material does not unwrap to 32 bytes with this token";
            KmsError::new("InvalidKeyMaterial", message)
        })
    }

    fn open_token(&self, key: &str, token: &str) -> Result<(Zeroizing<Vec<u8>>, WrapAlgorithm), KmsError> {
        let invalid = || KmsError::new("InvalidImportToken", "the import token is damaged, or of another key");
        let token: String = token.split_ascii_whitespace().collect();
        let token = BASE64.decode(token.as_bytes()).map_err(|_| invalid())?;
        let token = String::from_utf8(token).map_err(|_| invalid())?;
        let mut parts = token.split(' ');
        let (Some(expires), Some(algorithm), Some(sealed), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        let expires: i64 = expires.parse().map_err(|_| invalid())?;
        let algorithm: WrapAlgorithm = algorithm.parse().map_err(|_| invalid())?;
        let private = self.root.unseal(&place_of(key, algorithm, expires), sealed);
        let private = private.ok_or_else(invalid)?;
        if expires <= self.clock.unix() {
            return Err(KmsError::new("ExpiredImportToken", "the import token has expired"));
        }
        Ok((private, algorithm))
    }

    /// `DeleteKeyMaterial`: nothing can be opened with the key until the same material is imported again.
    pub fn delete_material(&self, key: &str) -> Result<(), KmsError> {
        self.change(key, |master, _| {
            master.check_external()?;
            master.permit(Operation::Look)?;
            master.drop_material();
            Ok(())
        })
    }
}

/// What a token's private key is bound to.
fn place_of(key: &str, algorithm: WrapAlgorithm, expires: i64) -> String {
    format!("kmsfs import token {key} {} {expires}", algorithm.as_str())
}
