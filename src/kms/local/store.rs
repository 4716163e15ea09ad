//! A store in use: opened, kept up to date with what other processes do to its file, changed under a lock.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::document::{self, FILE_MAX, Header};
use super::files::{self, Existing, Stamp};
use super::ring::Ring;
use super::root::{Root, RootKey};
use crate::kms::{Clock, KmsError, SystemClock};

const ABSENT: &str = "KeyStore.NotFound";
/// Seconds until what is due and could not be written is tried again.
const ADVANCE_PAUSE: u64 = 60;

/// An embedded key store. Cheap to share; each call sees what other processes have changed before it.
pub struct LocalStore {
    path: PathBuf,
    header: Header,
    pub(super) root: RootKey,
    pub(super) clock: Arc<dyn Clock>,
    loaded: Mutex<Loaded>,
    /// Not before this time, in seconds since the system started, this instance tries to write what is due. By that
    /// clock, because the other one may have been wrong.
    advance_from: AtomicU64,
}

/// The store as last read. The file stays open, so that its stamp stays its own.
struct Loaded {
    stamp: Stamp,
    ring: Arc<Ring>,
    _pin: File,
}

impl LocalStore {
    /// Makes an empty store at `path`, and its root key.
    ///
    /// # Errors
    /// `KeyStore.Exists`, `KeyStore.Permissions`, `KeyStore.Io`, or a root key file of something else.
    pub fn create(path: &Path, root: &Root) -> Result<LocalStore, KmsError> {
        LocalStore::create_with(path, root, Arc::new(SystemClock))
    }

    /// As [`LocalStore::create`], with a clock.
    ///
    /// # Errors
    /// As there.
    pub fn create_with(path: &Path, root: &Root, clock: Arc<dyn Clock>) -> Result<LocalStore, KmsError> {
        if std::fs::symlink_metadata(path).is_ok() {
            let message = "there is such a file already";
            return Err(KmsError::new("KeyStore.Exists", message).about(path.display().to_string()));
        }
        let (store, method, keys) = root.establish()?;
        let header = Header {
            store,
            root: method,
            check: keys.check().to_owned(),
        };
        let bytes = document::write(&header, &Ring::default(), &keys)?;
        files::publish(files::prepare(path, &bytes)?, path, Existing::Keep)?;
        LocalStore::open_with(path, root, clock)
    }

    /// Opens the store at `path`.
    ///
    /// # Errors
    /// `KeyStore.NotFound`, `.Permissions`, `.WrongPassphrase`, `.WrongRoot`, `.Damaged`, `.Newer`, `.Io`.
    pub fn open(path: &Path, root: &Root) -> Result<LocalStore, KmsError> {
        LocalStore::open_with(path, root, Arc::new(SystemClock))
    }

    /// As [`LocalStore::open`], with a clock.
    ///
    /// # Errors
    /// As there.
    pub fn open_with(path: &Path, root: &Root, clock: Arc<dyn Clock>) -> Result<LocalStore, KmsError> {
        let at_path = |error: KmsError| error.about(path.display().to_string());
        let file = files::read_private(path, FILE_MAX, ABSENT)?;
        let header = document::read_header(&file.bytes).map_err(at_path)?;
        let keys = root.unlock(&header.root, &header.store).map_err(at_path)?;
        if keys.check() != header.check {
            let (code, message) = match root {
                Root::File(_) => ("KeyStore.WrongRoot", "the root key does not belong to this key store"),
                Root::Passphrase(_) => ("KeyStore.WrongPassphrase", "the passphrase is not this key store's"),
            };
            return Err(at_path(KmsError::new(code, message)));
        }
        let ring = Arc::new(document::open(&file.bytes, &keys).map_err(at_path)?);
        let loaded = Mutex::new(Loaded {
            stamp: file.stamp,
            ring,
            _pin: file.pin,
        });
        Ok(LocalStore {
            path: path.to_owned(),
            header,
            root: keys,
            clock,
            loaded,
            advance_from: AtomicU64::new(0),
        })
    }

    /// Where the store's file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The store's id.
    pub fn id(&self) -> &str {
        &self.header.store
    }

    /// The keys as they are now: on disk, and with what time has brought since. Where that cannot be written, rotation
    /// waits, because a full disk must not take the data away; but material past its time is never used.
    pub(super) fn ring(&self) -> Result<Arc<Ring>, KmsError> {
        let (ring, now) = (self.on_disk()?, self.clock.unix());
        if !ring.is_due(now) {
            return Ok(ring);
        }
        if self.may_advance()
            && let Err(error) = self.rewrite(|_, _| Ok(()))
        {
            tracing::warn!("a master key is due for rotation or removal, and cannot be changed: {error}");
        }
        let mut ring = self.on_disk()?;
        Arc::make_mut(&mut ring).expire(now);
        Ok(ring)
    }

    /// Whether it is this call that tries to write what is due; the others do not wait for it.
    fn may_advance(&self) -> bool {
        let now = self.clock.uptime().as_secs();
        let from = self.advance_from.load(Ordering::Acquire);
        let next = now.saturating_add(ADVANCE_PAUSE);
        from <= now
            && self
                .advance_from
                .compare_exchange(from, next, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
    }

    fn on_disk(&self) -> Result<Arc<Ring>, KmsError> {
        let mut loaded = self.loaded.lock();
        if Stamp::at(&self.path, ABSENT)? != loaded.stamp {
            *loaded = self.load(loaded.ring.generation)?;
        }
        Ok(Arc::clone(&loaded.ring))
    }

    /// Reads the file again; it must still be this store, and not older than `known`.
    fn load(&self, known: u64) -> Result<Loaded, KmsError> {
        let replaced = |message| KmsError::new("KeyStore.Replaced", message);
        let file = files::read_private(&self.path, FILE_MAX, ABSENT)?;
        if document::read_header(&file.bytes)? != self.header {
            return Err(replaced(
                "another key store lies in the place of the one that was opened",
            ));
        }
        let ring = document::open(&file.bytes, &self.root)?;
        if ring.generation < known {
            return Err(replaced("an older copy of the key store was put in its place"));
        }
        Ok(Loaded {
            stamp: file.stamp,
            ring: Arc::new(ring),
            _pin: file.pin,
        })
    }

    /// Changes the keys, durably and as a whole: when `change` or the disk fails, all stays as it was. What is past its
    /// planned deletion goes too.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Ring, i64) -> Result<T, KmsError>) -> Result<T, KmsError> {
        self.rewrite(|ring, now| {
            ring.purge(now);
            change(ring, now)
        })
    }

    /// Carries out what is due, and `change`.
    fn rewrite<T>(&self, change: impl FnOnce(&mut Ring, i64) -> Result<T, KmsError>) -> Result<T, KmsError> {
        let _lock = files::lock(&self.path)?;
        let now = self.clock.unix();
        let mut ring = Ring::clone(&*self.on_disk()?);
        ring.advance(now, |key| self.root.new_version(key, now))?;
        let outcome = change(&mut ring, now)?;
        ring.generation = ring.generation.saturating_add(1);
        let bytes = document::write(&self.header, &ring, &self.root)?;
        files::publish(files::prepare(&self.path, &bytes)?, &self.path, Existing::Replace)?;
        Ok(outcome)
    }
}
