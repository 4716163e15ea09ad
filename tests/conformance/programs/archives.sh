#!/usr/bin/env bash
# tar, rsync and cp carry a tree with everything that a tree can have into the mount and out again.
# needs rsync rsync
# needs setfacl acl
# needs setfattr attr
set -euo pipefail
tree=$PLAIN/tree
rm -rf "$tree"
mkdir -p "$tree"/{d,acl,sticky}
(
  cd "$tree"
  for n in $(seq 200); do head -c $((n * 137)) /dev/urandom >"d/file $n"; done
  ln "d/file 1" d/hard; ln -s "file 2" d/soft; ln -s "$(printf 'x/%.0s' $(seq 1000))" d/long
  mkfifo fifo; mknod null c 1 3; mknod loop b 7 200
  chmod 4755 "d/file 3"; chmod 2755 "d/file 4"; chmod 1777 sticky; chmod 2775 d; chown 1:2 "d/file 5"; chown -h 3:4 d/soft
  truncate -s 10M sparse; printf end | dd of=sparse bs=1 seek=5000000 conv=notrunc status=none
  touch -d '1969-12-31 23:59:58.123456789' "d/file 6"; touch -d '2100-01-01 00:00:00.000000001' "d/file 7"
  setfattr -n user.short -v value "d/file 8"; setfattr -n user.long -v "$(head -c 2000 /dev/zero | tr '\0' v)" "d/file 8"
  setfattr -n user.d -v d d; setfattr -n trusted.t -v t "d/file 9"
  setcap cap_net_raw+ep "d/file 10" 2>/dev/null || setfattr -n security.capability -v 0sAQAAAgAgAAAAAAAAAAAAAAAAAAA= "d/file 10"
  setfacl -m u:1:rw,g:2:r,m::rw "d/file 11"; setfacl -d -m u:1:rwx,g::rx acl
  printf x >"$(printf '\001\377\n"'\''\\ name')"; printf y >"$(printf 'n%.0s' $(seq 255))"
)
# What a tree is: names, kinds, modes, owners, links, sizes, times, targets, ACLs, attributes, sums.
listing() {
  (
    cd "$1"
    find . -printf '%p|%y|%m|%U:%G|%n|%s|%T@|%l\0' | sed -z 's/^\(.*|d|[^|]*|[^|]*\)|[^|]*|[^|]*|[^|]*|/\1|/' | sort -z | tr '\0' '\n'
    find . ! -type l -print0 | sort -z | xargs -0 getfacl -n -P 2>/dev/null
    find . -print0 | sort -z | xargs -0 getfattr -h -d -m '^(user|trusted|security)' 2>/dev/null
    find . -type f -print0 | sort -z | xargs -0 sha256sum
  )
}
listing "$tree" >"$WORK/wanted"
same() { listing "$1" | diff "$WORK/wanted" -; }
flags=(--xattrs '--xattrs-include=*' --acls --sparse)
mkdir tar
tar -C "$tree" "${flags[@]}" -cf - . | tar -C tar "${flags[@]}" -xpf -
same tar
rsync -aHAX --sparse "$tree/" rsync
same rsync
test -z "$(rsync -aHAXn --checksum --itemize-changes "$tree/" rsync)"
cp -a tar cp
same cp
tar -C cp "${flags[@]}" -cf out.tar .
mkdir "$PLAIN/back"
tar -C "$PLAIN/back" "${flags[@]}" -xpf out.tar
same "$PLAIN/back"
[ "$(stat -c %b cp/sparse)" -lt 200 ]
rm -rf "$PLAIN/back" "$tree"
