//! Serves the metrics of a mount over HTTP: on a loopback port or a Unix socket, to whoever asks there.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::metrics::render;
use super::server::{Handler, REQUESTS_MAX};

/// How long a peer may take for its request, and for all of it.
const REQUEST: Duration = Duration::from_secs(5);
const CONVERSATION: Duration = Duration::from_secs(30);
const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Where metrics are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At a loopback address.
    Loopback(SocketAddr),
    /// At a Unix socket, which belongs to the user of the mount alone.
    Socket(PathBuf),
}

/// Serves the metrics of `handler` at `place` until the process ends.
///
/// # Errors
/// The place cannot be listened at.
pub fn serve(place: &Place, handler: Arc<dyn Handler>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _inside = runtime.enter();
        listen(place)?
    };
    let run = move || runtime.block_on(accept(listener, handler));
    std::thread::Builder::new().name("metrics".into()).spawn(run).map(drop)
}

enum Listener {
    Loopback(TcpListener),
    Socket(UnixListener),
}

fn listen(place: &Place) -> io::Result<Listener> {
    match place {
        Place::Loopback(address) => {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(Listener::Loopback(TcpListener::from_std(listener)?))
        }
        Place::Socket(path) => {
            take_stale_away(path)?;
            let listener = UnixListener::bind(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            Ok(Listener::Socket(listener))
        }
    }
}

/// Removes the socket of a daemon that is no more; nothing else is touched.
fn take_stale_away(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|facts| facts.file_type().is_socket());
    match is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        true => fs::remove_file(path),
        false => Ok(()),
    }
}

async fn accept(listener: Listener, handler: Arc<dyn Handler>) {
    let rooms = Arc::new(Semaphore::new(REQUESTS_MAX));
    let serve = |stream: Box<dyn Stream>| {
        // Any user of this host may knock at a loopback port.
        if let Ok(room) = Arc::clone(&rooms).try_acquire_owned() {
            tokio::spawn(converse(stream, Arc::clone(&handler), room));
        }
    };
    loop {
        let accepted = match &listener {
            Listener::Loopback(listener) => listener.accept().await.map(|(stream, _)| serve(Box::new(stream))),
            Listener::Socket(listener) => listener.accept().await.map(|(stream, _)| serve(Box::new(stream))),
        };
        if let Err(error) = accepted {
            tracing::debug!(%error, "a reader of metrics was lost");
            // Out of descriptors, most likely: do not spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn converse(stream: Box<dyn Stream>, handler: Arc<dyn Handler>, _room: OwnedSemaphorePermit) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&request, &*handler);
        async move { Ok::<_, Infallible>(answer) }
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONVERSATION, conversation).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a reader of metrics was lost"),
    }
}

fn answer(request: &Request<Incoming>, handler: &dyn Handler) -> Response<String> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let (status, body) = match request.uri().path() {
        "/metrics" if is_read => (StatusCode::OK, render(&handler.status())),
        "/metrics" => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
        _ => (StatusCode::NOT_FOUND, "there is /metrics\n".to_owned()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static(TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::super::server::tests::Scripted;
    use super::*;

    /// Whoever could reach the port had as many connections as they wanted, each with its buffers, until the daemon was out
    /// of descriptors and could not open a file any more.
    #[test]
    fn regression_there_are_a_few_readers_of_metrics_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("metrics");
        serve(&Place::Socket(socket.clone()), Arc::new(Scripted)).unwrap();
        let connect = || UnixStream::connect(&socket).unwrap();
        let ask = |mut peer: UnixStream| {
            let mut answer = String::new();
            // One that is turned away may be so before it has asked.
            let _ = peer.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let _ = peer.read_to_string(&mut answer);
            answer
        };
        let mut silent: Vec<UnixStream> = (0..REQUESTS_MAX).map(|_| connect()).collect();
        assert_eq!(ask(connect()), "");
        assert!(ask(silent.remove(0)).contains("kmsfs_up"));
        // Its room is free a moment after its answer.
        let served = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            ask(connect()).contains("kmsfs_up")
        });
        assert!(served);
    }
}
