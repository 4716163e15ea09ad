//! What the head of a file that is not open says: its plain size, and its data key. It is authenticated by the volume's
//! key, so that no call to the KMS is needed.

use std::io;

use super::ContentError;
use crate::crypto::head::open_head;
use crate::format::head::{Head, RawHead};
use crate::format::{DataKeyId, NodeId, PAGE, WrappedKey};
use crate::volume::Volume;

/// Plain bytes of `node`'s content. `read` reads the beginning of the stored file; it is called only when the store
/// has no newer head.
///
/// # Errors
/// [`ContentError`] when the head is not authentic, or the file was emptied.
pub fn stored_size(
    volume: &Volume,
    node: NodeId,
    born: bool,
    read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
) -> Result<u64, ContentError> {
    match stored_head(volume, node, read)? {
        Some(head) => Ok(head.size),
        None if born => Err(ContentError::Emptied { node }),
        None => Ok(0),
    }
}

/// The data key of `node`'s content, wrapped; none for an empty file. `read` as for [`stored_size`].
///
/// # Errors
/// [`ContentError`] when the head is not authentic.
pub fn stored_key(
    volume: &Volume,
    node: NodeId,
    read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
) -> Result<Option<(DataKeyId, WrappedKey)>, ContentError> {
    let Some(head) = stored_head(volume, node, read)? else {
        return Ok(None);
    };
    let wrapped = head.wrapped.get();
    let wrapped = wrapped.map_err(|source| ContentError::Malformed { node, source })?;
    Ok(wrapped.map(|wrapped| (head.data_key, wrapped)))
}

fn stored_head(
    volume: &Volume,
    node: NodeId,
    read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
) -> Result<Option<Head>, ContentError> {
    if let Some(content) = volume.store.peek(node) {
        let head = content.head()?;
        return believed(volume, node, head.as_deref().unwrap_or_default());
    }
    let mut page = [0; PAGE];
    let len = read(&mut page).map_err(|source| ContentError::Unopened { node, source })?;
    believed(volume, node, &page[..len])
}

fn believed(volume: &Volume, node: NodeId, page: &[u8]) -> Result<Option<Head>, ContentError> {
    let malformed = |source| ContentError::Malformed { node, source };
    let Some(raw) = RawHead::parse(page).map_err(malformed)? else {
        return Ok(None);
    };
    let opened = volume
        .keyring
        .with_volume(|keys| open_head(&raw, volume.id, node, keys))?;
    opened.map(Some).map_err(|_| ContentError::Head { node })
}
