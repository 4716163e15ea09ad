//! Several processes, and users, at the same files.

use crate::harness::Vault;

#[test]
fn locks_hold_between_processes_and_waiting_for_one_can_be_interrupted() {
    let Some(vault) = Vault::new() else { return };
    vault.sh(r#"cat > "$V/lock.py" <<'P'
import fcntl, struct, sys
kind, how = sys.argv[1], sys.argv[2]
file = open('lock', 'r+')
wait = how == 'wait'
if kind == 'flock':
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
elif kind == 'posix':
    fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 10, 5)
else:
    F_OFD_SETLK, F_OFD_SETLKW = 37, 38
    lock = struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 5, 10, 0)
    fcntl.fcntl(file, F_OFD_SETLKW if wait else F_OFD_SETLK, lock)
if how == 'hold':
    print('held', flush=True)
    sys.stdin.read()
P
        touch lock
        for kind in flock posix ofd; do
            coproc holder { exec python3 "$V/lock.py" $kind hold; }
            read -r said <&"${holder[0]}"; test "$said" = held
            if python3 "$V/lock.py" $kind try 2> "$V/why"; then echo "$kind: two have it"; exit 1; fi
            grep -q BlockingIOError "$V/why"
            python3 "$V/lock.py" $kind wait & waiter=$!
            number=$(stat -c %i lock)
            until grep -q -- "-> .*:$number " /proc/locks; do kill -0 $waiter; done
            kill -TERM $waiter
            if wait $waiter; then exit 1; else test $? = 143; fi
            kill "$holder_PID"; wait "$holder_PID" || true
            python3 "$V/lock.py" $kind try
        done"#);
}

#[test]
fn appends_of_many_processes_all_arrive() {
    let Some(vault) = Vault::new() else { return };
    vault.sh(r#"for writer in $(seq 8); do
            (for line in $(seq 300); do echo "$writer $line" >> log; done) & writers="${writers:-} $!"
        done
        for writer in $writers; do wait "$writer"; done
        test "$(sort -u log | wc -l)" = 2400; test "$(wc -l < log)" = 2400"#);
}

#[test]
fn a_mapping_gives_a_signal_where_the_file_was_cut_and_follows_it_when_it_grows() {
    let Some(vault) = Vault::new() else { return };
    vault.sh(r#"cat > "$V/map.py" <<'P'
import mmap, os, signal
file = os.open('mapped', os.O_RDWR | os.O_CREAT)
os.pwrite(file, b'x' * 20000, 0)
shared = mmap.mmap(file, 20000)
private = mmap.mmap(file, 20000, flags=mmap.MAP_PRIVATE)
private[0:3] = b'own'
os.ftruncate(file, 5000)
assert shared[4999:5001] == b'x\0' and private[0:4] == b'ownx'
child = os.fork()
if child == 0:
    shared[9000]
    os._exit(0)
assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGBUS
os.ftruncate(file, 20000)
assert shared[9000] == 0
shared[9000:9003] = b'new'
assert os.pread(file, 3, 9000) == b'new' and os.pread(file, 3, 0) == b'xxx'
os.pwrite(file, b'other', 9000)
assert shared[9000:9005] == b'other'
direct = os.open('mapped', os.O_RDWR | os.O_DIRECT)
page = mmap.mmap(-1, 4096)
os.preadv(direct, [page], 8192)
assert page[808:813] == b'other'
page[808:813] = b'again'
os.pwritev(direct, [page], 8192)
assert shared[9000:9005] == b'again' and os.pread(file, 5, 9000) == b'again'
P
        python3 "$V/map.py""#);
}

#[test]
fn user_namespaces_work_as_on_any_file_system() {
    let Some(mut vault) = Vault::unmounted() else { return };
    if !rustix::process::geteuid().is_root() {
        return;
    }
    vault.run(&["init", vault.backing().to_str().unwrap()]);
    vault.mount_with(&["--allow-other"]);
    // Root of a namespace is an ordinary user to the files: it has what user 1 has, and no more.
    vault.sh(r#"chmod 755 "$V"; mkdir theirs ours; chown 1:1 theirs; chmod 700 ours
        setpriv --reuid 1 --regid 1 --clear-groups unshare -Ur bash -euc '
            cd theirs; echo text > file; mkdir d; mv file d/; ln -s d/file link; chmod 4755 d/file
            test "$(stat -c %u:%g d/file)" = 0:0; test "$(cat link)" = text; chown 0:0 d/file
            if chown 5 d/file 2>/dev/null; then exit 1; fi
            if ls ../ours 2>/dev/null; then exit 2; fi; if touch ../new 2>/dev/null; then exit 3; fi'
        test "$(stat -c %u:%g theirs/d/file)" = 1:1"#);
}
