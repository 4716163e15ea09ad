//! Round trips and attacks, without a command around them.

use std::fs::{self, File, OpenOptions};
use std::io::Cursor;
use std::ops::{ControlFlow, Range};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::{New, SealError, seal, seal_guide, unseal, unseal_guide};
use crate::crypto::head::open_head;
use crate::crypto::volume_keys;
use crate::format::Geometry;
use crate::format::head::RawHead;
use crate::kms::local::{LocalStore, Root};
use crate::kms::{EncryptionContext, Kms, KmsAdmin, NewKey};

/// A directory with a key store.
struct Bench {
    dir: TempDir,
    kms: LocalStore,
    key: String,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::File(dir.path().join("root"));
        let kms = LocalStore::create(&dir.path().join("keys"), &root).unwrap();
        let key = kms.create_key(&NewKey::default()).unwrap().id;
        Self { dir, kms, key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn fresh(&self, name: &str) -> File {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        options.open(self.path(name)).unwrap()
    }

    /// Seals the file `plain` as `sealed`.
    fn seal(&self, chunk_size: u32) -> Result<(), SealError> {
        let new = New {
            master_key: &self.key,
            geometry: Geometry::new(chunk_size).unwrap(),
        };
        let plain = File::open(self.path("plain")).unwrap();
        let sealed = OwnedFd::from(self.fresh("sealed"));
        seal(&plain, &sealed, &self.kms, new, &mut |_| ControlFlow::Continue(()))
    }

    /// Unseals the file `sealed` as `out`.
    fn unseal(&self) -> Result<Vec<u8>, SealError> {
        let path = self.path("sealed");
        let sealed = OwnedFd::from(File::open(&path).unwrap());
        let out = self.fresh("out");
        let go_on = &mut |_| ControlFlow::Continue(());
        unseal(&path, sealed, &out, None, &self.kms, go_on)?;
        Ok(fs::read(self.path("out")).unwrap())
    }
}

/// Bytes that do not repeat soon.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}

/// A file of `size` bytes whose only data is in `parts`.
fn sparse(bench: &Bench, size: u64, parts: &[Range<u64>]) {
    let file = bench.fresh("plain");
    file.set_len(size).unwrap();
    for part in parts {
        let end = part.end.min(size);
        if part.start < end {
            file.write_all_at(&pattern((end - part.start) as usize), part.start)
                .unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn proptest_any_size_and_back(size in prop_oneof![0usize..9000, 0usize..700_000], large in any::<bool>()) {
        let bench = Bench::new();
        let plain = pattern(size);
        fs::write(bench.path("plain"), &plain).unwrap();
        bench.seal(if large { 65536 } else { 4096 }).unwrap();
        prop_assert!(bench.unseal().unwrap() == plain);
    }

    #[test]
    fn proptest_holes_and_back(
        size in 0u64..6_000_000,
        parts in proptest::collection::vec((0u64..6_000_000, 1u64..40_000), 0..5),
    ) {
        let bench = Bench::new();
        let parts: Vec<_> = parts.into_iter().map(|(at, len)| at..at + len).collect();
        sparse(&bench, size, &parts);
        bench.seal(4096).unwrap();
        prop_assert!(bench.unseal().unwrap() == fs::read(bench.path("plain")).unwrap());
    }

    #[test]
    fn proptest_guide_and_back(size in prop_oneof![0usize..100, 0usize..700_000]) {
        let bench = Bench::new();
        let plain = pattern(size);
        prop_assert!(guide_back(&bench, &guide(&bench, &plain)).unwrap() == plain);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_no_guide_file(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'='), any::<u8>()], 0..400)) {
        // A key store is slow to make, and none is asked before two lines are right.
        static BENCH: std::sync::OnceLock<Bench> = std::sync::OnceLock::new();
        prop_assert!(guide_back(BENCH.get_or_init(Bench::new), &bytes).is_err());
    }
}

#[test]
fn holes_stay_holes() {
    let bench = Bench::new();
    sparse(&bench, 4 << 30, &[0..10_000, 2_000_000_000..2_000_100_000]);
    bench.seal(4096).unwrap();
    let blocks = |name: &str| fs::metadata(bench.path(name)).unwrap().blocks() * 512;
    assert!(blocks("sealed") < 1 << 20, "{}", blocks("sealed"));
    let sealed = OwnedFd::from(File::open(bench.path("sealed")).unwrap());
    let out = bench.fresh("out");
    let go_on = &mut |_| ControlFlow::Continue(());
    unseal(&bench.path("sealed"), sealed, &out, None, &bench.kms, go_on).unwrap();
    assert_eq!(out.metadata().unwrap().len(), 4 << 30);
    assert!(blocks("out") < 1 << 20, "{}", blocks("out"));
    for at in [0u64, 9_000, 1_999_999_000, 2_000_099_000, (4 << 30) - 4096] {
        let (mut was, mut is) = ([0; 4096], [0; 4096]);
        File::open(bench.path("plain"))
            .unwrap()
            .read_exact_at(&mut was, at)
            .unwrap();
        out.read_exact_at(&mut is, at).unwrap();
        assert!(was == is, "at {at}");
    }
}

#[test]
fn more_holes_than_a_head_has_room_for() {
    let bench = Bench::new();
    // Data in every third group of 512 KiB, 200 times.
    let parts: Vec<_> = (0..200u64).map(|n| n * (3 << 19)..n * (3 << 19) + 5).collect();
    sparse(&bench, 200 * (3 << 19), &parts);
    bench.seal(4096).unwrap();
    assert!(bench.unseal().unwrap() == fs::read(bench.path("plain")).unwrap());
}

/// Whatever somebody without the key does to a sealed file gives an error or the same content.
#[test]
fn attack_edits_give_errors_or_the_same() {
    for (size, step) in [(700, 13), (300_000, 2999)] {
        let bench = Bench::new();
        let plain = pattern(size);
        fs::write(bench.path("plain"), &plain).unwrap();
        bench.seal(4096).unwrap();
        let sealed = fs::read(bench.path("sealed")).unwrap();
        let mut refused = 0;
        let mut attack = |edited: &[u8]| {
            fs::write(bench.path("sealed"), edited).unwrap();
            match bench.unseal() {
                Ok(read) => assert!(read == plain),
                Err(_) => refused += 1,
            }
        };
        for at in (0..sealed.len()).step_by(step) {
            attack(&sealed[..at]);
            let mut edited = sealed.clone();
            edited[at] ^= 1;
            attack(&edited);
        }
        attack(&[&sealed[..], &[0]].concat());
        // Not in page 0 behind an inline body, nor where nothing stands: there the content is the same.
        assert!(
            size < 4096 || refused > 2 * sealed.len() / step - 10,
            "{refused} edits were noticed"
        );
    }
}

#[test]
fn bytes_behind_the_end_are_refused() {
    let bench = Bench::new();
    for size in [100, 9000] {
        fs::write(bench.path("plain"), pattern(size)).unwrap();
        bench.seal(4096).unwrap();
        let longer = [fs::read(bench.path("sealed")).unwrap(), vec![0]].concat();
        fs::write(bench.path("sealed"), longer).unwrap();
        assert!(matches!(bench.unseal(), Err(SealError::Trailing { .. })));
    }
}

#[test]
fn chunks_of_another_file_do_not_open() {
    let bench = Bench::new();
    fs::write(bench.path("plain"), pattern(20_000)).unwrap();
    bench.seal(4096).unwrap();
    let first = fs::read(bench.path("sealed")).unwrap();
    bench.seal(4096).unwrap();
    let mut mixed = fs::read(bench.path("sealed")).unwrap();
    // Entries and bytes of chunk 2.
    mixed[2048 + 64..2048 + 96].copy_from_slice(&first[2048 + 64..2048 + 96]);
    mixed[12_288..16_384].copy_from_slice(&first[12_288..16_384]);
    fs::write(bench.path("sealed"), mixed).unwrap();
    let refused = bench.unseal();
    assert!(
        matches!(
            refused,
            Err(SealError::Chunk {
                chunk: 2,
                offset: 12_288
            })
        ),
        "{refused:?}"
    );
}

/// As FORMAT.md says: the data key takes the place of the volume key.
#[test]
fn a_sealed_file_is_a_volume_of_one() {
    let bench = Bench::new();
    for size in [0, 9000] {
        fs::write(bench.path("plain"), pattern(size)).unwrap();
        bench.seal(4096).unwrap();
        let sealed = fs::read(bench.path("sealed")).unwrap();
        let raw = RawHead::parse(&sealed).unwrap().unwrap();
        let (volume, wrapped) = (raw.head.volume, raw.head.wrapped.get().unwrap().unwrap());
        let context = EncryptionContext::data_key(volume, raw.head.data_key);
        let key = bench.kms.decrypt(&wrapped, &context).unwrap();
        open_head(&raw, volume, raw.head.node, &volume_keys(&key, volume)).unwrap();
    }
}

#[test]
fn whoever_watches_can_stop() {
    let bench = Bench::new();
    fs::write(bench.path("plain"), pattern(5 << 20)).unwrap();
    let new = New {
        master_key: &bench.key,
        geometry: Geometry::new(4096).unwrap(),
    };
    let plain = File::open(bench.path("plain")).unwrap();
    let mut seen = 0;
    let stopped = seal(
        &plain,
        &OwnedFd::from(bench.fresh("sealed")),
        &bench.kms,
        new,
        &mut |bytes| {
            seen += bytes;
            match seen > 2 << 20 {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        },
    );
    assert!(matches!(stopped, Err(SealError::Interrupted)) && seen < 5 << 20);
}

fn guide(bench: &Bench, plain: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::new();
    let go_on = &mut |_| ControlFlow::Continue(());
    seal_guide(&mut Cursor::new(plain), &mut sealed, &bench.kms, &bench.key, go_on).unwrap();
    sealed
}

fn guide_back(bench: &Bench, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut plain = Vec::new();
    let go_on = &mut |_| ControlFlow::Continue(());
    unseal_guide(&mut Cursor::new(sealed), &mut plain, &bench.kms, go_on)?;
    Ok(plain)
}

#[test]
fn guide_has_four_lines_and_bears_white_space() {
    let bench = Bench::new();
    let plain = b"region,amount\ncn-hangzhou,100\n";
    let sealed = String::from_utf8(guide(&bench, plain)).unwrap();
    let lines: Vec<&str> = sealed.lines().collect();
    let lengths: Vec<usize> = lines.iter().map(|line| line.len()).collect();
    assert_eq!(
        (lengths.as_slice(), sealed.ends_with('\n')),
        (&[144, 24, 40, 24][..], true)
    );
    for same in [
        sealed.replace('\n', "\r\n"),
        sealed.trim_end().to_owned(),
        format!("{sealed}\n \n"),
    ] {
        assert_eq!(guide_back(&bench, same.as_bytes()).unwrap(), plain);
    }
    for line in 1..=4 {
        let mut broken = lines.clone();
        broken[line - 1] = "!";
        let refused = guide_back(&bench, broken.join("\n").as_bytes());
        assert!(
            matches!(&refused, Err(SealError::Guide { line: at, .. }) if usize::from(*at) == line),
            "{refused:?}"
        );
        let refused = guide_back(&bench, lines[..line - 1].join("\n").as_bytes());
        assert!(matches!(refused, Err(SealError::Guide { .. })), "{line}: {refused:?}");
    }
}

#[test]
fn attack_every_character_of_a_guide_file_counts() {
    let bench = Bench::new();
    let plain = b"region,amount\ncn-hangzhou,100\n";
    let sealed = guide(&bench, plain);
    for at in 0..sealed.len() {
        for byte in [b'A', b'9', b'=', b'\n', 0xff] {
            let mut edited = sealed.clone();
            edited[at] = byte;
            // White space in place of a line's end.
            if edited != sealed
                && let Ok(read) = guide_back(&bench, &edited)
            {
                assert_eq!(read, plain, "at {at}");
            }
        }
        if let Ok(read) = guide_back(&bench, &sealed[..at]) {
            assert_eq!((read.as_slice(), at), (&plain[..], sealed.len() - 1));
        }
    }
}
