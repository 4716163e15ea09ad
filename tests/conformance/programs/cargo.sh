#!/usr/bin/env bash
# cargo fetches, builds and runs a program with some fifty dependencies, all in the mount; then builds it again.
set -euo pipefail
CARGO_HOME=$PWD/home CARGO_TARGET_DIR=$PWD/target cargo install --quiet --locked --root "$PWD/out" fsx@0.3.2
out/bin/fsx -q -N 2000 -S 1 file
CARGO_HOME=$PWD/home CARGO_TARGET_DIR=$PWD/target cargo install --quiet --locked --force --root "$PWD/out" fsx@0.3.2
