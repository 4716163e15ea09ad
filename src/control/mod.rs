//! The socket of a running mount: status, lock, unlock, flush; and the directory in which mounts are found.
//!
//! Also what a mount tells of itself without being asked: metrics, and the audit log.
//!
//! One line of JSON asks, one line answers. What a request does is the daemon's [`Handler`]; the socket itself is for
//! root and for the owner of the mount, nobody else.

mod audit;
mod client;
mod exporter;
mod message;
mod metrics;
mod registry;
mod server;
mod status;

pub use audit::{Audit, Event};
pub use client::{ClientError, ask};
pub use exporter::{Place, serve};
pub use message::{Answer, Refusal, Request, receive, send};
pub use registry::{Entry, Registry};
pub use server::{Handler, Server};
pub use status::{JournalStatus, KeyStatus, KmsStatus, RevocationStatus, State, Status};
