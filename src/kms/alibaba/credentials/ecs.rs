//! The role of an ECS instance, from its metadata service (reference, §5.3): by the hardened mode, with a token that
//! programs which merely fetch a URL for somebody else cannot get.

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Request, Url};

use super::super::answer::clean;
use super::super::http::Answer;
use super::fetch::{Temporary, send, unavailable, unusable};
use super::{Credential, World};
use crate::kms::KmsError;

const WHO: &str = "the ECS metadata service";
const ROLES: &str = "latest/meta-data/ram/security-credentials/";
const TOKEN: &str = "latest/api/token";
const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-aliyun-ecs-metadata-token");
const TTL_HEADER: HeaderName = HeaderName::from_static("x-aliyun-ecs-metadata-token-ttl-seconds");
const TTL: HeaderValue = HeaderValue::from_static("21600");

/// The credential of `role`, or of the role that the instance has.
///
/// # Errors
/// `Kms.CredentialsUnavailable`: nothing answers; `Kms.NoCredentials`: there is no role.
pub async fn credential(world: &World, role: Option<&str>) -> Result<Credential, KmsError> {
    let token = token(world).await?;
    let role = match role {
        Some(role) => role.to_owned(),
        None => text(get(world, ROLES, token.as_ref()).await?)?,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if role.is_empty() || !role.chars().all(plain) {
        return Err(unusable(WHO, &format!("{:?} is not the name of a role", clean(&role))));
    }
    let answer = get(world, &format!("{ROLES}{role}"), token.as_ref()).await?;
    if answer.status != 200 {
        return Err(unusable(
            WHO,
            &format!("HTTP status {} for the role {role}", answer.status),
        ));
    }
    let temporary: Temporary =
        serde_json::from_slice(&answer.body).map_err(|_| unusable(WHO, "its answer is no credential"))?;
    temporary.read(WHO)
}

/// The token of the hardened mode; none where the service does not know that mode and need not.
async fn token(world: &World) -> Result<Option<HeaderValue>, KmsError> {
    let mut request = Request::new(Method::PUT, address(world, TOKEN)?);
    request.headers_mut().insert(TTL_HEADER, TTL);
    let outcome = send(world, WHO, request).await;
    let hardened = world.is_on("ALIBABA_CLOUD_IMDSV1_DISABLED");
    match outcome {
        Ok(answer) if answer.status == 200 => {
            let mut value = HeaderValue::from_bytes(answer.body.trim_ascii())
                .map_err(|_| unusable(WHO, "its token holds characters that it cannot"))?;
            value.set_sensitive(true);
            Ok(Some(value))
        }
        Ok(answer) if hardened => Err(unusable(WHO, &format!("HTTP status {} for a token", answer.status))),
        // Nothing answers there: nor would it without a token.
        Err(error) => Err(error),
        Ok(_) => Ok(None),
    }
}

async fn get(world: &World, path: &str, token: Option<&HeaderValue>) -> Result<Answer, KmsError> {
    let mut request = Request::new(Method::GET, address(world, path)?);
    if let Some(token) = token {
        request.headers_mut().insert(TOKEN_HEADER, token.clone());
    }
    send(world, WHO, request).await
}

fn address(world: &World, path: &str) -> Result<Url, KmsError> {
    let joined = world.metadata.as_ref().and_then(|base| base.join(path).ok());
    joined.ok_or_else(|| unavailable(WHO, "it has no address"))
}

fn text(answer: Answer) -> Result<String, KmsError> {
    match (answer.status, std::str::from_utf8(&answer.body)) {
        (200, Ok(text)) => Ok(text.trim().to_owned()),
        (404, _) => Err(unusable(WHO, "this instance has no RAM role")),
        (status, _) => Err(unavailable(WHO, &format!("HTTP status {status} for the role's name"))),
    }
}
