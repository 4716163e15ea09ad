#!/usr/bin/env bash
# git: clone, branches in work trees, rebase, gc, fsck.
# needs git git
set -euo pipefail
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=n@n GIT_COMMITTER_NAME=n GIT_COMMITTER_EMAIL=n@n
git init -q -b main origin
cd origin
for n in $(seq 100); do
  mkdir -p "d$((n % 10))"
  seq "$n" 500 >"d$((n % 10))/$n"
  ln -sf "d$((n % 10))/$n" "link$((n % 7))"
  git add -A
  git commit -qm "commit $n"
done
git checkout -q -b side HEAD~20
for n in $(seq 20); do seq "$n" >"side$n"; git add -A; git commit -qm "side $n"; done
git rebase -q main
git worktree add -q ../tree main
git gc -q --aggressive --prune=now
git fsck --strict --full --no-dangling
cd ..
git clone -q origin copy
git clone -q --no-hardlinks origin "$WORK/outside"
git -C copy fsck --strict --full
test -z "$(git -C copy status --porcelain)" -a -z "$(git -C tree status --porcelain)"
diff -r --no-dereference --exclude=.git copy "$WORK/outside"
