#!/usr/bin/env bash
# PostgreSQL, killed under load and recovered, three times; then every table, index and page is checked.
# needs pg_lsclusters postgresql
set -euo pipefail
bin=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -n 1)
chown postgres . "$WORK"
as() { runuser -u postgres -- env PATH="$bin:$PATH" PGHOST="$WORK" PGDATABASE=bench "$@"; }
start() { as pg_ctl -s -w -D data -l "$WORK/log" -o "-k '$WORK' -c listen_addresses=''" start || { cat "$WORK/log"; exit 1; }; }

as initdb -D data --data-checksums -A trust >/dev/null
start
as createdb bench
as pgbench -q -i -s 5 2>/dev/null
for _ in 1 2 3; do
  as pgbench -n -c 8 -j 2 -T 60 >/dev/null 2>&1 &
  load=$!
  before=$(as psql -Atc 'select count(*) from pgbench_history')
  until [ "$(as psql -Atc 'select count(*) from pgbench_history')" -gt $((before + 500)) ]; do :; done
  server=$(head -n 1 data/postmaster.pid)
  mapfile -t processes < <(pgrep -P "$server")
  kill -9 "$server"
  wait "$load" || true
  for process in "${processes[@]}"; do while kill -0 "$process" 2>/dev/null; do sleep 0.05; done; done
  start
  # Each transaction adds one delta to an account, a teller, a branch and the history.
  as psql -Atc "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)
    and (select sum(tbalance) from pgbench_tellers) = (select sum(delta) from pgbench_history)
    and (select sum(bbalance) from pgbench_branches) = (select sum(delta) from pgbench_history)" | grep -qx t
done
as pg_amcheck --install-missing --heapallindexed bench
as vacuumdb -q --full bench
as pg_amcheck --heapallindexed bench
as pg_ctl -s -w -D data stop
as pg_checksums --check -D data | grep -q 'Bad checksums: *0'
