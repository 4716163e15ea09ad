//! One file for each command of the command line, and what they share: exit codes, failures, the daemon.

mod completions;
mod daemon;
mod dead;
mod engine;
mod ephemeral;
mod exit;
mod failure;
mod handler;
mod helper;
mod holders;
mod init;
mod key;
mod keystore;
mod kms;
mod kms_client;
mod launch;
mod lock;
mod log;
mod mount;
mod mounts;
mod out;
mod passphrase;
mod preflight;
mod recover;
mod run;
mod spool;
mod status;
mod umount;
mod unmount;
mod watchdog;

pub use exit::Exit;
pub use failure::Failure;
pub use run::run;
