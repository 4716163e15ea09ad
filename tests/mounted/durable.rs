//! What makes everything durable: fsync of the mount's root, and locking. The daemon is killed right after.

use std::fs::{self, File};
use std::io::Write;

use crate::harness::Vault;

/// Writes files and names without any sync, and leaves one open with pages that the kernel holds back.
fn work(vault: &Vault) -> File {
    vault.sh(
        "mkdir -p a/b; echo one > a/one; echo two > a/b/two; mv a/one a/b/one; ln -s target a/link; echo three > three",
    );
    let mut open = File::create(vault.plain().join("open")).unwrap();
    open.write_all(&[b'o'; 300_000]).unwrap();
    open
}

fn check(vault: &Vault) {
    let said = vault.sh("cat a/b/one a/b/two three; readlink a/link; ls a; stat -c %s open; tr -d o < open | wc -c");
    assert_eq!(said, "one\ntwo\nthree\ntarget\nb\nlink\n300000\n0\n");
}

#[test]
fn fsync_of_the_root_makes_everything_durable() {
    let Some(mut vault) = Vault::new() else {
        return;
    };
    vault.umount();
    vault.mount_with(&["--commit-interval", "1h"]);
    let open = work(&vault);
    File::open(vault.plain()).unwrap().sync_all().unwrap();
    vault.kill(vault.daemon());
    drop(open);
    vault.clear();
    vault.mount();
    check(&vault);
}

/// On this kernel syncfs(2) returns before the pages that it has written are with the daemon; a lock that relied on
/// it wiped the keys first, and what had been written was lost.
#[test]
fn regression_a_lock_waits_for_what_the_kernel_holds_back() {
    let Some(mut vault) = Vault::new() else {
        return;
    };
    vault.umount();
    for round in 0..5 {
        vault.mount_with(&["--commit-interval", "1h"]);
        let open = work(&vault);
        vault.run(&["lock", vault.plain().to_str().unwrap()]);
        vault.kill(vault.daemon());
        drop(open);
        vault.clear();
        vault.mount();
        check(&vault);
        vault.sh("rm -r a three open");
        vault.umount();
        assert!(fs::read_dir(vault.plain()).unwrap().next().is_none(), "round {round}");
    }
}
