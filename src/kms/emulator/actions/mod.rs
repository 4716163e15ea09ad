//! The actions of the API, a file for each group, and the table in which each stands once.

mod aliases;
mod arguments;
mod asymmetric;
mod import;
mod keys;
mod states;
mod symmetric;
mod table;
mod tags;
mod versions;

pub(super) use arguments::{Arguments, House};
pub(super) use table::{Action, find};
