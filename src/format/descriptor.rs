//! The volume descriptor, `kmsfs.volume`: what a volume is, in a text that a person can read.
//!
//! ```text
//! kmsfs volume 1
//! { … JSON … }
//! mac 64 hexadecimal digits
//! ```
//!
//! The MAC (HMAC-SHA-256, the volume key's descriptor subkey) is over every byte before its line, so a
//! field that was edited, added or left out is noticed, and no field can switch a protection off.

use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};

use super::head::MAC_LEN;
use super::ids::{NodeId, VolumeId};
use super::wrapped::{Slot, WrappedKey};
use super::{FormatError, Geometry};

/// The descriptor's name in the backing's root.
pub const FILE_NAME: &str = "kmsfs.volume";
/// The version of the format of volumes.
pub const VERSION: u32 = 1;
/// Most bytes of a descriptor.
pub const LEN_MAX: usize = 16 * 1024;

const FIRST_WORDS: &str = "kmsfs volume ";
const MAC_WORD: &str = "mac ";
const WHAT: &str = "volume descriptor";

/// What a volume is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Descriptor {
    /// The volume's identity.
    #[serde(with = "text")]
    pub volume: VolumeId,
    /// The identity of its root directory, which has no stored name to stand in.
    #[serde(with = "text")]
    pub root: NodeId,
    /// Plain bytes of a chunk.
    pub chunk_size: u32,
    /// How durable chunks are overwritten.
    pub overwrite: Overwrite,
    /// Where the master key is.
    pub kms: KmsKind,
    /// The KMS's region; empty for the embedded key store.
    pub region: String,
    /// Its address, where it is not the region's own; empty if it is.
    pub endpoint: String,
    /// The volume key, wrapped.
    volume_key: Wrapped,
    /// The same key wrapped once more: escrow, or the next master key during a rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    volume_key_second: Option<Wrapped>,
    /// Feature names; see [`super::head::Features`] for what each class means.
    features: FeatureNames,
}

/// How a volume overwrites chunks that are durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overwrite {
    /// Through the redo journal: a crash leaves each chunk old or new.
    #[default]
    Journal,
    /// Where they lie: a crash may leave a chunk that does not open. For scratch data.
    InPlace,
}

/// Which key management service holds the master key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KmsKind {
    /// The embedded key store.
    #[default]
    Local,
    /// Alibaba Cloud KMS.
    Alibaba,
    /// None: the key was in the memory of the process that made the volume, and is gone with it.
    Ephemeral,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    master_key: String,
    blob: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FeatureNames {
    compatible: Vec<String>,
    read_only: Vec<String>,
    incompatible: Vec<String>,
}

/// A well-formed descriptor that nobody has authenticated yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawDescriptor {
    /// What it claims.
    pub descriptor: Descriptor,
    /// The bytes that the MAC is over.
    pub maced: Vec<u8>,
    /// The MAC.
    pub mac: [u8; MAC_LEN],
}

impl Descriptor {
    /// A descriptor of a new volume whose volume key is `volume_key`.
    #[must_use]
    pub fn new(volume: VolumeId, geometry: Geometry, volume_key: &WrappedKey) -> Self {
        Self {
            volume,
            root: NodeId::random(),
            chunk_size: geometry.chunk_size() as u32,
            overwrite: Overwrite::default(),
            kms: KmsKind::default(),
            region: String::new(),
            endpoint: String::new(),
            volume_key: Wrapped {
                master_key: volume_key.master_key.clone(),
                blob: BASE64.encode(&volume_key.blob),
            },
            volume_key_second: None,
            features: FeatureNames::default(),
        }
    }

    /// The wrapped volume key.
    ///
    /// # Errors
    /// [`FormatError::Field`] when it is not base64 or too long.
    pub fn volume_key(&self) -> Result<WrappedKey, FormatError> {
        let blob = BASE64.decode(self.volume_key.blob.as_bytes());
        let key = WrappedKey {
            master_key: self.volume_key.master_key.clone(),
            blob: blob.map_err(|_| field("volume key"))?,
        };
        Slot::new(&key)?;
        Ok(key)
    }

    /// The geometry of the volume's files.
    ///
    /// # Errors
    /// [`FormatError::Field`] when the chunk size is not a power of two from 4 KiB to 1 MiB.
    pub fn geometry(&self) -> Result<Geometry, FormatError> {
        Geometry::new(self.chunk_size).ok_or(field("chunk size"))
    }

    /// The bytes that the MAC is to be over.
    ///
    /// # Errors
    /// [`FormatError::Field`] when a text cannot be written as JSON.
    pub fn to_maced(&self) -> Result<Vec<u8>, FormatError> {
        let json = serde_json::to_string_pretty(self).map_err(|_| field("text"))?;
        Ok(format!("{FIRST_WORDS}{VERSION}\n{json}\n").into_bytes())
    }
}

/// The bytes of the descriptor file.
#[must_use]
pub fn with_mac(maced: &[u8], mac: &[u8; MAC_LEN]) -> Vec<u8> {
    let mut bytes = maced.to_vec();
    bytes.extend_from_slice(format!("{MAC_WORD}{}\n", HEXLOWER.encode(mac)).as_bytes());
    bytes
}

impl RawDescriptor {
    /// Reads a descriptor.
    ///
    /// # Errors
    /// [`FormatError`] when the bytes are not well-formed or of a newer format.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() > LEN_MAX {
            return Err(field("length"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| FormatError::Magic { what: WHAT })?;
        let rest = text
            .strip_prefix(FIRST_WORDS)
            .ok_or(FormatError::Magic { what: WHAT })?;
        let (version, rest) = rest.split_once('\n').ok_or(field("first line"))?;
        if version != VERSION.to_string() {
            let number = version.parse::<u32>().map_err(|_| field("version"))?;
            let detail = format!("version {number}");
            return Err(FormatError::Newer { what: WHAT, detail });
        }
        let (json, mac) = rest.rsplit_once(MAC_WORD).ok_or(field("MAC"))?;
        let mac = mac.strip_suffix('\n').ok_or(field("MAC"))?;
        let mac = HEXLOWER.decode(mac.as_bytes()).map_err(|_| field("MAC"))?;
        let descriptor: Descriptor = serde_json::from_str(json).map_err(|_| field("content"))?;
        descriptor.check()?;
        Ok(Self {
            maced: bytes[..text.len() - rest.len() + json.len()].to_vec(),
            mac: mac.try_into().map_err(|_| field("MAC"))?,
            descriptor,
        })
    }
}

impl Descriptor {
    /// The features under which this version may read the volume but not write it.
    #[must_use]
    pub fn read_only_features(&self) -> &[String] {
        &self.features.read_only
    }

    fn check(&self) -> Result<(), FormatError> {
        let incompatible = &self.features.incompatible;
        if !incompatible.is_empty() {
            let detail = format!("features {}", incompatible.join(", "));
            return Err(FormatError::Newer { what: WHAT, detail });
        }
        self.geometry()?;
        self.volume_key()?;
        Ok(())
    }
}

fn field(field: &'static str) -> FormatError {
    FormatError::Field { what: WHAT, field }
}

mod text {
    //! Identities as text in JSON.
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<T: Display, S: Serializer>(id: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub fn deserialize<'de, T: FromStr, D: Deserializer<'de>>(from: D) -> Result<T, D::Error>
    where
        T::Err: Display,
    {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Descriptor {
        let key = WrappedKey {
            master_key: "key".into(),
            blob: vec![9; 108],
        };
        Descriptor::new(VolumeId::random(), Geometry::new(4096).unwrap(), &key)
    }

    #[test]
    fn bytes_and_back() {
        let descriptor = sample();
        let maced = descriptor.to_maced().unwrap();
        let raw = RawDescriptor::parse(&with_mac(&maced, &[5; 32])).unwrap();
        assert_eq!((raw.descriptor, raw.maced, raw.mac), (descriptor, maced, [5; 32]));
    }

    #[test]
    fn a_newer_volume_is_named_as_such() {
        let text = "kmsfs volume 2\nanything\n";
        assert!(matches!(
            RawDescriptor::parse(text.as_bytes()),
            Err(FormatError::Newer { .. })
        ));
    }

    proptest! {
        #[test]
        fn cut_or_damaged_never_panics(cut in 0usize..900, at in 0usize..900, byte in any::<u8>()) {
            let mut bytes = with_mac(&sample().to_maced().unwrap(), &[5; 32]);
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut);
            let _ = RawDescriptor::parse(&bytes);
        }
    }
}
