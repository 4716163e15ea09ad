//! What can go wrong with a KMS, ordered by what helps: one table from Alibaba Cloud's error codes (and the
//! embedded key store's own) to remedy, errno, retry and help line. It retries nothing itself.

use std::borrow::Cow;
use std::fmt;

use rustix::io::Errno;
use serde::Serialize;

/// What helps, and so how a mount reacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Remedy {
    /// The KMS answers and refuses: key disabled or waiting for deletion, permission withdrawn. Locks a mount.
    Denied,
    /// The key or alias does not exist (any more). Locks a mount.
    Gone,
    /// Too many requests: later.
    Throttled,
    /// No answer, or none of use: later.
    Unreachable,
    /// Credentials, passphrase, store file or clock are wrong: somebody must put them right.
    Misconfigured,
    /// This one request cannot succeed: other context, damaged blob, wrong state for it.
    Rejected,
}

impl Remedy {
    /// Whether the owner of the key has taken it away: the mount goes dark.
    #[must_use]
    pub fn is_withdrawal(self) -> bool {
        matches!(self, Remedy::Denied | Remedy::Gone)
    }

    /// What a program sees when an open fails for this.
    #[must_use]
    pub fn errno(self) -> Errno {
        match self {
            Remedy::Denied => Errno::KEYREVOKED,
            Remedy::Gone | Remedy::Misconfigured => Errno::NOKEY,
            Remedy::Throttled => Errno::BUSY,
            Remedy::Unreachable => Errno::TIMEDOUT,
            Remedy::Rejected => Errno::KEYREJECTED,
        }
    }
}

/// Whether the same request may succeed when sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// No.
    Never,
    /// After a pause (reference, §3.4).
    Backoff,
    /// With fresh credentials.
    Refresh,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
struct Rule {
    code: &'static str,
    remedy: Remedy,
    retry: Retry,
    help: &'static str,
}

const fn rule(code: &'static str, remedy: Remedy, retry: Retry, help: &'static str) -> Rule {
    Rule {
        code,
        remedy,
        retry,
        help,
    }
}

const CREDENTIALS: &str = "check the access key, its token and the region the KMS is asked in";
const CLOCK: &str = "set the system clock: it is more than 15 minutes off";
const LATER: &str = "the KMS is overloaded or down; try again later";
const SLOWER: &str = "too many KMS requests for this account; ask for fewer, or for a higher quota";
const ACCOUNT: &str = "the account cannot use KMS; look at its state in the console";
const PERMISSION: &str = "grant kms:GenerateDataKey and kms:Decrypt on the key to this identity";
const REQUEST: &str = "the data may be damaged or belong to another volume or key";
const DAMAGED: &str = "restore the key store from a backup; without its master keys no volume of it can be opened";
const MATERIAL: &str = "get new import parameters and import the key material again";
const STATE: &str = "look at the key's state with `kmsfs key describe`";

/// The codes of Alibaba Cloud KMS (reference, §3.2), then kmsfs's own.
#[rustfmt::skip]
const TABLE: &[Rule] = {
    use Remedy::{Denied, Gone, Misconfigured, Rejected, Throttled, Unreachable};
    use Retry::{Backoff, Never, Refresh};
    &[
        rule("Rejected.Throttling", Throttled, Backoff, SLOWER),
        rule("Throttling", Throttled, Backoff, SLOWER),
        rule("Throttling.User", Throttled, Backoff, SLOWER),
        rule("Throttling.Api", Throttled, Backoff, SLOWER),
        rule("ServiceUnavailableTemporary", Unreachable, Backoff, LATER),
        rule("SerivceUnavailableTemporary", Unreachable, Backoff, LATER),
        rule("SerivceUnvailableTemporary", Unreachable, Backoff, LATER),
        rule("InternalFailure", Unreachable, Backoff, LATER),
        rule("Forbidden.DKMSInstanceStateInvalid", Unreachable, Never, "wait until the KMS instance is ready"),
        rule("Forbidden.DKMSInstanceNotFound", Gone, Never, "the KMS instance does not exist in this region"),
        rule("Forbidden.KeyNotFound", Gone, Never, "check key id and region; a deleted key cannot be brought back"),
        rule("Forbidden.KeyVersionNotFound", Gone, Never, "check key id and region; a deleted key cannot be brought back"),
        rule("Forbidden.AliasNotFound", Gone, Never, "list the aliases with `kmsfs key list`"),
        rule("Forbidden.NoPermission", Denied, Never, PERMISSION),
        rule("Forbidden.AccessKey", Denied, Never, PERMISSION),
        rule("Forbidden.KmsServiceNotEnabled", Denied, Never, "enable the KMS service for this account"),
        rule("Forbidden.ProhibitedByRiskControl", Denied, Never, ACCOUNT),
        rule("Forbidden.InDebtOverdue", Denied, Never, ACCOUNT),
        rule("Forbidden.InDebt", Denied, Never, ACCOUNT),
        rule("Forbidden.UbsmsInvalidUserid", Denied, Never, ACCOUNT),
        rule("Forbidden.UbsmsInvalidBid", Denied, Never, ACCOUNT),
        rule("Rejected.Disabled", Denied, Never, "enable the key with `kmsfs key enable`"),
        rule("Rejected.PendingDeletion", Denied, Never, "stop the deletion with `kmsfs key cancel-deletion`"),
        rule("Rejected.PendingImport", Denied, Never, "import the key's material first"),
        rule("Rejected.Unavailable", Denied, Never, "the key's KMS instance is gone; renew it"),
        rule("Rejected.Enabled", Rejected, Never, STATE),
        rule("Rejected.StateModifiedFailed", Rejected, Never, STATE),
        rule("Rejected.LimitExceeded", Rejected, Never, "delete what is not needed, or ask for a higher quota"),
        rule("Rejected.ShareQuotaExceedLimit", Rejected, Never, "ask for a higher quota of the KMS instance"),
        rule("Rejected.UnsupportedOperation", Rejected, Never, "this kind of key cannot do that"),
        rule("UnsupportedOperation", Rejected, Never, "this KMS or this kind of key cannot do that"),
        rule("MissingParameter", Rejected, Never, REQUEST),
        rule("InvalidParameter", Rejected, Never, REQUEST),
        rule("ParseRequestParameterException", Rejected, Never, REQUEST),
        rule("AliasAlreadyExists", Rejected, Never, "choose another name, or move the alias to this key"),
        rule("Unsupported.Alias", Rejected, Never, "give the key's id instead of an alias"),
        rule("Unsupported.Origin", Rejected, Never, "this kind of key cannot do that"),
        rule("Unsupported.ProtectionLevel", Rejected, Never, "choose another protection level"),
        rule("InvalidKeyMaterial", Rejected, Never, MATERIAL),
        rule("InvalidImportToken", Rejected, Never, MATERIAL),
        rule("ExpiredImportToken", Rejected, Never, MATERIAL),
        rule("InvalidAccessKeyId.NotFound", Misconfigured, Refresh, CREDENTIALS),
        rule("InvalidAccessKeyId.Inactive", Denied, Never, "the access key was switched off; enable it or use another"),
        rule("SignatureDoesNotMatch", Misconfigured, Never, CREDENTIALS),
        rule("InvalidAccessKeySecret", Misconfigured, Never, CREDENTIALS),
        rule("IncompleteSignature", Misconfigured, Never, CREDENTIALS),
        rule("InvalidTimeStamp.Expired", Misconfigured, Never, CLOCK),
        rule("IllegalTimestamp", Misconfigured, Never, CLOCK),
        rule("SignatureNonceUsed", Unreachable, Backoff, LATER),
        rule("InvalidSecurityToken.Expired", Misconfigured, Refresh, CREDENTIALS),
        rule("InvalidSecurityToken.Malformed", Misconfigured, Refresh, CREDENTIALS),
        rule("InvalidSecurityToken.MismatchWithAccessKey", Misconfigured, Refresh, CREDENTIALS),
        rule("MissingSecurityToken", Misconfigured, Refresh, CREDENTIALS),
        rule("InvalidAction.NotFound", Misconfigured, Never, "check the endpoint: it does not serve this KMS API"),
        rule("InvalidVersion", Misconfigured, Never, "check the endpoint: it does not serve this KMS API"),
        rule("UnsupportedHTTPMethod", Misconfigured, Never, "check the endpoint: it does not serve this KMS API"),
        // The way to a KMS, and answers that are none.
        rule("Kms.Unreachable", Unreachable, Backoff, "check the network and the KMS endpoint"),
        rule("Kms.Timeout", Unreachable, Backoff, "check the network and the KMS endpoint"),
        rule("Kms.Spared", Unreachable, Never, "check the network and the KMS endpoint; it is asked again within seconds"),
        rule("Kms.Untrusted", Unreachable, Never, "check the endpoint, the clock, and --kms-ca-file if the endpoint has a CA of its own"),
        rule("Kms.BadAnswer", Unreachable, Never, "check the endpoint: what answered does not speak the KMS API"),
        rule("Kms.RateLimited", Throttled, Never, "open fewer files at a time, or allow more requests with --kms-rate"),
        rule("Kms.WrongKey", Rejected, Never, "the KMS gave a key that was not asked for; do not trust this endpoint"),
        rule("Kms.Endpoint", Misconfigured, Never, "say where the KMS is with --region REGION or --endpoint HOST"),
        rule("Kms.NoCredentials", Misconfigured, Never, "set ALIBABA_CLOUD_ACCESS_KEY_ID and _SECRET, or another source of the default chain"),
        rule("Kms.CredentialsUnavailable", Unreachable, Backoff, "check the way to the service that gives the credentials"),
        rule("Ephemeral.Destroyed", Gone, Never, "unmount it: what it held cannot be read any more; and mount a new one"),
        // The embedded key store.
        rule("KeyStore.NotFound", Misconfigured, Never, "name the store with --key-store, or make one with `kmsfs key create`"),
        rule("KeyStore.Exists", Misconfigured, Never, "use the store that is there, or name another place"),
        rule("KeyStore.RootNotFound", Misconfigured, Never, "put the store's root key file back beside it; without it no key can be read"),
        rule("KeyStore.WrongPassphrase", Misconfigured, Never, "give the passphrase that this store was made with"),
        rule("KeyStore.WrongRoot", Misconfigured, Never, "the root key belongs to another store; put the right one back"),
        rule("KeyStore.Damaged", Misconfigured, Never, DAMAGED),
        rule("KeyStore.Newer", Misconfigured, Never, "use a newer kmsfs"),
        rule("KeyStore.Permissions", Misconfigured, Never, "make it readable for its owner only: chmod 600"),
        rule("KeyStore.Replaced", Misconfigured, Never, "another store lies in its place; put the right one back"),
        rule("KeyStore.Io", Unreachable, Never, "check that the key store's directory is there, writable and not full"),
    ]
};

fn lookup(code: &str, status: u16) -> Rule {
    use Remedy::{Denied, Rejected, Throttled, Unreachable};
    if let Some(found) = TABLE.iter().find(|rule| rule.code == code) {
        return *found;
    }
    match status {
        _ if code.starts_with("Throttling") => rule("", Throttled, Retry::Backoff, SLOWER),
        429 => rule("", Throttled, Retry::Backoff, SLOWER),
        500.. => rule("", Unreachable, Retry::Backoff, LATER),
        401 | 403 => rule("", Denied, Retry::Never, PERMISSION),
        _ => rule("", Rejected, Retry::Never, REQUEST),
    }
}

/// A refusal or failure of a KMS.
#[derive(Clone)]
pub struct KmsError(Box<Facts>);

#[derive(Clone)]
struct Facts {
    code: Cow<'static, str>,
    message: String,
    kms: String,
    key: Option<String>,
    request_id: Option<String>,
    rule: Rule,
}

impl KmsError {
    /// An error of the table: `code` is one of Alibaba's or of kmsfs's own.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> KmsError {
        KmsError::answered(code, 400, message)
    }

    /// An error as a KMS answered it: where the table does not know the code, the HTTP status decides.
    pub fn answered(code: impl Into<Cow<'static, str>>, status: u16, message: impl Into<String>) -> KmsError {
        let code = code.into();
        let rule = lookup(&code, status);
        KmsError(Box::new(Facts {
            code,
            message: message.into(),
            kms: String::new(),
            key: None,
            request_id: None,
            rule,
        }))
    }

    /// Says which KMS it was, as [`super::Kms::describe`] names it.
    #[must_use]
    pub fn at(mut self, kms: impl Into<String>) -> KmsError {
        self.0.kms = kms.into();
        self
    }

    /// Says which key, alias or file it was about.
    #[must_use]
    pub fn about(mut self, key: impl Into<String>) -> KmsError {
        self.0.key.get_or_insert(key.into());
        self
    }

    /// The id under which the KMS remembers the request.
    #[must_use]
    pub fn request(mut self, id: impl Into<String>) -> KmsError {
        self.0.request_id = Some(id.into());
        self
    }

    /// The code, Alibaba's or kmsfs's own.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// What was said about it.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The key, alias or file it was about.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.0.key.as_deref()
    }

    /// The id of the request, when the KMS gave one.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// What helps.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        self.0.rule.remedy
    }

    /// Whether and how the request may be tried again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.0.rule.retry
    }

    /// Whether another request would very likely fail the same way.
    #[must_use]
    pub fn concerns_all(&self) -> bool {
        !matches!(self.remedy(), Remedy::Rejected | Remedy::Gone)
    }

    /// What a program sees.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.remedy().errno()
    }

    /// What to do, as one line without full stop.
    #[must_use]
    pub fn help(&self) -> &'static str {
        self.0.rule.help
    }
}

impl fmt::Display for KmsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = &*self.0;
        if !facts.kms.is_empty() {
            write!(f, "{}: ", facts.kms)?;
        }
        if let Some(key) = &facts.key {
            write!(f, "{key}: ")?;
        }
        write!(f, "{} ({}", facts.message, facts.code)?;
        if let Some(id) = &facts.request_id {
            write!(f, ", request {id}")?;
        }
        f.write_str(")")
    }
}

impl fmt::Debug for KmsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KmsError({:?}, {self})", self.remedy())
    }
}

impl std::error::Error for KmsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_stands_once_and_has_help() {
        for (i, rule) in TABLE.iter().enumerate() {
            assert!(!rule.help.is_empty() && !rule.help.ends_with('.'), "{}", rule.code);
            assert!(TABLE[..i].iter().all(|other| other.code != rule.code), "{}", rule.code);
        }
    }

    #[test]
    fn known_code_goes_before_status() {
        let error = KmsError::answered("Forbidden.NoPermission", 400, "m");
        assert_eq!(error.remedy(), Remedy::Denied);
        assert_eq!(error.errno(), Errno::KEYREVOKED);
        assert_eq!(error.retry(), Retry::Never);
        assert!(error.remedy().is_withdrawal());
    }

    #[test]
    fn unknown_code_goes_by_status() {
        let remedy = |code: &'static str, status| KmsError::answered(code, status, "m").remedy();
        assert_eq!(remedy("New.Code", 503), Remedy::Unreachable);
        assert_eq!(remedy("New.Code", 429), Remedy::Throttled);
        assert_eq!(remedy("New.Code", 403), Remedy::Denied);
        assert_eq!(remedy("New.Code", 404), Remedy::Rejected);
        assert_eq!(remedy("Throttling.Other", 400), Remedy::Throttled);
    }

    #[test]
    fn message_names_everything() {
        let error = KmsError::new("Rejected.Disabled", "key is Disabled")
            .at("key store /k")
            .about("alias/a")
            .about("other")
            .request("r-1");
        assert_eq!(
            error.to_string(),
            "key store /k: alias/a: key is Disabled (Rejected.Disabled, request r-1)"
        );
        assert_eq!(error.help(), "enable the key with `kmsfs key enable`");
        assert_eq!((error.key(), error.request_id()), (Some("alias/a"), Some("r-1")));
    }
}
