//! What random calls have found, each as short as it could be made.

use super::calls::{Call, Name, Range, User, What};
use super::with_pair;

fn by(user: u32, what: What) -> Call {
    Call { by: User(user), what }
}

fn same(calls: Vec<Call>) {
    with_pair(move |pair| pair.same(&calls).unwrap());
}

fn name(name: &str) -> Name {
    Name(name.to_owned())
}

fn create(slot: usize, path: &str, mode: u32) -> What {
    let (path, flags) = (name(path), (libc::O_RDWR | libc::O_CREAT).cast_unsigned());
    What::Open {
        slot,
        path,
        flags,
        mode,
    }
}

fn chmod(path: &str, mode: u32) -> What {
    What::Chmod { path: name(path), mode }
}

const FIRST: Range = Range { at: 0, len: 1 };

/// chown(2) with -1 for both ids takes setuid and setgid away, as every chown does. The kernel sends it as a
/// change of nothing, and nothing was done.
#[test]
fn regression_chown_of_nothing_takes_setid_bits_away() {
    let path = name("a");
    let (uid, gid) = (None, None);
    same(vec![
        by(0, create(0, "a", 0o6755)),
        by(0, What::Chown { path, uid, gid }),
    ]);
}

/// Since Linux 6.2 a file system takes setgid from a file without group execution too, when somebody who is not of
/// its group changes it; and fallocate(2) and copy_file_range(2) are such changes. The kernel leaves it to the daemon.
#[test]
fn regression_a_stranger_to_the_group_takes_setgid_away() {
    let copy = |from, to| What::Copy {
        from,
        at: 0,
        to,
        range: FIRST,
    };
    let (slot, mode, range) = (0, 0, FIRST);
    same(vec![
        by(0, create(0, "a", 0o2644)),
        by(1, What::FTruncate { slot, len: 0 }),
        by(0, chmod("a", 0o2644)),
        by(1, What::Allocate { slot, mode, range }),
        by(0, chmod("a", 0o6644)),
        by(1, What::Write { slot, range, seed: 1 }),
        by(0, chmod("a", 0o6755)),
        by(0, create(1, "b", 0o644)),
        by(1, copy(0, 1)),
        by(1, copy(1, 0)),
    ]);
}

/// A whiteout belongs to who renames. It was the daemon's.
#[test]
fn regression_a_whiteout_belongs_to_the_caller() {
    let (path, mode, flags) = (name("a"), 0o755, libc::RENAME_WHITEOUT);
    let (from, to) = (name("a"), name("b"));
    same(vec![
        by(0, What::Mkdir { path, mode }),
        by(1, What::Rename { from, to, flags }),
    ]);
}
