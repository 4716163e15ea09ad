//! From bytes to a typed answer or to an error that says everything the KMS said, but no secret.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::http::{Answer, with_id};
use super::retry::Failed;
use crate::kms::KmsError;

/// Most characters of a message that are passed on.
const MESSAGE_MAX: usize = 600;

/// An answer to an action, with the id of its request.
#[derive(Debug)]
pub struct Answered<T> {
    /// What the action answers.
    pub data: T,
    /// The id of the request, if there was one.
    pub request_id: Option<String>,
}

/// What clients read of an error (reference, §3.1); a gateway may spell the names in lower case.
#[derive(Debug, Deserialize)]
struct Refusal {
    #[serde(alias = "code")]
    #[serde(rename = "Code")]
    code: String,
    #[serde(default, rename = "Message", alias = "message")]
    message: String,
    #[serde(
        default,
        rename = "RequestId",
        alias = "requestId",
        alias = "requestid",
        alias = "request_id"
    )]
    request_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Id {
    #[serde(
        default,
        rename = "RequestId",
        alias = "requestId",
        alias = "requestid",
        alias = "request_id"
    )]
    request_id: Option<String>,
}

/// Reads an answer to `action`.
///
/// # Errors
/// What the KMS refused with, by its code; `Kms.BadAnswer` for what is no answer of a KMS; by the status for a failure
/// of something before it.
pub fn read<T: DeserializeOwned>(action: &str, answer: &Answer) -> Result<Answered<T>, Failed> {
    if answer.status != 200 {
        return Err(Failed {
            error: refused(action, answer),
            maybe_done: answer.status >= 500,
            after: answer.retry_after,
        });
    }
    let id: Id = serde_json::from_slice(&answer.body).unwrap_or_default();
    let request_id = id.request_id.or_else(|| answer.request_id.clone());
    match serde_json::from_slice(&answer.body) {
        Ok(data) => Ok(Answered { data, request_id }),
        Err(error) => Err(Failed {
            // The library would quote values, and a value may be a key: only the place is passed on.
            error: with_id(unreadable(action, error.column()), request_id),
            maybe_done: true,
            after: None,
        }),
    }
}

fn unreadable(action: &str, column: usize) -> KmsError {
    let message = format!("what came back is no answer to {action} (at byte {column})");
    KmsError::new("Kms.BadAnswer", message)
}

fn refused(action: &str, answer: &Answer) -> KmsError {
    let status = answer.status;
    if let Ok(refusal) = serde_json::from_slice::<Refusal>(&answer.body) {
        let error = KmsError::answered(clean(&refusal.code), status, said(&refusal.message));
        return with_id(error, refusal.request_id.or_else(|| answer.request_id.clone()));
    }
    // What stands before the KMS answers in HTML or not at all. It cannot withdraw a key.
    let message = format!("HTTP status {status} to {action}, and no error of the KMS");
    let code = match status {
        429 => "Rejected.Throttling",
        500.. => "ServiceUnavailableTemporary",
        _ => "Kms.BadAnswer",
    };
    with_id(KmsError::new(code, message), answer.request_id.clone())
}

/// The message without what the service quotes of the request, which may be what was to be encrypted.
fn said(message: &str) -> String {
    let message = message.split("server string to sign is").next().unwrap_or_default();
    match clean(message) {
        text if text.is_empty() => "refused without a reason".to_owned(),
        text => text,
    }
}

/// A text from elsewhere on one line, and not too long.
pub fn clean(text: &str) -> String {
    let plain = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(MESSAGE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kms::{Remedy, Retry};
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            request_id: Some("of-the-header".into()),
            retry_after: None,
            body: Zeroizing::new(body.as_bytes().to_vec()),
        }
    }

    fn error(status: u16, body: &str) -> KmsError {
        read::<Id>("Encrypt", &answer(status, body)).unwrap_err().error
    }

    #[test]
    fn nothing_that_the_kms_says_is_lost() {
        let text = r#"{"HttpStatus":409,"Code":"Rejected.Disabled","Message":"key is\nDisabled.","RequestId":"r-1"}"#;
        let refused = error(409, text);
        assert_eq!(
            (refused.code(), refused.request_id()),
            ("Rejected.Disabled", Some("r-1"))
        );
        assert_eq!(refused.message(), "key is Disabled.");
        let gateway = error(
            400,
            r#"{"code":"Throttling.User","message":"slower","requestId":"r-2","HostId":"h"}"#,
        );
        assert_eq!(
            (gateway.remedy(), gateway.request_id()),
            (Remedy::Throttled, Some("r-2"))
        );
        assert_eq!(error(403, r#"{"Code":"New.Code"}"#).remedy(), Remedy::Denied);
    }

    #[test]
    fn what_stands_before_the_kms_cannot_withdraw_a_key() {
        for status in [301, 302, 400, 401, 403, 404, 407] {
            let error = error(status, "<html>no</html>");
            assert_eq!(
                (error.remedy(), error.retry()),
                (Remedy::Unreachable, Retry::Never),
                "{status}"
            );
            assert_eq!(error.request_id(), Some("of-the-header"));
        }
        assert_eq!(error(502, "<html>").retry(), Retry::Backoff);
        assert_eq!(error(429, "").remedy(), Remedy::Throttled);
    }

    #[test]
    fn neither_keys_nor_what_was_to_be_encrypted_are_quoted() {
        let text = r#"{"Code":"SignatureDoesNotMatch","Message":"Specified signature is not matched with our calculation. server string to sign is:POST&%2F&Plaintext%3DSECRET"}"#;
        assert!(!error(400, text).to_string().contains("SECRET"));
        #[derive(Debug, Deserialize)]
        struct Number {
            #[serde(rename = "Plaintext")]
            _plaintext: u8,
        }
        let text = r#"{"Plaintext":"SECRET","RequestId":"r-3"}"#;
        let error = read::<Number>("Decrypt", &answer(200, text)).unwrap_err().error;
        assert_eq!((error.code(), error.request_id()), ("Kms.BadAnswer", Some("r-3")));
        assert!(!format!("{error} {error:?}").contains("SECRET"));
    }

    #[test]
    fn messages_end_somewhere() {
        let text = format!(r#"{{"Code":"X","Message":"{}"}}"#, "m".repeat(100_000));
        assert!(error(400, &text).to_string().len() < 1000);
    }

    proptest! {
        #[test]
        fn anything_at_all_is_an_answer_or_an_error(status in 100u16..600, body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let answer = Answer { status, request_id: None, retry_after: None, body: Zeroizing::new(body) };
            let _ = read::<Id>("Encrypt", &answer);
        }
    }
}
