//! The file system without a mount: what each call answers, and what is found again by a fresh one.

mod ahead;
mod bench;
mod crash;
mod directories;
mod links;
mod model;
mod names;
mod parallel;
mod power;
mod values;
