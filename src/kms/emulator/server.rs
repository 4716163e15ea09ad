//! HTTP/1.1 around the service: listening, reading requests within bounds, sending answers, stopping gracefully.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::sync::Semaphore;

use super::admin;
use super::answer::{Answer, Ending};
use super::long_line::{LongLines, TARGET};
use super::service::Emulator;
use super::wire::Received;
use crate::kms::signature::Headers;

/// Most bytes of a request's body: far more than any action takes.
const BODY_MAX: usize = 1 << 20;
/// Most bytes of a request's head.
const HEAD_MAX: usize = 256 << 10;
/// How long a connection may take to send the next head, or the rest of a body.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long requests that have begun may take after the order to stop.
const FAREWELL: Duration = Duration::from_secs(5);
/// Connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 4096;

/// The sockets, bound but not yet served.
pub struct Listeners {
    kms: TcpListener,
    admin: Option<TcpListener>,
}

impl Listeners {
    /// Binds; port 0 takes one that is free.
    ///
    /// # Errors
    /// The address and why it cannot be had.
    pub fn bind(kms: SocketAddr, admin: Option<SocketAddr>) -> Result<Listeners, (SocketAddr, io::Error)> {
        let bind = |address: SocketAddr| {
            let listener = TcpListener::bind(address).and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok(listener)
            });
            listener.map_err(|error| (address, error))
        };
        Ok(Listeners {
            kms: bind(kms)?,
            admin: admin.map(bind).transpose()?,
        })
    }

    /// Where the KMS listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn kms(&self) -> io::Result<SocketAddr> {
        self.kms.local_addr()
    }

    /// Where the admin endpoint listens, if there is one.
    ///
    /// # Errors
    /// The system does not say.
    pub fn admin(&self) -> io::Result<Option<SocketAddr>> {
        self.admin.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Serves until `stop` is ready, and then what has begun.
    ///
    /// # Errors
    /// No runtime, or a socket that cannot be served.
    pub fn serve(self, emulator: Emulator, stop: impl Future<Output = ()>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(64)
            .thread_name("emulator")
            .enable_all()
            .build()?;
        let outcome = runtime.block_on(self.run(Arc::new(emulator), stop));
        runtime.shutdown_timeout(Duration::from_secs(1));
        outcome
    }

    async fn run(self, emulator: Arc<Emulator>, stop: impl Future<Output = ()>) -> io::Result<()> {
        let kms = tokio::net::TcpListener::from_std(self.kms)?;
        let admin = self.admin.map(tokio::net::TcpListener::from_std).transpose()?;
        let graceful = GracefulShutdown::new();
        let admin = async {
            match admin {
                Some(listener) => accept(listener, Door::Admin, &emulator, &graceful).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop => {}
            () = accept(kms, Door::Kms, &emulator, &graceful) => {}
            () = admin => {}
        }
        // Whoever does not take his answer by then goes without.
        let _ = tokio::time::timeout(FAREWELL, graceful.shutdown()).await;
        Ok(())
    }
}

/// Which of the two sockets a connection came by.
#[derive(Debug, Clone, Copy)]
enum Door {
    Kms,
    Admin,
}

async fn accept(listener: tokio::net::TcpListener, door: Door, emulator: &Arc<Emulator>, graceful: &GracefulShutdown) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: it passes when a connection ends.
                tracing::warn!("accepting a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Requests and answers are small and whole.
        let _ = stream.set_nodelay(true);
        let emulator = Arc::clone(emulator);
        let service = service_fn(move |request| {
            let emulator = Arc::clone(&emulator);
            async move {
                match door {
                    Door::Kms => serve_kms(request, emulator).await,
                    Door::Admin => Ok(serve_admin(request, &emulator).await),
                }
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .max_buf_size(HEAD_MAX)
            .serve_connection(TokioIo::new(LongLines::new(stream)), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection ended: {error}");
            }
            drop(place);
        });
    }
}

/// A connection that a fault breaks off.
#[derive(Debug, thiserror::Error)]
#[error("broken off, as ordered")]
struct BrokenOff;

async fn serve_kms(request: Request<Incoming>, emulator: Arc<Emulator>) -> Result<Response<Payload>, BrokenOff> {
    let (parts, body) = request.into_parts();
    let mut headers = Headers::default();
    for (name, value) in &parts.headers {
        // What is not UTF-8 cannot have been signed as text either.
        headers.add(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
    }
    let path = parts.uri.path();
    if !matches!(path, "" | "/") {
        let why = "Specified api is not found, please check your url and method.";
        return Ok(plain(StatusCode::NOT_FOUND, why));
    }
    let body = match read(body).await {
        Ok(body) => body,
        Err(status) => return Ok(plain(status, "the request's body is too long, too slow, or cut off")),
    };
    let method = parts.method.as_str().to_owned();
    let query = query(&mut headers).unwrap_or_else(|| parts.uri.query().unwrap_or_default().to_owned());
    let work = move || emulator.answer(&Received::new(&method, &query, headers, &body));
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => respond(answer).await,
        Err(error) => {
            tracing::error!("a request failed: {error}");
            Ok(plain(StatusCode::INTERNAL_SERVER_ERROR, "Internal Failure."))
        }
    }
}

/// The query of a target that was too long for the request line.
fn query(headers: &mut Headers) -> Option<String> {
    let target = headers.take(TARGET)?;
    Some(target.split_once('?')?.1.to_owned())
}

async fn serve_admin(request: Request<Incoming>, emulator: &Emulator) -> Response<Payload> {
    let (parts, body) = request.into_parts();
    match read(body).await {
        Ok(body) => {
            let (status, text) = admin::answer(emulator, parts.method.as_str(), parts.uri.path(), &body);
            let mut response = plain(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), &text);
            set(&mut response, "content-type", "application/json");
            response
        }
        Err(status) => plain(status, "the request's body is too long, too slow, or cut off"),
    }
}

async fn read(body: Incoming) -> Result<Bytes, StatusCode> {
    match tokio::time::timeout(PATIENCE, Limited::new(body, BODY_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

async fn respond(answer: Answer) -> Result<Response<Payload>, BrokenOff> {
    if !answer.delay.is_zero() {
        tokio::time::sleep(answer.delay).await;
    }
    if answer.ending == Ending::Dropped {
        return Err(BrokenOff);
    }
    let cut = answer.ending == Ending::Cut;
    let mut response = Response::new(Payload::new(answer.body.into(), cut));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    set(&mut response, "content-type", answer.content_type);
    set(&mut response, "x-acs-request-id", &answer.request_id);
    Ok(response)
}

fn plain(status: StatusCode, text: &str) -> Response<Payload> {
    let mut response = Response::new(Payload::new(text.to_owned().into(), false));
    *response.status_mut() = status;
    response
}

fn set(response: &mut Response<Payload>, name: &'static str, value: &str) {
    if let Ok(value) = value.parse() {
        response.headers_mut().insert(name, value);
    }
}

/// A body in one piece, or its first half and then a broken connection.
struct Payload {
    bytes: Option<Bytes>,
    length: u64,
    cut: Cut,
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// Where it should.
    No,
    /// In the middle.
    Half,
    /// There, once what came before is on its way.
    Now,
}

impl Payload {
    fn new(bytes: Bytes, cut: bool) -> Payload {
        let length = bytes.len();
        let sent = if cut { bytes.slice(..length / 2) } else { bytes };
        Payload {
            length: length as u64,
            bytes: Some(sent),
            cut: if cut { Cut::Half } else { Cut::No },
        }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(bytes) = self.bytes.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match self.cut {
            Cut::No => Poll::Ready(None),
            // An error at once would take back what has not been sent yet.
            Cut::Half => {
                self.cut = Cut::Now;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Cut::Now => Poll::Ready(Some(Err(BrokenOff))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none() && self.cut == Cut::No
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
