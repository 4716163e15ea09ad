//! Private keys of the asymmetric kinds: making, signing, RSA encryption (reference, §1.9). Pure.
//!
//! Their bytes lie in ordinary memory, because their libraries work there, and are wiped when dropped.

use std::str::FromStr;

use k256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use rsa::Generate;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use rsa::traits::PublicKeyParts;
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::kms::{KeySpec, KmsError, SignAlgorithm};

/// How small data is encrypted with an RSA key; the mask generation function uses the same hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EncryptAlgorithm {
    /// RSAES-OAEP with SHA-256 (RFC 8017, section 7.1).
    OaepSha256,
    /// RSAES-OAEP with SHA-1.
    OaepSha1,
}

impl EncryptAlgorithm {
    /// Alibaba's name of it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EncryptAlgorithm::OaepSha256 => "RSAES_OAEP_SHA_256",
            EncryptAlgorithm::OaepSha1 => "RSAES_OAEP_SHA_1",
        }
    }
}

impl FromStr for EncryptAlgorithm {
    type Err = KmsError;

    fn from_str(text: &str) -> Result<EncryptAlgorithm, KmsError> {
        [EncryptAlgorithm::OaepSha256, EncryptAlgorithm::OaepSha1]
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or_else(|| {
                let message = format!("{text:?} is no algorithm to encrypt with; RSAES_OAEP_SHA_256 and _SHA_1 are");
                KmsError::new("InvalidParameter", message)
            })
    }
}

/// A private key, ready for use.
pub(super) enum PrivateKey {
    Rsa(Box<rsa::PrivateKey>),
    P256(p256::ecdsa::SigningKey),
    P256K(k256::ecdsa::SigningKey),
}

impl PrivateKey {
    /// A new key. RSA takes up to seconds.
    pub(super) fn generate(spec: KeySpec) -> Result<PrivateKey, KmsError> {
        let rsa = |bits| {
            let key = rsa::PrivateKey::new(&mut getrandom::SysRng, bits).map_err(fault)?;
            Ok(PrivateKey::Rsa(Box::new(key)))
        };
        match spec {
            KeySpec::Rsa2048 => rsa(2048),
            KeySpec::Rsa3072 => rsa(3072),
            KeySpec::EcP256 => p256::ecdsa::SigningKey::try_generate()
                .map(PrivateKey::P256)
                .map_err(fault),
            KeySpec::EcP256K => k256::ecdsa::SigningKey::try_generate()
                .map(PrivateKey::P256K)
                .map_err(fault),
            KeySpec::Aes256 => Err(symmetric()),
        }
    }

    /// The key of the kind `spec` in PKCS#8 (RFC 5958) as DER.
    pub(super) fn from_pkcs8(spec: KeySpec, der: &[u8]) -> Result<PrivateKey, KmsError> {
        let damaged = |_| KmsError::new("KeyStore.Damaged", "the key's material is not of its kind");
        match spec {
            KeySpec::Rsa2048 | KeySpec::Rsa3072 => rsa::PrivateKey::from_pkcs8_der(der)
                .map(|key| PrivateKey::Rsa(Box::new(key)))
                .map_err(damaged),
            KeySpec::EcP256 => p256::ecdsa::SigningKey::from_pkcs8_der(der)
                .map(PrivateKey::P256)
                .map_err(damaged),
            KeySpec::EcP256K => k256::ecdsa::SigningKey::from_pkcs8_der(der)
                .map(PrivateKey::P256K)
                .map_err(damaged),
            KeySpec::Aes256 => Err(symmetric()),
        }
    }

    pub(super) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let document = match self {
            PrivateKey::Rsa(key) => key.to_pkcs8_der(),
            PrivateKey::P256(key) => key.to_pkcs8_der(),
            PrivateKey::P256K(key) => key.to_pkcs8_der(),
        };
        Ok(document.map_err(fault)?.to_bytes())
    }

    /// SubjectPublicKeyInfo as PEM: lines of 64 characters, a newline at the end.
    pub(super) fn public_pem(&self) -> Result<String, KmsError> {
        let pem = match self {
            PrivateKey::Rsa(key) => key.as_public_key().to_public_key_pem(LineEnding::LF),
            PrivateKey::P256(key) => key.verifying_key().to_public_key_pem(LineEnding::LF),
            PrivateKey::P256K(key) => key.verifying_key().to_public_key_pem(LineEnding::LF),
        };
        pem.map_err(fault)
    }

    /// Signs a digest as it is.
    ///
    /// # Errors
    /// `InvalidParameter` when `algorithm` is not one of this kind of key.
    pub(super) fn sign(&self, algorithm: SignAlgorithm, digest: &[u8; 32]) -> Result<Vec<u8>, KmsError> {
        use SignAlgorithm::{EcdsaSha256, RsaPkcs1Sha256, RsaPssSha256};
        match (self, algorithm) {
            (PrivateKey::Rsa(key), RsaPkcs1Sha256) => key.pkcs1v15_sign_prehash::<Sha256>(digest).map_err(fault),
            (PrivateKey::Rsa(key), RsaPssSha256) => key.pss_sign_prehash::<Sha256>(digest).map_err(fault),
            (PrivateKey::P256(key), EcdsaSha256) => {
                let signature: p256::ecdsa::DerSignature = key.sign_prehash(digest).map_err(fault)?;
                Ok(signature.as_bytes().to_vec())
            }
            (PrivateKey::P256K(key), EcdsaSha256) => {
                let signature: k256::ecdsa::DerSignature = key.sign_prehash(digest).map_err(fault)?;
                Ok(signature.as_bytes().to_vec())
            }
            _ => Err(wrong_algorithm(algorithm.as_str())),
        }
    }

    /// Whether `signature` is one of `digest` by this key.
    ///
    /// # Errors
    /// `InvalidParameter` for an algorithm of another kind of key, and for what is no signature at all: of another
    /// length (RSA), or not a sequence of two numbers (ECDSA).
    pub(super) fn verify(
        &self,
        algorithm: SignAlgorithm,
        digest: &[u8; 32],
        signature: &[u8],
    ) -> Result<bool, KmsError> {
        use SignAlgorithm::{EcdsaSha256, RsaPkcs1Sha256, RsaPssSha256};
        match (self, algorithm) {
            (PrivateKey::Rsa(key), RsaPkcs1Sha256 | RsaPssSha256) if key.size() != signature.len() => {
                Err(malformed("the signature is not as long as the key"))
            }
            (PrivateKey::Rsa(key), RsaPkcs1Sha256) => Ok(key
                .as_public_key()
                .pkcs1v15_verify_prehash::<Sha256>(digest, signature)
                .is_ok()),
            (PrivateKey::Rsa(key), RsaPssSha256) => Ok(key
                .as_public_key()
                .pss_verify_prehash::<Sha256>(digest, signature)
                .is_ok()),
            (PrivateKey::P256(key), EcdsaSha256) => {
                let signature = p256::ecdsa::Signature::from_der(signature).map_err(|_| not_ecdsa())?;
                Ok(key.verifying_key().verify_prehash(digest, &signature).is_ok())
            }
            (PrivateKey::P256K(key), EcdsaSha256) => {
                let signature = k256::ecdsa::Signature::from_der(signature).map_err(|_| not_ecdsa())?;
                // s and -s are both right; the library takes the smaller only, as Bitcoin does.
                let smaller = signature.normalize_s();
                Ok(key.verifying_key().verify_prehash(digest, &smaller).is_ok())
            }
            _ => Err(wrong_algorithm(algorithm.as_str())),
        }
    }

    /// Encrypts with the public half.
    ///
    /// # Errors
    /// `InvalidParameter` when `plain` is longer than the key can take, or the key is not RSA.
    pub(super) fn encrypt(&self, algorithm: EncryptAlgorithm, plain: &[u8]) -> Result<Vec<u8>, KmsError> {
        let PrivateKey::Rsa(key) = self else {
            return Err(wrong_algorithm(algorithm.as_str()));
        };
        let sealed = match algorithm {
            EncryptAlgorithm::OaepSha256 => key.as_public_key().oaep_encrypt::<Sha256>(plain),
            EncryptAlgorithm::OaepSha1 => key.as_public_key().oaep_encrypt::<Sha1>(plain),
        };
        sealed.map_err(|_| malformed("the plaintext is longer than this key can encrypt"))
    }

    /// Decrypts what [`PrivateKey::encrypt`] made. Why it cannot be decrypted is not told.
    ///
    /// # Errors
    /// `InvalidParameter`.
    pub(super) fn decrypt(&self, algorithm: EncryptAlgorithm, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let PrivateKey::Rsa(key) = self else {
            return Err(wrong_algorithm(algorithm.as_str()));
        };
        let plain = match algorithm {
            EncryptAlgorithm::OaepSha256 => key.oaep_decrypt::<Sha256>(sealed),
            EncryptAlgorithm::OaepSha1 => key.oaep_decrypt::<Sha1>(sealed),
        };
        plain
            .map(Zeroizing::new)
            .map_err(|_| malformed("the ciphertext is damaged, or was made for another key"))
    }
}

fn wrong_algorithm(name: &str) -> KmsError {
    malformed(&format!("the key is of a kind that does not know {name}"))
}

fn not_ecdsa() -> KmsError {
    malformed("the signature is not a DER sequence of r and s")
}

fn malformed(message: &str) -> KmsError {
    KmsError::new("InvalidParameter", message)
}

fn symmetric() -> KmsError {
    KmsError::new("UnsupportedOperation", "a symmetric key has no private and public half")
}

fn fault(error: impl std::fmt::Display) -> KmsError {
    KmsError::new("InternalFailure", error.to_string())
}
