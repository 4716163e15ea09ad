//! FORMAT.md against the code: the tables are parsed, and what they say is compared with what the code writes,
//! byte for byte. A number changed in either, or a row that is missing, fails. It does not test the code otherwise.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test fails by panicking.

use hkdf::Hkdf;
use kmsfs::crypto::aead::Cipher;
use kmsfs::crypto::chunk::ChunkCipher;
use kmsfs::crypto::names::seal_name;
use kmsfs::crypto::values::{OVERHEAD, Purpose, seal_value};
use kmsfs::crypto::{FileKeys, Key, VolumeKeys, file_keys, volume_keys};
use kmsfs::format::descriptor;
use kmsfs::format::entry::{ENTRY_LEN, Entry, NONCE_LEN, TAG_LEN};
use kmsfs::format::geometry::{CHUNK_SIZE_MAX, CHUNK_SIZE_MIN, FIRST_GROUP, GROUP};
use kmsfs::format::head::{self, Body, Features, GroupRun, Head, RawHead};
use kmsfs::format::stored_name::{self, NameFlags, RawName, Sealed};
use kmsfs::format::wrapped::{self, Slot};
use kmsfs::format::{DataKeyId, Geometry, NodeId, PAGE, VolumeId, WrappedKey};
use kmsfs::names::{Instance, Label, Line};
use sha2::{Digest, Sha256};
use zerocopy::IntoBytes;

use document::{Layout, Row, number, numbers, quoted, says, table, tables};

mod document;
mod journal;

const VOLUME: VolumeId = VolumeId([1; 16]);
const NODE: NodeId = NodeId([2; 16]);
const PARENT: NodeId = NodeId([3; 16]);

fn geometry(chunk_size: u32) -> Geometry {
    Geometry::new(chunk_size).unwrap()
}

fn wrapped_key() -> WrappedKey {
    WrappedKey {
        master_key: "key-7".into(),
        blob: vec![9; 108],
    }
}

fn a_head(body: Body, absent: Vec<GroupRun>) -> Head {
    let features = Features {
        compatible: 5.into(),
        read_only: 6.into(),
        ..Features::default()
    };
    Head {
        volume: VOLUME,
        node: NODE,
        data_key: DataKeyId([4; 16]),
        size: 3000,
        chunk_size: 8192,
        body,
        features,
        wrapped: Slot::new(&wrapped_key()).unwrap(),
        wrapped_second: Slot::EMPTY,
        absent,
    }
}

#[test]
fn heads() {
    let rows = &tables("| offset | length | field |")[0];
    assert_eq!(rows.len(), 17);
    let layout = Layout::of(rows, head::HEAD_LEN);
    let (magic, slot) = (quoted(&rows[0][2]), Slot::new(&wrapped_key()).unwrap());
    assert_eq!(magic, head::MAGIC);
    assert_eq!(layout.constant("version"), [u64::from(head::VERSION)]);
    assert_eq!(layout.constant("suite"), [u64::from(head::SUITE_AES_256_GCM_SIV)]);
    let bodies = layout.constant("body");
    for (body, byte) in [(Body::Inline, bodies[0]), (Body::Chunked, bodies[1])] {
        let expected = layout.bytes(&[
            ("magic", &magic),
            ("version", &1u16.to_le_bytes()),
            ("suite", &[1]),
            ("body", &[byte as u8]),
            ("chunk size", &8192u32.to_le_bytes()),
            ("feature bits", &[5, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0]),
            ("volume", &VOLUME.0),
            ("node", &NODE.0),
            ("data key", &[4; 16]),
            ("plain size", &3000u64.to_le_bytes()),
            ("wrapped data key", slot.as_bytes()),
            ("wrapped a second", Slot::EMPTY.as_bytes()),
            ("`content_mac`", &[0; 32]),
            ("`volume_mac`", &[0; 32]),
        ]);
        assert_eq!(a_head(body, vec![]).image().unwrap()[..head::HEAD_LEN], expected);
    }
    assert_eq!(layout.range("`content_mac`"), head::CONTENT_MAC);
    assert_eq!(layout.range("`volume_mac`"), head::VOLUME_MAC);
    assert_eq!(layout.constant("`content_mac`"), [0, head::OWN_LEN as u64 - 1]);
    assert_eq!(layout.constant("`volume_mac`"), [0, head::MACED_LEN as u64 - 1]);
}

#[test]
fn what_stands_behind_a_head() {
    says(&format!(
        "from {}, at most {} **absent runs** of 8 bytes",
        head::ABSENT_OFFSET,
        head::ABSENT_MAX
    ));
    says(&format!("its tag entry at {} and its bytes", head::INLINE_ENTRY_OFFSET));
    says(&format!(
        "from {} on: at most {}.",
        head::INLINE_OFFSET,
        head::INLINE_MAX
    ));
    says(&format!(
        "{} bytes for a body in chunks, {} + plain size",
        head::ENTRIES_OFFSET,
        head::INLINE_OFFSET
    ));
    says(&format!("zero in its first {} bytes", head::ENTRIES_OFFSET));
    says(&format!("has at least {PAGE} bytes"));
    let run = GroupRun { first: 0, count: 1 };
    says("first group 4, count 4.");
    let image = a_head(Body::Chunked, vec![run]).image().unwrap();
    assert_eq!(image[head::ABSENT_OFFSET..][..8], [0, 0, 0, 0, 1, 0, 0, 0]);
    assert!(matches!(RawHead::parse(&vec![0; head::ENTRIES_OFFSET]), Ok(None)));
}

#[test]
fn wrapped_keys_and_entries() {
    let found = tables("| offset in it | length | field |");
    assert_eq!((found.len(), found[0].len(), found[1].len()), (2, 6, 3));
    let layout = Layout::of(&found[0], wrapped::SLOT_LEN);
    let (mut name, mut blob) = ([0; wrapped::MASTER_KEY_MAX], [0; wrapped::BLOB_MAX]);
    name[..5].copy_from_slice(b"key-7");
    blob[..108].fill(9);
    let fields: [(&str, &[u8]); 5] = [
        ("1 if", &[1]),
        ("length of the master", &[5]),
        ("length of the blob", &[108, 0]),
        ("identifier", &name),
        ("blob", &blob),
    ];
    assert_eq!(Slot::new(&wrapped_key()).unwrap().as_bytes(), layout.bytes(&fields));
    let layout = Layout::of(&found[1], ENTRY_LEN);
    let fields: [(&str, &[u8]); 3] = [
        ("nonce", &[1; 12]),
        ("tag", &[2; 16]),
        ("plain length", &4096u32.to_le_bytes()),
    ];
    assert_eq!(
        Entry::new([1; NONCE_LEN], [2; TAG_LEN], 4096).as_bytes(),
        layout.bytes(&fields)
    );
    says(&format!("A tag entry has {ENTRY_LEN} bytes"));
}

#[test]
fn places_of_chunks() {
    for row in table("| example: C | chunk | its group | its entry at | its place at |", 7) {
        let [size, chunk, group, entry, place] = [0, 1, 2, 3, 4].map(|at| number(&row[at]));
        let geometry = geometry(size as u32);
        assert_eq!(geometry.group_of(chunk), group, "{row:?}");
        assert_eq!(geometry.entry_offset(chunk), entry, "{row:?}");
        assert_eq!(geometry.chunk_offset(chunk), place, "{row:?}");
    }
    for row in table("| example: C | plain size in chunks | stored length |", 4) {
        let [size, plain, stored] = [0, 1, 2].map(|at| number(&row[at]));
        assert_eq!(geometry(size as u32).stored_len(plain), stored, "{row:?}");
    }
    let (last, first) = (FIRST_GROUP - 1, FIRST_GROUP);
    let end = FIRST_GROUP + GROUP - 1;
    says(&format!(
        "0 page 0: head, absent runs, entries of chunks 0 … {last} (or:"
    ));
    says(&format!(
        "{PAGE} chunks 0 … {last} tag page: entries of chunks {first} … {end} chunks {first} … {end}"
    ));
    let rule = |row: &Row| numbers(&row[1]);
    let rules = table("| what | offset |", 4);
    assert_eq!(
        [numbers(&rules[0][0]), numbers(&rules[1][0])],
        [[FIRST_GROUP], [FIRST_GROUP]]
    );
    assert_eq!(rule(&rules[0]), [head::ENTRIES_OFFSET as u64, ENTRY_LEN as u64]);
    assert_eq!(rule(&rules[1]), [PAGE as u64]);
    assert_eq!(rule(&rules[2]), [PAGE as u64, FIRST_GROUP, 1, PAGE as u64, GROUP]);
    assert_eq!(rule(&rules[3]), [ENTRY_LEN as u64, PAGE as u64]);
    says(&format!(
        "group 0 has {FIRST_GROUP} chunks, every other group {GROUP}. Page 0 and each tag page have {PAGE} bytes"
    ));
    says(&format!("from {CHUNK_SIZE_MIN} to {CHUNK_SIZE_MAX}"));
    says(&format!(
        "at most {} × {GROUP} chunks, and at most 2^62 bytes",
        u32::MAX
    ));
    assert_eq!(geometry(CHUNK_SIZE_MIN).max_size(), u64::from(u32::MAX) * GROUP * 4096);
    assert_eq!(
        geometry(CHUNK_SIZE_MAX).max_size(),
        u64::from(u32::MAX) * GROUP * (1 << 20)
    );
}

#[test]
fn names_of_entries_and_the_descriptor() {
    let rows = table("| entry | where | what |", 9);
    let names: Vec<_> = rows
        .iter()
        .map(|row| String::from_utf8(quoted(&row[0])).unwrap())
        .collect();
    assert!(names.iter().all(|name| name.starts_with(stored_name::RESERVED_PREFIX)));
    assert_eq!(names[0], descriptor::FILE_NAME);
    assert_eq!(names[2], kmsfs::store::JOURNAL);
    assert_eq!(names[4], kmsfs::format::moves::FILE_NAME);
    assert_eq!(
        (names[7].as_str(), names[8].as_str()),
        (stored_name::LONG_PREFIX, stored_name::LONG_PREFIX)
    );
    assert!(rows[8][0].ends_with(&format!("`{}`", stored_name::SIDE_SUFFIX)));
    says(&format!(
        "A text of at most {} bytes: the line `kmsfs volume {}`",
        descriptor::LEN_MAX,
        descriptor::VERSION
    ));
    assert_eq!(table("| field | what |", 7).len(), 7);
    says("the line `mac ` ‖ 64 hexadecimal digits");
    assert_eq!(head::MAC_LEN * 2, 64);
}

fn sealed(label: &[u8]) -> kmsfs::crypto::names::StoredName {
    seal_name(&volume(), PARENT, NODE, NameFlags::BORN, label)
}

#[test]
fn stored_names_and_labels() {
    let rows = table("| label | stored name |", 2);
    let (short, long) = (numbers(&rows[0][0]), numbers(&rows[1][0]));
    assert_eq!(short, [stored_name::SHORT_MAX as u64]);
    assert_eq!(long, [short[0] + 1, stored_name::PLAIN_MAX as u64 + 1 + 16 + 4]);
    assert!(sealed(&[b'a'; 158]).side.is_none() && sealed(&[b'a'; 159]).side.is_some());
    assert_eq!(numbers(&rows[0][1]), [64, 16, 1, TAG_LEN as u64]);
    assert_eq!(
        numbers(&rows[1][1]),
        [64, 16, 1, stored_name::DIGEST_LEN as u64, TAG_LEN as u64]
    );
    says(&format!("A plain name has 1 to {} bytes", stored_name::PLAIN_MAX));
    says("**identity** of 16 random bytes");
    says("plain name ‖ 0 ‖ line. A plain");
    says("A line is instance 16, or instance 16 ‖ count 4 if the count is not 1.");
    says("The instance of an entry is the first 16 bytes of SHA-256(");
    let flags = table("| flags | meaning |", 2);
    assert_eq!(
        (number(&flags[0][0]), number(&flags[1][0])),
        (0, u64::from(NameFlags::BORN.byte()))
    );
    assert_eq!((NameFlags::NONE.byte(), NameFlags::from_byte(2)), (0, None));

    let name = sealed(&[b'a'; 200]);
    let Sealed::Long(digest) = RawName::parse(name.text.as_bytes()).unwrap().sealed else {
        panic!("not long")
    };
    assert_eq!(digest, Sha256::digest(name.side.unwrap())[..16]);

    let first = Instance([7; 16]);
    let follows = |count| Label {
        plain: [b'a'; 142][..].into(),
        replaces: Some(Line { first, count }),
    };
    let label = follows(1);
    says("a plain name of 142 bytes is short when it is made");
    assert_eq!(label.to_bytes(), [&[b'a'; 142][..], &[0], &first.0].concat());
    let further = [&[b'a'; 142][..], &[0], &first.0, &[2, 0, 0, 0]].concat();
    assert_eq!(follows(2).to_bytes(), further);
    assert!(sealed(&label.to_bytes()).side.is_some() && sealed(&[b'a'; 141 + 17]).side.is_none());
    says("SHA-256( `kmsfs name instance` ‖ node 16 ‖ the line of its own label, if any )");
    let instance = |more: &[u8]| Sha256::digest([b"kmsfs name instance", &NODE.0[..], more].concat())[..16].to_vec();
    assert_eq!(label.instance(NODE).0[..], instance(&first.0));
    assert_eq!(follows(2).instance(NODE).0[..], instance(&further[143..]));
    assert_eq!(Label::new(b"a").instance(NODE).0[..], instance(&[]));
    says("names the instance of that one, with the count 1");
    assert_eq!(Label::new(b"a").next(NODE).count, 1);
    assert_eq!(label.next(NODE), Line { first, count: 2 });
}

#[test]
fn moves() {
    use kmsfs::format::moves::{FILE_NAME, LEN_MAX, MOVES_MAX, Move, to_bytes};
    says(&format!("`{FILE_NAME}` has at most {LEN_MAX} bytes: checksum 16"));
    says(&format!("for each rename, of at most {MOVES_MAX}: node of the old"));
    let (old, new) = ("old".to_owned(), "newer".to_owned());
    let one = Move {
        from: PARENT,
        to: NODE,
        old,
        new,
    };
    let bytes = to_bytes(&[one]);
    let covered = [b"kmsfs\0m\x01", &PARENT.0[..], &NODE.0, &[3], b"old", &[5], b"newer"].concat();
    assert_eq!(bytes[16..], covered);
}

fn data_key() -> Key {
    Key::from_slice(&[8; 32]).unwrap()
}

fn volume() -> VolumeKeys {
    volume_keys(&data_key(), VOLUME)
}

fn file() -> FileKeys {
    file_keys(&data_key(), VOLUME, NODE)
}

#[test]
fn subkeys() {
    let (file, volume) = (file(), volume());
    let ours = [
        &file.content,
        &file.header,
        &volume.names,
        &volume.headers,
        &volume.values,
        &volume.descriptor,
    ];
    for (row, ours) in table("| subkey | salt | label |", 6).iter().zip(ours) {
        let salt = match row[1].as_str() {
            "volume" => VOLUME.0.to_vec(),
            "volume ‖ node" => [VOLUME.0, NODE.0].concat(),
            other => panic!("salt {other:?}"),
        };
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(Some(&salt), data_key().expose())
            .expand(&quoted(&row[2]), &mut key)
            .unwrap();
        assert_eq!(&key, ours.expose(), "{row:?}");
    }
}

/// Opens `nonce ‖ tag ‖ bytes`, or `tag ‖ bytes` where the table says that the nonce is zeros.
fn opens(row: &Row, key: &Key, behind_label: &[u8], sealed: &[u8]) -> Vec<u8> {
    let (nonce, rest) = match row[2].as_str() {
        "zeros" => ([0; NONCE_LEN], sealed),
        "random" => (sealed[..NONCE_LEN].try_into().unwrap(), &sealed[NONCE_LEN..]),
        other => panic!("nonce {other:?}"),
    };
    let (tag, bytes) = rest.split_first_chunk::<TAG_LEN>().unwrap();
    let mut plain = bytes.to_vec();
    let ad = [&quoted(&row[3])[..], behind_label].concat();
    Cipher::new(key)
        .open(&nonce, &ad, &mut plain, tag)
        .unwrap_or_else(|_| panic!("{row:?} does not open"));
    plain
}

#[test]
fn associated_data() {
    let rows = table("| sealed | subkey | nonce | associated data: label ‖ … |", 5);
    let parts: [&[u64]; 5] = [&[16, 8], &[16, 16, 1], &[16], &[16], &[16]];
    for (row, lengths) in rows.iter().zip(parts) {
        let (_, behind_label) = row[3].rsplit_once('`').unwrap();
        assert_eq!(numbers(behind_label), lengths, "{row:?}");
    }
    let (file, volume) = (file(), volume());
    let (mut stored, mut entries) = (vec![0; 5], Vec::new());
    ChunkCipher::new(&file, NODE).seal_run(7, 4096, b"plain", &mut stored, &mut entries);
    let chunk = [&entries[0].nonce[..], &entries[0].tag, &stored].concat();
    assert_eq!(
        opens(
            &rows[0],
            &file.content,
            &[&NODE.0[..], &7u64.to_le_bytes()].concat(),
            &chunk
        ),
        b"plain"
    );

    let Sealed::Short(name) = RawName::parse(sealed(b"plain").text.as_bytes()).unwrap().sealed else {
        panic!("not short")
    };
    let behind = [&PARENT.0[..], &NODE.0, &[NameFlags::BORN.byte()]].concat();
    assert_eq!(opens(&rows[1], &volume.names, &behind, &name), b"plain");

    let value = |purpose, context: &[u8]| seal_value(&volume, purpose, NODE, context, b"plain");
    let target = value(Purpose::SymlinkTarget, b"");
    assert_eq!(opens(&rows[2], &volume.values, &NODE.0, &target), b"plain");
    let name = value(Purpose::XattrName, b"");
    assert_eq!(name[..NONCE_LEN], [0; NONCE_LEN]);
    assert_eq!(opens(&rows[3], &volume.values, &NODE.0, &name[NONCE_LEN..]), b"plain");
    let named = value(Purpose::XattrValue, b"user.a");
    assert_eq!(
        opens(&rows[4], &volume.values, &[&NODE.0[..], b"user.a"].concat(), &named),
        b"plain"
    );
}

#[test]
fn values() {
    let rows = table("| value | stored as |", 4);
    let base64url = |bytes: u64| data_encoding::BASE64URL_NOPAD.encode_len(bytes as usize) as u64;
    let fits = |most: u64, plain: u64, overhead: u64| {
        base64url(plain + overhead) <= most && base64url(plain + 1 + overhead) > most
    };
    let target = numbers(&rows[0][0]);
    assert!(fits(target[1], target[2], OVERHEAD as u64), "{target:?}");
    let name = numbers(&rows[2][0]);
    let prefix = quoted(&rows[2][1]).len() as u64;
    assert!(fits(name[0] - prefix, name[1], TAG_LEN as u64), "{name:?}");
    says(&format!("A sealed value is nonce {NONCE_LEN} ‖ tag {TAG_LEN} ‖ bytes"));
    assert_eq!(OVERHEAD, NONCE_LEN + TAG_LEN);
    assert_eq!(numbers(&rows[3][1]), [64, TAG_LEN as u64, 2, TAG_LEN as u64]);
}

#[test]
fn every_crash_point_and_assumption_has_its_row() {
    let steps: Vec<usize> = tables("| step | what | a crash after it leaves |")
        .iter()
        .map(Vec::len)
        .collect();
    assert_eq!(steps, [5, 7, 4]);
    for rows in tables("| step | what | a crash after it leaves |") {
        assert!(
            rows.iter()
                .enumerate()
                .all(|(at, row)| number(&row[0]) == at as u64 + 1 && !row[2].is_empty())
        );
    }
    assert_eq!(table("| assumption | who gives it |", 5).len(), 5);
}
