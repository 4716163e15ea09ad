#!/usr/bin/env bash
# SQLite's WAL with six processes: four write, one reads, one checkpoints; a fifth writer is killed.
# needs sqlite3 sqlite3
set -euo pipefail
ask() { sqlite3 -bail -cmd '.timeout 60000' wal.db "$@"; }
ask 'pragma journal_mode=wal; create table t(writer int, n int, b text); create index i on t(writer, n);' >/dev/null
write() { for n in $(seq "$2"); do ask "begin immediate; insert into t select $1, $n, hex(randomblob(500)); commit;"; done; }
write 9 100000 2>/dev/null &
killed=$!
writers=()
for writer in 1 2 3 4; do write "$writer" 100 & writers+=($!); done
(for _ in $(seq 40); do ask 'select count(*), max(length(b)) from t; pragma quick_check;' | tail -n 1 | grep -qx ok; done) & writers+=($!)
(for _ in $(seq 40); do ask 'pragma wal_checkpoint(truncate);' >/dev/null; done) & writers+=($!)
until [ "$(ask 'select count(*) from t where writer = 9')" -ge 20 ]; do :; done
kill -9 "$killed"
wait "$killed" 2>/dev/null || true
for writer in "${writers[@]}"; do wait "$writer"; done
ask 'select count(*) from t where writer < 9;' | grep -qx 400
ask 'pragma integrity_check;' | grep -qx ok
