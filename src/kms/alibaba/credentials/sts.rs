//! Roles by the Security Token Service (reference, §5.4): assumed with an access key, or with an OIDC token.

use std::path::Path;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request};
use serde::Deserialize;

use super::super::answer;
use super::super::endpoint::Endpoint;
use super::super::wire::{Stamp, sign_rpc};
use super::fetch::{Temporary, send, unusable};
use super::recipe::{Oidc, Role};
use super::{Credential, World};
use crate::kms::KmsError;
use crate::kms::signature::Parameters;

const WHO: &str = "STS";
const VERSION: &str = "2015-04-01";
const SECONDS: u64 = 3600;
const SECONDS_LEAST: u64 = 900;
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

#[derive(Deserialize)]
struct Assumed {
    #[serde(rename = "Credentials")]
    credentials: Temporary,
}

/// The credential of a role, assumed as `base`.
///
/// # Errors
/// What STS refuses with; `Kms.CredentialsUnavailable`.
pub async fn assume_role(world: &World, base: &Credential, role: &Role) -> Result<Credential, KmsError> {
    let mut parameters = common("AssumeRole", role);
    if let Some(id) = &role.external_id {
        parameters.set("ExternalId", id.as_str());
    }
    sign_rpc(&mut parameters, base, &Stamp::new(world.clock.unix()));
    ask(world, role, "AssumeRole", &parameters).await
}

/// The credential of a role, assumed as whom the token in a file names.
///
/// # Errors
/// `Kms.NoCredentials`: there is no token; what STS refuses with; `Kms.CredentialsUnavailable`.
pub async fn assume_role_with_oidc(world: &World, oidc: &Oidc, role: &Role) -> Result<Credential, KmsError> {
    let token = world.read(Path::new(&oidc.token_file))?;
    let token = token.ok_or_else(|| unusable("OIDC", &format!("there is no token file {}", oidc.token_file)))?;
    let token = token.trim();
    if !(4..=20_000).contains(&token.len()) {
        return Err(unusable("OIDC", &format!("{} holds no token", oidc.token_file)));
    }
    let stamp = Stamp::new(world.clock.unix());
    let mut parameters = common("AssumeRoleWithOIDC", role);
    parameters.set("Format", "JSON");
    parameters.set("Timestamp", stamp.time);
    parameters.set("SignatureNonce", stamp.nonce);
    parameters.set("OIDCProviderArn", oidc.provider_arn.as_str());
    parameters.set("OIDCToken", token);
    ask(world, role, "AssumeRoleWithOIDC", &parameters).await
}

fn common(action: &str, role: &Role) -> Parameters {
    let seconds = role.seconds.unwrap_or(SECONDS).max(SECONDS_LEAST);
    let mut parameters = Parameters::from_iter([
        ("Action", action),
        ("Version", VERSION),
        ("RoleArn", &role.arn),
        ("RoleSessionName", role.session.as_deref().unwrap_or("kmsfs")),
        ("DurationSeconds", &seconds.to_string()),
    ]);
    if let Some(policy) = &role.policy {
        parameters.set("Policy", policy.as_str());
    }
    parameters
}

/// Sends all parameters in the body, so that no token stands in the log of whoever passes the request on.
async fn ask(world: &World, role: &Role, action: &str, parameters: &Parameters) -> Result<Credential, KmsError> {
    let endpoint = endpoint(world, role.sts_region.as_deref())?;
    let mut request = Request::new(Method::POST, endpoint.url);
    request.headers_mut().insert(CONTENT_TYPE, FORM);
    *request.body_mut() = Some(parameters.canonical().into());
    let answer = send(world, WHO, request).await?;
    let assumed = answer::read::<Assumed>(action, &answer).map_err(|failed| {
        let error = &failed.error;
        let id = error.request_id().unwrap_or("none");
        let message = format!(
            "{WHO} refuses {}: {} ({}, request {id})",
            role.arn,
            error.message(),
            error.code()
        );
        let code = match answer.status {
            429 | 500.. => "Kms.CredentialsUnavailable",
            _ => "Kms.NoCredentials",
        };
        KmsError::new(code, message)
    })?;
    assumed.data.credentials.read(WHO)
}

/// As the environment says, by region or for everywhere; over the VPC if that is switched on.
fn endpoint(world: &World, region: Option<&str>) -> Result<Endpoint, KmsError> {
    if let Some(endpoint) = world.variable("ALIBABA_CLOUD_STS_ENDPOINT") {
        return Endpoint::parse(&endpoint);
    }
    let region = region
        .map(str::to_owned)
        .or_else(|| world.variable("ALIBABA_CLOUD_STS_REGION"));
    let product = match world.is_on("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED") {
        true => "sts-vpc",
        false => "sts",
    };
    match region {
        Some(region) => Endpoint::parse(&format!("{product}.{region}.aliyuncs.com")),
        None => Endpoint::parse("sts.aliyuncs.com"),
    }
}
