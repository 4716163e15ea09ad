//! What a request says of itself: which action, by whom, when, and how that is to be proved. Three styles of saying it
//! (reference, §2.5): parameters (V1), or headers and `Authorization` (V3 and V4). Nothing here is believed yet.

use super::refusal::Refusal;
use super::wire::Received;
use crate::kms::signature::{Acs3, Acs4, Rpc1};

/// A request's statement about itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim<'a> {
    pub action: &'a str,
    pub version: &'a str,
    pub access_key: &'a str,
    /// Of temporary credentials.
    pub token: Option<&'a str>,
    /// `yyyy-MM-ddTHH:mm:ssZ`.
    pub time: &'a str,
    /// None where V1 leaves it out, as the KMS's own documentation once did.
    pub nonce: Option<&'a str>,
    pub proof: Proof<'a>,
}

/// The signature, by style.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Proof<'a> {
    Rpc1 {
        signature: &'a str,
    },
    Acs3 {
        signed: Vec<&'a str>,
        signature: &'a str,
    },
    Acs4 {
        /// `yyyymmdd/region/product/aliyun_v4_request`
        scope: &'a str,
        signed: Vec<&'a str>,
        signature: &'a str,
    },
}

impl Proof<'_> {
    pub(super) fn signature(&self) -> &str {
        match self {
            Proof::Rpc1 { signature } | Proof::Acs3 { signature, .. } | Proof::Acs4 { signature, .. } => signature,
        }
    }
}

impl<'a> Claim<'a> {
    /// # Errors
    /// Something that has to be said is not said.
    pub(super) fn of(received: &'a Received) -> Result<Claim<'a>, Refusal> {
        match received.headers.get("authorization") {
            Some(authorization) if authorization.starts_with("ACS") => Claim::by_headers(received, authorization),
            _ => Claim::by_parameters(received),
        }
    }

    /// The action that a request names, also where the rest of its claim is not whole.
    pub(super) fn action_of(received: &Received) -> Option<&str> {
        let named = received.parameters.get("Action");
        named.or_else(|| received.headers.get("x-acs-action"))
    }

    fn by_parameters(received: &'a Received) -> Result<Claim<'a>, Refusal> {
        let parameter = |name: &str| received.parameters.get(name).filter(|value| !value.is_empty());
        let needed = |name: &str| parameter(name).ok_or_else(|| Refusal::unsaid(name));
        let action = needed("Action")?;
        let access_key = needed("AccessKeyId")?;
        let signature = needed("Signature")?;
        let (method, version) = (needed("SignatureMethod")?, needed("SignatureVersion")?);
        if (method, version) != (Rpc1::METHOD, Rpc1::VERSION) {
            return Err(Refusal::signature(
                "only HMAC-SHA1 of signature version 1.0 is known among parameters",
            ));
        }
        Ok(Claim {
            action,
            version: needed("Version")?,
            access_key,
            token: parameter("SecurityToken"),
            time: needed("Timestamp")?,
            nonce: parameter("SignatureNonce"),
            proof: Proof::Rpc1 { signature },
        })
    }

    fn by_headers(received: &'a Received, authorization: &'a str) -> Result<Claim<'a>, Refusal> {
        let header = |name: &str| received.headers.get(name).filter(|value| !value.is_empty());
        let needed = |name: &str| header(name).ok_or_else(|| Refusal::unsaid(name));
        let (algorithm, fields) = authorization.split_once(' ').unwrap_or((authorization, ""));
        let field = |wanted: &str| {
            let mut pairs = fields.split(',').filter_map(|pair| pair.trim().split_once('='));
            let found = pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value);
            found.ok_or_else(|| Refusal::unsaid(wanted))
        };
        let (credential, signature) = (field("Credential")?, field("Signature")?);
        let signed: Vec<&str> = field("SignedHeaders")?.split(';').collect();
        let must = |name: &str| name == "host" || name.starts_with("x-acs-");
        if let Some(name) = received
            .headers
            .names()
            .find(|name| must(name) && !signed.contains(name))
        {
            return Err(Refusal::signature(&format!("the header {name} is not signed")));
        }
        let (access_key, proof) = match algorithm {
            Acs3::ALGORITHM => (credential, Proof::Acs3 { signed, signature }),
            Acs4::ALGORITHM => {
                let (access_key, scope) = credential.split_once('/').unwrap_or((credential, ""));
                let proof = Proof::Acs4 {
                    scope,
                    signed,
                    signature,
                };
                (access_key, proof)
            }
            other => return Err(Refusal::signature(&format!("the algorithm {other} is not known"))),
        };
        Ok(Claim {
            action: needed("x-acs-action")?,
            version: needed("x-acs-version")?,
            access_key,
            token: header("x-acs-security-token"),
            time: needed("x-acs-date")?,
            nonce: Some(needed("x-acs-signature-nonce")?),
            proof,
        })
    }
}
