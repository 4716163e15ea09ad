//! Quotas of the backing bind whoever writes, as on ext4, and keep nothing that was acknowledged from its place.
//!
//! Passes over where the kernel has no quotas for ext4, or there is no setquota.

use crate::disk::Disk;
use crate::harness::Vault;

/// Two users with a quota, one in the mount and one in a plain directory, and one without.
const BOUND: u32 = 60_001;
const BOUND_PLAIN: u32 = 60_002;
const FREE: u32 = 60_003;

/// What the user `$1` meets who may have 4 MiB and 20 inodes, in a directory where everybody may write; `$2` has no
/// quota. Printed is what must be the same on ext4.
const MEETS: &str = r#"
by() { setpriv --reuid "$1" --regid "$1" --clear-groups bash -c "$2" 2>&1; }
# An error without the name of the program.
says() { if by "$1" "$2" > "$V/said"; then echo "$3: done"; else echo "$3: $(grep -o 'Disk quota exceeded' "$V/said" | head -n 1)"; fi; }
chmod 777 .
says "$1" 'seq 60000 > kept; sync kept .' 'within'
says "$1" 'dd if=/dev/zero of=big bs=64K count=160 conv=fsync status=none' 'too much'
says "$2" 'dd if=/dev/zero of=others bs=64K count=160 conv=fsync status=none' 'somebody else'
dd if=/dev/zero of=roots bs=64K count=160 conv=fsync status=none && echo 'root: done'
says "$1" 'rm big' 'removing'
says "$1" 'dd if=/dev/zero of=again bs=64K count=16 conv=fsync status=none' 'again'
says "$1" 'mkdir d; for n in $(seq 30); do : > "d/$n" || { echo "$n" > "$V/last"; exit 1; }; done' 'too many'
says "$1" 'mkdir e' 'a directory'
says "$1" 'ln -s x y' 'a symlink'
says "$1" 'ln kept d/link; mv kept d/kept; mv d/kept kept; chmod 600 kept; touch kept' 'what needs none'
says "$2" 'touch more' 'somebody else'
echo root > d/roots && mkdir d/e && echo 'root in his directory: done'
chown -R "$1" roots d && echo 'given to him: done'
says "$1" 'rm -rf d again' 'removing'
says "$1" 'touch last' 'again'
"#;

fn mount(vault: &mut Vault, disk: &Disk) {
    let (backing, plain) = (disk.path("volume"), vault.plain());
    vault.mount_by(&["mount", "--allow-other", &backing, plain.to_str().unwrap()]);
}

/// A mounted volume on a disk with quotas, and a plain directory beside it.
fn with_quota() -> Option<(Disk, Vault)> {
    let (disk, mut vault) = (Disk::ext4_with_quota("256M")?, Vault::unmounted()?);
    vault.run(&["init", &disk.path("volume")]);
    mount(&mut vault, &disk);
    vault.sh(&format!("chmod 777 $V {}; mkdir in", disk.path("..")));
    std::fs::create_dir(disk.path("plain")).unwrap();
    for user in [BOUND, BOUND_PLAIN] {
        assert!(disk.set_quota(user, 4096, 20));
    }
    Some((disk, vault))
}

/// `script` in the mount.
fn by(vault: &Vault, script: &str, user: u32) -> String {
    vault.sh_in(&vault.plain().join("in"), &format!("set -- {user} {FREE}\n{script}"))
}

#[test]
fn a_quota_binds_as_on_ext4() {
    let Some((disk, mut vault)) = with_quota() else { return };
    let plain = format!("set -- {BOUND_PLAIN} {FREE}\n{MEETS}");
    let wanted = vault.sh_in(disk.path("plain").as_ref(), &plain);
    assert_eq!(wanted.matches("Disk quota exceeded").count(), 4, "{wanted}");
    assert_eq!(by(&vault, MEETS, BOUND), wanted);
    for _ in 0..2 {
        by(
            &vault,
            "seq 60000 | cmp - kept; stat -c %s roots | grep -qx 10485760; test ! -e d",
            BOUND,
        );
        vault.kill(vault.daemon());
        vault.clear();
        mount(&mut vault, &disk);
    }
    vault.umount();
}

/// The journal has all of a file, and its place not even the space that was reserved there, as after a crash; then its
/// owner's quota is lowered.
fn leave_to_the_journal(disk: &Disk, vault: &Vault) {
    let script = "touch file; chown $1 file; dd if=/dev/zero bs=4K count=500 conv=fsync of=file status=none
        dd if=/dev/urandom bs=4K count=500 conv=notrunc,fsync of=file status=none; sha256sum file > $V/sum";
    assert!(disk.set_quota(BOUND, 4096, 20));
    by(vault, script, BOUND);
    let punch = format!(
        "fallocate -p -o 0 -l 8M $(find {} -inum $(stat -c %i file))",
        disk.path("volume")
    );
    by(vault, &punch, BOUND);
    assert!(disk.set_quota(BOUND, 1, 1));
}

const IS_THERE: &str = "sha256sum -c --quiet $V/sum; test $(stat -c %b file) -gt 4000; rm file";

#[test]
fn what_was_acknowledged_gets_to_its_place_over_quota() {
    let Some((disk, mut vault)) = with_quota() else { return };
    // By recovery.
    leave_to_the_journal(&disk, &vault);
    vault.kill(vault.daemon());
    vault.clear();
    mount(&mut vault, &disk);
    by(&vault, IS_THERE, BOUND);
    // By a checkpoint.
    leave_to_the_journal(&disk, &vault);
    vault.umount();
    mount(&mut vault, &disk);
    by(&vault, IS_THERE, BOUND);
    vault.umount();
}
