//! `kmsfs manual`: the man pages, from the same definitions as the command line itself.

use clap::CommandFactory;

use super::{Exit, Failure};
use crate::cli::{Cli, HelperArgs, ManualArgs};

/// Writes a page for each command, and one for the mount helper, into a directory.
pub fn run(args: &ManualArgs) -> Result<(), Failure> {
    let commands = Cli::command().after_long_help(Exit::table_text());
    // Section 8, where mount(8) looks for its helpers.
    let helper = clap_mangen::Man::new(HelperArgs::command()).section("8");
    clap_mangen::generate_to(commands, &args.dir)
        .and_then(|()| helper.generate_to(&args.dir))
        .map(drop)
        .map_err(|error| Failure::io("writing man pages into", &args.dir, &error))
}
