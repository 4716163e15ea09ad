//! One exchange over HTTP, bounded in time and in size. It follows no redirect and uses no proxy: whoever answers
//! is whom the settings name.

use std::path::Path;
use std::time::Duration;

use reqwest::{Certificate, Client, Request, Response};
use zeroize::Zeroizing;

use super::retry::Failed;
use crate::kms::KmsError;

/// Most bytes of an answer. The largest real ones, pages of a list, have about 20 KiB.
pub const ANSWER_MAX: usize = 256 * 1024;

/// Whose certificates are believed.
#[derive(Debug, Clone, Copy)]
pub enum Trust<'a> {
    /// Nobody's: for plain HTTP.
    Nobody,
    /// Those that the system trusts.
    System,
    /// Those of a file, as PEM, and no others.
    File(&'a Path),
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header `x-acs-request-id`.
    pub request_id: Option<String>,
    /// The pause that it asks for before the next try.
    pub retry_after: Option<Duration>,
    /// The body; it may hold a key.
    pub body: Zeroizing<Vec<u8>>,
}

/// A client that keeps connections.
#[derive(Debug, Clone)]
pub struct Http(Client);

impl Http {
    /// A client that believes `trust` and waits `connect` for a connection.
    ///
    /// # Errors
    /// `Kms.Endpoint`: the certificates cannot be read.
    pub fn new(trust: Trust<'_>, connect: Duration) -> Result<Http, KmsError> {
        // Once for the process; whoever was first installed the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .http1_only()
            .tcp_nodelay(true)
            .connect_timeout(connect)
            .pool_idle_timeout(Duration::from_secs(30))
            .user_agent(concat!("kmsfs/", env!("CARGO_PKG_VERSION")));
        let builder = match trust {
            Trust::Nobody => builder.tls_certs_only([]),
            Trust::System => builder,
            Trust::File(path) => builder.tls_certs_only(certificates(path)?),
        };
        let client = builder.build().map_err(|error| {
            let message = format!("no certificates to check the endpoint by: {}", innermost(&error));
            KmsError::new("Kms.Endpoint", message)
        })?;
        Ok(Http(client))
    }

    /// Sends `request` and reads the whole answer, all within `within`.
    ///
    /// # Errors
    /// `Kms.Timeout`, `Kms.Unreachable`, `Kms.Untrusted`, or `Kms.BadAnswer` for one that is too long.
    pub async fn exchange(&self, request: Request, within: Duration) -> Result<Answer, Failed> {
        let exchange = async {
            let response = self.0.execute(request).await.map_err(|error| failed(&error))?;
            read(response).await
        };
        match tokio::time::timeout(within, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let message = format!("no complete answer within {within:?}");
                Err(broken(KmsError::new("Kms.Timeout", message), true))
            }
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, KmsError> {
    let wrong = |why: String| {
        KmsError::new("Kms.Endpoint", format!("no certificates: {why}")).about(path.display().to_string())
    };
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(innermost(&error)))?;
    match found.is_empty() {
        true => Err(wrong("the file holds none in PEM".into())),
        false => Ok(found),
    }
}

async fn read(mut response: Response) -> Result<Answer, Failed> {
    let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.trim().to_owned());
    let mut answer = Answer {
        status: response.status().as_u16(),
        request_id: header("x-acs-request-id"),
        retry_after: pause(header("x-acs-retry-after"), header("retry-after")),
        body: Zeroizing::new(Vec::new()),
    };
    let announced = response.content_length().unwrap_or(0);
    if announced > ANSWER_MAX as u64 {
        return Err(too_long(answer.request_id));
    }
    // All at once, or growing would leave copies behind that nobody wipes.
    answer
        .body
        .reserve_exact(if announced > 0 { announced as usize } else { ANSWER_MAX });
    loop {
        let chunk = response
            .chunk()
            .await
            .map_err(|error| cut_off(&error, answer.request_id.clone()))?;
        let Some(chunk) = chunk else { return Ok(answer) };
        if answer.body.len() + chunk.len() > ANSWER_MAX {
            return Err(too_long(answer.request_id));
        }
        answer.body.extend_from_slice(&chunk);
    }
}

/// Milliseconds of Alibaba's own header, or seconds of the standard's (RFC 9110, section 10.2.3; a date counts for
/// nothing).
fn pause(own: Option<String>, standard: Option<String>) -> Option<Duration> {
    let number = |text: Option<String>| text?.parse::<u64>().ok();
    let own = number(own).map(Duration::from_millis);
    own.or_else(|| number(standard).map(Duration::from_secs))
}

fn broken(error: KmsError, maybe_done: bool) -> Failed {
    Failed {
        error,
        maybe_done,
        after: None,
    }
}

fn failed(error: &reqwest::Error) -> Failed {
    let reason = innermost(error);
    if distrust(error) {
        let message = format!("its certificate is not trusted: {reason}");
        return broken(KmsError::new("Kms.Untrusted", message), false);
    }
    if error.is_connect() {
        let code = if error.is_timeout() {
            "Kms.Timeout"
        } else {
            "Kms.Unreachable"
        };
        return broken(KmsError::new(code, format!("no connection: {reason}")), false);
    }
    let message = format!("the connection broke before an answer came: {reason}");
    broken(KmsError::new("Kms.Unreachable", message), true)
}

fn cut_off(error: &reqwest::Error, request_id: Option<String>) -> Failed {
    let message = format!("the answer was cut off: {}", innermost(error));
    broken(with_id(KmsError::new("Kms.Unreachable", message), request_id), true)
}

fn too_long(request_id: Option<String>) -> Failed {
    let message = format!("the answer is longer than {ANSWER_MAX} bytes");
    broken(with_id(KmsError::new("Kms.BadAnswer", message), request_id), true)
}

pub fn with_id(error: KmsError, request_id: Option<String>) -> KmsError {
    match request_id {
        Some(id) => error.request(super::answer::clean(&id)),
        None => error,
    }
}

/// The causes of an error, from the outside in.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// What it comes down to; the outer errors may quote the URL, and that may hold what is to be encrypted.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let text = |error: &(dyn std::error::Error + 'static)| match error.downcast_ref::<reqwest::Error>() {
        Some(_) => "the request failed".to_owned(),
        None => error.to_string(),
    };
    causes(error).last().map_or_else(String::new, text)
}

fn distrust(error: &(dyn std::error::Error + 'static)) -> bool {
    let certificate = |error: &rustls::Error| {
        matches!(
            error,
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented
        )
    };
    // I/O errors hide what they carry from the chain of causes, and may carry one another.
    let carried = |cause: &'_ (dyn std::error::Error + 'static)| {
        let mut cause = cause;
        while let Some(inner) = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            cause = inner;
        }
        cause.downcast_ref::<rustls::Error>().is_some_and(certificate)
    };
    causes(error).any(carried)
}
