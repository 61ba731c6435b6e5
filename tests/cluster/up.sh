#!/bin/bash
# up.sh PAUSE_IMAGE [IMAGE…]
#
# Starts a Kubernetes cluster of one node in namespaces of its own and waits
# until it is ready. `down.sh` ends it. Nothing of it is reachable from outside
# or reaches the outside; `enter.sh kubectl …` talks to it. The images, archives
# in the OCI layout, are there for pods; the first is that of their sandboxes.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"

PATIENCE=${SIDEGATE_CLUSTER_PATIENCE:-120}

[ "$(id -u)" = 0 ] || fail "the cluster needs root, for its namespaces: sudo make cluster-up"
case $dir/ in
  /run/* | /var/*) fail "SIDEGATE_CLUSTER_DIR is $dir: choose a directory outside /run and /var" ;;
  /*) ;;
  *) fail "SIDEGATE_CLUSTER_DIR is $dir: it must be absolute" ;;
esac
[ $# -gt 0 ] || fail "up.sh needs the archive of the pause image: make cluster-up"
"$here/packages.sh"
tools=$("$here/build.sh" all)
if init >/dev/null; then
  fail "a cluster runs in $dir: use it, or end it by \`make cluster-down\`"
fi
# What a crash left.
"$here/down.sh"

images=()
for image in "$@"; do images+=("$(readlink -f "$image")"); done
umask 022
mkdir -p "$dir"/{log,etc,run,var/{lib,log,tmp,cache}}
ln -s /run "$dir/var/run"
ln -s "$tools" "$dir/tools"
cni_plugins > "$dir/etc/cni-plugins"

# Groups of its own, so that all of them can be found and removed.
group=$(cgroup)
for hierarchy in $(hierarchies); do
  mkdir -p "$hierarchy/$group"
done
# Version 2 has no controllers below a group unless it says so.
for hierarchy in $(hierarchies); do
  [ -f "$hierarchy/$group/cgroup.controllers" ] || continue
  for at in "$hierarchy" "$hierarchy/$group"; do
    for controller in cpuset cpu memory pids io hugetlb; do
      echo "+$controller" > "$at/cgroup.subtree_control" 2>/dev/null || true
    done
  done
done

report() {
  say "$1"
  for log in "$dir"/log/*.log; do
    [ -s "$log" ] || continue
    echo "--- $log" >&2
    tail -n 25 "$log" >&2
  done
}

# Everything that it starts is in the groups from the beginning, where `down.sh`
# finds it whatever happens here.
start=$SECONDS
join() {
  for hierarchy in $(hierarchies); do
    mkdir -p "$hierarchy/$group/init"
    # One is enough, and some take nobody before they are set up.
    echo "$BASHPID" > "$hierarchy/$group/init/cgroup.procs" || true
  done 2>/dev/null
  exec "$@"
}
join setsid unshare --mount --net --pid --ipc --uts --fork --mount-proc --kill-child \
  "$here/inside.sh" "$dir" "$group" "${images[@]}" </dev/null >"$dir/log/init.log" 2>&1 &
outer=$!
# The init is the only child of `unshare`, once it is that.
until [ "$(cat "/proc/$outer/comm" 2>/dev/null)" = unshare ] &&
  pid=$(cat "/proc/$outer/task/$outer/children" 2>/dev/null) && [ -n "$pid" ]; do
  kill -0 "$outer" 2>/dev/null || { report "the namespaces cannot be made"; exit 1; }
  sleep 0.05
done
pid=${pid%% *}
echo "$pid $(began "$pid")" > "$dir/init"

until [ -f "$dir/ready" ]; do
  if [ -f "$dir/failed" ] || ! init >/dev/null; then
    report "it did not start: $(cat "$dir/failed" 2>/dev/null || echo "its init ended")"
    "$here/down.sh" --keep-logs
    exit 1
  fi
  if [ $((SECONDS - start)) -gt "$PATIENCE" ]; then
    report "it is not ready after $PATIENCE s"
    "$here/down.sh" --keep-logs
    exit 1
  fi
  sleep 0.2
done
say "ready after $((SECONDS - start)) s in $dir: make kubectl ARGS='get pods -A'"
