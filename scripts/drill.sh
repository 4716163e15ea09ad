#!/usr/bin/env bash
# The emergency drill: a KMS behind Alibaba Cloud's wire, a mounted volume, a program that holds a file open and mapped.
# The key is disabled; how long until the program sees nothing? It is enabled again; does the program go on?
#   usage: scripts/drill.sh [SECONDS between two checks; 5]        KMSFS=program to use another than the release build
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

interval=${1:-5}
if [ -z "${KMSFS:-}" ]; then
  command -v cargo >/dev/null || PATH="$HOME/.cargo/bin:$PATH"
  cargo build --release --locked --quiet
  KMSFS=$PWD/target/release/kmsfs
fi

dir=$(mktemp -d)
emulator=
clean() {
  "$KMSFS" umount "$dir/mnt" 2>/dev/null || umount -l "$dir/mnt" 2>/dev/null || true
  [ -z "$emulator" ] || kill "$emulator" 2>/dev/null || true
  rm -rf "$dir"
}
trap clean EXIT

mkdir "$dir/mnt"
printf 'drill the-secret-of-the-drill\n' >"$dir/access-keys"
export ALIBABA_CLOUD_ACCESS_KEY_ID=drill ALIBABA_CLOUD_ACCESS_KEY_SECRET=the-secret-of-the-drill
"$KMSFS" kms serve --listen 127.0.0.1:0 --store "$dir/store" --access-keys "$dir/access-keys" >"$dir/said" 2>/dev/null &
emulator=$!
until grep -q '^listening on ' "$dir/said"; do sleep 0.1; done
cloud=(--kms alibaba --region cn-hangzhou --endpoint "$(sed -n 's/^listening on //p' "$dir/said")")
"$KMSFS" key create --alias alias/drill "${cloud[@]}" >/dev/null
"$KMSFS" init "$dir/volume" --key-id alias/drill "${cloud[@]}" >/dev/null
"$KMSFS" mount "$dir/volume" "$dir/mnt" --revocation-check "${interval}s"
printf 'the content of the file' >"$dir/mnt/file"

python3 - "$dir/mnt/file" "$KMSFS" "${cloud[@]}" <<'EOF'
import mmap, os, signal, subprocess, sys, time

path, kmsfs, cloud = sys.argv[1], sys.argv[2], sys.argv[3:]
held = os.open(path, os.O_RDONLY)
mapped = mmap.mmap(held, 0, prot=mmap.PROT_READ)

def by_read():
    try:
        return os.pread(held, 11, 0) == b"the content"
    except OSError:
        return False

def by_mapping():
    # A child looks, because what is not there is a signal.
    child = os.fork()
    if child == 0:
        os._exit(0 if mapped[0:11] == b"the content" else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

def seconds_until(seen):
    begin = time.monotonic()
    while by_read() != seen or by_mapping() != seen:
        if time.monotonic() - begin > 300:
            sys.exit("error: nothing changed within five minutes\nhelp: look at the log of the mount")
        time.sleep(0.002)
    return time.monotonic() - begin

def key(what):
    subprocess.run([kmsfs, "key", what, "alias/drill", *cloud], check=True)

for number in (1, 2, 3):
    key("disable")
    dark = seconds_until(False)
    key("enable")
    bright = seconds_until(True)
    print(f"drill {number}: dark {dark:.2f} s after the key was disabled, bright {bright:.2f} s after it was enabled")
EOF
printf 'the same program, the same descriptor and the same mapping went on each time\n'
