//! Scratch space: it works like any mount while it is there, and leaves nothing, however it ends.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::harness::Vault;

const SECRET: &str = "the quick brown fox of the scratch space";

/// What lies below `path`: stored names and content.
fn everything(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap().flatten() {
        let content = if entry.file_type().unwrap().is_dir() {
            found.extend(everything(&entry.path()));
            Vec::new()
        } else {
            let mut content = Vec::new();
            File::open(entry.path()).unwrap().read_to_end(&mut content).unwrap();
            content
        };
        found.push((entry.path(), content));
    }
    found
}

fn holds(path: &Path, text: &str) -> bool {
    let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    everything(path)
        .iter()
        .any(|(name, content)| holds(name.as_os_str().as_encoded_bytes()) || holds(content))
}

/// Scratch space over `mnt`, which holds a file of somebody already, stored in `backing`.
fn scratch(vault: &mut Vault) {
    fs::write(vault.plain().join("before"), "somebody's").unwrap();
    fs::set_permissions(vault.plain(), PermissionsExt::from_mode(0o1777)).unwrap();
    again(vault);
}

fn again(vault: &mut Vault) {
    let (backing, plain) = (vault.backing(), vault.plain());
    let words = [
        "mount",
        "--ephemeral",
        plain.to_str().unwrap(),
        "--backing-dir",
        backing.to_str().unwrap(),
    ];
    let said = vault.mount_by(&words);
    assert!(said.contains("is gone when it is unmounted"), "{said}");
}

fn write(vault: &Vault) {
    vault.sh(&format!(
        "mkdir -p d/{{1..20}}; for i in {{1..20}}; do echo '{SECRET}' >d/$i/quickbrownfox; done; sync -f ."
    ));
    let mut file = File::create(vault.plain().join("large")).unwrap();
    file.write_all(SECRET.repeat(100_000).as_bytes()).unwrap();
    file.sync_all().unwrap();
    File::open(vault.plain()).unwrap().sync_all().unwrap();
}

#[test]
fn scratch_space_hides_what_was_there_and_is_gone_without_a_trace() {
    let Some(mut vault) = Vault::unmounted() else { return };
    scratch(&mut vault);
    let root = fs::metadata(vault.plain()).unwrap();
    assert_eq!(
        root.mode() & 0o7777,
        0o1777,
        "it does not look like the directory it lies over"
    );
    assert_eq!(fs::read_dir(vault.plain()).unwrap().count(), 0);
    write(&vault);
    assert_eq!(
        fs::read_to_string(vault.plain().join("d/7/quickbrownfox"))
            .unwrap()
            .trim(),
        SECRET
    );
    assert!(!holds(&vault.backing(), SECRET), "it is stored in plain");
    assert!(!holds(&vault.backing(), "quickbrownfox"), "a name is stored in plain");
    let status = vault.run(&["status", vault.plain().to_str().unwrap()]);
    assert!(status.contains("ephemeral"), "{status}");
    assert!(!vault.key_store().exists(), "a key store was made");
    vault.umount();
    assert_eq!(everything(&vault.backing()), []);
    assert_eq!(fs::read_to_string(vault.plain().join("before")).unwrap(), "somebody's");
}

#[test]
fn scratch_space_over_a_directory_stores_in_it_and_cleans_up() {
    let Some(mut vault) = Vault::unmounted() else { return };
    let plain = vault.plain();
    fs::write(plain.join("before"), "somebody's").unwrap();
    vault.mount_by(&["mount", "--ephemeral", plain.to_str().unwrap()]);
    write(&vault);
    vault
        .kmsfs(&["mount", "--ephemeral", plain.to_str().unwrap()])
        .status
        .code()
        .filter(|code| *code == 7)
        .unwrap();
    vault.umount();
    let left: Vec<_> = fs::read_dir(&plain)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left, ["before"]);
}

#[test]
fn what_a_crash_leaves_is_unreadable_and_goes_with_the_next_mount() {
    let Some(mut vault) = Vault::unmounted() else { return };
    scratch(&mut vault);
    write(&vault);
    vault.kill(vault.daemon());
    let left = everything(&vault.backing());
    assert!(left.len() > 20, "the test shows nothing");
    assert!(!holds(&vault.backing(), SECRET));
    // Nobody has its key: not even for a volume that is found there.
    let [volume] = &fs::read_dir(vault.backing()).unwrap().flatten().collect::<Vec<_>>()[..] else {
        panic!()
    };
    let volume = volume.path().join("volume");
    let refused = vault.kmsfs(&["mount", volume.to_str().unwrap()]);
    assert_eq!(
        refused.status.code(),
        Some(13),
        "{}",
        String::from_utf8_lossy(&refused.stderr)
    );
    again(&mut vault);
    assert_eq!(
        fs::read_dir(vault.plain()).unwrap().count(),
        0,
        "the new space is not empty"
    );
    assert_eq!(
        fs::read_dir(vault.backing()).unwrap().count(),
        1,
        "what the crash left is still there"
    );
    vault.umount();
    assert_eq!(everything(&vault.backing()), []);
}

#[test]
fn a_lock_destroys_it_for_good() {
    let Some(mut vault) = Vault::unmounted() else { return };
    scratch(&mut vault);
    write(&vault);
    let plain = vault.plain();
    let place = plain.to_str().unwrap();
    vault.run(&["lock", place]);
    assert!(fs::read(plain.join("d/7/quickbrownfox")).is_err());
    let refused = vault.kmsfs(&["unlock", place]);
    assert_eq!(refused.status.code(), Some(13));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("destroyed"));
    assert!(fs::read(plain.join("d/7/quickbrownfox")).is_err());
    vault.umount();
    assert_eq!(everything(&vault.backing()), []);
}
