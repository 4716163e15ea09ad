//! The plain size of a file that is not open.

use std::io;

use super::ContentError;
use crate::crypto::head::open_head;
use crate::format::NodeId;
use crate::format::PAGE;
use crate::format::head::RawHead;
use crate::volume::Volume;

/// Plain bytes of `node`'s content, authenticated by the volume's key, so that no call to the KMS is needed.
/// `read` reads the beginning of the stored file; it is called only when the store has no newer head.
///
/// # Errors
/// [`ContentError`] when the head is not authentic, or the file was emptied.
pub fn stored_size(
    volume: &Volume,
    node: NodeId,
    born: bool,
    read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
) -> Result<u64, ContentError> {
    if let Some(content) = volume.store.peek(node) {
        let head = content.head()?;
        return size_of(volume, node, born, head.as_deref().unwrap_or_default());
    }
    let mut page = [0; PAGE];
    let len = read(&mut page).map_err(|source| ContentError::Unopened { node, source })?;
    size_of(volume, node, born, &page[..len])
}

fn size_of(volume: &Volume, node: NodeId, born: bool, page: &[u8]) -> Result<u64, ContentError> {
    let malformed = |source| ContentError::Malformed { node, source };
    match RawHead::parse(page).map_err(malformed)? {
        None if born => Err(ContentError::Emptied { node }),
        None => Ok(0),
        Some(raw) => {
            let opened = volume
                .keyring
                .with_volume(|keys| open_head(&raw, volume.id, node, keys))?;
            let head = opened.map_err(|_| ContentError::Head { node })?;
            Ok(head.size)
        }
    }
}
