//! Files taken out of a real backing directory, unsealed without the mount.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::harness::Vault;

/// Files of every shape, each name once.
const SHAPES: &str = r#"
    : > empty
    printf x > one
    head -c 3040 /dev/urandom > inline
    head -c 3041 /dev/urandom > chunk
    head -c 700001 /dev/urandom > chunks
    head -c 20000000 /dev/urandom > large
    mkdir -p dir/deeper
    echo deep > dir/deeper/deep
    n=$(printf 'n%.0s' $(seq 255)); echo long > "$n"
    m=$(printf 'm%.0s' $(seq 150)); echo old > "$m"; echo new > over; sync over; mv over "$m"
    truncate -s 400M sparse; printf here | dd of=sparse bs=1 seek=300000000 conv=notrunc status=none
    head -c 1000000 /dev/urandom > punched; fallocate -p -o 100000 -l 600000 punched
    head -c 1000000 /dev/urandom > cut; sync cut; truncate -s 300 cut
    head -c 1000000 /dev/urandom > grown; sync grown; truncate -s 5000 grown; truncate -s 2000000 grown
    head -c 9000 /dev/urandom > written; sync written; printf again | dd of=written bs=1 seek=4000 conv=notrunc status=none
    ln one linked
    umask 077; printf x > 'a
name'; chmod 400 punched
"#;

/// Every stored file below `dir`.
fn stored(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let own = path.file_name().unwrap().to_str().unwrap().starts_with("kmsfs.");
        let long = path.to_str().unwrap().contains("kmsfs.long.") && path.extension().unwrap() != "name";
        match fs::symlink_metadata(&path).unwrap() {
            facts if facts.is_dir() => found.extend(stored(&path)),
            facts if facts.is_file() && (long || !own) => found.push(path),
            _ => {}
        }
    }
    found
}

fn unseal(vault: &Vault, files: &[PathBuf], more: &[&str]) -> std::process::Output {
    let mut words = vec!["unseal"];
    words.extend(files.iter().map(|path| path.to_str().unwrap()));
    words.extend(more);
    vault.kmsfs(&words)
}

/// Unseals them, which must fail with this code; gives the two lines.
fn refused(vault: &Vault, files: &[PathBuf], more: &[&str], code: i32) -> String {
    let output = unseal(vault, files, more);
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), err.lines().count()), (Some(code), 2), "{err}");
    err
}

#[test]
fn every_shape_comes_out_of_the_backing() {
    let Some(mut vault) = Vault::new() else { return };
    vault.sh(SHAPES);
    vault.sh("cp -a --sparse=always . \"$V/was\"; sync -f .; ls -la . \"$V/was\"");
    let (out, was) = (vault.aside("out"), vault.aside("was"));
    fs::create_dir(&out).unwrap();
    let to_out = ["-o", out.to_str().unwrap()];
    // Not while it is mounted: newer content may be in memory.
    let files = stored(&vault.backing());
    assert!(refused(&vault, &files[..1], &to_out, 7).contains("mounted"));
    vault.umount();
    let files = stored(&vault.backing());
    let output = unseal(&vault, &files, &to_out);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::create_dir_all(out.join("dir/deeper")).unwrap();
    fs::rename(out.join("deep"), out.join("dir/deeper/deep")).unwrap();
    let same = std::process::Command::new("diff").arg("-r").args([&was, &out]).status();
    assert!(same.unwrap().success());
    let sparse = fs::metadata(out.join("sparse")).unwrap();
    assert!(sparse.len() == 400 << 20 && sparse.blocks() * 512 < 1 << 20);
    // Nothing was written to the backing, and nothing is put there.
    assert_eq!(stored(&vault.backing()), files);
    let inside = vault.backing().join("plain");
    assert!(refused(&vault, &files[..1], &["-o", inside.to_str().unwrap()], 3).contains("readable"));
    vault.mount();
}

#[test]
fn taken_out_of_the_backing_and_away_from_it() {
    let Some(mut vault) = Vault::new() else { return };
    vault.sh("head -c 100000 /dev/urandom > a; cp a \"$V/was\"; head -c 5000 /dev/urandom > b; sync a b");
    vault.umount();
    let files = stored(&vault.backing());
    let a = files
        .iter()
        .find(|path| fs::metadata(path).unwrap().len() > 50_000)
        .unwrap()
        .clone();
    let b = files.iter().find(|path| **path != a).unwrap().clone();
    let taken = vault.aside("taken");
    fs::copy(&a, &taken).unwrap();
    let out = vault.aside("out");
    let to_out = ["-o", out.to_str().unwrap()];
    // Away from the descriptor nobody knows its name.
    assert!(refused(&vault, std::slice::from_ref(&taken), &[], 2).contains("-o"));
    assert!(unseal(&vault, std::slice::from_ref(&taken), &to_out).status.success());
    assert!(fs::read(&out).unwrap() == fs::read(vault.aside("was")).unwrap());
    fs::remove_file(&out).unwrap();
    let refuse = |edit: &dyn Fn(), code: i32, says: &str| {
        edit();
        let said = refused(&vault, std::slice::from_ref(&b), &to_out, code);
        assert!(said.contains(says), "{said}");
        assert!(!out.exists());
    };
    let whole = fs::read(&b).unwrap();
    refuse(&|| fs::write(&b, fs::read(&a).unwrap()).unwrap(), 16, "swapped");
    refuse(
        &|| fs::write(&b, &whole[..4096]).unwrap(),
        16,
        "chunk 0, stored at offset 4096",
    );
    // Its wrapped key, which only the volume's key vouches for.
    let mut edited = whole.clone();
    edited[128 + 80] ^= 1;
    refuse(&|| fs::write(&b, &edited).unwrap(), 16, "head");
    refuse(&|| fs::write(&b, "").unwrap(), 16, "empt");
    // The descriptor itself.
    fs::write(&b, &whole).unwrap();
    let descriptor = vault.backing().join("kmsfs.volume");
    let text = fs::read_to_string(&descriptor).unwrap();
    let forged = text.replace("\"overwrite\": \"journal\"", "\"overwrite\": \"in-place\"");
    refuse(&|| fs::write(&descriptor, &forged).unwrap(), 16, "edited");
    fs::write(&descriptor, text).unwrap();
    assert!(unseal(&vault, &[b], &to_out).status.success());
}

/// After a crash the journal has newer content: recovery comes first.
#[test]
fn after_a_crash_recovery_comes_first() {
    let Some(mut vault) = Vault::new() else { return };
    vault
        .sh("head -c 50000 /dev/zero > a; sync a; printf new | dd of=a bs=1 seek=20000 conv=notrunc,fsync status=none");
    vault.sh("cp a \"$V/was\"");
    vault.kill(vault.daemon());
    vault.clear();
    let files = stored(&vault.backing());
    let out = vault.aside("out");
    let to_out = ["-o", out.to_str().unwrap()];
    let said = refused(&vault, &files, &to_out, 7);
    assert!(said.contains("journal") && said.contains("--recover-only"), "{said}");
    vault.run(&["mount", "--recover-only", vault.backing().to_str().unwrap()]);
    assert!(unseal(&vault, &files, &to_out).status.success());
    assert!(fs::read(&out).unwrap() == fs::read(vault.aside("was")).unwrap());
    // What a crash may leave behind the end is no matter in the volume, and refused outside of it.
    let file = fs::OpenOptions::new().write(true).open(&files[0]).unwrap();
    file.write_all_at(b"fresh", fs::metadata(&files[0]).unwrap().len())
        .unwrap();
    assert!(
        unseal(&vault, &files, &[&to_out[..], &["--force"]].concat())
            .status
            .success()
    );
    let taken = vault.aside("taken");
    fs::copy(&files[0], &taken).unwrap();
    let said = refused(&vault, &[taken], &[&to_out[..], &["--force"]].concat(), 16);
    assert!(said.contains("truncate -s"), "{said}");
}

/// The frozen sample of format 1, without mounting it.
#[test]
fn the_sample_of_format_1_unseals() {
    let Some(vault) = Vault::unmounted() else { return };
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/format-1.tar");
    let unpacked = std::process::Command::new("tar")
        .arg("-xf")
        .arg(sample)
        .arg("-C")
        .arg(vault.aside(""))
        .status();
    assert!(unpacked.unwrap().success());
    let sums = String::from_utf8_lossy(&fs::read(vault.aside("sums")).unwrap()).into_owned();
    let out = vault.aside("out");
    for path in stored(&vault.backing()) {
        let output = unseal(
            &vault,
            std::slice::from_ref(&path),
            &["-o", out.to_str().unwrap(), "--force"],
        );
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let sum = std::process::Command::new("sha256sum")
            .arg(&out)
            .output()
            .unwrap()
            .stdout;
        let sum = String::from_utf8(sum).unwrap();
        assert!(sums.contains(sum.split(' ').next().unwrap()), "{}", path.display());
    }
}
