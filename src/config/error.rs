//! A setting that cannot be: always the user's to mend, so always with a help line.

use std::fmt;

/// What is wrong with a setting, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// One line: what, where, which.
    pub what: String,
    /// One line: what to do.
    pub help: String,
}

impl ConfigError {
    /// An error in two lines.
    pub fn new(what: impl Into<String>, help: impl Into<String>) -> ConfigError {
        ConfigError { what: what.into(), help: help.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for ConfigError {}
