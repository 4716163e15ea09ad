//! A disk that hangs, below the mount, while the key is withdrawn: the volume goes dark in time all the same. When the disk
//! answers again, everything goes on. The disk is an ext4 of its own that is frozen: whatever changes it waits.

use std::process::{Child, Command};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::dark::{QUICK, REVOKED, eventually, status};
use crate::dark_memory::{found, keys};
use crate::disk::Disk;
use crate::harness::{KMSFS, Vault};
use crate::holder::Holder;

/// What the README says: from the first denial to dark, beyond the interval.
const BOUND: Duration = Duration::from_secs(10);
/// Of what is started here and of this machine, which does other work too.
const SLACK: Duration = Duration::from_secs(3);

/// A mounted volume on a disk of its own, asked after often; the key store is elsewhere.
fn vault_on_a_disk() -> Option<(Disk, Vault)> {
    let disk = Disk::ext4("200M")?;
    let mut vault = Vault::unmounted()?;
    vault.run(&["init", &disk.path("volume")]);
    mount(&mut vault, &disk);
    vault.sh("printf 'sixteen bytes... and more' > held; seq 100000 > kept; mkdir listed; sha256sum kept > $V/sum");
    vault.sh("for n in $(seq 8); do echo $n > stuck.$n; done; sync .");
    // What a thread does in the background after the first commit is done, too.
    std::thread::sleep(Duration::from_secs(2));
    Some((disk, vault))
}

fn mount(vault: &mut Vault, disk: &Disk) {
    let plain = vault.plain();
    let volume = disk.path("volume");
    vault.mount_by(&[&["mount", &volume, plain.to_str().unwrap()][..], &QUICK].concat());
}

fn begin(vault: &Vault, command: &str) -> Child {
    let plain = vault.plain();
    let mut command = vault.command(KMSFS, &[command, plain.to_str().unwrap()]);
    command.spawn().unwrap()
}

/// A shell script in the mount that may hang.
fn begin_sh(vault: &Vault, script: &str) -> Child {
    let mut command = Command::new("bash");
    command.args(["-c", script]).current_dir(vault.plain()).spawn().unwrap()
}

/// What a program that has the file open gets, within a time in which nothing hangs.
fn ask(holder: Holder, command: &'static str) -> (Holder, String) {
    let (say, said) = channel();
    std::thread::spawn(move || {
        let mut holder = holder;
        let answer = holder.ask(command);
        let _ = say.send((holder, answer));
    });
    said.recv_timeout(SLACK).unwrap_or_else(|_| panic!("`{command}` hangs"))
}

fn is_locked(vault: &Vault) -> bool {
    status(vault)["state"] == "locked"
}

#[test]
fn a_disk_that_hangs_does_not_keep_the_volume_bright() {
    let Some((disk, mut vault)) = vault_on_a_disk() else {
        return;
    };
    let holder = Holder::of(&vault.plain().join("held"));
    let (holder, seen) = ask(holder, "peek");
    assert_eq!(seen, "ok");
    let needles = keys(disk.path("volume").as_ref(), &vault.key_store());
    let daemon = vault.daemon().as_raw_nonzero().get();
    assert!(
        !found(daemon, &needles).is_empty(),
        "the search finds no key of an open volume"
    );
    let frozen = disk.freeze();
    // More than there are threads that serve: files that are written, one that is made, a directory that is listed.
    let write = |n: usize| format!("exec dd if=/dev/zero of=stuck.{n} bs=1M count=4 conv=notrunc 2> /dev/null");
    let mut scripts: Vec<String> = (1..=8).map(write).collect();
    scripts.push("exec dd if=/dev/zero of=held bs=4096 seek=1 count=64 conv=notrunc 2> /dev/null".to_owned());
    scripts.push("exec ls listed > /dev/null".to_owned());
    scripts.push("exec touch made".to_owned());
    let stuck: Vec<Child> = scripts.iter().map(|script| begin_sh(&vault, script)).collect();
    std::thread::sleep(Duration::from_secs(2));
    let begin = Instant::now();
    vault.run(&["key", "disable", "alias/kmsfs"]);
    eventually("locked", || is_locked(&vault));
    // Keys go before it is said.
    let left = found(daemon, &needles);
    assert!(left.is_empty(), "left while locked: {left:?}");
    let (holder, said) = ask(holder, "read");
    assert_eq!(said, REVOKED);
    assert!(begin.elapsed() < BOUND + SLACK, "{:?}", begin.elapsed());
    let (holder, said) = ask(holder, "peek");
    assert_eq!(said, "SIGBUS");
    // Nobody is let in while the disk may still write what was refused.
    vault.run(&["key", "enable", "alias/kmsfs"]);
    std::thread::sleep(Duration::from_millis(500));
    let (mut holder, said) = ask(holder, "read");
    assert_eq!(said, REVOKED);
    drop(frozen);
    eventually("bright", || holder.ask("read") == "sixteen bytes...");
    assert_eq!(holder.ask("mapped"), "sixteen bytes...");
    for mut child in stuck {
        child.wait().unwrap();
    }
    vault.sh("sha256sum --quiet -c $V/sum; rm -f stuck.*; echo again > kept.2; sync .; ls listed");
    drop(holder);
    // As on ext4, the next syncfs(2) reports once more what could not be written.
    vault.sh("sync -f . || true");
    vault.umount();
    mount(&mut vault, &disk);
    vault.sh("sha256sum --quiet -c $V/sum; grep -qx again kept.2");
    vault.umount();
}

#[test]
fn a_withdrawal_does_not_wait_for_a_lock_by_command() {
    let Some((disk, mut vault)) = vault_on_a_disk() else {
        return;
    };
    vault.sh("echo late > late");
    let frozen = disk.freeze();
    let mut lock = begin(&vault, "lock");
    // Nothing is given out any more: it has begun.
    eventually("closed", || {
        let read = begin_sh(&vault, "exec timeout -s KILL 5 cat kept > /dev/null 2> /dev/null").wait();
        !read.unwrap().success()
    });
    std::thread::sleep(Duration::from_millis(500));
    assert!(!is_locked(&vault), "a lock by command gives the disk its time");
    let begin = Instant::now();
    vault.run(&["key", "disable", "alias/kmsfs"]);
    eventually("locked", || is_locked(&vault));
    assert!(begin.elapsed() < BOUND + SLACK, "{:?}", begin.elapsed());
    assert_eq!(status(&vault)["reason"], "by command");
    assert!(!lock.wait().unwrap().success(), "it could not write back, and says so");
    drop(frozen);
    vault.run(&["key", "enable", "alias/kmsfs"]);
    let plain = vault.plain();
    eventually("unlocked", || {
        vault.kmsfs(&["unlock", plain.to_str().unwrap()]).status.success()
    });
    vault.sh("sha256sum --quiet -c $V/sum; rm -f late; echo again > late; sync late");
    vault.umount();
}

/// The lock writes back through the root of the mount, which made an unmount at the same time say "in use".
#[test]
fn regression_an_unmount_waits_for_a_lock_that_writes_back() {
    let Some((disk, mut vault)) = vault_on_a_disk() else {
        return;
    };
    vault.sh("echo late > late");
    let frozen = disk.freeze();
    let mut lock = begin(&vault, "lock");
    std::thread::sleep(Duration::from_secs(1));
    let mut unmount = begin(&vault, "umount");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!((lock.try_wait().unwrap(), unmount.try_wait().unwrap()), (None, None));
    drop(frozen);
    assert!(lock.wait().unwrap().success() && unmount.wait().unwrap().success());
    assert!(!vault.is_mounted());
    mount(&mut vault, &disk);
    vault.sh("grep -qx late late; sha256sum --quiet -c $V/sum");
    vault.umount();
}
