# Shared by the scripts of the cluster.

# Everything of the cluster is below this directory, and nothing elsewhere. It
# must not be below /run or /var, which the cluster has for itself.
SIDEGATE_CLUSTER_DIR=${SIDEGATE_CLUSTER_DIR:-/tmp/sidegate-cluster}
dir=$SIDEGATE_CLUSTER_DIR

say() { echo "cluster: $*" >&2; }
fail() { say "$*"; exit 1; }

cni_plugins() {
  for at in /usr/lib/cni /opt/cni/bin /usr/libexec/cni; do
    [ -x "$at/ptp" ] && [ -x "$at/host-local" ] && { echo "$at"; return; }
  done
  return 1
}

# The directory's own cgroup, a name below the root of every hierarchy.
cgroup() { printf 'sidegate-cluster-%s\n' "$(printf %s "$dir" | cksum | cut -d ' ' -f 1)"; }

# The cgroup hierarchies: one in version 2, one for each controller in version 1.
hierarchies() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts; }

# What tells a process from a later one with the same id: when it began.
began() { awk '{ sub(/^.*\) /, ""); print $20 }' "/proc/$1/stat" 2>/dev/null || true; }

# Process id of the cluster's init, if it runs.
init() {
  [ -r "$dir/init" ] || return 1
  read -r pid time < "$dir/init" || return 1
  [ -n "$time" ] && [ "$(began "$pid")" = "$time" ] && echo "$pid"
}
