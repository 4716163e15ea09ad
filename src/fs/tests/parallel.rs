//! Several threads at once.

use std::sync::atomic::{AtomicBool, Ordering};

use super::bench::{Bench, caller};
use crate::fs::types::{ROOT, RenameHow};

/// A rename changes the backing's name first and the table after. Who looked in between tried again at once, eight
/// times; when the thread that renames was not running just then, the file was said not to be there.
#[test]
fn regression_what_is_being_renamed_is_there_all_the_time() {
    let bench = Bench::small();
    let dir = bench.fs.make_directory(ROOT, b"d", 0o755, &caller()).unwrap().attr.ino;
    let file = bench.file(dir, "a", "text");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(bench.fs.get_attr(file).unwrap().size, 4);
                    bench.fs.get_xattr(file, b"user.a").unwrap_err();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..500 {
                bench.rename((dir, "a"), (dir, "b"), RenameHow::Replace).unwrap();
                bench.rename((ROOT, "d"), (ROOT, "e"), RenameHow::Replace).unwrap();
                bench.rename((dir, "b"), (dir, "a"), RenameHow::Replace).unwrap();
                bench.rename((ROOT, "e"), (ROOT, "d"), RenameHow::Replace).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
    });
}

/// Whiteouts are made in one place of the backing, and two threads took each other's from there.
#[test]
fn regression_whiteouts_of_several_threads() {
    let bench = Bench::small();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let bench = &bench;
            scope.spawn(move || {
                let name = format!("d{thread}");
                let dir = bench.fs.make_directory(ROOT, name.as_bytes(), 0o755, &caller());
                let dir = dir.unwrap().attr.ino;
                for n in 0..25 {
                    let (from, to) = (format!("f{n}"), format!("g{n}"));
                    bench.file(dir, &from, "text");
                    bench
                        .rename((dir, &from), (dir, &to), RenameHow::Whiteout(caller()))
                        .unwrap();
                    assert_eq!(bench.find(dir, &from).unwrap().attr.special, (0, 0));
                    assert_eq!(bench.text(dir, &to).unwrap(), "text");
                }
            });
        }
    });
}
