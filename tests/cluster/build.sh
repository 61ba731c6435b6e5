#!/bin/sh
# Builds the Kubernetes programs that tests run.
#
#   build.sh api   etcd, kube-apiserver and kubectl (the usual)
#   build.sh all   those and everything else that a node runs
#
# Once for each version: they stay in a cache outside the tree. Prints the
# directory that holds them on standard output and everything else on standard
# error. For `api`, KUBEBUILDER_ASSETS names a directory that has them already.
set -eu

cd "$(dirname "$0")"
api_tools="etcd kube-apiserver kubectl"
node_tools="kube-controller-manager kube-scheduler kubelet kube-proxy coredns pause"

say() { echo "cluster-tools: $*" >&2; }
fail() { say "$*"; exit 1; }

missing_in() {
  in=$1
  shift
  for tool in "$@"; do
    [ -x "$in/$tool" ] || { echo "$tool"; return; }
  done
}

digest() {
  if command -v sha256sum >/dev/null 2>&1; then sha256sum; else shasum -a 256; fi | cut -c 1-16
}

kubernetes_of() { go list -C "$1" -m -f '{{.Version}}' k8s.io/kubernetes; }

# Without its version the API server calls itself v0.0.0, and clients that
# compare versions refuse it.
stamp() {
  major=${1#v} major=${major%%.*}
  minor=${1#v*.} minor=${minor%%.*}
  package=k8s.io/component-base/version
  echo "-X $package.gitVersion=$1 -X $package.gitMajor=$major -X $package.gitMinor=$minor"
}

# What the API programs are made from. A copy lies beside them, by which tests
# recognize the programs that belong to this tree.
modules() { cat kubernetes/go.mod kubernetes/go.sum etcd/go.mod etcd/go.sum; }

build_api() {
  version=$(kubernetes_of kubernetes)
  say "building etcd, and kube-apiserver and kubectl $version, into $dir"
  say "this takes some minutes and 3 GB of Go's own caches, and happens once"
  go build -C etcd -trimpath -ldflags "-s -w" -o "$work/etcd" go.etcd.io/etcd/server/v3
  go build -C kubernetes -trimpath -ldflags "-s -w $(stamp "$version")" \
    -o "$work/" k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kubectl
  modules > "$work/made-from"
}

node_modules() { modules; cat node/go.mod node/go.sum coredns/* pause/*; }

build_node() {
  version=$(kubernetes_of node)
  [ "$version" = "$(kubernetes_of kubernetes)" ] ||
    fail "node/go.mod and kubernetes/go.mod name different versions of Kubernetes: make them the same"
  say "building a node's programs $version into $dir"
  say "this takes some minutes and happens once"
  go build -C node -trimpath -ldflags "-s -w $(stamp "$version")" -o "$work/" \
    k8s.io/kubernetes/cmd/kube-controller-manager k8s.io/kubernetes/cmd/kube-scheduler \
    k8s.io/kubernetes/cmd/kubelet k8s.io/kubernetes/cmd/kube-proxy
  go build -C coredns -trimpath -ldflags "-s -w" -o "$work/coredns" .
  go build -C pause -trimpath -ldflags "-s -w" -o "$work/pause" .
  for tool in $api_tools; do
    ln "$api/$tool" "$work/$tool" 2>/dev/null || cp "$api/$tool" "$work/$tool"
  done
}

# Fills the cache's directory $1 by the function $2, unless it has the programs
# that follow; then it is $dir.
built() {
  dir=$cache/$1 how=$2
  shift 2
  if [ -z "$(missing_in "$dir" "$@")" ]; then
    say "built already: $dir"
    return
  fi
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/.building-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  trap 'exit 130' INT TERM HUP
  "$how"
  # Somebody else may have been faster; theirs is the same.
  chmod 755 "$work"
  [ -e "$dir" ] && [ -n "$(missing_in "$dir" "$@")" ] && rm -rf "$dir"
  if [ -e "$dir" ]; then rm -rf "$work"; else mv "$work" "$dir"; fi
  say "built: $dir"
}

what=${1:-api}
case $what in
  api | all) ;;
  *) fail "build.sh [api|all]" ;;
esac

if [ "$what" = api ] && [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  # shellcheck disable=SC2086
  missing=$(missing_in "$KUBEBUILDER_ASSETS" $api_tools)
  [ -z "$missing" ] || fail "KUBEBUILDER_ASSETS is $KUBEBUILDER_ASSETS, which has no $missing: correct or unset it"
  say "using KUBEBUILDER_ASSETS, $KUBEBUILDER_ASSETS"
  cd "$KUBEBUILDER_ASSETS" && pwd
  exit 0
fi

command -v go >/dev/null 2>&1 || fail "Go is missing: install Go 1.25 or later (https://go.dev/doc/install), \
or, for $api_tools, set KUBEBUILDER_ASSETS to a directory that has them"
export CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off

cache=${XDG_CACHE_HOME:-$HOME/.cache}/sidegate/cluster-tools
key() { { "$1"; go env GOVERSION GOOS GOARCH; } | digest; }

# shellcheck disable=SC2086
built "$(key modules)" build_api $api_tools
if [ "$what" = all ]; then
  api=$dir
  # shellcheck disable=SC2086
  built "node-$(key node_modules)" build_node $api_tools $node_tools
fi
echo "$dir"
