#!/usr/bin/env bash
# Makes a Debian package: scripts/package.sh [DIR [ARG…]], in target/debian by default; cargo-deb
# gets ARG. Needs cargo-deb and dpkg-dev.
#   KMSFS_BINARY=    a program that is built already
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${1:-target/debian}
[ $# -eq 0 ] || shift
if ! command -v cargo-deb >/dev/null; then
  printf 'error: there is no cargo-deb\nhelp: cargo install --locked cargo-deb\n' >&2
  exit 1
fi
# What the package holds is what the installer installs; Cargo.toml says where in here it is found.
stage=target/package
rm -rf "$stage"
DESTDIR=$PWD/$stage PREFIX=/usr scripts/install.sh
rm "$stage/usr/share/doc/kmsfs/manifest" "$stage/usr/share/doc/kmsfs/LICENSE"
mkdir -p "$out"
cargo deb --no-build --no-strip --locked --output "$out" "$@"
