//! Data keys for somebody else: wrapped under a master key, and once more for the owner of an RSA public key.

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::kms::local::LocalStore;
use crate::kms::local::wrapping::{self, WrapAlgorithm};
use crate::kms::{Direct, EncryptionContext, KmsDirect, KmsError};

/// # Errors
/// Every call: [`KmsError`], with the codes that Alibaba Cloud KMS gives in the same state.
#[allow(clippy::missing_errors_doc)] // Said once, above.
impl LocalStore {
    /// `GenerateAndExportDataKey` of `len` bytes: its `CiphertextBlob`, and the `ExportedDataKey` for the owner of
    /// `spki` (SubjectPublicKeyInfo as DER, RSA with 2048 bits).
    pub fn generate_and_export(
        &self,
        key: &str,
        context: &EncryptionContext,
        len: usize,
        spki: &[u8],
        algorithm: WrapAlgorithm,
    ) -> Result<(Direct<String>, Vec<u8>), KmsError> {
        let made = self.generate_text(key, context, len)?;
        let exported = self.export(&made.plain, spki, algorithm)?;
        Ok((made.wrapped, exported))
    }

    /// `ExportDataKey`: the data key of a blob for the owner of `spki`.
    pub fn export_data_key(
        &self,
        blob: &str,
        context: &EncryptionContext,
        spki: &[u8],
        algorithm: WrapAlgorithm,
    ) -> Result<Direct<Vec<u8>>, KmsError> {
        let opened = self.decrypt_text(blob, context)?;
        let exported = self.export(&opened.data, spki, algorithm)?;
        Ok(Direct {
            key: opened.key,
            version: opened.version,
            data: exported,
        })
    }

    fn export(&self, plain: &str, spki: &[u8], algorithm: WrapAlgorithm) -> Result<Vec<u8>, KmsError> {
        self.named(None, || {
            let bytes = BASE64.decode(plain.as_bytes()).map(Zeroizing::new);
            let bytes = bytes.map_err(|_| KmsError::new("InvalidParameter", "the blob holds no data key"))?;
            wrapping::wrap(spki, algorithm, &bytes)
        })
    }
}
