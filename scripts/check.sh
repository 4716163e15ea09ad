#!/usr/bin/env bash
# Everything that must hold before a change goes in: formatting, lints, documentation, scripts, and every test, those
# with a real mount included. Installs what the tests need where it may.
#   KMSFS_DENY=0   without the check of dependencies (licences, advisories), for which cargo-deny is built once
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() { printf '\n\033[1m== %s\033[0m (%s)\n' "$*" "$(date +%T)"; }

install_what_is_missing() {
  local packages=() program package
  while read -r program package; do
    command -v "$program" >/dev/null || packages+=("$package")
  done <<'EOF'
cc build-essential
fusermount3 fuse3
rsync rsync
sqlite3 sqlite3
git git
setfattr attr
setfacl acl
python3 python3
openssl openssl
shellcheck shellcheck
systemd-analyze systemd
EOF
  # Debian's python3 has the module and not what it needs.
  python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
  [ ${#packages[@]} -eq 0 ] && return
  step "installing ${packages[*]}"
  local root=()
  [ "$(id -u)" -eq 0 ] || root=(sudo)
  if ! { "${root[@]}" apt-get update -qq && "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${packages[@]}"; }; then
    printf 'warning: not installed: %s; tests that need them say so\n' "${packages[*]}" >&2
  fi
}

mounts() { awk '$1 == "kmsfs" { print $2 }' /proc/mounts | sort; }

command -v cargo >/dev/null || PATH="$HOME/.cargo/bin:$PATH"
# From scratch it compiles twice as fast without.
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}
install_what_is_missing
before=$(mounts)

step "formatting"
cargo fmt --check

step "lints"
cargo clippy --locked --all-targets -- -D warnings

step "documentation"
RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps

if command -v shellcheck >/dev/null; then
  step "scripts"
  shellcheck scripts/*.sh scripts/check-service/*.sh tests/conformance/programs/*.sh .ci/run
fi

if [ "${KMSFS_DENY:-1}" != 0 ]; then
  step "dependencies"
  # Beside the build's files, where a second run finds it again.
  tools=$PWD/target/tools
  PATH="$tools/bin:$PATH"
  command -v cargo-deny >/dev/null || cargo install --quiet --locked --debug --root "$tools" cargo-deny
  cargo deny --locked check bans licenses sources
  # The list of advisories lies on GitHub, which not every machine reaches.
  if timeout 60 cargo deny fetch db 2>/dev/null; then
    cargo deny --locked check --disable-fetch advisories
  else
    printf 'warning: the list of advisories cannot be reached; they were not checked\n' >&2
  fi
fi

if command -v systemd-analyze >/dev/null; then
  step "service"
  scripts/check-unit.sh
fi

step "Python"
# PyCryptodome reads what we write in the guide's envelope format, and writes what we read.
python=$PWD/target/python
if { [ -x "$python/bin/pip" ] || python3 -m venv "$python"; } && "$python/bin/pip" install --quiet pycryptodome; then
  export KMSFS_PYCRYPTODOME=$python/bin/python
else
  printf 'warning: PyCryptodome cannot be installed; the test that needs it says so\n' >&2
fi

step "tests"
[ -e /dev/fuse ] || { printf 'error: there is no /dev/fuse\nhelp: load the module with modprobe fuse\n' >&2; exit 1; }
# The crash loop of the store takes two minutes of it; scripts/crash.sh runs it longer.
cargo test --locked --no-run
# What hangs is an error like any other.
KMSFS_REQUIRE_FUSE=1 KMSFS_REQUIRE_SDK=1 KMSFS_CRASH_SECONDS="${KMSFS_CRASH_SECONDS:-120}" \
  timeout "${KMSFS_TEST_SECONDS:-1800}" cargo test --locked ||
  { printf 'error: the tests failed, or did not end\nhelp: a test without a verdict above is the one that hangs\n' >&2; exit 1; }

# Four minutes, of which building the tools on a fresh machine takes two.
scripts/conformance.sh quick

step "installation"
scripts/check-install.sh "${CARGO_TARGET_DIR:-target}/debug/kmsfs"

step "the service under systemd"
scripts/check-service.sh "${CARGO_TARGET_DIR:-target}/debug/kmsfs"

step "leftovers"
left=$(comm -13 <(printf '%s\n' "$before") <(mounts))
if [ -n "$left" ]; then
  printf 'error: the tests left these mounts behind:\n%s\nhelp: unmount them with kmsfs umount, and mend the test\n' "$left" >&2
  exit 1
fi
printf 'none\n\nall is well\n'
