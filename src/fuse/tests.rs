//! A mount of this process, so that what lies below can be made to fail as no program could make it.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;
use tempfile::TempDir;

use super::{MountOptions, Session};
use crate::format::Geometry;
use crate::fs::Fs;
use crate::kms::scripted::ScriptedKms;
use crate::volume::testing;

/// A volume, and a KMS that does what the test says.
struct Bench {
    kms: Arc<ScriptedKms>,
    backing: TempDir,
    mountpoint: TempDir,
}

impl Bench {
    /// `None` where FUSE is not there and need not be.
    fn new() -> Option<Self> {
        if !Path::new("/dev/fuse").exists() {
            assert!(
                std::env::var_os("KMSFS_REQUIRE_FUSE").is_none(),
                "there is no /dev/fuse"
            );
            return None;
        }
        let (kms, backing) = (Arc::new(ScriptedKms::new()), tempfile::tempdir().unwrap());
        testing::create_on(backing.path(), Geometry::new(4096).unwrap(), &kms);
        let mountpoint = tempfile::tempdir().unwrap();
        Some(Self {
            kms,
            backing,
            mountpoint,
        })
    }

    /// Mounts, and unmounts when `work` is done; every key is forgotten then.
    fn mounted(&self, work: impl FnOnce(&Fs, &Path)) {
        let volume = testing::open_on(self.backing.path(), &self.kms, 0);
        let fs = Arc::new(Fs::new(volume).unwrap());
        let session = Session::mount(Arc::clone(&fs), self.mountpoint.path(), &MountOptions::default()).unwrap();
        work(&fs, self.mountpoint.path());
        drop(session);
        fs.volume().store.close().unwrap();
    }
}

/// It panics where most is held: the file's own guard, the flight that others wait for, a pass of the gate.
#[test]
fn a_request_that_panics_is_eio_and_the_mount_lives_on() {
    let Some(bench) = Bench::new() else { return };
    let names = ["a", "b", "c"];
    bench.mounted(|_, plain| {
        for name in names {
            fs::write(plain.join(name), name).unwrap();
        }
    });
    bench.mounted(|served, plain| {
        let new = File::create(plain.join("new")).unwrap();
        bench.kms.panic_at_decrypt(true);
        // More than there are threads that serve, and several for the same file.
        std::thread::scope(|scope| {
            let opens = (0..60).map(|n| scope.spawn(move || File::open(plain.join(names[n % 3]))));
            for open in opens.collect::<Vec<_>>() {
                let error = open.join().unwrap().unwrap_err();
                assert!(matches!(
                    Errno::from_io_error(&error),
                    Some(Errno::IO | Errno::TIMEDOUT)
                ));
            }
        });
        // What needs no key that is not there goes on.
        std::os::unix::fs::FileExt::write_all_at(&new, b"new", 0).unwrap();
        new.sync_all().unwrap();
        fs::create_dir(plain.join("d")).unwrap();
        assert_eq!(fs::read_dir(plain).unwrap().count(), 5);
        assert_eq!(fs::metadata(plain.join("a")).unwrap().len(), 1);
        bench.kms.panic_at_decrypt(false);
        for name in names {
            assert_eq!(fs::read_to_string(plain.join(name)).unwrap(), name);
        }
        fs::rename(plain.join("a"), plain.join("d/a")).unwrap();
        drop(new);
        // Nobody is counted who has gone, or a lock would wait for him.
        assert!(served.gate().close(std::time::Duration::from_secs(60)));
        served.gate().open();
    });
    bench.mounted(|_, plain| {
        assert_eq!(fs::read_to_string(plain.join("d/a")).unwrap(), "a");
        assert_eq!(fs::read_to_string(plain.join("new")).unwrap(), "new");
    });
}
