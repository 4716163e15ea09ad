//! What all calls have in common: errors that say which store and which key, answers that say which version.

use crate::kms::local::LocalStore;
use crate::kms::local::master_key::{MasterKey, Version};
use crate::kms::{Direct, Kms, KmsError};

impl LocalStore {
    /// Says in an error which store it was, and which key unless it says that already.
    pub(super) fn named<T>(
        &self,
        key: Option<&str>,
        call: impl FnOnce() -> Result<T, KmsError>,
    ) -> Result<T, KmsError> {
        call().map_err(|error| {
            let error = error.at(self.describe());
            match key {
                Some(key) => error.about(key.escape_debug().to_string()),
                None => error,
            }
        })
    }

    /// Looks at one key.
    pub(super) fn look<T>(
        &self,
        key: &str,
        look: impl FnOnce(&MasterKey) -> Result<T, KmsError>,
    ) -> Result<T, KmsError> {
        self.named(Some(key), || look(self.ring()?.find(key, self.clock.unix())?))
    }

    /// Changes one key, durably.
    pub(super) fn change(
        &self,
        key: &str,
        change: impl FnOnce(&mut MasterKey, i64) -> Result<(), KmsError>,
    ) -> Result<(), KmsError> {
        self.named(Some(key), || {
            self.update(|ring, now| change(ring.find_mut(key, now)?, now))
        })
    }
}

pub(super) fn direct<T>(master: &MasterKey, version: &Version, data: T) -> Direct<T> {
    Direct {
        key: master.id.clone(),
        version: version.id.clone(),
        data,
    }
}
