#!/usr/bin/env bash
# systemd's own opinion of the unit. The program need not be installed for that.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
sed "s|/usr/bin/kmsfs|$(command -v true)|" 'systemd/kmsfs@.service' >"$dir/kmsfs@srv-data.service"
systemd-analyze verify --man=no "$dir/kmsfs@srv-data.service"
