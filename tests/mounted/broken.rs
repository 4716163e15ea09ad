//! What is broken stays within bounds: one file, one request, one client.

use std::fs::{self, File};
use std::path::Path;

use rustix::io::Errno;

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
    std::os::unix::fs::FileExt::read_exact_at(&open, &mut text, 0).unwrap();
    assert_eq!(&text, b"text");
    for name in ["b", "d/c"] {
        assert!(fs::read(vault.plain().join(name)).is_err(), "{name}");
    }
    assert!(fs::write(vault.plain().join("d/new"), "new").is_err());
    fs::write(vault.plain().join("new"), "new").unwrap();
    assert_eq!(fs::read_to_string(vault.plain().join("new")).unwrap(), "new");
    vault.run(&["status", vault.plain().to_str().unwrap()]);
}
