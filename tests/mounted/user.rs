//! An ordinary user: mounting and unmounting through `fusermount3`, without any privilege of the daemon's own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::harness::{KMSFS, Vault};

/// Run by root in a mount namespace of its own: what the script leaves mounted goes with it. `/dev/fuse` is open to
/// everybody there, as udev makes it.
const AS_NOBODY: &str = r#"
mount --make-rprivate /
mount -t tmpfs tmpfs "$V/dev"
mknod -m 666 "$V/dev/fuse" c 10 229
mount --bind "$V/dev/fuse" /dev/fuse
exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all \
  env --ignore-environment PATH="$PATH" HOME="$V/home" XDG_RUNTIME_DIR="$V/home" bash -euo pipefail -c "$1" bash "$V/kmsfs"
"#;

const WORK: &str = r#"
kmsfs=$1
cd "$HOME"
until_true() { for _ in $(seq 600); do if "$@" >/dev/null 2>&1; then return; fi; sleep 0.05; done; echo "in vain: $*"; exit 1; }
# bash takes a failure behind a ! for none.
not() { if "$@"; then echo "it should not: $*"; exit 1; fi; }
mounted() { grep -qF " $HOME/$1 fuse" /proc/mounts; }

"$kmsfs" init v >init.log
"$kmsfs" mount v
mounted v
echo text >v/a
[ "$(stat -c %u v/a)" = 65534 ]
pid=$("$kmsfs" status v --json | grep -o '"pid": [0-9]*' | grep -o '[0-9]*')
grep -q 'CapPrm:.*0000000000000000' "/proc/$pid/status"
exec 5<v/a
not "$kmsfs" umount v 2>busy.log
grep -q "process $$ (bash)" busy.log
exec 5<&-
"$kmsfs" umount v
not mounted v

echo 'a signal'
"$kmsfs" mount --foreground v 2>log &
until_true mounted v
until_true "$kmsfs" status v
[ "$(cat v/a)" = text ]
kill -TERM $!
wait $!
not mounted v

echo 'a crash'
"$kmsfs" mount --foreground v 2>log &
until_true "$kmsfs" status v
kill -KILL $!
not wait $!
not ls v 2>/dev/null
"$kmsfs" mount v
[ "$(cat v/a)" = text ]
[ "$(grep -cF " $HOME/v fuse" /proc/mounts)" = 1 ]
"$kmsfs" umount v

echo 'scratch space'
mkdir s
"$kmsfs" mount --ephemeral s >note
echo text >s/a
"$kmsfs" umount s
[ -z "$(ls -A s)" ]
"#;

/// Asks the control socket for the status, and prints what comes back.
const ASK: &str = "import socket, sys
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[1])
try:
    peer.sendall(b'{\"op\":\"status\"}\\n')
    print(peer.makefile().read() or 'hung up')
except (ConnectionResetError, BrokenPipeError):
    print('hung up')
";

#[test]
fn a_stranger_gets_no_answer_even_from_a_socket_that_is_open_to_him() {
    let Some(mut vault) = Vault::unmounted() else { return };
    if !rustix::process::geteuid().is_root() {
        eprintln!("passed over: only root can become somebody else");
        return;
    }
    vault.run(&["init", vault.backing().to_str().unwrap()]);
    vault.mount();
    // As if somebody had loosened every mode on the way.
    let open = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    open(&vault.aside(""), 0o711);
    open(&vault.aside("run"), 0o755);
    let mut files = fs::read_dir(vault.aside("run"))
        .unwrap()
        .flatten()
        .map(|file| file.path());
    let socket = files
        .find(|path| path.extension().is_some_and(|suffix| suffix == "sock"))
        .unwrap();
    open(&socket, 0o666);
    let ask = |uid: u32| {
        let mut command = Command::new("python3");
        command.args(["-c", ASK]).arg(&socket);
        String::from_utf8(command.uid(uid).output().unwrap().stdout).unwrap()
    };
    assert!(ask(0).contains("mountpoint"));
    assert_eq!(ask(65534).trim(), "hung up", "a stranger is answered");
    vault.umount();
}

#[test]
fn an_ordinary_user_mounts_is_signalled_crashes_and_leaves() {
    let Some(vault) = Vault::unmounted() else { return };
    let there = |program: &str| Path::new("/usr/bin").join(program).exists();
    if !rustix::process::geteuid().is_root() || !there("fusermount3") || !there("setpriv") {
        eprintln!("passed over: it takes root to become somebody, and fusermount3");
        return;
    }
    let place = vault.aside("");
    let open = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    open(&place, 0o711);
    for name in ["dev", "home"] {
        fs::create_dir(vault.aside(name)).unwrap();
    }
    std::os::unix::fs::chown(vault.aside("home"), Some(65534), Some(65534)).unwrap();
    fs::copy(KMSFS, vault.aside("kmsfs")).unwrap();
    open(&vault.aside("kmsfs"), 0o755);
    let output = Command::new("unshare")
        .args(["--mount", "bash", "-euo", "pipefail", "-c", AS_NOBODY, "bash", WORK])
        .env("V", place.canonicalize().unwrap())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}
