//! What happens to files: sealed and back, several at once, never over another, nothing left behind.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::place::{Place, failed, pattern};

#[test]
fn sealed_and_back() {
    Place::both().iter().for_each(sealed_and_back_on);
}

fn sealed_and_back_on(place: &Place) {
    for size in [0, 1, 3040, 3041, 4096, 5000, 1_000_000] {
        place.write("a file", pattern(size));
        place.ok(&["seal", "a file"]);
        let sealed = place.read("a file.sealed");
        assert!(sealed.starts_with(b"kmsfs\0f\x01") && sealed.len() >= 4096);
        fs::rename(place.path("a file"), place.path("was")).unwrap();
        assert_eq!(place.ok(&["unseal", "a file.sealed"]), "a file\n");
        assert!(place.read("a file") == place.read("was"), "{size}");
        assert!(place.read("a file.sealed") == sealed, "the input stays as it is");
        fs::remove_file(place.path("a file.sealed")).unwrap();
    }
}

#[test]
fn several_files_need_several_places() {
    let place = Place::new();
    fs::create_dir(place.path("there")).unwrap();
    for name in ["a", "b", "c"] {
        place.write(name, name);
    }
    place.fails(&["seal", "a", "b", "-o", "one"], 2);
    place.fails(&["seal", "a", "-o", "-"], 2);
    let said = place.ok(&["seal", "a", "b", "c", "-o", "there"]);
    assert_eq!(said, "there/a.sealed\nthere/b.sealed\nthere/c.sealed\n");
    place.ok(&["unseal", "there/a.sealed", "there/b.sealed"]);
    assert_eq!(
        (place.read("there/a"), place.read("there/b")),
        (b"a".to_vec(), b"b".to_vec())
    );
    place.fails(&["seal", "there"], 3);
    place.fails(&["seal", "absent"], 3);
    place.fails(&["seal"], 2);
    place.fails(&["seal", "a", "--chunk-size", "5000"], 2);
    place.fails(&["unseal", "a", "-o", "x"], 16);
    // One format for the other.
    assert!(
        place
            .fails(&["unseal", "there/a.sealed", "--format", "guide", "-o", "x"], 16)
            .contains("--format")
    );
    place.ok(&["seal", "a", "--format", "guide"]);
    assert!(
        place
            .fails(&["unseal", "a.cipher", "-o", "x"], 16)
            .contains("--format guide")
    );
    // Its name does not end as `seal` names files.
    fs::copy(place.path("there/a.sealed"), place.path("nameless")).unwrap();
    assert!(place.fails(&["unseal", "nameless"], 2).contains("-o"));
    place.ok(&["unseal", "nameless", "-o", "named"]);
    assert_eq!(place.read("named"), b"a");
}

#[test]
fn one_that_is_not_fit_does_not_stop_the_others() {
    let place = Place::new();
    for name in ["a", "b", "c"] {
        place.write(name, name);
    }
    place.ok(&["seal", "a", "b", "c"]);
    fs::create_dir(place.path("out")).unwrap();
    place.write("a.sealed", "damaged");
    let words = [
        "unseal", "a.sealed", "absent", "b.sealed", "out", "c.sealed", "-o", "out",
    ];
    let output = place.command(&words).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), err.matches("error: ").count()),
        (Some(3), 3),
        "{err}"
    );
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "out/b\nout/c\n");
    // A key that is withheld is so for all.
    place.ok(&["key", "disable", "alias/kmsfs"]);
    place.fails(&["unseal", "b.sealed", "c.sealed", "-o", "out", "--force"], 13);
    place.fails(&["encrypt", "out"], 3);
}

/// The descriptor says where the master key is.
#[test]
fn a_volume_on_the_wire_needs_no_options() {
    let there = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").is_ok();
    assert!(
        there || std::env::var_os("KMSFS_REQUIRE_FUSE").is_none(),
        "FUSE cannot be used"
    );
    if !there {
        eprintln!("passed over: there is no /dev/fuse");
        return;
    }
    let [_, place] = Place::both();
    fs::create_dir(place.path("mnt")).unwrap();
    place.ok(&["init", "volume"]);
    let runtime = place.path("state");
    let run = |words: &[&str]| {
        let mut command = place.command(words);
        for name in ["KMSFS_KMS", "KMSFS_REGION", "KMSFS_ENDPOINT", "KMSFS_KEY_ID"] {
            command.env_remove(name);
        }
        command.env("KMSFS_RUNTIME_DIR", &runtime).status().unwrap().success()
    };
    assert!(run(&["mount", "volume", "mnt"]));
    let written = fs::write(place.path("mnt/a file"), pattern(100_000));
    assert!(run(&["umount", "mnt"]));
    written.unwrap();
    let entries = fs::read_dir(place.path("volume"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let stored = entries.filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with("kmsfs."));
    let stored: Vec<_> = stored.collect();
    assert_eq!(stored.len(), 1);
    assert!(run(&["unseal", stored[0].to_str().unwrap()]));
    assert!(place.read("a file") == pattern(100_000));
}

#[test]
fn what_is_there_stays() {
    let place = Place::new();
    place.write("a", "a");
    place.write("a.sealed", "mine");
    place.write("a.cipher", "mine");
    for words in [
        &["seal", "a"][..],
        &["encrypt", "a"],
        &["seal", "--format", "guide", "a"],
    ] {
        assert!(place.fails(words, 3).contains("--force"));
    }
    assert_eq!(
        (place.read("a.sealed"), place.read("a.cipher")),
        (b"mine".to_vec(), b"mine".to_vec())
    );
    place.ok(&["seal", "a", "--force"]);
    place.write("a", "other");
    place.fails(&["unseal", "a.sealed"], 3);
    assert_eq!(place.read("a"), b"other");
    place.ok(&["unseal", "a.sealed", "--force"]);
    assert_eq!(place.read("a"), b"a");
    // A failure with --force leaves what was there.
    let mut sealed = place.read("a.sealed");
    sealed[1056] ^= 1;
    place.write("a.sealed", sealed);
    place.fails(&["unseal", "a.sealed", "--force"], 16);
    assert_eq!(place.read("a"), b"a");
    // A link is replaced, not followed.
    symlink("a", place.path("link")).unwrap();
    place.ok(&["seal", "a", "-o", "link", "--force"]);
    assert_eq!(place.read("a"), b"a");
    assert_eq!(place.names(), ["a", "a.cipher", "a.sealed", "link"]);
}

#[test]
fn modes_are_the_owners_part() {
    let place = Place::new();
    place.write("a", "text");
    for (mode, kept) in [(0o644, 0o600), (0o444, 0o400), (0o750, 0o600)] {
        fs::set_permissions(place.path("a"), fs::Permissions::from_mode(mode)).unwrap();
        for (words, made) in [(&["seal", "a"][..], "a.sealed"), (&["encrypt", "a"], "a.cipher")] {
            place.ok(words);
            assert_eq!(fs::metadata(place.path(made)).unwrap().mode() & 0o777, kept);
            fs::remove_file(place.path(made)).unwrap();
        }
    }
}

#[test]
fn damage_is_named_by_chunk_and_offset() {
    let place = Place::new();
    place.write("a", pattern(400_000));
    place.ok(&["seal", "a"]);
    let file = fs::OpenOptions::new().write(true).open(place.path("a.sealed")).unwrap();
    // Chunk 70 is the seventh of group 1.
    file.write_all_at(b"!", 270_336 + 6 * 4096 + 17).unwrap();
    let said = place.fails(&["unseal", "a.sealed", "-o", "out"], 16);
    assert!(said.contains("a.sealed: chunk 70, stored at offset 294912"), "{said}");
    file.set_len(300_000).unwrap();
    place.fails(&["unseal", "a.sealed", "-o", "out"], 16);
    file.set_len(0).unwrap();
    place.fails(&["unseal", "a.sealed", "-o", "out"], 16);
    assert_eq!(place.names(), ["a", "a.sealed"]);
}

#[test]
fn key_withheld_or_elsewhere() {
    Place::both().iter().for_each(key_withheld_or_elsewhere_on);
}

fn key_withheld_or_elsewhere_on(place: &Place) {
    place.write("a", "text");
    place.ok(&["seal", "a", "--key-id", "alias/Apollo/WorkKey"]);
    place.ok(&["key", "disable", "alias/Apollo/WorkKey"]);
    place.fails(&["unseal", "a.sealed", "-o", "out"], 13);
    let other = Place::new();
    fs::copy(place.path("a.sealed"), other.path("a.sealed")).unwrap();
    other.fails(&["unseal", "a.sealed"], 13);
    place.ok(&["key", "enable", "alias/Apollo/WorkKey"]);
    place.ok(&["unseal", "a.sealed", "-o", "out"]);
    assert_eq!(place.names(), ["a", "a.sealed", "out"]);
}

#[test]
fn pipes() {
    let place = Place::new();
    let cipher = place.pipe(&["encrypt", "-"], b"text\n");
    place.write("x.cipher", &cipher);
    assert_eq!(place.pipe(&["decrypt", "-o", "out"], &cipher), b"");
    assert_eq!(place.read("out"), b"text\n");
    assert_eq!(place.ok(&["decrypt", "x.cipher", "-o", "-"]), "text\n");
    // A reader that has gone away: an error, no hang.
    let mut child = place.command(&["decrypt", "x.cipher", "-o", "-"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success() || output.status.code() == Some(17),
        "{output:?}"
    );
}

/// A signal in the middle of the work: no output, no rest of it, and the program ends by the signal.
#[test]
fn signals_leave_nothing() {
    let place = Place::new();
    // Endless for a test: the holes take no time to make, and minutes to encrypt in lines of text.
    fs::File::create(place.path("large"))
        .unwrap()
        .set_len(64 << 30)
        .unwrap();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let words = ["seal", "--format", "guide", "large"];
        let mut child = place.command(&words).stderr(Stdio::piped()).spawn().unwrap();
        // Until it works on it.
        let begun = |names: Vec<String>| {
            names.iter().any(|name| {
                name.starts_with(".kmsfs-") && fs::metadata(place.path(name)).is_ok_and(|facts| facts.len() > 1000)
            })
        };
        while !begun(place.names()) {
            assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
            std::thread::yield_now();
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        let ended = child.wait().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&ended),
            Some(signal.as_raw())
        );
        assert_eq!(place.names(), ["large"]);
    }
}

/// A disk of 4 MiB that is too small for what comes out. As root, or it passes over.
#[test]
fn a_full_disk_leaves_nothing() {
    let place = Place::new();
    let disk = place.path("disk");
    fs::create_dir(&disk).unwrap();
    if !rustix::process::geteuid().is_root() {
        eprintln!("passed over: only root mounts a disk");
        return;
    }
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "none"])
        .arg(&disk)
        .status();
    assert!(mounted.unwrap().success());
    let outcome = std::panic::catch_unwind(|| {
        place.write("large", pattern(8 << 20));
        place.write("small", "text");
        for words in [
            &["seal", "large", "-o", "disk"][..],
            &["seal", "--format", "guide", "large", "-o", "disk"],
        ] {
            let said = place.fails(words, 17);
            assert!(said.contains("No space left") && said.contains("make room"), "{said}");
        }
        place.ok(&["seal", "large"]);
        place.fails(&["unseal", "large.sealed", "-o", "disk/out"], 17);
        assert_eq!(fs::read_dir(&disk).unwrap().count(), 0);
        place.ok(&["seal", "small", "-o", "disk"]);
    });
    let unmounted = Command::new("umount").arg(&disk).status();
    assert!(unmounted.unwrap().success());
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// A file that somebody writes to is not sealed half old, half new.
#[test]
fn a_changing_file_is_refused() {
    let place = Place::new();
    let file = fs::File::create(place.path("log")).unwrap();
    // So many groups of holes that it grows more than once meanwhile.
    let mut length = 1 << 40;
    file.set_len(length).unwrap();
    let words = ["seal", "log"];
    let mut child = place.command(&words);
    let mut child = child.stderr(Stdio::piped()).spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        length += 1;
        file.set_len(length).unwrap();
    }
    assert!(failed(&words, &child.wait_with_output().unwrap(), 7).contains("changed"));
    assert_eq!(place.names(), ["log"]);
}
