//! The socket of a running mount: status, lock, unlock.
