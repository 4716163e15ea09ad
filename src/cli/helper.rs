//! The command line of the mount helper, as mount(8) calls it for lines of fstab: `mount.kmsfs SPEC DIR -o OPT,…`.

use std::path::PathBuf;

use clap::Parser;

/// Mount a kmsfs volume for mount(8), which calls this for file systems of type `kmsfs`.
#[derive(Debug, Clone, Parser)]
#[command(name = "mount.kmsfs", version, max_term_width = 110)]
pub struct HelperArgs {
    /// The volume; anything, as `none`, with the option `ephemeral`
    #[arg(value_name = "SPEC")]
    pub spec: PathBuf,
    /// Where it is to be seen; the same as SPEC to mount it over itself
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Options of mount(8), the ones of `kmsfs mount` by their names, and `ephemeral`
    #[arg(short = 'o', value_name = "OPT,…", value_delimiter = ',')]
    pub options: Vec<String>,
    /// Pass over options that nobody knows
    #[arg(short = 's')]
    pub sloppy: bool,
    /// Check everything, mount nothing
    #[arg(short = 'f')]
    pub fake: bool,
    /// Without effect: there is no mtab to write
    #[arg(short = 'n')]
    pub no_mtab: bool,
    /// Print what is done
    #[arg(short = 'v')]
    pub verbose: bool,
    /// Without effect: the type is known
    #[arg(short = 't', value_name = "TYPE")]
    pub kind: Option<String>,
}
