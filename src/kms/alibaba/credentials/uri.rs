//! A credentials URI: a service beside this process that gives temporary credentials (reference, §5.4).

use reqwest::{Method, Request, Url};

use super::super::endpoint::Endpoint;
use super::fetch::{Temporary, send, unusable};
use super::{Credential, World};
use crate::kms::KmsError;

const WHO: &str = "the credentials URI";

/// The credential that `address` gives.
///
/// # Errors
/// `Kms.NoCredentials`: the address is none, or would be asked unencrypted over a network, or what it answers is no
/// credential; `Kms.CredentialsUnavailable`.
pub async fn credential(world: &World, address: &str) -> Result<Credential, KmsError> {
    let url = Url::parse(address).map_err(|_| unusable(WHO, "it is no address"))?;
    let origin = url.origin().ascii_serialization();
    // The same rule as for the KMS itself.
    Endpoint::parse(&origin).map_err(|error| unusable(WHO, error.message()))?;
    let answer = send(world, WHO, Request::new(Method::GET, url)).await?;
    if answer.status != 200 {
        return Err(unusable(WHO, &format!("HTTP status {}", answer.status)));
    }
    let temporary: Temporary =
        serde_json::from_slice(&answer.body).map_err(|_| unusable(WHO, "its answer is no credential"))?;
    temporary.read(WHO)
}
