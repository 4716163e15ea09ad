//! The commands on single pieces of data: small texts online with the master key, files without a mount.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::options::KmsOptions;
use super::values::{ContextPair, Size};

/// Where a result goes.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// Where the result goes: a file, or a directory to hold it under its default name
    #[arg(short = 'o', long, value_name = "OUT")]
    pub output: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long)]
    pub force: bool,
}

/// `kmsfs encrypt`
#[derive(Debug, Args)]
pub struct EncryptArgs {
    /// The text [default: standard input; the result then goes to standard output]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The master key [default: alias/kmsfs, made on first use in the embedded key store]
    #[arg(long, value_name = "ID|alias/NAME")]
    pub key_id: Option<String>,
    /// A pair that has to be given again to decrypt it; it is not secret
    #[arg(long, value_name = "KEY=VALUE")]
    pub context: Vec<ContextPair>,
    #[command(flatten)]
    #[allow(missing_docs)] // As in `commands`.
    pub output: OutputArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub kms: KmsOptions,
}

/// `kmsfs decrypt`
#[derive(Debug, Args)]
pub struct DecryptArgs {
    /// The encrypted text [default: standard input; the result then goes to standard output]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A pair that was given to encrypt it
    #[arg(long, value_name = "KEY=VALUE")]
    pub context: Vec<ContextPair>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub kms: KmsOptions,
}

/// How a single sealed file is written down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    /// The format of files in a volume
    #[default]
    Kmsfs,
    /// The four lines of the KMS best-practice guide, chapter 3
    Guide,
}

/// `kmsfs seal`
#[derive(Debug, Args)]
pub struct SealArgs {
    /// The files
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// How the sealed file is written down
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub format: FileFormat,
    /// The master key [default: alias/kmsfs, made on first use in the embedded key store]
    #[arg(long, value_name = "ID|alias/NAME")]
    pub key_id: Option<String>,
    /// Bytes that are sealed together: a power of two from 4K to 1M [default: 4K]
    #[arg(long, value_name = "SIZE")]
    pub chunk_size: Option<Size>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub kms: KmsOptions,
}

/// `kmsfs unseal`
#[derive(Debug, Args)]
pub struct UnsealArgs {
    /// The files: sealed ones, or stored ones in or from the directory of a volume that is not mounted
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// How the sealed file is written down
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub format: FileFormat,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub kms: KmsOptions,
}
