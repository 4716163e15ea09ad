//! `kmsfs key`: master keys, on either KMS.

use std::time::Duration;

use super::{Exit, Failure, kms_client, out};
use crate::cli::{KeyArgs, KeyCommand};
use crate::config::{KmsSettings, Sources};
use crate::kms::api::Rotation;
use crate::kms::{Alias, KeyMetadata, KeyVersion, KmsError, KmsService, NewKey, api::time_text};

/// Does what `kmsfs key …` was told.
pub fn run(args: KeyArgs, sources: &Sources) -> Result<(), Failure> {
    let settings = KmsSettings::resolve(args.kms, sources)?;
    let kms = match args.command {
        KeyCommand::Create { .. } => kms_client::open_or_create(&settings)?,
        _ => kms_client::open(&settings)?,
    };
    let kms = &*kms;
    // What changes keys takes ids only.
    let id = |key: &str| kms.describe_key(key).map(|key| key.id);
    match args.command {
        KeyCommand::Create {
            alias,
            spec,
            usage,
            description,
            rotation,
        } => {
            let new = NewKey {
                description,
                spec: spec.parse().map_err(not_possible)?,
                usage: usage.map(|usage| usage.parse()).transpose().map_err(not_possible)?,
                rotation: rotation.map(|interval| interval.as_secs()),
            };
            out::line(&create(kms, alias.as_deref(), &new)?)
        }
        KeyCommand::List { json } => list(kms, json),
        KeyCommand::Describe { key, json } => describe(kms, &key, json),
        KeyCommand::Alias { alias, key, delete: _ } => set_alias(kms, &alias, key.as_deref()),
        KeyCommand::Enable { key } => Ok(kms.enable(&id(&key)?)?),
        KeyCommand::Disable { key } => Ok(kms.disable(&id(&key)?)?),
        KeyCommand::ScheduleDeletion { key, days } => Ok(kms.schedule_deletion(&id(&key)?, days)?),
        KeyCommand::CancelDeletion { key } => Ok(kms.cancel_deletion(&id(&key)?)?),
        KeyCommand::Rotate { key, every, never } => match (every, never) {
            (None, false) => out::line(&kms.rotate(&id(&key)?)?),
            (interval, _) => Ok(kms.set_rotation(&id(&key)?, interval.map(|every| every.as_secs()))?),
        },
    }
}

/// A value of an option that no KMS was asked about.
fn not_possible(error: KmsError) -> Failure {
    Failure::new(
        Exit::Usage,
        error.message(),
        "`kmsfs key create --help` lists what is possible",
    )
}

fn create(kms: &dyn KmsService, alias: Option<&str>, new: &NewKey) -> Result<String, Failure> {
    if let Some(alias) = alias {
        check_alias(alias)?;
        // Before the key is made: a name that is taken must not leave a key without one behind.
        match kms.describe_key(alias) {
            Err(error) if error.code() == "Forbidden.AliasNotFound" => {}
            Err(error) => return Err(error.into()),
            Ok(_) => {
                let what = format!("there is a key named {alias} already");
                let help = "choose another name, or move it with `kmsfs key alias`";
                return Err(Failure::new(Exit::KmsRefused, what, help));
            }
        }
    }
    let id = kms.create_key(new)?.id;
    if let Some(alias) = alias {
        kms.create_alias(alias, &id).map_err(|error| {
            let failure = Failure::from(error);
            let what = format!("the key {id} was made, but not named {alias}: {}", failure.what);
            let help = format!("name it with `kmsfs key alias {alias} {id}`, or delete it");
            Failure { what, help, ..failure }
        })?;
    }
    Ok(id)
}

/// What the KMS would refuse, before a key is made that could not be named so (reference, §1.6).
fn check_alias(alias: &str) -> Result<(), Failure> {
    let wrong = |why: &str, help: &str| Err(Failure::new(Exit::Usage, format!("{alias:?} {why}"), help));
    let possible = |c: char| c.is_ascii_alphanumeric() || "/_-".contains(c);
    match alias.strip_prefix("alias/") {
        Some("") | None => wrong("is not the name of an alias", "write it as alias/NAME"),
        Some(name) if name.starts_with("acs") => {
            wrong("is reserved for services", "choose a name without acs in front")
        }
        Some(name) if !name.chars().all(possible) || alias.len() > 255 => wrong(
            "is not possible for an alias",
            "it has letters, digits, `_`, `-` and `/`, 255 of them at most, with alias/ in front",
        ),
        Some(_) => Ok(()),
    }
}

fn set_alias(kms: &dyn KmsService, alias: &str, key: Option<&str>) -> Result<(), Failure> {
    // Which of the two is the alias is plain to see, so either order will do.
    let (alias, key) = match key {
        Some(key) if key.starts_with("alias/") && !alias.starts_with("alias/") => (key, Some(alias)),
        key => (alias, key),
    };
    check_alias(alias)?;
    let Some(key) = key else {
        return Ok(kms.delete_alias(alias)?);
    };
    let id = kms.describe_key(key)?.id;
    match kms.list_aliases()?.iter().any(|known| known.name == alias) {
        true => Ok(kms.update_alias(alias, &id)?),
        false => Ok(kms.create_alias(alias, &id)?),
    }
}

/// A master key with its names, as `--json` prints it.
#[derive(serde::Serialize)]
struct Described {
    #[serde(flatten)]
    key: KeyMetadata,
    aliases: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    versions: Option<Vec<KeyVersion>>,
}

impl Described {
    fn of(key: KeyMetadata, all: &[Alias]) -> Described {
        let named = all.iter().filter(|alias| alias.key == key.id);
        Described {
            aliases: named.map(|alias| alias.name.clone()).collect(),
            key,
            versions: None,
        }
    }
}

fn list(kms: &dyn KmsService, json: bool) -> Result<(), Failure> {
    let aliases = kms.list_aliases()?;
    let keys = kms.list_keys()?;
    let described = |id: &String| Ok(Described::of(kms.describe_key(id)?, &aliases));
    let keys = keys.iter().map(described).collect::<Result<Vec<_>, KmsError>>()?;
    if json {
        return out::json(&keys);
    }
    let row = |described: &Described| {
        let key = &described.key;
        [
            key.id.clone(),
            key.state.to_string(),
            key.spec.clone(),
            time_text(key.created),
            described.aliases.join(" "),
        ]
    };
    out::table(
        ["KEY", "STATE", "SPEC", "CREATED", "ALIASES"],
        &keys.iter().map(row).collect::<Vec<_>>(),
    )
}

fn describe(kms: &dyn KmsService, key: &str, json: bool) -> Result<(), Failure> {
    let mut described = Described::of(kms.describe_key(key)?, &kms.list_aliases()?);
    let versions = kms.list_versions(&described.key.id)?;
    if json {
        described.versions = Some(versions);
        return out::json(&described);
    }
    let Described { key, aliases, .. } = &described;
    let time = |seconds: Option<i64>| seconds.map_or_else(|| "-".to_owned(), time_text);
    let mut rows = vec![
        ("key", key.id.clone()),
        ("aliases", aliases.join(" ")),
        ("state", key.state.to_string()),
        ("spec", key.spec.clone()),
        ("usage", key.usage.clone()),
        ("description", key.description.clone()),
        ("created", time_text(key.created)),
        ("primary version", key.primary_version.clone().unwrap_or_default()),
        ("last rotation", time(key.last_rotation)),
        ("rotation", rotation(&key.rotation)),
        ("delete date", time(key.delete_date)),
    ];
    rows.extend(
        versions
            .iter()
            .map(|v| ("version", format!("{} of {}", v.id, time_text(v.created)))),
    );
    rows.iter()
        .try_for_each(|(name, value)| out::line(format!("{name:16} {value}").trim_end()))
}

fn rotation(rotation: &Rotation) -> String {
    let every = rotation
        .interval
        .map(Duration::from_secs)
        .map(humantime::format_duration);
    match (every, rotation.next) {
        (Some(every), Some(next)) => format!("{}, every {every}, next at {}", rotation.state, time_text(next)),
        (Some(every), None) => format!("{}, every {every}", rotation.state),
        (None, _) => rotation.state.to_string(),
    }
}
