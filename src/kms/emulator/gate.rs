//! The gateway in front of the KMS: it lets a request in whose claim is proved, in time, and new.

use jiff::Timestamp;
use parking_lot::Mutex;

use super::access_keys::{AccessKey, AccessKeys};
use super::claim::{Claim, Proof};
use super::nonces::{Nonces, SKEW, Seen};
use super::refusal::Refusal;
use super::wire::Received;
use crate::kms::signature::{Acs3, Acs4, Request, Rpc1, Scope};

/// The version of the API.
pub(super) const VERSION: &str = "2016-01-20";
/// The product's name in the scope of V4 signatures.
const PRODUCT: &str = "Kms";
/// The older SDK compares this text, and takes what follows for our string to sign.
const MISMATCH: &str = "Specified signature is not matched with our calculation. server string to sign is:";

/// The gateway.
pub(super) struct Gate {
    keys: AccessKeys,
    region: String,
    nonces: Mutex<Nonces>,
}

impl Gate {
    pub(super) fn new(keys: AccessKeys, region: String) -> Gate {
        Gate {
            keys,
            region,
            nonces: Mutex::default(),
        }
    }

    /// Believes a claim. `now` is in seconds since 1970; the session tokens of the access keys `expired` are stale.
    ///
    /// # Errors
    /// The gateway's refusals of §3.2.
    pub(super) fn admit(
        &self,
        received: &Received,
        claim: &Claim<'_>,
        now: i64,
        expired: &[String],
    ) -> Result<(), Refusal> {
        if claim.version != VERSION {
            let message = "Specified parameter Version is not valid.";
            return Err(Refusal::gateway("InvalidVersion", 400, message));
        }
        let unknown = || Refusal::gateway("InvalidAccessKeyId.NotFound", 404, "Specified access key is not found.");
        let key = self.keys.get(claim.access_key).ok_or_else(unknown)?;
        let time = in_time(claim.time, now)?;
        check_token(key, claim, expired)?;
        self.verify(key, received, claim)?;
        // Only now: nobody without the secret uses a nonce up. Where there is none, the signature is as good.
        let nonce = claim.nonce.unwrap_or(claim.proof.signature());
        match self.nonces.lock().meet(claim.access_key, nonce, time, now) {
            Seen::New => Ok(()),
            Seen::Used => {
                let message = "Specified signature nonce was used already.";
                Err(Refusal::gateway("SignatureNonceUsed", 400, message))
            }
            Seen::Full => Err(Refusal::kms("Rejected.Throttling")),
        }
    }

    fn verify(&self, key: &AccessKey, received: &Received, claim: &Claim<'_>) -> Result<(), Refusal> {
        let request = Request {
            method: &received.method,
            query: &received.query,
            headers: &received.headers,
            body_hash: &received.body_hash,
        };
        let (good, signed) = match &claim.proof {
            Proof::Rpc1 { signature } => {
                let rpc = Rpc1::new(&received.method, &received.parameters);
                (rpc.verify(&key.secret, signature), rpc.string_to_sign().to_owned())
            }
            Proof::Acs3 { signed, signature } => {
                let acs = Acs3::over(request, signed);
                (acs.verify(&key.secret, signature), acs.string_to_sign().to_owned())
            }
            Proof::Acs4 {
                scope,
                signed,
                signature,
            } => {
                let acs = Acs4::over(request, signed);
                let date: String = claim.time.chars().take(10).filter(|c| *c != '-').collect();
                let expected = Scope {
                    date: &date,
                    region: &self.region,
                    product: PRODUCT,
                };
                let text = format!("{date}/{}/{PRODUCT}/{}", self.region, Acs4::TERMINATOR);
                let good = *scope == text && acs.verify(&key.secret, expected, signature);
                (good, acs.string_to_sign().to_owned())
            }
        };
        match good {
            true => Ok(()),
            false => Err(Refusal::gateway(
                "SignatureDoesNotMatch",
                400,
                format!("{MISMATCH}{signed}"),
            )),
        }
    }
}

/// The time that a request claims, if that is near `now`.
fn in_time(text: &str, now: i64) -> Result<i64, Refusal> {
    // One form only, and not all that jiff knows.
    let form = text.len() == 20 && text.as_bytes()[10] == b'T' && text.ends_with('Z');
    let time = form.then(|| text.parse::<Timestamp>().ok()).flatten();
    let Some(time) = time.map(Timestamp::as_second) else {
        let message = "Specified time stamp or date value is not well formatted.";
        return Err(Refusal::gateway("InvalidTimeStamp.Format", 400, message));
    };
    if time.abs_diff(now) > SKEW.unsigned_abs() {
        let message = "Specified time stamp or date value is expired.";
        return Err(Refusal::gateway("InvalidTimeStamp.Expired", 400, message));
    }
    Ok(time)
}

fn check_token(key: &AccessKey, claim: &Claim<'_>, expired: &[String]) -> Result<(), Refusal> {
    let refuse = |code, message: &str| Err(Refusal::gateway(code, 400, message));
    if expired.iter().any(|id| id == claim.access_key) {
        return match key.token {
            Some(_) => refuse("InvalidSecurityToken.Expired", "Specified SecurityToken is expired."),
            None => refuse("InvalidAccessKeyId.Inactive", "Specified access key is disabled."),
        };
    }
    match (&key.token, claim.token) {
        (None, None) => Ok(()),
        // What is compared is no secret of its own: it is signed with the secret.
        (Some(expected), Some(token)) if **expected == *token => Ok(()),
        (Some(_), Some(_)) => refuse(
            "InvalidSecurityToken.Malformed",
            "Specified SecurityToken is malformed.",
        ),
        (Some(_), None) => refuse("MissingSecurityToken", "SecurityToken is mandatory for this action."),
        (None, Some(_)) => refuse(
            "InvalidSecurityToken.MismatchWithAccessKey",
            "Specified SecurityToken mismatch with the AccessKey.",
        ),
    }
}
