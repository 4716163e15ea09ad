//! The embedded key store as a whole: that it is a KMS, and that its file can be neither read nor bent.

mod asymmetric;
mod scene;
mod store;
mod wide;
