//! Listings, look-ups that are counted, and directories that go away under somebody.

use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::bench::{Bench, caller, errno};
use crate::fs::types::ROOT;

#[test]
fn a_listing_is_stable_while_entries_come_and_go() {
    let bench = Bench::new();
    for n in 0..100 {
        bench.file(ROOT, &format!("f{n}"), "");
    }
    let handle = bench.fs.open_directory(ROOT).unwrap();
    let (mut seen, mut offset) = (Vec::new(), 0);
    loop {
        let (before, from, mut taken) = (seen.len(), offset, 0);
        let take = |item: crate::fs::Listed<'_>| {
            if taken == 7 {
                return true;
            }
            taken += 1;
            seen.push(String::from_utf8(item.name.to_vec()).unwrap());
            offset = item.next;
            false
        };
        bench.fs.list(handle, from, take).unwrap();
        if seen.len() == before {
            break;
        }
        // What was there at the beginning is listed once, whatever happens.
        let gone = seen.last().unwrap().clone();
        if gone.starts_with('f') {
            bench.fs.unlink(ROOT, gone.as_bytes()).unwrap();
        }
        bench.file(ROOT, &format!("later{offset}"), "");
    }
    let mut files: Vec<_> = seen.iter().filter(|name| name.starts_with('f')).collect();
    assert_eq!(files.len(), 100);
    files.sort();
    files.dedup();
    assert_eq!(files.len(), 100);
    assert_eq!(&seen[..2], [".", ".."]);
    // From the beginning again, it is what is there now.
    let mut count = 0;
    bench
        .fs
        .list(handle, 0, |_| {
            count += 1;
            false
        })
        .unwrap();
    assert_eq!(count, bench.root().len() + 2);
    bench.fs.release_directory(handle);
    assert_eq!(errno(bench.fs.list(handle, 0, |_| false)), Errno::BADF);
}

#[test]
fn what_a_listing_refuses_is_not_counted() {
    let bench = Bench::new();
    let below = bench.dir(ROOT, "below");
    for n in 0..10 {
        let ino = bench.file(below, &format!("f{n}"), "x");
        bench.fs.forget(ino, 1);
    }
    let handle = bench.fs.open_directory(below).unwrap();
    let mut counted = Vec::new();
    let fill = |item: crate::fs::ListedPlus<'_>| match item.found {
        Some(_) if counted.len() == 4 => true,
        Some(found) => {
            assert_eq!(found.attr.size, 1);
            counted.push(found.attr.ino);
            false
        }
        None => false,
    };
    bench.fs.list_plus(handle, 0, fill).unwrap();
    let mut known = bench.fs.known_inodes();
    known.retain(|ino| ![ROOT, below].contains(ino));
    known.sort_unstable();
    counted.sort_unstable();
    assert_eq!(known, counted);
    for ino in counted {
        bench.fs.forget(ino, 1);
    }
    bench.fs.release_directory(handle);
    bench.fs.forget(below, 1);
    assert_eq!(bench.fs.known_inodes(), [ROOT]);
}

#[test]
fn a_removed_directory_answers_while_somebody_is_in_it() {
    let bench = Bench::new();
    let below = bench.dir(ROOT, "below");
    bench.file(below, "x", "");
    assert_eq!(errno(bench.fs.remove_directory(ROOT, b"below")), Errno::NOTEMPTY);
    bench.fs.unlink(below, b"x").unwrap();
    assert_eq!(errno(bench.fs.unlink(ROOT, b"below")), Errno::ISDIR);
    bench.fs.remove_directory(ROOT, b"below").unwrap();
    assert_eq!(bench.fs.get_attr(below).unwrap().links, 0);
    assert!(bench.list(below).is_empty());
    assert_eq!(
        errno(bench.fs.make_directory(below, b"y", 0o755, &caller())),
        Errno::NOENT
    );
    bench.fs.forget(below, 1);
    assert_eq!(errno(bench.fs.get_attr(below)), Errno::STALE);
}

#[test]
fn a_deep_tree_is_reached_when_its_directories_are_closed() {
    let bench = Bench::new();
    let mut at = ROOT;
    for n in 0..400 {
        at = bench.dir(at, &format!("d{n}"));
    }
    bench.file(at, "deep", "down");
    bench.fs.directories.lock().clear();
    assert_eq!(bench.text(at, "deep").unwrap(), "down");
    bench
        .rename((ROOT, "d0"), (ROOT, "other"), crate::fs::types::RenameHow::Replace)
        .unwrap();
    bench.fs.directories.lock().clear();
    assert_eq!(bench.text(at, "deep").unwrap(), "down");
}

/// Waits until `holds`.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A lock that forgot the names waited for a listing, which waited for a directory in which the disk held somebody up.
#[test]
fn regression_names_are_forgotten_although_somebody_hangs_in_a_directory() {
    let bench = Bench::new();
    let (busy, free) = (bench.dir(ROOT, "busy"), bench.dir(ROOT, "free"));
    bench.file(free, "name", "");
    let fs = &bench.fs;
    let (busy, free) = (fs.inode(busy).unwrap(), fs.inode(free).unwrap());
    let handle = fs.open_directory(busy.ino).unwrap();
    assert!(free.names().unwrap().read().is_some());
    std::thread::scope(|threads| {
        let hangs = busy.names().unwrap().write();
        let lists = threads.spawn(|| fs.list(handle, 0, |_| false));
        let listing = &fs.handles.directory(handle).unwrap().listing;
        eventually("listing", || listing.try_lock().is_none());
        let forgets = threads.spawn(|| fs.forget_names());
        eventually("forgotten", || free.names().unwrap().read().is_none());
        assert!(!forgets.is_finished(), "the busy directory was left out");
        drop(hangs);
        lists.join().unwrap().unwrap();
        forgets.join().unwrap();
        assert!(listing.lock().is_none());
    });
}
