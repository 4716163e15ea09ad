//! `kmsfs init`: an absent or empty directory becomes a volume.

use super::make::make;
use super::{Failure, out};
use crate::cli::InitArgs;
use crate::config::{NewVolume, Sources};

/// Does what `kmsfs init` was told.
pub fn run(args: InitArgs, sources: &Sources) -> Result<(), Failure> {
    let dir = args.dir.clone();
    let (volume, kms) = NewVolume::of_init(args, sources)?;
    make(&dir, &volume, &kms)?.iter().try_for_each(|line| out::line(line))
}
