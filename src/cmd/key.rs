//! `kmsfs key`: master keys of the embedded key store.

use super::{Exit, Failure, keystore, out};
use crate::cli::{KeyArgs, KeyCommand};
use crate::config::{KmsSettings, Sources};
use crate::kms::local::LocalStore;
use crate::kms::{KeyMetadata, Kms, KmsAdmin, NewKey, api::time_text};

/// Does what `kmsfs key …` was told.
pub fn run(args: KeyArgs, sources: &Sources) -> Result<(), Failure> {
    let settings = KmsSettings::resolve(args.kms, sources)?;
    let store = match args.command {
        KeyCommand::Create { .. } => keystore::open_or_create(&settings)?,
        _ => keystore::open(&settings)?,
    };
    let id = |key: &str| store.describe_key(key).map(|key| key.id);
    match args.command {
        KeyCommand::Create {
            alias,
            spec,
            usage: _,
            description,
        } => out::line(&create(
            &store,
            alias.as_deref(),
            &NewKey {
                description,
                spec: spec.parse()?,
                ..NewKey::default()
            },
        )?),
        KeyCommand::List { json } => list(&store, json),
        KeyCommand::Describe { key, json } => describe(&store, &key, json),
        KeyCommand::Alias { alias, key, delete: _ } => set_alias(&store, &alias, key.as_deref()),
        KeyCommand::Enable { key } => Ok(store.enable(&id(&key)?)?),
        KeyCommand::Disable { key } => Ok(store.disable(&id(&key)?)?),
        KeyCommand::ScheduleDeletion { key, days } => Ok(store.schedule_deletion(&id(&key)?, days)?),
        KeyCommand::CancelDeletion { key } => Ok(store.cancel_deletion(&id(&key)?)?),
        KeyCommand::Rotate { key } => out::line(&store.rotate(&id(&key)?)?),
    }
}

fn create(store: &LocalStore, alias: Option<&str>, new: &NewKey) -> Result<String, Failure> {
    // Before the key is made: a name that is taken must not leave a key without one behind.
    if let Some(taken) = alias.filter(|alias| store.describe_key(alias).is_ok()) {
        let what = format!("there is a key named {taken} already");
        return Err(Failure::new(
            Exit::KmsRefused,
            what,
            "choose another name, or move it with `kmsfs key alias`",
        ));
    }
    if let Some(alias) = alias {
        check_alias(alias)?;
    }
    let id = store.create_key(new)?.id;
    if let Some(alias) = alias {
        store.create_alias(alias, &id)?;
    }
    Ok(id)
}

fn check_alias(alias: &str) -> Result<(), Failure> {
    match alias.strip_prefix("alias/") {
        Some(name) if !name.is_empty() => Ok(()),
        _ => {
            let what = format!("{alias:?} is not the name of an alias");
            Err(Failure::new(Exit::Usage, what, "write it as alias/NAME"))
        }
    }
}

fn set_alias(store: &LocalStore, alias: &str, key: Option<&str>) -> Result<(), Failure> {
    // Which of the two is the alias is plain to see, so either order will do.
    let (alias, key) = match key {
        Some(key) if key.starts_with("alias/") && !alias.starts_with("alias/") => (key, Some(alias)),
        key => (alias, key),
    };
    check_alias(alias)?;
    let Some(key) = key else {
        return Ok(store.delete_alias(alias)?);
    };
    let id = store.describe_key(key)?.id;
    match store.list_aliases()?.iter().any(|known| known.name == alias) {
        true => Ok(store.update_alias(alias, &id)?),
        false => Ok(store.create_alias(alias, &id)?),
    }
}

/// A master key with its names, as `--json` prints it.
#[derive(serde::Serialize)]
struct Described {
    #[serde(flatten)]
    key: KeyMetadata,
    aliases: Vec<String>,
}

fn described(store: &LocalStore, key: &str) -> Result<Described, Failure> {
    let key = store.describe_key(key)?;
    let named = store.list_aliases()?.into_iter().filter(|alias| alias.key == key.id);
    let aliases = named.map(|alias| alias.name).collect();
    Ok(Described { key, aliases })
}

fn list(store: &LocalStore, json: bool) -> Result<(), Failure> {
    let keys = store.list_keys()?;
    let keys = keys
        .iter()
        .map(|id| described(store, id))
        .collect::<Result<Vec<_>, _>>()?;
    if json {
        return out::json(&keys);
    }
    let row = |described: &Described| {
        let key = &described.key;
        [
            key.id.clone(),
            key.state.to_string(),
            time_text(key.created),
            described.aliases.join(" "),
        ]
    };
    out::table(
        ["KEY", "STATE", "CREATED", "ALIASES"],
        &keys.iter().map(row).collect::<Vec<_>>(),
    )
}

fn describe(store: &LocalStore, key: &str, json: bool) -> Result<(), Failure> {
    let described = described(store, key)?;
    if json {
        return out::json(&described);
    }
    let Described { key, aliases } = &described;
    let time = |seconds: Option<i64>| seconds.map_or_else(|| "-".to_owned(), time_text);
    let rows = [
        ("key", key.id.clone()),
        ("aliases", aliases.join(" ")),
        ("state", key.state.to_string()),
        ("spec", key.spec.clone()),
        ("usage", key.usage.clone()),
        ("description", key.description.clone()),
        ("created", time_text(key.created)),
        ("primary version", key.primary_version.clone().unwrap_or_default()),
        ("last rotation", time(key.last_rotation)),
        ("delete date", time(key.delete_date)),
    ];
    rows.iter()
        .try_for_each(|(name, value)| out::line(format!("{name:16} {value}").trim_end()))
}
