#!/usr/bin/env bash
# Installs into an empty directory, twice, looks at what is there, and takes it away again: no file but data is left.
# The same with the Debian package, where cargo-deb is there.
#   scripts/check-install.sh BINARY
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
binary=$(realpath "${1:?the program}")
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
die() { printf 'error: %s\nhelp: look at scripts/install.sh\n' "$1" >&2; exit 1; }
files() { (cd "$root" && find . ! -type d | sort); }

mkdir -p "$root/etc/kmsfs" "$root/var/lib/kmsfs" "$root/srv/data" "$root/usr/local/bin"
touch "$root/etc/kmsfs/kmsfs.toml" "$root/var/lib/kmsfs/keystore" "$root/srv/data/kmsfs.volume" "$root/usr/local/bin/other"
before=$(files)

export DESTDIR=$root KMSFS_BINARY=$binary
scripts/install.sh
once=$(files)
scripts/install.sh >/dev/null
[ "$once" = "$(files)" ] || die "a second installation differs from the first"
for path in bin/kmsfs share/man/man1/kmsfs-mount.1 share/man/man8/mount.kmsfs.8 share/bash-completion/completions/kmsfs \
  share/doc/kmsfs/LICENSE "lib/systemd/system/kmsfs@.service"; do
  [ -s "$root/usr/local/$path" ] || die "$path was not installed"
done
for helper in mount.kmsfs mount.fuse.kmsfs; do
  [ "$(readlink "$root/usr/sbin/$helper")" = /usr/local/bin/kmsfs ] || die "$helper is not the program"
done
grep -q 'ExecStart=/usr/local/bin/kmsfs ' "$root/usr/local/lib/systemd/system/kmsfs@.service" || die "the unit starts another program"
bash -n "$root/usr/local/share/bash-completion/completions/kmsfs"
if command -v man >/dev/null; then
  for page in "$root"/usr/local/share/man/man*/*; do
    said=$(man --warnings -E UTF-8 -l "$page" 2>&1 >/dev/null)
    [ -z "$said" ] || die "$page: $said"
  done
fi

scripts/uninstall.sh
scripts/uninstall.sh >/dev/null
[ "$before" = "$(files)" ] || die "left behind, or taken with it: $(diff <(printf '%s' "$before") <(files))"
printf 'installed, and taken away again\n'

if ! command -v cargo-deb >/dev/null; then
  printf 'the package is not tried: there is no cargo-deb\n'
  exit 0
fi
unset DESTDIR
scripts/package.sh "$root/package" --fast
fresh=$root/fresh
mkdir -p "$fresh/var/lib/dpkg/info" "$fresh/var/lib/dpkg/updates"
# All that the package may depend on, with no file of it there.
dpkg --status libc6 libgcc-s1 >"$fresh/var/lib/dpkg/status"
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }
installed() { (cd "$fresh" && find . -path ./var/lib/dpkg -prune -o -path ./var/log -prune -o ! -type d -print); }
as_root dpkg --root="$fresh" --install "$root"/package/*.deb
as_root dpkg --root="$fresh" --verify kmsfs
[ "$(realpath "$fresh/usr/sbin/mount.kmsfs")" = "$fresh/usr/bin/kmsfs" ] || die "mount.kmsfs of the package leads nowhere"
"$fresh/usr/bin/kmsfs" --version
as_root dpkg --root="$fresh" --purge kmsfs
[ -z "$(installed)" ] || die "the package leaves behind: $(installed)"
printf 'the package installs into a fresh root, and goes\n'
