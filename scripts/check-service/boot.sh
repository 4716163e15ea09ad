#!/usr/bin/env bash
# Becomes systemd, in namespaces that scripts/check-service.sh has made. Nothing of this machine's units is started:
# they are hidden below empty directories. boot.sh DIR
set -euo pipefail
work=$1
mount --make-rprivate /
mount -t proc proc /proc
for hidden in /run /etc/systemd/system /usr/lib/systemd/system /usr/lib/systemd/system-generators; do
  mount -t tmpfs tmpfs "$hidden"
done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
cp "$work/systemd-fstab-generator" /usr/lib/systemd/system-generators/
mkdir "$work/upper" "$work/overlay"
mount -t tmpfs tmpfs "$work/overlay"
mkdir "$work/overlay/upper" "$work/overlay/work"
mount -t overlay -o "lowerdir=/usr/sbin,upperdir=$work/overlay/upper,workdir=$work/overlay/work" overlay /usr/sbin
for helper in mount.kmsfs mount.fuse.kmsfs; do
  ln -sf "$work/usr/bin/kmsfs" "/usr/sbin/$helper"
done
touch "$work/fstab"
mount --bind "$work/fstab" /etc/fstab

# As systemd has it on a machine: credentials are mounted by a child of it.
mount --make-rshared /

units=/etc/systemd/system
for target in basic exit local-fs local-fs-pre multi-user network network-online remote-fs remote-fs-pre shutdown sysinit umount; do
  printf '[Unit]\nDefaultDependencies=no\n' >"$units/$target.target"
done
cp "$work"/usr/lib/systemd/system/*.service "$units/"
export container=kmsfs-check
exec /usr/lib/systemd/systemd --system --unit=multi-user.target --log-target=console --show-status=no
