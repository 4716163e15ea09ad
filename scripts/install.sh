#!/usr/bin/env bash
# Installs the program, its units, man pages and completions. Can be run again; scripts/uninstall.sh takes it away.
#   PREFIX=/usr/local    where to
#   SBIN=/usr/sbin       where mount(8) looks for mount.kmsfs
#   DESTDIR=             put in front of every path, for packages
#   KMSFS_BINARY=        a program that is built already
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
prefix=${PREFIX:-/usr/local}
sbin=${SBIN:-/usr/sbin}
dest=${DESTDIR:-}
manifest=$prefix/share/doc/kmsfs/manifest

die() { printf 'error: %s\nhelp: %s\n' "$1" "$2" >&2; exit 1; }

for path in "$prefix" "$sbin" "${dest:-/}"; do
  [ "${path#/}" != "$path" ] || die "the path $path is not absolute" "give PREFIX, SBIN and DESTDIR with a / in front"
done
binary=${KMSFS_BINARY:-}
if [ -z "$binary" ]; then
  cargo build --release --locked
  binary=${CARGO_TARGET_DIR:-target}/release/kmsfs
fi
[ -x "$binary" ] || die "there is no program $binary" "build it: cargo build --release"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# put MODE FROM TO
put() {
  install -D -m "$1" "$2" "$dest$3" || die "$dest$3 cannot be written" "run it as root, or set PREFIX or DESTDIR"
  printf '%s\n' "$3" >>"$work/manifest"
}

put 755 "$binary" "$prefix/bin/kmsfs"
for unit in systemd/*.service; do
  sed "s|/usr/bin/kmsfs|$prefix/bin/kmsfs|" "$unit" >"$work/unit"
  put 644 "$work/unit" "$prefix/lib/systemd/system/$(basename "$unit")"
done
for example in systemd/*.conf; do
  put 644 "$example" "$prefix/share/doc/kmsfs/examples/$(basename "$example")"
done
for document in README.md CHANGELOG.md LICENSE; do
  put 644 "$document" "$prefix/share/doc/kmsfs/$document"
done

mkdir "$work/man"
"$binary" manual "$work/man"
for page in "$work"/man/*; do
  put 644 "$page" "$prefix/share/man/man${page##*.}/$(basename "$page")"
done
complete() {
  "$binary" completions "$1" >"$work/completions"
  put 644 "$work/completions" "$prefix/share/$2"
}
complete bash bash-completion/completions/kmsfs
complete zsh zsh/vendor-completions/_kmsfs
complete fish fish/vendor_completions.d/kmsfs.fish

mkdir -p "$dest$sbin"
# By the type in fstab, and by the type that a mount has then, for `mount -o remount`.
for helper in mount.kmsfs mount.fuse.kmsfs; do
  ln -sfn "$prefix/bin/kmsfs" "$dest$sbin/$helper"
  printf '%s\n' "$sbin/$helper" >>"$work/manifest"
done

# What an older version had and this one has not.
if [ -f "$dest$manifest" ]; then
  while IFS= read -r path; do
    grep -qxF -- "$path" "$work/manifest" || rm -f -- "$dest$path"
  done <"$dest$manifest"
fi
install -D -m 644 "$work/manifest" "$dest$manifest"

if [ -z "$dest" ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
printf 'kmsfs is installed in %s\n' "$dest$prefix"
