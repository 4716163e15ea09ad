#!/usr/bin/env bash
# dbench: the calls of an office's file server, by eight clients; with extended attributes too.
# needs dbench dbench
set -euo pipefail
dbench -t 20 -D . 8 | tail -n 1
dbench -x -t 10 -D . 4 | tail -n 1
