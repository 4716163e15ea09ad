//! The values of options: sizes, durations, where a passphrase comes from. Each is parsed once, from text.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::{OsStringValueParser, TypedValueParser};
use serde::{Deserialize, Serialize};

/// A number of bytes, as `4096`, `64K`, `1M` or `2GiB`: powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(end);
        let shift = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err("a size is a number with K, M, G or T behind it, as 64K".into()),
        };
        let number: u64 = digits
            .parse()
            .map_err(|_| "a size is a number of bytes, as 4096 or 64K")?;
        let bytes = number.checked_mul(1 << shift).ok_or("this size is too large")?;
        Ok(Size(bytes))
    }
}

/// A duration: `90s`, `5m`, `1h 30m`, or a plain number of seconds.
///
/// # Errors
/// What is wrong with `text`, in words.
pub fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|_| "a duration is a number with a unit, as 90s, 5m or 1h".into())
}

/// What becomes of a mount that nobody uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum IdleAction {
    /// It is unmounted, unless somebody has a file open or is in a directory of it
    Unmount,
    /// It is locked until somebody unlocks it
    Lock,
}

/// Where metrics are served: a loopback address with a port, or `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetricsPlace {
    /// At this address, which is of this machine alone.
    Loopback(SocketAddr),
    /// At this Unix socket.
    Socket(#[serde(with = "path_bytes")] PathBuf),
}

impl FromStr for MetricsPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<MetricsPlace, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(MetricsPlace::Socket(path.into()));
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(MetricsPlace::Loopback(address)),
            Ok(_) => Err("metrics are served at a loopback address only, as 127.0.0.1:9750, or at unix:PATH".into()),
            Err(_) => Err("metrics are served at ADDRESS:PORT, as 127.0.0.1:9750, or at unix:PATH".into()),
        }
    }
}

/// How long something goes on without contact: a duration, or without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grace(pub Option<Duration>);

impl FromStr for Grace {
    type Err = String;

    fn from_str(text: &str) -> Result<Grace, String> {
        match text {
            "unlimited" => Ok(Grace(None)),
            text => duration(text)
                .map(|time| Grace(Some(time)))
                .map_err(|why| format!("{why}; or unlimited")),
        }
    }
}

/// How long one data key serves new files, whichever bound is reached first: `FILES,SECONDS,BYTES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reuse {
    /// Files under one data key, at least 1.
    pub files: u32,
    /// For how long after it was made it is given to new files.
    pub time: Duration,
    /// Plain bytes that its files may hold when a new one joins.
    pub bytes: u64,
}

impl FromStr for Reuse {
    type Err = String;

    fn from_str(text: &str) -> Result<Reuse, String> {
        let form = "key reuse is FILES,SECONDS,BYTES, as 100,60s,1G";
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let &[files, time, bytes] = parts.as_slice() else {
            return Err(form.into());
        };
        let files = files.parse().map_err(|_| form)?;
        if files == 0 {
            return Err("a data key serves at least one file".into());
        }
        Ok(Reuse {
            files,
            time: duration(time)?,
            bytes: bytes.parse::<Size>()?.0,
        })
    }
}

/// One pair of an encryption context, as `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextPair(pub String, pub String);

impl FromStr for ContextPair {
    type Err = String;

    fn from_str(text: &str) -> Result<ContextPair, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(ContextPair(key.into(), value.into())),
            _ => Err("a pair of a context is KEY=VALUE".into()),
        }
    }
}

/// How a volume overwrites what is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OverwriteName {
    /// Through the journal: a crash leaves each chunk old or new
    Journal,
    /// In place: faster, but a crash may leave chunks that cannot be read (scratch data)
    InPlace,
}

/// Which KMS holds the master keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KmsName {
    /// The embedded key store, in a file
    Local,
    /// Alibaba Cloud KMS
    Alibaba,
}

/// Over which network a region's own address is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EndpointType {
    /// kms.REGION.aliyuncs.com
    Public,
    /// kms-vpc.REGION.aliyuncs.com
    Vpc,
}

/// How requests to Alibaba Cloud KMS are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SignatureName {
    /// ACS3-HMAC-SHA256
    V3,
    /// HMAC-SHA1, for services that know no other
    V1,
}

/// Where a passphrase is read from. Never the command line itself, which every user of the machine can see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PassphraseSource {
    /// The first line of a file.
    File(#[serde(with = "path_bytes")] PathBuf),
    /// The first line of an inherited descriptor.
    Descriptor(i32),
    /// A systemd credential of this name.
    Credential(String),
}

impl PassphraseSource {
    /// The parser of `FILE`, `fd:N` and `credential:NAME`.
    pub fn parser() -> impl TypedValueParser<Value = PassphraseSource> {
        OsStringValueParser::new().try_map(PassphraseSource::parse)
    }

    fn parse(text: OsString) -> Result<PassphraseSource, String> {
        let Some(plain) = text.to_str() else {
            return Ok(PassphraseSource::File(text.into()));
        };
        if let Some(number) = plain.strip_prefix("fd:") {
            return match number.parse() {
                Ok(number) if number >= 0 => Ok(PassphraseSource::Descriptor(number)),
                _ => Err("a descriptor is fd:N with the number of an open one".into()),
            };
        }
        match plain.strip_prefix("credential:") {
            Some(name) if name.is_empty() || name.contains('/') => {
                Err("a credential is credential:NAME, without a slash".into())
            }
            Some(name) => Ok(PassphraseSource::Credential(name.into())),
            None if plain.is_empty() => Err("a file name is needed".into()),
            None => Ok(PassphraseSource::File(text.into())),
        }
    }
}

/// Paths as bytes: they need not be text.
pub mod path_bytes {
    use super::*;

    /// As an array of numbers.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: serde::Serializer>(path: &std::path::Path, to: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().as_bytes().serialize(to)
    }

    /// From an array of numbers.
    ///
    /// # Errors
    /// The deserializer's.
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        Ok(OsString::from_vec(Vec::deserialize(from)?).into())
    }
}

/// Optional paths as bytes.
pub mod optional_path_bytes {
    use super::*;

    /// As an array of numbers, or null.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: serde::Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
        path.as_ref().map(|path| path.as_os_str().as_bytes()).serialize(to)
    }

    /// From an array of numbers, or null.
    ///
    /// # Errors
    /// The deserializer's.
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
        let bytes: Option<Vec<u8>> = Option::deserialize(from)?;
        Ok(bytes.map(|bytes| OsString::from_vec(bytes).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!("4096".parse(), Ok(Size(4096)));
        assert_eq!("64K".parse(), Ok(Size(65536)));
        assert_eq!("2 GiB".parse(), Ok(Size(2 << 30)));
        for bad in ["", "K", "-1", "4X", "99999999999T", "1.5M"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert!(duration("soon").is_err());
    }

    #[test]
    fn metrics_stay_on_this_machine() {
        let place = |text: &str| text.parse::<MetricsPlace>();
        assert!(place("127.0.0.1:9750").is_ok() && place("[::1]:9750").is_ok());
        assert_eq!(place("unix:/run/m"), Ok(MetricsPlace::Socket("/run/m".into())));
        for bad in ["", "unix:", "9750", "0.0.0.0:9750", "192.0.2.1:80", "localhost"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_grace_may_have_no_end() {
        assert_eq!("unlimited".parse(), Ok(Grace(None)));
        assert_eq!("0".parse(), Ok(Grace(Some(Duration::ZERO))));
        assert_eq!("2h".parse(), Ok(Grace(Some(Duration::from_secs(7200)))));
        assert!("for ever".parse::<Grace>().is_err());
    }

    #[test]
    fn reuse_needs_three_bounds() {
        let reuse: Reuse = "100,60s,1G".parse().unwrap();
        assert_eq!((reuse.files, reuse.time.as_secs(), reuse.bytes), (100, 60, 1 << 30));
        for bad in ["", "1,2", "0,60,1G", "1,2,3,4", "a,b,c"] {
            assert!(bad.parse::<Reuse>().is_err(), "{bad}");
        }
    }

    #[test]
    fn context_pairs() {
        assert_eq!("a=b=c".parse(), Ok(ContextPair("a".into(), "b=c".into())));
        for bad in ["", "a", "=b"] {
            assert!(bad.parse::<ContextPair>().is_err(), "{bad}");
        }
    }

    #[test]
    fn passphrase_sources() {
        let parse = |text: &str| PassphraseSource::parse(text.into());
        assert_eq!(parse("fd:3"), Ok(PassphraseSource::Descriptor(3)));
        assert_eq!(parse("credential:a"), Ok(PassphraseSource::Credential("a".into())));
        assert_eq!(parse("/p"), Ok(PassphraseSource::File("/p".into())));
        for bad in ["fd:", "fd:-1", "fd:x", "credential:", "credential:../x", ""] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
