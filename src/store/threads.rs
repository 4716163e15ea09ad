//! The store on a real file system, with its own threads and several writers.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::content::Content;
use super::medium::{Medium, StoredFile, StoredPath};
use super::open::Store;
use super::posix::{PosixFile, PosixMedium};
use super::shared::Settings;
use super::toy::{Model, geometry};
use crate::format::NodeId;
use crate::format::descriptor::Overwrite;
use crate::format::stored_name::{NameFlags, RawName, Sealed};

fn directory(path: &Path) -> OwnedFd {
    std::fs::File::open(path).unwrap().into()
}

fn name(node: NodeId) -> String {
    RawName {
        node,
        flags: NameFlags::NONE,
        sealed: Sealed::Short(vec![1; 20]),
    }
    .text()
}

fn numbered(number: u16) -> NodeId {
    let mut node = [7; 16];
    node[..2].copy_from_slice(&number.to_le_bytes());
    NodeId(node)
}

fn open(store: &Store, dir: &Path, node: NodeId) -> Arc<Content> {
    let opened = store.content(node, || {
        let mut options = std::fs::OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join(name(node)))?;
        let file: Box<dyn StoredFile> = Box::new(PosixFile::new(file.into()));
        Ok((file, StoredPath::new(name(node))))
    });
    opened.unwrap()
}

fn settings() -> Settings {
    Settings {
        journal_bytes: 512 * 1024,
        commit_interval: Duration::from_millis(20),
        max_busy: 8,
        ..Settings::new(geometry())
    }
}

fn write(content: &Arc<Content>, model: &mut Model, range: std::ops::Range<u64>, version: u64) {
    let size = range.end * 4096;
    let before = model.clone();
    let (touched, _) = model.write(range, size, version);
    model
        .put(
            content,
            &touched,
            before.size != model.size || before.absent != model.absent,
            false,
        )
        .unwrap();
}

/// A writer that overwrites, extends, syncs and reads its own file.
fn work(store: &Store, dir: &Path, number: u8) -> (NodeId, Model) {
    let node = NodeId([number; 16]);
    let mut model = Model::default();
    for round in 1..60u64 {
        let content = open(store, dir, node);
        let first = round * 7 % 40;
        write(&content, &mut model, first..first + 1 + round % 5, round);
        if round % 3 == 0 {
            content.sync(round % 2 == 0).unwrap();
        }
        assert_eq!(Model::observe(&content).unwrap(), model);
    }
    (node, model)
}

fn run(settings: Settings, close: bool) {
    let dir = tempfile::tempdir().unwrap();
    let medium = || Box::new(PosixMedium::new(directory(dir.path())));
    let store = Store::open(medium(), settings).unwrap();
    let models: Vec<(NodeId, Model)> = std::thread::scope(|scope| {
        let writers: Vec<_> = (1..=6)
            .map(|number| {
                let (store, dir) = (&store, dir.path());
                scope.spawn(move || work(store, dir, number))
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    if close {
        store.close().unwrap();
    } else {
        store.commit_all().unwrap();
    }
    drop(store);
    let store = Store::open(medium(), settings).unwrap();
    assert!(!close || store.recovery().records == 0);
    for (node, model) in models {
        assert_eq!(
            Model::observe(&open(&store, dir.path(), node)).unwrap(),
            model,
            "{node}"
        );
    }
    store.close().unwrap();
}

#[test]
fn many_writers_and_a_clean_end() {
    run(settings(), true);
}

#[test]
fn many_writers_and_no_end() {
    run(settings(), false);
}

#[test]
fn many_writers_in_place() {
    run(
        Settings {
            overwrite: Overwrite::InPlace,
            ..settings()
        },
        true,
    );
}

/// Closing ended the thread that empties the journal, and then committed: with more heads to write than a segment
/// holds, it waited for ever for room that nobody made, and so did the unmount. Found by the model test of `fs`,
/// which hung in one run of four.
#[test]
fn regression_closing_commits_more_than_a_segment_holds() {
    let dir = tempfile::tempdir().unwrap();
    let medium = || Box::new(PosixMedium::new(directory(dir.path())));
    let patient = Settings {
        commit_interval: Duration::from_secs(3600),
        max_busy: 1000,
        ..settings()
    };
    let store = Store::open(medium(), patient).unwrap();
    let mut model = Model::default();
    for number in 0..300u16 {
        let content = open(&store, dir.path(), numbered(number));
        model = Model::default();
        write(&content, &mut model, 0..1, 1);
    }
    store.close().unwrap();
    drop(store);
    let store = Store::open(medium(), patient).unwrap();
    assert_eq!(store.recovery().records, 0);
    for number in 0..300u16 {
        let content = open(&store, dir.path(), numbered(number));
        assert_eq!(Model::observe(&content).unwrap(), model, "file {number}");
    }
    store.close().unwrap();
}

/// A journal is a file that anybody who reaches the backing can write: its hints are not to be trusted.
#[test]
fn a_hint_finds_only_the_file_of_its_node_below_the_root() {
    let outside = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let node = NodeId([3; 16]);
    let other = NodeId([4; 16]);
    std::fs::write(outside.path().join(name(node)), b"precious").unwrap();
    std::fs::write(dir.path().join(name(other)), b"other").unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
    let medium = PosixMedium::new(directory(dir.path()));
    let find = |path: String| medium.find(node, &StoredPath::new(path)).unwrap().is_some();
    let up = format!(
        "../{}/{}",
        outside.path().file_name().unwrap().to_str().unwrap(),
        name(node)
    );
    assert!(!find(up));
    assert!(!find(format!("link/{}", name(node))), "through a symlink");
    assert!(!find(name(other)), "another node's file");
    assert!(!find(format!("{}/{}", outside.path().display(), name(node))));
    std::os::unix::fs::symlink(outside.path().join(name(node)), dir.path().join(name(node))).unwrap();
    assert!(!find(name(node)), "a symlink itself");
    std::fs::remove_file(dir.path().join(name(node))).unwrap();
    let sub = dir.path().join(name(NodeId([9; 16])));
    std::fs::create_dir(&sub).unwrap();
    std::fs::write(sub.join(name(node)), b"here").unwrap();
    let mut found = Vec::new();
    let wanted = [node, NodeId([7; 16])].into();
    medium
        .find_all(&wanted, &mut |node, _| {
            found.push(node);
            Ok(())
        })
        .unwrap();
    assert_eq!(found, [node], "a walk finds it wherever it was moved");
}
