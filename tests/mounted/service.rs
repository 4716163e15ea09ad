//! The daemon as systemd, mount(8) and signals see it, and what is left of one that died.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{KMSFS, Vault};

/// Far more than anything here takes; only a failure waits as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A mount over itself, served by a process of this test, as a service manager has it.
struct Service {
    vault: Vault,
    child: Child,
    told: UnixDatagram,
}

impl Service {
    /// Starts it and waits until it says that it is ready. `watchdog` is how long the service manager waits for a sign
    /// of life.
    fn start(vault: Vault, watchdog: Option<Duration>) -> Service {
        let path = vault.aside("notify");
        let _ = fs::remove_file(&path);
        let told = UnixDatagram::bind(&path).unwrap();
        told.set_read_timeout(Some(PATIENCE)).unwrap();
        let backing = vault.backing();
        let mut command = vault.command(KMSFS, &["mount", "--foreground", backing.to_str().unwrap()]);
        command.env("NOTIFY_SOCKET", &path).stderr(Stdio::piped());
        if let Some(watchdog) = watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        let child = command.spawn().unwrap();
        let service = Service { vault, child, told };
        service.wait_for("READY=1");
        service
    }

    /// The next message of the daemon.
    fn hear(&self) -> std::io::Result<String> {
        let mut message = [0; 4096];
        let length = self.told.recv(&mut message)?;
        Ok(String::from_utf8_lossy(&message[..length]).into_owned())
    }

    fn wait_for(&self, wanted: &str) -> String {
        loop {
            let message = self.hear().expect("the daemon tells systemd");
            if message.lines().any(|line| line == wanted) {
                return message;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end; gives the exit code and what was logged.
    fn end(mut self) -> (Vault, Option<i32>, String) {
        let status = self.child.wait().unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        // In Drop it would be taken for one that still runs.
        (
            std::mem::replace(&mut self.vault, Vault::unmounted().unwrap()),
            status.code(),
            log,
        )
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Also when a test has failed. What is left is taken away lazily.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = Command::new("umount")
            .args(["-l", "-q"])
            .arg(self.vault.backing())
            .stderr(Stdio::null())
            .status();
    }
}

fn initialized() -> Option<Vault> {
    let vault = Vault::unmounted()?;
    vault.run(&["init", vault.backing().to_str().unwrap()]);
    Some(vault)
}

fn fails(output: Output, code: i32) -> String {
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

fn mounts_at(path: &Path) -> usize {
    let list = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let at = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    list.lines()
        .filter(|line| line.split(' ').nth(4) == at.to_str())
        .count()
}

fn errno<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn systemd_hears_when_it_is_ready_and_when_it_ends() {
    let Some(vault) = initialized() else { return };
    let service = Service::start(vault, None);
    let plain = service.vault.backing();
    assert!(
        plain.join("..").exists() && mounts_at(&plain) == 1,
        "it said ready before it was"
    );
    fs::write(plain.join("a"), "text").unwrap();
    service.signal(Signal::TERM);
    service.wait_for("STOPPING=1");
    let (vault, code, _) = service.end();
    assert_eq!((code, mounts_at(&vault.backing())), (Some(0), 0));
}

/// The capabilities that a daemon of root keeps, as `CapEff` shows them: capabilities(7) has the numbers.
fn needed_capabilities() -> u64 {
    // chown, dac_override, dac_read_search, fowner, fsetid, setgid, setuid, ipc_lock, sys_admin, mknod, setfcap
    [0, 1, 2, 3, 4, 6, 7, 14, 21, 27, 31]
        .iter()
        .map(|number| 1 << number)
        .sum()
}

/// What passes quotas: raised for a moment, as by a checkpoint; none is under way.
const SYS_RESOURCE: u64 = 1 << 24;

#[test]
fn every_thread_of_the_daemon_has_what_it_needs_and_no_more() {
    let Some(vault) = initialized() else { return };
    let service = Service::start(vault, Some(PATIENCE));
    // So that every kind of thread is there.
    service
        .vault
        .sh_in(&service.vault.backing(), "echo a >a; sync -f a; stat -f .; cat a");
    let process = PathBuf::from(format!("/proc/{}", service.child.id()));
    let mut threads = 0;
    for task in fs::read_dir(process.join("task")).unwrap().flatten() {
        let status = fs::read_to_string(task.path().join("status")).unwrap();
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap()
                .trim()
                .to_owned()
        };
        for (set, in_reserve) in [("CapEff:", 0), ("CapPrm:", SYS_RESOURCE), ("CapBnd:", 0)] {
            let held = u64::from_str_radix(&field(set), 16).unwrap();
            let more = held & !needed_capabilities() & !in_reserve;
            assert_eq!(more, 0, "{set} of thread {}", field("Name:"));
        }
        assert_eq!(
            (&*field("NoNewPrivs:"), &*field("Seccomp:")),
            ("1", "2"),
            "{}",
            field("Name:")
        );
        threads += 1;
    }
    assert!(threads > 6, "the test sees {threads} threads only");
    let limits = fs::read_to_string(process.join("limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert!(
        core.split_whitespace().skip(4).take(2).all(|limit| limit.len() == 1),
        "{core}"
    );
    service.signal(Signal::TERM);
    assert_eq!(service.end().1, Some(0));
}

/// Stops threads of another process, as if they hung, until it is dropped or the test ends.
struct Hang(Vec<libc::pid_t>);

impl Hang {
    fn of_those_who_serve(process: &Child) -> Hang {
        let mut hang = Hang(Vec::new());
        for task in fs::read_dir(format!("/proc/{}/task", process.id())).unwrap().flatten() {
            let name = fs::read_to_string(task.path().join("comm")).unwrap();
            if !name.starts_with("fuser") && name.trim() != "kmsfs-session" {
                continue;
            }
            let id: libc::pid_t = task.file_name().to_str().unwrap().parse().unwrap();
            // SAFETY: ptrace with numbers only; it stops a thread of a child of this test.
            unsafe {
                assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, id, 0, 0), 0);
                hang.0.push(id);
                assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, id, 0, 0), 0);
                assert_eq!(libc::waitpid(id, std::ptr::null_mut(), libc::__WALL), id);
            }
        }
        assert!(hang.0.len() >= 2, "nobody serves");
        hang
    }
}

impl Drop for Hang {
    fn drop(&mut self) {
        for id in &self.0 {
            // SAFETY: as above; lets the thread go on.
            unsafe { libc::ptrace(libc::PTRACE_DETACH, *id, 0, 0) };
        }
    }
}

#[test]
fn a_daemon_that_hangs_gives_no_sign_of_life() {
    let Some(vault) = initialized() else { return };
    let watchdog = Duration::from_millis(400);
    let service = Service::start(vault, Some(watchdog));
    for _ in 0..3 {
        service.wait_for("WATCHDOG=1");
    }
    let hang = Hang::of_those_who_serve(&service.child);
    // At most one was on its way.
    service.told.set_read_timeout(Some(watchdog * 4)).unwrap();
    let late = service.hear().is_ok();
    assert!(
        !late || service.hear().is_err(),
        "a daemon that hangs says that it lives"
    );
    service.told.set_read_timeout(Some(PATIENCE)).unwrap();
    drop(hang);
    service.wait_for("WATCHDOG=1");
    service.signal(Signal::TERM);
    assert_eq!(service.end().1, Some(0));
}

#[test]
fn a_signal_takes_the_name_of_a_mount_in_use_and_its_users_go_on() {
    let Some(vault) = initialized() else { return };
    let mut service = Service::start(vault, None);
    let plain = service.vault.backing();
    fs::write(plain.join("a"), "text").unwrap();
    let mut open = File::options().read(true).append(true).open(plain.join("a")).unwrap();
    let log = BufReader::new(service.child.stderr.take().unwrap());
    let said = fails(service.vault.kmsfs(&["umount", plain.to_str().unwrap()]), 7);
    let process = |id: u32| format!("process {id} ");
    assert!(
        said.contains(&process(std::process::id())),
        "it does not say who uses it: {said}"
    );
    // The regression: the daemon of a mount over itself has the directory below open, and was named as well.
    assert!(
        !said.contains(&process(service.child.id())),
        "it names the daemon: {said}"
    );
    service.signal(Signal::TERM);
    let mut log = log.lines();
    let said = log
        .find(|line| line.as_ref().unwrap().contains("is detached"))
        .unwrap()
        .unwrap();
    assert!(said.contains("is in use"), "{said}");
    while mounts_at(&plain) > 0 {
        std::thread::yield_now();
    }
    std::io::Write::write_all(&mut open, b" and more").unwrap();
    open.sync_all().unwrap();
    let mut content = String::new();
    open.rewind().unwrap();
    open.read_to_string(&mut content).unwrap();
    assert_eq!(content, "text and more");
    assert!(
        service.child.try_wait().unwrap().is_none(),
        "it ended while somebody used it"
    );
    drop(open);
    assert!(service.child.wait().unwrap().success());
    drop(log);
}

#[test]
fn programs_get_enotconn_from_a_daemon_that_died_and_the_next_takes_its_place() {
    let Some(vault) = initialized() else { return };
    let service = Service::start(vault, None);
    let plain = service.vault.backing();
    fs::write(plain.join("a"), "durable").unwrap();
    File::open(plain.join("a")).unwrap().sync_all().unwrap();
    let mut open = File::open(plain.join("a")).unwrap();
    // Somebody waits within the file system when it happens; the lock keeps it there.
    let holder = File::open(plain.join("a")).unwrap();
    flock(&holder, FlockOperation::LockExclusive).unwrap();
    service.signal(Signal::KILL);
    let (vault, ..) = service.end();
    assert_eq!(
        errno(open.read(&mut [0; 8]).and_then(|_| open.sync_all())),
        Some(libc::ENOTCONN)
    );
    assert_eq!(errno(fs::read_dir(&plain)), Some(libc::ENOTCONN));
    assert_eq!(errno(fs::write(plain.join("b"), "plain text")), Some(libc::ENOTCONN));
    drop((open, holder));
    // As long as the key is withheld the dead mount stays: the bare directory would take plain text.
    vault.run(&["key", "disable", "alias/kmsfs"]);
    fails(vault.kmsfs(&["mount", plain.to_str().unwrap()]), 13);
    assert_eq!(errno(fs::write(plain.join("b"), "plain text")), Some(libc::ENOTCONN));
    vault.run(&["key", "enable", "alias/kmsfs"]);
    let service = Service::start(vault, None);
    assert_eq!(mounts_at(&plain), 1, "the dead mount is still there");
    assert_eq!(fs::read_to_string(plain.join("a")).unwrap(), "durable");
    assert!(!plain.join("b").exists());
    service.signal(Signal::TERM);
    assert_eq!(service.end().1, Some(0));
}

#[test]
fn a_mount_elsewhere_is_taken_over_as_well() {
    let Some(mut vault) = Vault::new() else { return };
    fs::write(vault.plain().join("a"), "text").unwrap();
    rustix::fs::sync();
    vault.run(&["umount", vault.plain().to_str().unwrap()]);
    vault.mount();
    vault.kill(vault.daemon());
    vault.mount();
    assert_eq!(mounts_at(&vault.plain()), 1);
    assert_eq!(fs::read_to_string(vault.plain().join("a")).unwrap(), "text");
    vault.umount();
}

#[test]
fn a_lock_outlives_the_daemon() {
    let Some(vault) = initialized() else { return };
    let service = Service::start(vault, None);
    let plain = service.vault.backing();
    let place = plain.to_str().unwrap();
    fs::write(plain.join("a"), "text").unwrap();
    service.vault.run(&["lock", place]);
    service.signal(Signal::KILL);
    let (vault, ..) = service.end();
    // What a service manager does next.
    let said = fails(vault.kmsfs(&["mount", "--foreground", place]), 13);
    assert!(said.contains("was locked") && said.contains("kmsfs unlock"), "{said}");
    assert_eq!(errno(fs::read_dir(&plain)), Some(libc::ENOTCONN));
    vault.run(&["unlock", place]);
    let service = Service::start(vault, None);
    assert_eq!(fs::read_to_string(plain.join("a")).unwrap(), "text");
    service.signal(Signal::TERM);
    assert_eq!(service.end().1, Some(0));
}

#[test]
fn mount_8_calls_the_helper() {
    let Some(vault) = initialized() else { return };
    let helper = vault.aside("mount.kmsfs");
    symlink(KMSFS, &helper).unwrap();
    let (backing, plain) = (vault.backing(), vault.plain());
    let (backing, plain) = (backing.to_str().unwrap(), plain.to_str().unwrap());
    let run = |words: &[&str]| vault.command(&helper, words).output().unwrap();
    // Nothing is mounted by a rehearsal, and mistakes have the codes of mount(8).
    assert!(run(&[backing, plain, "-f", "-o", "rw"]).status.success());
    assert_eq!(mounts_at(&vault.plain()), 0);
    fails(run(&[backing, plain, "-o", "rw,frobnicate"]), 1);
    fails(run(&[backing]), 1);
    fails(run(&[plain, backing, "-o", "rw"]), 32);
    let done = run(&[
        backing,
        plain,
        "-s",
        "-n",
        "-o",
        "rw,_netdev,nofail,noexec,frobnicate,key_ttl=1m",
    ]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    fs::write(vault.plain().join("a"), "text").unwrap();
    assert_ne!(fs::metadata(plain).unwrap().dev(), fs::metadata(backing).unwrap().dev());
    let list = fs::read_to_string("/proc/self/mounts").unwrap();
    let line = list.lines().find(|line| line.contains(plain)).unwrap();
    assert!(line.contains("fuse.kmsfs") && line.contains("noexec"), "{line}");
    // By the type of the mount, for other options.
    let helper = vault.aside("mount.fuse.kmsfs");
    symlink(KMSFS, &helper).unwrap();
    let remount = |options: &str| {
        let output = vault
            .command(&helper, &["kmsfs", plain, "-o", options])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    remount("ro,remount,nosuid,nodev,relatime,user_id=0,group_id=0,default_permissions");
    assert_eq!(errno(fs::write(vault.plain().join("b"), "text")), Some(libc::EROFS));
    remount("rw,remount,nosuid,noexec,relatime,user_id=0,group_id=0,default_permissions");
    fs::write(vault.plain().join("b"), "text").unwrap();
    let list = fs::read_to_string("/proc/self/mounts").unwrap();
    let line = list.lines().find(|line| line.contains(plain)).unwrap();
    assert!(
        line.contains("nosuid") && line.contains("noexec") && !line.contains("nodev"),
        "{line}"
    );
    vault.run(&["umount", plain]);
}

#[test]
fn the_journal_gets_levels_and_nobody_else_does() {
    let Some(vault) = initialized() else { return };
    let backing = vault.backing();
    for to_journal in [true, false] {
        let (reader, writer) = std::io::pipe().unwrap();
        let facts = rustix::fs::fstat(&writer).unwrap();
        let mut command = vault.command(KMSFS, &["mount", "--foreground", backing.to_str().unwrap()]);
        // In the second round the variable is an inherited one, of another stream.
        let stream = format!("{}:{}", facts.st_dev, facts.st_ino + u64::from(!to_journal));
        let mut child = command.env("JOURNAL_STREAM", stream).stderr(writer).spawn().unwrap();
        drop(command);
        let mut lines = BufReader::new(reader).lines();
        let line = lines.next().unwrap().unwrap();
        assert_eq!(line.starts_with("<6>"), to_journal, "{line}");
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        assert!(child.wait().unwrap().success());
    }
    let (reader, writer) = std::io::pipe().unwrap();
    let facts = rustix::fs::fstat(&writer).unwrap();
    let mut command = vault.command(KMSFS, &["mount", "--foreground", "absent"]);
    command.env("JOURNAL_STREAM", format!("{}:{}", facts.st_dev, facts.st_ino));
    let status = command.stderr(writer).status().unwrap();
    drop(command);
    let said = std::io::read_to_string(reader).unwrap();
    assert!(said.starts_with("<3>error: ") && said.contains("\n<5>help: "), "{said}");
    assert_eq!(status.code(), Some(3));
}
