//! The head of a stored file: the first kilobyte of page 0, and the absent runs behind it.
//!
//! [`RawHead::parse`] says that bytes are well-formed; only `crypto::head` can say that they are authentic.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::FormatError;
use super::entry::ENTRY_LEN;
use super::geometry::{Geometry, PAGE};
use super::ids::{DataKeyId, NodeId, VolumeId};
use super::wrapped::Slot;

/// The first bytes of every stored file that is not empty.
pub const MAGIC: [u8; 8] = *b"kmsfs\0f\x01";
/// The version of the format of stored files.
pub const VERSION: u16 = 1;
/// Bytes of the head proper.
pub const HEAD_LEN: usize = 1024;
/// Where the absent runs begin.
pub const ABSENT_OFFSET: usize = HEAD_LEN;
/// Most absent runs of one file.
pub const ABSENT_MAX: usize = 128;
/// Where the entries of group 0 begin; also the length of the image of a head whose body is in chunks.
pub const ENTRIES_OFFSET: usize = 2048;
/// Where the entry of an inline body stands.
pub const INLINE_ENTRY_OFFSET: usize = HEAD_LEN;
/// Where the sealed bytes of an inline body begin.
pub const INLINE_OFFSET: usize = HEAD_LEN + ENTRY_LEN;
/// Most bytes of an inline body.
pub const INLINE_MAX: usize = PAGE - INLINE_OFFSET;
/// The part of the head that the file's own key authenticates: identity, suite, sizes.
pub const OWN_LEN: usize = 128;
/// Bytes of the head before `volume_mac`, which authenticates them.
pub const MACED_LEN: usize = HEAD_LEN - MAC_LEN;
/// Bytes of a MAC (HMAC-SHA-256).
pub const MAC_LEN: usize = 32;
/// The suite of format 1: AES-256-GCM-SIV (RFC 8452), HKDF- and HMAC-SHA-256.
pub const SUITE_AES_256_GCM_SIV: u8 = 1;

const WHAT: &str = "head of a stored file";

/// Where the content of a file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// In page 0, behind the head.
    Inline,
    /// In chunks.
    Chunked,
}

/// Feature bits, as ext4 has them. Format 1 knows none; who meets one that it does not know …
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Features {
    /// … may ignore it,
    pub compatible: U32,
    /// … may read but not write,
    pub read_only: U32,
    /// … must refuse.
    pub incompatible: U32,
}

/// A run of whole groups that are holes: nothing of them is stored, not even a tag page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupRun {
    /// The first group of the run.
    pub first: u32,
    /// Groups in the run, at least one.
    pub count: u32,
}

impl GroupRun {
    /// The group after the run.
    #[must_use]
    pub fn end(self) -> u64 {
        u64::from(self.first) + u64::from(self.count)
    }
}

/// What a head says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The volume that the file belongs to.
    pub volume: VolumeId,
    /// The file's identity, which stands in each of its stored names too.
    pub node: NodeId,
    /// The data key that its subkeys come from.
    pub data_key: DataKeyId,
    /// Plain bytes of the content.
    pub size: u64,
    /// Plain bytes of a chunk.
    pub chunk_size: u32,
    /// Where the content lies.
    pub body: Body,
    /// Features that the file makes use of; none is incompatible.
    pub features: Features,
    /// The data key, wrapped by the volume's master key.
    pub wrapped: Slot,
    /// The data key wrapped a second time: escrow, or the next master key during a rotation.
    pub wrapped_second: Slot,
    /// Runs of groups that are holes, in order, apart from each other.
    pub absent: Vec<GroupRun>,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    magic: [u8; 8],
    version: U16,
    suite: u8,
    body: u8,
    chunk_size: U32,
    features: Features,
    reserved: [u8; 4],
    volume: [u8; 16],
    node: [u8; 16],
    data_key: [u8; 16],
    size: U64,
    /// For the root of a tree over the chunks' versions (rollback detection).
    tree: [u8; 40],
    wrapped: Slot,
    wrapped_second: Slot,
    reserved_too: [u8; 176],
    content_mac: [u8; MAC_LEN],
    volume_mac: [u8; MAC_LEN],
}

const _: () = assert!(size_of::<Layout>() == HEAD_LEN);
const _: () = assert!(std::mem::offset_of!(Layout, wrapped) == OWN_LEN);
const _: () = assert!(ABSENT_OFFSET + ABSENT_MAX * 8 == ENTRIES_OFFSET);

/// A well-formed head that nobody has authenticated yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawHead {
    /// What it claims.
    pub head: Head,
    /// The bytes that were read, head and absent runs: what the MACs are over and, at [`CONTENT_MAC`] and
    /// [`VOLUME_MAC`], the MACs.
    pub image: Vec<u8>,
}

impl RawHead {
    /// Reads a head from the beginning of a stored file. `None` is a file that has no head yet: nothing
    /// is stored, or page 0 is reserved and zero where the head will be (entries may stand behind it).
    ///
    /// # Errors
    /// [`FormatError`] when the bytes are not well-formed, cut short, or of a newer format.
    pub fn parse(page: &[u8]) -> Result<Option<Self>, FormatError> {
        if page.iter().take(ENTRIES_OFFSET).all(|byte| *byte == 0) {
            return Ok(None);
        }
        let short = |need| FormatError::Short {
            what: WHAT,
            have: page.len(),
            need,
        };
        let (layout, rest) = Layout::read_from_prefix(page).map_err(|_| short(HEAD_LEN))?;
        let body = layout.check()?;
        let need = match body {
            // At most INLINE_MAX, as `check` has seen.
            Body::Inline => INLINE_OFFSET + layout.size.get() as usize,
            Body::Chunked => ENTRIES_OFFSET,
        };
        if page.len() < need {
            return Err(short(need));
        }
        let absent = match body {
            Body::Inline => Vec::new(),
            Body::Chunked => read_absent(rest, &layout)?,
        };
        let image_len = match body {
            Body::Inline => HEAD_LEN,
            Body::Chunked => ENTRIES_OFFSET,
        };
        Ok(Some(Self {
            image: page[..image_len].to_vec(),
            head: Head {
                volume: VolumeId(layout.volume),
                node: NodeId(layout.node),
                data_key: DataKeyId(layout.data_key),
                size: layout.size.get(),
                chunk_size: layout.chunk_size.get(),
                body,
                features: layout.features,
                wrapped: layout.wrapped,
                wrapped_second: layout.wrapped_second,
                absent,
            },
        }))
    }
}

impl Layout {
    fn check(&self) -> Result<Body, FormatError> {
        if self.magic != MAGIC {
            return Err(FormatError::Magic { what: WHAT });
        }
        let incompatible = self.features.incompatible.get();
        if self.version.get() != VERSION || incompatible != 0 {
            let detail = format!("version {}, features {incompatible:#x}", self.version);
            return Err(FormatError::Newer { what: WHAT, detail });
        }
        if self.suite != SUITE_AES_256_GCM_SIV {
            return Err(field("suite"));
        }
        // One state has one spelling: only a feature may give these bytes a meaning.
        let unused = [&self.reserved[..], &self.tree, &self.reserved_too];
        if self.features == Features::default() && unused.iter().any(|bytes| bytes.iter().any(|byte| *byte != 0)) {
            return Err(field("reserved bytes"));
        }
        let geometry = Geometry::new(self.chunk_size.get()).ok_or(field("chunk size"))?;
        let size = self.size.get();
        match self.body {
            1 if size <= INLINE_MAX as u64 => Ok(Body::Inline),
            2 if size <= geometry.max_size() => Ok(Body::Chunked),
            1 | 2 => Err(field("size")),
            _ => Err(field("body")),
        }
    }
}

impl Head {
    /// The bytes of this head without its MACs: [`ENTRIES_OFFSET`] of them for a body in chunks, head and
    /// absent runs; [`HEAD_LEN`] for an inline one.
    ///
    /// # Errors
    /// [`FormatError::Field`] when there are more than [`ABSENT_MAX`] absent runs.
    pub fn image(&self) -> Result<Vec<u8>, FormatError> {
        if self.absent.len() > ABSENT_MAX {
            return Err(field("number of absent runs"));
        }
        let layout = Layout {
            magic: MAGIC,
            version: U16::new(VERSION),
            suite: SUITE_AES_256_GCM_SIV,
            body: match self.body {
                Body::Inline => 1,
                Body::Chunked => 2,
            },
            chunk_size: U32::new(self.chunk_size),
            features: self.features,
            reserved: [0; 4],
            volume: self.volume.0,
            node: self.node.0,
            data_key: self.data_key.0,
            size: U64::new(self.size),
            tree: [0; 40],
            wrapped: self.wrapped,
            wrapped_second: self.wrapped_second,
            reserved_too: [0; 176],
            content_mac: [0; MAC_LEN],
            volume_mac: [0; MAC_LEN],
        };
        let mut image = layout.as_bytes().to_vec();
        if self.body == Body::Chunked {
            for run in &self.absent {
                image.extend_from_slice(&run.first.to_le_bytes());
                image.extend_from_slice(&run.count.to_le_bytes());
            }
            image.resize(ENTRIES_OFFSET, 0);
        }
        Ok(image)
    }

    /// Whether `group` lies in an absent run.
    #[must_use]
    pub fn is_absent(&self, group: u64) -> bool {
        self.absent_until(group).is_some()
    }

    /// The group behind the absent run that `group` lies in.
    #[must_use]
    pub fn absent_until(&self, group: u64) -> Option<u64> {
        let after = self.absent.partition_point(|run| u64::from(run.first) <= group);
        let run = self.absent[..after].last()?;
        (group < run.end()).then(|| run.end())
    }
}

/// Where the two MACs stand in an image.
pub const CONTENT_MAC: std::ops::Range<usize> = HEAD_LEN - 2 * MAC_LEN..HEAD_LEN - MAC_LEN;
/// See [`CONTENT_MAC`].
pub const VOLUME_MAC: std::ops::Range<usize> = HEAD_LEN - MAC_LEN..HEAD_LEN;

fn read_absent(bytes: &[u8], layout: &Layout) -> Result<Vec<GroupRun>, FormatError> {
    let mut runs = Vec::new();
    let mut next = 0;
    let (pairs, _) = bytes[..ABSENT_MAX * 8].as_chunks::<8>();
    for (place, pair) in pairs.iter().enumerate() {
        let [a, b, c, d, e, f, g, h] = *pair;
        let run = GroupRun {
            first: u32::from_le_bytes([a, b, c, d]),
            count: u32::from_le_bytes([e, f, g, h]),
        };
        if run.count == 0 {
            if run.first != 0 {
                return Err(field("absent run"));
            }
            continue;
        }
        // In order, never touching: one state has one spelling.
        let apart = runs.is_empty() || u64::from(run.first) > next;
        if place != runs.len() || !apart {
            return Err(field("absent run"));
        }
        next = run.end();
        runs.push(run);
    }
    let geometry = Geometry::new(layout.chunk_size.get()).ok_or(field("chunk size"))?;
    let groups = match geometry.chunks(layout.size.get()).checked_sub(1) {
        None => 0,
        Some(last) => geometry.group_of(last) + 1,
    };
    if next > groups {
        return Err(field("absent run"));
    }
    Ok(runs)
}

fn field(field: &'static str) -> FormatError {
    FormatError::Field { what: WHAT, field }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::format::WrappedKey;
    use proptest::prelude::*;

    pub(crate) fn sample(size: u64, body: Body, absent: Vec<GroupRun>) -> Head {
        let key = WrappedKey {
            master_key: "key".into(),
            blob: vec![7; 108],
        };
        Head {
            volume: VolumeId([1; 16]),
            node: NodeId([2; 16]),
            data_key: DataKeyId([3; 16]),
            size,
            chunk_size: 4096,
            body,
            features: Features::default(),
            wrapped: Slot::new(&key).unwrap(),
            wrapped_second: Slot::EMPTY,
            absent,
        }
    }

    proptest! {
        #[test]
        fn image_and_back(size in 0u64..1 << 40, gaps in proptest::collection::vec((1u32..9, 1u32..9), 0..=128)) {
            let geometry = Geometry::new(4096).unwrap();
            let groups = geometry.group_of(geometry.chunks(size).max(1) - 1) + 1;
            let mut at = 0;
            let mut absent = Vec::new();
            for (gap, count) in gaps {
                let run = GroupRun { first: at + gap, count };
                if run.end() > groups { break; }
                at = run.first + count;
                absent.push(run);
            }
            let head = sample(size, Body::Chunked, absent);
            let raw = RawHead::parse(&head.image().unwrap()).unwrap().unwrap();
            for group in 0..u64::from(at) + 3 {
                let within = head.absent.iter().any(|r| (u64::from(r.first)..r.end()).contains(&group));
                prop_assert_eq!(head.is_absent(group), within);
            }
            prop_assert_eq!(raw.head, head);
        }

        #[test]
        fn damaged_bytes_never_panic(size in 0u64..9000, at in 0usize..2048, byte in any::<u8>(), cut in 0usize..=2048) {
            let mut image = sample(size, Body::Chunked, vec![]).image().unwrap();
            image[at] = byte;
            let _ = RawHead::parse(&image[..cut]);
        }

        #[test]
        fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..4200), honest in any::<bool>()) {
            if honest && bytes.len() >= 16 {
                bytes[..12].copy_from_slice(&[b'k', b'm', b's', b'f', b's', 0, b'f', 1, 1, 0, 1, 2]);
            }
            let _ = RawHead::parse(&bytes);
        }
    }

    #[test]
    fn nothing_or_zeros_is_no_head() {
        assert_eq!(RawHead::parse(&[]), Ok(None));
        assert_eq!(RawHead::parse(&[0; PAGE]), Ok(None));
        assert!(RawHead::parse(&[0, 0, 1]).is_err());
    }

    #[test]
    fn one_state_has_one_spelling() {
        let touching = vec![GroupRun { first: 1, count: 1 }, GroupRun { first: 2, count: 1 }];
        let image = sample(1 << 30, Body::Chunked, touching).image().unwrap();
        assert!(RawHead::parse(&image).is_err());
        let beyond = vec![GroupRun { first: 1, count: 1 }];
        let image = sample(4096, Body::Chunked, beyond).image().unwrap();
        assert!(RawHead::parse(&image).is_err());
    }

    /// The fuzzer found a head with something in its reserved bytes and no feature that says what: it was read,
    /// and would have been written back without them. No such head was ever written; one with a feature of a
    /// newer program still opens.
    #[test]
    fn regression_reserved_bytes_need_a_feature() {
        for at in [28, 88, 784, 950] {
            let mut image = sample(1, Body::Chunked, vec![]).image().unwrap();
            image[at] = 1;
            assert!(RawHead::parse(&image).is_err(), "{at}");
            image[16] = 1;
            assert!(RawHead::parse(&image).is_ok(), "{at}");
        }
    }

    #[test]
    fn a_newer_format_is_named_as_such() {
        let mut image = sample(1, Body::Chunked, vec![]).image().unwrap();
        image[8] = 2;
        assert!(matches!(RawHead::parse(&image), Err(FormatError::Newer { .. })));
        image[8] = 1;
        image[24] = 1;
        assert!(matches!(RawHead::parse(&image), Err(FormatError::Newer { .. })));
    }
}
