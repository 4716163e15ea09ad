#!/usr/bin/env bash
# Side-by-side benchmark against a plain directory and, where installed, gocryptfs and securefs. As root.
#   scripts/bench.sh [--store DIR] [--size MIB] [--files N] [--rounds N] [--only ROW,ROW] [FILE SYSTEM…]
# See scripts/bench.py for what the rows are.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
die() { printf 'error: %s\nhelp: %s\n' "$1" "$2" >&2; exit 1; }
[ "$(id -u)" -eq 0 ] || die "the benchmark drops the kernel's caches, which only root may" "run it as root"
for program in fio python3 fusermount3; do
  command -v "$program" >/dev/null || die "$program is not installed" "apt-get install fio python3 fuse3"
done
command -v cargo >/dev/null || PATH="$HOME/.cargo/bin:$PATH"
(cd "$top" && cargo build --release --locked)
export KMSFS="${CARGO_TARGET_DIR:-$top/target}/release/kmsfs"
exec python3 "$top/scripts/bench.py" "$@"
