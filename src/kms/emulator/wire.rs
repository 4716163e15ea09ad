//! A request as it came in. Decides nothing about who sent it or what it asks for.

use form_urlencoded::parse;

use crate::kms::signature::{Headers, Parameters, body_hash};

/// The content type of a form, which may be missing where a body has content.
const FORM: &str = "application/x-www-form-urlencoded";

/// A request, decoded. It may hold plain text, so it cannot be printed.
pub struct Received {
    /// The HTTP method.
    pub method: String,
    /// What stands behind `?`.
    pub query: Parameters,
    /// Query and form body together.
    pub parameters: Parameters,
    /// The headers.
    pub headers: Headers,
    /// Of the body as it came.
    pub body_hash: String,
}

impl Received {
    /// Decodes the query as a form (`+` is a blank: the current SDK writes it so), and the body if it is a form.
    #[must_use]
    pub fn new(method: &str, query: &str, headers: Headers, body: &[u8]) -> Received {
        let query: Parameters = parse(query.as_bytes()).collect();
        let mut parameters = query.clone();
        let is_form = headers.get("content-type").is_none_or(|kind| {
            let kind = kind.split(';').next().unwrap_or_default().trim();
            kind.is_empty() || kind.eq_ignore_ascii_case(FORM)
        });
        if is_form {
            parse(body).for_each(|(name, value)| parameters.set(name, value));
        }
        Received {
            method: method.to_owned(),
            query,
            parameters,
            headers,
            body_hash: body_hash(body),
        }
    }
}
