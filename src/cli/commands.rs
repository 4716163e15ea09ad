//! The commands and what each takes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::PassphraseSource;
use super::options::{KmsOptions, MountOptions, VolumeOptions};
use super::single::{DecryptArgs, EncryptArgs, SealArgs, UnsealArgs};
use super::values::duration;

/// An encrypted directory whose keys a key management service controls.
#[derive(Debug, Parser)]
#[command(name = "kmsfs", version, propagate_version = true, disable_help_subcommand = true)]
#[command(max_term_width = 110)]
pub struct Cli {
    /// The configuration file [default: /etc/kmsfs/kmsfs.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE", env = "KMSFS_CONFIG", hide_env = true)]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `kmsfs` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an absent or empty directory a volume
    Init(InitArgs),
    /// Mount a volume, over itself or elsewhere
    Mount(Box<MountArgs>),
    /// Write everything back, unmount, and wait until the daemon has gone
    Umount(MountpointArgs),
    /// Say how one mount, or each, is doing
    Status(StatusArgs),
    /// Write back, then wipe every key of a mount: its data is dark until it is unlocked
    Lock(MountpointArgs),
    /// Ask the KMS for the keys of a locked mount again
    Unlock(MountpointArgs),
    /// Seal single files, without a mount
    ///
    /// FILE becomes FILE.sealed, a file in the format of volumes under a data key of its own; with --format guide
    /// FILE.cipher, the four lines of text of the KMS best-practice guide, chapter 3. The names of what was made are
    /// printed. Nothing is written over without --force, and nothing has its name before it is whole.
    Seal(SealArgs),
    /// Unseal single files: sealed ones, or stored ones of a volume that is not mounted
    ///
    /// FILE.sealed becomes FILE, with --format guide FILE.cipher does. A stored file in the directory of a volume, or in a
    /// copy of it, comes out here under its plain name; one that was copied elsewhere needs -o. If the volume's journal has
    /// newer content of a file, `kmsfs mount --recover-only` comes first.
    Unseal(UnsealArgs),
    /// Encrypt up to 6 KB of text with a master key
    ///
    /// The text goes to the KMS, and FILE.cipher holds what it answers, as in chapter 2 of the KMS best-practice guide: one
    /// line without an end. For more, for what is not text, and for what the KMS shall not see, there is `kmsfs seal`.
    Encrypt(EncryptArgs),
    /// Decrypt what `kmsfs encrypt` has made
    ///
    /// FILE.cipher becomes FILE. White space in it and around it does not matter. The KMS knows which master key it was.
    Decrypt(DecryptArgs),
    /// Make and manage master keys
    Key(KeyArgs),
    /// Be a KMS: the embedded key store behind Alibaba Cloud KMS's wire protocol, for development and tests
    Kms(KmsArgs),
    /// Print the completions of a shell
    #[command(hide = true)]
    Completions(CompletionsArgs),
    /// Write the man pages
    #[command(hide = true)]
    Manual(ManualArgs),
}

/// `kmsfs init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The directory: absent or empty
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    // Described where they are defined; clap would take this for their heading.
    pub volume: VolumeOptions,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub kms: KmsOptions,
}

/// `kmsfs mount`
#[derive(Debug, Args)]
pub struct MountArgs {
    /// The volume: the directory that holds what is stored
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Where it is to be seen [default: DIR itself]
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: Option<PathBuf>,
    /// Make DIR a volume first if it is empty
    #[arg(long)]
    pub init: bool,
    /// Bring what a crash has left in the journal to its places, which takes no key, and stop
    #[arg(long, conflicts_with_all = ["mountpoint", "init", "foreground", "read_only"])]
    pub recover_only: bool,
    /// Scratch space at DIR for temporary files: its key is in memory only, and nothing can be read after unmount,
    /// crash or lock
    #[arg(long, conflicts_with_all = ["mountpoint", "init", "recover_only", "read_only", "key_id", "overwrite"])]
    pub ephemeral: bool,
    /// Where an ephemeral mount stores what it holds until it ends [default: in DIR itself, below the mount]
    #[arg(long, value_name = "DIR", requires = "ephemeral")]
    pub backing_dir: Option<PathBuf>,
    /// Stay in the foreground, log to standard error, tell systemd when ready
    #[arg(long)]
    pub foreground: bool,
    /// Options of mount(8) (ro, noexec, nosuid, nodev, noatime, …) and the ones here by their names
    #[arg(short = 'o', value_name = "OPT,…", value_delimiter = ',')]
    pub options: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub mount: MountOptions,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub volume: VolumeOptions,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub kms: KmsOptions,
    /// Be the daemon of a mount in the background; standard output is a socket to the command that started it.
    #[arg(long, hide = true)]
    pub daemon: bool,
}

/// A command on a mount.
#[derive(Debug, Args)]
pub struct MountpointArgs {
    /// Where the volume is mounted
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,
}

/// `kmsfs status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Where the volume is mounted [default: every mount of this user]
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `kmsfs key`
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: KeyCommand,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub kms: KmsOptions,
}

/// What can be done with master keys. KEY is an id or `alias/NAME`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a master key (and the key store, if there is none) and print its id
    Create {
        /// Also give it a name
        #[arg(long, value_name = "alias/NAME")]
        alias: Option<String>,
        /// The kind of key
        #[arg(long, value_name = "SPEC", default_value = "Aliyun_AES_256")]
        spec: String,
        /// What it is for: ENCRYPT/DECRYPT or SIGN/VERIFY [default: the first that this kind of key can do]
        #[arg(long, value_name = "USAGE", value_parser = ["ENCRYPT/DECRYPT", "SIGN/VERIFY"])]
        usage: Option<String>,
        /// A note for people
        #[arg(long, value_name = "TEXT", default_value = "")]
        description: String,
        /// Give it a new version that often, from 7 days to 730
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        rotation: Option<Duration>,
    },
    /// List the master keys
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what there is to know of a master key
    Describe {
        /// The key
        #[arg(value_name = "KEY")]
        key: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let an alias name a master key, or take the alias away
    Alias {
        /// The alias
        #[arg(value_name = "alias/NAME")]
        alias: String,
        /// The key that it shall name from now on
        #[arg(value_name = "KEY", required_unless_present = "delete")]
        key: Option<String>,
        /// Take the alias away; its key stays
        #[arg(long, conflicts_with = "key")]
        delete: bool,
    },
    /// Let a disabled master key be used again
    Enable {
        /// The key
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Let a master key not be used: every volume under it goes dark
    Disable {
        /// The key
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Delete a master key after some days, and with it every volume under it
    ScheduleDeletion {
        /// The key
        #[arg(value_name = "KEY")]
        key: String,
        /// Days in which it can still be cancelled
        #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(7..=366))]
        days: u32,
    },
    /// Keep a master key that was to be deleted
    CancelDeletion {
        /// The key
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Give a master key a new version, which wraps from now on; or say how often that shall happen by itself
    Rotate {
        /// The key
        #[arg(value_name = "KEY")]
        key: String,
        /// No new version now, but one that often, from 7 days to 730
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        every: Option<Duration>,
        /// No new version now, and none by itself any more
        #[arg(long, conflicts_with = "every")]
        never: bool,
    },
}

/// `kmsfs kms`
#[derive(Debug, Args)]
pub struct KmsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: KmsCommand,
}

/// What a KMS of one's own can do.
#[derive(Debug, Subcommand)]
pub enum KmsCommand {
    /// Serve until SIGTERM or SIGINT; the first line on standard output says where
    Serve(KmsServeArgs),
}

/// `kmsfs kms serve`
#[derive(Debug, Args)]
pub struct KmsServeArgs {
    /// Where to listen, on this host only: plain data keys travel unencrypted. Port 0 picks one
    #[arg(long, value_name = "ADDR", value_parser = loopback)]
    pub listen: SocketAddr,
    /// The key store, made if it is not there
    #[arg(long, value_name = "PATH")]
    pub store: PathBuf,
    /// Who may ask: a line `ID SECRET [SECURITY-TOKEN]` for each [default: PATH.access-keys, made with one
    /// random access key]
    #[arg(long, value_name = "FILE")]
    pub access_keys: Option<PathBuf>,
    /// The region to be
    #[arg(long, value_name = "REGION", default_value = "cn-hangzhou")]
    pub region: String,
    /// Where to take faults and show counters, on this host only; the second line on standard output says where
    #[arg(long, value_name = "ADDR", value_parser = loopback)]
    pub admin: Option<SocketAddr>,
    /// Where the key store's passphrase is read from: a file, an open descriptor, or a systemd credential
    #[arg(long, value_name = "FILE|fd:N|credential:NAME", value_parser = PassphraseSource::parser())]
    pub passphrase_file: Option<PassphraseSource>,
}

/// An address of this host only.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let text = text.replace("localhost:", "127.0.0.1:");
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "an address is 127.0.0.1:PORT or [::1]:PORT".to_owned())?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => {
            Err("only addresses of this host (127.0.0.1, [::1]): plain data keys would cross the network".to_owned())
        }
    }
}

/// `kmsfs manual`
#[derive(Debug, Args)]
pub struct ManualArgs {
    /// The directory that they are written to
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// `kmsfs completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}
