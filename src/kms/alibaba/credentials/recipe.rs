//! How to get a credential, as a source describes it; and following that.

use std::pin::Pin;

use super::{Credential, World};
use super::{ecs, sts, uri};
use crate::kms::KmsError;

/// How to get a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipe {
    /// It is there.
    Given(Credential),
    /// By STS `AssumeRole`, as who the other recipe leads to.
    Role(Box<Recipe>, Role),
    /// By STS `AssumeRoleWithOIDC`, with a token that a file holds.
    Oidc(Oidc, Role),
    /// From the metadata service: of this role, or of the instance's own.
    Ecs(Option<String>),
    /// From a service that is asked by GET.
    Uri(String),
}

/// A role to be assumed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Role {
    /// Its name, `acs:ram::ACCOUNT:role/NAME`.
    pub arn: String,
    /// What the session is called in audit logs.
    pub session: Option<String>,
    /// Less than the role may do.
    pub policy: Option<String>,
    /// What the role's owner asks for.
    pub external_id: Option<String>,
    /// How long the credential shall live, in seconds.
    pub seconds: Option<u64>,
    /// The region whose STS is asked.
    pub sts_region: Option<String>,
}

/// Who vouches for this process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Oidc {
    /// The identity provider's name.
    pub provider_arn: String,
    /// Where the token is; read anew each time, because it is replaced.
    pub token_file: String,
}

impl Recipe {
    /// Follows it.
    ///
    /// # Errors
    /// `Kms.NoCredentials`, `Kms.CredentialsUnavailable`, or what STS refused with.
    pub fn follow<'a>(
        &'a self,
        world: &'a World,
    ) -> Pin<Box<dyn Future<Output = Result<Credential, KmsError>> + Send + 'a>> {
        Box::pin(async move {
            match self {
                Recipe::Given(credential) => Ok(credential.clone()),
                Recipe::Role(base, role) => {
                    let base = base.follow(world).await?;
                    sts::assume_role(world, &base, role).await
                }
                Recipe::Oidc(oidc, role) => sts::assume_role_with_oidc(world, oidc, role).await,
                Recipe::Ecs(role) => ecs::credential(world, role.as_deref()).await,
                Recipe::Uri(address) => uri::credential(world, address).await,
            }
        })
    }
}
