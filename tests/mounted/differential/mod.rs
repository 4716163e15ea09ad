//! Random sequences of calls, made in a mount and in a plain directory beside it: results, errors, content,
//! attributes and listings are the same after each.
//!
//! The suite draws the same sequences every time. `KMSFS_RANDOM_SECONDS` draws others for so long
//! (`scripts/conformance.sh random`). What they find becomes a `regression_…`, as short as it could be made.

mod calls;
mod regressions;
mod side;
mod tree;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use self::calls::{Call, prologue, sequence};
use self::side::Side;
use self::tree::tree;
use crate::harness::Vault;

/// Calls of one sequence at most.
const LONGEST: usize = 80;
/// How many calls pass between comparisons of everything, content included.
const WHOLE_EVERY: usize = 16;

/// The two directories.
struct Pair {
    vault: Vault,
    plain: PathBuf,
    number: std::cell::Cell<usize>,
}

impl Pair {
    fn new() -> Option<Self> {
        let mut vault = Vault::unmounted()?;
        vault.run(&["init", vault.backing().to_str().unwrap()]);
        vault.mount_with(&["--allow-other", "-o", "dev,suid"]);
        let plain = vault.aside("plain");
        std::fs::create_dir(&plain).unwrap();
        own_umask();
        Some(Self {
            vault,
            plain,
            number: std::cell::Cell::new(0),
        })
    }

    /// Makes `calls` on both sides, and says where they part.
    fn same(&self, calls: &[Call]) -> Result<(), String> {
        self.number.set(self.number.get() + 1);
        let name = format!("case-{}", self.number.get());
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        let mut plain = Side::new(self.plain.join(&name));
        let mut mount = Side::new(self.vault.plain().join(&name));
        for (n, call) in calls.iter().enumerate() {
            let (wanted, found) = (plain.make(call), mount.make(call));
            if wanted != found {
                return Err(format!(
                    "call {n}, {call:?}: {} instead of {}",
                    brief(&found),
                    brief(&wanted)
                ));
            }
            let whole = n % WHOLE_EVERY == WHOLE_EVERY - 1;
            compare(&plain, &mount, whole).map_err(|what| format!("after call {n}, {call:?}: {what}"))?;
        }
        compare(&plain, &mount, true).map_err(|what| format!("at the end: {what}"))?;
        drop((plain, mount));
        Ok(())
    }

    /// Compares everything once more, as it is after a remount.
    fn same_after_remount(mut self) {
        // A process that another test is starting has this one's files open until it is a program of its own.
        let plain = self.vault.plain();
        while !self.vault.kmsfs(&["umount", plain.to_str().unwrap()]).status.success() {
            assert!(self.vault.is_mounted());
        }
        self.vault.mount_with(&["--allow-other", "-o", "dev,suid"]);
        assert!(
            tree(&self.plain, true) == tree(&self.vault.plain(), true),
            "not the same after a remount"
        );
    }
}

/// The calls set it, and all threads would share it otherwise.
fn own_umask() {
    // SAFETY: working directory, root and umask of this thread only.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }.unwrap();
}

fn compare(plain: &Side, mount: &Side, whole: bool) -> Result<(), String> {
    let (wanted, found) = (tree(plain.root(), whole), tree(mount.root(), whole));
    for (path, wanted) in &wanted {
        let shown = String::from_utf8_lossy(path);
        match found.get(path) {
            Some(found) if found == wanted => {}
            found => return Err(format!("{shown:.30}: {} instead of {}", brief(&found), brief(wanted))),
        }
    }
    match found.keys().find(|path| !wanted.contains_key(*path)) {
        Some(path) => Err(format!("{} should not be there", String::from_utf8_lossy(path))),
        None => Ok(()),
    }
}

fn brief(what: &impl std::fmt::Debug) -> String {
    let mut text = format!("{what:?}");
    if text.len() > 1500 {
        text.truncate((0..=1500).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
        text.push('…');
    }
    text
}

/// Draws `cases` sequences from `seed`, and makes the one that parts the two as short as it can.
fn random(pair: &Pair, seed: [u8; 32], cases: u32) {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 4000,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let run = runner.run(&sequence(LONGEST), |calls| {
        pair.same(&[prologue(), calls].concat())
            .map_err(proptest::test_runner::TestCaseError::fail)
    });
    if let Err(TestError::Fail(why, calls)) = run {
        let lines: Vec<_> = calls.iter().map(|call| format!("    {call:?}")).collect();
        panic!("seed {seed:?}: {why}\nafter the prologue:\n{}", lines.join("\n"));
    }
}

fn root() -> bool {
    // Others than root may not do most of this, and a test that passes over must not hide where it counts.
    let root = rustix::process::geteuid().is_root();
    assert!(
        root || std::env::var_os("KMSFS_REQUIRE_FUSE").is_none(),
        "this needs root"
    );
    root
}

/// Runs `test` with two new directories, on a thread of its own: strategies need a large stack, and the umask is
/// this thread's. Passes over where FUSE or root is not there and need not be.
fn with_pair(test: impl FnOnce(Pair) + Send + 'static) {
    let run = || {
        if root()
            && let Some(pair) = Pair::new()
        {
            test(pair);
        }
    };
    let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(run).unwrap();
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn random_calls_come_out_as_in_a_plain_directory() {
    with_pair(|pair| {
        random(&pair, [1; 32], 60);
        pair.same_after_remount();
    });
}

#[test]
fn random_calls_for_as_long_as_one_likes() {
    let Some(seconds) = std::env::var("KMSFS_RANDOM_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
    else {
        return;
    };
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        with_pair(|pair| {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).unwrap();
            random(&pair, seed, 100);
            pair.same_after_remount();
        });
    }
}
