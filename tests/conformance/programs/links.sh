#!/usr/bin/env bash
# As many hard links of one file as ext4 allows, and EMLINK for the next.
set -euo pipefail
touch file
python3 - <<'P'
import errno, os
links = 1
try:
    while links < 70000:
        os.link('file', f'link-{links}')
        links += 1
except OSError as error:
    assert error.errno == errno.EMLINK, error
assert links == os.stat('file').st_nlink == 65000, links
P
