//! The key is withdrawn and the data goes dark; it is given back, and everything goes on.

use std::fs;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::Vault;
use crate::holder::Holder;

pub const REVOKED: &str = "EKEYREVOKED";
/// Asks ten times in a second, so that tests do not wait.
pub const QUICK: [&str; 2] = ["--revocation-check", "100ms"];

pub fn status(vault: &Vault) -> serde_json::Value {
    let status = vault.run(&["status", vault.plain().to_str().unwrap(), "--json"]);
    serde_json::from_str(&status).unwrap()
}

pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn lock(vault: &Vault) {
    vault.run(&["lock", vault.plain().to_str().unwrap()]);
}

fn unlock(vault: &Vault) {
    vault.run(&["unlock", vault.plain().to_str().unwrap()]);
}

/// A mounted volume, asked after often, with a file `d/held` of some pages.
fn watched(more: &[&str]) -> Option<Vault> {
    let mut vault = Vault::unmounted()?;
    vault.run(&["init", vault.backing().to_str().unwrap()]);
    vault.mount_with(&[&QUICK[..], more].concat());
    vault.sh(r#"mkdir d; printf 'sixteen bytes... %30000d' 7 > d/held; ln -s target d/link; setfattr -n user.note -v kept d/held
        ln d/held hard; test ! -e absent; test ! -e d/absent; ls -R > /dev/null; cat d/held hard > /dev/null; readlink d/link > /dev/null"#);
    Some(vault)
}

/// That nothing of the volume can be seen any more, by way of `holder` or anew.
fn assert_dark(vault: &Vault, holder: &mut Holder) {
    let at = |name: &str| vault.plain().join(name).display().to_string();
    for command in ["read", "write x", "list ."] {
        assert_eq!(holder.ask(command), REVOKED, "{command}");
    }
    for signal in ["peek", "poke"] {
        assert_eq!(holder.ask(signal), "SIGBUS", "{signal}");
    }
    for name in ["d", "d/held", "hard", "absent", "d/absent"] {
        assert_eq!(holder.ask(&format!("stat {}", at(name))), REVOKED, "stat {name}");
    }
    // By the directory that it is in.
    for name in ["held", "absent"] {
        assert_eq!(holder.ask(&format!("stat {name}")), REVOKED, "stat {name}");
    }
    for (command, name) in [
        ("list", ""),
        ("list", "d"),
        ("link", "d/link"),
        ("xattr", "d/held"),
        ("make", "new"),
    ] {
        assert_eq!(
            holder.ask(&format!("{command} {}", at(name))),
            REVOKED,
            "{command} {name}"
        );
    }
    let usage = Command::new("df").arg(vault.plain()).output().unwrap();
    assert!(usage.status.success(), "statfs does not answer");
    assert_eq!(status(vault)["state"], "locked");
}

fn assert_bright(vault: &Vault, holder: &mut Holder) {
    assert_eq!(holder.ask("mapped"), "sixteen bytes...");
    assert_eq!(holder.ask("read"), "sixteen bytes...");
    assert_eq!(holder.ask("list ."), "held link");
    assert_eq!(holder.ask("peek"), "ok");
    vault.sh("test $(cat d/held | wc -c) = 30017; test $(readlink d/link) = target; test ! -e absent");
    vault.sh("getfattr --only-values -n user.note d/held | grep -qx kept; ls d | grep -qx held");
    assert_eq!(status(vault)["state"], "unlocked");
}

fn holder_in(vault: &Vault) -> Holder {
    let mut holder = Holder::of(&vault.plain().join("d/held"));
    assert_eq!(holder.ask(&format!("cd {}", vault.plain().join("d").display())), "ok");
    assert_bright(vault, &mut holder);
    holder
}

#[test]
fn a_lock_takes_everything_away_and_an_unlock_gives_everything_back() {
    let Some(mut vault) = watched(&[]) else { return };
    let mut holder = holder_in(&vault);
    for _ in 0..3 {
        lock(&vault);
        assert_dark(&vault, &mut holder);
        lock(&vault);
        assert_dark(&vault, &mut holder);
        assert_eq!(status(&vault)["reason"], "by command");
        unlock(&vault);
        unlock(&vault);
        assert_bright(&vault, &mut holder);
    }
    drop(holder);
    vault.offline(|_| {});
    vault.sh("test $(cat d/held | wc -c) = 30017");
}

#[test]
fn a_disabled_key_makes_the_volume_dark_and_an_enabled_one_bright() {
    let Some(vault) = watched(&[]) else { return };
    let mut holder = holder_in(&vault);
    vault.run(&["key", "disable", "alias/kmsfs"]);
    eventually("dark", || holder.ask("read") == REVOKED);
    eventually("locked", || status(&vault)["state"] == "locked");
    assert_dark(&vault, &mut holder);
    let reason = status(&vault)["reason"].as_str().unwrap().to_owned();
    assert!(
        reason.starts_with("denied: ") && reason.contains("Rejected.Disabled"),
        "{reason}"
    );
    // Unlocking by command does not help while the key is disabled.
    let refused = vault.kmsfs(&["unlock", vault.plain().to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(13));
    assert_dark(&vault, &mut holder);
    vault.run(&["key", "enable", "alias/kmsfs"]);
    eventually("bright", || holder.ask("read") == "sixteen bytes...");
    assert_bright(&vault, &mut holder);
}

#[test]
fn a_key_that_is_to_be_deleted_makes_it_dark_too() {
    let Some(vault) = watched(&[]) else { return };
    let mut holder = holder_in(&vault);
    vault.run(&["key", "schedule-deletion", "alias/kmsfs"]);
    eventually("dark", || holder.ask("read") == REVOKED);
    vault.run(&["key", "cancel-deletion", "alias/kmsfs"]);
    eventually("bright", || holder.ask("read") == "sixteen bytes...");
}

#[test]
fn what_was_locked_by_command_is_not_unlocked_by_the_watcher() {
    let Some(vault) = watched(&[]) else { return };
    let mut holder = holder_in(&vault);
    vault.run(&["key", "disable", "alias/kmsfs"]);
    eventually("dark", || status(&vault)["state"] == "locked");
    lock(&vault);
    vault.run(&["key", "enable", "alias/kmsfs"]);
    let calls = status(&vault)["kms"]["calls"].clone();
    std::thread::sleep(Duration::from_millis(500));
    assert_dark(&vault, &mut holder);
    assert_eq!(
        status(&vault)["kms"]["calls"],
        calls,
        "asked although locked by command"
    );
    unlock(&vault);
    assert_bright(&vault, &mut holder);
}

#[test]
fn a_kms_that_is_not_there_is_no_withdrawal_until_the_grace_is_over() {
    let Some(vault) = watched(&["--offline-grace", "2s"]) else {
        return;
    };
    let mut holder = holder_in(&vault);
    let away = vault.aside("away");
    let begin = Instant::now();
    fs::rename(vault.key_store(), &away).unwrap();
    eventually("trouble", || status(&vault)["revocation"]["trouble"].is_string());
    assert!(begin.elapsed() > Duration::from_secs(2) || status(&vault)["state"] == "unlocked");
    eventually("dark", || status(&vault)["state"] == "locked");
    assert!(
        begin.elapsed() > Duration::from_millis(1800),
        "dark before the grace was over"
    );
    let reason = status(&vault)["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("no contact with the KMS for 2s"), "{reason}");
    assert_dark(&vault, &mut holder);
    fs::rename(&away, vault.key_store()).unwrap();
    eventually("bright", || holder.ask("read") == "sixteen bytes...");
    assert_bright(&vault, &mut holder);
}

#[test]
fn a_locked_mount_can_be_unmounted_and_nothing_is_lost() {
    let Some(mut vault) = watched(&[]) else { return };
    vault.sh("echo not synced > late");
    lock(&vault);
    vault.umount();
    vault.mount();
    vault.sh("grep -qx 'not synced' late; test $(cat d/held | wc -c) = 30017");
}

/// Writers that sync, one that writes without end, and one with a mapping: what was acknowledged is there after.
#[test]
fn heavy_writing_is_cut_off_and_what_was_acknowledged_is_there() {
    let Some(mut vault) = watched(&[]) else { return };
    for round in 0..2u64 {
        let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
        let (synced, endless) = (vault.plain().join("synced"), vault.plain().join("endless"));
        fs::write(&synced, vec![0; 64 << 12]).unwrap();
        let mut mapper = Holder::of(&vault.plain().join("d/held"));
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let file = fs::OpenOptions::new().write(true).open(&synced).unwrap();
                for number in 1u64.. {
                    let page = number.to_le_bytes().repeat(512);
                    let done = file
                        .write_all_at(&page, (number % 64) << 12)
                        .and_then(|()| file.sync_data());
                    if done.is_err() || stop.load(Ordering::SeqCst) {
                        return;
                    }
                    acknowledged.store(number, Ordering::SeqCst);
                }
            });
            threads.spawn(|| {
                let file = fs::File::create(&endless).unwrap();
                let megabyte = vec![7; 1 << 20];
                let write = |at: u64| file.write_all_at(&megabyte, (at % 16) << 20);
                (0u64..)
                    .take_while(|at| !stop.load(Ordering::SeqCst) && write(*at).is_ok())
                    .count();
            });
            threads.spawn(|| {
                (0..)
                    .take_while(|_| !stop.load(Ordering::SeqCst) && mapper.ask("poke") == "ok")
                    .count()
            });
            eventually("written", || acknowledged.load(Ordering::SeqCst) > 20 + round);
            lock(&vault);
            assert!(fs::read(&synced).is_err());
            stop.store(true, Ordering::SeqCst);
        });
        unlock(&vault);
        let last = acknowledged.load(Ordering::SeqCst);
        let check = |bytes: Vec<u8>| {
            // The page of the next number may have been written already.
            for number in last.saturating_sub(62).max(1)..=last {
                let at = ((number % 64) << 12) as usize;
                let expected = number.to_le_bytes().repeat(512);
                assert!(
                    bytes[at..at + 4096] == expected,
                    "{number} of {last} was acknowledged and is not there"
                );
            }
        };
        check(fs::read(&synced).unwrap());
        drop(mapper);
        vault.umount();
        vault.mount_with(&QUICK);
        check(fs::read(&synced).unwrap());
    }
}

#[test]
fn a_full_disk_does_not_keep_the_volume_bright() {
    let Some(mut vault) = Vault::unmounted() else {
        return;
    };
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let backing = vault.backing();
    let small = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=96m", "none"])
        .arg(&backing)
        .status();
    assert!(small.unwrap().success());
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        vault.run(&["init", backing.to_str().unwrap()]);
        vault.mount();
        vault.sh("seq 100000 > kept; sync kept; sha256sum kept > \"$V/sum\"");
        // More than fits, in the kernel's cache only.
        vault.sh("dd if=/dev/zero of=big bs=1M count=160 2> /dev/null || true");
        let locked = vault.kmsfs(&["lock", vault.plain().to_str().unwrap()]);
        let said = String::from_utf8(locked.stderr).unwrap();
        // Whether the kernel had found out already that it does not fit is its own affair.
        assert!(
            locked.status.success() || said.contains("error: locked, but not everything"),
            "{said}"
        );
        assert_eq!(status(&vault)["state"], "locked");
        assert!(fs::read(vault.plain().join("kept")).is_err());
        unlock(&vault);
        vault.sh("sha256sum --quiet -c \"$V/sum\"; rm big");
        // Its space comes back when its last use has ended.
        eventually("space", || {
            fs::write(vault.plain().join("more"), "more\n")
                .and_then(|()| fs::File::open(vault.plain().join("more"))?.sync_all())
                .is_ok()
        });
        // As on ext4, the next syncfs(2) reports once more what did not fit.
        vault.sh("sync -f . || true");
        vault.offline(|_| {});
        vault.sh("sha256sum --quiet -c \"$V/sum\"; grep -qx more more");
        vault.umount();
    }));
    drop(vault.kmsfs(&["umount", vault.plain().to_str().unwrap()]));
    let _ = Command::new("umount").arg("-l").arg(&backing).status();
    checked.unwrap();
}
