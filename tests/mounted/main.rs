//! The whole program: the built binary, real mounts, real programs.
//!
//! A test that needs FUSE says so and passes over when there is no /dev/fuse, unless `KMSFS_REQUIRE_FUSE=1`
//! (as `scripts/check.sh` sets it): then it fails.
//!
//! - `harness`: a volume in a temporary directory, mounted, always unmounted
//! - `work`: real programs do real work, and find everything again after a remount
//! - `attacks`: somebody edits the backing
//! - `cloud`: a volume whose master key is behind Alibaba Cloud's wire; `emulator` is the other end
//! - `dark`: the key is withdrawn and the data goes dark, `dark_memory`: also in the daemon's memory; `holder` is a program
//!   that uses the mount meanwhile
//! - `hung`: the disk below hangs meanwhile
//! - `withdrawn`: the same by way of Alibaba Cloud's wire, with every fault that the emulator can make
//! - `ephemeral`: scratch space, and that nothing of it is left
//! - `killed`: the daemon is killed at random moments; `ledger` knows what must be there then
//! - `namespace`: calls that programs seldom make
//! - `service`: the daemon as systemd, mount(8) and signals see it, and what is left of one that died
//! - `single`: files of a backing, unsealed without the mount
//! - `broken`: what is damaged, full or gone stays within bounds
//! - `quota`: quotas of an ext4 below, as users meet them
//! - `limits`: many files, large directories, few descriptors; `sharing`: several processes and users
//! - `differential`: random calls, compared with a plain directory
//! - `user`: an ordinary user, without privileges
//! - `observe`: metrics, the audit log, and what becomes of a mount that nobody uses
//! - `sample`: volumes of every released format still open

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test fails by panicking.

mod attacks;
mod broken;
mod cloud;
mod dark;
mod dark_memory;
mod differential;
mod disk;
mod durable;
mod emulator;
mod ephemeral;
mod full;
mod harness;
mod holder;
mod hung;
mod killed;
mod ledger;
mod limits;
mod namespace;
mod observe;
mod quota;
mod sample;
mod service;
mod sharing;
mod single;
mod user;
mod withdrawn;
mod work;
