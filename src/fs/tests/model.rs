//! The file system against a model of a few lines. Every thread has a directory of its own, so that it knows what must
//! come out, and all of them are served by the same [`Fs`], its background promotion included.
//!
//! A sequence depends on its seed only. `KMSFS_MODEL_SEEDS` draws more of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use super::bench::{Bench, caller};
use crate::fs::types::{Allocate, OpenHow, ROOT, RenameHow, SetAttr};

const STEPS: usize = 250;
const THREADS: u64 = 4;
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// What a directory holds: each name's file, and what is in the files.
#[derive(Default)]
struct Model {
    names: BTreeMap<&'static str, usize>,
    files: Vec<Vec<u8>>,
}

/// Numbers that depend on the seed only (splitmix64).
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn name(&mut self) -> &'static str {
        NAMES[self.below(NAMES.len() as u64) as usize]
    }

    /// Near the edges of what is inline, a chunk, a group.
    fn offset(&mut self) -> u64 {
        let edges = [0, 3040, 4096, 40_000, 524_288];
        (edges[self.below(5) as usize] + self.below(7)).saturating_sub(3)
    }
}

struct Worker<'a> {
    bench: &'a Bench,
    dir: u64,
    model: Model,
    draw: Draw,
}

impl Worker<'_> {
    fn step(&mut self) {
        let name = self.draw.name();
        let at = self.model.names.get(name).copied();
        match (self.draw.below(10), at) {
            (0 | 1, None) => self.create(name),
            (2, Some(_)) => {
                self.bench.fs.unlink(self.dir, name.as_bytes()).unwrap();
                self.model.names.remove(name);
            }
            (3, _) => self.rename(name),
            (4, Some(file)) => self.link(name, file),
            (5..=7, Some(file)) => self.write(name, file),
            (8, Some(file)) => self.resize(name, file),
            (9, Some(file)) => self.punch(name, file),
            (_, None) => assert_eq!(self.bench.find(self.dir, name).unwrap_err().code(), Errno::NOENT),
            (_, Some(file)) => self.check(name, file),
        }
    }

    fn create(&mut self, name: &'static str) {
        let how = OpenHow {
            exclusive: true,
            write: true,
            ..OpenHow::default()
        };
        let made = self.bench.fs.create(self.dir, name.as_bytes(), 0o644, how, &caller());
        self.bench.fs.release(made.unwrap().1);
        self.model.names.insert(name, self.model.files.len());
        self.model.files.push(Vec::new());
    }

    fn rename(&mut self, from: &'static str) {
        let to = self.draw.name();
        let how = [
            RenameHow::Replace,
            RenameHow::Replace,
            RenameHow::NoReplace,
            RenameHow::Exchange,
        ];
        let how = how[self.draw.below(4) as usize];
        let (source, target) = (self.model.names.get(from).copied(), self.model.names.get(to).copied());
        let wanted = match (source, target, how) {
            (None, ..) => Err(Errno::NOENT),
            (_, Some(_), RenameHow::NoReplace) => Err(Errno::EXIST),
            (_, None, RenameHow::Exchange) => Err(Errno::NOENT),
            _ => Ok(()),
        };
        let found = self.bench.rename((self.dir, from), (self.dir, to), how);
        // Which of two errors comes first is not said.
        assert_eq!(found.is_ok(), wanted.is_ok(), "{from} to {to}, {how:?}: {found:?}");
        if let (Ok(()), Some(source)) = (wanted, source)
            && Some(source) != target
        {
            self.model.names.remove(from);
            self.model.names.insert(to, source);
            if let (RenameHow::Exchange, Some(target)) = (how, target) {
                self.model.names.insert(from, target);
            }
        }
    }

    fn link(&mut self, from: &'static str, file: usize) {
        let to = self.draw.name();
        let ino = self.bench.find(self.dir, from).unwrap().attr.ino;
        let linked = self.bench.fs.link(ino, self.dir, to.as_bytes());
        self.bench.fs.forget(ino, 1);
        match self.model.names.contains_key(to) {
            true => assert_eq!(linked.unwrap_err().code(), Errno::EXIST),
            false => {
                self.bench.fs.forget(linked.unwrap().attr.ino, 1);
                self.model.names.insert(to, file);
            }
        }
    }

    /// Opens `name`, lets `work` have it, and closes it.
    fn open<T>(&self, name: &str, work: impl FnOnce(u64, u64) -> T) -> T {
        let ino = self.bench.find(self.dir, name).unwrap().attr.ino;
        let how = OpenHow {
            write: true,
            ..OpenHow::default()
        };
        let handle = self.bench.fs.open(ino, how, &caller()).unwrap();
        let done = work(ino, handle);
        self.bench.fs.release(handle);
        self.bench.fs.forget(ino, 1);
        done
    }

    fn write(&mut self, name: &str, file: usize) {
        let (at, len) = (self.draw.offset() as usize, self.draw.below(9000) as usize + 1);
        let data = vec![self.draw.below(255) as u8 + 1; len];
        let sync = self.draw.below(4) == 0;
        self.open(name, |_, handle| {
            self.bench.fs.write(handle, at as u64, &data, None).unwrap();
            if sync {
                self.bench.fs.sync(handle, true).unwrap();
            }
        });
        let content = &mut self.model.files[file];
        content.resize(content.len().max(at + len), 0);
        content[at..at + len].copy_from_slice(&data);
    }

    fn resize(&mut self, name: &str, file: usize) {
        let size = self.draw.offset();
        let set = SetAttr {
            size: Some(size),
            ..SetAttr::default()
        };
        let after = self.open(name, |ino, _| self.bench.fs.set_attr(ino, &set, &caller()).unwrap());
        assert_eq!(after.size, size);
        self.model.files[file].resize(size as usize, 0);
    }

    fn punch(&mut self, name: &str, file: usize) {
        let (at, len) = (self.draw.offset(), self.draw.below(60_000) + 1);
        self.open(name, |_, handle| {
            let punch = self.bench.fs.allocate(handle, Allocate::PunchHole, at, len, &caller());
            punch.unwrap();
        });
        let content = &mut self.model.files[file];
        let end = content.len().min((at + len) as usize);
        content[end.min(at as usize)..end].fill(0);
    }

    fn check(&self, name: &str, file: usize) {
        let wanted = &self.model.files[file];
        let links = self.model.names.values().filter(|other| **other == file).count();
        let mut found = Vec::new();
        let attr = self.open(name, |ino, handle| {
            self.bench.fs.read(handle, 0, 1 << 20, &mut found).unwrap();
            self.bench.fs.get_attr(ino).unwrap()
        });
        assert_eq!((attr.size, attr.links as usize), (wanted.len() as u64, links), "{name}");
        assert!(found == *wanted, "{name} has other content");
    }

    fn check_all(&self) {
        let names: Vec<_> = self.model.names.keys().map(|name| (*name).to_owned()).collect();
        assert_eq!(self.bench.list(self.dir), names);
        for (name, file) in &self.model.names {
            self.check(name, *file);
        }
    }
}

fn run(seed: u64) {
    let bench = Bench::small();
    let done = AtomicBool::new(false);
    let models: Vec<Model> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                bench.fs.promote();
            }
        });
        let work = |thread: u64| {
            let dir = bench.dir(ROOT, &format!("of-{thread}"));
            let draw = Draw(seed * THREADS + thread);
            let mut worker = Worker {
                bench: &bench,
                dir,
                model: Model::default(),
                draw,
            };
            for _ in 0..STEPS {
                worker.step();
            }
            worker.check_all();
            worker.model
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
        let models = threads
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect::<Vec<_>>();
        done.store(true, Ordering::Relaxed);
        models
            .into_iter()
            .map(|model| model.unwrap_or_else(|_| panic!("seed {seed}")))
            .collect()
    });
    let bench = bench.again(|_| {});
    for (thread, model) in models.into_iter().enumerate() {
        let dir = bench.find(ROOT, &format!("of-{thread}")).unwrap().attr.ino;
        Worker {
            bench: &bench,
            dir,
            model,
            draw: Draw(0),
        }
        .check_all();
    }
}

#[test]
fn threads_find_what_the_model_says() {
    let seeds = std::env::var("KMSFS_MODEL_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok());
    for seed in 0..seeds.unwrap_or(6) {
        run(seed);
    }
}
