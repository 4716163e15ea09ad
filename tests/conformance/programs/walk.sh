#!/usr/bin/env bash
# A walk over many files, and the memory of it back when the kernel forgets them.
#   WALK_FILES=1000000
set -euo pipefail
files=${WALK_FILES:-1000000}
pid=$("$KMSFS" status "$MOUNT" --json | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
memory() { awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$pid/status"; }
before=$(memory)
python3 - "$files" <<'P'
import os, sys
for n in range(int(sys.argv[1])):
    if n % 1000 == 0:
        os.mkdir(f'{n // 1000}')
    os.mknod(f'{n // 1000}/{n}')
P
test "$(find . -type f -size 0 | wc -l)" = "$files"
walked=$(memory)
sync
echo 2 >/proc/sys/vm/drop_caches
until [ "$("$KMSFS" status "$MOUNT" --json | sed -n 's/.*"inodes": *\([0-9]*\).*/\1/p')" -lt 10 ]; do sleep 0.2; done
after=$(memory)
[ "$after" -le $((before + (walked - before) / 2 + 10)) ] || { echo "error: $after MiB after $before and $walked" >&2; exit 1; }
echo "memory of the daemon: $before MiB before, $walked MiB after a walk over $files files, $after MiB when they were forgotten"
