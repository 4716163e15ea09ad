//! Real programs do real work in a mount, and find everything again after a remount.

use std::process::Command;

use crate::harness::Vault;

fn has(program: &str) -> bool {
    let there = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output();
    let there = there.is_ok_and(|output| output.status.success());
    assert!(
        there || std::env::var_os("KMSFS_REQUIRE_FUSE").is_none(),
        "{program} is not installed"
    );
    there
}

/// Ten thousand files, with links of both kinds, modes, owners and times.
const TREE: &str = r#"
mkdir "$V/tree" && cd "$V/tree"
for d in $(seq 100); do
  mkdir "dir $d"
  for f in $(seq 100); do echo "needle in file $f of $d, $((f * d))" > "dir $d/file-$f"; done
  chmod $((d % 2 ? 640 : 755)) "dir $d/file-1"; ln "dir $d/file-2" "dir $d/hard"; ln -s "../dir 1/file-$d" "dir $d/soft"
  touch -d "2001-02-03 04:05:06.$d" "dir $d/file-3"; head -c $((d * 997)) /dev/urandom > "dir $d/random"
done
chmod 700 "dir 7"; chmod 4755 "dir 8/file-1"
if [ "$(id -u)" = 0 ]; then chown 1234:4321 "dir 9/file-5"; chown -h 55:66 "dir 9/soft"; fi
"#;

/// What a tree is, in a line for each node: type, mode, owner, links, size, times, target; and a sum of its content.
const LISTING: &str = r#"find . -printf '%p|%y|%m|%U:%G|%n|%s|%T@|%l\n' | sed 's/^\(.*|d|[^|]*|[^|]*\)|[^|]*|[^|]*|/\1|/' | sort | sha256sum
find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum"#;

#[test]
fn a_tree_is_the_same_after_cp_tar_rsync_and_a_remount() {
    let Some(mut vault) = Vault::new() else {
        return;
    };
    vault.sh(TREE);
    let wanted = vault.sh(&format!("cd \"$V/tree\"; {LISTING}"));
    vault.sh("cp -a \"$V/tree\" copied");
    vault.sh("mkdir tarred; tar --format=posix -C \"$V/tree\" -cf - . | tar -C tarred --same-owner -xpf -");
    if has("rsync") {
        vault.sh("rsync -aH --checksum \"$V/tree/\" synced; test -z \"$(rsync -aHn --checksum --itemize-changes \"$V/tree/\" synced)\"");
    } else {
        vault.sh("cp -a \"$V/tree\" synced");
    }
    for round in ["before", "after"] {
        for copy in ["copied", "tarred", "synced"] {
            let found = vault.sh(&format!("cd {copy}; {LISTING}"));
            assert_eq!(found, wanted, "{copy} {round} the remount");
        }
        if round == "before" {
            vault.umount();
            let plain = Command::new("grep")
                .args(["-rqaE", "needle in file|file-1|dir 1"])
                .arg(vault.backing())
                .status();
            assert_eq!(plain.unwrap().code(), Some(1), "plain text in the backing");
            let names = Command::new("find")
                .arg(vault.backing())
                .args(["-name", "*file*"])
                .output()
                .unwrap();
            assert_eq!(
                String::from_utf8(names.stdout).unwrap(),
                "",
                "plain names in the backing"
            );
            vault.mount();
        }
    }
    vault.sh("rm -rf copied tarred synced; test -z \"$(ls -A)\"");
}

#[test]
fn git_clones_and_checks() {
    let Some(mut vault) = Vault::new() else {
        return;
    };
    if !has("git") {
        return;
    }
    vault.sh(
        r#"git init -q "$V/origin"; cd "$V/origin"; git config user.email a@b; git config user.name n
        for n in $(seq 60); do echo "line $n" >> file; mkdir -p d$n; seq $n 900 > d$n/numbers; git add -A; git commit -qm "commit $n"; done"#,
    );
    vault.sh(r#"git clone -q "$V/origin" clone; cd clone; git fsck --strict; git gc -q; git fsck --strict; test -z "$(git status --porcelain)""#);
    vault.offline(|_| {});
    vault.sh(
        r#"cd clone; git fsck --strict; test -z "$(git status --porcelain)"; diff -r --exclude=.git . "$V/origin""#,
    );
}

#[test]
fn sqlite_in_both_journal_modes() {
    let Some(mut vault) = Vault::new() else {
        return;
    };
    if !has("sqlite3") {
        return;
    }
    for mode in ["delete", "wal"] {
        vault.sh(&format!(
            r#"sqlite3 {mode}.db "pragma journal_mode={mode}; create table t(a integer primary key, b text);"
            for n in $(seq 40); do sqlite3 {mode}.db "begin; insert into t(b) select hex(randomblob(200)) from generate_series(1,50); commit;"; done
            sqlite3 {mode}.db "update t set b = 'x' || b where a % 3 = 0; delete from t where a % 7 = 0; vacuum;"
            sqlite3 {mode}.db "pragma integrity_check; select count(*) from t;" | tr '\n' ' ' | grep -q "ok 1715""#
        ));
    }
    vault.offline(|_| {});
    for mode in ["delete", "wal"] {
        vault.sh(&format!(
            r#"sqlite3 {mode}.db "pragma integrity_check; select count(*) from t;" | tr '\n' ' ' | grep -q "ok 1715""#
        ));
    }
}

#[test]
fn cargo_builds_a_crate() {
    let Some(vault) = Vault::new() else { return };
    vault.sh(
        r#"export CARGO_HOME="${CARGO_HOME:-$REAL_HOME/.cargo}" RUSTUP_HOME="${RUSTUP_HOME:-$REAL_HOME/.rustup}"
        unset CARGO_TARGET_DIR; mkdir -p small/src; cd small
        printf '[package]\nname = "small"\nversion = "0.1.0"\nedition = "2024"\n[workspace]\n' > Cargo.toml
        for n in $(seq 30); do echo "pub fn f$n() -> u64 { $n }" > src/m$n.rs; echo "mod m$n;"; done > src/main.rs
        echo 'fn main() { println!("{}", m1::f1() + m30::f30()); } #[cfg(test)] mod t { #[test] fn adds() { assert_eq!(crate::m2::f2(), 2); } }' >> src/main.rs
        cargo run -q --offline 2>/dev/null | grep -qx 31; cargo test -q --offline 2>/dev/null"#,
    );
}

#[test]
fn large_and_sparse_files() {
    let Some(mut vault) = Vault::new() else {
        return;
    };
    // What the 2 GiB are, can be made again: a stream that a short key makes.
    let stream =
        "openssl enc -aes-128-ctr -nosalt -pass pass:kmsfs -pbkdf2 < /dev/zero 2>/dev/null | head -c 2147483648";
    let has_openssl = has("openssl");
    let sum = has_openssl.then(|| vault.sh(&format!("set +o pipefail; {stream} | tee large | sha256sum")));
    vault.sh("truncate -s 8G sparse; echo middle | dd of=sparse bs=1 seek=5000000000 conv=notrunc status=none; test $(stat -c %b sparse) -lt 1000");
    for _ in 0..2 {
        if let Some(sum) = &sum {
            assert_eq!(vault.sh("sha256sum < large"), *sum);
        }
        vault.sh("test $(stat -c %s sparse) = 8589934592; dd if=sparse bs=1 skip=5000000000 count=6 status=none | grep -qx middle");
        vault.sh("dd if=sparse bs=1M skip=4000 count=200 status=none | tr -d '\\0' | wc -c | grep -qx 0");
        vault.offline(|_| {});
    }
}

#[test]
fn a_full_disk_fails_the_call_and_loses_nothing() {
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
        vault.sh("mkdir kept; for n in $(seq 20); do seq $n 3000 > kept/$n; done; sync -f .; (cd kept; sha256sum *) > \"$V/sums\"");
        // As on ext4, the next syncfs(2) reports the error once more.
        vault.sh("if dd if=/dev/zero of=big bs=1M count=200 conv=fsync 2> \"$V/why\"; then exit 1; fi; grep -q 'No space left' \"$V/why\"; sync -f . || true");
        vault.sh("cd kept; sha256sum --quiet -c \"$V/sums\"; rm ../big; echo more > ../more; sync -f .");
        vault.offline(|_| {});
        vault.sh("cd kept; sha256sum --quiet -c \"$V/sums\"; grep -qx more ../more");
        vault.umount();
    }));
    drop(vault.kmsfs(&["umount", vault.plain().to_str().unwrap()]));
    let _ = Command::new("umount").arg("-l").arg(&backing).status();
    checked.unwrap();
}
