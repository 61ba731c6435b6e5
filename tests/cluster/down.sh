#!/bin/bash
# Ends the cluster and removes everything of it, also after a crash. With
# `--keep-logs` the logs stay.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"

[ "$(id -u)" = 0 ] || fail "the cluster belongs to root: sudo make cluster-down"

# An init takes no signal but this one; everything in its namespaces goes with
# it: processes, mounts, interfaces, pods.
if pid=$(init); then
  kill -KILL "$pid"
  while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
fi

# Processes may take a moment to leave their groups. Those of a start that was
# interrupted before it noted its init are still there.
group=$(cgroup)
for hierarchy in $(hierarchies); do
  [ -d "$hierarchy/$group" ] || continue
  find "$hierarchy/$group" -name cgroup.procs -exec cat {} + 2>/dev/null |
    while read -r pid; do kill -KILL "$pid" 2>/dev/null || true; done
done
for hierarchy in $(hierarchies); do
  [ -d "$hierarchy/$group" ] || continue
  for _ in $(seq 100); do
    find "$hierarchy/$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
    sleep 0.1
  done
  [ ! -d "$hierarchy/$group" ] || fail "cannot remove $hierarchy/$group: $(find "$hierarchy/$group" -name cgroup.procs -exec cat {} +)"
done

[ -d "$dir" ] || exit 0
if [ "${1:-}" = --keep-logs ]; then
  find "$dir" -mindepth 1 -maxdepth 1 ! -name log -exec rm -rf {} +
else
  rm -rf "$dir"
fi
