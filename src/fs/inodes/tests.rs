//! The table against a model: what is known is exactly what the kernel has not forgotten, and what that hangs on.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn table() -> Inodes {
    let root = std::fs::File::open("/").unwrap();
    Inodes::new(NodeId([0; 16]), Arc::new(root.into()))
}

fn known(ino: u64, parent: u64, stored: &str) -> Known {
    Known {
        ino,
        node: NodeId(u128::from(ino).to_le_bytes()),
        kind: Kind::Directory,
        born: false,
        link: link(parent, stored),
    }
}

fn link(parent: u64, stored: &str) -> Link {
    Link {
        parent,
        stored: stored.into(),
    }
}

#[test]
fn a_directory_stays_while_something_below_is_known() {
    let table = table();
    table.found(known(2, ROOT, "a")).unwrap();
    table.found(known(3, 2, "b")).unwrap();
    assert_eq!(table.forget(2, 1).inodes().count(), 0);
    assert!(table.get(2).is_ok());
    let gone: Vec<_> = table.forget(3, 1).inodes().collect();
    assert_eq!(gone, [3, 2]);
    assert_eq!(table.known(), [ROOT]);
}

#[test]
fn look_ups_are_counted_exactly() {
    let table = table();
    for _ in 0..3 {
        table.found(known(2, ROOT, "a")).unwrap();
    }
    drop(table.forget(2, 2));
    assert!(table.get(2).is_ok());
    drop(table.forget(2, 1));
    assert_eq!(table.get(2).err().map(|error| error.code()), Some(Errno::STALE));
}

#[test]
fn another_node_with_the_same_number_is_refused() {
    let table = table();
    table.found(known(2, ROOT, "a")).unwrap();
    let mut other = known(2, ROOT, "b");
    other.node = NodeId([9; 16]);
    assert_eq!(table.found(other).err().map(|error| error.code()), Some(Errno::IO));
}

#[derive(Debug, Clone)]
enum Op {
    Found { ino: u64, parent: u64 },
    Forget { ino: u64, count: u64 },
    Move { ino: u64, parent: u64 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        (2u64..10, 1u64..10).prop_map(|(ino, parent)| Op::Found { ino, parent }),
        (2u64..10, 1u64..4).prop_map(|(ino, count)| Op::Forget { ino, count }),
        (2u64..10, 1u64..10).prop_map(|(ino, parent)| Op::Move { ino, parent }),
    ];
    proptest::collection::vec(op, 0..60)
}

/// For each inode: look-ups, parent.
type Model = BTreeMap<u64, (u64, u64)>;

fn below(model: &Model, mut ino: u64, above: u64) -> bool {
    while ino != ROOT {
        if ino == above {
            return true;
        }
        ino = model[&ino].1;
    }
    false
}

fn sweep(model: &mut Model) {
    loop {
        let held: BTreeSet<u64> = model.values().map(|(_, parent)| *parent).collect();
        let before = model.len();
        model.retain(|ino, (lookups, _)| *lookups > 0 || held.contains(ino));
        if model.len() == before {
            return;
        }
    }
}

proptest! {
    #[test]
    fn agrees_with_the_model(ops in ops()) {
        let table = table();
        let mut model = Model::new();
        for op in ops {
            match op {
                // The kernel looks up only below what it knows.
                Op::Found { ino, parent } if parent == ROOT || model.contains_key(&parent) => {
                    if below(&model, parent, ino) { continue; }
                    let parent = model.get(&ino).map_or(parent, |(_, parent)| *parent);
                    table.found(known(ino, parent, "x")).unwrap();
                    model.entry(ino).or_insert((0, parent)).0 += 1;
                }
                Op::Forget { ino, count } => {
                    drop(table.forget(ino, count));
                    if let Some((lookups, _)) = model.get_mut(&ino) { *lookups = lookups.saturating_sub(count); }
                    sweep(&mut model);
                }
                Op::Move { ino, parent } if model.contains_key(&ino) && (parent == ROOT || model.contains_key(&parent)) => {
                    if below(&model, parent, ino) { continue; }
                    let old = model[&ino].1;
                    drop(table.renamed(ino, old, "x", link(parent, "x")));
                    model.insert(ino, (model[&ino].0, parent));
                    sweep(&mut model);
                }
                _ => {}
            }
            let mut names = table.known();
            names.sort_unstable();
            let mut expected: Vec<_> = model.keys().copied().collect();
            expected.insert(0, ROOT);
            prop_assert_eq!(names, expected);
        }
    }
}
