//! What stands behind `-o`: options of mount(8) for the kernel, those that are not kmsfs's concern, and kmsfs's own
//! by the names of the flags, with `-` or `_`.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::layers::{Pairs, names};
use crate::cli::{KmsOptions, MountOptions, VolumeOptions};

/// A generic option of mount(8) that the kernel enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // The names are those of mount(8).
pub enum KernelOption {
    Dev,
    NoDev,
    Suid,
    NoSuid,
    Exec,
    NoExec,
    Atime,
    NoAtime,
    DirSync,
    Sync,
    Async,
}

/// What `-o` said.
#[derive(Debug, Default)]
pub struct Behind {
    /// For the kernel, in the order given.
    pub kernel: Vec<KernelOption>,
    /// kmsfs's own.
    pub own: Pairs,
}

/// Sorts the items of `-o`.
///
/// # Errors
/// [`ConfigError`] for an item that nobody knows.
pub fn sort(items: &[String]) -> Result<Behind, ConfigError> {
    let known = [names::<MountOptions>(), names::<VolumeOptions>(), names::<KmsOptions>()].concat();
    let mut behind = Behind::default();
    behind.own.place = "behind -o".into();
    for item in items.iter().filter(|item| !item.is_empty()) {
        if let Some(option) = kernel_option(item) {
            behind.kernel.push(option);
        } else if let Some(pair) = own_option(item, &known) {
            behind.own.pairs.push(pair);
        } else if !is_for_others(item) {
            let what = format!("there is no mount option {item:?}");
            let help = "behind -o stand options of mount(8), or the long flags of `kmsfs mount --help`";
            return Err(ConfigError::new(what, help));
        }
    }
    Ok(behind)
}

/// Whether somebody knows the item.
#[must_use]
pub fn is_mount_option(item: &str) -> bool {
    sort(&[item.to_owned()]).is_ok()
}

fn kernel_option(item: &str) -> Option<KernelOption> {
    Some(match item {
        "dev" => KernelOption::Dev,
        "nodev" => KernelOption::NoDev,
        "suid" => KernelOption::Suid,
        "nosuid" => KernelOption::NoSuid,
        "exec" => KernelOption::Exec,
        "noexec" => KernelOption::NoExec,
        "atime" => KernelOption::Atime,
        "noatime" => KernelOption::NoAtime,
        "dirsync" => KernelOption::DirSync,
        "sync" => KernelOption::Sync,
        "async" => KernelOption::Async,
        _ => return None,
    })
}

fn own_option(item: &str, known: &[String]) -> Option<(String, OsString)> {
    let (name, value) = item.split_once('=').unwrap_or((item, "true"));
    let name = match name {
        "ro" | "rw" => return Some(("read-only".into(), (item == "ro").to_string().into())),
        name => name.replace('_', "-"),
    };
    known.contains(&name).then(|| (name, value.into()))
}

/// Options that mount(8), systemd and fstab keep for themselves, or that FUSE always does.
fn is_for_others(item: &str) -> bool {
    const OTHERS: [&str; 21] = [
        "defaults",
        "auto",
        "noauto",
        "user",
        "nouser",
        "users",
        "owner",
        "group",
        "_netdev",
        "nofail",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
        "lazytime",
        "nolazytime",
        "diratime",
        "nodiratime",
        "default_permissions",
        "mand",
        "nomand",
    ];
    OTHERS.contains(&item) || ["x-", "X-", "comment="].iter().any(|prefix| item.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::super::layers::parse;
    use super::*;

    fn items(text: &str) -> Vec<String> {
        text.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn items_are_sorted() {
        let behind = sort(&items(
            "defaults,_netdev,ro,noexec,key_ttl=1m,allow_other,x-systemd.requires=a,threads=2",
        ));
        let behind = behind.unwrap();
        assert_eq!(behind.kernel, [KernelOption::NoExec]);
        let own: MountOptions = parse(&behind.own).unwrap();
        assert_eq!(
            (own.read_only, own.allow_other, own.threads),
            (Some(true), Some(true), Some(2))
        );
        assert_eq!(own.key_ttl.unwrap().as_secs(), 60);
    }

    #[test]
    fn unknown_items_are_refused() {
        assert!(sort(&items("rw,nonsense")).unwrap_err().what.contains("nonsense"));
        let behind = sort(&items("threads=many")).unwrap();
        assert!(parse::<MountOptions>(&behind.own).unwrap_err().what.contains("-o"));
    }
}
