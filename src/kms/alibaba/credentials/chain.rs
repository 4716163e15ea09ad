//! The official default chain (reference, §5.1): where credentials are looked for, in which order. As the official
//! libraries do, it goes on to the next source when one fails; why each did stands in the error.

use super::recipe::{Oidc, Recipe, Role};
use super::{Credential, World, cli_profile, ini_profile};
use crate::kms::KmsError;

/// Names the role, and says that this is an ECS instance.
const ECS_ROLE: &str = "ALIBABA_CLOUD_ECS_METADATA";

/// A source of credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    Environment,
    Oidc,
    CliProfile,
    IniProfile,
    Ecs,
    Uri,
}

/// The order.
const CHAIN: [Provider; 6] = [
    Provider::Environment,
    Provider::Oidc,
    Provider::CliProfile,
    Provider::IniProfile,
    Provider::Ecs,
    Provider::Uri,
];

/// Asks the provider that succeeded last if it still has something, else each in order.
///
/// # Errors
/// `Kms.CredentialsUnavailable` when one that is configured could not be reached, else `Kms.NoCredentials`.
pub async fn find(world: &World, last: Option<Provider>) -> Result<(Provider, Credential), KmsError> {
    if let Some(provider) = last
        && let Some(recipe) = provider.recipe(world)?
    {
        return Ok((provider, recipe.follow(world).await?));
    }
    let mut reasons: Vec<KmsError> = Vec::new();
    let mut unreachable = false;
    for provider in CHAIN {
        let outcome = match provider.recipe(world) {
            Ok(None) => continue,
            Ok(Some(recipe)) => recipe.follow(world).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(credential) => {
                // Another identity than the one that was meant is worth a line.
                reasons
                    .iter()
                    .for_each(|reason| tracing::warn!("passed over: {}", reason.message()));
                return Ok((provider, credential));
            }
            Err(error) => {
                // Most hosts are no ECS instances, and nobody said that this one is.
                let implied = provider == Provider::Ecs && world.variable(ECS_ROLE).is_none();
                unreachable |= !implied && error.code() == "Kms.CredentialsUnavailable";
                reasons.push(error);
            }
        }
    }
    Err(summary(&reasons, unreachable))
}

fn summary(reasons: &[KmsError], unreachable: bool) -> KmsError {
    let words: Vec<&str> = reasons.iter().map(KmsError::message).collect();
    let words = match words.is_empty() {
        true => "none are configured".to_owned(),
        false => words.join("; "),
    };
    let code = match unreachable {
        true => "Kms.CredentialsUnavailable",
        false => "Kms.NoCredentials",
    };
    KmsError::new(code, format!("no credentials for Alibaba Cloud: {words}"))
}

impl Provider {
    /// What this source says; none when it is not configured.
    ///
    /// # Errors
    /// `Kms.NoCredentials`: it is, but not in a way that could be followed.
    pub fn recipe(self, world: &World) -> Result<Option<Recipe>, KmsError> {
        match self {
            Provider::Environment => Ok(environment(world)),
            Provider::Oidc => Ok(oidc(world)),
            Provider::CliProfile => cli(world),
            Provider::IniProfile => ini(world),
            Provider::Ecs if world.is_on("ALIBABA_CLOUD_ECS_METADATA_DISABLED") => Ok(None),
            Provider::Ecs => Ok(Some(Recipe::Ecs(world.variable(ECS_ROLE)))),
            Provider::Uri => Ok(world.variable("ALIBABA_CLOUD_CREDENTIALS_URI").map(Recipe::Uri)),
        }
    }
}

fn environment(world: &World) -> Option<Recipe> {
    let id = world.variable("ALIBABA_CLOUD_ACCESS_KEY_ID")?;
    let secret = zeroize::Zeroizing::new(world.variable("ALIBABA_CLOUD_ACCESS_KEY_SECRET")?);
    let token = world
        .variable("ALIBABA_CLOUD_SECURITY_TOKEN")
        .map(zeroize::Zeroizing::new);
    let token = token.as_ref().map(|token| token.as_str());
    Some(Recipe::Given(Credential::new(&id, &secret, token)))
}

fn oidc(world: &World) -> Option<Recipe> {
    let oidc = Oidc {
        token_file: world.variable("ALIBABA_CLOUD_OIDC_TOKEN_FILE")?,
        provider_arn: world.variable("ALIBABA_CLOUD_OIDC_PROVIDER_ARN")?,
    };
    let role = Role {
        arn: world.variable("ALIBABA_CLOUD_ROLE_ARN")?,
        session: world.variable("ALIBABA_CLOUD_ROLE_SESSION_NAME"),
        ..Role::default()
    };
    Some(Recipe::Oidc(oidc, role))
}

fn cli(world: &World) -> Result<Option<Recipe>, KmsError> {
    let path = world.home(".aliyun/config.json");
    let Some(path) = path.filter(|_| !world.is_on("ALIBABA_CLOUD_CLI_PROFILE_DISABLED")) else {
        return Ok(None);
    };
    let Some(text) = world.read(&path)? else {
        return Ok(None);
    };
    cli_profile::recipe(&text, world.variable("ALIBABA_CLOUD_PROFILE").as_deref()).map(Some)
}

fn ini(world: &World) -> Result<Option<Recipe>, KmsError> {
    let named = world
        .variable("ALIBABA_CLOUD_CREDENTIALS_FILE")
        .map(std::path::PathBuf::from);
    let places = match named {
        Some(path) => vec![path],
        // The first is Python's and Java's, the second Go's.
        None => [".alibabacloud/credentials.ini", ".alibabacloud/credentials"]
            .into_iter()
            .filter_map(|path| world.home(path))
            .collect(),
    };
    let name = world
        .variable("ALIBABA_CLOUD_PROFILE")
        .unwrap_or_else(|| "default".to_owned());
    for path in places {
        if let Some(text) = world.read(&path)? {
            return ini_profile::recipe(&path.display().to_string(), &text, &name).map(Some);
        }
    }
    Ok(None)
}
