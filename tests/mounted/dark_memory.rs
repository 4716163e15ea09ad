//! What is left of a locked volume in the daemon's memory: nothing. All that can be read of it is searched.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use data_encoding::BASE64;
use kmsfs::crypto::head::open_head;
use kmsfs::crypto::{Key, file_keys, volume_keys};
use kmsfs::format::head::RawHead;
use kmsfs::format::stored_name::RawName;
use kmsfs::kms::local::{LocalStore, Root};
use kmsfs::kms::{EncryptionContext, Kms};
use kmsfs::volume::read_descriptor;
use memchr::memmem;

use crate::cloud::cloud;
use crate::harness::Vault;
use crate::holder::Holder;

/// Bytes that only the volume holds, and what they are.
pub struct Needle {
    what: String,
    bytes: Vec<u8>,
}

fn needle(what: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Needle {
    let (what, bytes) = (what.into(), bytes.into());
    Needle { what, bytes }
}

/// Which needles are in the memory of `process`, and where.
pub fn found(process: i32, needles: &[Needle]) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let mut found = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, access) = (words.next().unwrap(), words.next().unwrap());
        let place = words.nth(3).unwrap_or("anonymous");
        if !access.starts_with('r') || place.starts_with("[v") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let (from, to) = (
            u64::from_str_radix(from, 16).unwrap(),
            u64::from_str_radix(to, 16).unwrap(),
        );
        let mut bytes = vec![0; (to - from) as usize];
        // A region may go away meanwhile, and with it what was in it.
        if memory.read_exact_at(&mut bytes, from).is_err() {
            continue;
        }
        for needle in needles {
            if let Some(at) = memmem::find(&bytes, &needle.bytes) {
                found.push(format!("{} at {:x} of {place}", needle.what, from + at as u64));
            }
        }
    }
    found
}

/// Every key of the volume in `backing`, by way of the key store or the emulator's store at `store`.
pub fn keys(backing: &Path, store: &Path) -> Vec<Needle> {
    let root = Root::File(format!("{}.root", store.display()).into());
    let store = LocalStore::open(store, &root).unwrap();
    let raw = read_descriptor(File::open(backing).unwrap()).unwrap();
    let volume = raw.descriptor.volume;
    let wrapped = raw.descriptor.volume_key().unwrap();
    let volume_key = store.decrypt(&wrapped, &EncryptionContext::volume_key(volume)).unwrap();
    let of_volume = volume_keys(&volume_key, volume);
    let mut keys = vec![("volume key".to_owned(), volume_key.duplicate())];
    let mut add = |what: &str, key: &Key| keys.push((what.to_owned(), key.duplicate()));
    add("key of names", &of_volume.names);
    add("key of heads", &of_volume.headers);
    add("key of values", &of_volume.values);
    for entry in fs::read_dir(backing).unwrap().flatten() {
        let name = entry.file_name();
        let Some(name) = RawName::parse(name.as_encoded_bytes()) else {
            continue;
        };
        let Ok(page) = fs::read(entry.path()) else { continue };
        let Some(raw) = RawHead::parse(&page[..page.len().min(4096)]).unwrap() else {
            continue;
        };
        let head = open_head(&raw, volume, name.node, &of_volume).unwrap();
        let wrapped = head.wrapped.get().unwrap().unwrap();
        let context = EncryptionContext::data_key(volume, head.data_key);
        let data_key = store.decrypt(&wrapped, &context).unwrap();
        add("data key", &data_key);
        add("key of content", &file_keys(&data_key, volume, name.node).content);
    }
    // As they are used, and as they come over the wire.
    let text = |(what, key): &(String, Key)| needle(format!("text of {what}"), BASE64.encode(key.expose()));
    let plain = |(what, key): &(String, Key)| needle(what, *key.expose());
    keys.iter().map(plain).chain(keys.iter().map(text)).collect()
}

/// All of a volume that must not be seen, by the endings that make each of its texts different.
const TEXTS: [&str; 9] = [
    "-short-name",
    "-long-name",
    "-content ",
    "-directory",
    "-renamed",
    "-removed",
    "-target",
    "-attribute",
    "-value",
];

/// A text that stands nowhere else: neither in settings or command lines, nor in the program.
fn text(ending: &str) -> String {
    format!("conspicuous{ending}")
}

/// Fills the volume with those texts.
fn fill(vault: &Vault) {
    let plain = |name: &str| vault.plain().join(name);
    let (short, page) = (text("-short-name"), text("-content ").repeat(200));
    fs::write(plain(&short), &page).unwrap();
    fs::write(plain(&text(&"-long-name".repeat(15))), page.repeat(1000)).unwrap();
    fs::write(plain("large"), page.repeat(1000)).unwrap();
    fs::create_dir(plain(&text("-directory"))).unwrap();
    fs::rename(plain("large"), plain(&text("-directory")).join(text("-renamed"))).unwrap();
    std::os::unix::fs::symlink(text("-target"), plain("link")).unwrap();
    let (attribute, value) = (text("-attribute"), text("-value"));
    vault.sh(&format!("setfattr -n user.{attribute} -v {value} {short}"));
}

#[test]
fn nothing_of_a_locked_volume_is_left_in_the_daemon() {
    let Some(mut vault) = Vault::new() else { return };
    let store = vault.key_store();
    assert_nothing_is_left(&mut vault, &store);
}

#[test]
fn nothing_is_left_either_when_the_keys_came_over_the_wire() {
    let Some((mut vault, emulator)) = cloud() else { return };
    vault.mount();
    assert_nothing_is_left(&mut vault, emulator.store());
}

/// That a lock takes everything out of the memory of the daemon of `vault`, which is mounted and empty.
fn assert_nothing_is_left(vault: &mut Vault, store: &Path) {
    fill(vault);
    // So that the heads, with the wrapped keys, are in their places.
    vault.umount();
    let texts = TEXTS.iter().map(|ending| needle(*ending, text(ending)));
    let needles: Vec<Needle> = texts.chain(keys(&vault.backing(), store)).collect();
    vault.mount();
    vault.sh("find . -type f -exec cat {} + > /dev/null");
    vault.sh("readlink link; getfattr -d *-short-name; ls -lR; cp *-short-name conspicuous-removed; rm *-removed");
    let mut holder = Holder::of(&vault.plain().join(text(&"-long-name".repeat(15))));
    assert_eq!(holder.ask("peek"), "ok");

    let daemon = vault.daemon().as_raw_nonzero().get();
    let before = found(daemon, &needles).join("\n");
    // The search finds what is there, of every kind: or it would prove nothing.
    for what in [
        "-short-name",
        "-content ",
        "-renamed",
        "data key",
        "key of names",
        "key of heads",
        "key of content",
    ] {
        assert!(before.contains(what), "{what} is not found while unlocked:\n{before}");
    }
    vault.run(&["lock", vault.plain().to_str().unwrap()]);
    let after = found(daemon, &needles);
    assert!(after.is_empty(), "left while locked:\n{}", after.join("\n"));
    // Nor does anything come back by asking.
    assert_eq!(holder.ask("read"), "EKEYREVOKED");
    assert_eq!(holder.ask("peek"), "SIGBUS");
    vault.sh("! ls . 2> /dev/null");
    let after = found(daemon, &needles);
    assert!(after.is_empty(), "there again while locked:\n{}", after.join("\n"));
    vault.run(&["unlock", vault.plain().to_str().unwrap()]);
    assert_eq!(holder.ask("read"), "conspicuous-cont");
}
