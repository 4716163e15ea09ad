#!/usr/bin/env bash
# Whether programs can tell a mount from ext4. Needs root: it makes an ext4 of its own in an image, with a plain
# directory and a volume in it, and compares.
#
#   scripts/conformance.sh              all of it; some of it takes long
#   scripts/conformance.sh quick        what scripts/check.sh runs
#   scripts/conformance.sh PART…        pjdfstest, fsx, random, or the name of a file in tests/conformance/programs
#
#   FSX_SEEDS=8 FSX_OPERATIONS=20000    how much fsx does
#   RANDOM_SECONDS=600                  how long random calls are compared
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
here=$PWD
tests=$here/tests/conformance

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
fail() { printf 'error: %s\nhelp: %s\n' "$1" "$2" >&2; exit 1; }

[ "$(id -u)" -eq 0 ] || fail "this needs root" "run it with sudo, on a machine where it may mount"
[ -e /dev/fuse ] || fail "there is no /dev/fuse" "load the module with modprobe fuse"
command -v cargo >/dev/null || PATH="$HOME/.cargo/bin:$PATH"

# need PROGRAM PACKAGE: installs what is missing.
need() {
  command -v "$1" >/dev/null && return
  step "installing $2"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null ||
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null; } ||
    fail "$2 cannot be installed" "install it, or name the parts to run that do not need it"
}

target=${CARGO_TARGET_DIR:-$here/target}
tools=$target/conformance

# tool NAME VERSION: a test program from crates.io.
tool() {
  [ -x "$tools/bin/$1" ] && return
  step "building $1 $2"
  CARGO_TARGET_DIR=$tools/build cargo install --locked --quiet --root "$tools" "$1@$2" ||
    fail "$1 cannot be built" "see above; it comes from crates.io"
}

work=
cleanup() {
  [ -n "$work" ] || return 0
  cd /
  if mountpoint -q "$work/mnt"; then "$kmsfs" umount "$work/mnt" || umount -l "$work/mnt" || true; fi
  local disk
  for disk in plain backing; do
    if mountpoint -q "$work/$disk"; then umount "$work/$disk" || umount -l "$work/$disk" || true; fi
  done
  rm -rf --one-file-system "$work"
}

# Makes $work: plain, an ext4, and mnt, with a volume on another ext4 below it.
prepare() {
  need mkfs.ext4 e2fsprogs
  step "building kmsfs"
  local profile=${PROFILE:-release}
  cargo build --locked --quiet --profile "$profile"
  kmsfs=$target/${profile/#dev/debug}/kmsfs
  work=$(mktemp -d)
  trap cleanup EXIT
  chmod 755 "$work"
  export KMSFS_STATE_DIR=$work/state KMSFS_RUNTIME_DIR=$work/run KMSFS=$kmsfs
  mkdir "$work"/{plain,backing,mnt,state,run}
  local disk
  for disk in plain backing; do
    truncate -s 16G "$work/$disk.image"
    mkfs.ext4 -q -F "$work/$disk.image"
    mount -o loop "$work/$disk.image" "$work/$disk" || fail "no image can be mounted" "this needs loop devices"
  done
  mkdir "$work/backing/volume"
  "$kmsfs" init "$work/backing/volume" >/dev/null
  "$kmsfs" mount --allow-other -o dev,suid "$work/backing/volume" "$work/mnt"
  export PLAIN=$work/plain MOUNT=$work/mnt
}

# glibc has a table of how many hard links a type of file system allows, and FUSE is not in it, so the test is
# skipped there; programs/links.sh shows that the answer is that of ext4.
NOT_OF_FUSE='^link::link_count_max '

# Runs a command where mount(8) finds the helper for `mount -o remount`, as where kmsfs is installed: in a mount
# namespace of its own. With the package fuse3 there is another helper for all of FUSE, which cannot do that.
with_helper() {
  # shellcheck disable=SC2016 # Expanded in there.
  unshare --mount bash -euc '
    mount -t tmpfs tmpfs /mnt
    mkdir /mnt/upper /mnt/work
    mount -t overlay -o lowerdir=/usr/sbin,upperdir=/mnt/upper,workdir=/mnt/work overlay /usr/sbin
    ln -sf "$KMSFS" /usr/sbin/mount.fuse.kmsfs
    exec "$@"' bash "$@"
}

# What pjdfstest says of the file system at $1: a line "test ok|FAILED|skipped" for each test.
verdicts() {
  NO_COLOR=1 with_helper "$tools/bin/pjdfstest" -c "$tests/pjdfstest.toml" -p "$1" 2>&1 | tee "$2.log" |
    awk 'NF == 2 && $2 ~ /^(ok|FAILED|skipped)$/ { print $1, $2 }' | sort >"$2" || true
}

run_pjdfstest() {
  need setfacl acl
  tool pjdfstest 0.2.0
  step "pjdfstest"
  verdicts "$PLAIN" "$work/on-ext4"
  verdicts "$MOUNT" "$work/on-kmsfs"
  local passed worse
  passed=$(grep -c ' ok$' "$work/on-ext4" || true)
  worse=$(comm -23 <(grep ' ok$' "$work/on-ext4") <(grep ' ok$' "$work/on-kmsfs") | grep -v "$NOT_OF_FUSE" || true)
  printf 'ext4:  %s\nkmsfs: %s\n' "$(grep Summary "$work/on-ext4.log")" "$(grep Summary "$work/on-kmsfs.log")"
  [ "$passed" -ge 380 ] || fail "pjdfstest passes only $passed tests on ext4" "it has not run as it should"
  [ -z "$worse" ] || {
    printf '%s\n' "$worse"
    fail "these pass on ext4 and not on kmsfs" "see $(cp "$work/on-kmsfs.log" /tmp/ && echo /tmp/on-kmsfs.log)"
  }
}

run_fsx() {
  tool fsx 0.3.2
  step "fsx: ${FSX_SEEDS:-8} seeds, ${FSX_OPERATIONS:-20000} operations each"
  local seed
  for seed in $(seq "${FSX_SEEDS:-8}"); do
    "$tools/bin/fsx" -q -f "$tests/fsx.toml" -N "${FSX_OPERATIONS:-20000}" -S "$seed" -P "$work" "$MOUNT/fsx-$seed" ||
      fail "fsx found a difference with seed $seed" "run fsx -S $seed in a mount again to see it"
    rm "$MOUNT/fsx-$seed"
  done
}

run_random() {
  step "random calls for ${RANDOM_SECONDS:-600} seconds"
  KMSFS_REQUIRE_FUSE=1 KMSFS_RANDOM_SECONDS=${RANDOM_SECONDS:-600} TMPDIR=$PLAIN \
    cargo test --locked --quiet --test mounted random_calls_for ||
    fail "random calls come out otherwise than on ext4" "make a regression_… of what is printed above"
}

# Each program works in a directory of its own and finds $MOUNT, $PLAIN, $KMSFS and $WORK, a place outside.
run_program() {
  step "$1"
  local program=$tests/programs/$1.sh package command
  while read -r command package; do need "$command" "$package"; done < <(sed -n 's/^# needs //p' "$program")
  mkdir -p "$MOUNT/$1" "$work/aside/$1"
  (cd "$MOUNT/$1" && WORK=$work/aside/$1 bash "$program") ||
    fail "$1 does not work on a mount" "see above; $program says what it did"
  rm -rf "${MOUNT:?}/$1"
}

run() {
  case $1 in
    pjdfstest | fsx | random) "run_$1" ;;
    *) [ -f "$tests/programs/$1.sh" ] || fail "there is no part $1" "see the head of $0"; run_program "$1" ;;
  esac
}

all() { printf '%s\n' pjdfstest fsx random; find "$tests/programs" -name '*.sh' -printf '%f\n' | sed 's/\.sh$//' | sort; }

mapfile -t parts < <(all)
case ${1:-all} in
  all) ;;
  quick) parts=(pjdfstest fsx) PROFILE=${PROFILE:-dev} FSX_SEEDS=${FSX_SEEDS:-3} FSX_OPERATIONS=${FSX_OPERATIONS:-5000} ;;
  *) parts=("$@") ;;
esac
prepare
for part in "${parts[@]}"; do run "$part"; done
printf '\nnothing can be told apart\n'
