#!/usr/bin/env bash
# Crashes, for as long as one likes. First the simulated medium: SEEDS workloads, each cut off before every single
# operation, recovered and compared, content and names each. Then the real mount, killed ROUNDS times in the middle of work.
#   scripts/crash.sh [SEEDS [ROUNDS]]      1000 seeds and 300 rounds, if nothing is said
#   KMSFS_CRASH_FROM=N   begin with this seed   (KMSFS_CRASH_SEED=N: this one alone)
#   KMSFS_KILL_SEED=N    another workload for the real mount
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seeds=${1:-1000} rounds=${2:-300}
case "$seeds$rounds" in
  *[!0-9]*)
    printf 'error: %s: not a number\nhelp: scripts/crash.sh [SEEDS [ROUNDS]]\n' "$*" >&2
    exit 2
    ;;
esac
command -v cargo >/dev/null || PATH="$HOME/.cargo/bin:$PATH"

printf '== %s seeds on a simulated medium\n' "$seeds"
KMSFS_CRASH_SEEDS=$seeds cargo test --locked --lib -- --exact --nocapture \
  store::crash::nothing_durable_is_lost_wherever_the_power_fails

printf '== a tenth of them on simulated directories\n'
KMSFS_CRASH_SEEDS=$seeds cargo test --locked --lib -- --exact --nocapture \
  fs::tests::crash::names_are_as_posix_allows_wherever_the_power_fails

printf '== %s kills of a real mount\n' "$rounds"
KMSFS_REQUIRE_FUSE=1 KMSFS_KILL_ROUNDS=$rounds cargo test --locked --test mounted -- --exact --nocapture \
  killed::nothing_acknowledged_is_lost_when_the_daemon_is_killed
