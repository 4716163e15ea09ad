//! Typed settings: ready to use, with nothing left to look up. The defaults stand here and nowhere else.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::layers::parse;
use super::{ConfigError, KernelOption, Sources, mount_options};
use crate::cli::{
    EndpointType, IdleAction, InitArgs, KmsName, KmsOptions, Layer, MetricsPlace, MountArgs, MountOptions,
    OverwriteName, PassphraseSource, Reuse, SignatureName, Size, VolumeOptions, optional_path_bytes, path_bytes,
};
use crate::format::Geometry;
use crate::format::descriptor::{KmsKind, Overwrite};
use crate::keys::{CHECK_DEADLINE, LOCK_DEADLINE, WatchSettings};
use crate::store::JOURNAL_MIN;
use crate::{fuse, keys};

const DEFAULT_CHUNK: Size = Size(4096);
const DEFAULT_JOURNAL: Size = Size(64 << 20);
const DEFAULT_COMMIT: Duration = Duration::from_secs(5);
const DEFAULT_CHECK: Duration = Duration::from_secs(30);
const CHECK_MIN: Duration = Duration::from_millis(100);
const IDLE_MIN: Duration = Duration::from_secs(1);
const CHECK_MAX: Duration = Duration::from_secs(24 * 3600);
const DEFAULT_GRACE: Duration = Duration::from_secs(3600);
const JOURNAL_MAX: u64 = 64 << 30;
const KEYS_MAX: usize = 10_000_000;
const THREADS_MAX: usize = 64;
/// Well below the quotas of an account, 750 to 1000 for each action (reference of the KMS, section 4).
const DEFAULT_RATE: u32 = 300;
const DEFAULT_CONNECT: Duration = Duration::from_secs(5);
const DEFAULT_ANSWER: Duration = Duration::from_secs(10);
// What the README promises: dark one interval and one such deadline after the key was denied, at the latest.
const _: () = assert!(DEFAULT_ANSWER.as_secs() == CHECK_DEADLINE.as_secs() + LOCK_DEADLINE.as_secs());
const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);
/// Seconds that waiting for a KMS may take.
const SHORTEST_WAIT: f64 = 0.01;
const LONGEST_WAIT: f64 = 600.0;

/// Where master keys are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsSettings {
    /// Which KMS.
    pub kind: KmsKind,
    /// The file of the embedded key store.
    #[serde(with = "path_bytes")]
    pub key_store: PathBuf,
    /// Where its passphrase comes from; without one, its root key lies in a file.
    pub passphrase: Option<PassphraseSource>,
    /// How Alibaba Cloud KMS is reached.
    pub cloud: CloudSettings,
}

/// How Alibaba Cloud KMS is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudSettings {
    /// The region; none for what a volume says.
    pub region: Option<String>,
    /// The address; none for the region's own, or for what a volume says.
    pub endpoint: Option<String>,
    /// Whether the region's own address is the one within a VPC.
    pub vpc: bool,
    /// The certificates to believe; none for those of the system.
    #[serde(with = "optional_path_bytes")]
    pub ca_file: Option<PathBuf>,
    /// Whether requests are signed by version 1.
    pub signature_v1: bool,
    /// Most requests per second; 0 for no limit.
    pub rate: u32,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long one request may take.
    pub timeout: Duration,
    /// How long a call may take with all its tries.
    pub deadline: Duration,
}

impl KmsSettings {
    /// # Errors
    /// [`ConfigError`] about a value, or when there is no place for the key store.
    pub fn resolve(typed: KmsOptions, sources: &Sources) -> Result<Self, ConfigError> {
        let options = sources.complete(typed)?;
        let cloud = CloudSettings::resolve(&options)?;
        let key_store = match options.key_store {
            Some(path) => absolute(path)?,
            None => state_dir(sources)?.join("keystore"),
        };
        let kind = match options.kms {
            None | Some(KmsName::Local) => KmsKind::Local,
            Some(KmsName::Alibaba) => KmsKind::Alibaba,
        };
        Ok(Self {
            kind,
            key_store,
            passphrase: options.passphrase_file,
            cloud,
        })
    }
}

impl CloudSettings {
    fn resolve(options: &KmsOptions) -> Result<Self, ConfigError> {
        let time = |name: &str, given: Option<Duration>, default| {
            let time = given.unwrap_or(default);
            let seconds = within(name, time.as_secs_f64(), SHORTEST_WAIT, LONGEST_WAIT)?;
            Ok(Duration::from_secs_f64(seconds))
        };
        Ok(Self {
            region: options.region.clone(),
            endpoint: options.endpoint.clone(),
            vpc: options.endpoint_type == Some(EndpointType::Vpc),
            ca_file: options.kms_ca_file.clone().map(absolute).transpose()?,
            signature_v1: options.kms_signature == Some(SignatureName::V1),
            rate: options.kms_rate.unwrap_or(DEFAULT_RATE),
            connect_timeout: time("kms-connect-timeout", options.kms_connect_timeout, DEFAULT_CONNECT)?,
            timeout: time("kms-timeout", options.kms_timeout, DEFAULT_ANSWER)?,
            deadline: time("kms-deadline", options.kms_deadline, DEFAULT_DEADLINE)?,
        })
    }
}

/// A volume to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewVolume {
    /// The master key; none for `alias/kmsfs`, which the embedded key store makes on first use.
    pub key_id: Option<String>,
    /// Plain bytes of a chunk, checked.
    pub chunk_size: u32,
    /// How durable chunks are overwritten.
    pub overwrite: Overwrite,
}

impl NewVolume {
    /// # Errors
    /// [`ConfigError`] about a value.
    pub fn resolve(typed: VolumeOptions, sources: &Sources) -> Result<Self, ConfigError> {
        let options = sources.complete(typed)?;
        let size = options.chunk_size.unwrap_or(DEFAULT_CHUNK).0;
        let chunk_size = u32::try_from(size)
            .ok()
            .filter(|size| Geometry::new(*size).is_some())
            .ok_or_else(|| {
                let what = format!("a chunk size of {size} bytes is not possible");
                ConfigError::new(what, "the chunk size is a power of two from 4K to 1M")
            })?;
        let overwrite = match options.overwrite {
            None | Some(OverwriteName::Journal) => Overwrite::Journal,
            Some(OverwriteName::InPlace) => Overwrite::InPlace,
        };
        Ok(Self {
            key_id: options.key_id,
            chunk_size,
            overwrite,
        })
    }

    /// What `kmsfs init` was told.
    ///
    /// # Errors
    /// [`ConfigError`] about a value.
    pub fn of_init(args: InitArgs, sources: &Sources) -> Result<(Self, KmsSettings), ConfigError> {
        Ok((
            Self::resolve(args.volume, sources)?,
            KmsSettings::resolve(args.kms, sources)?,
        ))
    }
}

/// A mount to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSettings {
    /// The volume's directory, absolute.
    #[serde(with = "path_bytes")]
    pub backing: PathBuf,
    /// Where it is to be seen, absolute; the same as `backing` to mount over itself.
    #[serde(with = "path_bytes")]
    pub mountpoint: PathBuf,
    /// No volume, but scratch space, whose private directory is made in `backing`.
    pub ephemeral: bool,
    /// Make an empty directory a volume first, of this kind.
    pub init: Option<NewVolume>,
    /// Stay in the foreground.
    pub foreground: bool,
    /// Refuse every change.
    pub read_only: bool,
    /// Let other users in.
    pub allow_other: bool,
    /// Generic options for the kernel.
    pub kernel: Vec<KernelOption>,
    /// Where the master keys are.
    pub kms: KmsSettings,
    /// How long a data key stays in memory after the last contact with the KMS.
    pub key_ttl: Duration,
    /// How many data keys stay in memory.
    pub key_cache: usize,
    /// How the master key is watched.
    pub revocation: WatchSettings,
    /// Where metrics are served.
    pub metrics: Option<MetricsPlace>,
    /// The audit log, absolute.
    pub audit_log: Option<PathBuf>,
    /// Whether it tells of each open.
    pub audit_opens: bool,
    /// After which time without use what becomes of the mount.
    pub idle: Option<(Duration, IdleAction)>,
    /// Whether new files may share a data key.
    pub key_reuse: Option<Reuse>,
    /// Most bytes of the journal.
    pub journal_size: u64,
    /// How long written data may wait to be made durable.
    pub commit_interval: Duration,
    /// Threads that serve requests.
    pub threads: usize,
    /// The log of a mount in the background; none for the system log.
    pub log: Option<PathBuf>,
}

impl MountSettings {
    /// # Errors
    /// [`ConfigError`] about a value.
    pub fn resolve(args: MountArgs, sources: &Sources) -> Result<Self, ConfigError> {
        let keys = keys::Settings::default();
        let behind = mount_options::sort(&args.options)?;
        let options = sources.complete(args.mount.over(parse(&behind.own)?))?;
        let volume = NewVolume::resolve(args.volume.over(parse(&behind.own)?), sources)?;
        let kms = KmsSettings::resolve(args.kms.over(parse(&behind.own)?), sources)?;
        let dir = absolute(args.dir)?;
        // Of an ephemeral mount the mount point is what has to be said.
        let other = if args.ephemeral {
            args.backing_dir
        } else {
            args.mountpoint
        };
        let other = other.map_or_else(|| Ok(dir.clone()), absolute)?;
        let (backing, mountpoint) = if args.ephemeral { (other, dir) } else { (dir, other) };
        Ok(Self {
            backing,
            mountpoint,
            ephemeral: args.ephemeral,
            init: args.init.then_some(volume),
            foreground: args.foreground,
            read_only: options.read_only.unwrap_or(false),
            allow_other: options.allow_other.unwrap_or(false),
            kernel: behind.kernel,
            kms,
            key_ttl: options.key_ttl.unwrap_or(keys.ttl),
            key_cache: within("key-cache", options.key_cache.unwrap_or(keys.capacity), 0, KEYS_MAX)?,
            revocation: revocation(&options)?,
            idle: idle(&options)?,
            audit_opens: audit_opens(&options)?,
            key_reuse: options.key_reuse,
            journal_size: journal_size(&options)?,
            commit_interval: options.commit_interval.unwrap_or(DEFAULT_COMMIT),
            threads: within(
                "threads",
                options.threads.unwrap_or_else(|| fuse::MountOptions::default().threads),
                1,
                THREADS_MAX,
            )?,
            audit_log: options.audit_log.map(absolute).transpose()?,
            metrics: options.metrics.map(metrics).transpose()?,
            log: options.log.map(absolute).transpose()?,
        })
    }
}

fn metrics(place: MetricsPlace) -> Result<MetricsPlace, ConfigError> {
    match place {
        MetricsPlace::Socket(path) => absolute(path).map(MetricsPlace::Socket),
        MetricsPlace::Loopback(_) => Ok(place),
    }
}

fn audit_opens(options: &MountOptions) -> Result<bool, ConfigError> {
    match (options.audit_opens.unwrap_or(false), &options.audit_log) {
        (true, None) => Err(ConfigError::new(
            "audit-opens has no file to write to",
            "name one with --audit-log FILE",
        )),
        (opens, _) => Ok(opens),
    }
}

fn idle(options: &MountOptions) -> Result<Option<(Duration, IdleAction)>, ConfigError> {
    match (options.idle_timeout, options.idle_action) {
        (Some(time), _) if time < IDLE_MIN => Err(ConfigError::new(
            format!("idle-timeout {} is not possible", humantime::format_duration(time)),
            "idle-timeout is 1s or more",
        )),
        (Some(time), action) => Ok(Some((time, action.unwrap_or(IdleAction::Unmount)))),
        (None, Some(_)) => Err(ConfigError::new(
            "idle-action is of no use without idle-timeout",
            "say with --idle-timeout after which time without use",
        )),
        (None, None) => Ok(None),
    }
}

fn revocation(options: &MountOptions) -> Result<WatchSettings, ConfigError> {
    let interval = options.revocation_check.unwrap_or(DEFAULT_CHECK);
    if !(CHECK_MIN..=CHECK_MAX).contains(&interval) {
        let what = format!(
            "revocation-check {} is not possible",
            humantime::format_duration(interval)
        );
        return Err(ConfigError::new(what, "revocation-check is from 100ms to 1day"));
    }
    let grace = options.offline_grace.map_or(Some(DEFAULT_GRACE), |grace| grace.0);
    Ok(WatchSettings { interval, grace })
}

fn journal_size(options: &MountOptions) -> Result<u64, ConfigError> {
    within(
        "journal-size",
        options.journal_size.unwrap_or(DEFAULT_JOURNAL).0,
        JOURNAL_MIN,
        JOURNAL_MAX,
    )
}

fn within<T: PartialOrd + std::fmt::Display>(name: &str, value: T, min: T, max: T) -> Result<T, ConfigError> {
    if min <= value && value <= max {
        return Ok(value);
    }
    let help = format!("{name} is from {min} to {max}");
    Err(ConfigError::new(format!("{name} {value} is not possible"), help))
}

fn absolute(path: PathBuf) -> Result<PathBuf, ConfigError> {
    std::path::absolute(&path).map_err(|error| {
        let what = format!("the path {:?} is not possible: {error}", path.display());
        ConfigError::new(what, "name a file or directory")
    })
}

/// Where what must outlive a reboot lies: for root in the system's place, for others in their own.
fn state_dir(sources: &Sources) -> Result<PathBuf, ConfigError> {
    if let Some(dir) = sources.variable("KMSFS_STATE_DIR") {
        return absolute(dir.into());
    }
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/kmsfs".into());
    }
    if let Some(dir) = sources.variable("XDG_STATE_HOME") {
        return absolute(PathBuf::from(dir).join("kmsfs"));
    }
    match sources.variable("HOME") {
        Some(home) => absolute(PathBuf::from(home).join(".local/state/kmsfs")),
        None => Err(ConfigError::new(
            "there is no place for the key store: neither XDG_STATE_HOME nor HOME is set",
            "name one with --key-store PATH",
        )),
    }
}
