//! The command line as it is typed: commands, options and their values, and clap's complaints in two lines.
//!
//! It decides nothing: what an option that was not given means is `config`'s to say, and what a command does `cmd`'s.

mod commands;
mod complaint;
mod helper;
mod options;
mod single;
mod values;

pub use commands::{
    Cli, Command, CompletionsArgs, InitArgs, KeyArgs, KeyCommand, KmsArgs, KmsCommand, KmsServeArgs, ManualArgs,
    MountArgs, MountpointArgs, StatusArgs,
};
pub use complaint::Complaint;
pub use helper::HelperArgs;
pub use options::{KmsOptions, Layer, MountOptions, VolumeOptions};
pub use single::{DecryptArgs, EncryptArgs, FileFormat, OutputArgs, SealArgs, UnsealArgs};
pub use values::{
    ContextPair, EndpointType, Grace, IdleAction, KmsName, MetricsPlace, OverwriteName, PassphraseSource, Reuse,
    SignatureName, Size, optional_path_bytes, path_bytes,
};
