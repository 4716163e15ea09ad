#!/usr/bin/env bash
# What scripts/check-service.sh looks at, from within. scenes.sh DIR
set -euo pipefail
work=$1
kmsfs=$work/usr/bin/kmsfs
data=$work/data
unit="kmsfs@$(systemd-escape --path "$data").service"
# Where the commands look; the services are told the same.
export KMSFS_STATE_DIR=$work/state

die() { printf 'error: %s\n' "$1" >&2; systemctl status --no-pager "$unit" >&2 || true; exit 1; }
scene() { printf '  %s\n' "$1"; }
# until_true WHAT COMMAND…
until_true() {
  local what=$1
  shift
  for _ in $(seq 600); do
    if "$@" 2>/dev/null; then return; fi
    sleep 0.05
  done
  die "$what: waited in vain"
}
shows() { [ "$(systemctl show --property="$1" --value "$unit")" = "$2" ]; }
main() { systemctl show --property=MainPID --value "$unit"; }
start() { systemctl start "$unit" || die 'it does not start'; }
is_mounted() { findmnt -rn -t fuse.kmsfs --mountpoint "$1" >/dev/null; }
is_dead() { ! ls "$1" >/dev/null 2>&1 && is_mounted "$1"; }
restarted() { [ "$(main)" != 0 ] && [ "$(main)" != "$1" ] && shows ActiveState active; }
# drop_in UNIT NAME reads what it says
drop_in() { mkdir -p "/etc/systemd/system/$1.d" && cat >"/etc/systemd/system/$1.d/$2.conf" && systemctl daemon-reload; }

for template in kmsfs@.service kmsfs-ephemeral@.service; do
  drop_in "$template" check <<END
[Service]
Environment=KMSFS_STATE_DIR=$work/state
RestartSec=200ms
WatchdogSec=2
TimeoutAbortSec=1
StandardError=append:$work/service.log
END
done
"$kmsfs" init "$data" >/dev/null

scene 'ready, when the mount answers'
start
is_mounted "$data" || die 'systemd was told that it is ready, and it is not mounted'
echo text >"$data/file"
chmod u+s "$data/file"
mknod "$data/null" c 1 3
setfattr -n trusted.test -v 1 "$data/file" 2>/dev/null || ! command -v setfattr >/dev/null || die 'no trusted xattr'
chown 1234:5678 "$data/file"
sync "$data/file"

scene 'a service that needs the data'
systemctl stop "$unit"
! is_mounted "$data" || die 'it is stopped and still mounted'
printf '[Service]\nType=oneshot\nExecStart=/bin/cat %s/file\n' "$data" >/etc/systemd/system/reader.service
sed "s|kmsfs@srv-data.service|$unit|; s|/srv/data|$data|" "$work/kmsfs-user.conf" | drop_in reader.service kmsfs-user
systemctl start reader.service || die 'the volume was not there for it'

scene 'killed: the next daemon takes its place'
before=$(main)
kill -KILL "$before"
until_true 'a new daemon' restarted "$before"
[ "$(cat "$data/file")" = text ] || die 'the data is gone'
[ "$(findmnt -rn --mountpoint "$data" | wc -l)" = 1 ] || die 'the dead mount is still there'

scene 'hung: the watchdog has it replaced'
before=$(main)
kill -STOP "$before"
until_true 'a new daemon' restarted "$before"
[ "$(cat "$data/file")" = text ] || die 'the data is gone'

scene 'locked, and killed: it stays dark'
"$kmsfs" lock "$data"
kill -KILL "$(main)"
until_true 'the service gives up' shows ActiveState failed
shows ExecMainStatus 13 || die 'it failed for another reason'
is_dead "$data" || die 'the bare directory is open to everybody'
"$kmsfs" unlock "$data"
start
[ "$(cat "$data/file")" = text ] || die 'the data is gone'

scene 'stopped while somebody uses it'
exec 5<"$data/file"
systemctl stop --no-block "$unit"
until_true 'the name goes' eval "! is_mounted '$data'"
[ "$(cat <&5)" = text ] || die 'who has it open lost it'
exec 5<&-
until_true 'it ends with its last user' shows ActiveState inactive

scene 'scratch space: a crash leaves a new, empty one'
scratch=$work/scratch
mkdir "$scratch"
unit="kmsfs-ephemeral@$(systemd-escape --path "$scratch").service"
start
echo text >"$scratch/file"
before=$(main)
kill -KILL "$before"
until_true 'a new space' restarted "$before"
is_mounted "$scratch" || die 'it is not mounted'
[ -z "$(ls -A "$scratch")" ] || die 'it is not empty'
systemctl stop "$unit"
[ -z "$(ls -A "$scratch")" ] || die "it leaves $(ls -A "$scratch")"

scene 'a passphrase as a credential'
secret=$work/secret
unit="kmsfs@$(systemd-escape --path "$secret").service"
printf 'correct horse\n' >"$work/passphrase"
"$kmsfs" init "$secret" --key-store "$work/state/sealed" --passphrase-file "$work/passphrase" >/dev/null
drop_in "$unit" passphrase <<END
[Service]
LoadCredential=kmsfs:$work/passphrase
Environment=KMSFS_PASSPHRASE_FILE=credential:kmsfs KMSFS_KEY_STORE=$work/state/sealed
END
start
is_mounted "$secret" || die 'it is not mounted'
systemctl stop "$unit"

scene 'a line of fstab'
fstab=$work/fstabbed
unit=$(systemd-escape --path "$fstab").mount
"$kmsfs" init "$fstab" >/dev/null
echo "$fstab $fstab kmsfs defaults,_netdev,nofail,key_store=$work/state/keystore 0 0" >/etc/fstab
systemctl daemon-reload
start
is_mounted "$fstab" || die 'it is not mounted'
echo text >"$fstab/file"
mount -o remount,ro "$fstab" || die 'it cannot be made read-only'
if touch "$fstab/other" 2>/dev/null; then die 'it was made read-only, and can be written'; fi
mount -o remount,rw "$fstab" || die 'it cannot be made writable again'
touch "$fstab/other"
systemctl stop "$unit"
! is_mounted "$fstab" || die 'it is still mounted'

! pgrep -x kmsfs >/dev/null || until_true 'every daemon ends' eval '! pgrep -x kmsfs >/dev/null'
printf 'the service is as it should be\n'
