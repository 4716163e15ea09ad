//! Which actions there are.

use serde_json::Value;

use super::{Arguments, aliases, asymmetric, import, keys, states, symmetric, tags, versions};
use crate::kms::emulator::refusal::Refusal;

/// One action of the API.
pub(in crate::kms::emulator) struct Action {
    pub name: &'static str,
    /// Whether it changes the store; such actions run one at a time.
    pub changes: bool,
    pub run: fn(&Arguments<'_>) -> Result<Value, Refusal>,
}

const fn look(name: &'static str, run: fn(&Arguments<'_>) -> Result<Value, Refusal>) -> Action {
    Action {
        name,
        changes: false,
        run,
    }
}

const fn change(name: &'static str, run: fn(&Arguments<'_>) -> Result<Value, Refusal>) -> Action {
    Action {
        name,
        changes: true,
        run,
    }
}

/// The actions, in the order of the reference's §1.6 to §1.9.
#[rustfmt::skip]
static TABLE: &[Action] = &[
    change("CreateKey", keys::create),
    look("DescribeKey", keys::describe),
    look("ListKeys", keys::list),
    change("UpdateKeyDescription", keys::set_description),
    change("CreateAlias", aliases::create),
    change("UpdateAlias", aliases::update),
    change("DeleteAlias", aliases::delete),
    look("ListAliases", aliases::list),
    look("ListAliasesByKeyId", aliases::list_by_key),
    change("EnableKey", states::enable),
    change("DisableKey", states::disable),
    change("ScheduleKeyDeletion", states::schedule_deletion),
    change("CancelKeyDeletion", states::cancel_deletion),
    change("SetDeletionProtection", states::set_deletion_protection),
    change("TagResource", tags::tag),
    change("UntagResource", tags::untag),
    look("ListResourceTags", tags::list),
    change("CreateKeyVersion", versions::create),
    look("ListKeyVersions", versions::list),
    look("DescribeKeyVersion", versions::describe),
    change("UpdateRotationPolicy", versions::set_rotation),
    look("GetParametersForImport", import::parameters),
    change("ImportKeyMaterial", import::import),
    change("DeleteKeyMaterial", import::delete),
    look("Encrypt", symmetric::encrypt),
    look("Decrypt", symmetric::decrypt),
    look("GenerateDataKey", symmetric::generate),
    look("GenerateDataKeyWithoutPlaintext", symmetric::generate_without_plaintext),
    look("ReEncrypt", symmetric::re_encrypt),
    look("GenerateAndExportDataKey", symmetric::generate_and_export),
    look("ExportDataKey", symmetric::export),
    look("AsymmetricSign", asymmetric::sign),
    look("AsymmetricVerify", asymmetric::verify),
    look("AsymmetricEncrypt", asymmetric::encrypt),
    look("AsymmetricDecrypt", asymmetric::decrypt),
    look("GetPublicKey", asymmetric::public_key),
];

/// The action of that name; names are case-sensitive.
pub(in crate::kms::emulator) fn find(name: &str) -> Option<&'static Action> {
    TABLE.iter().find(|action| action.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_once() {
        for (i, action) in TABLE.iter().enumerate() {
            assert!(std::ptr::eq(find(action.name).unwrap(), &TABLE[i]), "{}", action.name);
        }
        assert!(find("encrypt").is_none() && find("").is_none());
    }
}
