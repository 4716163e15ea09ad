//! The credentials file of the SDKs, `~/.alibabacloud/credentials` (reference, §5.2): sections in brackets, lines
//! `name = value`, `#` begins a comment.

use std::collections::HashMap;

use super::super::answer::clean;
use super::Credential;
use super::fetch::unusable;
use super::recipe::{Oidc, Recipe, Role};
use crate::kms::KmsError;

/// The recipe of the section `name` of the file at `place`.
///
/// # Errors
/// `Kms.NoCredentials`: the section or a part of it is missing or of a type that is not known here.
pub fn recipe(place: &str, text: &str, name: &str) -> Result<Recipe, KmsError> {
    let wrong = |why: &str| unusable(place, &format!("section {:?}: {why}", clean(name)));
    let section = section(text, name).ok_or_else(|| wrong("there is none of this name"))?;
    let maybe = |name: &str| section.get(name).copied().filter(|value| !value.is_empty());
    let need = |name: &str| maybe(name).ok_or_else(|| wrong(&format!("{name} is missing")));
    let text_of = |name: &str| maybe(name).map(str::to_owned);
    let given = || {
        let (id, secret) = (need("access_key_id")?, need("access_key_secret")?);
        Ok(Recipe::Given(Credential::new(id, secret, maybe("security_token"))))
    };
    let role = || {
        Ok(Role {
            arn: need("role_arn")?.to_owned(),
            session: text_of("role_session_name"),
            policy: text_of("policy"),
            external_id: text_of("external_id"),
            ..Role::default()
        })
    };
    match need("type")? {
        "access_key" => given(),
        "ram_role_arn" => Ok(Recipe::Role(Box::new(given()?), role()?)),
        "ecs_ram_role" => Ok(Recipe::Ecs(text_of("role_name"))),
        "oidc_role_arn" => {
            let oidc = Oidc {
                provider_arn: need("oidc_provider_arn")?.to_owned(),
                token_file: need("oidc_token_file_path")?.to_owned(),
            };
            Ok(Recipe::Oidc(oidc, role()?))
        }
        other => Err(wrong(&format!("kmsfs does not know the type {:?}", clean(other)))),
    }
}

/// The names and values of a section.
fn section<'a>(text: &'a str, wanted: &str) -> Option<HashMap<&'a str, &'a str>> {
    let mut found = None;
    let mut within = false;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            within = name.trim() == wanted;
            if within {
                found.get_or_insert_with(HashMap::new);
            }
        } else if let (true, Some((name, value)), Some(section)) = (within, line.split_once('='), &mut found) {
            // A comment behind a value begins after a blank: a secret may hold the sign itself.
            let value = value.split(" #").next().unwrap_or_default();
            section.insert(name.trim(), value.trim());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = "# a comment\n[default]\nenable = true\ntype = access_key # the usual one\naccess_key_id = i\n\
        access_key_secret = s#=s\n\n[role]\ntype=ram_role_arn\naccess_key_id=i\naccess_key_secret=s\nrole_arn=a\n\
        role_session_name=n\n[ecs]\ntype=ecs_ram_role\nrole_name=r\n[oidc]\ntype=oidc_role_arn\noidc_provider_arn=p\n\
        oidc_token_file_path=/t\nrole_arn=a\n[old]\ntype=rsa_key_pair\n[half]\ntype=access_key\naccess_key_id=i\n";

    #[test]
    fn each_type_is_a_recipe() {
        let named = |name: &str| recipe("f", FILE, name).unwrap();
        assert_eq!(named("default"), Recipe::Given(Credential::new("i", "s#=s", None)));
        assert!(
            matches!(named("role"), Recipe::Role(_, role) if role.arn == "a" && role.session.as_deref() == Some("n"))
        );
        assert_eq!(named("ecs"), Recipe::Ecs(Some("r".into())));
        assert!(matches!(named("oidc"), Recipe::Oidc(oidc, _) if oidc.token_file == "/t"));
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        let why = |name: &str| recipe("f", FILE, name).unwrap_err().to_string();
        assert!(why("old").contains("rsa_key_pair"));
        assert!(why("half").contains("access_key_secret"));
        assert!(why("nobody").contains("nobody"));
        assert!(recipe("f", "", "default").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_recipe_or_an_error(text in ".{0,200}", piece in 0usize..FILE.len(), cut in 0usize..FILE.len()) {
            let _ = recipe("f", &text, "default");
            let text = format!("{}{text}{}", &FILE[..cut], &FILE[piece..]);
            let _ = recipe("f", &text, "default");
        }
    }
}
