//! The embedded key store as a whole: that it is a KMS, and that its file can be neither read nor bent.

mod asymmetric;
mod bent;
mod scene;
mod store;
mod travel;
mod wide;
