//! An open file: its store content, its keys and its head, shared by all handles.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock, RwLockWriteGuard};

use super::ContentError;
use crate::crypto::chunk::ChunkCipher;
use crate::crypto::head::{check_commitment, open_head, seal_head};
use crate::format::head::{Body, Features, Head, RawHead};
use crate::format::wrapped::Slot;
use crate::format::{Geometry, NodeId};
use crate::keys::{Claim, FileKeySlot};
use crate::store::{Change, Content, PosixFile, Run, StoredFile, StoredPath};
use crate::volume::Volume;

/// One open file. Reads of it go in parallel, a write excludes reads and other writes of this file only.
pub struct File {
    pub(super) volume: Arc<Volume>,
    pub(super) node: NodeId,
    pub(super) content: Arc<Content>,
    /// What the file is now. `None` as long as nothing was ever written.
    state: RwLock<Option<Live>>,
    /// For the first write.
    claim: Mutex<Option<Claim>>,
}

/// A file that has content: its head and the keys of its chunks.
#[derive(Clone)]
pub(super) struct Live {
    pub head: Head,
    pub keys: Arc<FileKeySlot>,
}

impl File {
    /// Opens the content of `node`. `open` gives the stored file and where it is; it is called only when no
    /// other handle and no pending commit has it open already. `born` is what the stored name says.
    ///
    /// # Errors
    /// [`ContentError`]: the head does not open, the file was emptied, or the KMS gives no key.
    pub fn open(
        volume: &Arc<Volume>,
        node: NodeId,
        born: bool,
        open: impl FnOnce() -> io::Result<(OwnedFd, StoredPath)>,
    ) -> Result<Self, ContentError> {
        let opened = volume.store.content(node, || {
            let (file, path) = open()?;
            Ok((Box::new(PosixFile::new(file)) as Box<dyn StoredFile>, path))
        });
        let content = opened.map_err(|source| ContentError::Unopened { node, source })?;
        let live = match content.head()? {
            None if born => return Err(ContentError::Emptied { node }),
            None => None,
            Some(page) => Self::unlock(volume, node, &page)?,
        };
        if live.is_none() && born {
            return Err(ContentError::Emptied { node });
        }
        Ok(Self {
            volume: Arc::clone(volume),
            node,
            content,
            state: RwLock::new(live),
            claim: Mutex::default(),
        })
    }

    /// Makes sure that a first write will find a data key, so that opening fails when the KMS cannot be asked, and
    /// not a write that the kernel makes on its own after the program has gone.
    ///
    /// # Errors
    /// [`ContentError::Key`].
    pub fn prepare(&self) -> Result<(), ContentError> {
        if self.state.read().is_none() && self.claim.lock().is_none() {
            self.hold(self.volume.keyring.claim()?);
        }
        Ok(())
    }

    /// Keeps a claim for the first write.
    pub fn hold(&self, claim: Claim) {
        // One that was there goes without the guard.
        let _before = self.claim.lock().replace(claim);
    }

    /// Believes the head and asks the keyring for the file's keys.
    fn unlock(volume: &Volume, node: NodeId, page: &[u8]) -> Result<Option<Live>, ContentError> {
        let malformed = |source| ContentError::Malformed { node, source };
        let Some(raw) = RawHead::parse(page).map_err(malformed)? else {
            return Ok(None);
        };
        let opened = volume
            .keyring
            .with_volume(|keys| open_head(&raw, volume.id, node, keys))?;
        let head = opened.map_err(|_| ContentError::Head { node })?;
        let wrapped = head.wrapped.get().map_err(malformed)?;
        let wrapped = wrapped.ok_or(ContentError::Head { node })?;
        let keys = volume.keyring.file_keys(node, head.data_key, &wrapped)?;
        keys.with(|keys| check_commitment(&raw, keys))?
            .map_err(|_| ContentError::Head { node })?;
        Ok(Some(Live { head, keys }))
    }

    /// Plain bytes of the content.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.state.read().as_ref().map_or(0, |live| live.head.size)
    }

    /// Whether no crash from now on leaves an empty file.
    ///
    /// # Errors
    /// [`ContentError::Store`].
    pub fn is_born(&self) -> Result<bool, ContentError> {
        Ok(self.content.has_durable_head()?)
    }

    /// Makes what was written durable; with `data_only` as fdatasync(2) does.
    ///
    /// # Errors
    /// [`ContentError::Store`]; once it has failed it fails until the file is closed and opened again.
    pub fn sync(&self, data_only: bool) -> Result<(), ContentError> {
        Ok(self.content.sync(data_only)?)
    }

    pub(super) fn geometry(&self) -> Geometry {
        self.volume.geometry
    }

    pub(super) fn with_live<R>(
        &self,
        read: impl FnOnce(&Live) -> Result<R, ContentError>,
    ) -> Option<Result<R, ContentError>> {
        self.state.read().as_ref().map(read)
    }

    /// The door of every change: what the file is, for this caller alone.
    pub(super) fn exclusive(&self) -> Result<RwLockWriteGuard<'_, Option<Live>>, ContentError> {
        let live = self.state.write();
        let bits = live.as_ref().map_or(0, |live| live.head.features.read_only.get());
        match bits {
            0 => Ok(live),
            bits => Err(ContentError::ReadOnly { node: self.node, bits }),
        }
    }

    /// A newborn, if the file will need one: made before the guard is taken, because the KMS may have to be asked.
    pub(super) fn newborn_ahead(&self) -> Result<Option<Live>, ContentError> {
        let unborn = self.state.read().is_none();
        unborn.then(|| self.newborn()).transpose()
    }

    /// What a change begins with: what the file is, or the newborn.
    pub(super) fn next(&self, live: &Option<Live>, newborn: Option<Live>) -> Result<Live, ContentError> {
        match (live, newborn) {
            (Some(live), _) => Ok(live.clone()),
            (None, Some(newborn)) => Ok(newborn),
            (None, None) => self.newborn(),
        }
    }

    /// What a file is when its first byte comes: a data key of its own, and no content.
    pub(super) fn newborn(&self) -> Result<Live, ContentError> {
        let claim = self.claim.lock().take();
        let fresh = self.volume.keyring.fresh(self.node, claim)?;
        let malformed = |source| ContentError::Malformed {
            node: self.node,
            source,
        };
        let head = Head {
            volume: self.volume.id,
            node: self.node,
            data_key: fresh.id,
            size: 0,
            chunk_size: self.geometry().chunk_size() as u32,
            body: Body::Inline,
            features: Features::default(),
            wrapped: Slot::new(&fresh.wrapped).map_err(malformed)?,
            wrapped_second: Slot::EMPTY,
            absent: Vec::new(),
        };
        Ok(Live { head, keys: fresh.keys })
    }

    /// The image of `live`'s head, sealed.
    pub(super) fn sealed_head(&self, live: &Live) -> Result<Vec<u8>, ContentError> {
        let malformed = |source| ContentError::Malformed {
            node: self.node,
            source,
        };
        let sealed = self
            .volume
            .keyring
            .with_volume(|volume| live.keys.with(|file| seal_head(&live.head, file, volume)))?;
        sealed?.map_err(malformed)
    }

    /// Runs `f` with the cipher of the file's chunks.
    pub(super) fn with_cipher<R>(&self, live: &Live, f: impl FnOnce(&ChunkCipher) -> R) -> Result<R, ContentError> {
        Ok(live.keys.with(|keys| f(&ChunkCipher::new(keys, self.node)))?)
    }

    /// Gives the store what `next` is, where it differs from `live`, together with `runs`.
    pub(super) fn put(&self, live: &mut Option<Live>, next: Live, edit: Edit<'_>) -> Result<(), ContentError> {
        let same = live.as_ref().is_some_and(|live| live.head == next.head);
        let head = match edit.page {
            Some(page) => Some(page),
            None if same => None,
            None => Some(self.sealed_head(&next)?),
        };
        self.content.put(&Change {
            head: head.as_deref(),
            runs: &edit.runs,
            together: edit.together && head.is_some(),
        })?;
        *live = Some(next);
        Ok(())
    }
}

/// What a call changes beside the head.
#[derive(Default)]
pub(super) struct Edit<'a> {
    /// The head with the body behind it, for an inline body.
    pub page: Option<Vec<u8>>,
    /// Chunks, sealed.
    pub runs: Vec<Run<'a>>,
    /// Whether the head, if it changes, and the chunks become durable as one.
    pub together: bool,
}
