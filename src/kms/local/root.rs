//! The root key of a store: where it comes from, and the three keys made of it, which seal master keys,
//! authenticate the store's file, and tell a wrong root from a damaged file.

use std::path::{Path, PathBuf};

use aes_gcm_siv::aead::{Aead, Payload};
use aes_gcm_siv::{Aes256GcmSiv, KeyInit};
use argon2::{Algorithm, Argon2, Params};
use data_encoding::{BASE64, HEXLOWER};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::files;
use super::master_key::Version;
use crate::crypto::{Key, SecretBytes};
use crate::format::ids::random_bytes;
use crate::kms::KmsError;
use crate::kms::uuid::{is_uuid, random_uuid};

const FILE_TITLE: &str = "kmsfs root key 1";
const FILE_MAX: usize = 256;
const NONCE: usize = 12;
const GIB_IN_KIB: u32 = 1 << 20;

/// Where the root key of a store comes from.
#[derive(Debug)]
pub enum Root {
    /// A second file with mode 0600. It helps when the store's disk is lost, not when the host is.
    File(PathBuf),
    /// A passphrase, by Argon2id.
    Passphrase(SecretBytes),
}

/// How the root key is got, as the store's file says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Method {
    File,
    Argon2id {
        salt: String,
        memory_kib: u32,
        passes: u32,
        lanes: u32,
    },
}

impl Method {
    /// Argon2id as RFC 9106 recommends where memory is short: 64 MiB, three passes, four lanes.
    pub(super) fn passphrase() -> Method {
        let salt = HEXLOWER.encode(&random_bytes::<16>());
        Method::Argon2id {
            salt,
            memory_kib: 64 << 10,
            passes: 3,
            lanes: 4,
        }
    }
}

impl Root {
    /// Gets the root key of the store `store` by the method that its file names.
    pub(super) fn unlock(&self, method: &Method, store: &str) -> Result<RootKey, KmsError> {
        let key = match (self, method) {
            (Root::File(path), Method::File) => {
                let (owner, key) = read_file(path)?;
                if owner != store {
                    return Err(about(
                        "KeyStore.WrongRoot",
                        "the root key is that of another store",
                        path,
                    ));
                }
                key
            }
            (
                Root::Passphrase(passphrase),
                Method::Argon2id {
                    salt,
                    memory_kib,
                    passes,
                    lanes,
                },
            ) => stretch(passphrase, salt, [*memory_kib, *passes, *lanes])?,
            (Root::File(_), Method::Argon2id { .. }) => {
                let message = "the key store is protected by a passphrase, and none was given";
                return Err(KmsError::new("KeyStore.WrongPassphrase", message));
            }
            (Root::Passphrase(_), Method::File) => {
                let message = "the key store is protected by a root key file, not by a passphrase";
                return Err(KmsError::new("KeyStore.WrongRoot", message));
            }
        };
        RootKey::derive(&key, store)
    }

    /// What a new store needs: its id, its method and its root key. A root key file that is left from a store
    /// whose making was interrupted is used again.
    pub(super) fn establish(&self) -> Result<(String, Method, RootKey), KmsError> {
        match self {
            Root::File(path) => {
                let (store, key) = match read_file(path) {
                    Err(error) if error.code() == "KeyStore.RootNotFound" => make_file(path)?,
                    found => found?,
                };
                let root = RootKey::derive(&key, &store)?;
                Ok((store, Method::File, root))
            }
            Root::Passphrase(_) => {
                let (store, method) = (random_uuid(), Method::passphrase());
                let root = self.unlock(&method, &store)?;
                Ok((store, method, root))
            }
        }
    }
}

fn make_file(path: &Path) -> Result<(String, Key), KmsError> {
    let (store, key) = (random_uuid(), Key::random());
    let hex = Zeroizing::new(HEXLOWER.encode(key.expose()));
    let text = Zeroizing::new(format!("{FILE_TITLE}\n{store}\n{}\n", *hex));
    files::publish(files::prepare(path, text.as_bytes())?, path, files::Existing::Keep)?;
    Ok((store, key))
}

/// The store's id and the key in a root key file.
fn read_file(path: &Path) -> Result<(String, Key), KmsError> {
    let file = files::read_private(path, FILE_MAX, "KeyStore.RootNotFound")?;
    let damaged = || {
        about(
            "KeyStore.WrongRoot",
            "this is not a root key file, or it is damaged",
            path,
        )
    };
    let text = std::str::from_utf8(&file.bytes).map_err(|_| damaged())?;
    let mut lines = text.lines();
    let (title, store, hex) = (lines.next(), lines.next(), lines.next());
    let (Some(FILE_TITLE), Some(store), Some(hex), None) = (title, store, hex, lines.next()) else {
        return Err(damaged());
    };
    let bytes = Zeroizing::new(HEXLOWER.decode(hex.as_bytes()).map_err(|_| damaged())?);
    let key = Key::from_slice(&bytes).ok_or_else(damaged)?;
    if !is_uuid(store) {
        return Err(damaged());
    }
    Ok((store.to_owned(), key))
}

fn stretch(passphrase: &SecretBytes, salt: &str, cost: [u32; 3]) -> Result<Key, KmsError> {
    let damaged = || KmsError::new("KeyStore.Damaged", "the key store asks for an impossible Argon2id");
    let [memory_kib, passes, lanes] = cost;
    if memory_kib > GIB_IN_KIB || passes > 16 || lanes > 16 || salt.len() != 32 {
        return Err(damaged());
    }
    let salt = HEXLOWER.decode(salt.as_bytes()).map_err(|_| damaged())?;
    let params = Params::new(memory_kib, passes, lanes, Some(Key::LEN)).map_err(|_| damaged())?;
    let argon2 = Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params);
    let mut outcome = Ok(());
    let key = Key::filled(|key| outcome = argon2.hash_password_into(passphrase.expose(), &salt, key));
    outcome.map_err(|error| KmsError::new("KeyStore.WrongPassphrase", format!("Argon2id: {error}")))?;
    Ok(key)
}

/// The keys made of a root key.
#[derive(Debug)]
pub(super) struct RootKey {
    seal: Key,
    mac: Key,
    check: String,
}

impl RootKey {
    fn derive(root: &Key, store: &str) -> Result<RootKey, KmsError> {
        let hkdf = Hkdf::<Sha256>::new(Some(store.as_bytes()), root.expose());
        let subkey = |label: &[u8]| {
            let mut outcome = Ok(());
            let key = Key::filled(|key| outcome = hkdf.expand(label, key));
            outcome
                .map(|()| key)
                .map_err(|_| KmsError::new("InternalFailure", "HKDF refused 32 bytes"))
        };
        Ok(RootKey {
            seal: subkey(b"kmsfs key store: seal master keys")?,
            mac: subkey(b"kmsfs key store: authenticate the file")?,
            check: HEXLOWER.encode(subkey(b"kmsfs key store: check the root key")?.expose()),
        })
    }

    /// A public value by which a wrong root key is told from a damaged store.
    pub(super) fn check(&self) -> &str {
        &self.check
    }

    #[allow(clippy::expect_used)] // RFC 2104 takes keys of every length.
    fn hmac(&self, bytes: &[u8]) -> Hmac<Sha256> {
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(self.mac.expose());
        mac.expect("HMAC takes every key").chain_update(bytes)
    }

    /// The authentication code of the store's file.
    pub(super) fn authenticate(&self, bytes: &[u8]) -> String {
        HEXLOWER.encode(&self.hmac(bytes).finalize().into_bytes())
    }

    /// Compares in constant time.
    pub(super) fn is_authentic(&self, bytes: &[u8], code: &[u8]) -> bool {
        HEXLOWER
            .decode(code)
            .is_ok_and(|code| self.hmac(bytes).verify_slice(&code).is_ok())
    }

    /// A new version of the master key `key`, of this material.
    pub(super) fn seal_version(&self, key: &str, created: i64, material: &[u8]) -> Result<Version, KmsError> {
        let id = random_uuid();
        let sealed = self.seal(&place_of(key, &id), material)?;
        Ok(Version { id, created, sealed })
    }

    /// A new version of the symmetric master key `key`.
    pub(super) fn new_version(&self, key: &str, created: i64) -> Result<Version, KmsError> {
        self.seal_version(key, created, Key::random().expose())
    }

    /// The material of a version of the symmetric master key `key`.
    pub(super) fn open(&self, key: &str, version: &Version) -> Result<Key, KmsError> {
        Key::from_slice(&self.open_bytes(key, version)?).ok_or_else(|| damaged(key))
    }

    /// The material of a version of the master key `key`, whatever it is.
    pub(super) fn open_bytes(&self, key: &str, version: &Version) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        self.unseal(&place_of(key, &version.id), &version.sealed)
            .ok_or_else(|| damaged(key))
    }

    /// The material of a version in its place again, after it was removed.
    pub(super) fn seal_again(&self, key: &str, version: &Version, material: &[u8]) -> Result<Version, KmsError> {
        let sealed = self.seal(&place_of(key, &version.id), material)?;
        Ok(Version {
            sealed,
            ..version.clone()
        })
    }

    /// A value by which imported material of the master key `key` is known again. It tells nothing of the material.
    pub(super) fn check_of_material(&self, key: &str, material: &Key) -> String {
        let mac = self.hmac(format!("kmsfs imported material {key} ").as_bytes());
        HEXLOWER.encode(&mac.chain_update(material.expose()).finalize().into_bytes())
    }

    /// Seals `secret`, bound to its place, as base64 of nonce ‖ sealed ‖ tag.
    pub(super) fn seal(&self, place: &str, secret: &[u8]) -> Result<String, KmsError> {
        let nonce: [u8; NONCE] = random_bytes();
        let payload = Payload {
            msg: secret,
            aad: place.as_bytes(),
        };
        let sealed = Aes256GcmSiv::new(self.seal.expose().into())
            .encrypt(&nonce.into(), payload)
            .map_err(|_| KmsError::new("InternalFailure", "AES-GCM-SIV refused to seal"))?;
        Ok(BASE64.encode(&[&nonce, &sealed[..]].concat()))
    }

    /// What [`RootKey::seal`] sealed; none if it is something else.
    pub(super) fn unseal(&self, place: &str, sealed: &str) -> Option<Zeroizing<Vec<u8>>> {
        let sealed = BASE64.decode(sealed.as_bytes()).ok()?;
        let (nonce, msg) = sealed.split_first_chunk::<NONCE>()?;
        let aad = place.as_bytes();
        Aes256GcmSiv::new(self.seal.expose().into())
            .decrypt(&(*nonce).into(), Payload { msg, aad })
            .ok()
            .map(Zeroizing::new)
    }
}

fn damaged(key: &str) -> KmsError {
    KmsError::new("KeyStore.Damaged", "the key's material does not open").about(key)
}

/// What sealed material is bound to: both ids have a fixed length.
fn place_of(key: &str, version: &str) -> String {
    format!("kmsfs master key {key} {version}")
}

fn about(code: &'static str, message: &str, path: &Path) -> KmsError {
    KmsError::new(code, message).about(path.display().to_string())
}
