//! The daemon is killed (SIGKILL) at random moments while threads write, append, cut, sync and rename; then the
//! volume is mounted again, and every byte whose sync was acknowledged must be there, and every file readable.
//!
//! `KMSFS_KILL_ROUNDS` makes it run longer, `KMSFS_KILL_SEED` begins with another seed. A failure names its seed
//! and keeps the record of what was acknowledged; moments differ from run to run all the same.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::disk::Disk;
use crate::harness::Vault;
use crate::ledger::{Ledger, Record};

const WORKERS: u64 = 4;
/// Files that are changed in place, of each worker.
const FILES: usize = 3;
const SIZE_MAX: u64 = 200_000;

/// splitmix64
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        (0..len.div_ceil(8))
            .flat_map(|_| self.next().to_le_bytes())
            .take(len as usize)
            .collect()
    }
}

/// A directory that one thread at a time works in, and what must be in it.
struct Worker {
    dir: PathBuf,
    dice: Dice,
    record: Record,
    files: Vec<Ledger>,
    /// What `replaced` may hold: the last one that was made durable, and those renamed over it since.
    replaced: Vec<Vec<u8>>,
    /// Set while the power of the medium is being cut.
    failing: Arc<AtomicBool>,
}

impl Worker {
    fn new(dir: PathBuf, seed: u64, record: File, failing: Arc<AtomicBool>) -> Self {
        fs::create_dir(&dir).unwrap();
        for file in (0..FILES)
            .map(|n| dir.join(n.to_string()))
            .chain([dir.join("replaced")])
        {
            File::create_new(file).unwrap().sync_all().unwrap();
        }
        File::open(&dir).unwrap().sync_all().unwrap();
        Self {
            dir,
            dice: Dice(seed),
            record: Record(record),
            files: vec![Ledger::of(Vec::new()); FILES],
            replaced: vec![Vec::new()],
            failing,
        }
    }

    fn path(&self, file: usize) -> PathBuf {
        self.dir.join(file.to_string())
    }

    /// Works until the mount dies.
    fn work(&mut self) -> io::Error {
        loop {
            if let Err(error) = self.step() {
                return error;
            }
        }
    }

    fn step(&mut self) -> io::Result<()> {
        let which = self.dice.below(FILES as u64) as usize;
        let file = OpenOptions::new().read(true).write(true).open(self.path(which))?;
        match self.dice.below(12) {
            0..4 => self.overwrite(which, &file),
            4..6 => self.append(which, &file),
            6 => self.cut(which, &file),
            7..10 => self.sync(which, &file),
            _ => self.replace(),
        }
    }

    fn overwrite(&mut self, which: usize, file: &File) -> io::Result<()> {
        let at = self.dice.below(self.files[which].now.len() as u64);
        self.write(which, file, at)
    }

    fn append(&mut self, which: usize, file: &File) -> io::Result<()> {
        let at = self.files[which].now.len() as u64;
        match at > SIZE_MAX {
            true => self.cut(which, file),
            false => self.write(which, file, at),
        }
    }

    fn write(&mut self, which: usize, file: &File, at: u64) -> io::Result<()> {
        // The first file stays small enough to lie inside of its header, now and then at least.
        let most = if which == 0 { 900 } else { 30_000 };
        let len = 1 + self.dice.below(most);
        let data = self.dice.bytes(len);
        let mut next = self.files[which].now.clone();
        let end = at as usize + data.len();
        next.resize(next.len().max(end), 0);
        next[at as usize..end].copy_from_slice(&data);
        self.files[which].may_become(next);
        file.write_all_at(&data, at)
    }

    fn cut(&mut self, which: usize, file: &File) -> io::Result<()> {
        let mut next = self.files[which].now.clone();
        let size = if self.dice.below(4) == 0 {
            0
        } else {
            self.dice.below(next.len() as u64 + 1)
        };
        next.truncate(size as usize);
        self.files[which].may_become(next);
        file.set_len(size)
    }

    /// Not with syncfs(2): Linux writes back, but tells only file systems on a block device of it.
    fn sync(&mut self, which: usize, file: &File) -> io::Result<()> {
        match self.dice.below(2) {
            0 => file.sync_all()?,
            _ => file.sync_data()?,
        }
        if self.counts() {
            self.files[which].acknowledged();
            let size = self.files[which].now.len();
            self.record.line(&format!("file {which}: {size} bytes"));
        }
        Ok(())
    }

    /// Whether what a sync said just now counts: not any more while the power is being cut. Then nobody would have heard
    /// it; but ext4, shut down in the middle of an fsync, may answer that all is well (the extents of what was written
    /// stay unwritten, and only its log says so).
    fn counts(&self) -> bool {
        !self.failing.load(Ordering::SeqCst)
    }

    /// As an editor saves: whoever looks sees the old one or the new one.
    fn replace(&mut self) -> io::Result<()> {
        let len = self.dice.below(40_000);
        let data = self.dice.bytes(len);
        let new = self.dir.join("new");
        fs::write(&new, &data)?;
        File::open(&new)?.sync_all()?;
        self.replaced.push(data);
        fs::rename(&new, self.dir.join("replaced"))?;
        File::open(&self.dir)?.sync_all()?;
        if self.counts() {
            self.replaced.drain(..self.replaced.len() - 1);
            self.record.line(&format!("replaced: {len} bytes"));
        }
        Ok(())
    }

    /// Holds what is there against what must be, and goes on from there.
    fn check(&mut self) -> Result<(), String> {
        for which in 0..FILES {
            let path = self.path(which);
            let found = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            self.files[which]
                .check(&found)
                .map_err(|e| format!("{}: {e}", path.display()))?;
            self.files[which] = Ledger::of(found);
        }
        let path = self.dir.join("replaced");
        let found = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        if !self.replaced.contains(&found) {
            return Err(format!("{}: {} bytes of something else", path.display(), found.len()));
        }
        self.replaced = vec![found];
        match fs::read(self.dir.join("new")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("{}/new: {error}", self.dir.display()))
            }
            _ => Ok(()),
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// One life of the daemon, ended in the middle of work, after `before` has been done.
fn round(vault: &mut Vault, workers: &mut [Worker], dice: &mut Dice, before: impl FnOnce()) {
    let daemon = vault.daemon();
    let vault = &*vault;
    let moment = match dice.below(4) {
        0 => dice.below(1500),
        _ => dice.below(150),
    };
    let ends: Vec<io::Error> = thread::scope(|scope| {
        let running: Vec<_> = workers.iter_mut().map(|worker| scope.spawn(|| worker.work())).collect();
        thread::sleep(Duration::from_millis(moment));
        before();
        vault.kill(daemon);
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for end in ends {
        let errno = end.raw_os_error();
        let dead = [libc::ENOTCONN, libc::ECONNABORTED, libc::EIO, libc::EROFS];
        assert!(
            errno.is_some_and(|errno| dead.contains(&errno)),
            "a worker ended before the mount did: {end}"
        );
    }
}

/// Small journals wrap often; without background commits only what was asked for is durable.
fn options(dice: &mut Dice) -> [String; 4] {
    let journal = ["64K", "256K", "64M"][dice.below(3) as usize];
    let interval = ["1s", "5s", "1h"][dice.below(3) as usize];
    ["--journal-size", journal, "--commit-interval", interval].map(str::to_owned)
}

fn keep_record(from: &Path, seed: u64) -> PathBuf {
    let to = std::env::temp_dir().join(format!("kmsfs-killed-{seed}"));
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    to
}

fn workers(vault: &Vault, records: &Path, dice: &mut Dice, failing: &Arc<AtomicBool>) -> Vec<Worker> {
    let worker = |n: u64| {
        let record = File::create(records.join(n.to_string())).unwrap();
        Worker::new(
            vault.plain().join(n.to_string()),
            dice.next(),
            record,
            Arc::clone(failing),
        )
    };
    (0..WORKERS).map(worker).collect()
}

fn check(workers: &mut [Worker], records: &Path, (seed, number): (u64, u64)) {
    for worker in workers {
        if let Err(reason) = worker.check() {
            let record = keep_record(records, seed);
            panic!("KMSFS_KILL_SEED={seed}, round {number}: {reason}; {}", record.display());
        }
        worker
            .record
            .line(&format!("round {number} ended, and everything was there"));
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_daemon_is_killed() {
    let Some(mut vault) = Vault::new() else {
        return;
    };
    let rounds = number("KMSFS_KILL_ROUNDS").unwrap_or(20);
    let seed = number("KMSFS_KILL_SEED").unwrap_or(1);
    let mut dice = Dice(seed);
    let records = vault.aside("records");
    fs::create_dir(&records).unwrap();
    let mut workers = workers(&vault, &records, &mut dice, &Arc::default());
    let mut recovered = 0;
    for number in 0..rounds {
        round(&mut vault, &mut workers, &mut dice, || {});
        vault.clear();
        if dice.below(4) == 0 {
            let said = vault.run(&["mount", "--recover-only", vault.backing().to_str().unwrap()]);
            assert_eq!(said.lines().count(), 1, "{said}");
            recovered += u64::from(said.contains("recovered after a crash"));
        }
        let options = options(&mut dice);
        vault.mount_with(&options.each_ref().map(String::as_str));
        check(&mut workers, &records, (seed, number));
    }
    assert!(rounds < 20 || recovered > 0, "no kill left anything to recover");
    let lines: usize = workers
        .iter()
        .enumerate()
        .map(|(n, _)| fs::read_to_string(records.join(n.to_string())).unwrap().lines().count())
        .sum();
    eprintln!("{rounds} rounds, {lines} syncs acknowledged");
    assert!(lines as u64 > rounds * WORKERS, "nothing was acknowledged");
}

/// The backing is an ext4 of its own that forgets what it has not made durable: names, sizes and content alike.
#[test]
fn nothing_acknowledged_is_lost_when_a_real_ext4_loses_power() {
    let Some(mut vault) = Vault::unmounted() else {
        return;
    };
    let Some(disk) = Disk::ext4("128M") else {
        return;
    };
    let rounds = number("KMSFS_KILL_ROUNDS").unwrap_or(20).div_ceil(4);
    let seed = number("KMSFS_KILL_SEED").unwrap_or(1);
    let mut dice = Dice(seed);
    let (backing, plain, records) = (disk.path("volume"), vault.plain(), vault.aside("records"));
    fs::create_dir(&records).unwrap();
    vault.run(&["init", &backing]);
    let mut mount = ["mount", &backing, plain.to_str().unwrap()].map(str::to_owned).to_vec();
    mount.extend(options(&mut dice));
    let mount: Vec<&str> = mount.iter().map(String::as_str).collect();
    vault.mount_by(&mount);
    let failing = Arc::<AtomicBool>::default();
    let mut workers = workers(&vault, &records, &mut dice, &failing);
    // What was done before counts from here on.
    File::open(&plain).unwrap().sync_all().unwrap();
    for number in 0..rounds {
        round(&mut vault, &mut workers, &mut dice, || {
            failing.store(true, Ordering::SeqCst);
            disk.power_off();
        });
        vault.clear();
        disk.power_on();
        failing.store(false, Ordering::SeqCst);
        vault.mount_by(&mount);
        check(&mut workers, &records, (seed, number));
    }
    vault.umount();
}

/// On a medium that cannot be written to, nothing can be recovered, and that is said.
fn refuses_read_only(vault: &Vault) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let seen = vault.aside("seen");
    fs::create_dir(&seen).unwrap();
    let bind = Command::new("mount")
        .args(["-o", "bind,ro"])
        .arg(vault.backing())
        .arg(&seen)
        .status();
    assert!(bind.unwrap().success());
    let refused = vault.kmsfs(&["mount", "--recover-only", seen.to_str().unwrap()]);
    assert!(Command::new("umount").arg(&seen).status().unwrap().success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!((refused.status.code(), said.lines().count()), (Some(17), 2), "{said}");
    assert!(said.contains("read-only") && said.contains("--recover-only"), "{said}");
}

#[test]
fn recovery_alone_needs_no_key_and_no_mount() {
    let Some(mut vault) = Vault::new() else {
        return;
    };
    let backing = vault.backing();
    let recover = ["mount", "--recover-only", backing.to_str().unwrap()];
    let held = vault.kmsfs(&recover);
    assert_eq!(held.status.code(), Some(7), "{}", String::from_utf8_lossy(&held.stderr));
    vault.sh("head -c 100000 /dev/zero > f; sync f; echo kept | dd of=f bs=1 seek=5000 conv=notrunc,fsync status=none");
    vault.kill(vault.daemon());
    vault.clear();
    refuses_read_only(&vault);
    fs::rename(vault.key_store(), vault.aside("keys")).unwrap();
    let said = vault.run(&recover);
    assert!(
        said.contains("recovered after a crash") && said.lines().count() == 1,
        "{said}"
    );
    assert!(vault.run(&recover).contains("nothing to recover"));
    fs::rename(vault.aside("keys"), vault.key_store()).unwrap();
    vault.mount();
    vault.sh("dd if=f bs=1 skip=5000 count=4 status=none | grep -qx kept");
    let status = vault.run(&["status", vault.plain().to_str().unwrap()]);
    assert!(status.contains("nothing to recover when it was mounted"), "{status}");
}

#[test]
fn a_mount_says_what_it_recovered() {
    let Some(mut vault) = Vault::new() else {
        return;
    };
    vault.sh("head -c 100000 /dev/zero > f; sync f; echo kept | dd of=f bs=1 seek=5000 conv=notrunc,fsync status=none");
    vault.kill(vault.daemon());
    vault.clear();
    let said = vault.mount_with(&[]);
    assert!(said.contains("recovered after a crash"), "{said}");
    let status = vault.run(&["status", vault.plain().to_str().unwrap()]);
    assert!(
        status.contains("when it was mounted: ") && status.contains(" bytes in use, "),
        "{status}"
    );
}
