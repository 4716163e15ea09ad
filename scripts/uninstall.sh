#!/usr/bin/env bash
# Takes away what scripts/install.sh put there, with the same PREFIX and DESTDIR. Never touches volumes, key stores
# (/var/lib/kmsfs) and settings (/etc/kmsfs). Can be run again.
set -euo pipefail
prefix=${PREFIX:-/usr/local}
dest=${DESTDIR:-}
manifest=$dest$prefix/share/doc/kmsfs/manifest

if [ ! -f "$manifest" ]; then
  printf 'nothing is installed in %s\n' "$dest$prefix"
  exit 0
fi
if [ -z "$dest" ] && grep -q '^kmsfs ' /proc/mounts; then
  printf 'note: volumes are mounted; they stay so until somebody unmounts them: umount, without kmsfs\n'
fi
while IFS= read -r path; do
  case $path in
    # The manifest is a file like others: nothing but what the installer can have written.
    *..* | *[[:cntrl:]]*) continue ;;
    */kmsfs* | */_kmsfs | */mount.kmsfs* | */mount.fuse.kmsfs) rm -f -- "$dest$path" ;;
  esac
done <"$manifest"
rm -f -- "$manifest"
rmdir -- "$dest$prefix/share/doc/kmsfs/examples" "$dest$prefix/share/doc/kmsfs" 2>/dev/null || true
if [ -z "$dest" ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
printf 'kmsfs is taken away from %s; key stores in /var/lib/kmsfs and settings in /etc/kmsfs stay\n' "$dest$prefix"
