//! `kmsfs mount`: check, then serve in the foreground, or start a daemon and wait until it does; or recover only.

use sd_notify::NotifyState;

use super::log::{self, Target};
use super::{Failure, daemon, launch, out, preflight, recover};
use crate::cli::MountArgs;
use crate::config::{MountSettings, Sources};

/// Does what `kmsfs mount` was told.
pub fn run(args: MountArgs, sources: &Sources) -> Result<(), Failure> {
    if args.daemon {
        return launch::be_daemon();
    }
    if args.recover_only {
        return recover::run(&args.dir);
    }
    let settings = preflight::check(MountSettings::resolve(args, sources)?)?;
    let notes = match settings.foreground {
        true => return in_foreground(&settings),
        false => launch::start(&settings)?,
    };
    notes.iter().try_for_each(|line| out::line(line))
}

fn in_foreground(settings: &MountSettings) -> Result<(), Failure> {
    log::start(Target::Stderr)?;
    daemon::serve(settings, |notes| {
        notes.iter().try_for_each(|line| out::line(line))?;
        // Not under systemd: nobody to tell.
        let serving = format!("serving {}", settings.mountpoint.display());
        let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&serving)]);
        Ok(())
    })
}
