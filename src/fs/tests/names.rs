//! Names: renames of every sort, long names, crashes in the middle, and somebody who edits the backing.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::io::Errno;

use super::bench::{Bench, caller, errno, stored};
use crate::fs::types::{Kind, OpenHow, ROOT, RenameHow};
use crate::sys::entries::Call;
use crate::sys::entries::watch::{self, Moment};

use RenameHow::{Exchange, NoReplace, Replace, Whiteout};

#[test]
fn a_rename_replaces_what_is_there() {
    let bench = Bench::new();
    let below = bench.dir(ROOT, "below");
    let one = bench.file(ROOT, "one", "1");
    bench.file(below, "two", "2");
    bench.rename((ROOT, "one"), (below, "two"), Replace).unwrap();
    assert_eq!(bench.text(below, "two").unwrap(), "1");
    assert_eq!(bench.find(below, "two").unwrap().attr.ino, one);
    assert_eq!(bench.text(ROOT, "one"), Err(Errno::NOENT));
    let bench = bench.again(|_| {});
    let below = bench.find(ROOT, "below").unwrap().attr.ino;
    assert_eq!(bench.root(), ["below"]);
    assert_eq!(bench.list(below), ["two"]);
    assert_eq!(bench.text(below, "two").unwrap(), "1");
}

#[test]
fn renames_answer_as_rename_2_does() {
    let bench = Bench::new();
    let (full, empty) = (bench.dir(ROOT, "full"), bench.dir(ROOT, "empty"));
    bench.file(full, "inside", "");
    let _ = empty;
    bench.file(ROOT, "file", "f");
    let long = "n".repeat(256);
    let rename = |from, to, how| bench.rename((ROOT, from), (ROOT, to), how);
    assert_eq!(rename("absent", "new", Replace), Err(Errno::NOENT));
    assert_eq!(rename("file", "empty", Replace), Err(Errno::ISDIR));
    assert_eq!(rename("empty", "file", Replace), Err(Errno::NOTDIR));
    assert_eq!(rename("empty", "full", Replace), Err(Errno::NOTEMPTY));
    assert_eq!(rename("file", "empty", NoReplace), Err(Errno::EXIST));
    assert_eq!(rename("file", "absent", Exchange), Err(Errno::NOENT));
    assert_eq!(rename("file", "file", Replace), Ok(()));
    assert_eq!(rename("file", &long, Replace), Err(Errno::NAMETOOLONG));
    assert_eq!(bench.root(), ["empty", "file", "full"]);
    assert_eq!(rename("full", "empty", Replace), Ok(()));
    assert_eq!(rename("file", "moved", NoReplace), Ok(()));
    assert_eq!(bench.root(), ["empty", "moved"]);
    let full = bench.find(ROOT, "empty").unwrap().attr.ino;
    assert_eq!(bench.list(full), ["inside"]);
    assert_eq!(bench.stored().len(), 2);
}

#[test]
fn an_exchange_swaps_and_a_whiteout_stays() {
    let bench = Bench::new();
    let below = bench.dir(ROOT, "below");
    bench.file(ROOT, "one", "1");
    bench.file(below, "two", "2");
    bench.rename((ROOT, "one"), (below, "two"), Exchange).unwrap();
    assert_eq!(bench.text(ROOT, "one").unwrap(), "2");
    assert_eq!(bench.text(below, "two").unwrap(), "1");
    bench.rename((ROOT, "one"), (ROOT, "below"), Exchange).unwrap();
    assert_eq!(bench.text(ROOT, "below").unwrap(), "2");
    let bench = bench.again(|_| {});
    assert_eq!(bench.text(ROOT, "below").unwrap(), "2");
    let below = bench.find(ROOT, "one").unwrap().attr.ino;
    assert_eq!(bench.text(below, "two").unwrap(), "1");
    if rustix::process::geteuid().is_root() {
        bench
            .rename((below, "two"), (ROOT, "three"), Whiteout(caller()))
            .unwrap();
        let left = bench.find(below, "two").unwrap().attr;
        assert_eq!((left.kind, left.special), (Kind::CharDevice, (0, 0)));
        assert_eq!(bench.text(ROOT, "three").unwrap(), "1");
    }
}

/// Of an exchange one rename was done, and neither the other one nor the way back. The next exchange took what was written
/// down of it for done and removed it, and then a listing took the file that was left without a place for replaced,
/// and removed it too.
#[test]
fn regression_an_exchange_that_is_half_done_waits_for_the_next_mount() {
    let (bench, aside) = (Bench::new(), tempfile::tempdir().unwrap());
    let long = "l".repeat(200);
    for (name, content) in [("one", "1"), (&*long, "2"), ("three", "3")] {
        bench.file(ROOT, name, content);
    }
    let (backing, away, mut renames) = (bench.backing(), aside.path().to_owned(), 0);
    watch::set(Some(Box::new(move |call, moment| {
        if let (Call::Rename(_, old, ..), Moment::Before) = (call, moment) {
            renames += 1;
            if renames > 1 {
                fs::rename(backing.join(old), away.join(old)).unwrap();
            }
        }
    })));
    assert!(bench.rename((ROOT, "one"), (ROOT, &long), Exchange).is_err());
    watch::set(None);
    for name in stored(aside.path()) {
        fs::rename(aside.path().join(&name), bench.backing().join(&name)).unwrap();
    }
    let refused = bench.rename((ROOT, "three"), (ROOT, &long), Exchange);
    assert_eq!(refused, Err(Errno::IO));
    bench.fs.forget_names();
    assert_eq!(bench.root(), [&*long, "three"]);
    let bench = bench.again(|_| {});
    assert_eq!(bench.text(ROOT, "one").as_deref(), Ok("2"));
    assert_eq!(bench.text(ROOT, &long).as_deref(), Ok("1"));
}

#[test]
fn two_names_of_one_file_stay_two_in_a_rename() {
    let bench = Bench::new();
    let ino = bench.file(ROOT, "a", "x");
    bench.fs.link(ino, ROOT, b"b").unwrap();
    bench.rename((ROOT, "a"), (ROOT, "b"), Replace).unwrap();
    assert_eq!(bench.root(), ["a", "b"]);
}

#[test]
fn a_crash_in_a_rename_over_a_file_leaves_the_new_one() {
    for long in [1, 200] {
        let (old, new) = ("o".repeat(long), "n".repeat(long));
        let bench = Bench::new();
        bench.file(ROOT, &old, "old");
        let aside = tempfile::tempdir().unwrap();
        for name in bench.stored() {
            fs::copy(bench.backing().join(&name), aside.path().join(name)).unwrap();
        }
        bench.file(ROOT, &new, "new");
        bench.rename((ROOT, &new), (ROOT, &old), Replace).unwrap();
        // The rename was durable, and the removal of what it replaced was not.
        let bench = bench.again(|backing| {
            for name in stored(aside.path()) {
                fs::copy(aside.path().join(&name), backing.join(name)).unwrap();
            }
        });
        assert_eq!(bench.root(), [&*old]);
        assert_eq!(bench.text(ROOT, &old).unwrap(), "new");
        // And again, over what has replaced something itself.
        bench.file(ROOT, &new, "newer");
        bench.rename((ROOT, &new), (ROOT, &old), Replace).unwrap();
        let bench = bench.again(|_| {});
        assert_eq!(bench.text(ROOT, &old).unwrap(), "newer");
    }
}

#[test]
fn a_directory_with_nothing_but_leftovers_can_be_removed() {
    let bench = Bench::new();
    let below = bench.dir(ROOT, "below");
    bench.file(below, &"l".repeat(200), "");
    let stored_dir = bench.backing().join(&bench.stored()[0]);
    let side = stored(&stored_dir)
        .into_iter()
        .find(|name| name.ends_with(".name"))
        .unwrap();
    let sealed = fs::read(stored_dir.join(&side)).unwrap();
    bench.fs.unlink(below, "l".repeat(200).as_bytes()).unwrap();
    assert!(stored(&stored_dir).is_empty());
    let bench = bench.again(|_| fs::write(stored_dir.join(&side), sealed).unwrap());
    let below = bench.find(ROOT, "below").unwrap().attr.ino;
    assert!(bench.list(below).is_empty());
    bench.fs.remove_directory(ROOT, b"below").unwrap();
    assert!(bench.stored().is_empty());
}

#[test]
fn a_name_that_is_there_twice_is_refused() {
    let bench = Bench::new();
    bench.file(ROOT, "x", "old");
    let name = bench.stored()[0].clone();
    let old = fs::read(bench.backing().join(&name)).unwrap();
    bench.fs.unlink(ROOT, b"x").unwrap();
    // In another mount: the same one would know whom the new one follows.
    let bench = bench.again(|_| {});
    bench.file(ROOT, "x", "new");
    let bench = bench.again(|backing| fs::write(backing.join(&name), old).unwrap());
    assert_eq!(bench.text(ROOT, "x"), Err(Errno::IO));
    assert_eq!(errno(bench.fs.make_directory(ROOT, b"x", 0o755, &caller())), Errno::IO);
    assert!(bench.root().is_empty());
}

#[test]
fn strays_are_not_shown() {
    let bench = Bench::new();
    let below = bench.dir(ROOT, "below");
    bench.file(below, "moved", "secret");
    let bench = bench.again(|backing| {
        fs::write(backing.join("plain.txt"), "plain").unwrap();
        fs::write(backing.join("AAAA"), "plain").unwrap();
        let directory = stored(backing).into_iter().find(|name| name.len() > 20).unwrap();
        let directory = backing.join(directory);
        let name = stored(&directory).remove(0);
        // A stored name in another directory than its own.
        fs::rename(directory.join(&name), backing.join(&name)).unwrap();
    });
    assert_eq!(bench.root(), ["below"]);
    let below = bench.find(ROOT, "below").unwrap().attr.ino;
    assert!(bench.list(below).is_empty());
}

/// The side file of a long name that did not open counted as left behind by a crash, and was removed. Somebody swapped two
/// directories of the backing, one listing later swapped them back, and the long names in them were gone for ever.
#[test]
fn regression_a_long_name_that_does_not_open_keeps_its_side_file() {
    let swap = |backing: &Path| {
        let names = stored(backing);
        let [one, two] = &*names else { panic!("{names:?}") };
        let (one, two, aside) = (backing.join(one), backing.join(two), backing.join("aside"));
        for (from, to) in [(&one, &aside), (&two, &one), (&aside, &two)] {
            fs::rename(from, to).unwrap();
        }
    };
    let long = "l".repeat(200);
    let bench = Bench::new();
    for name in ["one", "two"] {
        bench.file(bench.dir(ROOT, name), &long, name);
    }
    let bench = bench.again(swap);
    for name in ["one", "two"] {
        assert!(bench.list(bench.find(ROOT, name).unwrap().attr.ino).is_empty());
    }
    let bench = bench.again(swap);
    for name in ["one", "two"] {
        let directory = bench.find(ROOT, name).unwrap().attr.ino;
        assert_eq!(bench.text(directory, &long).as_deref(), Ok(name));
    }
}

#[test]
fn names_of_every_length_and_byte() {
    let bench = Bench::new();
    let mut names: Vec<String> = (1..=255).map(|len| "n".repeat(len)).collect();
    names.push("é".repeat(127));
    for name in &names {
        bench.file(ROOT, name, name);
    }
    let odd: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    bench.fs.make_directory(ROOT, &odd, 0o700, &caller()).unwrap();
    let bench = bench.again(|backing| assert!(stored(backing).iter().all(|name| name.len() <= 255)));
    for name in &names {
        assert_eq!(bench.text(ROOT, name).as_ref(), Ok(name));
    }
    bench.fs.remove_directory(ROOT, &odd).unwrap();
    for name in &names {
        bench.fs.unlink(ROOT, name.as_bytes()).unwrap();
    }
    assert!(bench.stored().is_empty());
    for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b"] {
        assert_eq!(
            errno(bench.fs.make_directory(ROOT, bad, 0o755, &caller())),
            Errno::INVAL
        );
    }
}

#[test]
fn promotion_keeps_the_name_and_what_is_open() {
    let bench = Bench::new();
    for (name, long) in [("short", 1), ("l", 200)] {
        let name = name.repeat(long);
        let ino = bench.file(ROOT, &name, "content");
        let before = bench.stored();
        bench.fs.promote();
        assert_ne!(bench.stored(), before);
        assert_eq!(bench.stored().len(), before.len());
        assert_eq!(bench.find(ROOT, &name).unwrap().attr.ino, ino);
        assert_eq!(bench.text(ROOT, &name).unwrap(), "content");
        assert_eq!(bench.fs.get_attr(ino).unwrap().size, 7);
        bench.rename((ROOT, &name), (ROOT, "elsewhere"), Replace).unwrap();
        bench.fs.promote();
        bench.fs.unlink(ROOT, b"elsewhere").unwrap();
    }
    assert!(bench.stored().is_empty());
}

/// A file that was written, closed and opened again counted as committed, because its head was in memory. Its name then said
/// so before the head was durable: a real ext4 that lost power kept the name and not the head, and the file could not be
/// read any more (EIO) where it should have been empty.
#[test]
fn regression_what_is_only_written_is_not_promoted() {
    let bench = Bench::new();
    let how = OpenHow {
        write: true,
        ..OpenHow::default()
    };
    let (found, handle) = bench.fs.create(ROOT, b"name", 0o644, how, &caller()).unwrap();
    bench.fs.write(handle, 0, b"content", None).unwrap();
    bench.fs.release(handle);
    let before = bench.stored();
    let handle = bench.fs.open(found.attr.ino, how, &caller()).unwrap();
    bench.fs.promote();
    assert_eq!(bench.stored(), before);
    bench.fs.sync(handle, false).unwrap();
    bench.fs.promote();
    assert_ne!(bench.stored(), before);
}

/// A promotion that failed, perhaps because the disk was full for a moment, was forgotten. Until the file was opened again, its
/// name did not say that it had content, and who emptied it in the backing went unnoticed.
#[test]
fn regression_a_promotion_that_fails_is_tried_again() {
    let bench = Bench::new();
    bench.file(ROOT, "name", "content");
    let (before, backing) = (bench.stored(), bench.backing());
    watch::set(Some(Box::new(move |call, moment| {
        if let (Call::Rename(.., new), Moment::Before) = (call, moment) {
            fs::create_dir(backing.join(new)).unwrap();
        }
    })));
    bench.fs.promote();
    watch::set(None);
    let in_the_way = bench.stored().into_iter().find(|name| !before.contains(name));
    fs::remove_dir(bench.backing().join(in_the_way.unwrap())).unwrap();
    assert_eq!(bench.stored(), before);
    bench.fs.promote();
    assert_ne!(bench.stored(), before);
    assert_eq!(bench.text(ROOT, "name").as_deref(), Ok("content"));
}

#[test]
fn promotion_and_renames_at_once() {
    let bench = Bench::new();
    let below = bench.dir(ROOT, "below");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (bench, stop) = (&bench, &stop);
        let rename = scope.spawn(move || {
            for round in 0..200 {
                let ino = bench.file(ROOT, "new", "content");
                bench.rename((ROOT, "new"), (below, "name"), Replace).unwrap();
                assert_eq!(bench.fs.get_attr(ino).unwrap().size, 7, "round {round}");
                assert_eq!(bench.text(below, "name").unwrap(), "content");
            }
        });
        scope.spawn(move || {
            while !stop.load(Relaxed) {
                bench.fs.promote();
            }
        });
        let renamed = rename.join();
        stop.store(true, Relaxed);
        renamed.unwrap();
    });
    let bench = bench.again(|_| {});
    let below = bench.find(ROOT, "below").unwrap().attr.ino;
    assert_eq!(bench.list(below), ["name"]);
    assert_eq!(bench.text(below, "name").unwrap(), "content");
}
