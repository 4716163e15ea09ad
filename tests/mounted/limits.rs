//! Many files, large directories, few descriptors.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, RawDir, SeekFrom, open, seek};
use rustix::io::Errno;

use crate::harness::{KMSFS, Vault};

fn known(vault: &Vault) -> u64 {
    let status = vault.run(&["status", vault.plain().to_str().unwrap(), "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    status["inodes"].as_u64().unwrap()
}

#[test]
fn what_the_kernel_forgets_is_forgotten() {
    let Some(vault) = Vault::new() else { return };
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // Links, renames and removals too: each counts look-ups in a way of its own.
    vault.sh(r#"for d in $(seq 20); do mkdir $d; (cd $d; touch $(seq 1000)); done
        for n in $(seq 200); do ln 1/$n 2/hard-$n; mv 3/$n 4/moved-$n; rm 5/$n; done; mv 6 7/below; rm -r 8
        ls -lR > /dev/null; find . -type f -size +1k; stat 7/below/* > /dev/null; ls 1/x 2>/dev/null || true"#);
    assert!(known(&vault) > 18_000);
    let end = Instant::now() + Duration::from_secs(60);
    while known(&vault) > 1 {
        fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
        assert!(Instant::now() < end, "{} are still known", known(&vault));
    }
    assert_eq!(vault.sh("find . -type f | wc -l").trim(), "19000");
}

struct Listing(OwnedFd);

impl Listing {
    /// Up to `most` names from where it stands, each with where to go on after it.
    fn next(&self, most: usize) -> Vec<(String, u64)> {
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut entries = RawDir::new(self.0.as_fd(), &mut buffer);
        let mut names = Vec::new();
        while names.len() < most {
            let Some(entry) = entries.next() else { break };
            let entry = entry.unwrap();
            names.push((
                entry.file_name().to_str().unwrap().to_owned(),
                entry.next_entry_cookie(),
            ));
        }
        names
    }
}

#[test]
fn a_listing_is_stable_while_entries_come_and_go() {
    let Some(vault) = Vault::new() else { return };
    let dir = vault.plain().join("many");
    fs::create_dir(&dir).unwrap();
    let all: BTreeSet<String> = (0..20_000).map(|n| format!("{n:05}")).collect();
    for name in &all {
        File::create(dir.join(name)).unwrap();
    }
    let listing = Listing(open(&dir, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap());
    let begun = listing.next(5000);
    let (_, after) = begun[4999].clone();
    seek(&listing.0, SeekFrom::Start(after)).unwrap();
    let gone: BTreeSet<String> = all.iter().step_by(3).cloned().collect();
    for name in &gone {
        fs::remove_file(dir.join(name)).unwrap();
        File::create(dir.join(format!("new-{name}"))).unwrap();
    }
    let rest = listing.next(usize::MAX);
    let names: Vec<&String> = begun.iter().chain(&rest).map(|(name, _)| name).collect();
    let seen: BTreeSet<String> = names.iter().map(|name| (*name).clone()).collect();
    assert_eq!(seen.len(), names.len(), "an entry came twice");
    assert!(
        all.difference(&gone).all(|name| seen.contains(name)),
        "an entry was passed over"
    );
    // Back to where it was told, it goes on with what came then; what is gone may come or not.
    seek(&listing.0, SeekFrom::Start(after)).unwrap();
    let again = listing.next(200);
    let left = |names: &[(String, u64)]| -> Vec<String> {
        let names = names.iter().map(|(name, _)| name);
        names.filter(|name| !gone.contains(*name)).take(100).cloned().collect()
    };
    assert_eq!(left(&again), left(&rest));
    // And from the beginning it shows what is there now.
    seek(&listing.0, SeekFrom::Start(0)).unwrap();
    let now: BTreeSet<String> = listing.next(usize::MAX).into_iter().map(|(name, _)| name).collect();
    assert_eq!(now.len(), 20_000 + 2);
    assert!(
        gone.iter()
            .all(|name| !now.contains(name) && now.contains(&format!("new-{name}")))
    );
}

#[test]
fn a_daemon_out_of_descriptors_fails_that_open_only() {
    let Some(mut vault) = Vault::unmounted() else { return };
    vault.run(&["init", vault.backing().to_str().unwrap()]);
    vault.mount();
    for n in 0..200 {
        fs::write(vault.plain().join(n.to_string()), "text").unwrap();
    }
    vault.umount();
    vault.mount();
    let daemon = vault.daemon().as_raw_nonzero();
    let limit = std::process::Command::new("prlimit")
        .args([&format!("--pid={daemon}"), "--nofile=100:100"])
        .status();
    assert!(limit.unwrap().success());
    let other = File::open(vault.plain().join("0")).unwrap();
    let (open, failed): (Vec<_>, Vec<_>) = (0..200)
        .map(|n| File::open(vault.plain().join(n.to_string())))
        .partition(Result::is_ok);
    assert!(open.len() > 20 && !failed.is_empty(), "{} are open", open.len());
    for error in failed {
        let error = error.unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::NFILE), "{error}");
    }
    // Whoever needs none goes on, to the last.
    let mut text = [0; 4];
    std::os::unix::fs::FileExt::read_exact_at(&other, &mut text, 0).unwrap();
    assert_eq!(&text, b"text");
    vault.sh("mkdir d e; mv 198 d; ln d/198 e/link; rm 197; rmdir --ignore-fail-on-non-empty e; mknod pipe p; chmod 600 196
        ls -lR > /dev/null; test \"$(stat -c %s d/198)\" = 4; ln -s d link; stat -f . > /dev/null; ! touch new 2> /dev/null");
    drop(open);
    // Closing is told to the daemon a little later.
    let end = Instant::now() + Duration::from_secs(10);
    while File::open(vault.plain().join("199")).is_err() {
        assert!(Instant::now() < end);
    }
}

/// Three programs have a thousand files open each, in a daemon that was started with room for 256.
#[test]
fn the_daemon_takes_as_many_descriptors_as_it_may_have() {
    let Some(mut vault) = Vault::unmounted() else { return };
    let (backing, plain) = (vault.backing(), vault.plain());
    let (backing, plain) = (backing.to_str().unwrap(), plain.to_str().unwrap());
    vault.run(&["init", backing]);
    let few = "ulimit -S -n 256; exec \"$@\"";
    let mut mount = vault.command("bash", &["-c", few, "bash", KMSFS, "mount", backing, plain]);
    assert!(mount.status().unwrap().success());
    vault.adopt();
    vault.sh(r#"cat > "$V/hold.py" <<'P'
import os

def hold(program, ready, go):
    files = [os.open(f'{program}-{n}', os.O_RDWR | os.O_CREAT) for n in range(1000)]
    os.write(ready, b'.')
    os.read(go, 1)
    for n, file in enumerate(files):
        os.pwrite(file, b'%d' % n, 0)
    os._exit(0)

(held, ready), (wait, go) = os.pipe(), os.pipe()
programs = [os.fork() or hold(program, ready, wait) for program in (1, 2, 3)]
os.close(ready)
for _ in programs:
    assert os.read(held, 1)
os.write(go, b'...')
assert all(os.waitpid(program, 0)[1] == 0 for program in programs)
P
        python3 "$V/hold.py"; test "$(cat 1-999 2-500 3-0)" = 9995000"#);
    vault.umount();
}
