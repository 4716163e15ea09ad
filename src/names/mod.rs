//! From a plain path element to its stored name: sealing, opening, and the index of a directory.
//!
//! Everything here works on one directory of the backing; which directory that is, and who may change it
//! at the same time, is for `fs` to say.

mod index;
mod label;
mod place;

pub use index::{Entry, Index, IndexError, Lookup, Strays, label_of};
pub use label::{Instance, Label, Line};
pub use place::{Placed, is_long, place, remove_side};
