//! Exchanges with services that give credentials, and the two forms in which they give them.

use reqwest::Request;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::super::actions::Secret;
use super::super::answer::clean;
use super::super::http::{Answer, Http, Trust};
use super::{Credential, World};
use crate::kms::KmsError;

/// Sends a request to a service that `who` names.
///
/// # Errors
/// `Kms.CredentialsUnavailable`: it does not answer.
pub async fn send(world: &World, who: &str, request: Request) -> Result<Answer, KmsError> {
    let plain = request.url().scheme() == "http";
    let (trust, within) = match plain {
        true => (Trust::Nobody, world.metadata_timeout),
        false => (Trust::System, world.timeout),
    };
    let http = Http::new(trust, within.min(std::time::Duration::from_secs(5)))?;
    let outcome = http.exchange(request, within).await;
    outcome.map_err(|failed| unavailable(who, failed.error.message()))
}

pub fn unavailable(who: &str, why: &str) -> KmsError {
    KmsError::new("Kms.CredentialsUnavailable", format!("{who}: {why}"))
}

pub fn unusable(who: &str, why: &str) -> KmsError {
    KmsError::new("Kms.NoCredentials", format!("{who}: {why}"))
}

/// A temporary credential as all services write it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Temporary {
    /// The metadata service and a credentials URI say `Success`.
    #[serde(default)]
    pub code: Option<String>,
    #[serde(default)]
    access_key_id: String,
    #[serde(default = "empty")]
    access_key_secret: Secret,
    #[serde(default = "empty")]
    security_token: Secret,
    #[serde(default)]
    expiration: String,
}

fn empty() -> Secret {
    Secret(Zeroizing::new(String::new()))
}

impl Temporary {
    /// The credential.
    ///
    /// # Errors
    /// `Kms.NoCredentials`: a part is missing.
    pub fn read(self, who: &str) -> Result<Credential, KmsError> {
        let (secret, token) = (self.access_key_secret.0, self.security_token.0);
        if let Some(code) = self.code.filter(|code| code != "Success") {
            return Err(unusable(who, &format!("it answers {}", clean(&code))));
        }
        if self.access_key_id.is_empty() || secret.is_empty() || token.is_empty() {
            return Err(unusable(who, "its answer holds no complete credential"));
        }
        let expires = self.expiration.parse::<jiff::Timestamp>();
        let expires = expires.map_err(|_| unusable(who, "its answer does not say until when the credential lives"))?;
        Ok(Credential {
            id: self.access_key_id,
            secret,
            token: Some(token),
            expires: Some(expires.as_second()),
        })
    }
}
