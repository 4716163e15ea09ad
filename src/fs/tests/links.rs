//! Hard links, unlinked files that are open, symlinks.

use std::os::unix::fs::PermissionsExt;

use rustix::io::Errno;

use super::bench::{Bench, caller, errno};
use crate::fs::types::{Caller, OpenHow, ROOT, SetAttr, SetTime, Time};

#[test]
fn an_unlinked_file_lives_while_somebody_knows_it() {
    let bench = Bench::new();
    let ino = bench.file(ROOT, "x", "content");
    let handle = bench.fs.open(ino, OpenHow::default(), &caller()).unwrap();
    bench.fs.unlink(ROOT, b"x").unwrap();
    let attr = bench.fs.get_attr(ino).unwrap();
    assert_eq!((attr.links, attr.size), (0, 7));
    let mut bytes = Vec::new();
    bench.fs.read(handle, 0, 100, &mut bytes).unwrap();
    assert_eq!(bytes, b"content");
    bench.fs.write(handle, 7, b" more", None).unwrap();
    let set = SetAttr {
        permissions: Some(0o600),
        ..SetAttr::default()
    };
    assert_eq!(bench.fs.set_attr(ino, &set, &caller()).unwrap().permissions, 0o600);
    let time = SetTime::At(Time {
        seconds: -5,
        nanoseconds: 7,
    });
    let set = SetAttr {
        modified: Some(time),
        ..SetAttr::default()
    };
    assert_eq!(bench.fs.set_attr(ino, &set, &caller()).unwrap().modified.seconds, -5);
    bench.fs.set_xattr(ino, b"user.a", b"b", 0, &caller()).unwrap();
    assert_eq!(bench.fs.get_xattr(ino, b"user.a").unwrap(), b"b");
    assert_eq!(errno(bench.fs.link(ino, ROOT, b"again")), Errno::NOENT);
    assert_eq!(bench.fs.get_attr(ino).unwrap().size, 12);
    bench.fs.release(handle);
    bench.fs.forget(ino, 1);
    assert_eq!(errno(bench.fs.get_attr(ino)), Errno::STALE);
    assert!(bench.stored().is_empty());
}

#[test]
fn a_file_is_one_under_all_its_names() {
    let bench = Bench::new();
    let below = bench.dir(ROOT, "below");
    let ino = bench.file(ROOT, "a", "x");
    let linked = bench.fs.link(ino, below, b"b").unwrap().attr;
    assert_eq!((linked.ino, linked.links), (ino, 2));
    assert_eq!(errno(bench.fs.link(ino, below, b"b")), Errno::EXIST);
    assert_eq!(errno(bench.fs.link(below, ROOT, b"c")), Errno::PERM);
    // The name it is known by goes; it is still reached, and known by the other one when that is asked for.
    bench.fs.unlink(ROOT, b"a").unwrap();
    assert_eq!(bench.fs.get_attr(ino).unwrap().links, 1);
    let again = bench.fs.link(ino, ROOT, b"again").unwrap().attr;
    assert_eq!((again.ino, again.links), (ino, 2));
    assert_eq!(bench.text(below, "b").unwrap(), "x");
    let bench = bench.again(|_| {});
    let found = bench.find(ROOT, "again").unwrap().attr;
    let below = bench.find(ROOT, "below").unwrap().attr.ino;
    assert_eq!(bench.find(below, "b").unwrap().attr.ino, found.ino);
    assert_eq!(found.links, 2);
}

#[test]
fn targets_of_every_length() {
    let bench = Bench::new();
    for len in [1, 2, 3, 100, 3000, 3043, 3044, 3045, 4094, 4095] {
        let (name, target) = (format!("s{len}"), "t".repeat(len));
        let made = bench
            .fs
            .make_symlink(ROOT, name.as_bytes(), target.as_bytes(), &caller())
            .unwrap();
        assert_eq!(made.attr.size, len as u64);
        assert_eq!(bench.fs.read_link(made.attr.ino).unwrap(), target.as_bytes());
    }
    let long = "t".repeat(4096);
    assert_eq!(
        errno(bench.fs.make_symlink(ROOT, b"x", long.as_bytes(), &caller())),
        Errno::NAMETOOLONG
    );
    let bench = bench.again(|_| {});
    let below = bench.dir(ROOT, "below");
    bench
        .rename((ROOT, "s4095"), (below, "s"), crate::fs::types::RenameHow::Replace)
        .unwrap();
    let ino = bench.find(below, "s").unwrap().attr.ino;
    assert_eq!(bench.fs.read_link(ino).unwrap(), "t".repeat(4095).as_bytes());
    bench.fs.unlink(below, b"s").unwrap();
    for name in bench.root() {
        let _ = bench.fs.unlink(ROOT, name.as_bytes());
    }
    bench.fs.remove_directory(ROOT, b"below").unwrap();
    assert!(bench.stored().is_empty(), "{:?}", bench.stored());
}

/// The umask of a caller was that of the long target too, and stayed on the thread, where it was that of the next long name.
/// Of mode 0000 they could not be read by the daemon of an ordinary user any more: names and targets were lost.
#[test]
fn regression_the_umask_of_a_caller_is_not_that_of_side_files() {
    let bench = Bench::new();
    let careful = Caller {
        umask: 0o777,
        ..caller()
    };
    let target = "t".repeat(4000);
    bench.fs.make_symlink(ROOT, b"x", target.as_bytes(), &careful).unwrap();
    bench.file(ROOT, &"n".repeat(200), "content");
    let sides = bench.stored().into_iter();
    let sides = sides.filter(|name| name.ends_with(".name") || name.starts_with("kmsfs.link."));
    let modes = sides.map(|name| {
        std::fs::metadata(bench.backing().join(name))
            .unwrap()
            .permissions()
            .mode()
    });
    assert_eq!(modes.map(|mode| mode & 0o777).collect::<Vec<_>>(), [0o600, 0o600]);
}

#[test]
fn a_target_of_another_symlink_does_not_open() {
    let bench = Bench::new();
    for name in ["a", "b"] {
        bench
            .fs
            .make_symlink(ROOT, name.as_bytes(), name.as_bytes(), &caller())
            .unwrap();
    }
    let bench = bench.again(|backing| {
        let [one, two] = &super::bench::stored(backing)[..] else {
            panic!("two symlinks")
        };
        let target = std::fs::read_link(backing.join(two)).unwrap();
        std::fs::remove_file(backing.join(one)).unwrap();
        std::os::unix::fs::symlink(target, backing.join(one)).unwrap();
    });
    let read = |name| bench.fs.read_link(bench.find(ROOT, name).unwrap().attr.ino);
    assert_eq!([read("a"), read("b")].iter().filter(|read| read.is_ok()).count(), 1);
}
