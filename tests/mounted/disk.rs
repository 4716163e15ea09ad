//! Small file systems of a test's own, to put a volume on: one that fills up, one that loses power, one
//! that hangs.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A mounted file system. Dropping it unmounts it; the volume on it must be unmounted before.
pub struct Disk {
    dir: TempDir,
    image: Option<PathBuf>,
}

/// A file system that hangs.
pub struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        done("fsfreeze", &["--unfreeze", self.0.to_str().unwrap()]);
    }
}

fn done(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .output()
        .is_ok_and(|done| done.status.success())
}

impl Disk {
    /// A file system in memory; `None` where it cannot be mounted.
    pub fn memory(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, image: None }.mounted(&["-t", "tmpfs", "-o", options, "tmpfs"])
    }

    /// An ext4 of so many bytes; `None` where it cannot be mounted.
    pub fn ext4(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        let path = image.to_str().unwrap();
        assert!(done("truncate", &["-s", size, path]));
        if !done("mkfs.ext4", &["-q", path]) {
            eprintln!("passed over: there is no mkfs.ext4");
            return None;
        }
        let arguments = ["-o", "loop", path].map(str::to_owned);
        let image = Some(image);
        Self { dir, image }.mounted(&arguments.each_ref().map(String::as_str))
    }

    fn mounted(self, arguments: &[&str]) -> Option<Self> {
        std::fs::create_dir(self.dir.path().join("disk")).unwrap();
        let disk = self.disk();
        if done("mount", &[arguments, &[disk.to_str().unwrap()]].concat()) {
            return Some(self);
        }
        eprintln!("passed over: cannot mount {arguments:?}");
        None
    }

    fn disk(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    /// The path of something on it.
    pub fn path(&self, name: &str) -> String {
        self.disk().join(name).to_str().unwrap().to_owned()
    }

    /// Has everything that would change it hang, until this is dropped.
    pub fn freeze(&self) -> Frozen {
        let disk = self.disk();
        assert!(done("fsfreeze", &["--freeze", disk.to_str().unwrap()]));
        Frozen(disk)
    }

    /// Makes an ext4 forget what is not durable, and fail from now on.
    pub fn power_off(&self) {
        // EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH.
        let script = "import fcntl, os, struct, sys\n\
                      fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";
        assert!(done("python3", &["-c", script, self.disk().to_str().unwrap()]));
    }

    /// Mounts it again, as after a reboot.
    pub fn power_on(&self) {
        let (disk, image) = (self.disk(), self.image.as_deref().unwrap_or(Path::new("")));
        let (disk, image) = (disk.to_str().unwrap(), image.to_str().unwrap());
        assert!(done("umount", &[disk]), "the disk is in use");
        assert!(done("mount", &["-o", "loop", image, disk]));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let disk = self.disk();
        let disk = disk.to_str().unwrap();
        if !done("umount", &[disk]) {
            done("umount", &["-l", disk]);
        }
    }
}
