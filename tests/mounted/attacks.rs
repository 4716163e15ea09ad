//! Somebody edits the backing: a reader gets an error or what was there, never anything else.
//!
//! Attacks on the bytes of a stored file are tried one by one in `fs::io::tests`; here are those on names,
//! directories, links and the descriptor, through a real mount.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crate::harness::Vault;

/// The stored entries below `dir`, by inode number, which a plain entry shares with its stored one.
fn stored(dir: &Path) -> BTreeMap<u64, PathBuf> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let is = fs::symlink_metadata(&path).unwrap();
            if is.is_dir() {
                open.push(path.clone());
            }
            found.insert(is.ino(), path);
        }
    }
    found
}

/// A vault with some content in it, and where each plain path is stored. It is unmounted.
fn vault() -> Option<(Vault, BTreeMap<&'static str, PathBuf>)> {
    let mut vault = Vault::new()?;
    vault.sh(
        "mkdir one two; echo 'the first' > one/a; echo 'the second' > one/b; echo other > two/c; mkdir one/deep; echo x > one/deep/x
        head -c 300000 /dev/urandom > one/large; ln -s 'the target' one/link; setfattr -n user.note -v secret one/a 2>/dev/null || true
        mkdir two/deep; echo y > two/deep/x; sync -f .",
    );
    let plain = vault.plain();
    let paths = [
        "one",
        "two",
        "one/a",
        "one/b",
        "two/c",
        "one/deep",
        "one/large",
        "one/link",
        "two/deep",
    ];
    let inodes: Vec<_> = paths
        .iter()
        .map(|path| (*path, fs::symlink_metadata(plain.join(path)).unwrap().ino()))
        .collect();
    // Names are told that their content has been committed after the commit, at unmount at the latest.
    vault.umount();
    let stored = stored(&vault.backing());
    let places = inodes
        .into_iter()
        .map(|(path, inode)| (path, stored[&inode].clone()))
        .collect();
    Some((vault, places))
}

fn swap(one: &Path, two: &Path) {
    let aside = one.with_file_name("aside");
    fs::rename(one, &aside).unwrap();
    fs::rename(two, one).unwrap();
    fs::rename(&aside, two).unwrap();
}

/// What a reader of `path` gets: an error, or these bytes.
fn read(vault: &Vault, path: &str) -> Option<Vec<u8>> {
    fs::read(vault.plain().join(path)).ok()
}

#[test]
fn two_files_swapped_within_a_directory() {
    let Some((mut vault, at)) = vault() else {
        return;
    };
    swap(&at["one/a"], &at["one/b"]);
    vault.mount();
    assert_eq!((read(&vault, "one/a"), read(&vault, "one/b")), (None, None));
    assert_eq!(read(&vault, "two/c").unwrap(), b"other\n");
}

#[test]
fn a_stored_file_emptied_cut_or_zeroed() {
    let Some((mut vault, at)) = vault() else {
        return;
    };
    fs::write(&at["one/a"], b"").unwrap();
    let zeros = vec![0; fs::metadata(&at["one/b"]).unwrap().len() as usize];
    fs::write(&at["one/b"], zeros).unwrap();
    fs::File::options()
        .write(true)
        .open(&at["one/large"])
        .unwrap()
        .set_len(4096 + 4096 * 30)
        .unwrap();
    vault.mount();
    for path in ["one/a", "one/b", "one/large"] {
        assert_eq!(read(&vault, path), None, "{path}");
    }
}

#[test]
fn a_name_moved_or_copied_to_another_directory() {
    let Some((mut vault, at)) = vault() else {
        return;
    };
    let moved = at["two"].join(at["one/a"].file_name().unwrap());
    fs::rename(&at["one/a"], &moved).unwrap();
    let linked = at["two"].join(at["one/b"].file_name().unwrap());
    fs::hard_link(&at["one/b"], linked).unwrap();
    vault.mount();
    assert_eq!(read(&vault, "two/a"), None);
    assert_eq!(read(&vault, "two/b"), None);
    assert_eq!(read(&vault, "one/b").unwrap(), b"the second\n");
    assert_eq!(vault.sh("ls two | tr '\\n' ' '"), "c deep ");
}

#[test]
fn two_directories_swapped() {
    let Some((mut vault, at)) = vault() else {
        return;
    };
    swap(&at["one/deep"], &at["two/deep"]);
    vault.mount();
    assert_ne!(read(&vault, "one/deep/x").as_deref(), Some(&b"y\n"[..]));
    assert_ne!(read(&vault, "two/deep/x").as_deref(), Some(&b"x\n"[..]));
}

#[test]
fn a_symlink_redirected() {
    let Some((mut vault, at)) = vault() else {
        return;
    };
    fs::remove_file(&at["one/link"]).unwrap();
    symlink("/etc/passwd", &at["one/link"]).unwrap();
    vault.mount();
    assert!(fs::read_link(vault.plain().join("one/link")).is_err());
}

#[test]
fn a_stored_file_replaced_by_a_symlink_or_a_directory() {
    let Some((mut vault, at)) = vault() else {
        return;
    };
    fs::remove_file(&at["one/a"]).unwrap();
    symlink("/etc/passwd", &at["one/a"]).unwrap();
    fs::remove_file(&at["one/b"]).unwrap();
    fs::create_dir(&at["one/b"]).unwrap();
    vault.mount();
    for path in ["one/a", "one/b"] {
        assert_eq!(read(&vault, path), None, "{path}");
    }
}

#[test]
fn plain_files_in_the_backing_are_not_shown() {
    let Some((mut vault, at)) = vault() else {
        return;
    };
    fs::write(vault.backing().join("stray"), b"plain text").unwrap();
    fs::create_dir(at["one"].join("stray directory")).unwrap();
    fs::write(
        at["one"].join("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVoxMjM0NTY3ODkwQUJDREVG"),
        b"plain",
    )
    .unwrap();
    vault.mount();
    assert_eq!(
        vault.sh("ls | tr '\\n' ' '; ls one | tr '\\n' ' '"),
        "one two a b deep large link "
    );
}

#[test]
fn a_damaged_name_hurts_no_other() {
    let Some((mut vault, at)) = vault() else {
        return;
    };
    let name = at["one/a"].file_name().unwrap().to_str().unwrap();
    for place in [3, 25, 40] {
        let mut damaged = name.as_bytes().to_vec();
        damaged[place] = if damaged[place] == b'A' { b'B' } else { b'A' };
        let damaged = at["one"].join(String::from_utf8(damaged).unwrap());
        fs::rename(&at["one/a"], &damaged).unwrap();
        vault.mount();
        assert_eq!(read(&vault, "one/a"), None);
        assert_eq!(read(&vault, "one/b").unwrap(), b"the second\n");
        vault.umount();
        fs::rename(&damaged, &at["one/a"]).unwrap();
    }
    vault.mount();
    assert_eq!(read(&vault, "one/a").unwrap(), b"the first\n");
}

#[test]
fn an_edited_descriptor_is_refused() {
    let Some((vault, _)) = vault() else { return };
    let path = vault.backing().join("kmsfs.volume");
    let honest = fs::read_to_string(&path).unwrap();
    let edits = [
        honest.replace("\"journal\"", "\"in-place\""),
        honest.replace("\"chunk_size\": 4096", "\"chunk_size\": 8192"),
        honest.replace("kmsfs volume 1", "kmsfs volume 2"),
        honest[..honest.len() / 2].to_owned(),
        String::new(),
    ];
    for edited in edits {
        assert_ne!(edited, honest);
        fs::write(&path, &edited).unwrap();
        let (backing, plain) = (vault.backing(), vault.plain());
        let output = vault.kmsfs(&["mount", backing.to_str().unwrap(), plain.to_str().unwrap()]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{edited}");
        let lines: Vec<_> = errors.lines().collect();
        assert!(
            lines.len() == 2 && lines[0].starts_with("error: ") && lines[1].starts_with("help: "),
            "{errors}"
        );
    }
}
