//! `kmsfs completions`: from the same definitions as the command line itself.

use clap::CommandFactory;

use super::{Failure, out};
use crate::cli::{Cli, CompletionsArgs};

/// Prints the completions of a shell.
pub fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kmsfs", &mut script);
    out::line(String::from_utf8_lossy(&script).trim_end())
}
