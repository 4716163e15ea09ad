//! Material that is not the KMS's own: what a key of external origin holds, takes and loses.

use super::master_key::{Import, MasterKey, Origin, Version};
use super::permit::Operation;
use crate::kms::{KeyState, KmsError};

impl MasterKey {
    pub(super) fn check_external(&self) -> Result<(), KmsError> {
        match self.origin {
            Origin::External => Ok(()),
            Origin::Kms => Err(KmsError::new(
                "Unsupported.Origin",
                "the key's material is not imported",
            )),
        }
    }

    /// The version that imported material belongs to, whether it is there or not.
    pub(super) fn imported_version(&self) -> Option<&Version> {
        self.versions.last().filter(|_| self.origin == Origin::External)
    }

    pub(super) fn material_expires(&self) -> Option<i64> {
        self.import.as_ref()?.expires
    }

    /// Whether imported material is there and past its time.
    pub(super) fn material_is_over(&self, now: i64) -> bool {
        self.material_expires().is_some_and(|at| at <= now)
    }

    /// What it is when it is neither disabled nor to be deleted.
    pub(super) fn state_at_rest(&self) -> KeyState {
        match self.has_material() {
            true => KeyState::Enabled,
            false => KeyState::PendingImport,
        }
    }

    fn has_material(&self) -> bool {
        self.versions.last().is_some_and(|version| !version.sealed.is_empty())
    }

    /// Takes material that `check` describes, sealed in its one version. A disabled key stays disabled.
    pub(super) fn import(
        &mut self,
        version: Version,
        check: String,
        expires: Option<i64>,
        now: i64,
    ) -> Result<(), KmsError> {
        self.check_external()?;
        self.permit(Operation::Import)?;
        if expires.is_some_and(|at| at <= now) {
            let message = "the time at which the material shall expire is past";
            return Err(KmsError::new("InvalidParameter", message));
        }
        if self.import.as_ref().is_some_and(|known| known.check != check) {
            let message = "the key had other material before, and takes only the same again";
            return Err(KmsError::new("InvalidKeyMaterial", message));
        }
        self.import = Some(Import { check, expires });
        self.versions = vec![version];
        if self.state == KeyState::PendingImport {
            self.state = KeyState::Enabled;
        }
        Ok(())
    }

    /// Removes the material for good from this store; the version stays, so that it can come again.
    pub(super) fn drop_material(&mut self) {
        self.versions.iter_mut().for_each(|version| version.sealed.clear());
        if let Some(import) = &mut self.import {
            import.expires = None;
        }
        if self.state != KeyState::PendingDeletion {
            self.state = KeyState::PendingImport;
        }
    }

    /// Whether versions, import and state fit each other.
    pub(super) fn material_is_sound(&self) -> bool {
        let waits = self.state == KeyState::PendingImport;
        match self.origin {
            Origin::Kms => {
                let full = self.versions.iter().all(|version| !version.sealed.is_empty());
                !self.versions.is_empty() && full && self.import.is_none() && !waits
            }
            Origin::External => {
                let here = self.has_material();
                self.is_symmetric()
                    && self.versions.len() == usize::from(self.import.is_some())
                    && (here || self.material_expires().is_none())
                    && (self.state == KeyState::PendingDeletion || waits != here)
            }
        }
    }
}
