//! Calls that programs seldom make, made through the kernel: what it caches must not show.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, StatxFlags, open, renameat_with, statx};
use rustix::io::Errno;

use crate::harness::Vault;

#[test]
fn ten_thousand_names_of_every_length() {
    let Some(mut vault) = Vault::new() else {
        return;
    };
    let dir = vault.plain().join("many");
    fs::create_dir(&dir).unwrap();
    let name = |n: usize| format!("{n:05}{}", "n".repeat(n % 251));
    for n in 0..10_000 {
        File::create(dir.join(name(n))).unwrap();
    }
    for _ in 0..2 {
        let mut names: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert!(names.iter().cloned().eq((0..10_000).map(name)));
        vault.offline(|_| {});
    }
    fs::remove_dir_all(&dir).unwrap();
    assert!(!dir.exists());
}

#[test]
fn data_and_holes_are_told_before_they_are_written_back() {
    let Some(vault) = Vault::new() else { return };
    let path = vault.plain().join("sparse");
    let options = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
    let file = options.unwrap();
    file.set_len(1 << 20).unwrap();
    file.write_all_at(b"data", 500_000).unwrap();
    let other = File::open(&path).unwrap();
    let data = rustix::fs::seek(&other, rustix::fs::SeekFrom::Data(0)).unwrap();
    assert!((400_000..=500_000).contains(&data), "{data}");
    let hole = rustix::fs::seek(&other, rustix::fs::SeekFrom::Hole(data)).unwrap();
    assert!((500_004..600_000).contains(&hole), "{hole}");
    drop(file);
    vault.sh("cp --sparse=always sparse copy; cmp sparse copy; test $(stat -c %b copy) -lt 200");
}

#[test]
fn an_unlinked_file_and_a_replaced_one_go_on_for_who_has_them_open() {
    let Some(vault) = Vault::new() else { return };
    let (path, new) = (vault.plain().join("x"), vault.plain().join("new"));
    fs::write(&path, "old").unwrap();
    let mut open = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    fs::write(&new, "new").unwrap();
    fs::rename(&new, &path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    open.seek(SeekFrom::End(0)).unwrap();
    open.write_all(b" and more").unwrap();
    open.sync_all().unwrap();
    open.seek(SeekFrom::Start(0)).unwrap();
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text, "old and more");
    assert_eq!(open.metadata().unwrap().nlink(), 0);
    fs::remove_file(&path).unwrap();
    assert_eq!(open.metadata().unwrap().size(), 12);
}

#[test]
fn appends_of_many_do_not_cover_each_other() {
    let Some(vault) = Vault::new() else { return };
    let path = vault.plain().join("log");
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let path = &path;
            scope.spawn(move || {
                let mut log = OpenOptions::new().append(true).create(true).open(path).unwrap();
                for line in 0..200 {
                    log.write_all(format!("{writer} {line:03}\n").as_bytes()).unwrap();
                }
            });
        }
    });
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 1600);
}

#[test]
fn exchange_and_no_replace() {
    let Some(mut vault) = Vault::new() else {
        return;
    };
    let plain = vault.plain();
    fs::write(plain.join("a"), "1").unwrap();
    fs::write(plain.join("b"), "2").unwrap();
    let rename = |flags| {
        let dir = File::open(&plain).unwrap();
        renameat_with(&dir, "a", &dir, "b", flags)
    };
    assert_eq!(rename(RenameFlags::NOREPLACE), Err(rustix::io::Errno::EXIST));
    rename(RenameFlags::EXCHANGE).unwrap();
    for _ in 0..2 {
        assert_eq!(fs::read_to_string(vault.plain().join("a")).unwrap(), "2");
        assert_eq!(fs::read_to_string(vault.plain().join("b")).unwrap(), "1");
        vault.offline(|_| {});
    }
}

#[test]
fn a_file_made_read_only_is_written_by_who_made_it() {
    let Some(vault) = Vault::new() else { return };
    let path = vault.plain().join("x");
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(&path)
        .unwrap();
    file.write_all(b"content").unwrap();
    drop(file);
    assert_eq!(fs::read_to_string(&path).unwrap(), "content");
}

/// The FUSE library has no operation for either. Programs are told so, and those that know another way take it.
#[test]
fn there_is_neither_o_tmpfile_nor_a_birth_time() {
    let Some(vault) = Vault::new() else { return };
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let nameless = open(vault.plain(), flags, Mode::RUSR | Mode::WUSR);
    assert_eq!(nameless.err(), Some(Errno::OPNOTSUPP));
    let mut other = tempfile::tempfile_in(vault.plain()).unwrap();
    other.write_all(b"text").unwrap();
    assert_eq!(fs::read_dir(vault.plain()).unwrap().count(), 0);
    fs::write(vault.plain().join("a"), "text").unwrap();
    let stat = statx(CWD, vault.plain().join("a"), AtFlags::empty(), StatxFlags::ALL).unwrap();
    let told = StatxFlags::from_bits_retain(stat.stx_mask);
    assert!(told.contains(StatxFlags::BASIC_STATS) && !told.contains(StatxFlags::BTIME));
}

/// Prints what comes of each call on a program that runs, or that somebody is writing. In a process of its own: another
/// test's child would have the program open for writing for a moment.
const BUSY_PROGRAM: &str = r#"cat > "$V/busy.py" <<'P'
import errno, os, shutil, subprocess, sys
os.chdir(sys.argv[1])

def tell(what, call):
    try:
        call()
        print(what, 'done')
    except OSError as error:
        print(what, errno.errorcode[error.errno])

def run():
    subprocess.run(['./program', '0'], check=True)

def write(flags=0):
    os.close(os.open('program', os.O_WRONLY | flags))

shutil.copy('/bin/sleep', 'program')
tell('run', run)
for flags in os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND:
    writer = os.open('program', flags)
    tell('run while it is open for writing', run)
    os.close(writer)
    tell('run when it is closed', run)
running = subprocess.Popen(['./program', '100'])
while os.readlink(f'/proc/{running.pid}/exe') != os.path.realpath('program'):
    pass
tell('write while it runs', write)
tell('cut by opening while it runs', lambda: write(os.O_TRUNC))
tell('cut while it runs', lambda: os.truncate('program', 0))
tell('read while it runs', lambda: os.close(os.open('program', os.O_RDONLY)))
tell('chmod while it runs', lambda: os.chmod('program', 0o700))
tell('link while it runs', lambda: os.link('program', 'link'))
tell('write by the other name', lambda: os.close(os.open('link', os.O_WRONLY)))
shutil.copy('/bin/sleep', 'other')
tell('replace while it runs', lambda: os.rename('other', 'program'))
tell('write the new one', write)
tell('unlink while it runs', lambda: os.unlink('link'))
running.kill()
running.wait()
tell('run the new one', run)
P
python3 "$V/busy.py" "$PWD""#;

#[test]
fn a_program_that_runs_is_as_busy_as_in_a_plain_directory() {
    let Some(vault) = Vault::new() else { return };
    let plain = vault.aside("plain");
    fs::create_dir(&plain).unwrap();
    let wanted = vault.sh_in(&plain, BUSY_PROGRAM);
    assert_eq!(wanted.lines().count(), 18, "{wanted}");
    assert_eq!(vault.sh(BUSY_PROGRAM), wanted);
}
