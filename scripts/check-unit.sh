#!/usr/bin/env bash
# systemd's own opinion of the units: whether they are well-formed, and how much of the host they leave open. The
# program need not be installed for that.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Exposure, in tenths: what is left over is what a file system for everybody needs, and the mount namespace of the host.
exposure=54
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for unit in systemd/kmsfs*@.service; do
  instance="$dir/$(basename "${unit%@.service}")@srv-data.service"
  sed "s|/usr/bin/kmsfs|$(command -v true)|" "$unit" >"$instance"
  mkdir "$instance.d"
  cp systemd/kmsfs-passphrase.conf "$instance.d/"
  systemd-analyze verify --man=no "$instance"
  systemd-analyze security --offline=true --threshold="$exposure" --no-pager "$instance" >"$dir/opinion" || {
    cat "$dir/opinion"
    printf 'error: %s leaves more open than before\nhelp: look at the lines with ✗\n' "$unit" >&2
    exit 1
  }
  tail -n 1 "$dir/opinion"
done
