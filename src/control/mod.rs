//! The socket of a running mount: status, lock, unlock, flush; and the directory in which mounts are found.
//!
//! One line of JSON asks, one line answers. What a request does is the daemon's [`Handler`]; the socket itself is for
//! root and for the owner of the mount, nobody else.

mod client;
mod message;
mod registry;
mod server;
mod status;

pub use client::{ClientError, ask};
pub use message::{Answer, Refusal, Request, receive, send};
pub use registry::{Entry, Registry};
pub use server::{Handler, Server};
pub use status::{JournalStatus, KeyStatus, KmsStatus, RevocationStatus, State, Status};
