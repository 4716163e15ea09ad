//! Options that may also stand in the environment, in the configuration file and behind `-o`. All are optional
//! here: `config` lays the layers over each other and knows the defaults.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::{
    EndpointType, Grace, IdleAction, KmsName, MetricsPlace, OverwriteName, PassphraseSource, Reuse, SignatureName,
    Size, duration,
};

/// A set of options as one source gives it.
pub trait Layer: Args + Default {
    /// This layer over another: what this one does not say, `below` does.
    #[must_use]
    fn over(self, below: Self) -> Self;
}

macro_rules! layer {
    ($name:ident { $($field:ident),+ $(,)? }) => {
        impl Layer for $name {
            fn over(self, below: Self) -> Self {
                $name { $($field: self.$field.or(below.$field)),+ }
            }
        }
    };
}

/// Where master keys are.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Key management service")]
pub struct KmsOptions {
    /// Which KMS holds the master keys [default: local, the embedded key store]
    #[arg(long, global = true, value_name = "KMS")]
    pub kms: Option<KmsName>,
    /// The file of the embedded key store [default: keystore in the state directory]
    #[arg(long, global = true, value_name = "PATH")]
    pub key_store: Option<PathBuf>,
    /// Where the key store's passphrase is read from: a file, an open descriptor, or a systemd credential
    #[arg(long, global = true, value_name = "FILE|fd:N|credential:NAME", value_parser = PassphraseSource::parser())]
    pub passphrase_file: Option<PassphraseSource>,
    /// The region of Alibaba Cloud KMS, as cn-hangzhou [also: ALIBABA_CLOUD_REGION_ID]
    #[arg(long, global = true, value_name = "REGION")]
    pub region: Option<String>,
    /// Its address, where it is not the region's own: a host name or a URL; http for this host only
    #[arg(long, global = true, value_name = "HOST|URL")]
    pub endpoint: Option<String>,
    /// The region's own address over which network [default: public]
    #[arg(long, global = true, value_name = "NETWORK")]
    pub endpoint_type: Option<EndpointType>,
    /// Believe the certificates of this PEM file only, as of a KMS instance [also: ALIBABA_CLOUD_CA_BUNDLE]
    #[arg(long, global = true, value_name = "FILE")]
    pub kms_ca_file: Option<PathBuf>,
    /// How requests are signed [default: v3]
    #[arg(long, global = true, value_name = "VERSION")]
    pub kms_signature: Option<SignatureName>,
    /// Most requests to the KMS per second, 0 for no limit [default: 300]
    #[arg(long, global = true, value_name = "N")]
    pub kms_rate: Option<u32>,
    /// How long a connection to the KMS may take [default: 5s]
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration)]
    pub kms_connect_timeout: Option<Duration>,
    /// How long one request may take [default: 10s]
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration)]
    pub kms_timeout: Option<Duration>,
    /// How long a call may take with all its tries [default: 30s]
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration)]
    pub kms_deadline: Option<Duration>,
}
layer!(KmsOptions {
    kms,
    key_store,
    passphrase_file,
    region,
    endpoint,
    endpoint_type,
    kms_ca_file,
    kms_signature,
    kms_rate,
    kms_connect_timeout,
    kms_timeout,
    kms_deadline,
});

/// What a new volume shall be.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "New volume")]
pub struct VolumeOptions {
    /// The master key [default: alias/kmsfs; the embedded key store makes it on first use]
    #[arg(long, value_name = "ID|alias/NAME")]
    pub key_id: Option<String>,
    /// Bytes that are sealed together: a power of two from 4K to 1M [default: 4K]
    #[arg(long, value_name = "SIZE")]
    pub chunk_size: Option<Size>,
    /// How durable data is overwritten [default: journal]
    #[arg(long, value_name = "HOW")]
    pub overwrite: Option<OverwriteName>,
}
layer!(VolumeOptions {
    key_id,
    chunk_size,
    overwrite
});

/// How a volume is mounted.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Mount")]
pub struct MountOptions {
    /// Refuse every change
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub read_only: Option<bool>,
    /// Let other users in, as far as modes and owners allow
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub allow_other: Option<bool>,
    /// How long a data key stays in memory after the KMS was last asked for it [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub key_ttl: Option<Duration>,
    /// How many data keys of closed files stay in memory [default: 4096]
    #[arg(long, value_name = "KEYS")]
    pub key_cache: Option<usize>,
    /// How often the KMS is asked whether the master key may still be used [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub revocation_check: Option<Duration>,
    /// How long the volume stays readable while the KMS does not answer [default: 1h]
    #[arg(long, value_name = "DURATION|unlimited")]
    pub offline_grace: Option<Grace>,
    /// Serve metrics for Prometheus at a loopback address or a Unix socket [default: nowhere]
    #[arg(long, value_name = "ADDRESS:PORT|unix:PATH")]
    pub metrics: Option<MetricsPlace>,
    /// Append a line of JSON to this file whenever the volume is mounted, locked, denied, … [default: no file]
    #[arg(long, value_name = "FILE")]
    pub audit_log: Option<PathBuf>,
    /// Write each open to the audit log too, with user, process and plain path
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub audit_opens: Option<bool>,
    /// Unmount when nobody has used the mount for so long [default: never]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub idle_timeout: Option<Duration>,
    /// What to do then [default: unmount]
    #[arg(long, value_name = "WHAT")]
    pub idle_action: Option<IdleAction>,
    /// Let new files share a data key within these bounds [default: one key for each file]
    #[arg(long, value_name = "FILES,SECONDS,BYTES")]
    pub key_reuse: Option<Reuse>,
    /// Most bytes of the journal [default: 64M]
    #[arg(long, value_name = "SIZE")]
    pub journal_size: Option<Size>,
    /// How long written data may wait to be made durable when nobody asks for it [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub commit_interval: Option<Duration>,
    /// Threads that serve requests [default: two for each processor, 4 to 32]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Write the log of a mount in the background to this file [default: the system log]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}
layer!(MountOptions {
    read_only,
    allow_other,
    key_ttl,
    key_cache,
    revocation_check,
    offline_grace,
    metrics,
    audit_log,
    audit_opens,
    idle_timeout,
    idle_action,
    key_reuse,
    journal_size,
    commit_interval,
    threads,
    log,
});
