//! The profiles of the cloud's command line, `~/.aliyun/config.json` (reference, §5.2).

use serde::Deserialize;
use zeroize::Zeroizing;

use super::super::actions::Secret;
use super::super::answer::clean;
use super::Credential;
use super::fetch::unusable;
use super::recipe::{Oidc, Recipe, Role};
use crate::kms::KmsError;

const WHO: &str = "~/.aliyun/config.json";
/// Most profiles that lead to each other.
const DEPTH_MAX: usize = 4;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    current: Option<String>,
    #[serde(default)]
    profiles: Vec<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    #[serde(default)]
    name: String,
    #[serde(default)]
    mode: String,
    #[serde(default)]
    access_key_id: String,
    #[serde(default = "nothing")]
    access_key_secret: Secret,
    #[serde(default = "nothing")]
    sts_token: Secret,
    #[serde(default)]
    sts_expiration: Option<i64>,
    #[serde(default)]
    ram_role_arn: String,
    #[serde(default)]
    ram_session_name: String,
    #[serde(default)]
    role_session_name: String,
    #[serde(default)]
    ram_role_name: String,
    #[serde(default)]
    external_id: String,
    #[serde(default)]
    policy: String,
    #[serde(default)]
    sts_region: String,
    #[serde(default)]
    expired_seconds: Option<u64>,
    #[serde(default)]
    oidc_provider_arn: String,
    #[serde(default)]
    oidc_token_file: String,
    #[serde(default)]
    source_profile: String,
    #[serde(default)]
    credentials_uri: String,
}

fn nothing() -> Secret {
    Secret(Zeroizing::new(String::new()))
}

/// The recipe of the profile `named`, or of the one that the file calls current.
///
/// # Errors
/// `Kms.NoCredentials`: the file, the profile or a part of it is missing or of a kind that is not known here.
pub fn recipe(text: &str, named: Option<&str>) -> Result<Recipe, KmsError> {
    // The library would quote values.
    let file: File = serde_json::from_str(text).map_err(|error| {
        unusable(
            WHO,
            &format!("it is not what the command line writes (line {})", error.line()),
        )
    })?;
    let name = named.or(file.current.as_deref()).unwrap_or("default");
    of_profile(&file, name, 0)
}

fn of_profile(file: &File, name: &str, depth: usize) -> Result<Recipe, KmsError> {
    let wrong = |why: &str| unusable(WHO, &format!("profile {:?}: {why}", clean(name)));
    if depth >= DEPTH_MAX {
        return Err(wrong("too many profiles lead to each other"));
    }
    let found = file.profiles.iter().find(|profile| profile.name == name);
    let profile = found.ok_or_else(|| wrong("there is none of this name"))?;
    let given = |token: Option<&str>| match profile.access_key_id.is_empty() || profile.access_key_secret.0.is_empty() {
        true => Err(wrong("access_key_id or access_key_secret is missing")),
        false => Ok(Recipe::Given(Credential {
            expires: profile.sts_expiration.filter(|_| token.is_some()),
            ..Credential::new(&profile.access_key_id, &profile.access_key_secret.0, token)
        })),
    };
    let token = Some(profile.sts_token.0.as_str()).filter(|token| !token.is_empty());
    let role = || match profile.ram_role_arn.is_empty() {
        true => Err(wrong("ram_role_arn is missing")),
        false => Ok(role_of(profile)),
    };
    match profile.mode.as_str() {
        "AK" | "" => given(None),
        "StsToken" => given(Some(token.ok_or_else(|| wrong("sts_token is missing"))?)),
        // What the command line has cached of a log-in; only it can renew that.
        "CloudSSO" | "OAuth" => given(Some(
            token.ok_or_else(|| wrong("log in again with the cloud's command line"))?,
        )),
        "RamRoleArn" => Ok(Recipe::Role(Box::new(given(token)?), role()?)),
        "ChainableRamRoleArn" => {
            let base = of_profile(file, &profile.source_profile, depth + 1)?;
            Ok(Recipe::Role(Box::new(base), role()?))
        }
        "EcsRamRole" => Ok(Recipe::Ecs(some(&profile.ram_role_name))),
        "OIDC" if profile.oidc_provider_arn.is_empty() || profile.oidc_token_file.is_empty() => {
            Err(wrong("oidc_provider_arn or oidc_token_file is missing"))
        }
        "OIDC" => {
            let oidc = Oidc {
                provider_arn: profile.oidc_provider_arn.clone(),
                token_file: profile.oidc_token_file.clone(),
            };
            Ok(Recipe::Oidc(oidc, role()?))
        }
        "CredentialsURI" if !profile.credentials_uri.is_empty() => Ok(Recipe::Uri(profile.credentials_uri.clone())),
        mode => Err(wrong(&format!("kmsfs does not know the mode {:?}", clean(mode)))),
    }
}

fn role_of(profile: &Profile) -> Role {
    Role {
        arn: profile.ram_role_arn.clone(),
        session: some(&profile.ram_session_name).or_else(|| some(&profile.role_session_name)),
        policy: some(&profile.policy),
        external_id: some(&profile.external_id),
        seconds: profile.expired_seconds.filter(|seconds| *seconds > 0),
        sts_region: some(&profile.sts_region),
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = r#"{"current":"key","profiles":[
        {"name":"key","mode":"AK","access_key_id":"i","access_key_secret":"s","region_id":"cn-hangzhou","language":"en"},
        {"name":"token","mode":"StsToken","access_key_id":"i","access_key_secret":"s","sts_token":"t"},
        {"name":"role","mode":"RamRoleArn","access_key_id":"i","access_key_secret":"s","ram_role_arn":"acs:ram::1:role/r",
         "ram_session_name":"n","expired_seconds":900},
        {"name":"chained","mode":"ChainableRamRoleArn","source_profile":"role","ram_role_arn":"acs:ram::1:role/q"},
        {"name":"ecs","mode":"EcsRamRole"},
        {"name":"oidc","mode":"OIDC","oidc_provider_arn":"p","oidc_token_file":"/t","ram_role_arn":"a","role_session_name":"n"},
        {"name":"uri","mode":"CredentialsURI","credentials_uri":"http://127.0.0.1:1/"},
        {"name":"circle","mode":"ChainableRamRoleArn","source_profile":"circle","ram_role_arn":"a"},
        {"name":"half","mode":"AK","access_key_id":"i"},
        {"name":"program","mode":"External","process_command":"cat /etc/shadow"}]}"#;

    fn role(arn: &str) -> Role {
        Role {
            arn: arn.into(),
            ..Role::default()
        }
    }

    #[test]
    fn each_mode_is_a_recipe() {
        let named = |name: &str| recipe(FILE, Some(name)).unwrap();
        let key = Recipe::Given(Credential::new("i", "s", None));
        assert_eq!((recipe(FILE, None).unwrap(), named("key")), (key.clone(), key.clone()));
        assert_eq!(named("token"), Recipe::Given(Credential::new("i", "s", Some("t"))));
        let first = Role {
            session: Some("n".into()),
            seconds: Some(900),
            ..role("acs:ram::1:role/r")
        };
        let first = Recipe::Role(Box::new(key), first);
        assert_eq!(named("role"), first);
        assert_eq!(
            named("chained"),
            Recipe::Role(Box::new(first), role("acs:ram::1:role/q"))
        );
        assert_eq!(named("ecs"), Recipe::Ecs(None));
        assert_eq!(named("uri"), Recipe::Uri("http://127.0.0.1:1/".into()));
        assert!(matches!(named("oidc"), Recipe::Oidc(_, role) if role.session.as_deref() == Some("n")));
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        let why = |name: &str| recipe(FILE, Some(name)).unwrap_err().to_string();
        assert!(why("half").contains("access_key_secret"));
        assert!(why("circle").contains("lead to each other"));
        assert!(why("program").contains("External"));
        assert!(why("nobody").contains("nobody"));
        for text in [
            "",
            "[]",
            "{\"profiles\":7}",
            "{\"profiles\":[{\"access_key_secret\":[\"SECRET\"]}]}",
        ] {
            assert!(!recipe(text, None).unwrap_err().to_string().contains("SECRET"));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_recipe_or_an_error(text in ".{0,200}", piece in 0usize..FILE.len(), cut in 0usize..FILE.len()) {
            let _ = recipe(&text, None);
            let text = format!("{}{text}{}", &FILE[..cut], &FILE[piece..]);
            let _ = recipe(&text, None);
        }
    }
}
