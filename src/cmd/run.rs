//! From the words of the command line to the command.

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches};

use super::{
    Exit, Failure, completions, encrypt, helper, init, key, kms, lock, manual, mount, out, seal, status, umount, unseal,
};
use crate::cli::{Cli, Command, Complaint};
use crate::config::Sources;

/// Runs the command that `words` name; the first is the program itself.
///
/// # Errors
/// Why the command failed, to be printed.
pub fn run(words: impl IntoIterator<Item = OsString>) -> Result<(), Failure> {
    let words: Vec<OsString> = words.into_iter().collect();
    let environment = |name: &str| std::env::var_os(name);
    if words.first().is_some_and(|program| helper::is_called(program)) {
        return helper::run(&words, &Sources::load(None, &environment)?);
    }
    let definition = Cli::command().after_long_help(Exit::table_text());
    let parsed = definition
        .try_get_matches_from(words)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            return match Complaint::of(&error) {
                Some(complaint) => Err(Failure::new(Exit::Usage, complaint.what, complaint.help)),
                None => out::line(error.render().to_string().trim_end()),
            };
        }
    };
    let sources = Sources::load(cli.config.as_deref(), &environment)?;
    match cli.command {
        Command::Init(args) => init::run(args, &sources),
        Command::Mount(args) => mount::run(*args, &sources),
        Command::Umount(args) => umount::run(&args, &sources),
        Command::Status(args) => status::run(&args, &sources),
        Command::Lock(args) => lock::lock(&args, &sources),
        Command::Unlock(args) => lock::unlock(&args, &sources),
        Command::Seal(args) => seal::run(args, &sources),
        Command::Unseal(args) => unseal::run(args, &sources),
        Command::Encrypt(args) => encrypt::encrypt(args, &sources),
        Command::Decrypt(args) => encrypt::decrypt(args, &sources),
        Command::Key(args) => key::run(args, &sources),
        Command::Kms(args) => kms::run(args, &sources),
        Command::Completions(args) => completions::run(&args),
        Command::Manual(args) => manual::run(&args),
    }
}
