#!/usr/bin/env bash
# An overlay, as containers have it: lower and upper layer in the mount. What is done to it comes out as on ext4.
set -euo pipefail
grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || { echo "this kernel has no overlay"; exit 0; }
use() {
  rm -rf "$1/layers" && mkdir -p "$1"/layers/{lower,upper,work} "$2"
  (
    cd "$1/layers/lower"
    mkdir -p d/e gone kept
    for n in $(seq 50); do seq "$n" >"d/$n"; done
    echo lower >file; ln -s file link; ln file hard; seq 20000 >large; chmod 2750 d/e; chown 1:2 d/e; setfattr -n user.a -v b file
  )
  mount -t overlay -o "lowerdir=$1/layers/lower,upperdir=$1/layers/upper,workdir=$1/layers/work" overlay "$2"
  (
    cd "$2"
    echo more >>large; echo upper >file; rm d/1 d/2; rm -r gone; mkdir gone; touch gone/new
    mv d/3 kept/moved; chmod 600 d/4; setfattr -n user.x -v y d/5; ln d/6 kept/linked; truncate -s 100 d/50
    mkdir new; mv new newer; rm link; ln -s d link; mkfifo pipe; mv file kept/file; chown 3 kept
  )
  sync
  (cd "$2" && find . -printf '%p|%y|%m|%U:%G|%l\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum)
  (cd "$1/layers/upper" && find . -printf '%p|%y|%m|%U:%G|%l\n' | sort && getfattr -R -h -d -m '^trusted.overlay' . | grep -v 'origin\|impure\|uuid\|^$' | sort)
  umount "$2"
}
trap 'umount "$WORK/a" 2>/dev/null || true; umount "$WORK/b" 2>/dev/null || true' EXIT
use "$PLAIN" "$WORK/a" >"$WORK/wanted"
use "$PWD" "$WORK/b" >"$WORK/found"
diff "$WORK/wanted" "$WORK/found"
rm -rf "$PLAIN/layers"
