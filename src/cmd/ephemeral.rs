//! `kmsfs mount --ephemeral`: a volume made for one mount, whose master key is in the memory of this process only.

use std::sync::Arc;

use super::origin::Origin;
use super::spool::Spool;
use super::{Failure, dead, fence};
use crate::config::MountSettings;
use crate::format::Geometry;
use crate::format::descriptor::{KmsKind, Overwrite};
use crate::kms::ephemeral::EphemeralKms;
use crate::volume::{self, Creation};

/// Plain bytes of a chunk.
const CHUNK: u32 = 4096;

/// Makes the volume.
///
/// # Errors
/// Its directory cannot be made.
pub fn origin(settings: &MountSettings) -> Result<Origin, Failure> {
    let (location, point) = (&settings.backing, &settings.mountpoint);
    fence::keep_out_of_dumps();
    // What it held cannot be read any more; what it hides is what is looked at next.
    dead::clear(point)?;
    let like = rustix::fs::stat(point).map_err(|errno| Failure::io("looking at", point, &errno.into()))?;
    let made = Spool::make(dead::open_below(location)?, &like);
    let (spool, root) = made.map_err(|error| Failure::io("making a directory in", location, &error))?;
    let kms = Arc::new(EphemeralKms::new());
    let creation = Creation {
        geometry: Geometry::new(CHUNK).ok_or_else(|| Failure::internal("the chunk size is wrong"))?,
        // Without a journal: nothing is left to be repaired after a crash.
        overwrite: Overwrite::InPlace,
        kms: KmsKind::Ephemeral,
        region: String::new(),
        endpoint: String::new(),
        master_key: kms.master_key().to_owned(),
    };
    volume::create(&root, &*kms, &creation).map_err(|error| Failure::volume(location, error))?;
    let note = format!(
        "note: what is written to {} is gone when it is unmounted or locked",
        point.display()
    );
    Ok(Origin {
        root,
        kms,
        kind: KmsKind::Ephemeral,
        spool: Some(spool),
        notes: vec![note],
    })
}
