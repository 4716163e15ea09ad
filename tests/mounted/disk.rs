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
        Self::ext4_with("^quota", "loop", size)
    }

    /// The same, with quotas for users.
    pub fn ext4_with_quota(size: &str) -> Option<Self> {
        let disk = Self::ext4_with("quota", "loop,usrquota", size)?;
        if !disk.set_quota(0, 0, 0) {
            eprintln!("passed over: there is no setquota");
            return None;
        }
        Some(disk)
    }

    /// Lets `user` have so many KiB and inodes, if both programs and kernel can; 0 is no limit.
    pub fn set_quota(&self, user: u32, kib: u32, inodes: u32) -> bool {
        let limits = [user, 0, kib, 0, inodes].map(|number| number.to_string());
        let [user, limits @ ..] = limits.each_ref().map(String::as_str);
        done(
            "setquota",
            &[&["-u", user], &limits[..], &[self.disk().to_str().unwrap()]].concat(),
        )
    }

    fn ext4_with(feature: &str, options: &str, size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        let path = image.to_str().unwrap();
        assert!(done("truncate", &["-s", size, path]));
        if !done("mkfs.ext4", &["-q", "-O", feature, path]) {
            eprintln!("passed over: there is no mkfs.ext4");
            return None;
        }
        let arguments = ["-o", options, path].map(str::to_owned);
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
        assert!(done("umount", &[self.disk().to_str().unwrap()]), "the disk is in use");
        self.put_back();
    }

    /// Takes its name out of the tree although it is in use.
    pub fn take_away(&self) {
        assert!(done("umount", &["-l", self.disk().to_str().unwrap()]));
    }

    /// Mounts it again where it was.
    pub fn put_back(&self) {
        let (disk, image) = (self.disk(), self.image.as_deref().unwrap_or(Path::new("")));
        let (disk, image) = (disk.to_str().unwrap(), image.to_str().unwrap());
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
