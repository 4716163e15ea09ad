//! After a crash: what the journal has, copied to the places. Needs no key.
//!
//! First a pure fold decides what the newest version of everything is; then it is applied, made durable,
//! and the journal emptied. Interrupted anywhere it begins anew and ends the same: until the last step the
//! journal is not touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use super::error::{Place, StoreError};
use super::journal::segment_len;
use super::medium::{Medium, StoredFile, StoredPath};
use super::overlay::{self, Overlay};
use super::place::Failed;
use super::reach::Extent;
use crate::format::journal::{
    Kind, RECORD_HEADER_LEN, RECORDS_OFFSET, Record, SEGMENT_HEADER_LEN, SegmentHeader, claimed_len,
};
use crate::format::{Geometry, NodeId};
use crate::sys::quota::Unbound;

/// Most paths that are tried for one file before the tree is searched.
const HINTS_MAX: usize = 8;

/// What recovery did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Recovery {
    /// Records that the journal held.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Files that were brought up to date.
    pub files: u64,
    /// Files that are no more.
    pub missing: u64,
    /// How long it took.
    pub duration: Duration,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records, {} bytes, of {} files ({} more are gone), in {:.3} s",
            self.records,
            self.bytes,
            self.files,
            self.missing,
            self.duration.as_secs_f64()
        )
    }
}

/// What the journal says of one file.
#[derive(Debug)]
struct Folded {
    geometry: Geometry,
    /// Paths at which it was seen, the newest last.
    hints: Vec<StoredPath>,
    head: Option<Vec<u8>>,
    overlay: Overlay,
}

/// What the journal says of all files.
#[derive(Debug, Default)]
struct Fold {
    files: BTreeMap<NodeId, Folded>,
    records: u64,
    bytes: u64,
}

impl Fold {
    /// Takes up the next record, which lies at `offset` of the journal.
    fn take(&mut self, record: &Record<'_>, offset: u64, sequence: u64) {
        self.records += 1;
        self.bytes += record.len as u64;
        let file = self.files.entry(record.node).or_insert_with(|| Folded {
            geometry: record.geometry,
            hints: Vec::new(),
            head: None,
            overlay: Overlay::default(),
        });
        if !record.hint.is_empty() {
            let hint = StoredPath::new(record.hint);
            file.hints.retain(|known| *known != hint);
            if file.hints.len() == HINTS_MAX {
                file.hints.remove(0);
            }
            file.hints.push(hint);
        }
        if let Some(head) = &record.head {
            let cut = record.kind == Kind::Cut;
            #[cfg(test)]
            let cut = cut && !super::mutation::is(super::mutation::Mutation::NoVoid);
            if cut {
                file.overlay.cut(record.geometry, &Extent::of(head));
            }
            file.head = Some(head.clone());
        }
        for (run, at) in &record.runs {
            file.overlay.insert(run, offset + *at as u64, sequence);
        }
    }
}

/// Brings the places up to date with the journal in `file`, and empties it. On a medium that can not be
/// written to nothing is done, if there is nothing to do.
///
/// # Errors
/// Those of the medium; [`StoreError::Damaged`] when the journal contradicts itself;
/// [`StoreError::NeedsRecovery`].
pub(super) fn recover(medium: &dyn Medium, file: &dyn StoredFile) -> Result<Recovery, StoreError> {
    let began = Instant::now();
    let segments = segments(file)?;
    let fold = fold(file, &segments)?;
    if !medium.is_writable() {
        return match fold.records {
            0 => Ok(Recovery::default()),
            records => Err(StoreError::NeedsRecovery { records }),
        };
    }
    // What was reserved for a record may be lost in the crash, and its owner over quota since.
    let _unbound = Unbound::enter();
    let (files, missing) = apply(medium, file, &fold)?;
    if !segments.is_empty() {
        // Also what the last mount has done to names and not synced: if only its process was killed, that is there
        // but not durable, and the next one takes it for durable.
        let synced = medium.sync_everything();
        synced.map_err(|source| StoreError::Backing { doing: "sync", source })?;
    }
    // The older one first: were only the newer one gone, the older one would bring old bytes back.
    for (header, base) in &segments {
        let wiped = file.write_all_at(&[0; SEGMENT_HEADER_LEN], *base);
        wiped
            .and_then(|()| file.sync_data())
            .map_err(journal_error("empty", *base))?;
        tracing::debug!(epoch = header.epoch, "segment of the journal emptied");
    }
    Ok(Recovery {
        records: fold.records,
        bytes: fold.bytes,
        files,
        missing,
        duration: began.elapsed(),
    })
}

/// The files of which the journal in `file` has something that recovery would copy. Nothing is written.
///
/// # Errors
/// As of a recovery.
pub fn pending(file: &dyn StoredFile) -> Result<BTreeSet<NodeId>, StoreError> {
    Ok(fold(file, &segments(file)?)?.files.into_keys().collect())
}

fn journal_error(doing: &'static str, offset: u64) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Journal { doing, offset, source }
}

/// The segments in use, the older one first, and where they begin.
fn segments(file: &dyn StoredFile) -> Result<Vec<(SegmentHeader, u64)>, StoreError> {
    let len = file.len().map_err(journal_error("measure", 0))?;
    let segment_len = segment_len(len);
    let mut segments = Vec::new();
    for index in 0..2 {
        let base = u64::from(index) * segment_len;
        let mut bytes = [0; SEGMENT_HEADER_LEN];
        file.read_at(&mut bytes, base).map_err(journal_error("read", base))?;
        if let Some(header) = SegmentHeader::parse(&bytes, index, segment_len) {
            segments.push((header, base));
        }
    }
    segments.sort_by_key(|(header, _)| header.epoch);
    Ok(segments)
}

fn fold(file: &dyn StoredFile, segments: &[(SegmentHeader, u64)]) -> Result<Fold, StoreError> {
    let mut fold = Fold::default();
    let mut next: Option<u64> = None;
    for (header, base) in segments {
        if let Some(next) = next.filter(|next| *next != header.first_sequence) {
            let detail = format!(
                "its older segment ends before record {next}, its newer one begins with {}: the medium has lost what it had confirmed",
                header.first_sequence
            );
            return Err(StoreError::Damaged { detail });
        }
        next = Some(fold_segment(file, header, *base, &mut fold)?);
    }
    Ok(fold)
}

/// Takes up the records of a segment, to the first that is not there or not whole. Returns its number.
fn fold_segment(file: &dyn StoredFile, header: &SegmentHeader, base: u64, fold: &mut Fold) -> Result<u64, StoreError> {
    let (mut offset, mut sequence) = (base + RECORDS_OFFSET, header.first_sequence);
    let end = base + header.segment_len;
    let mut buf = Vec::new();
    loop {
        let room = (end - offset).min(usize::MAX as u64) as usize;
        buf.resize(RECORD_HEADER_LEN.min(room), 0);
        read(file, &mut buf, offset)?;
        let Some(len) = claimed_len(&buf, sequence, header.salt).filter(|len| *len <= room) else {
            return Ok(sequence);
        };
        buf.resize(len, 0);
        read(file, &mut buf, offset)?;
        let Some(record) = Record::parse(&buf, sequence, header.salt) else {
            return Ok(sequence);
        };
        fold.take(&record, offset, sequence);
        offset += len as u64;
        sequence += 1;
    }
}

fn read(file: &dyn StoredFile, buf: &mut [u8], offset: u64) -> Result<(), StoreError> {
    let have = file.read_at(buf, offset).map_err(journal_error("read", offset))?;
    buf[have..].fill(0);
    Ok(())
}

/// Copies everything to its place. Returns how many files there were, and were not.
fn apply(medium: &dyn Medium, journal: &dyn StoredFile, fold: &Fold) -> Result<(u64, u64), StoreError> {
    let backing = |doing| move |source| StoreError::Backing { doing, source };
    let mut files = 0;
    let mut unfound = BTreeSet::new();
    for (node, folded) in &fold.files {
        let mut found = None;
        for hint in folded.hints.iter().rev() {
            found = medium.find(*node, hint).map_err(backing("look for a file in"))?;
            if found.is_some() {
                break;
            }
        }
        match found {
            Some(file) => {
                apply_file(*node, folded, file.as_ref(), journal)?;
                files += 1;
            }
            // Also one that is said to be gone: a crash may forget the removal, and a rename before it too.
            None => {
                unfound.insert(*node);
            }
        }
    }
    let mut searched = 0;
    if !unfound.is_empty() {
        let mut failure = None;
        let walked = medium.find_all(&unfound, &mut |node, file| {
            let Some(folded) = fold.files.get(&node) else {
                return Ok(());
            };
            searched += 1;
            apply_file(node, folded, file.as_ref(), journal).map_err(|error| {
                failure = Some(error);
                io::ErrorKind::Other.into()
            })
        });
        walked.map_err(|source| failure.unwrap_or(StoreError::Backing { doing: "walk", source }))?;
    }
    Ok((files + searched, unfound.len() as u64 - searched))
}

fn apply_file(
    node: NodeId,
    folded: &Folded,
    file: &dyn StoredFile,
    journal: &dyn StoredFile,
) -> Result<(), StoreError> {
    apply_content(folded, file, journal).map_err(|failed| StoreError::File {
        doing: failed.doing,
        place: Box::new(Place {
            node,
            path: folded.hints.last().cloned().unwrap_or_default(),
            chunk: Some(failed.chunk),
            offset: failed.offset,
        }),
        source: failed.source,
    })
}

fn apply_content(folded: &Folded, file: &dyn StoredFile, journal: &dyn StoredFile) -> Result<(), Failed> {
    let failed = |doing| {
        move |source| Failed {
            doing,
            chunk: 0,
            offset: 0,
            source,
        }
    };
    let modified = file.modified().map_err(failed("keep the times of"))?;
    if let Some(head) = &folded.head {
        overlay::copy_head(file, folded.geometry, head, true)?;
    }
    let read = |buf: &mut [u8], offset| match journal.read_at(buf, offset)? {
        have if have == buf.len() => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    };
    let mut first = Some(0);
    while let Some(chunk) = first {
        first = folded.overlay.copy(file, folded.geometry, chunk, u64::MAX, read)?;
    }
    if let Some(head) = &folded.head
        && let Some(keep) = overlay::end(file, folded.geometry, &folded.overlay, &Extent::of(head))
            .map_err(failed("read entries of"))?
        && file.len().map_err(failed("measure"))? > keep
    {
        file.set_len(keep).map_err(failed("cut"))?;
    }
    file.set_modified(Some(modified)).map_err(failed("keep the times of"))
}
