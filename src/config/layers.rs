//! Where settings come from below the command line: `-o`, the environment, the configuration file. Each source is a
//! list of names and texts, which the parser of the command line itself reads: one syntax, one set of checks.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::{Args, Command};

use super::ConfigError;
use crate::cli::{Complaint, KmsOptions, Layer, MountOptions, VolumeOptions};

const DEFAULT_FILE: &str = "/etc/kmsfs/kmsfs.toml";
const PREFIX: &str = "KMSFS_";
/// Options that Alibaba Cloud's own tools have variables for; kmsfs's own go first.
const CLOUD: [(&str, &str); 3] = [
    ("region", "ALIBABA_CLOUD_REGION_ID"),
    ("endpoint-type", "ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED"),
    ("kms-ca-file", "ALIBABA_CLOUD_CA_BUNDLE"),
];
/// A configuration file is a screenful; what is longer is something else.
const FILE_MAX: u64 = 1 << 20;

/// The value of an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Names of options and their texts, from one source.
#[derive(Debug, Default)]
pub struct Pairs {
    /// For messages: `in FILE`, `behind -o`.
    pub place: String,
    /// Names as of the long flags, without dashes in front.
    pub pairs: Vec<(String, OsString)>,
}

/// Every source of settings below the command line.
pub struct Sources<'a> {
    environment: Environment<'a>,
    file: Pairs,
}

impl<'a> Sources<'a> {
    /// Reads the configuration file: the one that is named, or the default one if it is there.
    ///
    /// # Errors
    /// [`ConfigError`]: the file cannot be read, or says something that is no setting.
    pub fn load(named: Option<&Path>, environment: Environment<'a>) -> Result<Self, ConfigError> {
        let path = named.map_or_else(|| PathBuf::from(DEFAULT_FILE), Path::to_owned);
        let file = match read_bounded(&path) {
            Ok(text) => pairs_of_file(&path, &text)?,
            Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => Pairs::default(),
            Err(error) => {
                let what = format!("the configuration file {} cannot be read: {error}", path.display());
                return Err(ConfigError::new(what, "name a file that can be read with --config"));
            }
        };
        Ok(Self { environment, file })
    }

    /// A variable of the environment that is not an option's.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<OsString> {
        (self.environment)(name).filter(|value| !value.is_empty())
    }

    /// `typed` over what the environment says over what the file says.
    ///
    /// # Errors
    /// [`ConfigError`] about the first value that does not parse.
    pub fn complete<L: Layer>(&self, typed: L) -> Result<L, ConfigError> {
        let environment = self.environment_layer::<L>()?;
        Ok(typed.over(environment).over(parse(&self.file)?))
    }

    fn environment_layer<L: Layer>(&self) -> Result<L, ConfigError> {
        let given = names::<L>().into_iter().filter_map(|name| {
            let variable = format!("{PREFIX}{}", name.replace('-', "_").to_ascii_uppercase());
            let value = self.variable(&variable).or_else(|| self.of_the_cloud(&name))?;
            Some((name, value))
        });
        let place = format!("in the environment ({PREFIX}…)");
        parse(&Pairs {
            place,
            pairs: given.collect(),
        })
    }
}

impl Sources<'_> {
    /// What Alibaba Cloud's own variables say of an option.
    fn of_the_cloud(&self, name: &str) -> Option<OsString> {
        let (_, variable) = CLOUD.iter().find(|(option, _)| *option == name)?;
        match self.variable(variable) {
            // A switch there, a choice here.
            Some(on) if name == "endpoint-type" => on.eq_ignore_ascii_case("true").then(|| "vpc".into()),
            value => value,
        }
    }
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    if fs::metadata(path)?.len() > FILE_MAX {
        return Err(std::io::Error::other("it is longer than 1 MiB"));
    }
    fs::read_to_string(path)
}

fn pairs_of_file(path: &Path, text: &str) -> Result<Pairs, ConfigError> {
    let wrong = |why: String| {
        let help = "a line is `name = value`, with the names of the long flags";
        ConfigError::new(format!("the configuration file {}: {why}", path.display()), help)
    };
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error
            .span()
            .map_or(1, |at| 1 + text[..at.start.min(text.len())].matches('\n').count());
        wrong(format!("line {line}: {}", error.message().replace('\n', " ")))
    })?;
    let known = all_names();
    let mut pairs = Vec::new();
    for (name, value) in table {
        if !known.contains(&name) {
            return Err(wrong(format!("there is no setting {name:?}")));
        }
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            _ => {
                return Err(wrong(format!("{name:?} is a text, a whole number, true or false")));
            }
        };
        pairs.push((name, text.into()));
    }
    Ok(Pairs {
        place: format!("in {}", path.display()),
        pairs,
    })
}

/// The names that a set of options has.
pub fn names<L: Args>() -> Vec<String> {
    let command = L::augment_args(Command::new("kmsfs"));
    command
        .get_arguments()
        .filter_map(|arg| arg.get_long())
        .map(str::to_owned)
        .collect()
}

fn all_names() -> Vec<String> {
    [names::<KmsOptions>(), names::<VolumeOptions>(), names::<MountOptions>()].concat()
}

/// Those of `source`'s pairs that are options of `L`, parsed as flags are.
pub fn parse<L: Layer>(source: &Pairs) -> Result<L, ConfigError> {
    let known = names::<L>();
    let flags = source
        .pairs
        .iter()
        .filter(|(name, _)| known.contains(name))
        .map(|(name, value)| {
            let mut flag = OsString::from(format!("--{name}="));
            flag.push::<&OsStr>(value);
            flag
        });
    let command = L::augment_args(Command::new("kmsfs").no_binary_name(true).disable_help_flag(true));
    let parsed = command
        .try_get_matches_from(flags)
        .and_then(|matches| L::from_arg_matches(&matches));
    parsed.map_err(|error| match Complaint::of(&error) {
        Some(complaint) => ConfigError::new(format!("{} {}", complaint.what, source.place), complaint.help),
        None => ConfigError::new(format!("a setting is not understood {}", source.place), "see --help"),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sources<'a>(environment: Environment<'a>, file: &str) -> Result<Sources<'a>, ConfigError> {
        let file = pairs_of_file(Path::new("/etc/x.toml"), file)?;
        Ok(Sources { environment, file })
    }

    #[test]
    fn flags_over_environment_over_file() {
        let environment = |name: &str| match name {
            "KMSFS_KEY_TTL" => Some("2m".into()),
            "KMSFS_THREADS" => Some("2".into()),
            _ => None,
        };
        let file = "key-ttl = \"1m\"\nthreads = 1\nkey-cache = 7\nread-only = true\nkms = \"local\"\n";
        let typed = MountOptions {
            threads: Some(3),
            ..MountOptions::default()
        };
        let settings = sources(&environment, file).unwrap().complete(typed).unwrap();
        assert_eq!(settings.threads, Some(3));
        assert_eq!(settings.key_ttl, Some(Duration::from_secs(120)));
        assert_eq!(settings.key_cache, Some(7));
        assert_eq!(settings.read_only, Some(true));
        assert_eq!(settings.log, None);
    }

    #[test]
    fn mistakes_say_where() {
        let none = |_: &str| None;
        let unknown = sources(&none, "key-tll = \"1m\"").err().unwrap();
        assert!(
            unknown.what.contains("key-tll") && unknown.what.contains("/etc/x.toml"),
            "{unknown}"
        );
        let syntax = sources(&none, "\nkey-ttl 1m").err().unwrap();
        assert!(syntax.what.contains("line 2"), "{syntax}");
        let value = sources(&none, "key-ttl = \"soon\"")
            .unwrap()
            .complete(MountOptions::default());
        assert!(value.unwrap_err().what.contains("/etc/x.toml"));
        let environment = |name: &str| (name == "KMSFS_KEY_CACHE").then(|| "many".into());
        let value = sources(&environment, "").unwrap().complete(MountOptions::default());
        assert!(value.unwrap_err().what.contains("environment"));
    }
}
