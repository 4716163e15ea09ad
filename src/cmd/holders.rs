//! Who uses a mount, as far as /proc tells this user. For messages only: it may change while one looks.
//!
//! What counts is the device that a file lies on, not its path: the daemon of a volume mounted over itself has files
//! open in the directory below, which has the same path.

use std::fs;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

/// Names for a message; more would not be read.
const HOLDERS_MAX: usize = 5;

/// Major and minor number of a device.
type Device = (u32, u32);

/// The processes that have a file or directory of the mount at `mountpoint` open or mapped, or are in it.
pub fn of(mountpoint: &Path) -> Vec<String> {
    let (Some(device), Ok(processes)) = (device(mountpoint), fs::read_dir("/proc")) else {
        return Vec::new();
    };
    let ids = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let users = ids.filter(|id| uses(Path::new(&format!("/proc/{id}")), device));
    users
        .map(|id| format!("process {id} ({})", name(id)))
        .take(HOLDERS_MAX)
        .collect()
}

fn name(id: u32) -> String {
    fs::read_to_string(format!("/proc/{id}/comm"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Asks no daemon and no server: the file system that hangs is often the one that is looked for.
fn device(path: &Path) -> Option<Device> {
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    let facts = statx(CWD, path, flags, StatxFlags::empty()).ok()?;
    Some((facts.stx_dev_major, facts.stx_dev_minor))
}

fn uses(process: &Path, wanted: Device) -> bool {
    let on_it = |link: &Path| device(link) == Some(wanted);
    if ["cwd", "root", "exe"].iter().any(|name| on_it(&process.join(name))) {
        return true;
    }
    let open = fs::read_dir(process.join("fd"));
    open.is_ok_and(|files| files.flatten().any(|file| on_it(&file.path()))) || maps(process, wanted)
}

/// `ADDRESSES PERMISSIONS OFFSET MAJOR:MINOR INODE PATH`, see proc(5).
fn maps(process: &Path, (major, minor): Device) -> bool {
    let device = format!("{major:02x}:{minor:02x}");
    let maps = fs::read(process.join("maps")).unwrap_or_default();
    maps.split(|byte| *byte == b'\n')
        .any(|line| line.split(|byte| *byte == b' ').nth(3) == Some(device.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn an_open_file_is_found_and_a_closed_one_is_not() {
        // A file system of its own, which nothing else of this process lies on.
        let file = rustix::fs::memfd_create("holders", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let device = device(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd()))).unwrap();
        assert!(uses(Path::new("/proc/self"), device));
        drop(file);
        assert!(!uses(Path::new("/proc/self"), device));
    }

    #[test]
    fn a_program_that_runs_is_mapped() {
        let exe = device(Path::new("/proc/self/exe")).unwrap();
        assert!(maps(Path::new("/proc/self"), exe));
        assert!(!maps(Path::new("/proc/self"), (0xfff, 0xff)));
    }
}
