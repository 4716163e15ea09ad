//! What kmsfs asks of a key management service, whichever it is. Calls block; whoever makes them holds no guard.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use zeroize::Zeroizing;

use super::{EncryptionContext, KmsError};
use crate::crypto::Key;
use crate::format::WrappedKey;

/// A new data key, plain and wrapped.
#[derive(Debug)]
pub struct GeneratedKey {
    /// The data key itself.
    pub key: Key,
    /// What is stored; it names the real master key, never an alias.
    pub wrapped: WrappedKey,
}

/// The calls that a mount needs. Master keys are named by id or as `alias/NAME`.
pub trait Kms: Send + Sync {
    /// The KMS in a few words, for messages.
    fn describe(&self) -> String;

    /// Makes a data key of 32 bytes and wraps it under the master key, bound to the context.
    ///
    /// # Errors
    /// [`KmsError`], by remedy; so for all calls.
    fn generate_data_key(&self, key: &str, context: &EncryptionContext) -> Result<GeneratedKey, KmsError>;

    /// Unwraps a data key.
    ///
    /// # Errors
    /// [`KmsError`]; `Rejected` when the blob is damaged, foreign or bound to another context.
    fn decrypt(&self, wrapped: &WrappedKey, context: &EncryptionContext) -> Result<Key, KmsError>;

    /// As [`Kms::decrypt`], for who unlocks or watches: asks even when the KMS has failed so often that other calls are
    /// spared, and waits behind no other call.
    ///
    /// # Errors
    /// As there.
    fn decrypt_now(&self, wrapped: &WrappedKey, context: &EncryptionContext) -> Result<Key, KmsError> {
        self.decrypt(wrapped, context)
    }

    /// What the KMS knows of a master key.
    ///
    /// # Errors
    /// [`KmsError`].
    fn describe_key(&self, key: &str) -> Result<KeyMetadata, KmsError>;

    /// The volume was locked. A KMS that lives in this process wipes its own key then, for good; to any other it
    /// means nothing.
    fn volume_locked(&self) {}
}

/// What a master key made or opened directly, and which one it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Direct<T> {
    /// The master key's id, never an alias.
    pub key: String,
    /// The version of it.
    pub version: String,
    /// The CiphertextBlob as text, or what was asked for.
    pub data: T,
}

/// The calls that use a master key without a data key: small data online (the guide, chapter 2) and what rewraps.
/// A blob is the text that the API calls CiphertextBlob: base64, opaque.
///
/// # Errors
/// Every call: [`KmsError`], with the codes that Alibaba Cloud KMS gives in the same state; so for all traits here.
#[allow(clippy::missing_errors_doc)] // Said once, above.
pub trait KmsDirect: Kms {
    /// `Encrypt`: 1 to [`super::blob::PLAINTEXT_MAX`] bytes of text, taken as they are.
    fn encrypt_text(&self, key: &str, context: &EncryptionContext, text: &str) -> Result<Direct<String>, KmsError>;
    /// `Decrypt`: the text that was encrypted. The blob says which key. White space around it does not matter.
    fn decrypt_text(&self, blob: &str, context: &EncryptionContext) -> Result<Direct<Zeroizing<String>>, KmsError>;
    /// `GenerateDataKeyWithoutPlaintext`, of 32 bytes.
    fn generate_wrapped(&self, key: &str, context: &EncryptionContext) -> Result<Direct<String>, KmsError>;
    /// `ReEncrypt`: the same text under another key and context, without ever leaving the KMS.
    fn re_encrypt(
        &self,
        blob: &str,
        from: &EncryptionContext,
        key: &str,
        to: &EncryptionContext,
    ) -> Result<Direct<String>, KmsError>;
}

/// How a digest is signed (reference, §1.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, section 8.2).
    RsaPkcs1Sha256,
    /// RSASSA-PSS with SHA-256, MGF1 with SHA-256, a salt of 32 bytes (RFC 8017, section 8.1).
    RsaPssSha256,
    /// ECDSA; the signature is a DER sequence of r and s.
    EcdsaSha256,
}

impl SignAlgorithm {
    /// Alibaba's name of it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SignAlgorithm::RsaPkcs1Sha256 => "RSA_PKCS1_SHA_256",
            SignAlgorithm::RsaPssSha256 => "RSA_PSS_SHA_256",
            SignAlgorithm::EcdsaSha256 => "ECDSA_SHA_256",
        }
    }
}

impl FromStr for SignAlgorithm {
    type Err = KmsError;

    fn from_str(text: &str) -> Result<SignAlgorithm, KmsError> {
        use SignAlgorithm::{EcdsaSha256, RsaPkcs1Sha256, RsaPssSha256};
        let all = [RsaPkcs1Sha256, RsaPssSha256, EcdsaSha256];
        all.into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or_else(|| {
                let all = all.map(SignAlgorithm::as_str).join(", ");
                KmsError::new(
                    "InvalidParameter",
                    format!("{text:?} is no algorithm to sign with; {all} are"),
                )
            })
    }
}

/// The calls of asymmetric keys. Each names a version, because these keys have no primary one.
#[allow(clippy::missing_errors_doc)] // Said at `KmsDirect`.
pub trait KmsSigner: Kms {
    /// `AsymmetricSign`: signs a SHA-256 digest as it is.
    fn sign(
        &self,
        key: &str,
        version: &str,
        algorithm: SignAlgorithm,
        digest: &[u8; 32],
    ) -> Result<Direct<Vec<u8>>, KmsError>;
    /// `AsymmetricVerify`: whether `signature` is one of `digest` by that key.
    fn verify(
        &self,
        key: &str,
        version: &str,
        algorithm: SignAlgorithm,
        digest: &[u8; 32],
        signature: &[u8],
    ) -> Result<Direct<bool>, KmsError>;
    /// `GetPublicKey`: SubjectPublicKeyInfo as PEM (RFC 7468), lines of 64 characters, a newline at the end.
    fn public_key(&self, key: &str, version: &str) -> Result<Direct<String>, KmsError>;
}

/// A whole KMS, as the commands use it.
pub trait KmsService: KmsAdmin + KmsDirect + KmsSigner {}

impl<T: KmsAdmin + KmsDirect + KmsSigner> KmsService for T {}

/// The calls of `kmsfs key`. All name keys by id; `alias` is always `alias/NAME`.
///
/// # Errors
/// Every call: [`KmsError`], with the codes that Alibaba Cloud KMS gives in the same state.
#[allow(clippy::missing_errors_doc)] // Said once, above.
pub trait KmsAdmin: Kms {
    /// A new master key, enabled.
    fn create_key(&self, new: &NewKey) -> Result<KeyMetadata, KmsError>;
    /// The ids of all master keys, in order of creation.
    fn list_keys(&self) -> Result<Vec<String>, KmsError>;
    /// A new alias for a key.
    fn create_alias(&self, alias: &str, key: &str) -> Result<(), KmsError>;
    /// Lets an alias name another key.
    fn update_alias(&self, alias: &str, key: &str) -> Result<(), KmsError>;
    /// Takes an alias away; its key stays as it is.
    fn delete_alias(&self, alias: &str) -> Result<(), KmsError>;
    /// All aliases, by name.
    fn list_aliases(&self) -> Result<Vec<Alias>, KmsError>;
    /// Disabled → Enabled.
    fn enable(&self, key: &str) -> Result<(), KmsError>;
    /// Enabled → Disabled: nothing can be wrapped or unwrapped under the key.
    fn disable(&self, key: &str) -> Result<(), KmsError>;
    /// → PendingDeletion; after `days` (7 to 366) the key is gone for good.
    fn schedule_deletion(&self, key: &str, days: u32) -> Result<(), KmsError>;
    /// PendingDeletion → Enabled.
    fn cancel_deletion(&self, key: &str) -> Result<(), KmsError>;
    /// `CreateKeyVersion`; gives its id. A symmetric key wraps with the new version from now on, and unwraps with all;
    /// an asymmetric one has a further version to be named.
    fn rotate(&self, key: &str) -> Result<String, KmsError>;
    /// The versions of a key, newest first.
    fn list_versions(&self, key: &str) -> Result<Vec<KeyVersion>, KmsError>;
    /// `UpdateRotationPolicy`: a new version every so many seconds (7 to 730 days), or no more by itself.
    fn set_rotation(&self, key: &str, interval: Option<u64>) -> Result<(), KmsError>;
}

/// What a new master key shall be.
#[derive(Debug, Clone, Default)]
pub struct NewKey {
    /// At most 8192 characters.
    pub description: String,
    /// The kind of key.
    pub spec: KeySpec,
    /// What it is for; none for [`KeySpec::default_usage`].
    pub usage: Option<KeyUsage>,
    /// Seconds between automatic rotations; none for no rotation.
    pub rotation: Option<u64>,
}

/// What a master key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyUsage {
    /// To wrap and unwrap.
    #[serde(rename = "ENCRYPT/DECRYPT")]
    Encrypt,
    /// To sign and verify.
    #[serde(rename = "SIGN/VERIFY")]
    Sign,
}

impl KeyUsage {
    /// Alibaba's name of it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            KeyUsage::Encrypt => "ENCRYPT/DECRYPT",
            KeyUsage::Sign => "SIGN/VERIFY",
        }
    }
}

impl FromStr for KeyUsage {
    type Err = KmsError;

    fn from_str(text: &str) -> Result<KeyUsage, KmsError> {
        [KeyUsage::Encrypt, KeyUsage::Sign]
            .into_iter()
            .find(|usage| usage.as_str() == text)
            .ok_or_else(|| {
                let message = format!("{text:?} is no use of a key; ENCRYPT/DECRYPT and SIGN/VERIFY are");
                KmsError::new("InvalidParameter", message)
            })
    }
}

/// The kind of a master key (reference, §1.5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeySpec {
    /// AES-256, used as AES-256-GCM.
    #[default]
    #[serde(rename = "Aliyun_AES_256")]
    Aes256,
    /// RSA with a modulus of 2048 bits.
    #[serde(rename = "RSA_2048")]
    Rsa2048,
    /// RSA with a modulus of 3072 bits.
    #[serde(rename = "RSA_3072")]
    Rsa3072,
    /// NIST P-256.
    #[serde(rename = "EC_P256")]
    EcP256,
    /// secp256k1.
    #[serde(rename = "EC_P256K")]
    EcP256K,
}

impl KeySpec {
    /// All kinds that can be made.
    pub const ALL: [KeySpec; 5] = [
        KeySpec::Aes256,
        KeySpec::Rsa2048,
        KeySpec::Rsa3072,
        KeySpec::EcP256,
        KeySpec::EcP256K,
    ];

    /// Alibaba's name of it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            KeySpec::Aes256 => "Aliyun_AES_256",
            KeySpec::Rsa2048 => "RSA_2048",
            KeySpec::Rsa3072 => "RSA_3072",
            KeySpec::EcP256 => "EC_P256",
            KeySpec::EcP256K => "EC_P256K",
        }
    }

    /// Whether a key of this kind can be made for `usage`.
    #[must_use]
    pub fn can(self, usage: KeyUsage) -> bool {
        match self {
            KeySpec::Aes256 => usage == KeyUsage::Encrypt,
            KeySpec::Rsa2048 | KeySpec::Rsa3072 => true,
            KeySpec::EcP256 | KeySpec::EcP256K => usage == KeyUsage::Sign,
        }
    }

    /// What it is for when nothing is said: to sign where it can, else to encrypt.
    #[must_use]
    pub fn default_usage(self) -> KeyUsage {
        if self.can(KeyUsage::Sign) {
            KeyUsage::Sign
        } else {
            KeyUsage::Encrypt
        }
    }
}

impl fmt::Display for KeySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeySpec {
    type Err = KmsError;

    fn from_str(text: &str) -> Result<KeySpec, KmsError> {
        KeySpec::ALL
            .into_iter()
            .find(|spec| spec.as_str() == text)
            .ok_or_else(|| {
                let all = KeySpec::ALL.map(KeySpec::as_str).join(", ");
                let message = format!("{text:?} is not a kind of key that can be made; {all} are");
                KmsError::new("UnsupportedOperation", message)
            })
    }
}

/// The state of a master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyState {
    /// It wraps and unwraps.
    Enabled,
    /// It does neither until it is enabled.
    Disabled,
    /// It does neither and will be deleted at a planned time.
    PendingDeletion,
    /// Its material is still to be imported.
    PendingImport,
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a KMS tells of a master key. Times are seconds since 1970, serialized as RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyMetadata {
    /// The id that wrapped keys carry.
    pub id: String,
    /// Its state.
    pub state: KeyState,
    /// Its kind, as the KMS names it.
    pub spec: String,
    /// What it may be used for, as the KMS names it.
    pub usage: String,
    /// What its owner says of it.
    pub description: String,
    /// When it was made.
    #[serde(serialize_with = "rfc3339")]
    pub created: i64,
    /// The version that wraps; none for keys without versions.
    pub primary_version: Option<String>,
    /// When that version was made.
    #[serde(serialize_with = "rfc3339_or_none")]
    pub last_rotation: Option<i64>,
    /// When it will be deleted, while that is planned.
    #[serde(serialize_with = "rfc3339_or_none")]
    pub delete_date: Option<i64>,
    /// Its automatic rotation.
    pub rotation: Rotation,
}

/// Automatic rotation of a master key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Rotation {
    /// Whether it takes place.
    pub state: RotationState,
    /// Seconds from one to the next, unless it is off.
    pub interval: Option<u64>,
    /// When the next one is planned, unless it is off.
    #[serde(serialize_with = "rfc3339_or_none")]
    pub next: Option<i64>,
}

/// Whether automatic rotation takes place; the names are Alibaba's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RotationState {
    /// No.
    #[default]
    Disabled,
    /// Yes.
    Enabled,
    /// It would, but the key is not enabled.
    Suspended,
}

impl fmt::Display for RotationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A name for a master key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alias {
    /// `alias/NAME`.
    pub name: String,
    /// The key it names.
    pub key: String,
}

/// One generation of a master key's material.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyVersion {
    /// Its id, which stands at the beginning of each blob it wrapped.
    pub id: String,
    /// When it was made, in seconds since 1970.
    #[serde(serialize_with = "rfc3339")]
    pub created: i64,
}

/// A time in seconds since 1970 as RFC 3339 text; the number itself where that cannot be.
#[must_use]
pub fn time_text(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |t| t.to_string())
}

fn rfc3339<S: Serializer>(seconds: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time_text(*seconds))
}

fn rfc3339_or_none<S: Serializer>(time: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(seconds) => rfc3339(seconds, serializer),
        None => serializer.serialize_none(),
    }
}
