#!/bin/sh
# Builds the Kubernetes programs that tests run: etcd, kube-apiserver, kubectl.
#
# Once for each version: they stay in a cache outside the tree. Prints the
# directory that holds them on standard output and everything else on standard
# error. KUBEBUILDER_ASSETS names a directory that has them already.
set -eu

cd "$(dirname "$0")"
tools="etcd kube-apiserver kubectl"

say() { echo "cluster-tools: $*" >&2; }
fail() { say "$*"; exit 1; }

missing_in() {
  for tool in $tools; do
    [ -x "$1/$tool" ] || { echo "$tool"; return; }
  done
}

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  missing=$(missing_in "$KUBEBUILDER_ASSETS")
  [ -z "$missing" ] || fail "KUBEBUILDER_ASSETS is $KUBEBUILDER_ASSETS, which has no $missing: correct or unset it"
  say "using KUBEBUILDER_ASSETS, $KUBEBUILDER_ASSETS"
  cd "$KUBEBUILDER_ASSETS" && pwd
  exit 0
fi

command -v go >/dev/null 2>&1 || fail "Go is missing: install Go 1.25 or later (https://go.dev/doc/install), \
or set KUBEBUILDER_ASSETS to a directory with $tools"

digest() {
  if command -v sha256sum >/dev/null 2>&1; then sha256sum; else shasum -a 256; fi | cut -c 1-16
}

# What the programs are made from. A copy lies beside them, by which tests
# recognize the programs that belong to this tree.
modules() { cat kubernetes/go.mod kubernetes/go.sum etcd/go.mod etcd/go.sum; }

key=$({ modules; go env GOVERSION GOOS GOARCH; } | digest)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sidegate/cluster-tools
dir=$cache/$key

if [ -z "$(missing_in "$dir")" ] && [ -f "$dir/made-from" ]; then
  say "built already: $dir"
  echo "$dir"
  exit 0
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/.building-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

export CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off
version=$(go list -C kubernetes -m -f '{{.Version}}' k8s.io/kubernetes)
major=${version#v} major=${major%%.*}
minor=${version#v*.} minor=${minor%%.*}
stamp=k8s.io/component-base/version

say "building etcd, and kube-apiserver and kubectl $version, into $dir"
say "this takes some minutes and 3 GB of Go's own caches, and happens once"
go build -C etcd -trimpath -ldflags "-s -w" -o "$work/etcd" go.etcd.io/etcd/server/v3
# Without its version the API server calls itself v0.0.0, and clients that
# compare versions refuse it.
go build -C kubernetes -trimpath \
  -ldflags "-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=$major -X $stamp.gitMinor=$minor" \
  -o "$work/" k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kubectl
modules > "$work/made-from"

# Somebody else may have been faster; theirs is the same.
chmod 755 "$work"
[ -e "$dir" ] && [ -n "$(missing_in "$dir")" ] && rm -rf "$dir"
[ -e "$dir" ] || mv "$work" "$dir"
say "built: $dir"
echo "$dir"
