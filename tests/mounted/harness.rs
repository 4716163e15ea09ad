//! A volume in a temporary directory, mounted by the built program, and unmounted whatever happens.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// The program under test.
pub const KMSFS: &str = env!("CARGO_BIN_EXE_kmsfs");

/// A volume with its key store, and where it is mounted.
pub struct Vault {
    dir: TempDir,
    mounted: bool,
    environment: Vec<(String, String)>,
}

impl Vault {
    /// A new volume, mounted; `None` where FUSE is not there and need not be.
    pub fn new() -> Option<Self> {
        let mut vault = Self::unmounted()?;
        vault.run(&["init", vault.backing().to_str().unwrap()]);
        vault.mount();
        Some(vault)
    }

    /// Room for a volume; `None` where FUSE is not there and need not be.
    pub fn unmounted() -> Option<Self> {
        if !Path::new("/dev/fuse").exists() {
            assert!(
                std::env::var_os("KMSFS_REQUIRE_FUSE").is_none(),
                "there is no /dev/fuse"
            );
            eprintln!("passed over: there is no /dev/fuse");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        for part in ["backing", "mnt", "state"] {
            fs::create_dir(dir.path().join(part)).unwrap();
        }
        Some(Self {
            dir,
            mounted: false,
            environment: Vec::new(),
        })
    }

    /// The directory with what is stored.
    pub fn backing(&self) -> PathBuf {
        self.dir.path().join("backing")
    }

    /// The directory with what is plain, while mounted.
    pub fn plain(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    /// The key store.
    pub fn key_store(&self) -> PathBuf {
        self.dir.path().join("state").join("keys")
    }

    /// A place for anything else.
    pub fn aside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Sets an environment variable for the program.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(other, _)| other != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The program with `arguments` and this vault's key store.
    pub fn kmsfs(&self, arguments: &[&str]) -> Output {
        self.command(KMSFS, arguments).output().unwrap()
    }

    /// The same, yet to be started, by the name `program`.
    pub fn command(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env("KMSFS_KEY_STORE", self.key_store());
        command.env("XDG_STATE_HOME", self.aside("state")).stdin(Stdio::null());
        command.env("KMSFS_RUNTIME_DIR", self.aside("run"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The same, which must succeed; gives what it printed.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.kmsfs(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kmsfs {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn mount(&mut self) {
        self.mount_with(&[]);
    }

    /// Mounts, and gives what was printed.
    pub fn mount_with(&mut self, options: &[&str]) -> String {
        let (backing, plain) = (self.backing(), self.plain());
        let mut arguments = vec!["mount", backing.to_str().unwrap(), plain.to_str().unwrap()];
        arguments.extend(options);
        self.mount_by(&arguments)
    }

    /// Mounts on the plain directory by a whole command, and gives what was printed.
    pub fn mount_by(&mut self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        self.mounted = true;
        said
    }

    /// Takes note that a command of the test's own has mounted it.
    pub fn adopt(&mut self) {
        self.mounted = true;
    }

    pub fn umount(&mut self) {
        let plain = self.plain();
        self.run(&["umount", plain.to_str().unwrap()]);
        self.mounted = false;
    }

    /// The process that serves the mount.
    pub fn daemon(&self) -> Pid {
        let status = self.run(&["status", self.plain().to_str().unwrap(), "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let pid = status["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        Pid::from_raw(pid.unwrap()).unwrap()
    }

    /// Ends the daemon as a crash does: it gets no chance to do anything more. The dead mount stays.
    pub fn kill(&self, daemon: Pid) {
        rustix::process::kill_process(daemon, Signal::KILL).unwrap();
        Self::wait_for_end(daemon);
    }

    /// Waits until the daemon has ended.
    pub fn wait_for_end(daemon: Pid) {
        let process = format!("/proc/{}", daemon.as_raw_nonzero());
        // Where nobody waits for orphans a zombie stays; its files are closed all the same, when its last thread ends.
        let ends = || fs::read_to_string(format!("{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        let threads = || fs::read_dir(format!("{process}/task")).map_or(0, Iterator::count);
        while ends() || threads() > 1 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Takes a dead mount away.
    pub fn clear(&mut self) {
        let plain = self.plain();
        let done = self.kmsfs(&["umount", plain.to_str().unwrap()]);
        if !done.status.success() {
            let done = Command::new("umount").arg("-l").arg(&plain).status();
            assert!(done.unwrap().success());
        }
        self.mounted = false;
    }

    /// Unmounts, lets `edit` change the backing, and mounts again.
    pub fn offline(&mut self, edit: impl FnOnce(&Path)) {
        self.umount();
        edit(&self.backing());
        self.mount();
    }

    /// Whether the mount table has it.
    pub fn is_mounted(&self) -> bool {
        let table = fs::read_to_string("/proc/self/mounts").unwrap();
        table.contains(&format!(" {} ", self.plain().to_str().unwrap()))
    }

    /// Runs a shell script in the plain directory; it must succeed. `$V` is a place beside it.
    pub fn sh(&self, script: &str) -> String {
        self.sh_in(&self.plain(), script)
    }

    /// The same in another directory.
    pub fn sh_in(&self, directory: &Path, script: &str) -> String {
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(directory)
            .env("V", self.dir.path())
            .env("REAL_HOME", std::env::var_os("HOME").unwrap_or_default())
            .env("HOME", self.dir.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{text}\n{errors}");
        text
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        if self.mounted && self.is_mounted() {
            // Also when a test has failed: nothing stays mounted. Lazily, because a failed test may hold files open.
            let plain = self.plain();
            let done = self.kmsfs(&["umount", plain.to_str().unwrap()]);
            if !done.status.success() {
                let _ = Command::new("umount").arg("-l").arg(&plain).status();
            }
        }
    }
}
