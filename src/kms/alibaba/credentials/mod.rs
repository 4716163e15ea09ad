//! Who kmsfs is to the cloud: the official default chain of credentials (reference, §5), kept fresh for all calls.
//!
//! A source is first read into a recipe, without asking anybody; then the recipe is followed.

mod chain;
mod cli_profile;
mod credential;
mod ecs;
mod fetch;
mod ini_profile;
mod keeper;
mod recipe;
mod sts;
mod uri;
mod world;

pub use credential::Credential;
pub use keeper::Keeper;
pub use world::World;

#[cfg(test)]
mod tests;
