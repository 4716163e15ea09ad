//! What asymmetric keys do: sign, verify, RSA encryption. Each call names the version.

use zeroize::Zeroizing;

use super::call::direct;
use crate::kms::local::LocalStore;
use crate::kms::local::asymmetric::{EncryptAlgorithm, PrivateKey};
use crate::kms::local::master_key::{MasterKey, Version};
use crate::kms::{Direct, KeyUsage, KmsError, KmsSigner, SignAlgorithm};

impl LocalStore {
    /// `AsymmetricEncrypt`: up to 342 bytes with the public half of an RSA key, by its size and the hash.
    ///
    /// # Errors
    /// [`KmsError`], with Alibaba's codes.
    pub fn asymmetric_encrypt(
        &self,
        key: &str,
        version: &str,
        algorithm: EncryptAlgorithm,
        plain: &[u8],
    ) -> Result<Direct<Vec<u8>>, KmsError> {
        self.with_private(key, version, Some(KeyUsage::Encrypt), |private| {
            private.encrypt(algorithm, plain)
        })
    }

    /// `AsymmetricDecrypt` of what [`LocalStore::asymmetric_encrypt`], or anybody with the public key, has made.
    ///
    /// # Errors
    /// [`KmsError`], with Alibaba's codes.
    pub fn asymmetric_decrypt(
        &self,
        key: &str,
        version: &str,
        algorithm: EncryptAlgorithm,
        sealed: &[u8],
    ) -> Result<Direct<Zeroizing<Vec<u8>>>, KmsError> {
        self.with_private(key, version, Some(KeyUsage::Encrypt), |private| {
            private.decrypt(algorithm, sealed)
        })
    }

    /// Uses a version of an asymmetric key that is for `usage`, or for anything.
    fn with_private<T>(
        &self,
        key: &str,
        version: &str,
        usage: Option<KeyUsage>,
        call: impl FnOnce(&PrivateKey) -> Result<T, KmsError>,
    ) -> Result<Direct<T>, KmsError> {
        self.look(key, |master| {
            master.permit_asymmetric(usage)?;
            let version = master.version(version)?;
            let data = call(&self.private(master, version)?)?;
            Ok(direct(master, version, data))
        })
    }

    fn private(&self, master: &MasterKey, version: &Version) -> Result<PrivateKey, KmsError> {
        PrivateKey::from_pkcs8(master.spec, &self.root.open_bytes(&master.id, version)?)
    }
}

impl KmsSigner for LocalStore {
    fn sign(
        &self,
        key: &str,
        version: &str,
        algorithm: SignAlgorithm,
        digest: &[u8; 32],
    ) -> Result<Direct<Vec<u8>>, KmsError> {
        self.with_private(key, version, Some(KeyUsage::Sign), |private| {
            private.sign(algorithm, digest)
        })
    }

    fn verify(
        &self,
        key: &str,
        version: &str,
        algorithm: SignAlgorithm,
        digest: &[u8; 32],
        signature: &[u8],
    ) -> Result<Direct<bool>, KmsError> {
        self.with_private(key, version, Some(KeyUsage::Sign), |private| {
            private.verify(algorithm, digest, signature)
        })
    }

    fn public_key(&self, key: &str, version: &str) -> Result<Direct<String>, KmsError> {
        self.with_private(key, version, None, PrivateKey::public_pem)
    }
}
