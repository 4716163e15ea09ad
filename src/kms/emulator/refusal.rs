//! Why a request is refused, as the KMS says it: code, HTTP status, message, and which of the two that stand in a
//! request's way says so (reference, §3).

use std::borrow::Cow;

use crate::kms::KmsError;

/// Who refuses; their answers differ in shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The KMS itself.
    Kms,
    /// The gateway in front of it: who asks, when, and for what.
    Gateway,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub code: Cow<'static, str>,
    pub status: u16,
    pub message: String,
    pub origin: Origin,
}

/// The codes of §3.2 that can come up here, with the status and message of each. Of messages that end with a colon
/// the rest says what exactly is wrong.
#[rustfmt::skip]
const TABLE: &[(&str, u16, &str)] = &[
    ("Rejected.Throttling", 429, "QPS Limit Exceeded"),
    ("ServiceUnavailableTemporary", 503, "Service Unavailable Temporary"),
    ("InternalFailure", 500, "Internal Failure."),
    ("Forbidden.KeyNotFound", 404, "The specified Key is not found."),
    ("Forbidden.KeyVersionNotFound", 404, "The specified key version is not found."),
    ("Forbidden.AliasNotFound", 404, "The specified Alias is not found."),
    ("Rejected.Disabled", 409, "The request was rejected because the key state is Disabled."),
    ("Rejected.PendingDeletion", 409, "The request was rejected because the key state is PendingDeletion."),
    ("Rejected.PendingImport", 409, "The request was rejected because the key state is PendingImport."),
    ("Rejected.StateModifiedFailed", 409, "Keystate modified failed."),
    ("Rejected.LimitExceeded", 400, "The request was rejected because user create resource limit was exceeded"),
    ("Rejected.UnsupportedOperation", 400, "Unsupported operation."),
    ("UnsupportedOperation", 400, "This action is not supported."),
    ("InvalidParameter", 400, "The specified parameter is not valid:"),
    ("AliasAlreadyExists", 400, "AliasName Already Exists."),
    ("Unsupported.Alias", 400, "Alias is not valid for this api."),
    ("Unsupported.Origin", 400, "This key origin is not valid for this api"),
    ("InvalidKeyMaterial", 400, "key material is invalid"),
    ("InvalidImportToken", 400, "import token is invalid"),
    ("ExpiredImportToken", 400, "import token is expired"),
    ("Unsupported.ProtectionLevel", 400, "This protection level is not valid for this api"),
];

impl Refusal {
    fn new(origin: Origin, code: impl Into<Cow<'static, str>>, status: u16, message: impl Into<String>) -> Refusal {
        Refusal {
            code: code.into(),
            status,
            message: message.into(),
            origin,
        }
    }

    /// A refusal by the KMS with a code of the table.
    pub(super) fn kms(code: &'static str) -> Refusal {
        Refusal::from(KmsError::new(code, ""))
    }

    /// A refusal that a test ordered.
    pub(super) fn ordered(code: String, status: u16, message: String) -> Refusal {
        Refusal::new(Origin::Kms, code, status, message)
    }

    /// A parameter of an action that is not there.
    pub(super) fn missing(name: &str) -> Refusal {
        let message = format!("The parameter \"{name}\" is needed but not provided.");
        Refusal::new(Origin::Kms, "MissingParameter", 400, message)
    }

    /// A parameter of an action that has a value it cannot have.
    pub(super) fn invalid(name: &str) -> Refusal {
        let message = format!("The specified parameter \"{name}\" is not valid.");
        Refusal::new(Origin::Kms, "InvalidParameter", 400, message)
    }

    /// The permission system says no.
    pub(super) fn no_permission(resource: &str) -> Refusal {
        let message = format!("This operation for {resource} is forbidden by permission system.");
        Refusal::new(Origin::Kms, "Forbidden.NoPermission", 403, message)
    }

    /// The gateway refuses, with a code that is its own.
    pub(super) fn gateway(code: &'static str, status: u16, message: impl Into<String>) -> Refusal {
        Refusal::new(Origin::Gateway, code, status, message)
    }

    /// Something that the gateway must be told in each request was not said.
    pub(super) fn unsaid(name: &str) -> Refusal {
        let message = format!("The parameter \"{name}\" is needed but not provided.");
        Refusal::gateway("MissingParameter", 400, message)
    }

    /// A signature in no form that is known here.
    pub(super) fn signature(why: &str) -> Refusal {
        let message = format!("The request signature does not conform to Aliyun standards: {why}.");
        Refusal::gateway("IncompleteSignature", 400, message)
    }
}

impl From<KmsError> for Refusal {
    /// What the store's own troubles are is not for clients; they are in the log.
    fn from(error: KmsError) -> Refusal {
        let known = TABLE.iter().find(|(code, _, _)| *code == error.code());
        let Some((code, status, message)) = known else {
            tracing::error!("{error}");
            return Refusal::new(Origin::Kms, "InternalFailure", 500, "Internal Failure.");
        };
        let message = match message.strip_suffix(':') {
            Some(plain) if error.message().is_empty() => format!("{plain}."),
            Some(_) => format!("{message} {}.", error.message()),
            None => (*message).to_owned(),
        };
        Refusal::new(Origin::Kms, *code, *status, message)
    }
}
