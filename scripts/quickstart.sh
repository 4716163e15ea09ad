#!/usr/bin/env bash
# From a fresh Debian 12 with Rust and git to an encrypted directory that works: scripts/quickstart.sh DIR
# Can be run again: what is there already is used.
set -euo pipefail

usage() {
  printf 'usage: %s DIR\n  DIR: absent, empty, or a kmsfs volume already\n' "$0" >&2
  exit 2
}
say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
die() { printf 'error: %s\nhelp: %s\n' "$1" "$2" >&2; exit 1; }

if [ $# -ne 1 ] || [ "${1#-}" != "$1" ]; then usage; fi
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$(realpath -m -- "$1")

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "$1 needs root, and there is no sudo" "run as root once: $*"
  fi
}

install_what_is_missing() {
  local packages=()
  command -v fusermount3 >/dev/null || packages+=(fuse3)
  command -v cc >/dev/null || packages+=(build-essential)
  command -v hexdump >/dev/null || packages+=(bsdextrautils)
  if [ ${#packages[@]} -gt 0 ]; then
    say "installing ${packages[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
  fi
  [ -e /dev/fuse ] || as_root modprobe fuse || true
  [ -e /dev/fuse ] || die "there is no /dev/fuse" "in a container: --device /dev/fuse --cap-add SYS_ADMIN"
  if ! command -v cargo >/dev/null; then
    # rustup installs here, and a shell that was open before does not know it yet.
    PATH="$HOME/.cargo/bin:$PATH"
    command -v cargo >/dev/null || die "there is no cargo" "install Rust: https://rustup.rs"
  fi
}

is_mounted() { [ "$(findmnt -rn --mountpoint "$dir" -o SOURCE | tail -n 1)" = kmsfs ]; }

install_what_is_missing

say "building"
(cd "$top" && cargo build --release --locked)
kmsfs="${CARGO_TARGET_DIR:-$top/target}/release/kmsfs"

if is_mounted; then
  say "$dir is mounted already; taking it away to begin from what lies on the disk"
  "$kmsfs" umount "$dir"
fi
if [ -e "$dir/kmsfs.volume" ]; then
  say "$dir is a volume already"
else
  say "kmsfs init $dir"
  "$kmsfs" init "$dir"
fi

say "kmsfs mount $dir"
"$kmsfs" mount "$dir"

say "working in it"
mkdir -p "$dir/hello"
printf 'attack at dawn\n' >"$dir/hello/plan.txt"
ls -l "$dir" "$dir/hello"
printf 'plan.txt says: %s\n' "$(cat "$dir/hello/plan.txt")"
"$kmsfs" status "$dir"

say "what the disk holds instead"
"$kmsfs" umount "$dir"
ls -lR "$dir"
stored=$(find "$dir" -mindepth 2 -type f -print -quit)
if [ -n "$stored" ]; then
  hexdump -C -n 192 "$stored"
fi
if grep -rqF 'attack at dawn' "$dir"; then
  die "the text is readable on the disk" "this is a bug: please report it"
fi
printf 'neither the name nor the text is to be found there\n'

say "mounted again"
"$kmsfs" mount "$dir"
printf 'plan.txt says: %s\n' "$(cat "$dir/hello/plan.txt")"

state=${KMSFS_STATE_DIR:-/var/lib/kmsfs}
if [ "$(id -u)" -ne 0 ] && [ -z "${KMSFS_STATE_DIR:-}" ]; then
  state=${XDG_STATE_HOME:-$HOME/.local/state}/kmsfs
fi
cat <<EOF

== how to go on
  work in           $dir
  look after it     $kmsfs status $dir
  take it away      $kmsfs umount $dir
  bring it back     $kmsfs mount $dir
  make it dark      $kmsfs lock $dir      (and: $kmsfs unlock $dir)
  the master keys   $kmsfs key list
  the key store     ${KMSFS_KEY_STORE:-$state/keystore} and ${KMSFS_KEY_STORE:-$state/keystore}.root
                    keep a copy of both on another disk: without them the data is lost
EOF
