#!/usr/bin/env bash
# dpkg unpacks a package as it does on ext4, and installs one into a root directory of its own.
# needs dpkg-deb dpkg
set -euo pipefail
(cd "$WORK" && apt-get download -qq coreutils) || { apt-get update -qq && cd "$WORK" && apt-get download -qq coreutils; }
deb=$(find "$WORK" -name 'coreutils*.deb')
dpkg -x "$deb" here
dpkg -x "$deb" "$WORK/there"
list() { (cd "$1" && find . ! -type d -printf '%p|%y|%m|%U:%G|%s|%T@|%l\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum); }
diff <(list here) <(list "$WORK/there")
mkdir -p root/var/lib/dpkg/{info,updates,triggers}
touch root/var/lib/dpkg/{status,available}
for _ in 1 2; do dpkg --root="$PWD/root" --force-depends --force-script-chrootless --unpack "$deb" >"$WORK/said" 2>&1 || { cat "$WORK/said"; exit 1; }; done
grep -qx 'Package: coreutils' root/var/lib/dpkg/status
diff <(list here | grep -v '|d|' | grep usr/bin) <(list root | grep usr/bin)
