//! The command line as scripts see it: two lines on standard error, exit codes, what is printed, what is left behind.
//! With a mount where FUSE can be used; `KMSFS_REQUIRE_FUSE=1` makes that a duty.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test fails by panicking.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kmsfs::format::stored_name::{NameFlags, RawName, Sealed};
use kmsfs::format::{NodeId, moves};
use tempfile::TempDir;

/// A place of its own for key store, sockets and volumes. What is still mounted in it is unmounted at the end.
struct Place {
    dir: TempDir,
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran {
            code: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    /// The two lines of a failure with this code.
    fn fails(self, code: i32) -> String {
        let lines: Vec<&str> = self.err.lines().collect();
        assert_eq!(lines.len(), 2, "{:?}", self.err);
        assert!(lines[0].starts_with("error: ") && lines[0].len() > 10, "{:?}", self.err);
        assert!(lines[1].starts_with("help: ") && lines[1].len() > 10, "{:?}", self.err);
        assert_eq!(self.code, code, "{:?}", self.err);
        self.err
    }
}

impl Place {
    fn new() -> Place {
        Place {
            dir: TempDir::new().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kmsfs"));
        command.args(words);
        self.at_home(command)
    }

    fn at_home(&self, mut command: Command) -> Command {
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("KMSFS_") {
                command.env_remove(name);
            }
        }
        command
            .env("KMSFS_STATE_DIR", self.path("state"))
            .env("KMSFS_RUNTIME_DIR", self.path("run"));
        command
    }

    fn run(&self, words: &[&str]) -> Ran {
        Ran::of(self.command(words).output().unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for name in ["v", "w", "m"] {
            let mut command = self.command(&["umount", name]);
            let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

/// Whether FUSE can be used here; where it has to be, its absence is a failure.
fn has_fuse() -> bool {
    let there = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").is_ok();
    assert!(
        there || std::env::var_os("KMSFS_REQUIRE_FUSE").is_none(),
        "FUSE cannot be used"
    );
    there
}

const COMMANDS: &[&[&str]] = &[
    &[],
    &["init"],
    &["mount"],
    &["umount"],
    &["status"],
    &["lock"],
    &["unlock"],
    &["seal"],
    &["unseal"],
    &["encrypt"],
    &["decrypt"],
    &["key"],
    &["key", "create"],
    &["key", "list"],
    &["key", "describe"],
    &["key", "alias"],
    &["key", "enable"],
    &["key", "disable"],
    &["key", "schedule-deletion"],
    &["key", "cancel-deletion"],
    &["key", "rotate"],
    &["kms"],
    &["kms", "serve"],
];

#[test]
fn every_command_has_help_and_version() {
    let place = Place::new();
    for command in COMMANDS {
        let help = place.run(&[command, &["--help"][..]].concat()).ok();
        assert!(help.contains("Usage: kmsfs"), "{help}");
        let version = place.run(&[command, &["--version"][..]].concat()).ok();
        assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    }
    let help = place.run(&["--help"]).ok();
    assert!(help.contains("Exit codes:") && help.contains("17  the disk"), "{help}");
    assert!(place.run(&["completions", "bash"]).ok().contains("kmsfs"));
    fs::create_dir(place.path("man")).unwrap();
    place.run(&["manual", "man"]).ok();
    for command in COMMANDS {
        let page = [&["man/kmsfs"], *command].concat().join("-") + ".1";
        assert!(
            fs::read_to_string(place.path(&page)).unwrap().contains(".SH NAME"),
            "{page}"
        );
    }
    assert!(place.path("man/mount.kmsfs.8").exists());
    place.run(&["manual", "absent"]).fails(3);
}

#[test]
fn mistakes_on_the_command_line_are_two_lines() {
    let place = Place::new();
    let mistakes: &[&[&str]] = &[
        &[],
        &["frobnicate"],
        &["init"],
        &["init", "v", "--chunk-size", "5000"],
        &["init", "v", "--chunk-size", "many"],
        &["init", "v", "--passphrase-file", "fd:x"],
        &["mount", "v", "-o", "nonsense"],
        &["mount", "v", "--key-ttl", "soon"],
        &["mount", "v", "--key-reuse", "1,2"],
        &["mount", "v", "--threads", "0"],
        &["mount", "v", "--journal-size", "1K"],
        &["key", "schedule-deletion", "x", "--days", "3"],
        &["--config", "absent.toml", "status"],
    ];
    for words in mistakes {
        place.run(words).fails(2);
    }
}

#[test]
fn settings_from_file_and_environment_are_checked_and_named() {
    let place = Place::new();
    fs::write(place.path("c.toml"), "key-ttl = \"soon\"\n").unwrap();
    assert!(
        place
            .run(&["--config", "c.toml", "mount", "v"])
            .fails(2)
            .contains("c.toml")
    );
    fs::write(place.path("c.toml"), "colour = 1\n").unwrap();
    assert!(place.run(&["--config", "c.toml", "status"]).fails(2).contains("colour"));
    let output = place
        .command(&["mount", "v"])
        .env("KMSFS_THREADS", "many")
        .output()
        .unwrap();
    assert!(Ran::of(output).fails(2).contains("environment"));
}

#[test]
fn init_makes_a_volume_once_and_says_what_it_protects() {
    let place = Place::new();
    let out = place.run(&["init", "v"]).ok();
    assert!(out.contains("note: the master key lies in"), "{out}");
    for (file, mode) in [
        ("state/keystore", 0o600),
        ("state/keystore.root", 0o600),
        ("state", 0o700),
        ("v", 0o700),
    ] {
        assert_eq!(fs::metadata(place.path(file)).unwrap().mode() & 0o777, mode, "{file}");
    }
    assert!(place.run(&["init", "v"]).fails(6).contains("volume already"));
    place
        .run(&["init", "w", "--chunk-size", "64K", "--overwrite", "in-place"])
        .ok();
    assert_eq!(
        place.run(&["key", "list"]).ok().lines().count(),
        2,
        "one key serves both"
    );
}

#[test]
fn init_refuses_and_leaves_nothing_behind() {
    let place = Place::new();
    fs::create_dir(place.path("full")).unwrap();
    fs::write(place.path("full/file"), "x").unwrap();
    assert!(place.run(&["init", "full"]).fails(6).contains("file"));
    place.run(&["init", "full/file"]).fails(3);
    place.run(&["init", "absent/dir"]).fails(3);
    place.run(&["init", &"x/".repeat(2100)]).fails(3);
    place.run(&["init", &"x".repeat(300)]).fails(3);
    place.run(&["init", "v", "--key-store", "v/keystore"]).fails(2);
    assert!(!place.path("state").exists(), "a key store was made for nothing");
    assert!(!place.path("v").exists(), "a directory was made for nothing");
    place.run(&["init", "v", "--key-id", "alias/absent"]).fails(13);
    assert!(!place.path("v").exists());
}

#[test]
fn init_on_a_read_only_disk_says_so() {
    // /proc/sys is mounted nowhere writable for directories; /sys may be read-only in containers.
    let place = Place::new();
    let ran = place.run(&["init", "/proc/kmsfs-test"]);
    assert!([3, 10, 17].contains(&ran.code), "{}", ran.err);
    assert_eq!(ran.err.lines().count(), 2);
}

#[test]
fn a_passphrase_is_read_and_checked() {
    let place = Place::new();
    fs::write(place.path("right"), "open sesame\n").unwrap();
    fs::write(place.path("wrong"), "open barley\n").unwrap();
    fs::write(place.path("empty"), "\n").unwrap();
    place.run(&["init", "v", "--passphrase-file", "right"]).ok();
    assert!(!place.path("state/keystore.root").exists());
    let list = |source: &str| place.run(&["key", "list", "--passphrase-file", source]);
    list("right").ok();
    list("wrong").fails(12);
    list("empty").fails(12);
    list("absent").fails(12);
    list("fd:99").fails(12);
    list("credential:store").fails(12);
    place.run(&["key", "list"]).fails(12);
    let mut child = place.command(&["key", "list", "--passphrase-file", "fd:0"]);
    let mut child = child
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"open sesame\n").unwrap();
    Ran::of(child.wait_with_output().unwrap()).ok();
}

#[test]
fn keys_live_through_all_their_states() {
    let place = Place::new();
    place.run(&["key", "list"]).fails(11);
    let id = place
        .run(&["key", "create", "--alias", "alias/one", "--description", "first"])
        .ok();
    let id = id.trim();
    assert!(!id.is_empty() && !id.contains(char::is_whitespace), "{id:?}");
    let state = || {
        let json = place.run(&["key", "describe", "alias/one", "--json"]).ok();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["id"], id);
        value["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state(), "Enabled");
    place.run(&["key", "disable", id]).ok();
    assert_eq!(state(), "Disabled");
    place.run(&["init", "v", "--key-id", "alias/one"]).fails(13);
    place.run(&["key", "enable", "alias/one"]).ok();
    place.run(&["key", "rotate", id]).ok();
    place.run(&["key", "schedule-deletion", id, "--days", "7"]).ok();
    assert_eq!(state(), "PendingDeletion");
    place.run(&["key", "cancel-deletion", id]).ok();
    assert_eq!(state(), "Enabled");
    place.run(&["key", "enable", "absent"]).fails(13);
    assert!(place.run(&["key", "list"]).ok().contains("alias/one"));
}

#[test]
fn aliases_are_set_moved_and_taken_away() {
    let place = Place::new();
    let one = place.run(&["key", "create", "--alias", "alias/a"]).ok();
    let two = place.run(&["key", "create"]).ok();
    place.run(&["key", "create", "--alias", "alias/a"]).fails(15);
    place.run(&["key", "create", "--alias", "a"]).fails(2);
    place.run(&["key", "alias", "alias/b", one.trim()]).ok();
    place.run(&["key", "alias", two.trim(), "alias/a"]).ok();
    assert!(place.run(&["key", "describe", "alias/a"]).ok().contains(two.trim()));
    place.run(&["key", "alias", "--delete", "alias/a"]).ok();
    place.run(&["key", "describe", "alias/a"]).fails(13);
    place.run(&["key", "alias", "alias/c"]).fails(2);
}

#[test]
fn what_is_not_mounted_is_said_to_be_so() {
    let place = Place::new();
    fs::create_dir(place.path("d")).unwrap();
    for command in ["umount", "status", "lock", "unlock"] {
        assert!(place.run(&[command, "d"]).fails(8).contains("nothing is mounted"));
        place.run(&[command, "absent"]).fails(3);
    }
    assert!(place.run(&["umount", "/proc"]).fails(8).contains("proc"));
    assert_eq!(place.run(&["status", "--json"]).ok().trim(), "[]");
}

#[test]
fn mount_refuses_what_is_no_volume() {
    if !has_fuse() {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.path("d")).unwrap();
    fs::write(place.path("f"), "x").unwrap();
    place.run(&["mount", "d"]).fails(4);
    place.run(&["mount", "f"]).fails(3);
    place.run(&["mount", "absent"]).fails(3);
    for (dir, code) in [("d", 4), ("f", 3), ("absent", 3)] {
        place.run(&["mount", "--recover-only", dir]).fails(code);
    }
    assert_eq!(
        fs::read_dir(place.path("d")).unwrap().count(),
        0,
        "something was made in it"
    );
    place.run(&["mount", "--recover-only", "d", "f"]).fails(2);
    place.run(&["init", "v"]).ok();
    place.run(&["mount", "v", "absent"]).fails(3);
    place.run(&["mount", "v", "f"]).fails(3);
    assert!(place.run(&["mount", "v", "/proc"]).fails(7).contains("proc"));
    place.run(&["mount", "v", "--key-store", "absent"]).fails(11);
    place.run(&["key", "disable", "alias/kmsfs"]).ok();
    place.run(&["mount", "v"]).fails(13);
    place.run(&["mount", "v", "--foreground"]).fails(13);
    place.run(&["key", "enable", "alias/kmsfs"]).ok();
    let descriptor = place.path("v/kmsfs.volume");
    let text = fs::read_to_string(&descriptor).unwrap();
    fs::write(&descriptor, text.replace("kmsfs volume 1", "kmsfs volume 2")).unwrap();
    place.run(&["mount", "v"]).fails(5);
    fs::write(&descriptor, &text[..text.len() / 2]).unwrap();
    place.run(&["mount", "v"]).fails(16);
    fs::write(
        &descriptor,
        text.replace("\"overwrite\": \"journal\"", "\"overwrite\": \"in-place\"")
            .replace("\"overwrite\":\"journal\"", "\"overwrite\":\"in-place\""),
    )
    .unwrap();
    place.run(&["mount", "v"]).fails(16);
}

/// Whoever finished an exchange that a crash had cut short held a descriptor for each directory that it had not looked into
/// yet. With more of them than a process may have, a volume could neither be mounted nor recovered.
#[test]
fn regression_many_directories_do_not_take_many_descriptors() {
    let place = Place::new();
    place.run(&["init", "v"]).ok();
    let volume = place.path("v");
    for _ in 0..200 {
        let name = RawName {
            node: NodeId::random(),
            flags: NameFlags::NONE,
            sealed: Sealed::Short(vec![0; 20]),
        };
        fs::create_dir(volume.join(name.text())).unwrap();
    }
    let (from, to) = (NodeId::random(), NodeId::random());
    let (old, new) = ("old".to_owned(), "new".to_owned());
    let written = moves::to_bytes(&[moves::Move { from, to, old, new }]);
    fs::write(volume.join(moves::FILE_NAME), written).unwrap();
    let mut few = Command::new("sh");
    few.args(["-c", "ulimit -n 64 && exec \"$0\" mount --recover-only v"]);
    few.arg(env!("CARGO_BIN_EXE_kmsfs"));
    let ran = Ran::of(place.at_home(few).output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(!volume.join(moves::FILE_NAME).exists());
}

/// Whether a process has ended; nobody may have asked for its exit code yet.
fn has_ended(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_none_or(|rest| rest.is_empty() || rest.starts_with(['Z', 'X']))
}

fn device(path: &Path) -> u64 {
    fs::metadata(path).unwrap().dev()
}

#[test]
fn a_mount_over_itself_lives_its_life() {
    if !has_fuse() {
        return;
    }
    let place = Place::new();
    place.run(&["init", "v"]).ok();
    let v = place.path("v");
    let below = device(&v);
    place.run(&["mount", "v"]).ok();
    assert_ne!(device(&v), below, "mount returned before the mount answered");
    fs::write(v.join("a"), "text").unwrap();
    assert!(place.run(&["mount", "v"]).fails(7).contains("by process"));
    fs::create_dir(v.join("sub")).unwrap();
    place.run(&["init", "v/sub"]).fails(3);
    place.run(&["mount", "v/sub"]).fails(3);
    let json = place.run(&["status", "v", "--json"]).ok();
    let status: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(status["mountpoint"], v.to_str().unwrap());
    assert_eq!(status["state"], "unlocked");
    assert!(place.run(&["status"]).ok().contains(v.to_str().unwrap()));
    let pid = status["pid"].as_u64().unwrap();
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(
        words
            .split(|byte| *byte == 0)
            .any(|word| word == v.as_os_str().as_encoded_bytes())
    );
    let open = fs::File::open(v.join("a")).unwrap();
    assert!(
        place
            .run(&["umount", "v"])
            .fails(7)
            .contains(&std::process::id().to_string())
    );
    drop(open);
    place.run(&["umount", "v"]).ok();
    assert!(has_ended(pid), "umount returned before the daemon had gone");
    assert_eq!(device(&v), below);
    assert!(!v.join("a").exists());
    assert_eq!(
        fs::read_dir(place.path("run")).unwrap().count(),
        0,
        "something is left in the runtime directory"
    );
    place.run(&["mount", "v", "--read-only"]).ok();
    assert_eq!(fs::read(v.join("a")).unwrap(), b"text");
    assert!(fs::write(v.join("b"), "").is_err());
    place.run(&["umount", "v"]).ok();
}

#[test]
fn a_mount_elsewhere_locks_and_unlocks() {
    if !has_fuse() {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.path("m")).unwrap();
    place
        .run(&["mount", "w", "m", "--init", "-o", "noexec,key_ttl=1m"])
        .ok();
    let file = place.path("m/a");
    fs::write(&file, "text").unwrap();
    assert!(place.run(&["mount", "w"]).fails(7).contains("process"));
    place.run(&["mount", "w", "w/inside"]).fails(3);
    place.run(&["lock", "m"]).ok();
    assert!(fs::read(&file).is_err(), "a locked mount gives data");
    assert!(place.run(&["status", "m"]).ok().contains("locked"));
    place.run(&["key", "disable", "alias/kmsfs"]).ok();
    place.run(&["unlock", "m"]).fails(13);
    place.run(&["key", "enable", "alias/kmsfs"]).ok();
    place.run(&["unlock", "m"]).ok();
    assert_eq!(fs::read(&file).unwrap(), b"text");
    place.run(&["umount", "m"]).ok();
}

#[test]
fn the_foreground_ends_with_a_signal_and_a_crash_is_cleaned_up() {
    if !has_fuse() {
        return;
    }
    let place = Place::new();
    place.run(&["init", "v"]).ok();
    let v = place.path("v");
    let below = device(&v);
    for signal in ["TERM", "KILL"] {
        // Nobody reads the log: a broken pipe must not end the mount.
        let mut child = place
            .command(&["mount", "v", "--foreground"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stderr.take());
        for _ in 0..200 {
            if place.run(&["status", "v"]).code == 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        fs::write(v.join(signal), signal).unwrap();
        assert!(
            Command::new("kill")
                .args(["-s", "HUP", &child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(fs::read_to_string(v.join(signal)).unwrap(), signal);
        assert!(
            Command::new("kill")
                .args(["-s", signal, &child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
        let ended = child.wait().unwrap();
        assert_eq!(ended.success(), signal == "TERM");
        if signal == "KILL" {
            assert!(fs::read_dir(&v).is_err(), "a dead mount answers");
            place.run(&["umount", "v"]).ok();
        }
        assert_eq!(device(&v), below);
    }
    place.run(&["mount", "v"]).ok();
    assert_eq!(fs::read_to_string(v.join("TERM")).unwrap(), "TERM");
    place.run(&["umount", "v"]).ok();
}
