#!/usr/bin/env bash
# MariaDB, killed under load and recovered, three times: every row whose insert was acknowledged is there.
# needs mariadbd mariadb-server
set -euo pipefail
mkdir data
chown mysql . data "$WORK"
socket=$WORK/socket
ask() { mariadb --no-defaults -N -B -u root -S "$socket" "$@"; }
start() {
  mariadbd --no-defaults --user=mysql --datadir="$PWD/data" --socket="$socket" --pid-file="$WORK/pid" --skip-networking \
    >>"$WORK/log" 2>&1 &
  server=$!
  until ask -e 'select 1' >/dev/null 2>&1; do
    kill -0 "$server" 2>/dev/null || { cat "$WORK/log"; exit 1; }
    sleep 0.1
  done
}
insert() {
  local n
  for n in $(seq 100000); do
    ask kept -e "insert into t(writer, n, b) values ($1, $n, repeat('x', 300))" 2>/dev/null || break
    echo "$n" >"$WORK/acknowledged-$1"
  done
}

mariadb-install-db --no-defaults --user=mysql --datadir="$PWD/data" --auth-root-authentication-method=normal >/dev/null
start
ask -e 'create database kept; create table kept.t(id int primary key auto_increment, writer int, n int, b text, key(writer, n)) engine=innodb'
for round in 1 2 3; do
  for writer in 1 2 3 4; do insert "$round$writer" & done
  until [ "0$(cat "$WORK/acknowledged-${round}1" 2>/dev/null)" -ge 50 ]; do sleep 0.1; done
  kill -9 "$server"
  wait
  start
  for writer in 1 2 3 4; do
    there=$(ask kept -e "select count(*) from t where writer = $round$writer")
    [ "$there" -ge "$(cat "$WORK/acknowledged-$round$writer")" ]
  done
done
mariadb-check --no-defaults -u root -S "$socket" --all-databases --extended --silent
ask -e shutdown
wait "$server"
