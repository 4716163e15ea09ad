//! The crash loop with a protection taken out (it must notice), and the store on a medium that fails or fills up.

use super::crash::{STEPS, World, close_and_check, crash_everywhere, say};
use super::error::StoreError;
use super::sim::{Fault, Rng, SimMedium};
use super::toy::Model;

/// Takes a protection out and expects the loop to notice within `seeds`.
fn must_be_noticed(seeds: u64) -> String {
    (0..seeds)
        .find_map(|seed| crash_everywhere(seed).err())
        .expect("the crash loop notices")
}

#[test]
fn a_missing_protection_is_noticed() {
    use super::mutation::{Mutation, set};
    for mutation in [
        Mutation::NoJournalSync,
        Mutation::SizeBeforeData,
        Mutation::NoAnnouncement,
        Mutation::NoRetirement,
        Mutation::NoVoid,
    ] {
        set(Some(mutation));
        let noticed = std::panic::catch_unwind(|| must_be_noticed(40));
        set(None);
        let noticed = noticed.unwrap_or_else(|_| panic!("{mutation:?} goes unnoticed"));
        say(&format!("{mutation:?}: {noticed}"));
    }
}

#[test]
fn a_missing_checksum_is_noticed() {
    crate::format::journal::mutation::CHECKSUM_OFF.set(true);
    let noticed = std::panic::catch_unwind(|| must_be_noticed(40));
    crate::format::journal::mutation::CHECKSUM_OFF.set(false);
    say(&noticed.unwrap());
}

/// One operation fails; the workload ends there, as if the process had been killed or the power cut.
#[test]
fn an_error_of_the_medium_loses_nothing_durable() {
    for seed in 0..6 {
        for at in (1..).step_by(3) {
            let medium = SimMedium::default();
            let mut world = World::new(seed, medium.clone()).unwrap();
            let errno = if at % 2 == 0 { libc::EIO } else { libc::ENOSPC };
            medium.fail_at(at, Fault::Error(errno));
            let ended = world.run(STEPS);
            if medium.operations() < at {
                break;
            }
            medium.heal();
            if let Err(error) = &ended {
                assert!(
                    matches!(error.errno(), libc::EIO | libc::ENOSPC),
                    "seed {seed}, at {at}: {error}"
                );
            }
            let mut rng = Rng(seed ^ at.rotate_left(32));
            let checked = world.crash_and_check(&mut rng);
            checked.unwrap_or_else(|reason| panic!("seed {seed}, failure at {at} ({ended:?}): {reason}"));
        }
    }
}

/// The disk fills up: what does not fit fails, all else goes on, and nothing is lost.
#[test]
fn a_full_disk_fails_what_does_not_fit_and_nothing_else() {
    for seed in 0..30 {
        let medium = SimMedium::default();
        let mut world = World::new(seed, medium.clone()).unwrap();
        let lacking = if seed % 2 == 0 { libc::ENOSPC } else { libc::EDQUOT };
        medium.fail_at(20 + seed * 3, Fault::Full(lacking));
        let mut refused = 0;
        for _ in 0..4 * STEPS {
            let Err(error) = world.step() else {
                continue;
            };
            assert_eq!(error.errno(), lacking, "seed {seed}: {error}");
            refused += 1;
            world.accept_what_is_there();
        }
        assert!(refused > 0 || seed > 10, "seed {seed}: the disk never was full");
        medium.heal();
        close_and_check(&mut world).unwrap_or_else(|reason| panic!("seed {seed}: {reason}"));
    }
}

/// A store with something in its journal.
fn busy(seed: u64) -> (World, SimMedium) {
    let medium = SimMedium::default();
    let mut world = World::new(seed, medium.clone()).unwrap();
    world.run(STEPS).unwrap();
    (world, medium)
}

/// Every write of a checkpoint lacks space once, as where overwriting takes new space: it passes, and the next
/// checkpoint does the work.
#[test]
fn a_checkpoint_that_lacks_space_is_made_up_for() {
    let mut stalled = 0;
    for seed in 0..8 {
        for at in 1.. {
            let (mut world, medium) = busy(seed);
            medium.fail_at(at, Fault::Error(libc::ENOSPC));
            let tried = world.store.checkpoint();
            if medium.operations() < at {
                break;
            }
            medium.heal();
            let journal = world.store.status().journal.unwrap();
            match tried {
                Ok(()) => {}
                Err(error) => assert_eq!(error.errno(), libc::ENOSPC, "seed {seed}, at {at}: {error}"),
            }
            let checked = if journal.failed.is_some() {
                // A sync of the journal itself; nothing can be said of it any more.
                world.crash_and_check(&mut Rng(at))
            } else {
                stalled += u64::from(journal.stalled);
                world.store.checkpoint().unwrap();
                assert!(!world.store.status().journal.unwrap().stalled);
                match world.store.commit_all() {
                    // The sync that lacked space was a file's.
                    Err(StoreError::FileLatched { .. }) => world.crash_and_check(&mut Rng(at)),
                    committed => {
                        committed.unwrap();
                        close_and_check(&mut world)
                    }
                }
            };
            checked.unwrap_or_else(|reason| panic!("seed {seed}, at {at}: {reason}"));
        }
    }
    assert!(stalled > 0, "no checkpoint lacked space");
}

/// While checkpoints lack space, writers that find no room in the journal are told so; what they had is there.
#[test]
fn a_journal_that_cannot_be_emptied_fails_writers_until_there_is_space() {
    for seed in 0..8 {
        let (mut world, medium) = busy(seed);
        medium.fail_at(1, Fault::Broken(libc::ENOSPC));
        let mut refused = 0;
        for _ in 0..STEPS {
            if let Err(error) = world.step() {
                assert_eq!(error.errno(), libc::ENOSPC, "seed {seed}: {error}");
                refused += 1;
            }
        }
        assert!(refused > 0);
        medium.heal();
        let checked = world.crash_and_check(&mut Rng(seed));
        checked.unwrap_or_else(|reason| panic!("seed {seed}: {reason}"));
    }
}

/// The medium fails in a checkpoint, once or from then on: nothing more is accepted, reads go on, and the next mount
/// has everything.
#[test]
fn a_checkpoint_on_a_failing_medium_loses_nothing() {
    for seed in 0..8 {
        for at in 1.. {
            let (mut world, medium) = busy(seed);
            let fault = match at % 3 {
                0 => Fault::Broken(libc::EROFS),
                1 => Fault::Broken(libc::EIO),
                _ => Fault::Error(libc::EIO),
            };
            medium.fail_at(at, fault);
            let tried = world.store.checkpoint();
            if medium.operations() < at {
                break;
            }
            if let Err(error) = tried {
                let failed = world.store.status().journal.unwrap().failed;
                assert_eq!(failed, Some(error.errno()), "seed {seed}, at {at}: {error}");
                world.accept_what_is_there();
                let latched = world.store.checkpoint();
                assert!(matches!(latched, Err(StoreError::JournalLatched { .. })), "{latched:?}");
            }
            medium.heal();
            let checked = world.crash_and_check(&mut Rng(at));
            checked.unwrap_or_else(|reason| panic!("seed {seed}, at {at}: {reason}"));
        }
    }
}

#[test]
fn a_failed_sync_stays_failed_until_the_file_is_reopened() {
    let medium = SimMedium::default();
    let mut world = World::new(1, medium.clone()).unwrap();
    world.create(0).unwrap();
    world.files[0].model = Model::default();
    let content = world.content(0).unwrap();
    let mut model = Model::default();
    let (touched, _) = model.write(0..2, 8192, 1);
    model.put(&content, &touched, true, false).unwrap();
    medium.fail_at(1, Fault::Error(libc::EIO));
    assert_eq!(content.sync(true).unwrap_err().errno(), libc::EIO);
    medium.heal();
    for _ in 0..2 {
        assert!(matches!(
            content.sync(true),
            Err(StoreError::FileLatched { errno: libc::EIO, .. })
        ));
    }
    assert!(world.store.commit_all().is_err(), "somebody has it open");
    drop(content);
    world.files[0].handle = None;
    // Nobody is left who could be told.
    world.store.commit_all().unwrap();
    let content = world.content(0).unwrap();
    assert_eq!(Model::observe(&content).unwrap(), Model::default(), "what was durable");
    model.put(&content, &touched, true, false).unwrap();
    content.sync(true).unwrap();
    assert_eq!(Model::observe(&content).unwrap(), model);
    world.store.close().unwrap();
}

/// A checkpoint copied only files that have a name to their places, and forgot the records of all: who had a removed
/// file open and had overwritten and synced it read what was there before, without an error.
#[test]
fn regression_a_checkpoint_copies_files_without_a_name_too() {
    let medium = SimMedium::default();
    let mut world = World::new(1, medium.clone()).unwrap();
    world.create(0).unwrap();
    let content = world.content(0).unwrap();
    let mut model = Model::default();
    for version in 1..=2 {
        let (touched, _) = model.write(0..4, 16384, version);
        model.put(&content, &touched, version == 1, false).unwrap();
        content.sync(true).unwrap();
        if version == 1 {
            medium.unlink(&world.files[0].path).unwrap();
            world.store.unlinked(content.node());
        }
    }
    while world.store.status().journal.unwrap().used > 0 {
        world.store.checkpoint().unwrap();
    }
    assert_eq!(Model::observe(&content).unwrap(), model);
}

#[test]
fn times_are_those_of_the_writes_not_of_the_checkpoint() {
    let medium = SimMedium::default();
    let mut world = World::new(1, medium).unwrap();
    world.create(0).unwrap();
    let content = world.content(0).unwrap();
    let mut model = Model::default();
    let (touched, _) = model.write(0..2, 8192, 1);
    model.put(&content, &touched, true, false).unwrap();
    content.sync(true).unwrap();
    let (touched, _) = model.write(0..2, 8192, 2);
    model.put(&content, &touched, false, false).unwrap();
    let modified = content.file().modified().unwrap();
    world.store.checkpoint().unwrap();
    assert_eq!(content.file().modified().unwrap(), modified);
    assert_eq!(Model::observe(&content).unwrap(), model);
}
