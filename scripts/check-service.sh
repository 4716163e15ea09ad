#!/usr/bin/env bash
# The units under a real systemd: booted in namespaces of its own, with nothing but what kmsfs needs. Ready, fenced,
# killed, hung, locked, with a passphrase as a credential, from fstab, stopped.
#   scripts/check-service.sh BINARY
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
binary=$(realpath "${1:?the program}")

pass_over() { printf 'passed over: %s\n' "$1"; exit 0; }
[ "$(id -u)" -eq 0 ] || pass_over "only root can boot a systemd"
[ -x /usr/lib/systemd/systemd ] || pass_over "there is no systemd"
groups=$(findmnt -rn -t cgroup2 -o TARGET | head -n 1)
[ -n "$groups" ] || pass_over "there are no control groups of version 2"

work=$(mktemp -d)
group=$groups/kmsfs-check.$$
manager=
clean_up() {
  # Everything in its namespace of processes goes with it, and the mounts with their namespace.
  [ -z "$manager" ] || kill -KILL "$manager" 2>/dev/null || true
  for _ in $(seq 100); do
    [ -d "$group" ] || break
    find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || sleep 0.1
  done
  rm -rf --one-file-system "$work"
}
trap clean_up EXIT
mkdir "$group" 2>/dev/null || pass_over "no control group can be made here"

KMSFS_BINARY=$binary PREFIX=$work/usr SBIN=$work/sbin scripts/install.sh >/dev/null
cp systemd/kmsfs-user.conf "$work/"
cp /usr/lib/systemd/system-generators/systemd-fstab-generator "$work/"
cp scripts/check-service/boot.sh scripts/check-service/scenes.sh "$work/"

boot() {
  echo "$BASHPID" >"$group/cgroup.procs"
  exec unshare --pid --fork --kill-child --mount --cgroup --ipc --uts "$work/boot.sh" "$work"
}
boot >"$work/log" 2>&1 &
manager=$!
# Its end is no news.
disown "$manager"

inside() { nsenter --all --target "$(pgrep -P "$manager")" -- "$@"; }
for _ in $(seq 300); do
  kill -0 "$manager" 2>/dev/null || pass_over "systemd cannot be booted here: $(tail -n 1 "$work/log")"
  if inside systemctl is-active --quiet multi-user.target 2>/dev/null; then break; fi
  sleep 0.1
done
if ! inside bash "$work/scenes.sh" "$work"; then
  printf 'error: the service is not as it should be\nhelp: this is what was logged\n' >&2
  tail -n 20 "$work/log" "$work/service.log" >&2
  exit 1
fi
