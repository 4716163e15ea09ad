//! A request in the one form that all signatures are computed over.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// Everything but letters, digits and `-_.~` (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The shared rule of all signatures: UTF-8 bytes as `%XX` in upper case, but for letters, digits and `-_.~`.
#[must_use]
pub fn percent_encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Parameters of a request by name; of query and form body together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// The value of a parameter; names are case-sensitive.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets a parameter; the last value counts.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    /// Takes a parameter out.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// The pairs in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// `name=value` pairs, encoded, in order of their names (as bytes: upper case first), joined by `&`. This is
    /// what is signed, and it may also be sent as the query.
    #[must_use]
    pub fn canonical(&self) -> String {
        let pairs = self.iter();
        let pairs: Vec<String> = pairs
            .map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value)))
            .collect();
        pairs.join("&")
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Parameters {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Parameters {
        Parameters(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

/// Headers of a request: names in lower case, values without blanks around them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(BTreeMap<String, Vec<String>>);

impl Headers {
    /// Adds a header; one that occurs twice has both values.
    pub fn add(&mut self, name: &str, value: &str) {
        self.0
            .entry(name.to_ascii_lowercase())
            .or_default()
            .push(value.trim().to_owned());
    }

    /// The value of a header, the first if there are several.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|values| values.first()).map(String::as_str)
    }

    /// Takes a header out, with the first of its values.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)?.into_iter().next()
    }

    /// All pairs, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .flat_map(|(name, values)| values.iter().map(move |value| (name.as_str(), value.as_str())))
    }

    /// The names, in order, each once.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// A header's values in order, joined by `,`; empty for one that is not there.
    fn joined(&self, name: &str) -> String {
        let mut values = self.0.get(name).cloned().unwrap_or_default();
        values.sort();
        values.join(",")
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Headers {
        let mut headers = Headers::default();
        pairs.into_iter().for_each(|(name, value)| headers.add(name, value));
        headers
    }
}

/// Lower-case hexadecimal SHA-256 of a body, as `x-acs-content-sha256` carries it.
#[must_use]
pub fn body_hash(body: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(body))
}

/// What a signature of version 3 or 4 covers. The path is always `/`.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// What stands in the URL.
    pub query: &'a Parameters,
    /// All headers, signed or not.
    pub headers: &'a Headers,
    /// [`body_hash`] of the body.
    pub body_hash: &'a str,
}

impl Request<'_> {
    /// The canonical request over the headers named `signed`, which stand in order.
    pub(super) fn canonical(&self, signed: &[&str]) -> String {
        let headers: String = signed
            .iter()
            .map(|name| format!("{name}:{}\n", self.headers.joined(name)))
            .collect();
        let (method, query, hash) = (self.method, self.query.canonical(), self.body_hash);
        format!("{method}\n/\n{query}\n{headers}\n{}\n{hash}", signed.join(";"))
    }

    /// `ALGORITHM\nHASH`: what is signed.
    pub(super) fn string_to_sign(&self, algorithm: &str, signed: &[&str]) -> String {
        let canonical = self.canonical(signed);
        format!("{algorithm}\n{}", HEXLOWER.encode(&Sha256::digest(canonical)))
    }
}
