#!/bin/sh
# Runs a command on the node of the cluster: `enter.sh kubectl get pods -A`.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"

[ "$(id -u)" = 0 ] || fail "the cluster belongs to root: use sudo"
pid=$(init) || fail "no cluster runs in $dir: make cluster-up"
PATH=$dir/tools:$PATH
export PATH SIDEGATE_CLUSTER_DIR KUBECONFIG="$dir/etc/admin.conf" KUBECACHEDIR="$dir/var/cache/kubectl"
# With the caller's files and directory: /run and /var are the cluster's.
exec nsenter -t "$pid" -n -m -p -u -i --wd="$PWD" -- "$@"
