//! Request signatures of Alibaba Cloud's OpenAPI (reference, §2): what the client makes and the emulator checks.
//!
//! Pure: knows names, values and secrets; knows no HTTP library, no clock and no action.

mod acs3;
mod acs4;
mod canonical;
mod rpc1;

pub use acs3::Acs3;
pub use acs4::{Acs4, Scope};
pub use canonical::{Headers, Parameters, Request, body_hash, percent_encode};
pub use rpc1::Rpc1;

#[cfg(test)]
mod tests;
