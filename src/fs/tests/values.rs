//! Attributes that hang on a node.

use rustix::io::Errno;

use super::bench::{Bench, caller, errno};
use crate::fs::types::{Caller, OpenHow, ROOT, SetAttr};

#[test]
fn extended_attributes_are_found_again_and_not_readable_below() {
    let bench = Bench::new();
    let ino = bench.file(ROOT, "x", "");
    let long = format!("user.{}", "n".repeat(250));
    let names = ["user.a", "user.mime_type", "user.kmsfs.a", &long];
    for name in names {
        assert_eq!(errno(bench.fs.get_xattr(ino, name.as_bytes())), Errno::NODATA);
        bench
            .fs
            .set_xattr(ino, name.as_bytes(), b"a secret value", 0, &caller())
            .unwrap();
    }
    bench.fs.set_xattr(ino, b"user.a", b"", 0, &caller()).unwrap();
    assert_eq!(
        errno(bench.fs.set_xattr(ino, b"user.a", b"", 1, &caller())),
        Errno::EXIST
    );
    assert_eq!(
        errno(bench.fs.set_xattr(ino, b"user.new", b"", 2, &caller())),
        Errno::NODATA
    );
    assert_eq!(errno(bench.fs.remove_xattr(ino, b"user.new")), Errno::NODATA);
    assert_eq!(
        errno(bench.fs.set_xattr(ino, b"system.other", b"", 0, &caller())),
        Errno::OPNOTSUPP
    );
    let bench = bench.again(|backing| {
        let path = backing.join(&super::bench::stored(backing)[0]);
        let mut list = vec![0; 65536];
        let len = rustix::fs::listxattr(&path, &mut list[..]).unwrap();
        let list = String::from_utf8_lossy(&list[..len]).into_owned();
        assert!(!list.contains("mime") && !list.contains("nnnn"), "{list}");
        for name in list.split('\0').filter(|name| name.starts_with("user.")) {
            let mut value = vec![0; 65536];
            let len = rustix::fs::getxattr(&path, name, &mut value[..]).unwrap();
            assert!(!String::from_utf8_lossy(&value[..len]).contains("secret"));
        }
        rustix::fs::setxattr(&path, "user.stray", b"x", rustix::fs::XattrFlags::empty()).unwrap();
    });
    let ino = bench.find(ROOT, "x").unwrap().attr.ino;
    let list = bench.fs.list_xattr(ino, &caller()).unwrap();
    let mut listed: Vec<_> = list.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    listed.retain(|name| name.starts_with("user."));
    listed.sort();
    let mut wanted = names.to_vec();
    wanted.sort_unstable();
    assert_eq!(listed, wanted);
    assert_eq!(bench.fs.get_xattr(ino, long.as_bytes()).unwrap(), b"a secret value");
    assert_eq!(bench.fs.get_xattr(ino, b"user.a").unwrap(), b"");
    bench.fs.remove_xattr(ino, long.as_bytes()).unwrap();
    assert_eq!(errno(bench.fs.get_xattr(ino, long.as_bytes())), Errno::NODATA);
}

/// Everybody saw the names of `trusted.` attributes, which ext4 shows to root alone: the daemon is root, and passed on what
/// it was shown itself.
#[test]
fn regression_trusted_attributes_are_listed_for_root_alone() {
    let bench = Bench::new();
    let ino = bench.file(ROOT, "x", "");
    bench.fs.set_xattr(ino, b"user.a", b"", 0, &caller()).unwrap();
    if bench.fs.set_xattr(ino, b"trusted.a", b"", 0, &caller()).is_err() {
        return; // Only root may.
    }
    let ordinary = Caller { uid: 1234, ..caller() };
    assert_eq!(bench.fs.list_xattr(ino, &ordinary).unwrap(), b"user.a\0");
    let all = bench.fs.list_xattr(ino, &caller()).unwrap();
    assert!(all.split(|byte| *byte == 0).any(|name| name == b"trusted.a"));
}

#[test]
fn a_value_of_another_attribute_or_file_does_not_open() {
    let bench = Bench::new();
    for name in ["x", "y"] {
        let ino = bench.file(ROOT, name, "");
        bench
            .fs
            .set_xattr(ino, b"user.a", name.as_bytes(), 0, &caller())
            .unwrap();
    }
    let bench = bench.again(|backing| {
        let paths: Vec<_> = super::bench::stored(backing)
            .iter()
            .map(|name| backing.join(name))
            .collect();
        let attribute = |path: &std::path::Path| {
            let mut list = vec![0; 4096];
            let len = rustix::fs::listxattr(path, &mut list[..]).unwrap();
            let name = list[..len]
                .split(|byte| *byte == 0)
                .find(|name| name.starts_with(b"user."))
                .unwrap()
                .to_vec();
            let mut value = vec![0; 4096];
            let len = rustix::fs::getxattr(path, &*name, &mut value[..]).unwrap();
            (name, value[..len].to_vec())
        };
        let (own, _) = attribute(&paths[0]);
        let (name, value) = attribute(&paths[1]);
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&paths[0], &*own, &value, flags).unwrap();
        rustix::fs::setxattr(&paths[0], &*name, &value, flags).unwrap();
    });
    let get = |name| {
        bench
            .fs
            .get_xattr(bench.find(ROOT, name).unwrap().attr.ino, b"user.a")
            .map_err(|error| error.code())
    };
    let got = [get("x"), get("y")];
    assert!(got.contains(&Err(Errno::IO)), "{got:?}");
    assert!(got.iter().any(Result::is_ok));
}

#[test]
fn owner_mode_and_umask_are_the_callers() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let bench = Bench::new();
    let other = Caller {
        uid: 1234,
        gid: 5678,
        pid: 0,
        umask: 0o027,
    };
    let below = bench.fs.make_directory(ROOT, b"below", 0o777, &other).unwrap().attr;
    assert_eq!((below.uid, below.gid, below.permissions), (1234, 5678, 0o750));
    let set = SetAttr {
        permissions: Some(0o2777),
        ..SetAttr::default()
    };
    bench.fs.set_attr(below.ino, &set, &caller()).unwrap();
    let third = Caller {
        uid: 77,
        gid: 78,
        umask: 0,
        ..other
    };
    let how = OpenHow {
        write: true,
        ..OpenHow::default()
    };
    let (found, handle) = bench.fs.create(below.ino, b"f", 0o4666, how, &third).unwrap();
    // The group comes from the directory, which is setgid.
    assert_eq!(
        (found.attr.uid, found.attr.gid, found.attr.permissions),
        (77, 5678, 0o4666)
    );
    bench.fs.write(handle, 0, b"x", Some(&caller())).unwrap();
    assert_eq!(bench.fs.get_attr(found.attr.ino).unwrap().permissions, 0o666);
    let set = SetAttr {
        permissions: Some(0o6755),
        ..SetAttr::default()
    };
    bench.fs.set_attr(found.attr.ino, &set, &caller()).unwrap();
    let set = SetAttr {
        uid: Some(5),
        gid: Some(6),
        ..SetAttr::default()
    };
    let owned = bench.fs.set_attr(found.attr.ino, &set, &caller()).unwrap();
    assert_eq!((owned.uid, owned.gid, owned.permissions), (5, 6, 0o755));
    bench
        .fs
        .set_attr(found.attr.ino, &set_permissions(0o6755), &caller())
        .unwrap();
    // A chown(2) that changes neither takes the bits away too, if it is the owner's or root's.
    for (who, left) in [(other, 0o6755), (caller(), 0o755)] {
        let after = bench.fs.set_attr(found.attr.ino, &SetAttr::default(), &who).unwrap();
        assert_eq!(after.permissions, left);
    }
    bench.fs.release(handle);
}

fn set_permissions(mode: u32) -> SetAttr {
    SetAttr {
        permissions: Some(mode),
        ..SetAttr::default()
    }
}

/// That the mode of a file had changed was known to its open content alone. After closing and opening it again an fsync
/// found nothing to do, and a crash brought the old mode back.
#[test]
fn regression_a_change_of_mode_is_synced_also_when_the_file_was_closed_before() {
    let bench = Bench::new();
    let ino = bench.file(ROOT, "x", "content");
    let inode = bench.fs.inode(ino).unwrap();
    let open = || bench.fs.open(ino, OpenHow::default(), &caller()).unwrap();
    let handle = open();
    bench.fs.set_attr(ino, &set_permissions(0o600), &caller()).unwrap();
    bench.fs.release(handle);
    let handle = open();
    bench.fs.sync(handle, true).unwrap();
    assert!(inode.is_touched(), "fdatasync is not about the mode");
    bench.fs.sync(handle, false).unwrap();
    assert!(!inode.is_touched());
    bench.fs.release(handle);
}

/// The journal's copying writes to the stored file, and the backing's kernel takes `security.capability` from what
/// is written to: after a checkpoint it was gone.
#[test]
fn regression_file_capabilities_outlive_the_journal() {
    let bench = Bench::new();
    let value = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let ino = bench.file(ROOT, "x", "content");
    let set = bench.fs.set_xattr(ino, b"security.capability", value, 0, &caller());
    if set.is_err() {
        return; // Only root may.
    }
    let bench = bench.again(|_| {});
    let ino = bench.find(ROOT, "x").unwrap().attr.ino;
    assert_eq!(bench.fs.get_xattr(ino, b"security.capability").unwrap(), value);
    assert_eq!(bench.fs.list_xattr(ino, &caller()).unwrap(), b"security.capability\0");
    // A write takes it away, whoever writes.
    let handle = bench
        .fs
        .open(
            ino,
            OpenHow {
                write: true,
                ..OpenHow::default()
            },
            &caller(),
        )
        .unwrap();
    bench.fs.write(handle, 0, b"C", None).unwrap();
    assert_eq!(errno(bench.fs.get_xattr(ino, b"security.capability")), Errno::NODATA);
}
