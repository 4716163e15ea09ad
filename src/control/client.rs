//! The asking end of the socket.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use thiserror::Error;

use super::Registry;
use super::message::{Answer, Request, receive, send};

/// A status is at hand; writing everything back is not.
const STATUS_PATIENCE: Duration = Duration::from_secs(10);
const WORK_PATIENCE: Duration = Duration::from_secs(600);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No daemon listens: nothing of this user is mounted there, or it crashed.
    #[error("no daemon answers for it")]
    NoDaemon,
    /// The socket belongs to somebody else.
    #[error("its daemon belongs to another user")]
    NotOurs,
    /// The daemon was there, but did not answer.
    #[error("its daemon did not answer: {0}")]
    NoAnswer(io::Error),
}

/// Asks the mount at `mountpoint`, and waits for the answer.
///
/// # Errors
/// [`ClientError`].
pub fn ask(registry: &Registry, mountpoint: &Path, request: Request) -> Result<Answer, ClientError> {
    let peer = UnixStream::connect(registry.socket(mountpoint)).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::NoDaemon,
        ErrorKind::PermissionDenied => ClientError::NotOurs,
        _ => ClientError::NoAnswer(error),
    })?;
    let patience = match request {
        Request::Status => STATUS_PATIENCE,
        Request::Lock | Request::Unlock | Request::Flush => WORK_PATIENCE,
    };
    let talk = || {
        peer.set_write_timeout(Some(STATUS_PATIENCE))?;
        peer.set_read_timeout(Some(patience))?;
        send(&peer, &request)?;
        receive(&peer)
    };
    talk().map_err(ClientError::NoAnswer)
}
