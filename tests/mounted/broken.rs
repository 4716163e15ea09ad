//! What is broken stays within bounds: one file, one request, one client.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::io::Errno;

use crate::disk::Disk;
use crate::harness::Vault;

fn errno<T>(result: std::io::Result<T>) -> Option<Errno> {
    result.err().as_ref().and_then(Errno::from_io_error)
}

/// Overwrites the beginning of every stored file.
fn damage(backing: &Path) {
    for entry in fs::read_dir(backing).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_file() && !name.starts_with("kmsfs.") {
            let mut bytes = fs::read(entry.path()).unwrap();
            bytes[..512].fill(0xa5);
            fs::write(entry.path(), bytes).unwrap();
        }
    }
}

/// A file whose head does not open could not be looked up, so it was not listed and could not be removed.
#[test]
fn regression_a_damaged_file_is_listed_and_can_be_moved_and_removed() {
    let Some(mut vault) = Vault::new() else { return };
    fs::write(vault.plain().join("small"), "text").unwrap();
    fs::write(vault.plain().join("large"), vec![1; 50_000]).unwrap();
    fs::create_dir(vault.plain().join("d")).unwrap();
    vault.offline(damage);
    let (small, large) = (vault.plain().join("small"), vault.plain().join("large"));
    vault.sh("test \"$(ls | tr '\\n' ' ')\" = 'd large small '; test \"$(ls -l d | wc -l)\" = 1");
    for path in [&small, &large] {
        assert_eq!(errno(fs::metadata(path)), Some(Errno::IO));
        assert_eq!(errno(fs::read(path)), Some(Errno::IO));
        assert_eq!(errno(File::create(path)), Some(Errno::IO));
    }
    fs::rename(&small, vault.plain().join("d/moved")).unwrap();
    fs::write(vault.plain().join("new"), "new").unwrap();
    fs::rename(vault.plain().join("new"), &large).unwrap();
    assert_eq!(fs::read_to_string(&large).unwrap(), "new");
    vault.sh("rm -r d; rm large; test -z \"$(ls -A)\"");
}

/// Mounts the volume in `backing` so that the log can be read.
fn mount_logged(vault: &mut Vault, backing: &str) {
    let (plain, log) = (vault.plain(), vault.aside("log"));
    let (plain, log) = (plain.to_str().unwrap(), log.to_str().unwrap());
    vault.mount_by(&["mount", backing, plain, "--log", log]);
}

/// A volume on an ext4 of its own, with something in it, mounted so that the log can be read.
fn on_a_disk() -> Option<(Disk, Vault)> {
    let (disk, mut vault) = (Disk::ext4("256M")?, Vault::unmounted()?);
    vault.run(&["init", &disk.path("volume")]);
    mount_logged(&mut vault, &disk.path("volume"));
    vault.sh("mkdir d; seq 1 50000 > d/kept; seq 1 50000 > kept; sync d/kept kept .; sync .");
    Some((disk, vault))
}

const IS_KEPT: &str = "seq 1 50000 | cmp - kept; seq 1 50000 | cmp - d/kept";

/// The mount answers, nothing in it has panicked, and it can be unmounted: also when not everything can be made durable,
/// which `kmsfs umount` says.
fn ends_in_order(vault: &Vault) {
    let plain = vault.plain();
    let plain = plain.to_str().unwrap();
    vault.run(&["status", plain]);
    let daemon = vault.daemon();
    let said = vault.kmsfs(&["umount", plain]);
    if !said.status.success() {
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.lines().count(), 2, "{said}");
        assert!(said.contains("not everything could be made durable"), "{said}");
        vault.sh_in(Path::new("/"), &format!("umount {plain}"));
    }
    Vault::wait_for_end(daemon);
    let log = fs::read_to_string(vault.aside("log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
}

/// Unmounting the backing lazily takes its name away, and the daemon needs none.
#[test]
fn a_backing_that_is_unmounted_lazily_goes_on() {
    let Some((disk, mut vault)) = on_a_disk() else { return };
    disk.take_away();
    vault.sh(IS_KEPT);
    vault.sh("seq 1 50000 > new; sync new; mv new newer; mkdir e; ln newer e/link; rm newer; ls -lR > /dev/null");
    ends_in_order(&vault);
    disk.put_back();
    mount_logged(&mut vault, &disk.path("volume"));
    vault.sh(IS_KEPT);
    vault.sh("seq 1 50000 | cmp - e/link");
    vault.umount();
}

/// The disk below fails for good.
#[test]
fn a_backing_that_fails_gives_errors_and_keeps_what_was_durable() {
    let Some((disk, mut vault)) = on_a_disk() else { return };
    let open = File::options().read(true).write(true).open(vault.plain().join("kept"));
    let open = open.unwrap();
    disk.power_off();
    FileExt::write_all_at(&open, b"not durable", 0).unwrap();
    for _ in 0..2 {
        assert_eq!(errno(open.sync_all()), Some(Errno::IO));
    }
    drop(open);
    for result in [
        File::create(vault.plain().join("new")).map(drop),
        fs::create_dir(vault.plain().join("new")),
        fs::rename(vault.plain().join("kept"), vault.plain().join("moved")),
        fs::remove_file(vault.plain().join("d/kept")),
    ] {
        assert_eq!(errno(result), Some(Errno::IO));
    }
    ends_in_order(&vault);
    disk.power_on();
    mount_logged(&mut vault, &disk.path("volume"));
    vault.sh(IS_KEPT);
    vault.umount();
}

/// Somebody removes all of the backing, the volume's own files too, while it is mounted.
#[test]
fn a_backing_that_is_removed_gives_errors_and_can_be_unmounted() {
    let Some(mut vault) = Vault::unmounted() else { return };
    let backing = vault.backing();
    let backing = backing.to_str().unwrap().to_owned();
    vault.run(&["init", &backing]);
    mount_logged(&mut vault, &backing);
    vault.sh("mkdir d; for n in 1 2 3; do seq $n 5000 > $n; seq $n 5000 > d/$n; done; sync .");
    let open = File::open(vault.plain().join("1")).unwrap();
    fs::remove_dir_all(&backing).unwrap();
    let mut text = [0; 4];
    FileExt::read_exact_at(&open, &mut text, 0).unwrap();
    assert_eq!(&text, b"1\n2\n");
    assert_eq!(errno(fs::read(vault.plain().join("d/2"))), Some(Errno::NOENT));
    assert_eq!(errno(fs::write(vault.plain().join("d/new"), "")), Some(Errno::NOENT));
    assert_eq!(errno(fs::write(vault.plain().join("new"), "")), Some(Errno::NOENT));
    drop(open);
    ends_in_order(&vault);
}

/// Somebody puts other things in the place of stored files while they are mounted. None of it is followed, waited for or
/// shown.
#[test]
fn other_things_in_the_place_of_files_are_not_taken_for_them() {
    let Some(mut vault) = Vault::unmounted() else { return };
    let backing = vault.backing();
    let backing = backing.to_str().unwrap().to_owned();
    vault.run(&["init", &backing]);
    mount_logged(&mut vault, &backing);
    vault.sh("mkdir d; seq 500 > d/in; for name in pipe dir link socket empty noise swapped whole; do seq 5000 > $name; done");
    vault.umount();
    mount_logged(&mut vault, &backing);
    vault.sh("ls -lR > $V/listed");
    // Stored files have the inode numbers of what they are.
    vault.sh(r#"stored() { find "$V/backing" -inum "$(stat -c %i "$1")"; }
        for name in pipe dir link socket empty noise swapped d; do at=$(stored $name); other=$(stored whole); rm -r "$at"
            case $name in
                pipe) mkfifo "$at" ;;
                dir) mkdir "$at" ;;
                link) ln -s "$other" "$at" ;;
                socket) python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$at" ;;
                noise) head -c 20000 /dev/urandom > "$at" ;;
                swapped) cp "$other" "$at" ;;
                empty | d) touch "$at" ;;
            esac
        done"#);
    for name in ["pipe", "dir", "link", "socket", "empty", "noise", "swapped"] {
        let path = vault.plain().join(name);
        assert_eq!(errno(File::open(&path).map(drop)), Some(Errno::IO), "{name}");
        assert_eq!(errno(fs::write(&path, "new")), Some(Errno::IO), "{name}");
    }
    assert_eq!(errno(fs::read(vault.plain().join("d/in"))), Some(Errno::NOENT));
    vault.sh("seq 5000 | cmp - whole; ls -lR > /dev/null 2>&1 || true; rm -rf pipe socket noise; echo new > new");
    ends_in_order(&vault);
}

/// Somebody empties the backing while it is mounted.
#[test]
fn a_backing_that_goes_away_gives_errors_and_no_more() {
    let Some(mut vault) = Vault::new() else { return };
    fs::create_dir(vault.plain().join("d")).unwrap();
    for name in ["a", "b", "d/c"] {
        fs::write(vault.plain().join(name), "text").unwrap();
    }
    vault.offline(|_| {});
    let open = File::open(vault.plain().join("a")).unwrap();
    for entry in fs::read_dir(vault.backing()).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => fs::remove_dir_all(entry.path()).unwrap(),
            false if entry.file_name().to_str().unwrap().starts_with("kmsfs.") => {}
            false => fs::remove_file(entry.path()).unwrap(),
        }
    }
    // What is open stays; what is not says that it is gone; what is new works.
    let mut text = [0; 4];
    FileExt::read_exact_at(&open, &mut text, 0).unwrap();
    assert_eq!(&text, b"text");
    for name in ["b", "d/c"] {
        assert!(fs::read(vault.plain().join(name)).is_err(), "{name}");
    }
    assert!(fs::write(vault.plain().join("d/new"), "new").is_err());
    fs::write(vault.plain().join("new"), "new").unwrap();
    assert_eq!(fs::read_to_string(vault.plain().join("new")).unwrap(), "new");
    vault.run(&["status", vault.plain().to_str().unwrap()]);
}
