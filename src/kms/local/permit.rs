//! The table of key states and operations (reference, §1.10).

use crate::kms::KeyState;

/// What is asked of a key, as far as its state decides whether it may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Encrypt, Decrypt, GenerateDataKey and what builds on them; also all that asymmetric keys do, and
    /// GetPublicKey, of which the reference says nothing (§10: as Encrypt).
    Crypto,
    /// A new version, another rotation policy.
    Rotate,
    /// Everything that only looks, DeleteAlias, GetParametersForImport, DeleteKeyMaterial.
    Look,
    /// Description, tags, deletion protection.
    Describe,
    /// EnableKey, DisableKey.
    Switch,
    /// ScheduleKeyDeletion.
    ScheduleDeletion,
    /// CancelKeyDeletion.
    CancelDeletion,
    /// CreateAlias.
    CreateAlias,
    /// UpdateAlias; the state is that of the new target.
    UpdateAlias,
    /// ImportKeyMaterial.
    Import,
}

/// The code that `operation` gets on a key in `state`, or none.
///
/// # Errors
/// The code.
pub fn permitted(operation: Operation, state: KeyState) -> Result<(), &'static str> {
    use KeyState::{Disabled, Enabled, PendingDeletion, PendingImport};
    use Operation::{
        CancelDeletion, CreateAlias, Crypto, Describe, Import, Look, Rotate, ScheduleDeletion, Switch, UpdateAlias,
    };
    const UNCHANGED: &str = "Rejected.StateModifiedFailed";
    match (operation, state) {
        (Crypto | Rotate, Disabled) => Err("Rejected.Disabled"),
        (Crypto | Rotate | Describe | UpdateAlias, PendingDeletion) => Err("Rejected.PendingDeletion"),
        (Crypto | Rotate, PendingImport) => Err("Rejected.PendingImport"),
        (Switch, PendingDeletion | PendingImport) => Err(UNCHANGED),
        (ScheduleDeletion | CreateAlias | Import, PendingDeletion) => Err(UNCHANGED),
        (CancelDeletion, Enabled | Disabled | PendingImport) => Err(UNCHANGED),
        (Look, _)
        | (CancelDeletion, PendingDeletion)
        | (Crypto | Rotate, Enabled)
        | (Describe | UpdateAlias | ScheduleDeletion | CreateAlias | Import, _)
        | (Switch, Enabled | Disabled) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_states() {
        use KeyState::{Disabled, Enabled, PendingDeletion, PendingImport};
        const SMF: &str = "Rejected.StateModifiedFailed";
        const DIS: &str = "Rejected.Disabled";
        const DEL: &str = "Rejected.PendingDeletion";
        const IMP: &str = "Rejected.PendingImport";
        let table = [
            (Operation::Crypto, ["", DIS, DEL, IMP]),
            (Operation::Rotate, ["", DIS, DEL, IMP]),
            (Operation::Look, ["", "", "", ""]),
            (Operation::Describe, ["", "", DEL, ""]),
            (Operation::Switch, ["", "", SMF, SMF]),
            (Operation::ScheduleDeletion, ["", "", SMF, ""]),
            (Operation::CancelDeletion, [SMF, SMF, "", SMF]),
            (Operation::CreateAlias, ["", "", SMF, ""]),
            (Operation::UpdateAlias, ["", "", DEL, ""]),
            (Operation::Import, ["", "", SMF, ""]),
        ];
        for (operation, row) in table {
            for (state, code) in [Enabled, Disabled, PendingDeletion, PendingImport].into_iter().zip(row) {
                let got = permitted(operation, state).err().unwrap_or("");
                assert_eq!(got, code, "{operation:?} in {state}");
            }
        }
    }
}
