//! `mount.kmsfs`: the program under its other name, called by mount(8) for lines of fstab. It puts what it is told
//! into the words of `kmsfs mount`. As `mount.fuse.kmsfs`, by the type of a mount that is there, it changes options
//! (`mount -o remount,ro`).

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::Parser;

use super::{Exit, Failure, engine, mount, out, preflight, umount};
use crate::cli::{Cli, Command, Complaint, HelperArgs, MountArgs};
use crate::config::{MountSettings, Sources, is_mount_option};
use crate::fuse;

/// The exit codes of mount(8), which are not kmsfs's own.
const USAGE: u8 = 1;
const NOT_MOUNTED: u8 = 32;
/// What makes a mount an ephemeral one, behind `-o`.
const EPHEMERAL: &str = "ephemeral";
/// What asks for other options of a mount that is there.
const REMOUNT: &str = "remount";

/// Whether the program was called as the helper.
pub fn is_called(program: &OsStr) -> bool {
    let name = Path::new(program).file_name();
    ["mount.kmsfs", "mount.fuse.kmsfs"]
        .iter()
        .any(|helper| name == Some(OsStr::new(helper)))
}

/// Does what mount(8) wants.
///
/// # Errors
/// Why it is not mounted, with an exit code of mount(8).
pub fn run(words: &[OsString], sources: &Sources) -> Result<(), Failure> {
    let args = match HelperArgs::try_parse_from(words) {
        Ok(args) => args,
        Err(error) => {
            return match Complaint::of(&error) {
                Some(complaint) => Err(Failure::new(Exit::Usage, complaint.what, complaint.help)),
                None => out::line(error.render().to_string().trim_end()),
            }
            .map_err(for_mount);
        }
    };
    mounted(&args, sources).map_err(for_mount)
}

fn mounted(args: &HelperArgs, sources: &Sources) -> Result<(), Failure> {
    if args.options.iter().any(|item| item == REMOUNT) {
        return remounted(args, sources);
    }
    let mount_args = translated(args)?;
    if args.fake {
        return preflight::check(MountSettings::resolve(mount_args, sources)?).map(drop);
    }
    mount::run(mount_args, sources)?;
    match args.verbose {
        true => out::line(&format!("{}: mounted by kmsfs", args.dir.display())),
        false => Ok(()),
    }
}

/// mount(8) gives all options that shall hold from now on, those of FUSE that cannot be changed too.
fn remounted(args: &HelperArgs, sources: &Sources) -> Result<(), Failure> {
    let point = umount::mounted(&args.dir)?;
    // What mount(8) does not say is allowed, other than for a new mount of kmsfs.
    let mut options = vec!["dev".to_owned(), "suid".to_owned()];
    options.extend(args.options.iter().filter(|item| *item != REMOUNT).cloned());
    let all = HelperArgs {
        spec: args.dir.clone(),
        dir: args.dir.clone(),
        options,
        sloppy: true,
        ..args.clone()
    };
    let settings = MountSettings::resolve(translated(&all)?, sources)?;
    if args.fake {
        return Ok(());
    }
    fuse::remount(&point, &engine::options(&settings)).map_err(|error| Failure::io("remounting", &point, &error))
}

fn for_mount(failure: Failure) -> Failure {
    let code = match failure.exit() {
        Exit::Usage => USAGE,
        _ => NOT_MOUNTED,
    };
    Failure { code, ..failure }
}

fn translated(args: &HelperArgs) -> Result<MountArgs, Failure> {
    let ephemeral = args.options.iter().any(|item| item == EPHEMERAL);
    let options: Vec<&str> = args
        .options
        .iter()
        .map(String::as_str)
        .filter(|item| *item != EPHEMERAL && (!args.sloppy || is_mount_option(item)))
        .collect();
    let mut words: Vec<OsString> = vec![
        "kmsfs".into(),
        "mount".into(),
        format!("-o{}", options.join(",")).into(),
    ];
    if ephemeral {
        words.push("--ephemeral".into());
    }
    words.push("--".into());
    if !ephemeral && args.spec != args.dir {
        words.push(args.spec.clone().into());
    }
    words.push(args.dir.clone().into());
    match Cli::try_parse_from(words).map(|cli| cli.command) {
        Ok(Command::Mount(args)) => Ok(*args),
        _ => Err(Failure::internal("mount.kmsfs made no command of what it was told")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translate(words: &[&str]) -> MountArgs {
        let words = ["mount.kmsfs"].iter().chain(words);
        translated(&HelperArgs::try_parse_from(words).unwrap()).unwrap()
    }

    #[test]
    fn the_name_decides() {
        assert!(is_called(OsStr::new("/sbin/mount.kmsfs")));
        assert!(is_called(OsStr::new("mount.fuse.kmsfs")));
        assert!(!is_called(OsStr::new("/usr/bin/kmsfs")));
    }

    #[test]
    fn a_line_of_fstab_is_a_mount() {
        let args = translate(&["/data", "/data", "-n", "-o", "rw,_netdev,noexec,key_ttl=1m"]);
        assert_eq!((args.dir.as_path(), args.mountpoint), (Path::new("/data"), None));
        assert_eq!(args.options, ["rw", "_netdev", "noexec", "key_ttl=1m"]);
        let args = translate(&["/disk", "/data", "-o", "ro"]);
        assert_eq!(args.mountpoint.as_deref(), Some(Path::new("/data")));
    }

    #[test]
    fn ephemeral_needs_no_volume() {
        let args = translate(&["none", "/scratch", "-o", "rw,ephemeral"]);
        assert!(args.ephemeral);
        assert_eq!(args.dir, Path::new("/scratch"));
    }

    #[test]
    fn sloppy_passes_over_what_nobody_knows() {
        let args = translate(&["/data", "/data", "-s", "-o", "rw,frobnicate,threads=2"]);
        assert_eq!(args.options, ["rw", "threads=2"]);
    }
}
