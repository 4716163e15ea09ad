//! Volumes that an earlier program made still open: one for every version of the format, kept for ever.
//!
//! `tests/samples/format-1.tar` holds a volume, its key store with a root key that is no secret, and
//! `sums`, the SHA-256 of every plain file. It is never made anew; a new version of the format adds another.

use std::path::Path;
use std::process::Command;

use crate::harness::Vault;

#[test]
fn format_1_opens() {
    let Some(mut vault) = Vault::unmounted() else {
        return;
    };
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/format-1.tar");
    let unpacked = Command::new("tar")
        .arg("-xf")
        .arg(&sample)
        .arg("-C")
        .arg(vault.aside(""))
        .status();
    assert!(unpacked.unwrap().success());
    vault.mount();
    vault.sh("sha256sum --quiet -c \"$V/sums\"");
    vault.sh("test \"$(readlink link)\" = 'small file'; test $(stat -c %h small\\ file) = 2; test $(stat -c %s sparse) = 1073741824");
    vault.sh("test \"$(find . | wc -l)\" = \"$(cat \"$V/count\")\"");
    // And it can be written to.
    vault.sh("echo more >> large; echo new > new; sync -f .");
    vault.offline(|_| {});
    vault.sh("test \"$(tail -n 1 large)\" = more; test \"$(cat new)\" = new");
}
