//! A full disk: the call that needs space fails, what was acknowledged stays, deleting works, and when there is space
//! again everything goes on. Space, inodes and the journal, on a tmpfs and on an ext4.

use std::fs;

use crate::disk::Disk;
use crate::harness::Vault;

/// A mounted volume on `disk`.
fn vault_on(disk: &Disk) -> Option<Vault> {
    let mut vault = Vault::unmounted()?;
    vault.run(&["init", &disk.path("volume")]);
    mount(&mut vault, disk);
    Some(vault)
}

fn mount(vault: &mut Vault, disk: &Disk) {
    let plain = vault.plain();
    let backing = disk.path("volume");
    vault.mount_by(&["mount", &backing, plain.to_str().unwrap(), "--journal-size", "256K"]);
}

/// Kills the daemon and mounts again: what is there then is what was acknowledged.
fn crash(vault: &mut Vault, disk: &Disk) {
    vault.kill(vault.daemon());
    vault.clear();
    mount(vault, disk);
}

const KEPT: &str = "seq 1 60000 > kept; sync kept; seq 1 60000 | sha256sum > $V/sum; sha256sum < kept | cmp - $V/sum";
const IS_KEPT: &str = "sha256sum < kept | cmp - $V/sum";
/// Fills the disk to the last byte by files that grow, and files that are new. (The kernel holds writes back, so it is
/// fsync that fails.)
const FILL: &str = "! dd if=/dev/urandom of=big bs=64K count=300 conv=fsync 2> $V/said; grep -q 'No space' $V/said
    for n in $(seq 400); do head -c 2000 /dev/urandom > small.$n && sync small.$n || break; done 2> /dev/null
    ! head -c 100000 /dev/urandom > late 2> /dev/null || ! sync late";

fn fill_up(disk: &Disk) {
    let Some(mut vault) = vault_on(disk) else {
        return;
    };
    vault.sh(KEPT);
    vault.sh(FILL);
    vault.sh(IS_KEPT);
    // Overwriting what is durable: it is done, or refused; nothing else.
    vault.sh("printf 1 | dd of=kept conv=notrunc,fsync status=none 2> /dev/null || true");
    vault.sh(IS_KEPT);
    crash(&mut vault, disk);
    vault.sh(IS_KEPT);
    vault.sh("rm big small.*; rm -f late; test $(ls) = kept");
    vault.sh(
        "head -c 500000 /dev/urandom > again; sync again; sha256sum again > $V/again; seq 1 60000 > kept; sync kept",
    );
    crash(&mut vault, disk);
    vault.sh(IS_KEPT);
    vault.sh("sha256sum -c --quiet $V/again; mv again kept; sync .; test $(ls) = kept");
    vault.umount();
}

#[test]
fn a_full_tmpfs() {
    if let Some(disk) = Disk::memory("size=8M") {
        fill_up(&disk);
    }
}

#[test]
fn a_full_ext4() {
    if let Some(disk) = Disk::ext4("16M") {
        fill_up(&disk);
    }
}

#[test]
fn no_inodes_left() {
    let Some(disk) = Disk::memory("size=16M,nr_inodes=60") else {
        return;
    };
    let Some(mut vault) = vault_on(&disk) else {
        return;
    };
    vault.sh(KEPT);
    vault.sh("n=0; while touch file.$n 2> $V/said; do n=$((n + 1)); test $n -lt 100; done; grep -q 'No space' $V/said");
    // A name that needs a side file, a directory and a symlink are refused, and nothing of them stays.
    vault.sh("long=$(printf 'l%.0s' $(seq 200)); rm file.0; ! touch $long; ! mkdir d e; ! ln -s x $long; rmdir d; touch file.0");
    vault.sh("echo more >> kept; sync kept; truncate -s -5 kept; sync kept");
    vault.sh(IS_KEPT);
    // A rename over another needs none.
    vault.sh("echo 1 > file.1; sync file.1; mv file.1 file.2; test $(cat file.2) = 1; rm -r d e 2> /dev/null || true");
    crash(&mut vault, &disk);
    vault.sh(IS_KEPT);
    vault.sh("test $(cat file.2) = 1; rm -rf file.* d e; mkdir d; touch $(printf 'l%.0s' $(seq 200)); rm -r d l*; test $(ls) = kept");
    vault.umount();
    let left = fs::read_dir(disk.path("volume")).unwrap();
    let names = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let strange: Vec<String> = names
        .filter(|name| name.starts_with("kmsfs.l") && name != "kmsfs.lock")
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
}

#[test]
fn no_room_for_the_journal() {
    let Some(disk) = Disk::memory("size=8M") else {
        return;
    };
    let Some(mut vault) = Vault::unmounted() else {
        return;
    };
    let (backing, plain) = (disk.path("volume"), vault.plain());
    vault.run(&["init", &backing]);
    let refused = vault.kmsfs(&["mount", &backing, plain.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!((refused.status.code(), said.lines().count()), (Some(17), 2), "{said}");
    assert!(said.contains("No space") && said.contains("journal"), "{said}");
    mount(&mut vault, &disk);
    vault.sh(KEPT);
    vault.umount();
}
